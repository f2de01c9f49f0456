//! Attempts to get out of a jail, one file for each row of `reference/hazards.md` section 2.
//!
//! Each denial asserts the errno and has its control: the same act succeeds outside, or when it is
//! granted. Each attempt is harmless where it succeeds.

mod administration;
mod c01_runtime_binary;
mod c02_descriptors;
mod c03_devices;
mod c04_fake_proc;
mod c05_symlink_exchange;
mod c06_cgroup_release_agent;
mod c07_terminal_input;
mod c08_privileges;
mod c09_forged_state;
mod c10_workspace_names;
mod c11_host_sockets;
mod directories;
pub mod exec_allowlist;
mod exec_none;
mod f04_workdir_roots;
mod f06_tmp_files;
mod flags;
mod left;
mod mapped;
mod misc;
mod narrowed_links;
mod next_policy;
mod obeyed;
mod own_files;
mod pattern_race;
mod patterns;
mod placeholders;
mod protect;
mod replaced;
mod repositories;
mod spelled;
mod uncovered;

use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use crate::support::{Ran, Run, Who, Workspace, is_root, need};

/// Python that every attack starts with: `sc(nr, ...)` makes a system call, `py(f, ...)` calls a
/// function; both answer `OK` or the errno's name, which `say(name, answer)` prints.
const PRELUDE: &str = r#"
import ctypes, os, errno, sys, time
_libc = ctypes.CDLL(None, use_errno=True)
def raw(nr, *args):
    ctypes.set_errno(0)
    return _libc.syscall(ctypes.c_long(nr), *[a if isinstance(a, (bytes, ctypes.Array)) else ctypes.c_long(a) for a in args])
def sc(nr, *args):
    return errno.errorcode[ctypes.get_errno()] if raw(nr, *args) == -1 else 'OK'
def py(f, *a, **k):
    try:
        f(*a, **k)
    except OSError as e:
        return errno.errorcode[e.errno]
    return 'OK'
def opened(path, flags):
    def go():
        os.close(os.open(path, flags))
    return py(go)
def wrote(path, data):
    def go():
        fd = os.open(path, os.O_WRONLY)
        try:
            os.write(fd, data)
        finally:
            os.close(fd)
    return py(go)
def say(name, answer):
    print(f'{name}={answer}', flush=True)
"#;

/// The prelude and `body`.
pub fn script(body: &str) -> String {
    format!("{PRELUDE}\n{body}")
}

/// Runs `body` after the prelude in a jail.
#[track_caller]
pub fn attack(run: Run, body: &str) -> Answers {
    answers(&run.python(&script(body)).ok().stdout)
}

/// Runs `body` after the prelude as `who`, without a jail.
#[track_caller]
pub fn outside(who: Who, cwd: &Path, body: &str) -> Answers {
    let mut command = Command::new("/usr/bin/python3");
    command
        .args(["-c", &script(body)])
        .current_dir(cwd)
        .stdin(Stdio::null());
    become_who(&mut command, who);
    let output = command.output().expect("python3 starts");
    assert!(output.status.success(), "{output:#?}");
    answers(&String::from_utf8_lossy(&output.stdout))
}

/// Takes on the ids of `who`.
pub fn become_who(command: &mut Command, who: Who) {
    let (uid, gid, _) = who.account();
    if is_root() && who == Who::User {
        command.uid(uid).gid(gid);
    }
}

/// Output of an attack.
#[derive(Debug)]
pub struct Answers(pub BTreeMap<String, String>);

pub fn answers(stdout: &str) -> Answers {
    let lines = stdout.lines().filter_map(|line| line.split_once('='));
    Answers(
        lines
            .map(|(name, answer)| (name.to_owned(), answer.to_owned()))
            .collect(),
    )
}

impl Answers {
    #[track_caller]
    pub fn of(&self, name: &str) -> &str {
        self.0
            .get(name)
            .unwrap_or_else(|| panic!("no answer to {name}: {self:#?}"))
    }

    /// Panics unless each attempt got its answer.
    #[track_caller]
    pub fn expect(&self, wanted: &[(&str, &str)]) {
        for (name, answer) in wanted {
            assert_eq!(self.of(name), *answer, "{name}: {self:#?}");
        }
    }
}

/// `creel run` in a mount namespace of the test's own, after the shell lines `setup`, which see
/// themselves as root. `None`, with a word why, for an ordinary user.
#[track_caller]
pub fn in_own_mounts(who: Who, run: &Run, setup: &str, argv: &[&str]) -> Option<Output> {
    if !is_root() {
        eprintln!("skipped: a mount namespace that lies to creel needs root");
        return None;
    }
    // The command line as Run makes it, without its change of ids: setpriv does that after setup.
    let inner = run.command(argv);
    let (uid, gid, home) = who.account();
    let mut command = Command::new(need("unshare"));
    command.args(["-m", "--propagation", "private", "/bin/sh", "-ec"]);
    command.arg(format!("{setup}\nexec \"$@\"")).arg("sh");
    if who == Who::User {
        command
            .arg(need("setpriv"))
            .args(["--clear-groups", "--reuid", &uid.to_string()]);
        command.args(["--regid", &gid.to_string()]);
    }
    command.arg(inner.get_program()).args(inner.get_args());
    command
        .env_clear()
        .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
        .env("HOME", home);
    for (name, value) in inner.get_envs() {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    command
        .current_dir(inner.get_current_dir().expect("a directory"))
        .stdin(Stdio::null());
    Some(command.output().expect("unshare starts"))
}

/// Exchanges two names over and over until dropped.
pub struct Flipper {
    stop: Arc<AtomicBool>,
    flips: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Flipper {
    pub fn start(one: &Path, other: &Path) -> Flipper {
        let name = |path: &Path| CString::new(path.as_os_str().as_bytes()).expect("no NUL");
        let (one, other) = (name(one), name(other));
        let (stop, flips) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let (stopped, counted) = (stop.clone(), flips.clone());
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                // SAFETY: two C strings that outlive the call.
                let done = unsafe {
                    libc::renameat2(
                        libc::AT_FDCWD,
                        one.as_ptr(),
                        libc::AT_FDCWD,
                        other.as_ptr(),
                        libc::RENAME_EXCHANGE,
                    )
                };
                assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        Flipper {
            stop,
            flips,
            thread: Some(thread),
        }
    }

    /// Exchanges so far.
    pub fn flips(&self) -> u64 {
        self.flips.load(Ordering::Relaxed)
    }
}

impl Drop for Flipper {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking());
        }
    }
}

/// A policy file in `workspace`'s outside: the system's programs, and `lines` of `[filesystem]`.
pub fn policy(workspace: &Workspace, lines: &str) -> std::path::PathBuf {
    let path = workspace.outside().join("policy.toml");
    let text = format!(
        r#"[filesystem]
exec = ["/usr", {{ path = "/bin", optional = true }}, {{ path = "/lib", optional = true }}, {{ path = "/lib64", optional = true }}]
{lines}
[environment]
set = {{ PATH = "/usr/bin:/bin" }}
"#
    );
    std::fs::write(&path, text).expect("write");
    path
}

/// That creel refused before anything ran, and said so.
#[track_caller]
pub fn refused(ran: &Ran, because: &str) {
    assert_eq!(ran.status, 125, "{ran:#?}");
    assert_eq!(ran.stdout, "", "{ran:#?}");
    assert!(ran.stderr.contains(because), "{because}: {ran:#?}");
}
