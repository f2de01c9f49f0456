//! Encodes queries to a resolver and parses its answers, without sockets.
//!
//! An answer is accepted if it has the query's id, name and type. Only the addresses at the end of the alias
//! chain that begins at the name are used.

use std::net::IpAddr;

use hickory_proto::op::{
    DEFAULT_MAX_PAYLOAD_LEN, Edns, Header, Message, MessageType, OpCode, Query, ResponseCode,
};
use hickory_proto::rr::{DNSClass, Name as Wire, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable as _, BinDecoder};

use crate::dns::protocol;
use creel_policy::net::Name;

/// Maximum aliases in the chain of one answer.
pub const ALIASES: usize = 8;
/// Maximum addresses that are used from one answer.
const ADDRESSES: usize = 16;

/// The record type of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
}

/// Whether the query has EDNS (RFC 6891); a few servers do not understand it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extended {
    /// With an EDNS record.
    Yes,
    /// Without one.
    No,
}

/// The content of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// Not an answer to this query; the right one may still arrive.
    Nothing,
    /// Truncated; TCP is needed.
    Truncated,
    /// The server failed; another may answer.
    Failed(String),
    /// The server does not understand the question.
    Malformed,
    /// NXDOMAIN: the name does not exist.
    NoName,
    /// The name exists and has no address of this type.
    NoAddress,
    /// Addresses, and the smallest TTL in seconds of the records that led to them.
    Addresses(Vec<IpAddr>, u32),
    /// The alias chain ends at this name, for which the answer has no records.
    Alias(Name, u32),
}

/// Encodes a query with this id; `None` if that fails.
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

/// Parses the answer to the query with this id.
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
    // A server that did not understand the query need not repeat it.
    if matches!(code, ResponseCode::FormErr | ResponseCode::NotImp) {
        return Said::Malformed;
    }
    match Query::read(&mut decoder) {
        Ok(query)
            if header.counts.queries == 1
                && query.query_type() == kind.record()
                && query.query_class() == DNSClass::IN
                && protocol::name(query.name()).is_ok_and(|asked| asked == *name) => {}
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

/// Whether the authority section says that the end of the chain has no such address (RFC 2308): it has an
/// SOA record, which a delegation does not have.
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
            .filter(|record| protocol::name(&record.name).is_ok_and(|owner| owner == current))
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
        current = match protocol::name(target) {
            Ok(target) => target,
            Err(why) => return Said::Failed(format!("an alias is not a valid name: {why}")),
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
