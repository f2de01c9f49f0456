//! Somebody who fills the directory of a pattern exchanges what it met for a link, after it was looked at
//! and before it is opened. What is granted lies in that directory, or nothing is.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use creel_jail::{self as jail, globs::Finder};
use creel_plan::{self as plan, Act, Request};
use creel_policy::layer::Rank;
use creel_policy::rights::Roots;
use creel_policy::stack::Stack;
use creel_policy::{Degradable, file, preset};

use super::Flipper;
use crate::support::{Run, Who, Workspace};

/// A shared directory with something to meet, and a link to what nobody granted.
fn shared() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a directory");
    let at = dir.path().canonicalize().expect("a path");
    for name in ["work", "d/x/sub", "d/y/sub", "outside/sub"] {
        std::fs::create_dir_all(at.join(name)).expect("mkdir -p");
        std::fs::write(at.join(name).join("file"), name).expect("write");
    }
    std::fs::copy("/bin/true", at.join("d/x/sub/tool")).expect("copy");
    std::fs::copy("/bin/true", at.join("outside/sub/tool")).expect("copy");
    symlink(at.join("outside"), at.join("link")).expect("symlink");
    (dir, at)
}

/// The layers, with the names that their patterns meet now; `AT` in them is the directory.
fn expanded(at: &Path, layers: &[&str]) -> Result<(Stack, Roots), String> {
    let roots = Roots {
        home: "/home/nobody-at-all".into(),
        workspace: at.join("work").to_str().expect("text").into(),
    };
    let ranks = [Rank::Operator, Rank::Project];
    let read = |(rank, text): (&Rank, &&str)| {
        let text = text.replace("AT", at.to_str().expect("text"));
        (*rank, file::read("p.toml", &text).expect("a layer"))
    };
    let mut stack = Stack {
        layers: ranks.iter().zip(layers).map(read).collect(),
    };
    let mut finder = Finder::default();
    stack
        .expand(&roots, |wanted| finder.find(wanted))
        .map_err(|error| error.to_string())?;
    Ok((stack, roots))
}

/// The trees of the host that the jail would have.
fn sources(stack: &Stack, roots: &Roots) -> Result<Vec<PathBuf>, String> {
    let limits = preset::limits().expect("the default");
    let mut policy = stack.resolve(&limits, roots).effective.policy;
    policy.allow_degraded = Degradable::ALL.into();
    let request = Request {
        command: vec!["true".into()],
        workspace: Some(roots.workspace.clone().into()),
        ..Request::default()
    };
    let (host, _pins) = jail::probe(&policy, &request).map_err(|error| error.to_string())?;
    let plan = plan::resolve(&policy, &request, &host).map_err(|error| error.to_string())?;
    let bound = plan.acts().filter_map(|act| match act {
        Act::Bind { source, .. } => Some(source.clone()),
        _ => None,
    });
    Ok(bound.collect())
}

fn turned(at: &Path) {
    std::fs::rename(at.join("d/x"), at.join("x")).expect("rename");
    symlink(at.join("outside"), at.join("d/x")).expect("symlink");
}

#[test]
fn a_link_that_comes_after_the_look_is_refused() {
    for layers in [
        &["filesystem.read = ['AT/d/*']"][..],
        &["filesystem.write = ['AT/d/?']"],
        &["filesystem.exec = ['AT/d/x*']"],
        &["filesystem.read = ['AT/d/*/sub/file']"],
        // Reached through such a name.
        &[
            "filesystem.read = ['AT/d/*']",
            "filesystem.read = ['AT/d/x/sub/file']",
        ],
        &[
            "filesystem.read = ['AT/d']",
            "filesystem.read = ['AT/d/*/sub']",
        ],
        &["filesystem.read = ['AT/d']\n[tools.read]\nallowed_paths = ['AT/d/*/sub']"],
        &["filesystem.exec = ['/usr', 'AT/d/*']\n[tools.exec]\ncommands = ['AT/d/x/sub/tool']"],
    ] {
        let (_dir, at) = shared();
        let (stack, roots) = expanded(&at, layers).expect("the names");
        let before = sources(&stack, &roots).expect("a plan");
        let met = |path: &PathBuf| path.starts_with(at.join("d/x"));
        assert!(before.iter().any(met), "{layers:?}: {before:?}");
        turned(&at);
        let after = sources(&stack, &roots).expect_err("it leads out");
        assert!(
            after.contains("is a symbolic link out of"),
            "{layers:?}: {after}"
        );
        // From then on it is the look that refuses.
        let error = expanded(&at, layers).map(|_| ()).expect_err("a link");
        assert!(
            error.contains("is a symbolic link out of"),
            "{layers:?}: {error}"
        );
    }
}

