//! Questions to a resolver outside and its answers, apart from sockets.
//!
//! An answer is believed where it has the question's number, name and kind; of it, the addresses at
//! the end of the chain of aliases that begins at the name, and nothing else.

use std::net::IpAddr;

use hickory_proto::op::{
    DEFAULT_MAX_PAYLOAD_LEN, Edns, Header, Message, MessageType, OpCode, Query, ResponseCode,
};
use hickory_proto::rr::{DNSClass, Name as Wire, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable as _, BinDecoder};

use crate::dns::wire;
use creel_policy::net::Name;

/// Aliases that one answer may lead through.
pub const ALIASES: usize = 8;
/// Addresses that are taken of one answer.
const ADDRESSES: usize = 16;

/// The address families that are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    A,
    Aaaa,
}

/// Whether the question says what its sender can take (RFC 6891); a few servers know no such thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extended {
    Yes,
    No,
}

/// The content of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// It answers another question, or is no answer: the right one may still come.
    Nothing,
    /// It did not fit; a connection is needed.
    Truncated,
    /// The server cannot say; another may.
    Failed(String),
    /// The server does not understand the question.
    Malformed,
    NoName,
    NoAddress,
    /// With the seconds for which they hold, of all that led to them the least.
    Addresses(Vec<IpAddr>, u32),
    /// The chain of aliases ends at a name of which the answer says nothing.
    Alias(Name, u32),
}

/// A question with this number.
pub fn question(id: u16, name: &Name, kind: Kind, extended: Extended) -> Option<Vec<u8>> {
    let mut wire = Wire::from_ascii(name.as_str()).ok()?;
    wire.set_fqdn(true);
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(wire, kind.record()));
    if extended == Extended::Yes {
        let mut edns = Edns::new();
        edns.set_max_payload(DEFAULT_MAX_PAYLOAD_LEN);
        message.set_edns(edns);
    }
    message.to_vec().ok()
}

/// Reads the answer to the question with this number.
pub fn read(bytes: &[u8], id: u16, name: &Name, kind: Kind) -> Said {
    let mut decoder = BinDecoder::new(bytes);
    let Ok(header) = Header::read(&mut decoder) else {
        return Said::Nothing;
    };
    if header.id != id
        || header.message_type != MessageType::Response
        || header.op_code != OpCode::Query
    {
        return Said::Nothing;
    }
    let code = header.response_code;
    // A server that did not understand the question need not repeat it.
    if matches!(code, ResponseCode::FormErr | ResponseCode::NotImp) {
        return Said::Malformed;
    }
    match Query::read(&mut decoder) {
        Ok(query)
            if header.counts.queries == 1
                && query.query_type() == kind.record()
                && query.query_class() == DNSClass::IN
                && wire::name(query.name()).is_ok_and(|asked| asked == *name) => {}
        _ => return Said::Nothing,
    }
    match code {
        _ if header.truncation => return Said::Truncated,
        ResponseCode::NoError => {}
        ResponseCode::NXDomain => return Said::NoName,
        other => return Said::Failed(other.to_string()),
    }
    let answers = usize::from(header.counts.answers);
    match Message::read_records(&mut decoder, answers, false, OpCode::Query) {
        Ok((records, _, _)) => follow(&records, name, kind, || {
            ends(&mut decoder, header.counts.authorities)
        }),
        Err(error) => Said::Failed(error.to_string()),
    }
}

/// Whether the authority section says that the chain's end has no such address (RFC 2308): it has the
/// start of an authority, and no delegation.
fn ends(decoder: &mut BinDecoder<'_>, count: u16) -> bool {
    let records = Message::read_records(decoder, usize::from(count), false, OpCode::Query);
    records.is_ok_and(|(records, _, _)| {
        records
            .iter()
            .any(|record| record.record_type() == RecordType::SOA)
    })
}

fn follow(records: &[Record], name: &Name, kind: Kind, ends: impl FnOnce() -> bool) -> Said {
    let mut current = name.clone();
    let mut ttl = u32::MAX;
    for _ in 0..=ALIASES {
        let own: Vec<&Record> = records
            .iter()
            .filter(|record| record.dns_class == DNSClass::IN)
            .filter(|record| wire::name(&record.name).is_ok_and(|owner| owner == current))
            .collect();
        let mut addresses = vec![];
        for record in &own {
            let address = match &record.data {
                RData::A(a) if kind == Kind::A => IpAddr::V4(a.0),
                RData::AAAA(a) if kind == Kind::Aaaa => IpAddr::V6(a.0),
                _ => continue,
            };
            ttl = ttl.min(record.ttl);
            addresses.push(address);
        }
        if !addresses.is_empty() {
            addresses.truncate(ADDRESSES);
            return Said::Addresses(addresses, ttl);
        }
        let alias = own.iter().find_map(|record| match &record.data {
            RData::CNAME(target) => Some((target, record.ttl)),
            _ => None,
        });
        let Some((target, lasts)) = alias else {
            return match current == *name || ends() {
                true => Said::NoAddress,
                false => Said::Alias(current, ttl),
            };
        };
        ttl = ttl.min(lasts);
        current = match wire::name(target) {
            Ok(target) => target,
            Err(why) => return Said::Failed(format!("an alias is no name: {why}")),
        };
    }
    Said::Failed("the aliases do not end".into())
}

impl Kind {
    fn record(self) -> RecordType {
        match self {
            Kind::A => RecordType::A,
            Kind::Aaaa => RecordType::AAAA,
        }
    }
}
