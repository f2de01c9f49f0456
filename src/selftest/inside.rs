//! The inner half: makes the attempts in the jail, each in a process of its own, and writes a line of JSON
//! for each. It is creel's own binary, so that it needs no other program in the jail.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;

use super::{Line, Outcome, Site, Stopped, Task, Tried, rows, spend};
use creel_sys::attempt::{self, c};
use creel_sys::process::{self, Change};

/// Seconds after which an attempt hangs. Emulated machines are slow.
const PATIENCE: u32 = 10;

/// Why the inner half refuses to start.
#[derive(Debug, thiserror::Error)]
pub enum InsideError {
    #[error("this is the inner half of `creel selftest`, which runs in a jail of its making only")]
    NotInside,
    #[error("the self-test's inner half cannot write its lines")]
    Write(#[from] std::io::Error),
    #[error("the self-test's inner half got an instruction that it does not understand")]
    Task(#[from] serde_json::Error),
}

/// Does the outer half's task; returns the exit code for [`Task::Spend`], else 0.
pub fn run(task: &str) -> Result<u8, InsideError> {
    let task: Task = serde_json::from_str(task)?;
    let shares_pids = match &task {
        Task::Rows(site) => site.shares_pids,
        Task::Spend { shares_pids, .. } => *shares_pids,
    };
    // In a jail the parent is creel's pid 1.
    let first = rustix::process::getppid().is_none_or(|p| p.as_raw_nonzero().get() == 1);
    if std::env::var_os("CREEL").is_none() || !(first || shares_pids) {
        return Err(InsideError::NotInside);
    }
    process::set_mask(0o022);
    match task {
        Task::Rows(site) => perform(&site).map(|()| 0),
        Task::Spend { spend, .. } => Ok(spend::perform(spend)),
    }
}

fn perform(site: &Site) -> Result<(), InsideError> {
    let attempts = rows::all().map(|row| (row.group, row.name, row.run));
    let works = rows::works().map(|row| (row.group, row.name, row.run));
    for (group, name, run) in attempts.chain(works) {
        let outcome = apart(|| run(site));
        let line = Line {
            name: name.into(),
            group: group.into(),
            outcome,
        };
        let mut text = serde_json::to_string(&line)?;
        text.push('\n');
        std::io::stdout().write_all(text.as_bytes())?;
    }
    Ok(())
}

/// One attempt in a process of its own: a crash, a kill and a hang are its result.
fn apart(run: impl FnOnce() -> Tried) -> Outcome {
    let wrong = |what: &str, e: creel_sys::Errno| Outcome::CouldNotRun(format!("{what}: {e}"));
    let pipe = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC);
    let (reader, writer): (OwnedFd, OwnedFd) = match pipe {
        Ok(pipe) => pipe,
        Err(errno) => return wrong("pipe", errno),
    };
    let started = attempt::fork(|| {
        attempt::alarm(PATIENCE);
        let outcome = match run() {
            Ok(()) => Outcome::GotThrough,
            Err(Stopped::Errno(errno)) => Outcome::Denied(errno.raw_os_error()),
            Err(Stopped::Absent) => Outcome::Absent,
            Err(Stopped::CouldNotRun(why)) => Outcome::CouldNotRun(why),
        };
        let text = serde_json::to_vec(&outcome).unwrap_or_default();
        // If the runner is gone, no process reads the outcome.
        let _ = File::from(writer).write_all(&text);
        0
    });
    let pid = match started {
        Ok(pid) => pid,
        Err(errno) => return wrong("fork", errno),
    };
    // `writer` was dropped with the closure, so the copy's is the last.
    let mut text = String::new();
    let read = File::from(reader).read_to_string(&mut text);
    let change = match process::reap(pid) {
        Ok((change, _)) => change,
        Err(errno) => return wrong("wait", errno),
    };
    match (serde_json::from_str(&text), change, read) {
        (Ok(outcome), ..) => outcome,
        (_, Change::Signaled(signal), _) if signal == c::SIGALRM => {
            Outcome::CouldNotRun(format!("hung for {PATIENCE} seconds"))
        }
        (_, Change::Signaled(signal), _) => Outcome::Killed(signal),
        (_, change, _) => Outcome::CouldNotRun(format!("ended without a report: {change:?}")),
    }
}
