//! What the jail's first process tells its supervisor: fixed-size messages on a SOCK_SEQPACKET pair,
//! encoded without allocation.

use crate::sys::process::Change;

/// Length of every message, bytes.
pub const LENGTH: usize = 80;

/// The writable tmpfs mounts whose use fits in one message.
pub const DISKS: usize = 4;

/// One message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// Step `step` failed.
    Failed { step: u32, errno: i32 },
    /// The pseudoterminal's master travels with this message.
    Terminal,
    /// No candidate could be executed.
    NotExecuted { errno: i32 },
    /// The command stopped (Ctrl-Z).
    Stopped,
    /// The command ended; for each disk, per mille of its bytes and of its inodes in use.
    Ended {
        change: Change,
        disks: [[u32; 2]; DISKS],
    },
}

impl Message {
    pub fn encode(&self) -> [u8; LENGTH] {
        let mut words = [0u32; LENGTH / 4];
        match *self {
            Message::Failed { step, errno } => words[..3].copy_from_slice(&[1, step, errno as u32]),
            Message::Terminal => words[0] = 2,
            Message::NotExecuted { errno } => words[..2].copy_from_slice(&[3, errno as u32]),
            Message::Stopped => words[0] = 4,
            Message::Ended { change, disks } => {
                let (kind, value) = match change {
                    Change::Exited(code) => (0, code),
                    Change::Signaled(signal) => (1, signal),
                    Change::Stopped(signal) => (2, signal),
                    Change::Continued => (3, 0),
                };
                words[..3].copy_from_slice(&[5, kind, value as u32]);
                for (at, disk) in disks.iter().enumerate() {
                    words[3 + 2 * at..5 + 2 * at].copy_from_slice(disk);
                }
            }
        }
        let mut bytes = [0; LENGTH];
        for (at, word) in words.iter().enumerate() {
            bytes[4 * at..4 * at + 4].copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }

    /// `None`: not a message of this version.
    pub fn decode(bytes: &[u8]) -> Option<Message> {
        let word = |at: usize| {
            let bytes = bytes.get(4 * at..4 * at + 4)?;
            Some(u32::from_ne_bytes(bytes.try_into().ok()?))
        };
        Some(match word(0)? {
            1 => Message::Failed {
                step: word(1)?,
                errno: word(2)? as i32,
            },
            2 => Message::Terminal,
            3 => Message::NotExecuted {
                errno: word(1)? as i32,
            },
            4 => Message::Stopped,
            5 => {
                let value = word(2)? as i32;
                let change = match word(1)? {
                    0 => Change::Exited(value),
                    1 => Change::Signaled(value),
                    2 => Change::Stopped(value),
                    _ => Change::Continued,
                };
                let mut disks = [[0; 2]; DISKS];
                for (at, disk) in disks.iter_mut().enumerate() {
                    *disk = [word(3 + 2 * at)?, word(4 + 2 * at)?];
                }
                Message::Ended { change, disks }
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_survives_the_wire() {
        for message in [
            Message::Failed { step: 7, errno: 13 },
            Message::Terminal,
            Message::NotExecuted { errno: 2 },
            Message::Stopped,
            Message::Ended {
                change: Change::Signaled(9),
                disks: [[1, 2], [3, 4], [5, 6], [1000, 7]],
            },
        ] {
            assert_eq!(Message::decode(&message.encode()), Some(message));
        }
        assert_eq!(Message::decode(&[0; LENGTH]), None);
        assert_eq!(Message::decode(&[]), None);
    }
}
