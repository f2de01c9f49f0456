//! The policy language's laws, held against the shipped evaluator: a small scope exhaustively, larger
//! ones at random, a reference model beside it, and variants with a fault that must be caught.
//! docs/proofs.md has what was run and when; `scripts/prove` runs the long form.

mod agreement;
mod bugs;
mod evaluator;
mod given;
mod laws;
mod model;
mod random;
mod scope;
mod values;

use evaluator::Evaluator;

#[test]
fn a_small_scope_exhaustively() {
    let ev = Evaluator::shipped();
    let mut report = |name: &str, count: usize| eprintln!("{count:>8} triples: {name}");
    match scope::enumerate(&ev, &mut report) {
        Ok(total) => {
            eprintln!("{total:>8} triples of layers");
            assert!(total > 50_000, "{total}");
        }
        Err(broken) => panic!("{}: {}", broken.law, broken.on),
    }
}

/// How many random policies: a short form unless `CREEL_PROVE` names a number.
#[test]
fn the_model_agrees_on_random_policies() {
    let asked = std::env::var("CREEL_PROVE")
        .ok()
        .map(|n| n.parse::<usize>());
    let policies = asked.map_or(2_000, |n| n.expect("CREEL_PROVE is a number"));
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
