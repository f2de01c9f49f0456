//! Failures as one sentence: the thing, the layer, the way out. And what creel exits with.

use std::error::Error;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::obstacle;
use creel_jail::JailError;
use creel_plan::{Act, Stage};
use creel_policy::error::escaped;
use creel_sys::around::Around;
use creel_sys::nowait::Writer;
use creel_sys::{Errno, fd, host, process, pty, rlimit, signal};

/// creel itself failed (docker(1), env(1)).
pub const OWN_FAILURE: u8 = creel_session::judge::OWN_FAILURE;

/// Why creel could not do its part.
#[derive(Debug)]
pub struct Failure {
    pub text: String,
    pub status: u8,
}

impl Failure {
    pub fn new(text: impl Into<String>) -> Failure {
        Failure {
            text: text.into(),
            status: OWN_FAILURE,
        }
    }

    /// The same with another exit status.
    pub fn with_status(self, status: u8) -> Failure {
        Failure { status, ..self }
    }

    /// An error with its causes, and the remedy if one is known.
    pub fn of(error: &(dyn Error + 'static)) -> Failure {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            if !text.contains(&cause_text) {
                let _ = write!(text, ": {cause_text}");
            }
            source = cause.source();
        }
        if let Some(remedy) = error.downcast_ref::<JailError>().and_then(remedy) {
            let _ = write!(text, "; {remedy}");
        }
        Failure::new(text)
    }

    /// clap's error, cut to its first sentence and its suggestion.
    pub fn usage(error: &clap::Error, arguments: &[OsString]) -> Failure {
        use clap::error::{ContextKind, ContextValue};
        let run = arguments.get(1).is_some_and(|verb| verb == "run");
        if let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidArg)
            && run
            && error.kind() == clap::error::ErrorKind::UnknownArgument
            && !word.starts_with('-')
        {
            return Failure::new(format!(
                "the command goes after `--`: {}",
                with_dashes(word, arguments)
            ));
        }
        let rendered = error.render().to_string();
        let mut parts = rendered
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty());
        let first = parts.next().unwrap_or("the command line is not understood");
        let mut text = first.trim_start_matches("error: ").to_owned();
        for line in parts {
            if let Some(tip) = line.strip_prefix("tip: ") {
                let _ = write!(text, "; {tip}");
            } else if line.starts_with('<') || line.starts_with("--") {
                let _ = write!(text, " {line}");
            }
        }
        let verb = arguments
            .get(1)
            .and_then(|a| a.to_str())
            .filter(|a| !a.starts_with('-'));
        match verb {
            Some(verb @ ("run" | "doctor" | "policy" | "selftest")) => {
                let _ = write!(text, "; see `creel {verb} --help`");
            }
            _ => text.push_str("; see `creel --help`"),
        }
        Failure::of_verb(Failure::new(text), arguments)
    }

    /// With the exit status that the verb of this command line has for failures.
    pub fn of_verb(failure: Failure, arguments: &[OsString]) -> Failure {
        match arguments.get(1) {
            Some(verb) if verb == "policy" => failure.with_status(super::policy::WRONG),
            _ => failure,
        }
    }

    /// Says it on stderr.
    pub fn report(self) -> u8 {
        say(&self.text);
        self.status
    }
}

impl<E: Error + 'static> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure::of(&error)
    }
}

/// The command line with `--` before the first `word` that no flag takes for its value.
fn with_dashes(word: &str, arguments: &[OsString]) -> String {
    let understood = |at: &usize| {
        let mut all = arguments.to_vec();
        all.insert(*at, "--".into());
        super::command().try_get_matches_from(all).is_ok()
    };
    let mut places = (2..arguments.len()).filter(|at| arguments[*at] == word);
    let Some(at) = places.find(understood) else {
        return format!("creel run -- {}", quoted(word));
    };
    let words = |words: &[OsString]| -> String {
        let words = words.iter();
        words
            .map(|word| format!(" {}", quoted(&word.to_string_lossy())))
            .collect()
    };
    format!(
        "creel run{} --{}",
        words(&arguments[2..at]),
        words(&arguments[at..])
    )
}

/// A word as a shell takes it.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// How long creel waits for who reads what it says, where no policy has a `grace` for it.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// The milliseconds of it that all lines on stderr together have left.
static LEFT: AtomicU64 = AtomicU64::new(PATIENCE.as_millis() as u64);

