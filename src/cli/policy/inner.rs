//! The inner half of `creel policy test --kernel`: tries in a jail what cases name, and says which
//! answer the kernel gave. Every trial is harmless where it succeeds: a file is opened and not
//! changed, what is created is removed, and a program gets no memory to run in: it dies before its
//! first instruction, after the kernel has said yes.

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

/// Bytes of address space for a program that is to die at once.
const NO_ROOM: u64 = 64 << 10;
/// A trial that takes longer hangs, seconds.
const PATIENCE: u32 = 10;
/// What a trial of a program says when all is ready for it.
const READY: u8 = b'.';

/// One thing to try.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trial {
    Read(String),
    Write(String),
    /// One of these, with arguments.
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

/// Tries them in order, a line of JSON for each.
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
            // A pipe must not make the trial wait.
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
                    // The most telling refusal: absence says the least.
                    Err(e) if e.raw_os_error() == Some(c::ENOENT) => {}
                    Err(e) => last = e,
                }
            }
            Err(last)
        }
        // No packet is sent: there is a route, or there is none.
        Trial::Network => UdpSocket::bind("0.0.0.0:0")?.connect("192.0.2.1:9"),
    }
}

/// Opens for writing without changing anything; what was not there is removed again.
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

/// Whether the kernel would start this program. An errno is its refusal; a process that the kernel
/// kills while it loads the program, or a broken format, is its consent.
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
            // Its last word before the program, without which a silent end would count as one.
            Ok(()) if writer.write_all(&[READY]).is_ok() => process::exec(&program, &argv, &envp),
            Ok(()) => return 1,
            Err(errno) => errno,
        };
        // Nobody is left to be told if the runner is gone.
        let _ = writer.write_all(&errno.raw_os_error().to_ne_bytes());
        0
    })?;
    // `writer` went into the closure and with it.
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
            // Permitted, and no program for this kernel or this much memory.
            c::ENOEXEC | c::ENOMEM => Ok(()),
            errno => Err(io::Error::from_raw_os_error(errno)),
        },
        Err(_) if change == Change::Signaled(c::SIGALRM) => {
            Err(io::Error::from_raw_os_error(c::ETIMEDOUT))
        }
        // The pipe was closed by execve(2), and the program had no memory to begin in.
        Err(_) => Ok(()),
    }
}
