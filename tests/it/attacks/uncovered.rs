//! The host takes covers off: rename(2) over the place of a mount, or its removal, detaches the mount in
//! every mount namespace, and a rename of the place takes the mount along. Each way is tried on what is
//! denied, protected and absent, while a jail asks; the control is the same act in a jail whose janitor is
//! gone, and a name that the policy says nothing of.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::CWD;
use serde_json::Value;

use crate::attacks::{become_who, policy, script};
use crate::support::{Run, Who, Workspace, need, wait};

/// Answers each line `ACT PATH` with `OK` or the errno's name.
const SERVE: &str = r#"
def make(p):
    os.close(os.open(p, os.O_WRONLY | os.O_CREAT, 0o644))
acts = {
    'read': lambda p: opened(p, os.O_RDONLY),
    'write': lambda p: opened(p, os.O_WRONLY),
    'make': lambda p: py(make, p),
    'open': lambda p: py(lambda: kept.append(os.open(p, os.O_RDWR))),
    'reads': lambda p: py(lambda: kept.append(os.open(p, os.O_RDONLY))),
    'names': lambda p: py(lambda: kept.append(os.open(p, os.O_PATH))),
    'enters': lambda p: py(lambda: os.chdir(p)),
    'links': lambda p: py(lambda: os.link(p, 'second')),
    'sends': lambda p: py(sent, p, ends[0]),
    'sends-locked': lambda p: py(locked, p),
    'zombie': lambda p: py(lambda: os.fork() or os._exit(0)),
    'sends-unaccepted': lambda p: py(sent, p, client),
    'covered': lambda p: 'OK' if (said := py(writable, p)) == 'ENOENT' else said,
    'looks': lambda p: py(look, p),
}
import fcntl, socket, threading
def writable(p):
    if os.statvfs(p).f_flag & os.ST_RDONLY:
        raise OSError(errno.EROFS, p)
def sent(p, through):
    fd = os.open(p, os.O_PATH)
    socket.send_fds(through, [b'.'], [fd])
    os.close(fd)
def locked(p):
    # The kernel tells of each lock of the socket before it tells of what waits in it.
    for i in range(60):
        fcntl.lockf(ends[1], fcntl.LOCK_EX, 1, i * 1000)
    sent(p, ends[0])
def look(p):
    # Lets go when the host has given it another name.
    fd = os.open(p, os.O_RDONLY)
    def until():
        while os.path.exists(p):
            pass
        os.close(fd)
    threading.Thread(target=until).start()
kept = []
ends = socket.socketpair()
listener = socket.socket(socket.AF_UNIX)
listener.bind('\0listens')
listener.listen()
client = socket.socket(socket.AF_UNIX)
client.connect('\0listens')
print('ready', flush=True)
for line in sys.stdin:
    act, path = line.split()
    print(acts[act](path), flush=True)
"#;

