//! What the relay and its supervisor say to each other: one JSON object a message, on a SOCK_SEQPACKET.
//! With the jail it speaks on another: a socket a message, [`ALL`], and back [`SERVED`].

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::record::Destination;
use crate::sys::Errno;
use crate::sys::socket::{self, Wait};

/// From the jail, after the last of its sockets.
pub const ALL: &[u8] = b".";
/// To the jail: the relay is confined and serves them.
pub const SERVED: &[u8] = b"!";

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
    /// The last word: what was reached.
    Summary { destinations: Vec<Destination> },
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
