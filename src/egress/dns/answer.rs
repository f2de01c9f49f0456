//! A question's answer, apart from sockets: the bytes of one message to the bytes of another.
//!
//! What exists is what a [`Zone`] has. Nothing is asked of anybody else, whatever the question says.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_proto::op::{
    DEFAULT_MAX_PAYLOAD_LEN, Edns, Header, Message, MessageType, Metadata, OpCode, Query,
    ResponseCode,
};
use hickory_proto::rr::rdata::{A, AAAA, PTR, SOA};
use hickory_proto::rr::{DNSClass, Name as Wire, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable as _, BinDecoder};

use super::wire;
use crate::egress::names::Addresses;
use crate::policy::net::{HostError, Name};

/// Seconds for which a program may keep an address. It stays the name's for longer; what a policy
/// grants may not.
const TTL: u32 = 30;
/// Seconds for which a program may keep that there is no such name.
const NEGATIVE_TTL: u32 = 5;
/// Records after the question that are read for EDNS; who sends more is answered with an error.
const ADDITIONALS: u16 = 8;

/// What exists.
pub trait Zone {
    fn knows(&self, name: &Name) -> bool;
    /// The addresses of a known name; `None` where there are too many names.
    fn addresses(&self, name: &Name) -> Option<Addresses>;
    /// The name that has this address.
    fn name(&self, address: IpAddr) -> Option<Name>;
}

/// An answer, and what is to be on record of it.
#[derive(Debug)]
pub struct Reply {
    /// At most 512, the least that every client takes.
    pub bytes: Vec<u8>,
    pub refused: Option<Refused>,
}

/// A question for something that does not exist.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused {
    Unknown(Name),
    /// What was asked, printable.
    NoName(String, HostError),
    /// It is granted, and there are too many names that have addresses.
    TooMany(Name),
}

/// The answer to a message; `None`: silence, since it is no question or has no whole header.
pub fn answer(message: &[u8], zone: &impl Zone) -> Option<Reply> {
    let mut decoder = BinDecoder::new(message);
    let header = Header::read(&mut decoder).ok()?;
    if header.message_type != MessageType::Query {
        return None;
    }
    let mut reply = Message::response(header.id, header.op_code);
    reply.metadata = Metadata::response_from_request(&header.metadata);
    reply.metadata.recursion_available = true;
    let mut refused = None;
    match read(&header, &mut decoder) {
        Ok((query, edns)) => {
            refused = fill(&mut reply, query, edns, zone);
        }
        Err(code) => reply.metadata.response_code = code,
    }
    Some(Reply {
        bytes: reply.to_vec().ok()?,
        refused,
    })
}

/// The one question, and what the client says of itself.
fn read(
    header: &Header,
    decoder: &mut BinDecoder<'_>,
) -> Result<(Query, Option<Edns>), ResponseCode> {
    if header.op_code != OpCode::Query {
        return Err(ResponseCode::NotImp);
    }
    let counts = &header.counts;
    if counts.queries != 1
        || counts.answers != 0
        || counts.authorities != 0
        || counts.additionals > ADDITIONALS
    {
        return Err(ResponseCode::FormErr);
    }
    let query = Query::read(decoder).map_err(|_| ResponseCode::FormErr)?;
    let additionals = usize::from(counts.additionals);
    let (_, edns, _) = Message::read_records(decoder, additionals, true, OpCode::Query)
        .map_err(|_| ResponseCode::FormErr)?;
    Ok((query, edns))
}