#[test]
fn a_link_that_stays_inside_is_followed() {
    for to in ["y", "../d/y", "AT/d/y", "AT/link/../d/y"] {
        let (_dir, at) = shared();
        let (stack, roots) = expanded(&at, &["filesystem.read = ['AT/d/*']"]).expect("the names");
        std::fs::rename(at.join("d/x"), at.join("x")).expect("rename");
        let to = to.replace("AT", at.to_str().expect("text"));
        symlink(to, at.join("d/x")).expect("symlink");
        let all = sources(&stack, &roots).expect("a plan");
        assert!(all.contains(&at.join("d/y")), "{all:?}");
        assert!(!all.iter().any(|path| path.starts_with(at.join("outside"))));
    }
    // The base's own links are its author's; and what is granted by another word is so.
    let (_dir, at) = shared();
    symlink("d", at.join("alias")).expect("symlink");
    let (stack, roots) = expanded(&at, &["filesystem.read = ['AT/alias/*']"]).expect("the names");
    let all = sources(&stack, &roots).expect("a plan");
    assert!(all.contains(&at.join("d/x")), "{all:?}");
    for (others, granted) in [
        ("'AT/outside'", true),
        ("'AT/link'", true),
        ("'AT/outside/sub'", false),
    ] {
        let (_dir, at) = shared();
        let text = format!("filesystem.read = ['AT/d/*', {others}]");
        let (stack, roots) = expanded(&at, &[&text]).expect("the names");
        turned(&at);
        let after = sources(&stack, &roots);
        assert_eq!(after.is_ok(), granted, "{others}: {after:?}");
    }
    // Two that lead out together do not speak for one another.
    let (_dir, at) = shared();
    let (stack, roots) = expanded(&at, &["filesystem.read = ['AT/d/*']"]).expect("the names");
    turned(&at);
    std::fs::rename(at.join("d/y"), at.join("y")).expect("rename");
    symlink(at.join("outside"), at.join("d/y")).expect("symlink");
    assert!(sources(&stack, &roots).is_err());
}

#[test]
fn whoever_exchanges_what_a_pattern_met_chooses_nothing() {
    const ROUNDS: usize = 200;
    let (_dir, at) = shared();
    let layers = &["filesystem.read = ['AT/d/*']"];
    let look = expanded(&at, layers).expect("the names");
    let flipper = Flipper::start(&at.join("d/x"), &at.join("link"));
    let (mut granted, mut early, mut late) = (0, 0, 0);
    for round in 0..2 * ROUNDS {
        // Every other round looks anew; the others were fortunate with their look.
        let anew = match round % 2 {
            0 => Ok(look.clone()),
            _ => expanded(&at, layers),
        };
        let tried = anew.map(|(stack, roots)| sources(&stack, &roots));
        match tried {
            Ok(Ok(all)) => {
                let out = all.iter().find(|path| path.starts_with(at.join("outside")));
                assert_eq!(out, None, "after {granted} grants");
                granted += 1;
            }
            Ok(Err(error)) => {
                assert!(error.contains("is a symbolic link out of"), "{error}");
                late += 1;
            }
            Err(error) => {
                assert!(error.contains("is a symbolic link out of"), "{error}");
                early += 1;
            }
        }
    }
    let flips = flipper.flips();
    println!("{flips} flips: {granted} granted, {early} refused at the look, {late} afterwards");
    assert!(flips > 1000 && granted > 0 && early > 0 && late > 0);
}

each!(a_jail_reads_nothing_that_was_exchanged_for_what_was_met);
/// The same through the command line, with what the jail reads.
fn a_jail_reads_nothing_that_was_exchanged_for_what_was_met(who: Who) {
    let workspace = Workspace::new(who);

    let out = workspace.outside();
    for name in ["d/x", "secret"] {
        std::fs::create_dir_all(out.join(name)).expect("mkdir -p");
        std::fs::write(out.join(name).join("file"), format!("{name}\n")).expect("write");
    }
    symlink(out.join("secret"), out.join("link")).expect("symlink");
    let text = format!(
        "extends = ['default']\n[filesystem]\nread = ['{}/d/*']\n",
        out.display()
    );
    let run = || {
        let script = "cat SECRET/file; cat D/x/file; :"
            .replace("SECRET", out.join("secret").to_str().expect("text"))
            .replace("D/x", out.join("d/x").to_str().expect("text"));
        Run::new(who, &workspace)
            .policy_text(&workspace, "met", &text)
            .sh(&script)
    };
    assert_eq!(run().ok().stdout, "d/x\n");
    let flipper = Flipper::start(&out.join("d/x"), &out.join("link"));
    for _ in 0..20 {
        let ran = run();
        assert!(!ran.stdout.contains("secret"), "{ran:#?}");
        assert!([0, 125].contains(&ran.status), "{ran:#?}");
    }
    assert!(flipper.flips() > 1000);
}
