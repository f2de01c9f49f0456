//! The parts of a command that are handed to the session's first process, and its streams.

use std::os::fd::{AsFd, OwnedFd};

use crate::keep::error::SessionError;
use crate::keep::session::Keeper;
use crate::keep::wire::{ExecAsk, Fds};
use creel_jail::Stdio;
use creel_plan::{CommandPlan, Terminal};
use creel_sys::handed::Parts;
use creel_sys::{Errno, fd, socket};

/// Bytes of a word, and words of a command, in lists and events.
const SHOWN: usize = 256;
const SHOWN_WORDS: usize = 16;

/// The reading ends of a detached command's output, and the file for it.
pub(super) struct Log {
    pub output: OwnedFd,
    pub file: std::fs::File,
}

/// A command for lists and events: the first words of it, and of each the beginning.
pub(super) fn shown(words: &[Vec<u8>]) -> Vec<String> {
    let begin = |bytes: &Vec<u8>| {
        let text = String::from_utf8_lossy(bytes.get(..SHOWN).unwrap_or(bytes)).into_owned();
        if bytes.len() > SHOWN {
            text + "..."
        } else {
            text
        }
    };
    let mut all: Vec<String> = words.iter().take(SHOWN_WORDS).map(begin).collect();
    if words.len() > SHOWN_WORDS {
        all.push("...".into());
    }
    all
}

/// The names of the limits that a request sets.
pub(super) fn own(ask: &ExecAsk) -> Vec<&'static str> {
    let all = [
        ("memory", ask.memory.is_some()),
        ("pids", ask.pids.is_some()),
        ("timeout", ask.timeout.is_some()),
    ];
    let set = all.into_iter().filter(|(_, set)| *set);
    set.map(|(name, _)| name).collect()
}

pub(super) fn first(source: Errno) -> SessionError {
    SessionError::First { source }
}

/// The streams that came with the request. A directory or a file would lead the command to the host.
pub(super) fn streams(fds: Fds, terminal: Option<[u16; 2]>) -> Result<Stdio, SessionError> {
    let mut fds = fds.into_iter();
    let streams = Stdio(std::array::from_fn(|_| fds.next().flatten()));
    if terminal.is_some() {
        // Pid 1 takes three; the terminal replaces them.
        return nothing();
    }
    let is_stream = |stream: &Option<OwnedFd>| {
        let Some(stream) = stream else { return false };
        let kind = fd::stat(stream.as_fd()).map(|stat| stat.kind);
        kind == Ok(fd::Kind::Other) && !socket::leads_out(stream.as_fd())
    };
    match streams.0.iter().all(is_stream) {
        true => Ok(streams),
        false => Err(SessionError::Streams),
    }
}

/// An empty stdin, and output that nobody reads.
pub(super) fn nothing() -> Result<Stdio, SessionError> {
    let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(first);
    let (input, _) = pipe()?;
    let (_, output) = pipe()?;
    let copy = rustix::io::fcntl_dupfd_cloexec(&output, 3).map_err(first)?;
    Ok(Stdio([Some(input), Some(output), Some(copy)]))
}

pub(super) fn log(keeper: &Keeper, number: u32) -> Result<(Stdio, Log), SessionError> {
    let file = keeper.claim.create(&format!("job-{number}"))?;
    let (input, _) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(first)?;
    let (output, theirs) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(first)?;
    let copy = rustix::io::fcntl_dupfd_cloexec(&theirs, 3).map_err(first)?;
    let streams = Stdio([Some(input), Some(theirs), Some(copy)]);
    Ok((streams, Log { output, file }))
}

pub(super) fn parts(plan: &CommandPlan, terminal: Option<[u16; 2]>) -> Parts {
    let text = |bytes: &[u8]| std::ffi::CString::new(bytes).unwrap_or_default();
    let variables = plan.environment.iter();
    Parts {
        candidates: plan.candidates.iter().map(|path| text(path)).collect(),
        argv: plan.argv.iter().map(|word| text(word)).collect(),
        environment: variables
            .map(|(name, value)| text(&[name, b"=".as_slice(), value].concat()))
            .collect(),
        workdir: {
            use std::os::unix::ffi::OsStrExt as _;
            text(plan.workdir.as_os_str().as_bytes())
        },
        limits: vec![],
        terminal: terminal.filter(|_| plan.terminal == Terminal::Pty),
    }
}
