//! Placeholders of absent names that somebody else made, exchanged or filled: none is a way to the host's files,
//! and none hides what git reads. The control is the same act on what is no placeholder.

use std::ffi::OsStr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::fs::inotify;

use crate::attacks::{answers, attack, become_who, policy, refused};
use crate::support::{Run, Who, Workspace, is_root, need, wait};

/// Shell lines of somebody on the host in the workspace.
#[track_caller]
fn host(who: Who, workspace: &Workspace, script: &str) {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-ec", script]).current_dir(workspace.path());
    become_who(&mut shell, who);
    assert!(shell.status().expect("a shell").success(), "{script}");
}

/// A jail that says with the file `started` that it is there, and waits for `go` before it does `script`.
#[track_caller]
fn waiting(run: &Run, workspace: &Workspace, [started, go]: [&str; 2], script: &str) -> Child {
    let script = format!("touch {started}; while [ ! -e {go} ]; do sleep 0.02; done; {script}");
    let mut command = run.command(["/bin/sh", "-c", &script]);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let child = command.stderr(Stdio::piped()).spawn();
    wait::until("it starts", || workspace.path().join(started).exists());
    child.expect("creel starts")
}

/// Output of the attack.
#[track_caller]
fn ended(child: Child) -> String {
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{output:#?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Names whose mode, owner or times were changed.
fn changed(watch: &std::os::fd::OwnedFd) -> Vec<String> {
    let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
    let mut reader = inotify::Reader::new(watch, &mut buffer);
    let mut names = vec![];
    while let Ok(event) = reader.next() {
        let name = event
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        names.extend(name);
    }
    names
}

each!(nothing_in_the_directory_is_given_a_mode);
/// A process that may rename in the directory could exchange a file of root's for the one that is given a mode.
fn nothing_in_the_directory_is_given_a_mode(who: Who) {
    let workspace = Workspace::new(Who::User);
    let flags = inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC;
    let watch = inotify::init(flags).expect("inotify");
    inotify::add_watch(&watch, workspace.path(), inotify::WatchFlags::ATTRIB).expect("a watch");
    let run = Run::new(who, &workspace).policy("default");
    let mut command = run.command(["/bin/sh", "-c", "while [ ! -e go ]; do sleep 0.02; done"]);
    // SAFETY: umask(2) is safe between fork and exec.
    unsafe {
        command.pre_exec(|| {
            libc::umask(0o077);
            Ok(())
        });
    }
    let mut child = command.stdin(Stdio::null()).spawn().expect("creel starts");
    let place = workspace.path().join(".claude");
    wait::until("the placeholder", || place.exists());
    let mode = place.metadata().expect("it is there").permissions().mode();
    assert_eq!(mode & 0o7777, 0o1755);
    host(Who::User, &workspace, ": >go");
    assert!(child.wait().expect("it ends").success());
    assert!(!place.exists());
    let names = changed(&watch);
    assert!(names.iter().all(|name| name == "go"), "{names:?}");
    // The control.
    host(Who::User, &workspace, "chmod 600 go");
    assert_eq!(changed(&watch), ["go"]);
}

/// The race itself. Whether a run is refused is of no matter.
#[test]
fn a_file_that_is_exchanged_keeps_its_mode() {
    if !is_root() {
        eprintln!("skipped: an ordinary user has no file of another's to change");
        return;
    }
    let workspace = Workspace::new(Who::User);
    let secret = workspace.path().join("secret");
    std::fs::write(&secret, "root's").expect("write");
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).expect("chmod");
    let inode = secret.metadata().expect("it is there").ino();
    let exchange = "import ctypes, os\nc = ctypes.CDLL(None)\nwhile True:\n    \
                    if c.renameat2(-100, b'secret', -100, b'.claude', 2) == 0:\n        \
                    c.renameat2(-100, b'secret', -100, b'.claude', 2)\n";
    let mut other = Command::new("/usr/bin/python3");
    other.args(["-c", exchange]).current_dir(workspace.path());
    become_who(&mut other, Who::User);
    let mut other = other.spawn().expect("python3 starts");
    for _ in 0..15 {
        let run = Run::new(Who::Root, &workspace).policy("default");
        let mut command = run.command(["/bin/true"]);
        command.stdin(Stdio::null()).stderr(Stdio::null());
        command.status().expect("creel starts");
        let entries = std::fs::read_dir(workspace.path()).expect("a directory");
        let own = entries.flatten().find_map(|entry| {
            let meta = entry.path().symlink_metadata().ok()?;
            (meta.ino() == inode).then_some(meta)
        });
        // Between two names for a moment, it is looked for again.
        if let Some(meta) = own {
            assert_eq!(meta.mode() & 0o7777, 0o600);
        }
    }
    other.kill().expect("kill");
    other.wait().expect("it ends");
}

/// The repository's directories get the mode back that they had, and another one in their place does not.
#[test]
fn a_directory_in_the_place_of_the_repositorys_keeps_its_mode() {
    if !is_root() {
        eprintln!("skipped: an ordinary user has no directory of another's to change");
        return;
    }
    need("git");
    let mode = |path: &Path| path.metadata().expect("it is there").mode() & 0o7777;
    for (owner, expected) in [(Who::Root, 0o700), (Who::User, 0o755)] {
        let workspace = Workspace::new(Who::User);
        host(Who::User, &workspace, "umask 022; git init -q .");
        let secret = workspace.path().join(".git/secret");
        std::fs::create_dir(&secret).expect("mkdir");
        let (uid, gid, _) = owner.account();
        std::os::unix::fs::chown(&secret, Some(uid), Some(gid)).expect("chown");
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o700)).expect("chmod");
        let run = Run::new(Who::Root, &workspace);
        let child = waiting(&run, &workspace, ["started", "go"], ":");
        let swap = "import ctypes; ctypes.CDLL(None).renameat2(-100, b'.git/secret', -100, b'.git/objects', 2)";
        host(
            Who::User,
            &workspace,
            &format!("python3 -c \"{swap}\"; touch go"),
        );
        ended(child);
        assert_eq!(mode(&workspace.path().join(".git/objects")), expected);
    }
}

