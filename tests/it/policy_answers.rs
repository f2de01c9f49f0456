//! Result of layers: the policy in force with its places, the notes, clips and findings, and
//! the answer to each case with its reason. `policy_answers.txt` has blocks of `=== `, the layers as `+++ RANK` and
//! text, and after `--- ` the answers; the cases are those of `[tests]`. `CREEL_WRITE=1` writes the answers
//! anew.

use std::fmt::Write as _;

use creel_dialects::lint::{Facts, lint};
use creel_policy::cases::{beyond_kernel, judge};
use creel_policy::decide::Decision;
use creel_policy::effective::admit;
use creel_policy::layer::{Layer, Rank};
use creel_policy::rights::Roots;
use creel_policy::stack::Stack;
use creel_policy::{Execution, file, native, preset};

use crate::golden;

const RANKS: [Rank; 6] = [
    Rank::Platform,
    Rank::Operator,
    Rank::Agent,
    Rank::Renter,
    Rank::Project,
    Rank::CommandLine,
];

fn layer(part: &str) -> (Rank, Layer) {
    let (name, text) = part.split_once('\n').expect("a rank");
    let rank = RANKS.into_iter().find(|rank| rank.name() == name);
    let layer = file::read(name, text).unwrap_or_else(|error| panic!("{text}\n{error}"));
    (rank.expect(name), layer)
}

fn answer(layers: &str) -> String {
    let roots = Roots {
        home: "/home/u".into(),
        workspace: "/home/u/w".into(),
    };
    let limits = preset::limits().expect("it parses");
    let stack = Stack {
        layers: layers.split("+++ ").skip(1).map(layer).collect(),
    };
    let outcome = stack.resolve(&limits, &roots);
    let mut out = String::from("--- in force\n");
    // Not what every policy has: the trust paths and creel's own limits.
    let text = native::text(&outcome.rights, &outcome.effective, &roots);
    for line in text.lines().filter(|line| !line.is_empty()) {
        let usual = line.ends_with("# creel")
            || line.ends_with("# preset:default")
            || line.contains("# preset:default:");
        if !usual {
            let _ = writeln!(out, "{line}");
        }
    }
    for note in &outcome.effective.notes {
        let _ = writeln!(out, "note {:?}: {note}", note.weight);
    }
    for clip in &outcome.clips {
        let _ = writeln!(out, "clip {clip}");
    }
    for found in lint(&stack, &outcome, &roots, &Facts::default()) {
        let place = found
            .origin
            .map(|origin| format!(" at {origin}"))
            .unwrap_or_default();
        let (id, reason, fix) = (found.id, found.reason, found.fix);
        let _ = writeln!(out, "lint {id}{place}: {reason}; {fix}");
    }
    for (_, layer) in &stack.layers {
        for judged in judge(layer, &outcome.rights, &roots) {
            let said = match &judged.decision {
                Decision::Allowed { by: Some(by) } => format!("allowed by {by}"),
                Decision::Allowed { by: None } => "allowed".into(),
                Decision::Denied { why } => format!("denied: {}", why.reason()),
            };
            let holds = if judged.holds() { "" } else { ", unexpected" };
            let beyond = beyond_kernel(&judged, &outcome.rights, &roots);
            let beyond = beyond.map(|why| format!(" ({why})")).unwrap_or_default();
            let _ = writeln!(out, "case {}: {said}{holds}{beyond}", judged.case.value);
        }
    }
    out
}

#[test]
fn layers_come_to_what_they_came_to() {
    golden::hold_answers("tests/it/policy_answers.txt", 15, |_, layers| {
        answer(layers)
    });
}

#[test]
fn the_schema_is_what_it_was() {
    golden::hold(
        "tests/it/policy_schema.json",
        &format!("{:#}\n", file::schema()),
    );
}

#[test]
fn a_command_with_its_arguments_is_admitted_alone() {
    let roots = Roots {
        home: "/home/u".into(),
        workspace: "/home/u/w".into(),
    };
    let limits = preset::limits().expect("it parses");
    let text = "operator\nfilesystem.exec = ['/usr']\n\
        tools.exec.commands = ['ls', { command = 'git', args = ['status'] }, { command = '/opt/x', args = ['a'] }, \
        { command = '/usr/bin/d/x', args = ['a'] }, { command = '/usr/w/t', args = ['a'] }]";
    let stack = Stack {
        layers: vec![layer(text)],
    };
    let outcome = stack.resolve(&limits, &roots);
    let only = |argv: &[&str]| {
        let mut policy = outcome.effective.policy.clone();
        let argv: Vec<String> = argv.iter().map(|word| (*word).to_owned()).collect();
        admit(&mut policy, &outcome.rights, &roots, &argv);
        match policy.exec.value {
            Execution::Only(programs) => {
                programs.iter().map(|rule| rule.path.to_string()).collect()
            }
            other => panic!("{other:?}"),
        }
    };
    let places = |name: &str| -> Vec<String> {
        let under = ["bin", "local/bin", "local/sbin", "sbin"];
        under.map(|dir| format!("/usr/{dir}/{name}")).to_vec()
    };
    let sorted = |mut paths: Vec<String>| {
        paths.sort();
        paths
    };
    assert_eq!(sorted(only(&["git", "status"])), places("git"));
    assert_eq!(only(&["/usr/bin/git", "status"]), ["/usr/bin/git"]);
    // Commands listed without arguments stay as they are, and so do those that are not admitted.
    for argv in [
        &["ls", "x"][..],
        &["git", "push"],
        &["/opt/x", "a"],
        &["cat"],
        &["d/x", "a"],
        &["/usr/bin/../bin/git", "status"],
        &["."],
        &[""],
        &[],
    ] {
        assert_eq!(sorted(only(argv)), places("ls"), "{argv:?}");
    }
}
