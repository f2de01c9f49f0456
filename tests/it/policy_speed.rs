//! Cost of the language: a policy of 200 rules in four layers from text to plan, and the embedded
//! default. In processor time of this thread, the best of many: other work on the machine only adds.

use std::time::Duration;

use creel_plan::{self as plan, Request};
use creel_policy::layer::Rank;
use creel_policy::rights::Roots;
use creel_policy::stack::Stack;
use creel_policy::{Degradable, file, preset};

use crate::support::{Who, Workspace};

/// Time limit for an optimised build. Another one takes some four times as long, and more where the
/// machine is busy: it has twenty times as much, and only guards against a change of kind.
const TEXT_TO_PLAN: Duration = Duration::from_millis(1);
const EMBEDDED: Duration = Duration::from_micros(100);

fn processor_time() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(
        now.tv_sec.try_into().expect("a time"),
        now.tv_nsec.try_into().expect("nanoseconds"),
    )
}

pub fn best(times: usize, mut work: impl FnMut()) -> Duration {
    let one = |work: &mut dyn FnMut()| {
        let before = processor_time();
        work();
        processor_time() - before
    };
    (0..times).map(|_| one(&mut work)).min().expect("a time")
}

fn allowed(most: Duration) -> Duration {
    match cfg!(debug_assertions) {
        true => most * 20,
        false => most,
    }
}

/// 50 rules: grants, denials, variables, commands, cases.
fn layer(number: usize) -> String {
    let list = |name: &str, count: usize, form: &dyn Fn(usize) -> String| {
        let all: Vec<String> = (0..count).map(|n| format!("{:?}", form(n))).collect();
        format!("{name} = [{}]\n", all.join(", "))
    };
    let mut text = String::from("[filesystem]\nexec = [\"/usr\", \"$WORKSPACE\"]\n");
    text += &list("deny", 10, &|n| format!("$WORKSPACE/secret-{number}-{n}"));
    text += &list("protect", 6, &|n| format!("$WORKSPACE/held-{number}-{n}"));
    text += "[environment]\n";
    text += &list("pass", 12, &|n| format!("NAME_{n}"));
    text += "[tools]\nallow = [\"group:fs\", \"exec\", \"process\"]\n";
    text += &list("deny", 8, &|n| format!("tool-{number}-{n}"));
    text += "[tools.exec]\n";
    text += &list("commands", 10, &|n| format!("program-{n}"));
    text + "[limits]\nmemory = \"1GiB\"\npids = 100\n"
}

#[test]
fn two_hundred_rules_in_four_layers_are_a_plan_within_a_millisecond() {
    let workspace = Workspace::new(Who::of_this_process());
    let roots = Roots {
        home: "/home/user".into(),
        workspace: workspace.path().to_str().expect("text").into(),
    };
    let limits = preset::limits().expect("the default");
    let texts: Vec<String> = (0..4).map(layer).collect();
    let ranks = [
        Rank::Platform,
        Rank::Operator,
        Rank::Agent,
        Rank::CommandLine,
    ];
    let request = Request {
        command: vec!["program-1".into()],
        workspace: Some(workspace.path()),
        ..Request::default()
    };
    let resolved = |texts: &[String]| {
        let read = |(rank, text): (&Rank, &String)| {
            (*rank, file::read("layer.toml", text).expect("a layer"))
        };
        let layers = ranks.iter().zip(texts).map(read).collect();
        let mut outcome = Stack { layers }.resolve(&limits, &roots);
        let degraded = &mut outcome.effective.policy.allow_degraded;
        *degraded = Degradable::ALL.into();
        outcome
    };
    // Facts about the machine are looked up once and not counted.
    let policy = resolved(&texts).effective.policy;
    let (host, _pins) = creel_jail::probe(&policy, &request).expect("this machine");
    plan::resolve(&policy, &request, &host).expect("a plan");
    let took = best(200, || {
        let policy = resolved(&texts).effective.policy;
        std::hint::black_box(plan::resolve(&policy, &request, &host).is_ok());
    });
    println!("text to plan: {took:?}");
    assert!(took <= allowed(TEXT_TO_PLAN), "{took:?}");
}

#[test]
fn the_embedded_default_costs_a_start_a_tenth_of_a_millisecond_at_most() {
    let roots = Roots {
        home: "/home/user".into(),
        workspace: "/home/user/work".into(),
    };
    let took = best(200, || {
        std::hint::black_box(preset::default(&roots).expect("the default"));
    });
    println!("embedded default: {took:?}");
    assert!(took <= allowed(EMBEDDED), "{took:?}");
}
