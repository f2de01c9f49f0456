//! Names as they are in a message, made canonical.
//!
//! A label there may hold any byte. One that holds a dot is not two labels, and one that holds a byte
//! above ASCII is no name that was encoded for the wire (RFC 5890): both are refused, before anything
//! is matched.

use hickory_proto::rr::Name as Wire;

use crate::policy::net::{Host, HostError, Name};

/// The name; an address written as a name is none.
pub fn name(wire: &Wire) -> Result<Name, HostError> {
    let mut text = Vec::with_capacity(256);
    for label in wire {
        if let Some(byte) = label.iter().find(|byte| !byte.is_ascii() || **byte == b'.') {
            return Err(HostError::Character(char::from(*byte)));
        }
        if !text.is_empty() {
            text.push(b'.');
        }
        text.extend_from_slice(label);
    }
    match Host::parse(&text)? {
        Host::Name(name) => Ok(name),
        Host::Address(_) => Err(HostError::Neither),
    }
}

/// What was asked for, for the record: whatever its labels hold, in printable ASCII.
pub fn text(wire: &Wire) -> String {
    let labels: Vec<String> = wire
        .iter()
        .map(|label| label.escape_ascii().to_string().replace('.', "\\."))
        .collect();
    labels.join(".")
}
