//! Names as they are in a message, made canonical.
//!
//! A label there may hold any byte. One that holds a dot is not two labels, one that holds NUL ends
//! there for nobody, and one that holds a byte above ASCII was not encoded for the wire (RFC 5890): all
//! are refused before anything is matched.

use hickory_proto::rr::Name as Wire;

use creel_policy::net::{Host, HostError, Name};

/// The name; an address written as a name is none.
pub fn name(wire: &Wire) -> Result<Name, HostError> {
    let mut text = Vec::with_capacity(256);
    for label in wire {
        let of_a_host = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if let Some(byte) = label.iter().find(|byte| !of_a_host(byte)) {
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

/// The requested name, for the record: its labels in printable ASCII.
pub fn text(wire: &Wire) -> String {
    let labels: Vec<String> = wire
        .iter()
        .map(|label| label.escape_ascii().to_string().replace('.', "\\."))
        .collect();
    labels.join(".")
}