fn fill(
    reply: &mut Message,
    query: Query,
    edns: Option<Edns>,
    zone: &impl Zone,
) -> Option<Refused> {
    // The question comes back as it was asked, upper and lower case too (draft-vixie-dnsext-dns0x20).
    reply.add_query(query.clone());
    if let Some(asked) = edns {
        let mut edns = Edns::new();
        edns.set_max_payload(DEFAULT_MAX_PAYLOAD_LEN);
        edns.set_dnssec_ok(asked.flags().dnssec_ok);
        reply.set_edns(edns);
        if asked.version() != 0 {
            reply.metadata.response_code = ResponseCode::BADVERS;
            return None;
        }
    }
    let kind = query.query_type();
    if query.query_class() != DNSClass::IN || matches!(kind, RecordType::AXFR | RecordType::IXFR) {
        reply.metadata.response_code = ResponseCode::Refused;
        return None;
    }
    let (found, refused) = find(query.name(), kind, zone);
    match found {
        Found::Records(records) if !records.is_empty() => {
            for data in records {
                let record = Record::from_rdata(query.name().clone(), TTL, data);
                reply.add_answer(record);
            }
        }
        Found::Records(_) => {
            reply.add_authority(start_of_authority());
        }
        Found::NoName => {
            reply.metadata.response_code = ResponseCode::NXDomain;
            reply.add_authority(start_of_authority());
        }
        Found::Failure => reply.metadata.response_code = ResponseCode::ServFail,
    }
    refused
}

enum Found {
    /// The name exists; it may have none of the kind.
    Records(Vec<RData>),
    NoName,
    Failure,
}

fn find(asked: &Wire, kind: RecordType, zone: &impl Zone) -> (Found, Option<Refused>) {
    if asked.is_root() {
        return (Found::Records(vec![]), None);
    }
    // Reverse questions name no destination: what does not exist is not on record.
    if let Ok(net) = asked.parse_arpa_name() {
        let known = match net.prefix_len() == net.max_prefix_len() {
            true => reverse(net.addr(), zone),
            false => None,
        };
        return match (known, kind) {
            (None, _) => (Found::NoName, None),
            (Some(name), RecordType::PTR | RecordType::ANY) => {
                (Found::Records(vec![RData::PTR(PTR(name))]), None)
            }
            (Some(_), _) => (Found::Records(vec![]), None),
        };
    }
    let name = match wire::name(asked) {
        Ok(name) => name,
        Err(why) => {
            let refused = Refused::NoName(wire::text(asked), why);
            return (Found::NoName, Some(refused));
        }
    };
    let addresses = if is_localhost(&name) {
        LOCALHOST
    } else if !zone.knows(&name) {
        return (Found::NoName, Some(Refused::Unknown(name)));
    } else if !matches!(kind, RecordType::A | RecordType::AAAA | RecordType::ANY) {
        // HTTPS and SVCB too: without them there is no Encrypted ClientHello (RFC 9460).
        return (Found::Records(vec![]), None);
    } else {
        match zone.addresses(&name) {
            Some(addresses) => addresses,
            None => return (Found::Failure, Some(Refused::TooMany(name))),
        }
    };
    let v4 = RData::A(A(addresses.v4));
    let v6 = RData::AAAA(AAAA(addresses.v6));
    let records = match kind {
        RecordType::A => vec![v4],
        RecordType::AAAA => vec![v6],
        // All that there is; RFC 8482 would let us give less.
        RecordType::ANY => vec![v4, v6],
        _ => vec![],
    };
    (Found::Records(records), None)
}

const LOCALHOST: Addresses = Addresses {
    v4: Ipv4Addr::LOCALHOST,
    v6: Ipv6Addr::LOCALHOST,
};

/// Whether it is the machine's own name and all beneath it (RFC 6761), which is nobody else's.
pub fn is_localhost(name: &Name) -> bool {
    let rest = name.as_str().strip_suffix("localhost");
    rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn reverse(address: IpAddr, zone: &impl Zone) -> Option<Wire> {
    let text = match address.is_loopback() {
        true => "localhost".to_owned(),
        false => zone.name(address)?.as_str().to_owned(),
    };
    let mut name = Wire::from_ascii(text).ok()?;
    name.set_fqdn(true);
    Some(name)
}

/// By which a client knows for how long there is no such name (RFC 2308).
fn start_of_authority() -> Record {
    let seconds = NEGATIVE_TTL as i32;
    let data = SOA::new(
        Wire::root(),
        Wire::root(),
        1,
        seconds,
        seconds,
        seconds,
        NEGATIVE_TTL,
    );
    Record::from_rdata(Wire::root(), NEGATIVE_TTL, RData::SOA(data))
}
