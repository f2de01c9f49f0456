//! `creel-docker`, called as OpenClaw's backend `docker` calls docker (openclaw 2026.9.6).

use std::process::Command;

use serde_json::Value;

use super::doors::called;
use super::{Said, Session, said, said_to};
use crate::support::{Who, has_cgroups};

const MOUNTS: &str = r#"{"Mounts":{{json .Mounts}},"Tmpfs":{{json .HostConfig.Tmpfs}}}"#;

/// The container of a test; removed on drop.
struct Container(Session);

impl Container {
    fn named(who: Who) -> Container {
        Container(Session::named(who))
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = called(&self.0, "creel-docker");
        command.args(words);
        command
    }

    fn docker(&self, words: &[&str]) -> Said {
        said(self.command(words))
    }

    fn workspace(&self) -> String {
        self.0.workspace.path().display().to_string()
    }

    fn user(&self) -> String {
        let (uid, gid, _) = self.0.who.account();
        format!("{uid}:{gid}")
    }

    /// `create` as OpenClaw calls it, with more flags.
    fn create(&self, more: &[&str]) -> Said {
        let (name, workspace, user) = (&self.0.name, self.workspace(), self.user());
        let volume = format!("{workspace}:/workspace:z");
        // Skills of OpenClaw's, at a place that is protected in a workspace.
        let skills = self.0.workspace.outside().join("skills");
        std::fs::create_dir_all(&skills).expect("a directory");
        std::fs::write(skills.join("one"), "a skill").expect("written");
        let skills = format!(
            "{}:/workspace/.openclaw/sandbox-skills/skills:ro,z",
            skills.display()
        );
        self.0
            .workspace
            .write("create.env", "LANG=C.UTF-8\nOPENCLAW_CLI=1\n");
        let file = format!("{workspace}/create.env");
        let words = [
            "create",
            "--name",
            name,
            "--init",
            "--label",
            "openclaw.sandbox=1",
            "--label",
            "openclaw.configHash=abc",
            "--read-only",
            "--tmpfs",
            "/tmp",
            "--tmpfs",
            "/var/tmp",
            "--tmpfs",
            "/run",
            "--network",
            "none",
            "--user",
            &user,
            "--cap-drop",
            "ALL",
            "--security-opt",
            "no-new-privileges",
            "--workdir",
            "/workspace",
            "-v",
            &volume,
            "-v",
            &skills,
            "--env-file",
            &file,
        ];
        let image = ["openclaw-sandbox:bookworm-slim", "sleep", "infinity"];
        self.docker(&[&words[..], more, &image].concat())
    }

    fn started(&self, more: &[&str]) {
        self.create(more).ok();
        self.docker(&["start", &self.0.name]).ok();
    }

    fn inspect(&self, template: &str) -> String {
        let said = self.docker(&["inspect", "--format", template, &self.0.name]);
        said.ok().out.trim().to_owned()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self.command(&["rm", "-f", &self.0.name]).output();
    }
}

