//! Asking whoever sits at the terminal. Where there is no terminal, or nobody answers, the answer is no.
//!
//! What a jail shows is on the same screen: it may look like a question, or be meant to hide one. So
//! nothing of the jail's is shown while a question stands, what it may have left half said to the
//! terminal is ended first, and the answer that allows is a word that it cannot know: whoever answers
//! something else than this question has denied it.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use crate::sys::{host, pty, readiness};

/// How long a question stands.
const PATIENCE: Duration = Duration::from_secs(30);

/// Ends what a terminal may be in the middle of, on a line of its own with nothing below: CAN and ST
/// (ECMA-48, 8.3.6 and 8.3.143) an open sequence or string, then no colours and nothing concealed (SGR 0),
/// letters as letters (SI, and ASCII in G0), long lines wrapped (DECAWM), and the rest erased (ED).
const BEGIN: &str = "\x18\x1b\\\x1b[0m\x0f\x1b(B\x1b[?7h\n\x1b[J";

/// May the jail go there?
pub async fn may(host: &str, port: u16) -> bool {
    let Some(terminal) = pty::of_caller() else {
        return false;
    };
    tokio::time::timeout(PATIENCE, question(terminal, host, port))
        .await
        .unwrap_or(false)
}

async fn question(terminal: File, name: &str, port: u16) -> bool {
    use std::io::Write as _;
    // Where the jail has the terminal it is raw. What was typed before the question is no answer to it.
    let Ok(_lines) = pty::Lines::enter(terminal.as_fd()) else {
        return false;
    };
    let Some(word) = host::random_word() else {
        return false;
    };
    // What a jail says is shown without anything that a terminal would obey.
    let name = name.escape_default();
    let mut screen = &terminal;
    let text = format!(
        "{BEGIN}creel: may the jail connect to {name} port {port}? type {word} to allow it, Enter to deny: "
    );
    if screen.write_all(text.as_bytes()).is_err() {
        return false;
    }
    let Ok(keys) = readiness::to_read(OwnedFd::from(terminal)) else {
        return false;
    };
    let mut line = vec![];
    loop {
        let Ok(mut ready) = keys.readable().await else {
            return false;
        };
        let mut bytes = [0; 64];
        match rustix::io::read(keys.get_ref(), &mut bytes) {
            Ok(0) => return false,
            Ok(count) => line.extend_from_slice(&bytes[..count]),
            Err(crate::sys::Errno::AGAIN) => ready.clear_ready(),
            Err(_) => return false,
        }
        if line.iter().any(|key| matches!(key, b'\n' | b'\r')) || line.len() > 64 {
            let answer = String::from_utf8_lossy(&line).trim().to_lowercase();
            return answer == word;
        }
    }
}
