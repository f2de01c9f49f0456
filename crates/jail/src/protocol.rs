//! Messages from the jail's first process to its supervisor: fixed size, encoded without allocation. Those
//! that need action travel over a SOCK_SEQPACKET pair. The last one, how the jail's first command ended, is
//! left in shared memory, since the end of pid 1 wakes the supervisor anyway.
//!
//! The supervisor numbers the commands; the jail's pids mean nothing outside.

use creel_sys::process::{Change, Usage};
use creel_sys::shared::WORDS;

/// Length of every message, bytes.
pub const LENGTH: usize = 4 * WORDS;

/// Writable tmpfs mounts whose use fits in one message.
pub const DISKS: usize = 4;

/// Messages to the jail's first process while it is made: its id maps are written, the placeholders of absent
/// names are there, opens of denied names are checked.
pub const MAPPED: u8 = b'!';
/// See [`MAPPED`].
pub const HELD: u8 = b'n';
/// See [`MAPPED`].
pub const GUARDED: u8 = b'g';

/// A request to the first process of a jail that stays, while it runs: three words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Start a command. Descriptors: the command in shared memory ([`handed`](creel_sys::handed)), its stdin,
    /// stdout and stderr, and opened `tasks` files of the groups that it joins.
    Start {
        /// The number that the supervisor gives to the command.
        command: u32,
        /// Whether it joins a group, by which its descendants are found. Without one pid 1 looks for them.
        grouped: bool,
    },
    /// Act on a name. Descriptor: the act in shared memory: the paths as candidates, and as the one limit the
    /// number of the [`FileAct`], flags of open(2) and permission bits.
    File {
        /// The number that the supervisor gives to the request.
        command: u32,
    },
    /// Make an unconnected TCP socket in the jail's network. [`Message::FileDone`] answers it.
    Socket {
        /// The number that the supervisor gives to the request.
        command: u32,
        /// The number of its [`Family`](creel_sys::net::Family).
        family: u32,
    },
    /// Send a signal to the process group of a command.
    Signal {
        /// The number that the supervisor gave to the command.
        command: u32,
        /// signal(7)
        number: i32,
    },
}

/// Length of every request, bytes.
pub const REQUEST: usize = 12;

impl Request {
    /// The words in native byte order.
    pub fn encode(self) -> [u8; REQUEST] {
        let words = match self {
            Request::Start { command, grouped } => [1, command, grouped.into()],
            Request::Signal { command, number } => [2, command, number.cast_unsigned()],
            Request::File { command } => [3, command, 0],
            Request::Socket { command, family } => [4, command, family],
        };
        let mut bytes = [0; REQUEST];
        for (to, word) in bytes.chunks_exact_mut(4).zip(words) {
            to.copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }

    /// `None` if it is not a request of this version.
    pub fn decode(bytes: &[u8]) -> Option<Request> {
        let mut words = [0u32; 3];
        for (word, from) in words.iter_mut().zip(bytes.chunks_exact(4)) {
            *word = u32::from_ne_bytes(from.try_into().ok()?);
        }
        match words {
            [1, command, grouped] => Some(Request::Start {
                command,
                grouped: grouped != 0,
            }),
            [2, command, number] => Some(Request::Signal {
                command,
                number: number.cast_signed(),
            }),
            [3, command, _] => Some(Request::File { command }),
            [4, command, family] => Some(Request::Socket { command, family }),
            _ => None,
        }
    }
}

/// An act on a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileAct {
    /// openat(2); the opened file travels with the answer.
    Open = 1,
    /// mkdirat(2)
    MakeDirectory = 2,
    /// renameat(2), to a second path
    Rename = 3,
    /// unlinkat(2)
    Unlink = 4,
    /// unlinkat(2), `AT_REMOVEDIR`
    RemoveDirectory = 5,
}

impl FileAct {
    /// The act with this number.
    pub fn of(number: u64) -> Option<FileAct> {
        let all = [
            FileAct::Open,
            FileAct::MakeDirectory,
            FileAct::Rename,
            FileAct::Unlink,
            FileAct::RemoveDirectory,
        ];
        all.into_iter().find(|act| *act as u64 == number)
    }
}

