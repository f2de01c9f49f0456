//! Runs creel for tests: as root or as an ordinary user, in a fresh workspace, with the verdict read.

#![allow(dead_code)]

mod begin;
pub mod drill;
pub mod gates;
pub mod heap;
pub mod libc_alone;
pub mod manager;
pub mod outside;
pub mod planned;
mod process;
pub mod pty;
pub mod wait;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown, fchown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub use process::*;
use serde_json::Value;
use tempfile::TempDir;

/// The account that rootless tests run as; `scripts/test` creates it.
pub const ACCOUNT: &str = "creel-test";

/// The user that runs creel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    Root,
    User,
}

impl Who {
    /// Root if this process is root; otherwise `None`, and prints that the test is skipped.
    pub fn root() -> Option<Who> {
        if !is_root() {
            eprintln!("skipped: the privileged half of this test needs root");
        }
        is_root().then_some(Who::Root)
    }

    /// The user that runs the tests.
    pub fn of_this_process() -> Who {
        match is_root() {
            true => Who::Root,
            false => Who::User,
        }
    }

    /// uid, gid, home.
    pub fn account(self) -> (u32, u32, PathBuf) {
        match (self, is_root()) {
            (Who::Root, _) => (0, 0, "/root".into()),
            (Who::User, true) => account(|fields| fields[0] == ACCOUNT).unwrap_or_else(|| {
                panic!(
                    "the account {ACCOUNT} is missing: run scripts/test, or useradd -m {ACCOUNT}"
                )
            }),
            (Who::User, false) => {
                let uid = rustix::process::getuid().as_raw().to_string();
                account(|fields| fields[2] == uid).expect("this user is in /etc/passwd")
            }
        }
    }
}

fn account(wanted: impl Fn(&[&str]) -> bool) -> Option<(u32, u32, PathBuf)> {
    let passwd = std::fs::read_to_string("/etc/passwd").expect("/etc/passwd is readable");
    passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        (fields.len() >= 6 && wanted(&fields)).then(|| {
            (
                fields[2].parse().expect("a uid"),
                fields[3].parse().expect("a gid"),
                fields[5].into(),
            )
        })
    })
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The binary under test. Panics if the ordinary user cannot reach it.
pub fn binary() -> &'static Path {
    let path = Path::new(env!("CARGO_BIN_EXE_creel"));
    for dir in path.ancestors().skip(1) {
        let mode = std::fs::metadata(dir)
            .expect("the target directory is there")
            .permissions()
            .mode();
        assert!(
            mode & 0o001 != 0,
            "{ACCOUNT} cannot enter {}: build elsewhere, CARGO_TARGET_DIR=/var/tmp/creel-target",
            dir.display()
        );
    }
    path
}

/// A temporary directory that others may enter.
fn open_dir() -> TempDir {
    let dir = tempfile::Builder::new()
        .prefix("creel-it-")
        .tempdir()
        .expect("a temporary directory");
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).expect("chmod");
    dir
}

/// A directory owned by `who`, removed on drop.
pub struct Workspace {
    dir: TempDir,
    who: Who,
}

impl Workspace {
    pub fn new(who: Who) -> Workspace {
        let dir = open_dir();
        let work = dir.path().join("work");
        std::fs::create_dir(&work).expect("mkdir");
        let (uid, gid, _) = who.account();
        chown(&work, Some(uid), Some(gid)).expect("chown");
        Workspace { dir, who }
    }

