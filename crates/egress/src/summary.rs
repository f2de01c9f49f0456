//! The destinations of a run and what became of them, for the verdict.

use serde::{Deserialize, Serialize};

use super::Way;
use super::reason::Reason;

/// Maximum destinations of each kind (allowed; only refused). Further ones of a kind share the entry `others`.
/// A jail can cause any number of refusals.
pub const DESTINATIONS: usize = 200;
/// Maximum destinations in all: both kinds, each with an entry for the rest.
pub const MOST: usize = 2 * (DESTINATIONS + 1);
/// Maximum characters of a reason's text.
const TEXT: usize = 300;
/// Maximum characters of a host, which may be any text that the jail sent.
pub const HOST: usize = 256;

/// A destination in the verdict.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destination {
    /// The canonical name or address; the text as sent if it is no host; `others` for the rest.
    pub host: String,
    /// The port; 0 for `others`, and if the client named none.
    pub port: u16,
    /// Allowed connections.
    pub allowed: u64,
    /// Refused connections, refused requests, and connections that were closed early.
    pub refused: u64,
    /// Bytes to the jail.
    pub bytes_in: u64,
    /// Bytes from the jail.
    pub bytes_out: u64,
    /// The last refusal.
    pub why: Option<LastRefusal>,
}

/// The last refusal of a destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastRefusal {
    /// How the destination was requested.
    pub way: Way,
    /// The reason, for programs.
    pub reason: Reason,
    /// The reason, for people; at most 300 characters.
    pub text: String,
}

impl LastRefusal {
    /// Cuts the text to its bound.
    pub fn new(way: Way, reason: Reason, text: &str) -> LastRefusal {
        LastRefusal {
            way,
            reason,
            text: text.chars().take(TEXT).collect(),
        }
    }
}

impl Destination {
    /// As received from the relay, with bounded texts: a relay that was taken over may send any.
    pub fn bounded(self) -> Destination {
        let why = self
            .why
            .map(|last| LastRefusal::new(last.way, last.reason.bounded(), &last.text));
        Destination {
            host: self.host.chars().take(HOST).collect(),
            why,
            ..self
        }
    }
}
