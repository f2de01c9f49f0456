//! Messages between a keeper and its clients: JSON in packets of a SOCK_SEQPACKET socket, with descriptors beside
//! them. A longer text travels in a memory file.
//!
//! A keeper may be older or younger than its client. Unknown fields are passed over; a request that a keeper does
//! not know is refused.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::declare::PublishOn;
use creel_plan::lossless;
use creel_plan::request::Publish;
use creel_sys::Errno;
use creel_sys::socket::{self, MAX_FDS, Wait};

/// Bytes of a packet.
const PACKET: usize = 32 << 10;
/// Bytes of a message in a memory file: twice what execve(2) takes.
const LONGEST: u64 = 16 << 20;
/// The first byte of a packet: the text follows, or is in the file that travels first.
const INLINE: u8 = b'i';
const IN_FILE: u8 = b'f';

/// A request to a keeper.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub enum Ask {
    /// Run a command. stdin, stdout and stderr travel with it, unless it is detached or has a terminal.
    Exec(Box<ExecAsk>),
    /// Send a signal to the command of this connection.
    Signal {
        /// signal(7)
        number: i32,
    },
    /// End the command of this connection: its output has reached the limit.
    Exceeded,
    /// All output of the command has been delivered.
    Drained {
        /// Bytes.
        output: u64,
        /// The error of a stream that lost a part.
        lost: Option<String>,
    },
    /// Act on a name in the jail.
    File {
        /// The act.
        act: FileWord,
        /// The path, and a second one for a rename; relative ones start at the session's working directory.
        #[serde(with = "lossless::list")]
        paths: Vec<Vec<u8>>,
        /// Flags of open(2).
        flags: u32,
        /// Permission bits of a new name.
        mode: u32,
    },
    /// Describe the session.
    Inspect,
    /// Wait for the end of a detached command.
    AwaitJob {
        /// Its number.
        number: u32,
    },
    /// Wait for the end of the session.
    Wait,
    /// Send a signal to all commands.
    SignalAll {
        /// signal(7)
        number: i32,
    },
    /// Send a signal to one command.
    SignalJob {
        /// Its number.
        job: u32,
        /// signal(7)
        number: i32,
    },
    /// End the session: SIGTERM to all commands, SIGKILL after the grace.
    Stop {
        /// Milliseconds; `None` for the policy's.
        grace: Option<u64>,
    },
    /// End the session at once.
    Kill,
    /// Change the session's network.
    Net {
        /// The change.
        change: NetChange,
    },
    /// Stop every process.
    Pause,
    /// End a pause.
    Resume,
    /// A request of a younger creel.
    #[serde(other)]
    Unknown,
}

/// A change of a session's network.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum NetChange {
    /// Let the session connect to these destinations, as `--allow-net` does.
    Allow {
        /// `HOST[:PORTS]`
        destinations: Vec<String>,
    },
    /// Refuse these destinations, and end the connections to them.
    Deny {
        /// `HOST[:PORTS]`; without ports, every port.
        destinations: Vec<String>,
    },
    /// Go back to the rules that the session was made with.
    Reset,
    /// Publish ports, as `--publish` does.
    Publish {
        /// The ports.
        publish: Vec<Publish>,
        /// The addresses that they may be published on.
        on: PublishOn,
    },
    /// Close published ports, and end the connections through them.
    Unpublish {
        /// The addresses and ports on the host.
        addresses: Vec<SocketAddr>,
    },
}

impl NetChange {
    /// The flag of `creel create` that a session without a relay was made without.
    pub fn flag(&self) -> &'static str {
        match self {
            NetChange::Publish { .. } | NetChange::Unpublish { .. } => "--publish PORT",
            _ => "--allow-net HOST",
        }
    }
}

/// An act on a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileWord {
    /// Open it.
    Open,
    /// Make a directory.
    MakeDirectory,
    /// Rename it.
    Rename,
    /// Remove a file or a link.
    Unlink,
    /// Remove an empty directory.
    RemoveDirectory,
}

/// A command to run in a session.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ExecAsk {
    /// The arguments, the program first.
    #[serde(with = "lossless::list")]
    pub command: Vec<Vec<u8>>,
    /// Variables beside the session's.
    #[serde(with = "lossless::map", default)]
    pub env: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The working directory; `None` for the session's.
    #[serde(with = "lossless::list", default)]
    pub workdir: Vec<Vec<u8>>,
    /// Variables of the caller's that it gets if the policy passes them on.
    #[serde(with = "lossless::map", default)]
    pub offered: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Rows and columns of its own terminal.
    #[serde(default)]
    pub terminal: Option<[u16; 2]>,
    /// Whether it outlives the connection, with its output in the session's directory.
    #[serde(default)]
    pub detach: bool,
    /// Milliseconds.
    #[serde(default)]
    pub timeout: Option<u64>,
    /// Bytes.
    #[serde(default)]
    pub memory: Option<u64>,
    /// Thousandths of a processor.
    #[serde(default)]
    pub cpu_milli: Option<u32>,
    /// Processes and threads.
    #[serde(default)]
    pub pids: Option<u64>,
    /// Whether the whole verdict is wanted.
    #[serde(default)]
    pub full: bool,
}

