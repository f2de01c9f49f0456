//! Converts names in DNS messages to canonical names.
//!
//! A label may hold any byte. A dot within a label does not separate labels, a NUL does not end the name,
//! and a byte above ASCII was not encoded for DNS (RFC 5890). All are refused before anything is matched.

use hickory_proto::rr::Name as Wire;

use creel_policy::net::{Host, HostError, Name};

/// The canonical name. An IP address written as a name is an error.
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

/// The name as asked, for the record: any bytes, escaped to printable ASCII.
pub fn text(wire: &Wire) -> String {
    let labels: Vec<String> = wire
        .iter()
        .map(|label| label.escape_ascii().to_string().replace('.', "\\."))
        .collect();
    labels.join(".")
}
