//! Asking whoever sits at the terminal. Where there is no terminal, or nobody answers, the answer is no.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use crate::sys::{pty, readiness};

/// How long a question stands.
const PATIENCE: Duration = Duration::from_secs(30);

/// May the jail go there?
pub async fn may(host: &str, port: u16) -> bool {
    let Some(terminal) = pty::of_caller() else {
        return false;
    };
    tokio::time::timeout(PATIENCE, question(terminal, host, port))
        .await
        .unwrap_or(false)
}

async fn question(terminal: File, host: &str, port: u16) -> bool {
    use std::io::Write as _;
    // Where the jail has the terminal it is raw. What was typed before the question is no answer to it.
    let Ok(_lines) = pty::Lines::enter(terminal.as_fd()) else {
        return false;
    };
    // What a jail says is shown without anything that a terminal would obey.
    let host = host.escape_default();
    let mut screen = &terminal;
    if write!(
        screen,
        "\rcreel: may the jail connect to {host} port {port}? [y/N] "
    )
    .is_err()
    {
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
            return ["y", "yes"].contains(&answer.as_str());
        }
    }
}