/// A jail that does what it is asked.
struct Jail {
    child: Child,
    ask: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Jail {
    fn start(run: Run) -> Jail {
        let mut command = run.command(["/usr/bin/python3", "-c", &script(SERVE)]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("creel starts");
        let mut jail = Jail {
            ask: child.stdin.take(),
            answers: BufReader::new(child.stdout.take().expect("a pipe")),
            child,
        };
        assert_eq!(jail.line(), "ready");
        jail
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("an answer");
        line.trim_end().to_owned()
    }

    fn ask(&mut self, act: &str, path: &str) -> String {
        let ask = self.ask.as_mut().expect("it runs");
        writeln!(ask, "{act} {path}").expect("asked");
        self.line()
    }

    /// Asks until the answer is another than OK.
    #[track_caller]
    fn refused(&mut self, act: &str, path: &str) -> String {
        let since = Instant::now();
        loop {
            match self.ask(act, path) {
                answer if answer != "OK" => return answer,
                _ => assert!(
                    since.elapsed() < Duration::from_secs(20),
                    "{act} {path} goes on"
                ),
            }
        }
    }

    /// As [`ask`](Jail::ask); an empty answer where the jail was ended.
    fn told(&mut self, act: &str, path: &str) -> String {
        let ask = self.ask.as_mut().expect("it runs");
        match writeln!(ask, "{act} {path}") {
            Ok(()) => self.line(),
            Err(_) => String::new(),
        }
    }

    /// As [`refused`](Jail::refused); nothing where the jail was ended.
    fn tried(&mut self, act: &str, path: &str) -> Option<String> {
        let since = Instant::now();
        while since.elapsed() < Duration::from_secs(20) {
            let ask = self.ask.as_mut().expect("it runs");
            if writeln!(ask, "{act} {path}").is_err() {
                return None;
            }
            match self.line() {
                answer if answer.is_empty() => return None,
                answer if answer != "OK" => return Some(answer),
                _ => {}
            }
        }
        panic!("{act} {path} goes on")
    }

    /// Waits for its end, which is not its own; the exit status.
    fn ended(&mut self) -> Option<i32> {
        wait::end(&mut self.child).code()
    }

    /// Lets it end; the exit status.
    fn end(mut self) -> Option<i32> {
        self.ask = None;
        self.child.wait().expect("reaped").code()
    }
}

/// A workspace with a secret, a repository and settings, and a policy that denies the secret.
fn workspace(who: Who) -> (Workspace, Run, std::path::PathBuf) {
    let workspace = Workspace::new(who);
    workspace.write(".env", "A=1");
    workspace.write("sec/key", "A=1");
    workspace.write(".vscode/settings.json", "{}");
    outside(
        who,
        &workspace.path(),
        "git init -q . && git config user.name a",
    );
    let lines = r#"deny = ["$WORKSPACE/.env", "$WORKSPACE/sec"]"#;
    let place = workspace.outside().join("status");
    std::fs::create_dir(&place).expect("mkdir");
    let (uid, gid, _) = who.account();
    std::os::unix::fs::chown(&place, Some(uid), Some(gid)).expect("chown");
    let status = place.join("status.json");
    let run = Run::new(who, &workspace).policy(policy(&workspace, lines));
    let run = run.flags([std::ffi::OsStr::new("--status-file"), status.as_os_str()]);
    (workspace, run, status)
}

/// Act of the host: a shell as the workspace's owner.
fn outside(who: Who, cwd: &Path, act: &str) -> bool {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-ec", act]).current_dir(cwd);
    shell.env("GIT_CONFIG_GLOBAL", "/dev/null");
    become_who(&mut shell, who);
    shell
        .stderr(Stdio::null())
        .status()
        .expect("a shell")
        .success()
}

fn verdict(status: &Path) -> Value {
    let text = std::fs::read_to_string(status).expect("a verdict");
    serde_json::from_str(&text).expect("JSON")
}

each!(what_the_host_uncovers_is_covered_again);
fn what_the_host_uncovers_is_covered_again(who: Who) {
    need("git");
    // Act of the host, attempt of the jail after it, and the expected answer.
    let cases = [
        ("echo B >n && mv n .env", "read", ".env"),
        ("rm .env && echo C >.env", "read", ".env"),
        ("mv .env .env.old && echo D >.env", "read", ".env"),
        ("true", "read", ".env.old"),
        (
            "rm -rf sec && mkdir sec && echo E >sec/key",
            "read",
            "sec/key",
        ),
        ("git config a.b c", "write", ".git/config"),
        (
            "mv .git/hooks .git/h && cp -r .git/h .git/hooks",
            "make",
            ".git/hooks/pre-commit",
        ),
        (
            "rm -rf .vscode && mkdir new && mv new .vscode",
            "make",
            ".vscode/tasks.json",
        ),
        ("rm -f .envrc", "make", ".envrc"),
        ("echo x >n && mv n .envrc", "write", ".envrc"),
    ];
    let (workspace, run, status) = workspace(who);
    let mut jail = Jail::start(run);
    for (act, attempt, path) in cases {
        let done = outside(who, &workspace.path(), act);
        // A jail that opens what is uncovered may be ended for it: it waits for the cover without.
        let mut above = ["sec", ".git/hooks", ".vscode"].into_iter();
        let name = above.find(|above| path.starts_with(above)).unwrap_or(path);
        jail.refused("covered", name);
        let answer = jail.ask(attempt, path);
        // Which of them it is depends on what is there: the cover, or a placeholder.
        let refused = ["EACCES", "EROFS", "EPERM", "ENOTDIR", "ENXIO", "EEXIST"];
        assert!(
            refused.contains(&answer.as_str()),
            "{who:?}: {act}: {answer}"
        );
        // A name that is free for longer than creel waits is held again, in the way of the host.
        let frees = act.starts_with("rm ") || act.starts_with("mv .");
        if who == Who::Root && !frees {
            assert!(done, "{act}");
        }
    }
    // The control: a name that is nobody's business.
    assert!(outside(who, &workspace.path(), "echo F >n && mv n free"));
    assert_eq!(jail.ask("read", "free"), "OK");
    assert_eq!(jail.end(), Some(0));
    let verdict = verdict(&status);
    let uncovered = verdict["uncovered"].as_array().expect("a list");
    for name in [
        ".env",
        "sec",
        ".git/config",
        ".git/hooks",
        ".vscode",
        ".envrc",
    ] {
        let path = workspace.path().join(name);
        let of = uncovered
            .iter()
            .find(|u| u["path"] == path.to_str().expect("text"));
        assert_eq!(of.expect(name)["restored"], true, "{verdict:#}");
    }
    for name in [".envrc", ".mcp.json", ".vscode"] {
        use std::os::unix::fs::FileTypeExt;
        let left = workspace.path().join(name).symlink_metadata();
        assert!(
            !left.is_ok_and(|m| m.file_type().is_socket()),
            "{name} was left behind"
        );
    }
}

each!(a_mapped_workspace_is_covered_again_too);
/// The watcher has the jail's names, and the verdict those of the host.
fn a_mapped_workspace_is_covered_again_too(who: Who) {
    need("git");
    let (workspace, run, status) = workspace(who);
    let mut jail = Jail::start(run.flags(["--workspace", ":/w"]));
    for (act, name, attempt) in [
        ("echo B >n && mv n .env", ".env", "read"),
        ("git config a.b c", ".git/config", "write"),
        ("rm -f .envrc", ".envrc", "make"),
    ] {
        outside(who, &workspace.path(), act);
        let place = format!("/w/{name}");
        jail.refused("covered", &place);
        let answer = jail.ask(attempt, &place);
        let refused = ["EACCES", "EROFS", "EPERM", "ENXIO", "EEXIST"];
        assert!(refused.contains(&answer.as_str()), "{act}: {answer}");
    }
    assert!(outside(who, &workspace.path(), "echo F >n && mv n free"));
    assert_eq!(jail.ask("read", "/w/free"), "OK");
    assert_eq!(jail.end(), Some(0));
    let verdict = verdict(&status);
    let uncovered = verdict["uncovered"].as_array().expect("a list");
    for name in [".env", ".git/config", ".envrc"] {
        let path = workspace.path().join(name);
        let mut all = uncovered.iter();
        let of = all.find(|one| one["path"].as_str() == path.to_str());
        assert_eq!(of.expect(name)["restored"], true, "{verdict:#}");
    }
}

each!(a_jail_that_used_what_was_uncovered_is_ended);
/// A file that the jail opened while it could stays open: the jail is ended. The file stays open for writing in the jail
/// alone, so nobody else can be meant.
fn a_jail_that_used_what_was_uncovered_is_ended(who: Who) {
    let (workspace, run, status) = workspace(who);
    let mut jail = Jail::start(run);
    // A second name that the jail has open before the host gives it the first one.
    workspace.write("next", "[core]\n");
    assert_eq!(jail.ask("open", "next"), "OK");
    assert!(outside(who, &workspace.path(), "mv next .git/config"));
    jail.child.wait().expect("reaped");
    let verdict = verdict(&status);
    assert_eq!(verdict["kind"], "denied", "{verdict:#}");
    assert_eq!(verdict["exit_status"], 126);
    assert_eq!(verdict["uncovered"][0]["restored"], false);
    assert_eq!(verdict["reason"]["code"], "end-uncovered");
    let error = verdict["error"].as_str().expect("why");
    assert!(
        error.contains("replaced or removed") && error.contains(".git/config"),
        "{error}"
    );
    // The control: nobody has it open.
    let (workspace, run, status) = self::workspace(who);
    let mut jail = Jail::start(run);
    workspace.write("next", "[core]\n");
    assert!(outside(who, &workspace.path(), "mv next .git/config"));
    jail.refused("write", ".git/config");
    assert_eq!(jail.end(), Some(0));
    assert_eq!(self::verdict(&status)["kind"], "exited");
}

each!(a_jail_that_keeps_a_way_to_what_was_uncovered_is_ended);
/// Nor may the jail keep a way to it: what is not open can be opened later.
fn a_jail_that_keeps_a_way_to_what_was_uncovered_is_ended(who: Who) {
    // Act of the jail on `next` before the host gives that the other name.
    let kept = [
        ("reads", "next", ".git/config"),
        ("names", "next", ".git/config"),
        ("links", "next", ".git/config"),
        ("sends", "next", ".git/config"),
        ("names", "next", ".env"),
        ("links", "next", ".env"),
        ("sends", "next", ".env"),
        ("sends-unaccepted", "next", ".env"),
        ("sends-locked", "next", ".env"),
        ("names", "new", "sec"),
        ("names", "new/key", "sec"),
        ("enters", "new", "sec"),
        ("reads", "new", ".vscode"),
    ];
    // The control: it lets go in time, of something else, or had a way to the name that went.
    let harmless = [
        ("read", "next", ".git/config"),
        ("looks", "next", ".git/config"),
        ("names", "other", ".git/config"),
        ("reads", ".git/config", ".git/config"),
        ("read", "next", ".env"),
        ("zombie", "next", ".env"),
        ("zombie", "next", ".git/config"),
        ("links", "other", ".env"),
        ("enters", "src", "sec"),
        ("reads", ".vscode", ".vscode"),
    ];
    let kept = kept.map(|case| (case, Some(126)));
    let cases = kept.into_iter().chain(harmless.map(|case| (case, Some(0))));
    for ((act, what, name), status) in cases {
        let (workspace, run, file) = workspace(who);
        workspace.write("next", "[core]\n");
        workspace.write("other", "");
        workspace.write("new/key", "B=1");
        workspace.write("src/main", "");
        let mut jail = Jail::start(run);
        assert_eq!(jail.ask(act, what), "OK", "{who:?}: {act} {what}");
        let given = match name {
            "sec" | ".vscode" => "new",
            _ => "next",
        };
        // At one stroke: without a cgroup a name that is free for a moment is taken by a placeholder.
        let at = |name| workspace.path().join(name);
        let flags = rustix::fs::RenameFlags::EXCHANGE;
        let (given, name_at) = (at(given), at(name));
        rustix::fs::renameat_with(CWD, &given, CWD, &name_at, flags).expect("exchanged");
        std::fs::rename(&given, workspace.outside().join("old")).expect("moved away");
        // Without opening it: until it is covered again, or the jail is gone.
        jail.tried("covered", name_at.to_str().expect("text"));
        // As root its opening is refused by any name.
        let guarded = who == Who::Root && (act, what, name) == ("links", "next", ".env");
        let status = match guarded {
            true => Some(0),
            false => status,
        };
        if guarded {
            assert_eq!(jail.ask("read", "second"), "EPERM");
        }
        // A jail that is to be ended does not end by itself.
        let ended = match status {
            Some(0) => jail.end(),
            _ => jail.ended(),
        };
        assert_eq!(ended, status, "{who:?}: {act} {what}, then {name}");
        let verdict = verdict(&file);
        let uncovered = verdict["uncovered"].as_array().expect("a list");
        let restored = uncovered.iter().all(|one| one["restored"] == true);
        assert_eq!(restored, status == Some(0), "{act} {name}: {verdict:#}");
    }
}

/// A directory above protected names that goes takes them along: nothing can be held in it. As root, whose
/// jails can be frozen; else a placeholder that is made again is in the way of the host.
#[test]
fn a_jail_is_ended_where_nothing_can_be_covered_again() {
    let Some(who) = Who::root() else {
        return;
    };
    let (workspace, run, status) = workspace(who);
    let mut jail = Jail::start(run);
    assert!(outside(who, &workspace.path(), "rm -rf .git"));
    jail.child.wait().expect("reaped");
    let verdict = verdict(&status);
    assert_eq!(verdict["kind"], "denied", "{verdict:#}");
}

each!(a_directory_above_that_is_replaced_uncovers_nothing);
/// A rename further up takes the cover along, in a tree that the jail may only read as well.
fn a_directory_above_that_is_replaced_uncovers_nothing(who: Who) {
    for mode in ["ro", "rw"] {
        let workspace = Workspace::new(who);
        workspace.write("conf/deep/secret", "A");
        workspace.write("conf/deep/free", "A");
        let lines = "deny = [\"$WORKSPACE/conf/deep/secret\"]\nworkspace = \"MODE\"";
        let with = policy(&workspace, &lines.replace("MODE", mode));
        let mut jail = Jail::start(Run::new(who, &workspace).policy(with));
        assert_eq!(jail.ask("read", "conf/deep/secret"), "EACCES");
        let act = "mv conf old && mkdir -p conf/deep && echo B >conf/deep/free && echo B >conf/deep/secret";
        assert!(outside(who, &workspace.path(), act));
        // In a tree that it may write the jail may be ended, at any of these: the directory is one that is held.
        // As root a refusal is the guard's or the cover's, whichever was first.
        let answer = jail.tried("read", "conf/deep/secret").unwrap_or_default();
        // The control: what lies beside it is there to be read.
        let beside = jail.told("read", "conf/deep/free");
        let moved = jail.told("read", "old/deep/secret");
        let of = [
            (answer, &["EACCES", "EPERM"][..]),
            (beside, &["OK"]),
            (moved, &["EACCES"]),
        ];
        let mut lives = true;
        for (answer, expected) in of {
            lives &= !answer.is_empty();
            let fine = expected.contains(&answer.as_str()) || !lives && mode == "rw";
            assert!(fine, "{who:?} {mode}: {answer:?} in place of {expected:?}");
        }
        if lives {
            let end = jail.end();
            assert!(end == Some(0) || mode == "rw", "{who:?} {mode}: {end:?}");
        }
    }
}