    pub fn path(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    /// A directory on the same filesystem outside the workspace.
    pub fn outside(&self) -> &Path {
        self.dir.path()
    }

    /// A home for programs other than creel, which leave histories and caches; owned by the workspace's owner.
    pub fn home(&self) -> PathBuf {
        let home = self.dir.path().join("home");
        if !home.exists() {
            std::fs::create_dir(&home).expect("mkdir");
            let (uid, gid, _) = self.who.account();
            chown(&home, Some(uid), Some(gid)).expect("chown");
        }
        home
    }

    /// Writes an executable file and its parents, owned by the workspace's owner; returns its path.
    pub fn write(&self, name: &str, contents: &str) -> PathBuf {
        let path = self.path().join(name);
        let (uid, gid, _) = self.who.account();
        let mut made = path.parent().expect("a parent").to_path_buf();
        std::fs::create_dir_all(&made).expect("mkdir -p");
        while made.starts_with(self.path()) {
            chown(&made, Some(uid), Some(gid)).expect("chown");
            made.pop();
        }
        // By the descriptor: a jail that waits for this file may have removed it again.
        let mut file = File::create(&path).expect("create");
        file.write_all(contents.as_bytes()).expect("write");
        let mode = std::fs::Permissions::from_mode(0o755);
        file.set_permissions(mode).expect("fchmod");
        fchown(&file, Some(uid), Some(gid)).expect("fchown");
        path
    }
}

/// A `creel run` to start.
pub struct Run {
    who: Who,
    flags: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    cwd: PathBuf,
    stdin: Option<Vec<u8>>,
}

/// The result of a run.
#[derive(Debug)]
pub struct Ran {
    /// The exit status as a shell shows it.
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
    /// `Null` if creel wrote none.
    pub verdict: Value,
}

impl Run {
    /// A run with `workspace` as the working directory and hence as the jail's workspace.
    pub fn new(who: Who, workspace: &Workspace) -> Run {
        Run {
            who,
            flags: vec![],
            env: vec![],
            cwd: workspace.path(),
            stdin: None,
        }
    }

    /// Adds flags of `creel run`.
    pub fn flags<S: AsRef<OsStr>>(mut self, flags: impl IntoIterator<Item = S>) -> Run {
        self.flags
            .extend(flags.into_iter().map(|f| f.as_ref().to_owned()));
        self
    }

    pub fn policy(self, name: impl AsRef<OsStr>) -> Run {
        self.flags([OsStr::new("--policy"), name.as_ref()])
    }

    /// Sets a variable in creel's own environment, not in the jail's.
    pub fn outer_env(mut self, name: &str, value: impl AsRef<OsStr>) -> Run {
        self.env.push((name.into(), value.as_ref().into()));
        self
    }

    pub fn cwd(mut self, dir: impl Into<PathBuf>) -> Run {
        self.cwd = dir.into();
        self
    }

    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Run {
        self.stdin = Some(bytes.into());
        self
    }

    /// The command line as a [`Command`], for a test that starts it itself.
    pub fn command<S: AsRef<OsStr>>(&self, argv: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(binary());
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .envs(self.env.iter().cloned());
        command.arg("run").args(&self.flags);
        if !has_cgroups(self.who) {
            command.args(["--allow-degraded", "cgroup"]);
        }
        command.arg("--").args(argv).current_dir(&self.cwd);
        let (uid, gid, home) = self.who.account();
        if is_root() && self.who == Who::User {
            command.env("HOME", home).uid(uid).gid(gid);
        }
        command
    }

