//! The policy of docs/policy.md that leaves the administrators' programs out of the view.

use crate::support::{Run, Who, Workspace};

const DOCUMENT: &str = include_str!("../../../docs/policy.md");

/// The policy as the document has it.
fn documented() -> &'static str {
    let (_, rest) = DOCUMENT
        .split_once("**Without the administrators' programs.**")
        .expect("the paragraph");
    let (_, rest) = rest.split_once("```toml\n").expect("the example");
    rest.split_once("```").expect("its end").0
}

each!(set_id_and_administrators_programs_can_be_left_out);
fn set_id_and_administrators_programs_can_be_left_out(who: Who) {
    // Files of each that every Debian has: by name, by pattern and in a directory.
    let programs = [
        "/usr/bin/su",
        "/usr/bin/mount",
        "/usr/bin/passwd",
        "/usr/sbin/unix_chkpwd",
    ];
    let script = "import os
for p in PROGRAMS:
    try: open(p, 'rb').read(1); seen = 'OK'
    except OSError as e: seen = e.strerror
    try: os.execv(p, [p, '--version']) if os.fork() == 0 else None; started = os.WEXITSTATUS(os.wait()[1])
    except OSError as e: os._exit(99)
    print(p, seen, 'not started' if started == 99 else 'started')";
    let script = script.replace("PROGRAMS", &format!("{programs:?}"));
    let workspace = Workspace::new(who);
    let run = || Run::new(who, &workspace);
    let without = run().policy_text(&workspace, "admin", documented());
    let without = without.python(&script).ok();
    let with = run().python(&script).ok();
    for program in programs {
        assert!(std::path::Path::new(program).exists(), "{program}");
        let refused = format!("{program} Permission denied not started\n");
        assert!(
            without.stdout.contains(&refused),
            "{who:?} {program}: {without:#?}"
        );
        // The control.
        let started = format!("{program} OK started\n");
        assert!(
            with.stdout.contains(&started),
            "{who:?} {program}: {with:#?}"
        );
    }
    // Other programs go on.
    let git = run().policy_text(&workspace, "admin", documented());
    git.sh("git --version && ls / >/dev/null").ok();
}
