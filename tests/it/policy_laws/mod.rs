//! The policy language's laws, held against the shipped evaluator: a small scope exhaustively, larger
//! ones at random, a reference model beside it, and variants with a fault that must be caught.
//! docs/proofs.md has what was run and when; `scripts/prove` runs the long form.

mod agreement;
mod bugs;
mod evaluator;
pub mod given;
mod laws;
mod model;
mod patterns;
mod random;
mod scope;
mod values;

use evaluator::Evaluator;

#[test]
fn a_small_scope_exhaustively() {
    let ev = Evaluator::shipped();
    let mut report = |name: &str, count: usize| eprintln!("{count:>8} triples: {name}");
    let extent = match asked() {
        Some(_) => scope::Extent::Whole,
        None => scope::Extent::Short,
    };
    match scope::enumerate(&ev, extent, &mut report) {
        Ok(total) => {
            eprintln!("{total:>8} triples of layers");
            assert!(total > 9_000, "{total}");
        }
        Err(broken) => panic!("{}: {}", broken.law, broken.on),
    }
}

/// How many random policies the long form has; none: the short form.
fn asked() -> Option<usize> {
    let number = std::env::var("CREEL_PROVE").ok()?;
    Some(number.parse().expect("CREEL_PROVE is a number"))
}

#[test]
fn the_model_agrees_on_random_policies() {
    let policies = asked().unwrap_or(500);
    let seed = std::env::var("CREEL_PROVE_SEED").map_or(0, |n| n.parse().expect("a number"));
    match random::many(&Evaluator::shipped(), seed, policies) {
        Ok((compared, allowed)) => {
            eprintln!("{policies} policies, {compared} cases, {allowed} of them allowed");
            // A comparison of nothing but denials would say little.
            assert!(allowed * 50 > compared, "{allowed} of {compared}");
        }
        Err(broken) => panic!("{}: {}", broken.law, broken.on),
    }
}