    /// Runs the command to its end, without a terminal.
    pub fn argv<S: AsRef<OsStr>>(self, argv: impl IntoIterator<Item = S>) -> Ran {
        // The verdict comes through a pipe that becomes descriptor 9 in creel.
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let mut run = self;
        let stdin = run.stdin.take();
        run.flags.extend(["--status-fd".into(), "9".into()]);
        let mut command = run.command(argv);
        command
            .stdin(if stdin.is_some() {
                Stdio::piped()
            } else {
                Stdio::null()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let source = std::os::fd::AsRawFd::as_raw_fd(&writer);
        // SAFETY: dup2 is async-signal-safe and both numbers are open or free.
        unsafe {
            command.pre_exec(move || {
                // dup2 of 9 to 9 would leave it close-on-exec.
                let done = match source {
                    9 => libc::fcntl(9, libc::F_SETFD, 0),
                    source => libc::dup2(source, 9),
                };
                if done == -1 {
                    Err(std::io::Error::last_os_error())
                } else {
                    Ok(())
                }
            });
        }
        let mut child = command.spawn().expect("creel starts");
        drop(writer);
        if let Some(bytes) = stdin {
            let mut pipe = child.stdin.take().expect("a pipe");
            std::thread::spawn(move || std::io::Write::write_all(&mut pipe, &bytes));
        }
        let verdict =
            std::thread::spawn(move || std::io::read_to_string(reader).unwrap_or_default());
        let output = child.wait_with_output().expect("creel ends");
        let verdict = verdict.join().expect("the verdict is read");
        Ran {
            status: shell_status(output.status),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            verdict: serde_json::from_str(&verdict).unwrap_or(Value::Null),
        }
    }

    /// Adds a policy file with this text, `name`.toml outside the workspace.
    pub fn policy_text(self, workspace: &Workspace, name: &str, text: &str) -> Run {
        let path = workspace.outside().join(format!("{name}.toml"));
        std::fs::write(&path, text).expect("write");
        self.policy(path)
    }

    /// Runs `sh -c SCRIPT` in the jail.
    pub fn sh(self, script: &str) -> Ran {
        self.argv(["/bin/sh", "-c", script])
    }

    /// Runs `python3 -c SCRIPT` in the jail, which can make any system call through ctypes.
    pub fn python(self, script: &str) -> Ran {
        self.argv(["/usr/bin/python3", "-c", script])
    }
}

impl Ran {
    /// Panics with the whole result unless the run exited with 0.
    #[track_caller]
    pub fn ok(self) -> Ran {
        assert_eq!(self.status, 0, "{self:#?}");
        self
    }

    /// The verdict's kind.
    pub fn kind(&self) -> &str {
        self.verdict["kind"].as_str().unwrap_or("none")
    }
}

/// Whether the jails of `who` have cgroups here without asking systemd.
pub fn has_cgroups(who: Who) -> bool {
    who == Who::Root || delegated().is_some()
}

/// As [`has_cgroups`], and prints that the test is skipped if they have none.
pub fn grouped(who: Who) -> bool {
    if !has_cgroups(who) {
        eprintln!("skipped for {who:?}: no cgroup is delegated to an ordinary user here");
    }
    has_cgroups(who)
}

/// The v2 cgroup that is delegated to this process's user with the controllers that a jail needs: an ancestor
/// of this process's cgroup that the user owns. `None` for root: an ordinary user's process that root starts
/// stays in root's cgroup.
pub fn delegated() -> Option<PathBuf> {
    use std::os::unix::fs::MetadataExt;
    const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];
    if is_root() {
        return None;
    }
    let uid = rustix::process::getuid().as_raw();
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let root = Path::new("/sys/fs/cgroup");
    let own = root.join(own);
    own.ancestors()
        .take_while(|dir| *dir != root)
        .find(|dir| {
            let gives = std::fs::read_to_string(dir.join("cgroup.subtree_control"));
            let gives = gives.unwrap_or_default();
            std::fs::metadata(dir).is_ok_and(|meta| meta.uid() == uid)
                && CONTROLLERS
                    .iter()
                    .all(|name| gives.split_whitespace().any(|given| given == *name))
        })
        .map(Path::to_path_buf)
}

/// creel's state directory for this process's user.
pub fn state_dir() -> PathBuf {
    match rustix::process::getuid().as_raw() {
        0 => "/run/creel".into(),
        uid => format!("/run/user/{uid}/creel").into(),
    }
}

/// The exit status as a shell shows it.
pub fn shell_status(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// The path of a program. Panics if it is missing: a missing tool is a failure, not a skip.
#[track_caller]
pub fn need(program: &str) -> PathBuf {
    let found = ["/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"]
        .iter()
        .map(|dir| Path::new(dir).join(program))
        .find(|path| path.exists());
    found.unwrap_or_else(|| panic!("{program} is missing: run scripts/test, which installs it"))
}