/// Lets creel's lines wait no longer than this from now on, altogether: a run is over when it is over, also
/// where nobody reads. What is taken at once is written in any case.
pub fn wait_at_most(patience: Duration) {
    let milliseconds = patience.as_millis().try_into().unwrap_or(u64::MAX);
    LEFT.store(milliseconds, Ordering::Relaxed);
}

/// What cuts the waiting short when it becomes readable, once [`hear_signals`] was called.
static ASKED: OnceLock<OwnedFd> = OnceLock::new();

/// From now on a signal that asks creel to end ends its waiting for readers, and nothing else: the command
/// has ended, and what creel exits with is known.
pub fn hear_signals() {
    if let Ok(asked) = signal::asked() {
        let _ = ASKED.set(asked);
    }
}

/// Writes to a descriptor of the caller's, and gives up after `patience` or when a signal asks creel to end:
/// [`ErrorKind::TimedOut`](io::ErrorKind::TimedOut).
pub fn deliver(fd: BorrowedFd<'_>, bytes: &[u8], patience: Duration) -> io::Result<()> {
    let until = Instant::now() + patience.min(LONGEST);
    Writer::new(fd)?.write_all(bytes, until, ASKED.get().map(AsFd::as_fd))
}

/// A year: no instant is too late to be told.
pub const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// One line on stderr with creel's prefix, perhaps [`coloured`].
pub fn say(text: &str) {
    let stderr = fd::fixed(2);
    let (on, off) = if coloured(2) {
        ("\x1b[1;31m", "\x1b[0m")
    } else {
        ("", "")
    };
    // What a hostile file name says to a terminal must not reach one, nor make a second line.
    let clean = escaped(unprefixed(text).chars());
    let line = format!("{on}creel:{off} {clean}\n");
    let patience = Duration::from_millis(LEFT.load(Ordering::Relaxed));
    let began = Instant::now();
    // Nobody is left to be told if stderr is gone, or is not read.
    let _ = deliver(stderr, line.as_bytes(), patience);
    wait_at_most(patience.saturating_sub(began.elapsed()));
}

/// Whether that descriptor leads to a terminal, and nobody objects to colours there (no-color.org).
pub fn coloured(number: i32) -> bool {
    pty::is_terminal(fd::fixed(number)) && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

/// Without the name in front, where creel itself is the place of a fault (`Origin::creel`): it is said once.
fn unprefixed(text: &str) -> &str {
    text.strip_prefix("creel: ").unwrap_or(text)
}

/// Makes a panic the end of this process: one sentence, creel's own exit status, the caller's terminal
/// as it was. `main` is C's, so nothing could be unwound into, and a release does not unwind. The
/// jail dies with its supervisor and the janitor removes the cgroup, as after SIGKILL.
pub fn end_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        pty::give_back();
        let place = panic.location().map(ToString::to_string);
        let message = panic.payload_as_str().unwrap_or("it gave no reason");
        say(&internal_error(place.as_deref(), message));
        process::exit(i32::from(OWN_FAILURE))
    }));
}

fn internal_error(place: Option<&str>, message: &str) -> String {
    format!(
        "internal error at {}: {message}; this is a fault of creel {}, please report it",
        place.unwrap_or("an unknown place"),
        env!("CARGO_PKG_VERSION")
    )
}

