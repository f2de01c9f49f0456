//! Answers of every verb and the files that it is given, of any kind.

use std::fs::OpenOptions;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output, Stdio};

use crate::support::{Run, Who, Workspace, binary, has_cgroups, is_root, need};

/// Every verb that has an answer, with the exit status of that.
const ANSWERS: &[(&[&str], i32)] = &[
    (&["--help"], 0),
    (&["--version"], 0),
    (&["run", "--help"], 0),
    (
        &[
            "run",
            "--dry-run",
            "--allow-degraded",
            "cgroup",
            "--",
            "true",
        ],
        0,
    ),
    (
        &[
            "run",
            "--dry-run",
            "--json",
            "--allow-degraded",
            "cgroup",
            "--",
            "true",
        ],
        0,
    ),
    (&["doctor", "--help"], 0),
    (&["policy", "--help"], 0),
    (&["policy", "check", "default"], 0),
    (&["policy", "check", "absent.toml"], 2),
    (&["policy", "check", "--json", "default"], 0),
    (
        &[
            "policy",
            "explain",
            "--allow-degraded",
            "cgroup",
            "--",
            "true",
        ],
        0,
    ),
    (&["policy", "explain", "--print-host", "--", "true"], 0),
    (&["policy", "explain", "--json", "--", "nosuchthing"], 1),
    (&["policy", "diff", "default", "coding"], 1),
    (&["policy", "test", "default"], 0),
    (&["policy", "test", "--json", "empty.toml"], 1),
    (&["policy", "show"], 0),
    (&["policy", "list"], 0),
    (&["policy", "schema"], 0),
    (&["policy", "import", "--quiet", "srt.json"], 0),
    (&["selftest", "--list"], 0),
    (&["completions", "bash"], 0),
    (&["man"], 0),
];

