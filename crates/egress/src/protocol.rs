//! Messages between the relay and its supervisor: one JSON object per message, over a SOCK_SEQPACKET socket.
//! Over another, the jail sends its listening sockets, one per message, then
//! [`ALL`](creel_plan::egress::ALL); the relay replies [`SERVED`](creel_plan::egress::SERVED).

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::log::Lines;
use super::summary::Destination;
use creel_plan::egress::Serves;
use creel_plan::request::Publish;
use creel_sys::Errno;
use creel_sys::socket::{self, MAX_FDS, Wait};

/// Maximum bytes of a message.
pub const MOST: usize = 128 << 10;

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
    Failed {
        /// The error, for people.
        why: String,
    },
    /// Asks whether the jail may reach this destination.
    Ask {
        /// Identifies the question.
        number: u64,
        /// The canonical name or address.
        host: String,
        /// The port.
        port: u16,
    },
    /// A change is in force.
    Changed {
        /// The number of the change.
        number: u64,
        /// The number of the name, if it asks for one and there is room.
        name: Option<u32>,
    },
    /// Asks for connect(2) on the TCP socket that travels with it.
    Dial {
        /// Identifies the request.
        number: u64,
        /// The address that was checked.
        address: SocketAddr,
    },
    /// The summary by destination, or a part of it.
    Summary {
        /// Destinations that no other message has.
        destinations: Vec<Destination>,
    },
    /// The last message: the summary is complete. `lines` counts the lines missing from the log.
    Finished {
        /// Counts of missing lines.
        lines: Lines,
    },
}

/// Messages to the relay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "says", rename_all = "snake_case")]
pub enum ToRelay {
    /// Answers a question.
    Answer {
        /// The number of the question.
        number: u64,
        /// The answer.
        answer: Consent,
    },
    /// Change what is served.
    Change {
        /// Identifies the change.
        number: u64,
        /// The change.
        change: Change,
    },
    /// connect(2) was called for a [`FromRelay::Dial`].
    Dialled {
        /// The number of the request.
        number: u64,
        /// errno(3); 0 if it succeeded.
        errno: i32,
    },
    /// The jail has ended.
    Finish,
}

/// A change of what the relay serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Change {
    /// Answer with the number of a name, which determines its synthetic addresses.
    Number {
        /// The canonical name.
        name: String,
    },
    /// Serve the socket of the jail that travels with it.
    Serve {
        /// The protocol on it.
        serves: Serves,
    },
    /// Keep the unconnected sockets of the jail that travel with it, for published ports.
    Spare {
        /// The number of their family.
        family: u32,
    },
    /// Accept clients on the listening socket that travels with it.
    Publish {
        /// The ports.
        publish: Publish,
    },
    /// Close a published port, and end its connections.
    Unpublish {
        /// The address and port on the host.
        address: SocketAddr,
    },
    /// Apply these changes to the first rules, in place of earlier ones, and end the connections that are no longer
    /// allowed.
    Rules {
        /// Destinations that are allowed in addition, as texts.
        allow: Vec<String>,
        /// Denied ones.
        deny: Vec<String>,
        /// Names of the host's `/etc/hosts` among them, with their addresses.
        hosts: BTreeMap<String, Vec<IpAddr>>,
    },
}

/// The answer to a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Consent {
    /// Somebody allowed it.
    Allowed,
    /// Somebody said no.
    Denied,
    /// Nobody could be asked, or nobody answered in time.
    Unanswered,
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
    send_with(socket, message, &[])
}

/// Sends one message, with descriptors.
pub fn send_with(
    socket: BorrowedFd<'_>,
    message: &impl Serialize,
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let text = serde_json::to_vec(message)?;
    Ok(socket::send(socket, &text, fds)?)
}

/// As [`send`]; an error if the peer has not read earlier messages.
pub fn send_now(socket: BorrowedFd<'_>, message: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_vec(message)?;
    Ok(socket::send_now(socket, &text, &[])?)
}

/// Receives one message; `None` if the peer closed.
pub fn receive<M: DeserializeOwned>(socket: impl AsFd, wait: Wait) -> io::Result<Option<M>> {
    Ok(receive_with(socket, wait)?.map(|(message, _)| message))
}

/// Receives one message and its descriptors; `None` if the peer closed.
pub fn receive_with<M: DeserializeOwned>(
    socket: impl AsFd,
    wait: Wait,
) -> io::Result<Option<(M, [Option<OwnedFd>; MAX_FDS])>> {
    let mut bytes = vec![0; MOST];
    match socket::receive(socket.as_fd(), &mut bytes, wait) {
        Ok((0, _)) | Err(Errno::CONNRESET) => Ok(None),
        Ok((length, fds)) => Ok(Some((serde_json::from_slice(&bytes[..length])?, fds))),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Way;
    use crate::reason::Reason;
    use crate::refusal::Refusal;
    use crate::summary::LastRefusal;
    use creel_policy::Origin;
    use creel_policy::net::Why;

    #[test]
    fn a_summary_goes_in_messages_that_are_not_too_long() {
        // Six bytes each in JSON, the longest form of a character.
        let worst = |length| "\u{1}".repeat(length);
        let origin = Origin {
            source: worst(1 << 16).into(),
            line: u32::MAX,
        };
        let refusal = Refusal::Policy(Why::Denied(origin));
        let last = LastRefusal::new(Way::Absolute, Reason::of(&refusal), &worst(1 << 16));
        let one = |number: usize| Destination {
            host: format!("{number}{}", worst(256)),
            why: Some(last.clone()),
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

    fn received(text: &str) -> io::Result<Option<FromRelay>> {
        let (ours, theirs) = socket::pair().unwrap();
        socket::send(theirs.as_fd(), text.as_bytes(), &[]).unwrap();
        receive(&ours, Wait::No)
    }

    /// A relay that was taken over sends anything.
    #[test]
    fn a_message_of_another_form_is_an_error() {
        let summary = |reason: &str| {
            format!(
                r#"{{"says":"summary","destinations":[{{"host":"a","port":1,"allowed":0,"refused":1,"bytes_in":0,
                "bytes_out":0,"why":{{"way":"dns","reason":{reason},"text":"b"}}}}]}}"#
            )
        };
        // The control.
        let good = received(&summary(
            r#"{"code":"net-denied","rule":{"file":"p","line":1}}"#,
        ));
        assert!(
            matches!(good, Ok(Some(FromRelay::Summary { .. }))),
            "{good:?}"
        );
        for text in [
            "{}".to_owned(),
            "[".repeat(4096),
            summary(r#"{"code":"net-granted","rule":null}"#),
            summary(r#"{"code":"plan-missing","rule":null}"#),
            summary(r#"{"code":["net-denied"],"rule":null}"#),
            summary(r#"{"code":"net-denied","rule":{"file":"p","line":-1}}"#),
            summary(r#"{"code":"net-denied","rule":{"file":"p","line":4294967296}}"#),
            summary(r#"{"code":"net-denied","rule":"p:1"}"#),
        ] {
            assert!(received(&text).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
        #[test]
        fn no_message_is_a_panic(text in r#"([{}\[\]":,0-9]|says|summary|why|code|rule|\PC){1,60}"#) {
            let _ = received(&text);
        }
    }
}
