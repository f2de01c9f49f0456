//! A program that embeds creel: a policy's text and a command to a verdict, by `creel-session` alone.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::process::Stdio;

use creel_policy::{Degradable, WorkspaceMode};
use creel_session::{Asked, Layers, Place, declare, prepare, random_id};

use crate::support::drill::{self, Drill};
use crate::support::{Who, Workspace, binary, is_root};

/// Runs a script under a policy and says the verdict. Each is an argument, hence one line: JSON.
pub fn drill(arguments: &[String]) {
    let [policy, script] = arguments else {
        panic!("a policy and a script: {arguments:?}");
    };
    prepare();
    let place = Place::here();
    let verdict = Layers::of_text("agent.json", policy, &place.roots(None))
        .map_err(|error| error.code())
        .and_then(|layers| {
            let asked = Asked {
                command: ["/bin/sh", "-c", script].map(Into::into).into(),
                workspace_mode: Some(WorkspaceMode::None),
                allow_degraded: vec![Degradable::Cgroup],
                ..Asked::default()
            };
            let id = random_id();
            let declared = declare(&asked, &id, Some(&layers), &place, &mut |_| ());
            let verdict = declared.map_err(|error| error.code())?.run();
            verdict.map_err(|error| error.code())
        });
    drill::say(&match verdict {
        Ok(verdict) => verdict.to_json().trim_end().to_owned(),
        Err(code) => code.to_owned(),
    });
}

fn said(who: Who, policy: &str, script: &str) -> String {
    said_with(who, policy, script, Stdio::null())
}

fn said_with(who: Who, policy: &str, script: &str, stdin: Stdio) -> String {
    // The ordinary user must reach this binary too.
    binary();
    let workspace = Workspace::new(who);
    let mut command = drill::command("embed", &[policy, script]);
    command
        .current_dir(workspace.path())
        .stdin(stdin)
        .env_remove("XDG_RUNTIME_DIR");
    let (uid, gid, home) = who.account();
    if is_root() && who == Who::User {
        command.env("HOME", home).uid(uid).gid(gid);
    }
    let said = Drill::of(&mut command).finish();
    assert_eq!(said.len(), 1, "{said:?}");
    said.into_iter().next().unwrap_or_default()
}

each!(a_policys_text_and_a_command_come_to_a_verdict);
fn a_policys_text_and_a_command_come_to_a_verdict(who: Who) {
    let json = said(
        who,
        r#"{ "extends": "default" }"#,
        "test ! -e /etc/shadow && exit 3",
    );
    let verdict: serde_json::Value = serde_json::from_str(&json).expect(&json);
    assert_eq!(verdict["kind"], "exited", "{json}");
    assert_eq!(verdict["code"], 3, "{json}");
    assert_eq!(verdict["receipt"]["policy"]["name"], "agent.json", "{json}");
}

each!(a_directory_on_stdin_does_not_come_into_the_jail);
/// fchdir(2) on it would lead over the host, and Landlock does not restrict chmod(2) or stat(2).
fn a_directory_on_stdin_does_not_come_into_the_jail(who: Who) {
    let with = |stdin: File| said_with(who, r#"{ "extends": "default" }"#, "true", stdin.into());
    let directory = File::open("/usr").expect("a directory");
    assert_eq!(with(directory), "run-directory-on-stdin");
    let control = with(File::open("/dev/null").expect("a device"));
    assert!(control.contains("\"exited\""), "{control}");
}

/// Errors come with their codes, whichever stage makes them.
#[test]
fn what_is_refused_has_a_code() {
    for (policy, code) in [
        (r#"{ "extends": "./other.toml" }"#, "layer-extends-file"),
        (r#"{ "limits": { "memory": "much" } }"#, "bad-unit"),
        (
            r#"{ "extends": "default", "filesystem": { "read": ["/nowhere/at/all"] } }"#,
            "plan-missing",
        ),
        (
            r#"{ "extends": "default", "filesystem": { "read": ["/nowhere/*"] } }"#,
            "layer-meets-nothing",
        ),
    ] {
        assert_eq!(said(Who::of_this_process(), policy, "true"), code);
    }
}
