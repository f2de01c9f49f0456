//! The messages between the relay and its supervisor: one JSON object a message, on a SOCK_SEQPACKET.
//! With the jail it speaks on another: a socket a message, [`ALL`](creel_plan::egress::ALL), and back
//! [`SERVED`](creel_plan::egress::SERVED).

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::log::Lines;
use super::record::Destination;
use creel_sys::Errno;
use creel_sys::socket::{self, Wait};

/// Bytes in a message at most.
const MOST: usize = 128 << 10;

/// From the relay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "says", rename_all = "snake_case")]
pub enum FromRelay {
    /// It is confined and serves as soon as it gets its sockets.
    Ready {
        /// The certificate of the jail's own authority, PEM, where TLS is ended.
        authority: Option<String>,
        /// Variables of the jail, with what stands in them for secrets.
        placeholders: BTreeMap<String, String>,
    },
    /// It could not begin.
    Failed { why: String },
    /// May the jail go there?
    Ask {
        number: u64,
        host: String,
        port: u16,
    },
    /// The destinations that were reached, or a part of them.
    Summary { destinations: Vec<Destination> },
    /// The last word: that was all of it, and of the log's lines these are missing.
    Finished { lines: Lines },
}

/// To the relay.
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

/// Bytes of destinations in a message, as far as each may be that many.
const PART: usize = 32 << 10;

/// Destinations in as many parts as there are messages for: a jail asks for names as long as it likes.
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

/// Receives one; `None` at the end of the other side.
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