each!(openclaws_calls_work);
fn openclaws_calls_work(who: Who) {
    let container = Container::named(who);
    let (name, workspace) = (&container.0.name.clone(), container.workspace());
    container
        .docker(&["version", "--format", "{{.Server.Version}}"])
        .ok();
    container
        .docker(&["image", "inspect", "openclaw-sandbox:bookworm-slim"])
        .ok();
    let none = container
        .docker(&["inspect", "-f", "{{.State.Running}}", name])
        .status(1);
    assert!(
        none.err.contains(&format!("No such container: {name}")),
        "{none:?}"
    );
    let created = container.create(&[]).ok();
    // An image is no such thing, and it is said.
    assert!(
        created
            .err
            .contains("openclaw-sandbox:bookworm-slim is not used"),
        "{created:?}"
    );
    assert_eq!(container.inspect("{{.State.Running}}"), "false");
    assert_eq!(
        container.docker(&["start", name]).ok().out,
        format!("{name}\n")
    );
    let id = container.inspect("{{.Id}}");
    assert!(
        id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit()),
        "{id}"
    );
    assert_eq!(created.out.trim(), id);
    assert_eq!(
        container.inspect("{{.Id}} {{.State.Running}} {{.State.Paused}}"),
        format!("{id} true false")
    );
    assert_eq!(
        container.inspect("{{ index .Config.Labels \"openclaw.configHash\" }}"),
        "abc"
    );
    assert_eq!(
        container.inspect("{{.Config.Image}}"),
        "openclaw-sandbox:bookworm-slim"
    );
    let mounts: Value = serde_json::from_str(&container.inspect(MOUNTS)).expect("JSON");
    let mount = &mounts["Mounts"][0];
    assert_eq!(
        (&mount["Type"], &mount["RW"]),
        (&"bind".into(), &true.into())
    );
    assert_eq!(
        (&mount["Source"], &mount["Destination"]),
        (&workspace.clone().into(), &"/workspace".into())
    );
    assert!(
        mounts["Tmpfs"]["/tmp"].is_string() && mounts["Tmpfs"]["/run"].is_null(),
        "{mounts}"
    );
    let table = container
        .docker(&["exec", &id, "cat", "/proc/self/mountinfo"])
        .ok()
        .out;
    let place = |line: &str| line.split(' ').nth(4).map(str::to_owned);
    assert!(
        table.lines().filter_map(place).any(|at| at == "/workspace"),
        "{table}"
    );
    container
        .0
        .workspace
        .write("exec.env", "A=it's\nOPENCLAW_PREPEND_PATH=/opt/x\n");
    let file = format!("{workspace}/exec.env");
    let script = r#"export PATH="${OPENCLAW_PREPEND_PATH}:$PATH"; echo "$A $OPENCLAW_CLI ${PATH%%:*}"; pwd; cat; echo made >made; exit 4"#;
    let exec = [
        "exec",
        "-i",
        "-w",
        "/workspace",
        "--env-file",
        &file,
        &id,
        "/bin/sh",
        "-lc",
        script,
    ];
    let ran = said_to(container.command(&exec), b"input\n").status(4);
    assert_eq!(ran.out, format!("it's 1 /opt/x\n/workspace\ninput\n"));
    // The files are the caller's.
    let made = std::fs::metadata(container.0.workspace.path().join("made")).expect("made");
    use std::os::unix::fs::MetadataExt as _;
    assert_eq!(format!("{}:{}", made.uid(), made.gid()), container.user());
    let skill = "/workspace/.openclaw/sandbox-skills/skills/one";
    let read = container.docker(&["exec", &id, "cat", skill]).ok();
    assert_eq!(read.out, "a skill");
    let written = format!("echo x >>{skill}");
    let refused = container.docker(&["exec", &id, "sh", "-c", &written]);
    assert!(
        refused.status != 0 && refused.err.contains("Permission denied"),
        "{refused:?}"
    );
    container.docker(&["pause", &id]).ok();
    assert_eq!(container.inspect("{{.State.Paused}}"), "true");
    container.docker(&["unpause", &id]).ok();
    container.docker(&["rm", "-f", &id]).ok();
    let gone = container
        .docker(&["inspect", "--format", "{{.Id}}", &id])
        .status(1);
    assert!(
        gone.err.contains(&format!("No such container: {id}")),
        "{gone:?}"
    );
}

each!(a_container_outlives_its_session);
fn a_container_outlives_its_session(who: Who) {
    let container = Container::named(who);
    let name = &container.0.name.clone();
    container.started(&[]);
    let id = container.inspect("{{.Id}}");
    container
        .docker(&["exec", name, "sh", "-c", "echo a >kept; echo b >/tmp/lost"])
        .ok();
    container.docker(&["stop", "-t", "1", name]).ok();
    assert_eq!(container.inspect("{{.State.Status}}"), "exited");
    let stopped = container.docker(&["exec", name, "true"]).status(1);
    assert!(stopped.err.contains("is not running"), "{stopped:?}");
    container.docker(&["start", &id[..12]]).ok();
    assert_eq!(container.inspect("{{.Id}}"), id);
    let again = container
        .docker(&["exec", &id[..20], "sh", "-c", "cat kept /tmp/lost"])
        .status(1);
    assert_eq!(again.out, "a\n");
    // Eleven digits are no id, and a name is taken once.
    container.docker(&["exec", &id[..11], "true"]).status(1);
    let taken = container.create(&[]).status(125);
    assert!(taken.err.contains("already in use"), "{taken:?}");
    let filter = format!("name={name}");
    let listed = container
        .docker(&["ps", "-q", "--no-trunc", "--filter", &filter])
        .ok();
    assert_eq!(listed.out.trim(), id);
    let running = container.docker(&["rm", name]).status(125);
    assert!(running.err.contains("rm -f"), "{running:?}");
    // With -f the removal may be repeated.
    container.docker(&["rm", "-f", name]).ok();
    container.docker(&["rm", "-f", name]).ok();
    container.docker(&["rm", name]).status(1);
}