fn creel(who: Who, workspace: &Workspace, words: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command
        .args(words)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .current_dir(workspace.path())
        .stdin(Stdio::null())
        .stderr(Stdio::piped());
    let (uid, gid, home) = who.account();
    if is_root() && who == Who::User {
        command.env("HOME", home).uid(uid).gid(gid);
    }
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn prepared(who: Who) -> Workspace {
    let workspace = Workspace::new(who);
    workspace.write("empty.toml", "");
    workspace.write(
        "srt.json",
        "{\"network\": {\"allowedDomains\": []}, \"filesystem\": {}}",
    );
    workspace
}

each!(pages_that_cannot_be_written_are_told_with_their_place);
fn pages_that_cannot_be_written_are_told_with_their_place(who: Who) {
    let workspace = prepared(who);
    let man = |place: &str| {
        let output = creel(who, &workspace, &["man", place]).output();
        output.expect("creel runs")
    };
    let refused = man("empty.toml");
    assert_eq!(refused.status.code(), Some(125), "{refused:?}");
    assert!(
        said(&refused).contains("cannot be written to empty.toml"),
        "{refused:?}"
    );
    assert_eq!(man("pages").status.code(), Some(0));
    assert!(workspace.path().join("pages/creel-run.1").exists());
}

each!(every_verb_has_one_rule_for_its_answer);
/// A reader that has gone changes nothing, and an answer that is lost is a failure.
fn every_verb_has_one_rule_for_its_answer(who: Who) {
    let workspace = prepared(who);
    let doctor = creel(who, &workspace, &["doctor"])
        .output()
        .expect("creel runs");
    let doctor: (&[&str], i32) = (&["doctor"], doctor.status.code().expect("a status"));
    for (words, status) in ANSWERS.iter().copied().chain([doctor]) {
        let told = |stdout: Stdio| {
            let mut command = creel(who, &workspace, words);
            let child = command.stdout(stdout).spawn().expect("creel starts");
            // Ours would keep the pipe's other end open.
            drop(command);
            child.wait_with_output().expect("creel ends")
        };
        let read = told(Stdio::piped());
        assert_eq!(read.status.code(), Some(status), "{words:?}: {read:?}");
        assert!(!read.stdout.is_empty(), "{words:?}");
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let left = told(writer.into());
        assert_eq!(left.status.code(), Some(status), "{words:?}: {left:?}");
        assert_eq!(said(&left), said(&read), "{words:?}");
        let failed = if words[0] == "policy" { 2 } else { 125 };
        let full = OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .expect("open");
        let full = told(full.into());
        assert_eq!(full.status.code(), Some(failed), "{words:?}: {full:?}");
        assert!(said(&full).contains("No space left on device"), "{full:?}");
        let mut command = creel(who, &workspace, words);
        // SAFETY: close is async-signal-safe.
        unsafe {
            command.pre_exec(|| {
                libc::close(1);
                Ok(())
            });
        }
        let closed = command.output().expect("creel runs");
        assert_eq!(closed.status.code(), Some(failed), "{words:?}: {closed:?}");
        assert!(said(&closed).contains("stdout is closed"), "{closed:?}");
    }
}

each!(a_policy_in_a_pipe_is_read_and_one_that_never_comes_is_refused);
fn a_policy_in_a_pipe_is_read_and_one_that_never_comes_is_refused(who: Who) {
    need("bash");
    need("mkfifo");
    let workspace = prepared(who);
    workspace.write("p.toml", "extends = 'default'\n");
    let shell = |script: &str| {
        let script = format!(
            "creel() {{ timeout 60 {} \"$@\"; }}; {script}",
            binary().display()
        );
        let mut shell = Command::new("/bin/bash");
        shell
            .args(["-c", &script])
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .current_dir(workspace.path())
            .stdin(Stdio::null());
        let (uid, gid, home) = who.account();
        if is_root() && who == Who::User {
            shell.env("HOME", home).uid(uid).gid(gid);
        }
        shell.output().expect("bash runs")
    };
    for read in [
        "creel policy check <(cat p.toml)",
        "creel policy check <(sleep 0.2; exec cat p.toml)",
        "cat p.toml | creel policy check /dev/stdin",
        "creel policy check /dev/stdin < p.toml",
        "mkfifo a; cat p.toml > a & exec 3< a; creel policy check /dev/fd/3",
        "creel policy diff <(cat p.toml) <(cat p.toml)",
        "creel policy show --policy <(cat p.toml) > /dev/null",
    ] {
        let output = shell(read);
        assert_eq!(output.status.code(), Some(0), "{read}: {output:?}");
        let _ = std::fs::remove_file(workspace.path().join("a"));
    }
    for (refused, status) in [
        ("mkfifo c; creel policy check ./c", 2),
        ("creel run --policy ./c -- true", 125),
        ("creel policy explain --policy ./c -- true", 2),
        ("creel policy explain --host ./c -- true", 2),
        ("creel run --renter ./c -- true", 125),
        ("creel policy import ./c", 2),
        ("creel policy test ./c", 2),
        ("creel policy check <(true)", 2),
        ("creel policy check <(sleep 0.2)", 2),
    ] {
        let output = shell(refused);
        assert_eq!(output.status.code(), Some(status), "{refused}: {output:?}");
        let text = said(&output) + &String::from_utf8_lossy(&output.stdout);
        assert!(
            text.contains("a pipe that delivers no data"),
            "{refused}: {text}"
        );
        assert!(text.contains("/dev/stdin"), "{refused}: {text}");
    }
}

each!(a_bare_word_in_extends_that_is_a_file_is_told_with_its_slash);
fn a_bare_word_in_extends_that_is_a_file_is_told_with_its_slash(who: Who) {
    let workspace = prepared(who);
    workspace.write("dir/pol", "extends = 'default'\n");
    let check = |base: &str| {
        workspace.write("dir/p.toml", &format!("extends = ['{base}']\n"));
        let output = creel(who, &workspace, &["policy", "check", "dir/p.toml"]).output();
        output.expect("creel runs")
    };
    assert_eq!(check("./pol").status.code(), Some(0));
    let refused = check("pol");
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    let text = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert!(
        text.contains("write './pol'") && text.contains("dir/p.toml:1"),
        "{text}"
    );
    // Files in the directory where creel was started are not beside the file.
    workspace.write("here", "");
    for absent in ["here", "pool"] {
        let text = String::from_utf8_lossy(&check(absent).stdout).into_owned();
        assert!(
            text.contains("presets: ") && !text.contains("write './"),
            "{text}"
        );
    }
}

each!(what_a_project_extends_in_vain_is_one_warning);
/// One of a project that extends a shipped policy beneath a narrower one: one thing is wrong.
fn what_a_project_extends_in_vain_is_one_warning(who: Who) {
    let workspace = prepared(who);
    let check = |text: &str| {
        workspace.write(".creel/policy.toml", text);
        let output = creel(who, &workspace, &["policy", "check"])
            .output()
            .expect("creel runs");
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let text = check("extends = 'coding'\n");
    assert_eq!(text.matches("warning[clipped]").count(), 1, "{text}");
    assert!(text.contains(".creel/policy.toml"), "{text}");
    // Each of its own words is one.
    let own = check("[filesystem]\nread = ['/usr', '/srv/a', '/srv/b']\n");
    assert_eq!(own.matches("warning[clipped]").count(), 2, "{own}");
    let none = check("extends = 'default'\n");
    assert_eq!(none.matches("warning[clipped]").count(), 0, "{none}");
}

each!(what_only_tells_tells_also_where_a_run_is_refused);
fn what_only_tells_tells_also_where_a_run_is_refused(who: Who) {
    if has_cgroups(who) {
        eprintln!("skipped for {who:?}: a run lacks nothing here");
        return;
    }
    let workspace = prepared(who);
    let asked = |words: &[&str]| creel(who, &workspace, words).output().expect("creel runs");
    let refused = asked(&["run", "--", "true"]);
    assert_eq!(refused.status.code(), Some(125), "{refused:?}");
    for words in [
        &["run", "--dry-run", "--", "true"][..],
        &["run", "--dry-run", "--json", "--", "true"],
        &["policy", "explain", "--", "true"],
        &["policy", "explain", "--json", "--", "true"],
    ] {
        let told = asked(words);
        let status = if words[0] == "run" { 125 } else { 1 };
        assert_eq!(told.status.code(), Some(status), "{told:?}");
        let answer = String::from_utf8_lossy(&told.stdout).into_owned();
        assert!(answer.contains("/usr"), "{told:?}");
        let all = answer + &said(&told);
        assert!(all.contains("no cgroup can be used"), "{all}");
        assert!(all.contains("--allow-degraded cgroup"), "{all}");
        let mut with = words.to_vec();
        let at = with.iter().position(|word| *word == "--").expect("--");
        with.splice(at..at, ["--allow-degraded", "cgroup"]);
        let same = asked(&with);
        assert_eq!(same.status.code(), Some(0), "{same:?}");
        assert_eq!(said(&same), "", "{same:?}");
    }
}

/// An error of the command line names the help of its own verb.
#[test]
fn a_wrong_word_names_the_help_of_its_verb() {
    for (line, help) in [
        ("policy check --no-such", "`creel policy check --help`"),
        ("policy import --no-such", "`creel policy import --help`"),
        ("policy explain --host", "`creel policy explain --help`"),
        ("policy no-such", "`creel policy --help`"),
        ("policy --no-such", "`creel policy --help`"),
        ("run --no-such", "`creel run --help`"),
        ("selftest --no-such", "`creel selftest --help`"),
        ("no-such", "`creel --help`"),
        ("--no-such", "`creel --help`"),
    ] {
        let output = Command::new(binary()).args(line.split(' ')).output();
        let output = output.expect("creel runs");
        let text = said(&output);
        assert!(text.ends_with(&format!("; see {help}\n")), "{line}: {text}");
        // The help that it names exists.
        let words = help.trim_matches('`').split(' ').skip(1);
        let shown = Command::new(binary()).args(words).output();
        assert!(shown.expect("creel runs").status.success(), "{help}");
    }
}

each!(an_address_of_a_special_kind_is_refused_with_the_remedy);
/// An address that is refused for its kind is reported with the flag that grants it.
fn an_address_of_a_special_kind_is_refused_with_the_remedy(who: Who) {
    let workspace = prepared(who);
    let case = |allow: &str| {
        let text = format!(
            "extends = 'default'\ntools.allow = ['read', 'fetch']\n[network]\nmode = 'allowlist'\nallow = [{allow}]\n[tests]\nallow = ['fetch 192.0.2.1']\n"
        );
        workspace.write("p.toml", &text);
        let output = creel(who, &workspace, &["policy", "test", "p.toml"]).output();
        output.expect("creel runs")
    };
    let refused = case("'a.example'");
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let text = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert!(
        text.contains("for documentation") && text.contains("--allow-net ADDRESS"),
        "{text}"
    );
    let granted = case("'192.0.2.0/24'");
    assert_eq!(granted.status.code(), Some(0), "{granted:?}");
    let ran = Run::new(who, &workspace)
        .flags(["--allow-net", "a.example"])
        .argv(["curl", "-sSf", "http://192.0.2.1/"]);
    assert!(ran.stderr.contains("--allow-net ADDRESS"), "{ran:#?}");
}