/// The command for which a jail is made.
pub const FIRST: u32 = 0;

/// The first word of the usage in [`Message::Ended`].
const USAGE: usize = 5 + 2 * DISKS;

/// The step that failed before a command's program ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stumble {
    /// execve(2), or the making of the process.
    Program = 0,
    /// chdir(2).
    Workdir = 1,
    /// The joining of groups, the terminal, the streams.
    Before = 2,
    /// No process was made, and none will end.
    NoProcess = 3,
}

/// One message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// A step failed, and the process exits.
    Failed {
        /// The number of the act in the plan, [`STDIN`](super::step::STDIN), or `u32::MAX` for a failure
        /// before the first act.
        step: u32,
        /// The error number of the system call that failed, errno(3).
        errno: i32,
    },
    /// The pseudoterminal's master travels with this message.
    Terminal {
        /// The number that the supervisor gave to the command.
        command: u32,
    },
    /// An act on a name was done; an opened file travels with this message.
    FileDone {
        /// The number that the supervisor gave to the request.
        command: u32,
        /// 0, or the error of the call, errno(3).
        errno: i32,
    },
    /// The command's program was executed.
    Started {
        /// The number that the supervisor gave to the command.
        command: u32,
    },
    /// The socket of a session's client travels with this message.
    Listens,
    /// Stdin's file travels with this message.
    Stdin {
        /// The offset of the file at the start, bytes.
        position: u64,
    },
    /// No candidate could be executed.
    NotExecuted {
        /// The number that the supervisor gave to the command.
        command: u32,
        /// The error number of the start, errno(3): of execve(2), or `EAGAIN` if no process can be made.
        errno: i32,
        /// The step that failed.
        at: Stumble,
    },
    /// The command stopped (Ctrl-Z).
    Stopped {
        /// The number that the supervisor gave to the command.
        command: u32,
    },
    /// The command ended.
    Ended {
        /// The number that the supervisor gave to the command.
        command: u32,
        /// The exit code, or the signal that ended the command.
        change: Change,
        /// For each writable tmpfs, in the order of the plan: per mille of its bytes and of its inodes in
        /// use.
        disks: [[u32; 2]; DISKS],
        /// Milliseconds of processor time of the command's own process, as RLIMIT_CPU counts them.
        cpu: u32,
        /// The resources of the command and of the descendants that it waited for.
        usage: Usage,
    },
}

impl Message {
    /// The message as words, for the board; see [`Message::encode`] for the socket.
    pub fn words(&self) -> [u32; WORDS] {
        let mut words = [0u32; WORDS];
        match *self {
            Message::Failed { step, errno } => words[..3].copy_from_slice(&[1, step, errno as u32]),
            Message::Terminal { command } => words[..2].copy_from_slice(&[2, command]),
            Message::Started { command } => words[..2].copy_from_slice(&[7, command]),
            Message::NotExecuted { command, errno, at } => {
                words[..4].copy_from_slice(&[3, command, errno as u32, at as u32]);
            }
            Message::Listens => words[0] = 9,
            Message::FileDone { command, errno } => {
                words[..3].copy_from_slice(&[8, command, errno as u32]);
            }
            Message::Stopped { command } => words[..2].copy_from_slice(&[4, command]),
            Message::Stdin { position } => {
                words[..3].copy_from_slice(&[6, position as u32, (position >> 32) as u32]);
            }
            Message::Ended {
                command,
                change,
                disks,
                cpu,
                usage,
            } => {
                let (kind, value) = match change {
                    Change::Exited(code) => (0, code),
                    Change::Signaled(signal) => (1, signal),
                    Change::Stopped(signal) => (2, signal),
                    Change::Continued => (3, 0),
                };
                words[..5].copy_from_slice(&[5, command, kind, value as u32, cpu]);
                for (at, disk) in disks.iter().enumerate() {
                    words[5 + 2 * at..7 + 2 * at].copy_from_slice(disk);
                }
                let numbers = [
                    usage.user,
                    usage.system,
                    usage.peak_rss,
                    usage.blocks_in,
                    usage.blocks_out,
                ];
                for (to, number) in words[USAGE..].chunks_exact_mut(2).zip(numbers) {
                    to.copy_from_slice(&[number as u32, (number >> 32) as u32]);
                }
            }
        }
        words
    }

