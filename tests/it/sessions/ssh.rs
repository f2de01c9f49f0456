//! `creel-ssh`, called as OpenClaw's backend `ssh` calls ssh (openclaw 2026.9.6).

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use super::doors::called;
use super::{Said, Session, said, said_to};
use crate::support::Who;

/// A host of the test's own: its name, and where its files are.
struct Host<'a> {
    session: &'a Session,
    name: String,
}

impl Host<'_> {
    fn of(session: &Session) -> Host<'_> {
        Host {
            session,
            name: format!("h-{}", session.name),
        }
    }

    fn ssh(&self, words: &[&str]) -> Command {
        let mut command = called(self.session, "creel-ssh");
        command.env("XDG_DATA_HOME", self.session.workspace.path().join("data"));
        command.args(words);
        command
    }

    /// The file that OpenClaw writes for a target `agent@HOST:2022`, which it calls openclaw-sandbox.
    fn config(&self) -> String {
        let text = format!(
            "Host openclaw-sandbox\n  HostName {}\n  Port 2022\n  BatchMode yes\n  ConnectTimeout 5\n  ServerAliveInterval 15\n  ServerAliveCountMax 3\n  StrictHostKeyChecking yes\n  UpdateHostKeys yes\n  User agent\n",
            self.name
        );
        self.session.workspace.write("config", &text);
        self.session
            .workspace
            .path()
            .join("config")
            .display()
            .to_string()
    }

    /// `ssh -F CONFIG -T -o RequestTTY=no openclaw-sandbox REMOTE`
    fn openclaw(&self, argv: &[&str]) -> Command {
        let quoted = |word: &&str| format!("'{}'", word.replace('\'', "'\"'\"'"));
        let remote: Vec<String> = argv.iter().map(quoted).collect();
        let (config, remote) = (self.config(), remote.join(" "));
        self.ssh(&[
            "-F",
            &config,
            "-T",
            "-o",
            "RequestTTY=no",
            "openclaw-sandbox",
            &remote,
        ])
    }

    fn run(&self, script: &str) -> Said {
        said(self.ssh(&["-T", &self.name, script]))
    }

    fn sessions(&self) -> Vec<String> {
        let mut command = self.session.creel("ps");
        command.args(["--all", "--quiet"]);
        let all = said(command).out;
        let own = all.lines().filter(|name| name.contains(&self.name));
        own.map(str::to_owned).collect()
    }

    fn end(&self) {
        for name in self.sessions() {
            let mut command = self.session.creel("rm");
            command.args(["--force", &name]);
            let _ = command.output();
        }
    }
}

impl Drop for Host<'_> {
    fn drop(&mut self) {
        self.end();
    }
}

// Each command of OpenClaw's is three calls: a script is staged, run, and removed.
each!(openclaws_calls_share_one_session);
fn openclaws_calls_share_one_session(who: Who) {
    let session = Session::named(who);
    let host = Host::of(&session);
    let root = "/tmp/openclaw-sandboxes/r";
    let check = r#"if [ -d "$1" ]; then printf "1\n"; else printf "0\n"; fi"#;
    let check = || {
        said(host.openclaw(&["/bin/sh", "-c", check, "openclaw-sandbox-check", root]))
            .ok()
            .out
    };
    assert_eq!(check(), "0\n");
    let tar = Command::new("tar")
        .args(["-C", "/etc", "-cf", "-", "hosts"])
        .output()
        .expect("tar");
    let upload = r#"mkdir -p -- "$1" && tar -xf - -C "$1""#;
    let upload = host.openclaw(&["/bin/sh", "-c", upload, "openclaw-sandbox-upload", root]);
    said_to(upload, &tar.stdout).ok();
    assert_eq!(check(), "1\n");
    let place = "/tmp/openclaw-sandbox-exec-1";
    let stage = r#"umask 077 && mkdir -- "$1" && cat > "$1/exec.sh" && chmod 700 "$1/exec.sh""#;
    let script = format!(
        "#!/bin/sh\nset -e\nrm -rf -- '{place}'\nexport A='it'\"'\"'s'\nexec '/bin/sh' '-c' 'cd {root} && ls; echo \"$A\"; exit 3'\n"
    );
    let stage = host.openclaw(&["/bin/sh", "-c", stage, "openclaw-sandbox-exec-stage", place]);
    said_to(stage, script.as_bytes()).ok();
    let ran = said(host.openclaw(&["/bin/sh", &format!("{place}/exec.sh")])).status(3);
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("hosts\nit's\n", ""));
    said(host.openclaw(&["/bin/sh", "-c", "rm -rf -- \"$1\"", "x", place])).ok();
    assert_eq!(host.sessions().len(), 1);
}

