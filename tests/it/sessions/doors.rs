//! The doors for programs that take one word: `creel-sh`, `creel-mcp`, and the hook of Claude Code.

use std::ffi::OsStr;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use super::{Said, Session, of, said};
use crate::support::{Who, binary, has_cgroups};

/// `creel-sh` for the workspace of a session that is not made by name.
fn shell(session: &Session, key: &str, more: &[&str]) -> Command {
    let mut command = called(session, "creel-sh");
    command.env("CREEL_SESSION", key).args(more);
    command
}

/// A link to creel of this name, called in the session's workspace by its user.
pub(super) fn called(session: &Session, name: &str) -> Command {
    let link = session.workspace.outside().join(name);
    if !link.exists() {
        symlink(binary(), &link).expect("a link");
    }
    let mut command = Command::new(link);
    for (name, value) in session.creel("x").get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    command.env("PATH", "/usr/bin:/bin");
    if !has_cgroups(session.who) {
        command.env("CREEL_FLAGS", "--allow-degraded cgroup");
    }
    command
        .current_dir(session.workspace.path())
        .stdin(Stdio::null());
    let (uid, gid, home) = session.who.account();
    if crate::support::is_root() && session.who == Who::User {
        use std::os::unix::process::CommandExt as _;
        command.env("HOME", home).uid(uid).gid(gid);
    }
    command
}

/// Removes the sessions of these workspaces on drop.
struct Swept<'a>(&'a Session);

impl Drop for Swept<'_> {
    fn drop(&mut self) {
        let mut command = self.0.creel("ps");
        command.args(["--all", "--json"]);
        let listed = said(command).out;
        let listed: serde_json::Value = serde_json::from_str(&listed).unwrap_or_default();
        let here = self.0.workspace.path();
        for one in listed["sessions"].as_array().into_iter().flatten() {
            let (record, name) = (&one["record"], &one["record"]["name"]);
            if record["workdir"] == *here.to_string_lossy()
                && let Some(name) = name.as_str()
            {
                let mut command = self.0.creel("rm");
                command.args(["--force", name]);
                let _ = command.output();
            }
        }
    }
}

each!(a_shell_keeps_its_directory_and_its_processes);
fn a_shell_keeps_its_directory_and_its_processes(who: Who) {
    let session = Session::named(who);
    let _swept = Swept(&session);
    let key = session.name.clone();
    let run = |script: &str| said(shell(&session, &key, &[script]));
    let path = session.workspace.path();
    session.workspace.write("sub/file", "");
    run("cd sub; echo kept > /tmp/note; exit 3").status(3);
    let next = run("pwd; cat /tmp/note; cd ..").ok();
    assert_eq!(next.out, format!("{}/sub\nkept\n", path.display()));
    let option = said(shell(&session, &key, &["-c", "pwd"])).ok();
    assert_eq!(option.out, format!("{}\n", path.display()));
    // Another key is another session.
    let other = said(shell(&session, &format!("{key}-2"), &["cat /tmp/note"]));
    assert_ne!(other.status, 0);
    let mut command = shell(&session, &key, &["true"]);
    command.env("CREEL_FLAGS", "--no-such-flag");
    let wrong = said(command).status(125);
    assert!(wrong.err.contains("CREEL_FLAGS"), "{wrong:?}");
}

// Claude Code reads a script's last directory from a file of the host.
each!(claude_code_learns_the_last_directory);
fn claude_code_learns_the_last_directory(who: Who) {
    let session = Session::named(who);
    let _swept = Swept(&session);
    session.workspace.write("sub/file", "");
    let key = session.name.clone();
    let word = key.replace('-', "");
    let file = std::path::PathBuf::from(format!("/tmp/claude-{word}-cwd"));
    let run = |directory: &str| {
        let script = format!("cd {directory}; pwd -P >| {}", file.display());
        said(shell(&session, &key, &[&script])).ok()
    };
    let victim = session.workspace.outside().join("victim");
    std::fs::create_dir(&victim).expect("mkdir");
    let read = || std::fs::read_to_string(&file).unwrap_or_default();
    let path = session.workspace.path();
    // The jail chooses none: it could put a link there, and the next script would begin behind it, on the host.
    let sub = path.join("sub");
    let sub = sub.display();
    let linked = format!("{sub}; ln -s {} ../link; cd ../link", victim.display());
    for script in ["/usr/bin", &linked, &sub.to_string()] {
        run(script);
        assert_eq!(read(), format!("{}\n", path.display()));
    }
    // The next one begins where the last one ended, all the same.
    let next = said(shell(&session, &key, &["pwd"])).ok();
    assert_eq!(next.out, format!("{}/sub\n", path.display()));
    // A file that the script names elsewhere is another conversation's.
    std::fs::remove_file(&file).expect("removed");
    let named = format!("echo {}; true", file.display());
    said(shell(&session, &key, &[&named])).ok();
    assert!(!file.exists());
}

