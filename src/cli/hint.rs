//! What creel says to a person on stderr, and how long it waits for a reader.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use creel_policy::error::escaped;
use creel_session::exit;
use creel_sys::nowait::Writer;
use creel_sys::{fd, process, pty, signal};

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
        process::exit(i32::from(exit::OWN_FAILURE))
    }));
}

fn internal_error(place: Option<&str>, message: &str) -> String {
    format!(
        "internal error at {}: {message}; this is a fault of creel {}, please report it",
        place.unwrap_or("an unknown place"),
        env!("CARGO_PKG_VERSION")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What creel protects by itself has creel for its place.
    #[test]
    fn the_name_in_front_is_said_once() {
        assert_eq!(unprefixed("creel: /w/.vscode leads"), "/w/.vscode leads");
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