/// An answer of a keeper.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "tell", rename_all = "kebab-case")]
pub enum Tell {
    /// The command runs; bytes that it may write in all.
    Started {
        /// Bytes on stdout and stderr.
        output: u64,
        /// Milliseconds that a reader has after the command was ended.
        grace: u64,
        /// [`Ask::Drained`] may come before [`Tell::Over`], which is then left out.
        #[serde(default)]
        drains_early: bool,
    },
    /// The master of the command's terminal travels with this message.
    Terminal,
    /// The command was stopped.
    Stopped,
    /// The command has ended; its output may still be on the way.
    Over {
        /// Whether a limit or a signal ended it.
        ended: bool,
    },
    /// The end of a command.
    Verdict {
        /// The exit status of `creel exec`.
        exit_status: u8,
        /// Whether this is the command's own status: it exited, and no signal, limit or fault ended it.
        #[serde(default = "unsaid")]
        exited: bool,
        /// Lines for people, as `creel run` prints them.
        lines: Vec<String>,
        /// The verdict, if it was wanted.
        verdict: Option<String>,
    },
    /// The request is refused.
    Refused {
        /// A code of docs/errors.md.
        code: String,
        /// One sentence.
        text: String,
        /// The exit status of the verb.
        status: u8,
    },
    /// The description of the session.
    Inspected {
        /// As `creel inspect` prints it.
        session: serde_json::Value,
    },
    /// An act on a name was done; an opened file travels with this message.
    FileDone {
        /// The number of the error, errno(3).
        errno: Option<i32>,
    },
    /// A detached command was started.
    Job {
        /// Its number.
        number: u32,
    },
    /// The session has ended.
    Ended {
        /// The exit status of `creel attach`.
        exit_status: u8,
        /// Lines for people.
        #[serde(default)]
        lines: Vec<String>,
    },
    /// Done.
    Done,
    /// An answer of a younger creel.
    #[serde(other)]
    Unknown,
}

/// A keeper older than the field says nothing of it; nearly every command exits.
fn unsaid() -> bool {
    true
}

/// Sends a message, with descriptors if any.
pub fn send(
    to: BorrowedFd<'_>,
    message: &impl Serialize,
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let text = serde_json::to_vec(message).map_err(io::Error::other)?;
    if text.len() < PACKET {
        let mut packet = vec![INLINE];
        packet.extend(text);
        return Ok(socket::send(to, &packet, fds)?);
    }
    let file = rustix::fs::memfd_create(c"creel-message", rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut file = std::fs::File::from(file);
    io::Write::write_all(&mut file, &text)?;
    let all: Vec<BorrowedFd<'_>> = [file.as_fd()]
        .into_iter()
        .chain(fds.iter().copied())
        .collect();
    Ok(socket::send(to, &[IN_FILE], &all)?)
}

/// The descriptors that came with a message.
pub type Fds = [Option<OwnedFd>; MAX_FDS];

/// Receives a message. `None` at the end of the connection; `WouldBlock` without a message, if `wait` is not
/// wanted.
pub fn receive<T: DeserializeOwned>(
    from: BorrowedFd<'_>,
    wait: Wait,
) -> io::Result<Option<(T, Fds)>> {
    let mut packet = vec![0; PACKET];
    let (length, mut fds) = match socket::receive_whole(from, &mut packet, wait) {
        Ok((0, _)) | Err(Errno::CONNRESET) => return Ok(None),
        other => other?,
    };
    let wrong = || io::Error::from(io::ErrorKind::InvalidData);
    let (kind, text) = packet
        .get(..length)
        .and_then(<[u8]>::split_first)
        .ok_or_else(wrong)?;
    let message = match *kind {
        INLINE => serde_json::from_slice(text),
        IN_FILE => {
            fds.rotate_left(1);
            let file = fds[MAX_FDS - 1].take().ok_or_else(wrong)?;
            serde_json::from_slice(&whole(&file)?)
        }
        _ => return Err(wrong()),
    };
    Ok(Some((message.map_err(|_| wrong())?, fds)))
}

/// Reads a file from its beginning. A pipe or a socket in its place is an error, and waits for nothing.
fn whole(file: &OwnedFd) -> io::Result<Vec<u8>> {
    let length = rustix::fs::seek(file, rustix::fs::SeekFrom::End(0))?;
    if length > LONGEST {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut text = vec![0; length as usize];
    let mut at = 0;
    while at < text.len() {
        match rustix::io::pread(file, &mut text[at..], at as u64)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => at += read,
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_messages_arrive_with_their_descriptors() {
        let (one, other) = socket::pair().unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        for length in [0, 10, PACKET - 100, PACKET, 1 << 20] {
            let ask = Ask::Exec(Box::new(ExecAsk {
                command: vec![b"echo".to_vec(), vec![0xff; length]],
                ..ExecAsk::default()
            }));
            send(one.as_fd(), &ask, &[null.as_fd()]).unwrap();
            let (heard, fds): (Ask, Fds) = receive(other.as_fd(), Wait::Yes).unwrap().unwrap();
            let Ask::Exec(heard) = heard else { panic!() };
            assert_eq!(heard.command[1].len(), length);
            assert!(fds[0].is_some() && fds[1].is_none());
        }
        drop(one);
        assert!(receive::<Ask>(other.as_fd(), Wait::Yes).unwrap().is_none());
    }

    #[test]
    fn what_a_younger_creel_says_is_unknown_and_no_error() {
        let (one, other) = socket::pair().unwrap();
        for text in [
            r#"i{"ask":"dream","of":1}"#,
            r#"i{"ask":"inspect","more":true}"#,
        ] {
            socket::send(one.as_fd(), text.as_bytes(), &[]).unwrap();
            let (heard, _): (Ask, Fds) = receive(other.as_fd(), Wait::Yes).unwrap().unwrap();
            assert_eq!(matches!(heard, Ask::Unknown), text.contains("dream"));
        }
        socket::send(one.as_fd(), b"i{", &[]).unwrap();
        assert!(receive::<Ask>(other.as_fd(), Wait::Yes).is_err());
    }
}