/// The way out of a failed act, where experience knows one.
fn remedy(error: &JailError) -> Option<String> {
    let errno = error.errno();
    match error {
        _ if errno == Some(Errno::MFILE) => Some(format!(
            "creel keeps every path open that a policy names, and the hard limit of descriptors is {}: name directories \
             instead of what lies in them, or raise the limit where creel is started (ulimit -Hn 65536 as root, \
             LimitNOFILE=65536 in a systemd unit, docker run --ulimit nofile=65536)",
            rlimit::open_files_ceiling()
        )),
        _ if errno == Some(Errno::NFILE) => Some(
            "all programs together have as many files open as the machine allows: sysctl fs.file-max".into(),
        ),
        JailError::Clone { .. } | JailError::UserNamespace { .. } => Some(match errno {
            Some(Errno::PERM | Errno::ACCESS | Errno::NOSPC | Errno::USERS | Errno::NOSYS) => {
                obstacle::namespaces(&Around::look(), errno)
            }
            Some(Errno::AGAIN) => "the process limit of this user or cgroup is reached".into(),
            _ => "see `creel doctor`".into(),
        }),
        JailError::Maps { .. } => Some(obstacle::namespaces(&Around::look(), errno)),
        JailError::NotProc {
            source: Errno::NOSYS,
        } => Some(obstacle::openat2(&Around::look())),
        JailError::Idmap { .. } => Some(
            "its filesystem, or one mounted in it, has no idmapped mounts: use ext4, xfs or btrfs, grant it for reading, or run \
             as an ordinary user"
                .into(),
        ),
        JailError::Cgroup(_) => Some("see `creel doctor`".into()),
        _ if errno == Some(Errno::NOSYS) => {
            let filter = obstacle::hidden(&Around::look());
            Some(filter.unwrap_or_else(|| "boot Linux 5.14 or newer".into()))
        }
        JailError::Tree { .. } | JailError::System { .. } if errno == Some(Errno::PERM) => {
            Some(obstacle::namespaces(&Around::look(), errno))
        }
        // Root's is at one place, whatever the variable says.
        JailError::State { path, .. } if host::ids().0 == 0 => Some(format!(
            "{} must be a directory of root's on a filesystem that root may write to: mount a tmpfs there (docker, podman: --tmpfs /run)",
            path.parent().unwrap_or(path).display()
        )),
        JailError::State { .. } => {
            Some("set XDG_RUNTIME_DIR to a directory of yours, mode 0700".into())
        }
        JailError::System { .. } if errno == Some(Errno::AGAIN) => {
            Some("the process limit of this user or cgroup is reached".into())
        }
        JailError::Act { act, .. } => match (act.as_ref(), errno) {
            (_, Some(Errno::FBIG)) => Some("a file of the jail's own is larger than the caller's `ulimit -f`; raise it".into()),
            (Act::Pivot, Some(Errno::INVAL)) => Some(
                "pivot_root(2) does not work from the kernel's initial ramfs: switch_root into a real root first".into(),
            ),
            (Act::Clocks, Some(Errno::INVAL)) => {
                Some("the kernel lacks CONFIG_TIME_NS; leave out --time-ns".into())
            }
            (Act::Proc, Some(Errno::PERM)) => Some(obstacle::proc_mount(&Around::look())),
            (Act::Workdir { .. }, Some(Errno::NOENT)) => {
                Some("it does not exist in the jail; create it in the workspace".into())
            }
            (Act::Seccomp | Act::SeccompDebug, Some(Errno::INVAL)) => Some("the kernel lacks CONFIG_SECCOMP_FILTER".into()),
            (Act::Bind { .. } | Act::Mask { .. }, Some(Errno::STALE)) => {
                Some("it was replaced while the jail was being made".into())
            }
            // Of a tree that a command could change; who forbids mounts forbids the first of them.
            (Act::Workdir { path } | Act::Hold { path } | Act::Withhold { path, .. }, Some(Errno::ACCESS)) => {
                Some(closed(path))
            }
            // What only a mount or a namespace can be refused.
            (_, Some(Errno::PERM | Errno::ACCESS)) if act.stage() <= Stage::System => {
                Some(obstacle::namespaces(&Around::look(), errno))
            }
            _ => None,
        },
        JailError::Open { path, source: Errno::ACCESS } => Some(closed(path)),
        _ => None,
    }
}

/// The way into a directory that its own mode keeps its owner out of.
fn closed(path: &Path) -> String {
    format!(
        "its mode, or that of a directory above it, lets nobody enter, perhaps since an earlier command: chmod u+rwx {}",
        path.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use creel_plan::ResolveError;
    use creel_policy::Origin;

    /// What creel protects by itself has creel for its place.
    #[test]
    fn a_refusal_has_the_name_in_front_once() {
        let (path, real) = ("/w/.vscode".into(), "/etc".into());
        let origin = Origin::creel();
        let link = "/w/.vscode".into();
        let failure = Failure::of(&ResolveError::ProtectLink {
            path,
            link,
            real,
            origin,
        });
        assert!(
            failure.text.starts_with("creel: /w/.vscode"),
            "{}",
            failure.text
        );
        assert!(unprefixed(&failure.text).starts_with("/w/.vscode"));
        assert_eq!(unprefixed("the plan"), "the plan");
    }

    #[test]
    fn an_internal_error_is_one_sentence_that_says_where_and_asks_for_a_report() {
        let text = internal_error(Some("src/x.rs:1:2"), "index out of bounds");
        assert_eq!(
            text,
            format!(
                "internal error at src/x.rs:1:2: index out of bounds; this is a fault of creel {}, please report it",
                env!("CARGO_PKG_VERSION")
            )
        );
        assert!(internal_error(None, "x").contains("an unknown place"));
    }
}