const READS: &str = r#"
say('reads', opened('secrets/k', os.O_RDONLY))
say('lists', py(os.listdir, 'secrets'))
say('free', opened('free/k', os.O_RDONLY))
"#;

each!(a_denied_name_shows_nothing_of_a_directory_that_stands_there);
/// A directory that an earlier jail made, and that the host uses while this one runs.
fn a_denied_name_shows_nothing_of_a_directory_that_stands_there(who: Who) {
    let denied = |workspace: &Workspace| policy(workspace, r#"deny = ["$WORKSPACE/secrets"]"#);
    for mode in ["1755", "1700", "755"] {
        let workspace = Workspace::new(who);
        let made = format!("mkdir secrets free; chmod {mode} secrets free");
        Run::new(who, &workspace).policy("default").sh(&made).ok();
        let run = Run::new(who, &workspace).policy(denied(&workspace));
        let script = crate::attacks::script(READS);
        host(
            who,
            &workspace,
            &format!("cat >read.py <<'END'\n{script}\nEND"),
        );
        let child = waiting(&run, &workspace, ["started", "go"], "python3 read.py");
        host(
            who,
            &workspace,
            "echo k >secrets/k; echo k >free/k; touch go",
        );
        answers(&ended(child)).expect(&[("reads", "EACCES"), ("lists", "EACCES"), ("free", "OK")]);
        let kept = std::fs::read_to_string(workspace.path().join("secrets/k"));
        assert_eq!(kept.expect("it is the host's"), "k\n");
    }
}

each!(runs_share_a_placeholder_that_they_see_differently);
/// One run keeps the name absent by a directory that the other one denies; and the other way round.
fn runs_share_a_placeholder_that_they_see_differently(who: Who) {
    let workspace = Workspace::new(who);
    let plain = Run::new(who, &workspace).policy("default");
    let denied = policy(&workspace, r#"deny = ["$WORKSPACE/.claude"]"#);
    let denies = Run::new(who, &workspace).policy(denied);
    let look = "cat .claude/k; ls .claude/; mkdir .claude || echo there";
    let first = waiting(&plain, &workspace, ["a", "go"], "ls .claude");
    let second = waiting(&denies, &workspace, ["b", "go"], look);
    host(who, &workspace, "echo k >.claude/k; touch go");
    assert_eq!(ended(second), "there\n");
    assert_eq!(ended(first), "");
    host(who, &workspace, "rm -r .claude go a b");
    // A socket, where the other has a directory.
    let first = waiting(&denies, &workspace, ["a", "go"], ":");
    let body =
        "say('looks', opened('.claude/x', os.O_RDONLY)); say('makes', py(os.mkdir, '.claude'))";
    attack(Run::new(who, &workspace).policy("default"), body)
        .expect(&[("looks", "ENOTDIR"), ("makes", "EEXIST")]);
    host(who, &workspace, "touch go");
    ended(first);
    assert!(!workspace.path().join(".claude").exists());
}

each!(what_stands_in_a_tree_that_is_only_read_is_covered);
/// If nothing can be created there, nothing must be kept absent, and an existing entry is covered.
fn what_stands_in_a_tree_that_is_only_read_is_covered(who: Who) {
    const MAKES: [&str; 3] = [
        "os.mkdir('secrets'); os.chmod('secrets', 0o1755)",
        "s = socket.socket(socket.AF_UNIX); s.bind('secrets'); os.chmod('secrets', 0)",
        "open('secrets', 'w').close(); os.utime('secrets', (271828182, 271828182)); os.chmod('secrets', 0o444)",
    ];
    for makes in MAKES {
        let workspace = Workspace::new(who);
        let planted = format!("import os, socket\n{makes}");
        Run::new(who, &workspace)
            .policy("default")
            .python(&planted)
            .ok();
        let denied = policy(&workspace, r#"deny = ["$WORKSPACE/secrets"]"#);
        let place = workspace.path();
        let read_only = Run::new(who, &workspace)
            .policy(&denied)
            .flags(["--workspace", &format!("{}:ro", place.display())]);
        let body =
            "say('opens', opened('secrets', os.O_RDONLY)); say('here', opened('.', os.O_RDONLY))";
        attack(read_only, body).expect(&[("opens", "EACCES"), ("here", "OK")]);
    }
}

each!(git_and_creel_read_the_same_file);
/// A placeholder of what git takes for a word is told by every byte: this one leads git elsewhere.
fn git_and_creel_read_the_same_file(who: Who) {
    need("git");
    let body = "say('config', py(open, 'config', 'w')); say('hooks', py(os.mkdir, 'hooks'))";
    // A name that is held absent is a directory in the jail, since git would open it.
    let held = ["EISDIR", "EEXIST"];
    for (pointer, touch, [config, hooks]) in [
        ("..", "@271828182", held),
        ("..", "@271828181", held),
        (".", "@271828182", ["OK", "OK"]),
    ] {
        let workspace = Workspace::new(who);
        let forged = format!(
            "git init -q . && mkdir objects refs && printf {pointer} >.git/commondir && \
             chmod 444 .git/commondir && touch -d {touch} .git/commondir"
        );
        Run::new(who, &workspace).policy("default").sh(&forged).ok();
        let file = workspace.path().join(".git/commondir");
        let run = Run::new(who, &workspace).policy("default");
        attack(run, body).expect(&[("config", config), ("hooks", hooks)]);
        // It is no placeholder, and stays.
        assert_eq!(std::fs::read_to_string(file).expect("it stays"), pointer);
    }
}

each!(a_forged_one_is_told);
/// A socket that looks like a placeholder and listens is reported when the run has ended.
fn a_forged_one_is_told(who: Who) {
    need("git");
    for (says, told) in [("..", true), (".\\n", false)] {
        let workspace = Workspace::new(who);
        host(
            who,
            &workspace,
            "git init -q sub && touch sub/.git/commondir && rm sub/.git/commondir",
        );
        // Files made in the same tick of the clock as the start count as the run's.
        wait::for_a_tick();
        let forged = format!(
            "printf '{says}' >sub/.git/commondir && chmod 444 sub/.git/commondir && \
             touch -d @271828182 sub/.git/commondir"
        );
        let ran = Run::new(who, &workspace).policy("default").sh(&forged).ok();
        let found = ran.verdict["left"]["found"].to_string();
        assert_eq!(found.contains("sub/.git"), told, "{found}");
    }
}

each!(a_flag_that_names_a_placeholder_names_nothing);
/// A name that another run holds is absent.
fn a_flag_that_names_a_placeholder_names_nothing(who: Who) {
    let workspace = Workspace::new(who);
    let run = || Run::new(who, &workspace).policy("default");
    let child = waiting(&run(), &workspace, ["started", "go"], "true");
    let name = workspace.path().join(".envrc");
    assert!(name.symlink_metadata().is_ok(), "it is held");
    let flagged = |flag: &str| {
        let run = run().flags([OsStr::new(flag), name.as_os_str()]);
        run.sh("cat .envrc")
    };
    for flag in ["--read", "--write"] {
        refused(&flagged(flag), "does not exist");
    }
    host(who, &workspace, ": >go");
    ended(child);
    // The control: a file.
    workspace.write(".envrc", "A=1");
    assert_eq!(flagged("--read").ok().stdout, "A=1");
}

each!(a_directory_with_names_that_another_run_holds_can_be_protected);
/// Names that a run holds are links of one socket, and a protected file must not have a second name. The control is a
/// file that has one.
fn a_directory_with_names_that_another_run_holds_can_be_protected(who: Who) {
    let workspace = Workspace::new(who);
    workspace.write("conf/there", "");
    let names = r#"protect = ["$WORKSPACE/conf/one", "$WORKSPACE/conf/two"]"#;
    let holds = Run::new(who, &workspace).policy(policy(&workspace, names));
    let child = waiting(&holds, &workspace, ["started", "go"], ":");
    let inode = |name: &str| {
        workspace
            .path()
            .join(name)
            .symlink_metadata()
            .map(|m| m.ino())
    };
    assert_eq!(inode("conf/one").ok(), inode("conf/two").ok());
    assert!(inode("conf/one").is_ok());
    let text = "extends = \"default\"\n[filesystem]\nprotect = [\"$WORKSPACE/conf\"]\n";
    let protects = || Run::new(who, &workspace).policy_text(&workspace, "directory", text);
    let ran = protects().sh("echo > conf/three");
    assert!(ran.stderr.contains("Read-only file system"), "{ran:?}");
    std::fs::hard_link(
        workspace.path().join("conf/there"),
        workspace.path().join("second"),
    )
    .expect("link");
    let refused = protects().sh("true");
    assert!(refused.stderr.contains("a hard link"), "{refused:?}");
    host(who, &workspace, ": >go");
    ended(child);
    assert!(inode("conf/one").is_err() && inode("conf/two").is_err());
}
