//! Random layers of a larger size: the laws, the agreement of `decide` with `enforce`, and the reference
//! model, on properties' tapes and on numbers.

use creel_policy::layer::Case;
use creel_policy::stack::Stack;
use proptest::prelude::*;

use super::agreement::Held;
use super::evaluator::Evaluator;
use super::given::{Choices, Given, Numbers, SUBJECTS, Tape, layers, universe};
use super::laws::{self, Broken};
use super::model::Model;
use super::values;

fn broken(law: &'static str, on: String) -> Result<(), Broken> {
    Err(Broken { law, on })
}

/// The evaluator beside the model, and the kernel's policy beside both.
pub fn compare(ev: &Evaluator, given: &[Given], cases: &[&Case]) -> Result<(), Broken> {
    let rights = ev.resolve(given);
    if let Some(field) = values::differs(given, &rights, &ev.base) {
        return broken("values are the model's", format!("{field}\n{given:#?}"));
    }
    let (model, held) = (Model(given), Held::new(ev, &rights));
    for path in SUBJECTS.iter().filter(|path| path.starts_with('/')) {
        let (ours, theirs) = (laws::mapped(ev, &rights, path), model.mapped(path));
        if ours != theirs || held.maps(path) && !theirs {
            let on = format!("map {path}: evaluator {ours}, model {theirs}\n{given:#?}");
            return broken("what is mapped as code is the model's", on);
        }
    }
    for case in cases {
        let (ours, theirs) = (ev.allows(&rights, case), model.allows(case));
        if ours != theirs {
            let on = format!("{case}: evaluator {ours}, model {theirs}\n{given:#?}");
            return broken("the evaluator agrees with the model", on);
        }
        if held.disagrees(&rights, case) {
            let on = format!("{case}: decide says {ours}\n{given:#?}");
            return broken("the kernel's policy agrees with decide", on);
        }
    }
    Ok(())
}

/// So many random policies with some cases each; how many cases were compared, and how many allowed.
pub fn many(ev: &Evaluator, seed: u64, policies: usize) -> Result<(usize, usize), Broken> {
    let universe = universe();
    let mut numbers = Numbers(seed);
    let (mut compared, mut allowed) = (0, 0);
    for _ in 0..policies {
        let given = layers(&mut numbers, 4);
        let cases: Vec<&Case> = (0..12)
            .map(|_| &universe[numbers.pick(universe.len())])
            .collect();
        compare(ev, &given, &cases)?;
        compared += cases.len();
        allowed += cases
            .iter()
            .filter(|case| Model(&given).allows(case))
            .count();
    }
    Ok((compared, allowed))
}

/// Random triples against the laws.
pub fn triples(ev: &Evaluator, seed: u64, count: usize) -> Result<(), Broken> {
    let universe = universe();
    let mut numbers = Numbers(seed);
    for _ in 0..count {
        let mut given = layers(&mut numbers, 2);
        while given.len() < 3 {
            given.extend(layers(&mut numbers, 1));
        }
        let cases: Vec<Case> = (0..8)
            .map(|_| universe[numbers.pick(universe.len())].clone())
            .collect();
        laws::all(ev, [&given[0], &given[1], &given[2]], &cases)?;
    }
    Ok(())
}

fn fail(broken: Broken) -> TestCaseError {
    TestCaseError::fail(format!("{}: {}", broken.law, broken.on))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..Default::default() })]

    #[test]
    fn three_layers_keep_the_laws(tape in proptest::collection::vec(any::<u8>(), 0..600)) {
        let ev = Evaluator::shipped();
        let mut tape = Tape(&tape);
        let mut given = layers(&mut tape, 3);
        while given.len() < 3 {
            given.extend(layers(&mut tape, 1));
        }
        laws::all(&ev, [&given[0], &given[1], &given[2]], &universe()).map_err(fail)?;
    }

    #[test]
    fn decide_is_the_model_and_the_kernel(tape in proptest::collection::vec(any::<u8>(), 0..800)) {
        let ev = Evaluator::shipped();
        let given = layers(&mut Tape(&tape), 5);
        let universe = universe();
        compare(&ev, &given, &universe.iter().collect::<Vec<_>>()).map_err(fail)?;
    }

    /// The stack that is shipped resolves as the laws' own fold does, whatever the order of its layers.
    #[test]
    fn a_stack_is_the_meet_of_its_layers(tape in proptest::collection::vec(any::<u8>(), 0..600), turn in 0usize..5) {
        let ev = Evaluator::shipped();
        let mut given = layers(&mut Tape(&tape), 4);
        let mut rights = ev.resolve(&given);
        // The laws' own fold closes without them.
        creel_policy::protected_defaults::guard(&mut rights, &ev.roots);
        let turn = turn % given.len();
        given.rotate_left(turn);
        let mut outcome = Stack { layers: given }.resolve(&ev.base, &ev.roots);
        // Where links may not lead depends on the layers, not on their meet.
        for constraints in outcome.rights.each.values_mut() {
            let commands = constraints.commands.iter_mut().flatten();
            commands.for_each(|(_, allowed)| allowed.rule.within.clear());
        }
        prop_assert_eq!(outcome.rights, rights);
    }
}
