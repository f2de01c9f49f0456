//! The laws' own test: every fault that is put in must be caught, and by which law is said.

use super::evaluator::{Evaluator, Fault};
use super::laws::Broken;
use super::{random, scope};

/// The first law that a faulty evaluator breaks, and in which test.
fn caught(fault: Fault) -> Option<(&'static str, &'static str)> {
    let ev = Evaluator::faulty(fault);
    let law = |result: Result<(), Broken>| result.err().map(|broken| broken.law);
    let by = |test: &'static str, found: Option<&'static str>| found.map(|law| (test, law));
    by("triples", law(random::triples(&ev, 1, 400)))
        .or_else(|| by("model", law(random::many(&ev, 1, 3000).map(drop))))
        .or_else(|| {
            by(
                "scope",
                law(scope::enumerate(&ev, scope::Extent::Short, &mut |_, _| {}).map(drop)),
            )
        })
}

#[test]
fn every_fault_is_caught() {
    let mut missed = vec![];
    for fault in Fault::ALL {
        match caught(fault) {
            Some((test, law)) => eprintln!("{fault:?}: caught by {test}: {law}"),
            None => missed.push(fault),
        }
    }
    assert!(missed.is_empty(), "{missed:?}");
}