    /// `None` if it is not a message of this version.
    pub fn from_words(words: &[u32; WORDS]) -> Option<Message> {
        Some(match words[0] {
            1 => Message::Failed {
                step: words[1],
                errno: words[2] as i32,
            },
            2 => Message::Terminal { command: words[1] },
            3 => Message::NotExecuted {
                command: words[1],
                errno: words[2] as i32,
                at: match words[3] {
                    0 => Stumble::Program,
                    1 => Stumble::Workdir,
                    3 => Stumble::NoProcess,
                    _ => Stumble::Before,
                },
            },
            4 => Message::Stopped { command: words[1] },
            5 => {
                let value = words[3] as i32;
                let change = match words[2] {
                    0 => Change::Exited(value),
                    1 => Change::Signaled(value),
                    2 => Change::Stopped(value),
                    _ => Change::Continued,
                };
                Message::Ended {
                    command: words[1],
                    change,
                    disks: std::array::from_fn(|at| [words[5 + 2 * at], words[6 + 2 * at]]),
                    cpu: words[4],
                    usage: {
                        let number = |at: usize| {
                            let at = USAGE + 2 * at;
                            u64::from(words[at]) | u64::from(words[at + 1]) << 32
                        };
                        Usage {
                            user: number(0),
                            system: number(1),
                            peak_rss: number(2),
                            blocks_in: number(3),
                            blocks_out: number(4),
                        }
                    },
                }
            }
            8 => Message::FileDone {
                command: words[1],
                errno: words[2] as i32,
            },
            7 => Message::Started { command: words[1] },
            9 => Message::Listens,
            6 => Message::Stdin {
                position: u64::from(words[1]) | u64::from(words[2]) << 32,
            },
            _ => return None,
        })
    }

    /// The message for the socket: the words in native byte order.
    pub fn encode(&self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        for (to, word) in bytes.chunks_exact_mut(4).zip(self.words()) {
            to.copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }

    /// As [`Message::from_words`].
    pub fn decode(bytes: &[u8]) -> Option<Message> {
        let mut words = [0; WORDS];
        for (word, from) in words.iter_mut().zip(bytes.chunks_exact(4)) {
            *word = u32::from_ne_bytes(from.try_into().ok()?);
        }
        Message::from_words(&words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_survives_the_wire() {
        for message in [
            Message::Failed { step: 7, errno: 13 },
            Message::Stdin {
                position: 5 << 32 | 9,
            },
            Message::Listens,
            Message::Terminal { command: 9 },
            Message::Started { command: 10 },
            Message::FileDone {
                command: 11,
                errno: 2,
            },
            Message::NotExecuted {
                command: 3,
                errno: 2,
                at: Stumble::Workdir,
            },
            Message::Stopped { command: 4 },
            Message::Ended {
                command: u32::MAX,
                change: Change::Signaled(9),
                disks: [[1, 2], [3, 4], [5, 6], [1000, 7]],
                cpu: 8,
                usage: Usage {
                    user: 1,
                    system: 2 << 40,
                    peak_rss: 3,
                    blocks_in: 4,
                    blocks_out: 5,
                },
            },
        ] {
            assert_eq!(Message::decode(&message.encode()), Some(message));
        }
        for request in [
            Request::Start {
                command: 7,
                grouped: true,
            },
            Request::File { command: 8 },
            Request::Socket {
                command: 9,
                family: u32::MAX,
            },
            Request::Signal {
                command: 3,
                number: 15,
            },
        ] {
            assert_eq!(Request::decode(&request.encode()), Some(request));
        }
        assert_eq!(Request::decode(&[]), None);
        assert_eq!(Message::decode(&[0; LENGTH]), None);
        assert_eq!(Message::decode(&[]), None);
    }
}
