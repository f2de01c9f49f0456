//! The inner half of `creel policy test --kernel`: tries the accesses of the cases in a jail and prints
//! the kernel's answers. A trial that succeeds is harmless: an opened file is not changed, a created file
//! is removed, and a program gets no memory: it dies before its first instruction, after execve(2)
//! was permitted.

use std::ffi::CString;
use std::fs::OpenOptions;
use std::io::{self, Read as _, Write as _};
use std::net::UdpSocket;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::cli::failure::Failure;
use creel_sys::attempt::{self, c};
use creel_sys::process::{self, CStrings, Change};

/// RLIMIT_AS in bytes of a tried program, too small for it to start.
const NO_ROOM: u64 = 64 << 10;
/// Time limit for a trial, in seconds.
const PATIENCE: u32 = 10;
/// The byte that a trial of a program writes just before execve(2).
const READY: u8 = b'.';

/// One access to try.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trial {
    Read(String),
    Write(String),
    /// Candidate paths of the program, and its arguments.
    Exec(Vec<String>, Vec<String>),
    Network,
}

/// The kernel's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Allowed,
    /// The errno.
    Denied(i32),
}

/// Runs the trials of `task` (JSON) in order, and prints an [`Answer`] as a line of JSON for each.
pub fn run(task: &str) -> Result<u8, Failure> {
    let first = rustix::process::getppid().is_none_or(|p| p.as_raw_nonzero().get() == 1);
    if std::env::var_os("CREEL").is_none() || !first {
        return Err(Failure::new(
            "this is the inner half of `creel policy test --kernel`, which runs in a jail of its making only",
        ));
    }
    let trials: Vec<Trial> = serde_json::from_str(task)?;
    for trial in &trials {
        let answer = match attempted(trial) {
            Ok(()) => Answer::Allowed,
            Err(error) => Answer::Denied(error.raw_os_error().unwrap_or(c::EIO)),
        };
        let line = serde_json::to_string(&answer)? + "\n";
        io::stdout().write_all(line.as_bytes())?;
    }
    Ok(0)
}

fn attempted(trial: &Trial) -> io::Result<()> {
    match trial {
        Trial::Read(path) => {
            // O_NONBLOCK: opening a pipe must not block.
            let mut options = OpenOptions::new();
            let options = options.read(true).custom_flags(c::O_NONBLOCK | c::O_NOCTTY);
            options.open(path).map(|_| ())
        }
        Trial::Write(path) => write(Path::new(path)),
        Trial::Exec(paths, args) => {
            let mut last = io::Error::from_raw_os_error(c::ENOENT);
            for path in paths {
                match execute(path, args) {
                    Ok(()) => return Ok(()),
                    // Another path's error says more than ENOENT.
                    Err(e) if e.raw_os_error() == Some(c::ENOENT) => {}
                    Err(e) => last = e,
                }
            }
            Err(last)
        }
        // Connecting UDP sends no packet; it fails if no route exists.
        Trial::Network => UdpSocket::bind("0.0.0.0:0")?.connect("192.0.2.1:9"),
    }
}

/// Opens the path for writing without changing it; removes a file that it has created.
fn write(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return write(&path.join(".creel-policy-test"));
    }
    let made = OpenOptions::new().write(true).create_new(true).open(path);
    match made {
        Ok(_) => std::fs::remove_file(path),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            let mut options = OpenOptions::new();
            let options = options
                .write(true)
                .custom_flags(c::O_NONBLOCK | c::O_NOCTTY);
            options.open(path).map(|_| ())
        }
        Err(e) => Err(e),
    }
}

/// Whether the kernel permits execve(2) of this program. An errno is a refusal, except for a broken
/// format or too little memory; if the kernel kills the process while it loads the program, that is consent.
fn execute(path: &str, args: &[String]) -> io::Result<()> {
    let nul = |_| io::Error::from_raw_os_error(c::EINVAL);
    let program = CString::new(path).map_err(nul)?;
    let mut argv = vec![program.clone()];
    for arg in args {
        argv.push(CString::new(arg.as_str()).map_err(nul)?);
    }
    let (argv, envp) = (CStrings::new(argv), CStrings::new(vec![]));
    let (mut reader, mut writer) = io::pipe()?;
    let pid = attempt::fork(move || {
        attempt::alarm(PATIENCE);
        let errno = match attempt::set_limit(c::RLIMIT_AS, NO_ROOM, NO_ROOM) {
            // Without this byte an early death of the child would count as consent.
            Ok(()) if writer.write_all(&[READY]).is_ok() => process::exec(&program, &argv, &envp),
            Ok(()) => return 1,
            Err(errno) => errno,
        };
        // If the runner is gone, the errno cannot be reported.
        let _ = writer.write_all(&errno.raw_os_error().to_ne_bytes());
        0
    })?;
    // `writer` moved into the closure and is closed here by now, so the read ends with the child.
    let mut said = vec![];
    reader.read_to_end(&mut said)?;
    let (change, _) = process::reap(pid)?;
    let Some((&READY, said)) = said.split_first() else {
        return Err(io::Error::other(format!(
            "the trial ended early: {change:?}"
        )));
    };
    match <[u8; 4]>::try_from(said) {
        Ok(bytes) => match i32::from_ne_bytes(bytes) {
            // The permission check passed; the format is unknown or the memory too small.
            c::ENOEXEC | c::ENOMEM => Ok(()),
            errno => Err(io::Error::from_raw_os_error(errno)),
        },
        Err(_) if change == Change::Signaled(c::SIGALRM) => {
            Err(io::Error::from_raw_os_error(c::ETIMEDOUT))
        }
        // execve(2) closed the pipe, and the program died for lack of memory.
        Err(_) => Ok(()),
    }
}
