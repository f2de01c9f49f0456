//! Messages for people on stderr, and how long creel waits for their reader.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use creel_policy::error::escaped;
use creel_session::exit;
use creel_sys::nowait::Writer;
use creel_sys::{Errno, fd, process, pty, readiness, signal};

/// The word, quoted for a shell if it needs that.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// How long creel waits for a reader where no policy sets `grace`.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Remaining wait in milliseconds, shared by all lines on stderr.
static LEFT: AtomicU64 = AtomicU64::new(PATIENCE.as_millis() as u64);

/// Sets the total time that further lines may wait for a reader, so that a full pipe cannot prolong a run.
/// Bytes that the reader accepts at once are written in any case.
pub fn wait_at_most(patience: Duration) {
    let milliseconds = patience.as_millis().try_into().unwrap_or(u64::MAX);
    LEFT.store(milliseconds, Ordering::Relaxed);
}

/// A descriptor that becomes readable when a signal asks creel to end; set by [`hear_signals`].
static ASKED: OnceLock<OwnedFd> = OnceLock::new();

/// From now on a signal that asks creel to end only ends the wait for readers: the command has ended and the
/// exit status is known.
pub fn hear_signals() {
    if let Ok(asked) = signal::asked() {
        let _ = ASKED.set(asked);
    }
}

/// Waits until a terminal has a line to read. False if a signal asks creel to end first.
pub fn is_answered(terminal: BorrowedFd<'_>) -> bool {
    use rustix::event::{PollFd, PollFlags, poll};
    let asked = ASKED.get().map(AsFd::as_fd);
    let waits = [Some(terminal), asked].into_iter().flatten();
    let mut waits: Vec<PollFd<'_>> = waits
        .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
        .collect();
    while let Err(Errno::INTR) = poll(&mut waits, None) {}
    waits.get(1).is_none_or(|asked| asked.revents().is_empty())
}

/// Writes all bytes to a descriptor of the caller's. Fails with [`ErrorKind::TimedOut`](io::ErrorKind::TimedOut)
/// after `patience`, or when a signal asks creel to end.
pub fn deliver(fd: BorrowedFd<'_>, bytes: &[u8], patience: Duration) -> io::Result<()> {
    let until = Instant::now() + patience.min(LONGEST);
    match Writer::new(fd) {
        // `EINVAL`: the limit is 3, and the copy would be 3 (fcntl(2), `F_DUPFD`).
        Err(Errno::MFILE | Errno::NFILE | Errno::INVAL) => deliver_as_it_is(fd, bytes, until),
        writer => writer?.write_all(bytes, until, ASKED.get().map(AsFd::as_fd)),
    }
}

/// Bytes that a pipe takes without a wait, once poll(2) reports it writable (pipe(7), `PIPE_BUF`).
const AT_ONCE: usize = 4096;

/// Without a descriptor of its own for the writer: a failure for lack of descriptors must not be silent.
fn deliver_as_it_is(fd: BorrowedFd<'_>, bytes: &[u8], until: Instant) -> io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        if !readiness::can_write_within(fd, until.saturating_duration_since(Instant::now())) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let written = rustix::io::write(fd, rest.get(..AT_ONCE).unwrap_or(rest))?;
        rest = rest.get(written..).unwrap_or_default();
    }
    Ok(())
}

/// No limit in practice: one year, which added to an [`Instant`] does not overflow.
pub const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// Prints one line on stderr with the prefix `creel:`, in colour where [`coloured`].
pub fn say(text: &str) {
    let stderr = fd::fixed(2);
    let (on, off) = if coloured(2) {
        ("\x1b[1;31m", "\x1b[0m")
    } else {
        ("", "")
    };
    // A hostile file name must not send escape sequences to the terminal or start a second line.
    let clean = escaped(unprefixed(text).chars());
    let line = format!("{on}creel:{off} {clean}\n");
    let patience = Duration::from_millis(LEFT.load(Ordering::Relaxed));
    let began = Instant::now();
    // If stderr is closed or not read, the failure cannot be reported.
    let _ = deliver(stderr, line.as_bytes(), patience);
    wait_at_most(patience.saturating_sub(began.elapsed()));
}

/// Whether the descriptor is a terminal and `NO_COLOR` is unset or empty (no-color.org), and
/// `TERM` names a terminal that has colours.
pub fn coloured(number: i32) -> bool {
    let plain = std::env::var_os("TERM").is_none_or(|v| v.is_empty() || v == "dumb");
    let refused = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
    pty::is_terminal(fd::fixed(number)) && !plain && !refused
}

/// Removes the prefix of an error whose origin is creel itself (`Origin::creel`), so it is not printed twice.
fn unprefixed(text: &str) -> &str {
    text.strip_prefix("creel: ").unwrap_or(text)
}

/// Ends the process on a panic with one sentence and creel's own exit status, and restores the caller's
/// terminal. A panic cannot unwind into C's `main`, and a release does not unwind. The jail dies with its
/// supervisor and the janitor removes the cgroup, as after SIGKILL.
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

    /// creel is the place of paths that it protects by itself.
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