each!(a_status_is_as_of_ssh);
fn a_status_is_as_of_ssh(who: Who) {
    let session = Session::named(who);
    let host = Host::of(&session);
    host.run("exit 7").status(7);
    host.run("exit 137").status(137);
    host.run("kill -9 $$").status(255);
    said(host.ssh(&["-F", "/nonexistent", &host.name, "true"])).status(255);
    // A signal to ssh ends the command. It runs once it has written.
    let mut command = host.ssh(&["-T", &host.name, "echo runs; exec sleep 600"]);
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .expect("creel starts");
    let mut line = String::new();
    let mut reader = BufReader::new(child.stdout.take().expect("a pipe"));
    reader.read_line(&mut line).expect("a line");
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
    nix::sys::signal::kill(pid, nix::sys::signal::SIGTERM).expect("sent");
    assert_eq!(child.wait().expect("it ends").code(), Some(255));
    host.run("! pgrep -x sleep").ok();
}

each!(a_terminal_is_made_where_it_is_forced);
fn a_terminal_is_made_where_it_is_forced(who: Who) {
    let session = Session::named(who);
    let host = Host::of(&session);
    let forced = [
        "-tt",
        "-o",
        "RequestTTY=force",
        "-o",
        "SetEnv=A=\"x y\"",
        &host.name,
        "tty; echo \"[$A]\"",
    ];
    let out = said(host.ssh(&forced)).ok().out;
    assert!(
        out.starts_with("/dev/pts/") && out.contains("[x y]"),
        "{out}"
    );
    assert_eq!(host.run("tty").status(1).out, "not a tty\n");
    // Without -n the command has the caller's input.
    let read = |words: &[&str]| said_to(host.ssh(words), b"input").ok().out;
    assert_eq!(read(&[&host.name, "cat"]), "input");
    assert_eq!(read(&["-n", &host.name, "cat"]), "");
}

each!(what_a_session_cannot_do_is_refused);
fn what_a_session_cannot_do_is_refused(who: Who) {
    let session = Session::named(who);
    let host = Host::of(&session);
    let made = session.workspace.path().join("made");
    let proxy = format!("ProxyCommand=touch {}", made.display());
    for options in [
        &["-L", "8080:localhost:80"][..],
        &["-A"],
        &["-N"],
        &["-J", "other"],
        &["-o", &proxy],
        &["-o", "LocalCommand=id"],
        &["-o", "ForwardAgent=yes"],
        &["-o", "NoSuchOption=1"],
    ] {
        let words = [options, &[&host.name, "echo ran"]].concat();
        let refused = said(host.ssh(&words)).status(255);
        assert!(
            refused.out.is_empty() && refused.err.contains("creel-ssh"),
            "{options:?}: {refused:?}"
        );
    }
    assert!(!made.exists() && host.sessions().is_empty());
    let harmless = [
        "-o",
        "ProxyCommand=none",
        "-o",
        "ForwardAgent=no",
        "-o",
        "BatchMode=yes",
        &host.name,
        "echo ran",
    ];
    assert_eq!(said(host.ssh(&harmless)).ok().out, "ran\n");
}

// A host keeps its files; what is in /tmp is the session's.
each!(a_host_is_a_session_with_files_that_stay);
fn a_host_is_a_session_with_files_that_stay(who: Who) {
    let session = Session::named(who);
    let host = Host::of(&session);
    session.workspace.write("secret", "of the caller's");
    let secret = session
        .workspace
        .path()
        .join("secret")
        .display()
        .to_string();
    host.run("echo kept >note; echo session >/tmp/note").ok();
    let read = host.run("pwd; cat note /workspace/note /tmp/note").ok();
    assert_eq!(read.out, "/workspace\nkept\nkept\nsession\n");
    // Another user is another session.
    let other = format!("other@{}", host.name);
    said(host.ssh(&[&other, "cat note || cat /tmp/note"])).status(1);
    assert_eq!(host.sessions().len(), 2);
    host.end();
    assert_eq!(host.run("cat note; cat /tmp/note").status(1).out, "kept\n");
    // The caller's files are not there, unless they are granted.
    let read = format!("cat {secret}");
    host.run(&read).status(1);
    let mut command = host.ssh(&[&host.name, &read]);
    let flags = command.get_envs().find(|(name, _)| *name == "CREEL_FLAGS");
    let flags = flags
        .and_then(|(_, value)| value?.to_str())
        .unwrap_or_default()
        .to_owned();
    command.env("CREEL_FLAGS", format!("{flags} --read {secret}"));
    assert_eq!(said(command).ok().out, "of the caller's");
}
