//! Messages between the relay and its supervisor: one JSON object per message, over a SOCK_SEQPACKET socket.
//! Over another, the jail sends its listening sockets, one per message, then
//! [`ALL`](creel_plan::egress::ALL); the relay replies [`SERVED`](creel_plan::egress::SERVED).

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::log::Lines;
use super::record::Destination;
use creel_sys::Errno;
use creel_sys::socket::{self, Wait};

/// Maximum bytes of a message.
const MOST: usize = 128 << 10;

/// Messages from the relay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "says", rename_all = "snake_case")]
pub enum FromRelay {
    /// The relay is confined, and serves as soon as it receives its sockets.
    Ready {
        /// PEM certificate of the jail's own authority, if a rule terminates TLS.
        authority: Option<String>,
        /// Environment variables of the jail, with the placeholders of secrets.
        placeholders: BTreeMap<String, String>,
    },
    /// The relay could not start.
    Failed { why: String },
    /// Asks whether the jail may reach this destination.
    Ask {
        number: u64,
        host: String,
        port: u16,
    },
    /// The summary by destination, or a part of it.
    Summary { destinations: Vec<Destination> },
    /// The last message: the summary is complete. `lines` counts the lines missing from the log.
    Finished { lines: Lines },
}

/// Messages to the relay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "says", rename_all = "snake_case")]
pub enum ToRelay {
    Answer {
        number: u64,
        allow: bool,
    },
    /// The jail has ended.
    Finish,
}

/// Bytes of destinations per message; a single longer one has its own message.
const PART: usize = 32 << 10;

/// Splits destinations into one part per message: a jail requests any number of names.
pub fn in_messages(all: Vec<Destination>) -> Vec<Vec<Destination>> {
    let mut parts: Vec<Vec<Destination>> = vec![];
    let mut room = 0;
    for one in all {
        let length = serde_json::to_vec(&one).map_or(PART, |text| text.len());
        match parts.last_mut() {
            Some(part) if length <= room => part.push(one),
            _ => {
                room = PART;
                parts.push(vec![one]);
            }
        }
        room = room.saturating_sub(length);
    }
    parts
}

/// Sends one message.
pub fn send(socket: BorrowedFd<'_>, message: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_vec(message)?;
    Ok(socket::send(socket, &text, &[])?)
}

/// Receives one message; `None` if the peer closed.
pub fn receive<M: DeserializeOwned>(socket: impl AsFd, wait: Wait) -> io::Result<Option<M>> {
    let mut bytes = vec![0; MOST];
    match socket::receive(socket.as_fd(), &mut bytes, wait) {
        Ok((0, _)) | Err(Errno::CONNRESET) => Ok(None),
        Ok((length, _)) => Ok(Some(serde_json::from_slice(&bytes[..length])?)),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_goes_in_messages_that_are_not_too_long() {
        let one = |number: usize| Destination {
            host: format!("{number}{}", "\u{1}".repeat(256)),
            why: Some("\u{1}".repeat(300)),
            ..Destination::default()
        };
        let all: Vec<Destination> = (0..402).map(one).collect();
        let parts = in_messages(all.clone());
        for part in &parts {
            let destinations = part.clone();
            let said = serde_json::to_vec(&FromRelay::Summary { destinations }).unwrap();
            assert!(said.len() < MOST, "{}", said.len());
        }
        assert_eq!(parts.concat(), all);
        assert!(in_messages(vec![]).is_empty());
    }
}