each!(a_directory_that_is_gone_does_not_stop_the_shell);
fn a_directory_that_is_gone_does_not_stop_the_shell(who: Who) {
    let session = Session::named(who);
    let _swept = Swept(&session);
    let key = session.name.clone();
    let run = |script: &str| said(shell(&session, &key, &[script]));
    run("mkdir -p build; cd build").ok();
    run("rm -rf ../build").ok();
    let next = run("pwd").ok();
    let path = session.workspace.path();
    assert_eq!(next.out, format!("{}\n", path.display()));
    assert!(next.err.contains("not there any more"), "{next:?}");
    // A script may have written anything.
    run("trap - EXIT; echo /nonexistent > $creel_cwd").ok();
    run("pwd").ok();
    assert_eq!(run("pwd").ok().err, "");
}

each!(a_server_of_tools_speaks_over_its_streams);
fn a_server_of_tools_speaks_over_its_streams(who: Who) {
    let session = Session::named(who);
    let link = session.workspace.outside().join("creel-mcp");
    symlink(binary(), &link).expect("a link");
    let serve = "import sys, json\nfor line in sys.stdin:\n  q = json.loads(line)\n  print(json.dumps({'jsonrpc': '2.0', 'id': q['id'], 'result': q['method']}), flush=True)";
    let mut command = Command::new(link);
    let words: Vec<&OsStr> = match has_cgroups(who) {
        true => vec![],
        false => ["--allow-degraded", "cgroup", "--"]
            .map(OsStr::new)
            .to_vec(),
    };
    command.args(words).args(["python3", "-c", serve]);
    command
        .current_dir(session.workspace.path())
        .env_clear()
        .env("PATH", "/usr/bin:/bin");
    let (uid, gid, home) = who.account();
    if crate::support::is_root() && who == Who::User {
        use std::os::unix::process::CommandExt as _;
        command.env("HOME", home).uid(uid).gid(gid);
    }
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("creel starts");
    let mut pipe = child.stdin.take().expect("a pipe");
    pipe.write_all(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initialize\"}\n")
        .expect("sent");
    drop(pipe);
    let answered: Said = of(child.wait_with_output().expect("creel ends")).ok();
    assert_eq!(
        answered.out,
        "{\"jsonrpc\": \"2.0\", \"id\": 1, \"result\": \"initialize\"}\n"
    );
    assert_eq!(answered.err, "");
}