each!(stdin_is_empty_unless_it_is_asked_for);
fn stdin_is_empty_unless_it_is_asked_for(who: Who) {
    let container = Container::named(who);
    let name = &container.0.name.clone();
    container.started(&[]);
    let read = |words: &[&str]| said_to(container.command(words), b"input").ok().out;
    assert_eq!(read(&["exec", name, "cat"]), "");
    assert_eq!(read(&["exec", "-i", name, "cat"]), "input");
    container
        .docker(&["exec", name, "sh", "-c", "kill -9 $$"])
        .status(137);
    container
        .docker(&["exec", name, "/nonexistent"])
        .status(127);
    let terminal = container.docker(&["exec", "-t", name, "tty"]).ok();
    assert!(terminal.out.starts_with("/dev/pts/"), "{terminal:?}");
}

each!(flags_that_creel_cannot_honour_are_refused);
fn flags_that_creel_cannot_honour_are_refused(who: Who) {
    let container = Container::named(who);
    let name = &container.0.name.clone();
    let workspace = container.workspace();
    let volume = format!("{workspace}:/x:rslave");
    for (more, wanted) in [
        (&["--privileged"][..], "--privileged"),
        (&["--cap-add", "SYS_ADMIN"], "--cap-add"),
        (
            &["--security-opt", "seccomp=unconfined"],
            "seccomp=unconfined",
        ),
        (&["--device", "/dev/null"], "--device"),
        (&["--network", "host"], "--network host"),
        (&["--network", "bridge"], "grants no host"),
        (&["--user", "12345:12345"], "--user 12345:12345"),
        (&["--pid", "host"], "--pid"),
        (&["--tmpfs", "/opt"], "--tmpfs /opt"),
        (&["--memory", "64m", "--memory-swap", "-1"], "-1"),
        (&["--memory", "64m", "--memory-swap", "128m"], "no swap"),
        (&["--ulimit", "memlock=-1"], "memlock"),
        (&["--dns", "1.1.1.1"], "--dns"),
        (&["--gpus", "all"], "--gpus"),
        (&["-v", "data:/data"], "absolute"),
        (&["-v", &volume], "options"),
        (&["--entrypoint", "sh"], "--entrypoint"),
        (&["--no-such-flag"], "--no-such-flag"),
    ] {
        let refused = container.create(more).status(125);
        assert!(
            refused.err.contains(wanted) && refused.out.is_empty(),
            "{more:?}: {refused:?}"
        );
    }
    let other = container
        .docker(&["create", "--name", name, "image", "rm", "-rf", "/"])
        .status(125);
    assert!(other.err.contains("sleep infinity"), "{other:?}");
    container.docker(&["run", "image"]).status(125);
    container.docker(&["inspect", name]).status(1);
    // The control: the same call without them.
    container
        .create(&["--memory", "64m", "--memory-swap", "64m"])
        .ok();
    // A policy that grants hosts is no `--network none`, and the other way round.
    container.docker(&["rm", name]).ok();
    let mut command = container.command(&["create", "--name", name, "--network", "none", "image"]);
    command.env("CREEL_FLAGS", "--allow-net example.org");
    let refused = said(command).status(125);
    assert!(refused.err.contains("grants hosts"), "{refused:?}");
    let mut command =
        container.command(&["create", "--name", name, "--network", "bridge", "image"]);
    command.env("CREEL_FLAGS", "--allow-net example.org");
    said(command).ok();
}

each!(limits_are_those_of_the_jail);
fn limits_are_those_of_the_jail(who: Who) {
    let container = Container::named(who);
    let name = &container.0.name.clone();
    container.started(&[
        "--memory",
        "96m",
        "--cpus",
        "1.5",
        "--pids-limit",
        "40",
        "--ulimit",
        "nofile=64:128",
        "--ulimit",
        "nproc=30",
        "--ulimit",
        "core=0",
    ]);
    let open = container
        .docker(&["exec", name, "sh", "-c", "ulimit -n; ulimit -Hn"])
        .ok();
    assert_eq!(open.out, "128\n128\n");
    if has_cgroups(who) {
        let limits = container
            .inspect("{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}}");
        assert_eq!(limits, format!("{} 1500000000 30", 96 << 20));
    }
}
