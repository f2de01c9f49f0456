//! Sessions: jails that stay, and commands in them.

mod commands;
mod docker;
mod doors;
mod faults;
mod files;
mod inside;
mod isolation;
mod lives;
mod misled;
mod net;
mod overlay;
mod shortage;
mod ssh;
mod terminal;

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

use crate::support::{Who, Workspace, binary, has_cgroups, is_root};

/// Gives this thread, and all that it starts, a directory of sessions of its own, so that `creel gc` and faults of the
/// directory concern no other test: a tmpfs, with these options. False, and why, without root.
fn own_store_with(who: Who, options: &str) -> bool {
    if !unshared() {
        return false;
    }
    // It is made by the first verb of all.
    said(Session::named(who).creel("ps")).ok();
    tmpfs(who, &directory_of(who), options);
    true
}

/// Gives this thread, and all that it starts, mounts of its own. False, and why, without root.
fn unshared() -> bool {
    use rustix::mount::{MountPropagationFlags, mount_change};
    if !is_root() {
        eprintln!("skipped: without root nothing can be mounted");
        return false;
    }
    // SAFETY: unshare(2) concerns this thread alone (CLONE_NEWNS implies CLONE_FS).
    let unshared = unsafe { libc::unshare(libc::CLONE_NEWNS) };
    assert_eq!(unshared, 0, "{}", std::io::Error::last_os_error());
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).expect("private");
    true
}

/// Mounts a tmpfs of the user's there, with these options, in this thread's mount namespace.
fn tmpfs(who: Who, path: &std::path::Path, options: &str) {
    use rustix::mount::{MountFlags, mount};
    let (uid, gid, _) = who.account();
    let options = format!("mode=700,uid={uid},gid={gid},{options}");
    let options = std::ffi::CString::new(options).expect("a text");
    mount(
        "creel-it",
        path,
        "tmpfs",
        MountFlags::empty(),
        Some(&*options),
    )
    .expect("tmpfs");
}

/// The directory of sessions.
fn directory_of(who: Who) -> PathBuf {
    let state = match who.account() {
        (0, ..) => PathBuf::from("/run/creel"),
        (uid, ..) => match PathBuf::from(format!("/run/user/{uid}")).is_dir() {
            true => format!("/run/user/{uid}/creel").into(),
            false => format!("/tmp/creel-{uid}").into(),
        },
    };
    state.join("sessions")
}

/// A session of a test; ended and removed on drop.
struct Session {
    who: Who,
    name: String,
    workspace: Workspace,
}

/// The result of a verb.
#[derive(Debug)]
struct Said {
    status: i32,
    out: String,
    err: String,
}

impl Session {
    /// Makes a session in a workspace of its own.
    fn new(who: Who) -> Session {
        Session::with(who, &[])
    }

    fn with(who: Who, flags: &[&str]) -> Session {
        let session = Session::named(who);
        session.create(flags).ok();
        session
    }

    /// A name and a workspace, and no session yet.
    fn named(who: Who) -> Session {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        Session {
            who,
            name: format!("it-{}-{next}", std::process::id()),
            workspace: Workspace::new(who),
        }
    }

    fn create(&self, flags: &[&str]) -> Said {
        let mut command = self.creel("create");
        if !has_cgroups(self.who) {
            command.args(["--allow-degraded", "cgroup"]);
        }
        command.args(["--name", &self.name]).args(flags);
        said(command)
    }

    /// `creel VERB`, as the session's user.
    fn creel(&self, verb: &str) -> Command {
        let mut command = Command::new(binary());
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .arg(verb)
            .current_dir(self.workspace.path())
            .stdin(Stdio::null());
        let (uid, gid, home) = self.who.account();
        if is_root() && self.who == Who::User {
            use std::os::unix::process::CommandExt as _;
            command.env("HOME", home).uid(uid).gid(gid);
        }
        command
    }

    /// `creel VERB NAME FLAGS`
    fn verb(&self, verb: &str, more: &[&str]) -> Said {
        let mut command = self.creel(verb);
        command.arg(&self.name).args(more);
        said(command)
    }

    /// `creel exec FLAGS NAME -- ARGV`
    fn command<S: AsRef<OsStr>>(&self, flags: &[&str], argv: &[S]) -> Command {
        let mut command = self.creel("exec");
        command.args(flags).arg(&self.name).arg("--").args(argv);
        command
    }

    fn exec(&self, flags: &[&str], argv: &[&str]) -> Said {
        said(self.command(flags, argv))
    }

    fn sh(&self, script: &str) -> Said {
        self.exec(&[], &["/bin/sh", "-c", script])
    }

    fn inspect(&self) -> Value {
        serde_json::from_str(&self.verb("inspect", &[]).ok().out).expect("JSON")
    }

    fn state(&self) -> String {
        self.inspect()["state"]
            .as_str()
            .expect("a state")
            .to_owned()
    }

    fn keeper(&self) -> i32 {
        let pid = self.inspect()["pid"].as_i64().expect("a pid");
        i32::try_from(pid).expect("a pid")
    }

    /// The session's directory.
    fn directory(&self) -> PathBuf {
        directory_of(self.who).join(&self.name)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let mut command = self.creel("rm");
        command.args(["--force", &self.name]);
        let _ = command.output();
    }
}

impl Said {
    /// Panics with all that was said unless the status is 0.
    #[track_caller]
    fn ok(self) -> Said {
        self.status(0)
    }

    #[track_caller]
    fn status(self, wanted: i32) -> Said {
        assert_eq!(self.status, wanted, "{self:?}");
        self
    }
}

fn said(mut command: Command) -> Said {
    of(command.output().expect("creel starts"))
}

/// The same with this text on stdin.
fn said_to(mut command: Command, text: &[u8]) -> Said {
    use std::io::Write as _;
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("creel starts");
    let mut pipe = child.stdin.take().expect("a pipe");
    // It may end without reading all.
    let _ = pipe.write_all(text);
    drop(pipe);
    of(child.wait_with_output().expect("creel ends"))
}

fn of(output: Output) -> Said {
    Said {
        status: crate::support::shell_status(output.status),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