// Claude Code uses the tool as it is, on the host, if a hook ends with another status than 0 and 2.
each!(a_hook_that_cannot_answer_blocks_the_command);
fn a_hook_that_cannot_answer_blocks_the_command(who: Who) {
    let session = Session::named(who);
    let asked = |question: &[u8], flags: &[&str]| {
        let mut hook = session.creel("hook");
        hook.arg("claude-code").args(flags);
        super::said_to(hook, question)
    };
    let bash = |input: &str| format!(r#"{{"tool_name":"Bash","tool_input":{input}}}"#);
    for question in [
        bash(r#"{"command":"touch pwned # \ud800"}"#),
        bash(r#"{"command":["ls"]}"#),
        bash(r#""ls""#),
        bash(&format!(
            "{{\"command\":{}1{}}}",
            "[".repeat(200),
            "]".repeat(200)
        )),
        r#"{"tool_input":{"command":"ls"}}"#.into(),
        "{".into(),
        String::new(),
    ] {
        let blocked = asked(question.as_bytes(), &[]).status(2);
        assert!(blocked.err.contains("blocked"), "{blocked:?}");
        assert_eq!(blocked.out, "");
    }
    asked(b"\xff", &[]).status(2);
    let good = bash(r#"{"command":"ls"}"#);
    asked(good.as_bytes(), &["--no-such-flag"]).status(2);
    let mut full = session.creel("hook");
    full.arg("claude-code");
    full.stdout(
        std::fs::File::options()
            .write(true)
            .open("/dev/full")
            .expect("a device"),
    );
    full.stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = full.spawn().expect("creel starts");
    child
        .stdin
        .take()
        .expect("a pipe")
        .write_all(good.as_bytes())
        .expect("sent");
    assert_eq!(of(child.wait_with_output().expect("it ends")).status, 2);
    // The controls.
    asked(good.as_bytes(), &[]).ok();
    asked(br#"{"tool_name":"Read"}"#, &[]).ok();
}

// As Claude Code does: the question on stdin, and the rewritten command in a shell.
each!(a_hook_leads_commands_into_a_session);
fn a_hook_leads_commands_into_a_session(who: Who) {
    let session = Session::named(who);
    let _swept = Swept(&session);
    let question = serde_json::json!({
        "session_id": session.name, "hook_event_name": "PreToolUse", "tool_name": "Bash",
        "tool_input": { "command": "echo \"$CREEL\"; cat /root/.ssh/id_ed25519 || echo none" },
    });
    let mut command = session.creel("hook");
    command
        .arg("claude-code")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = command.spawn().expect("creel starts");
    let mut pipe = child.stdin.take().expect("a pipe");
    pipe.write_all(question.to_string().as_bytes())
        .expect("sent");
    drop(pipe);
    let answer = of(child.wait_with_output().expect("creel ends")).ok();
    let answer: serde_json::Value = serde_json::from_str(&answer.out).expect("JSON");
    let rewritten = &answer["hookSpecificOutput"]["updatedInput"]["command"];
    let command = shell(&session, "unused", &[]);
    let mut run = Command::new("/bin/sh");
    run.arg("-c")
        .arg(rewritten.as_str().expect("a command"))
        .current_dir(session.workspace.path());
    for (name, value) in command.get_envs() {
        run.env(name, value.unwrap_or_default());
    }
    let (uid, gid, _) = who.account();
    if crate::support::is_root() && who == Who::User {
        use std::os::unix::process::CommandExt as _;
        run.uid(uid).gid(gid);
    }
    let ran = said(run).ok();
    assert_eq!(ran.out, "1\nnone\n");
    let settings = session.workspace.path().join("settings.json");
    let other = r#"{"hooks":{"PreToolUse":[{"matcher":"Bash","hooks":[{"type":"command","command":"/bin/theirs"}]}]}}"#;
    std::fs::write(&settings, other).expect("written");
    if crate::support::is_root() {
        std::os::unix::fs::chown(&settings, Some(uid), Some(gid)).expect("chown");
    }
    for flags in [&[][..], &["--allow"], &["--allow"]] {
        let mut command = session.creel("hook");
        command
            .args(["claude-code", "--write"])
            .arg(&settings)
            .args(flags);
        said(command).ok();
    }
    let text = std::fs::read_to_string(&settings).expect("written");
    assert_eq!(
        text.matches("hook claude-code --allow").count(),
        1,
        "{text}"
    );
    assert_eq!(text.matches("hook claude-code").count(), 1, "{text}");
    assert!(text.contains("/bin/theirs"), "{text}");
}

// As bash calls it: the words so far, the last of which is completed.
each!(names_of_sessions_are_completed);
fn names_of_sessions_are_completed(who: Who) {
    let session = Session::new(who);
    let name = session.name.as_str();
    let start = &name[..name.len() - 1];
    let directory = crate::support::binary();
    let directory = directory.parent().expect("a directory").to_owned();
    let complete = |words: &[&str]| {
        let mut command = session.creel("completions");
        command.arg("bash");
        let script = said(command).ok().out;
        let script = script
            + "\nCOMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); COMPREPLY=()\n\
               _creel_with_sessions creel \"${@: -1}\" \"${@: -2:1}\"\n\
               printf '%s\\n' \"${COMPREPLY[@]}\"";
        // The same user, with creel in its PATH.
        let mut command = std::process::Command::new("/bin/bash");
        command.args(["-c", &script, "bash"]).args(words);
        command.current_dir(session.workspace.path()).env_clear();
        let path = format!("{}:/usr/bin:/bin", directory.display());
        command.env("PATH", path);
        let (uid, gid, home) = who.account();
        if crate::support::is_root() && who == Who::User {
            use std::os::unix::process::CommandExt as _;
            command.env("HOME", home).uid(uid).gid(gid);
        }
        let out = said(command).out;
        out.lines().any(|line| line == name)
    };
    for words in [
        &["creel", "exec", start][..],
        &["creel", "exec", "--workdir", "/tmp", start],
        &["creel", "rm", "--force", "other", start],
        &["creel", "net", "allow", start],
        &["creel", "file", "read", start],
    ] {
        assert!(complete(words), "{words:?}");
    }
    for words in [
        &["creel", "exec", name, start][..],
        &["creel", "exec", name, "--", start],
        &["creel", "exec", "--workdir", start],
        &["creel", "create", start],
        &["creel", "run", start],
        &["creel", "net", start],
    ] {
        assert!(!complete(words), "{words:?}");
    }
}
