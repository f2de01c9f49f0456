//! Answers DNS queries, from message bytes to message bytes, without sockets.
//!
//! Only the names of a [`Zone`] exist. No query is forwarded.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_proto::op::{
    DEFAULT_MAX_PAYLOAD_LEN, Edns, Header, Message, MessageType, Metadata, OpCode, Query,
    ResponseCode,
};
use hickory_proto::rr::rdata::{A, AAAA, PTR, SOA};
use hickory_proto::rr::{DNSClass, Name as Wire, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable as _, BinDecoder};

use super::protocol;
use crate::names::Addresses;
use creel_policy::net::{HostError, Name};

/// TTL of an address, in seconds. The name keeps the address for longer, but the policy may not keep the
/// grant.
const TTL: u32 = 30;
/// TTL of a negative answer, in seconds.
const NEGATIVE_TTL: u32 = 5;
/// Maximum additional records, which are read for EDNS; more are answered with an error.
const ADDITIONALS: u16 = 8;

/// The names that exist.
pub trait Zone {
    /// Whether the policy grants the name.
    fn knows(&self, name: &Name) -> bool;
    /// The addresses of a known name; `None` at the limit of names.
    fn addresses(&self, name: &Name) -> Option<Addresses>;
    /// The name that has this address.
    fn name(&self, address: IpAddr) -> Option<Name>;
}

/// A reply, and the refusal to record.
#[derive(Debug)]
pub struct Reply {
    /// At most 512 bytes, the least that every client accepts.
    pub bytes: Vec<u8>,
    /// The refusal, if the reply denies a name.
    pub refused: Option<Refused>,
}

/// A query that is refused for its name.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused {
    /// The policy does not grant the name.
    Unknown(Name),
    /// The name is no host name; as asked, in printable ASCII.
    NoName(String, HostError),
    /// The name is granted, but the limit of names with addresses is reached.
    TooMany(Name),
}

/// Answers a message. `None` means no reply: it is not a query, or its header is incomplete.
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

/// Reads the single question, and the EDNS record.
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
    // The reply repeats the question as asked, with its letter case (draft-vixie-dnsext-dns0x20).
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
    /// The name exists; empty if it has no records of the type.
    Records(Vec<RData>),
    NoName,
    Failure,
}

fn find(asked: &Wire, kind: RecordType, zone: &impl Zone) -> (Found, Option<Refused>) {
    if asked.is_root() {
        return (Found::Records(vec![]), None);
    }
    // Reverse queries name no destination, so unknown addresses are not recorded.
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
    let name = match protocol::name(asked) {
        Ok(name) => name,
        Err(why) => {
            let refused = Refused::NoName(protocol::text(asked), why);
            return (Found::NoName, Some(refused));
        }
    };
    let addresses = if name.is_localhost() {
        LOCALHOST
    } else if !zone.knows(&name) {
        return (Found::NoName, Some(Refused::Unknown(name)));
    } else if !matches!(kind, RecordType::A | RecordType::AAAA | RecordType::ANY) {
        // Also for HTTPS and SVCB: without them there is no Encrypted ClientHello (RFC 9460).
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
        // All records; RFC 8482 allows fewer.
        RecordType::ANY => vec![v4, v6],
        _ => vec![],
    };
    (Found::Records(records), None)
}

const LOCALHOST: Addresses = Addresses {
    v4: Ipv4Addr::LOCALHOST,
    v6: Ipv6Addr::LOCALHOST,
};

fn reverse(address: IpAddr, zone: &impl Zone) -> Option<Wire> {
    let text = match address.is_loopback() {
        true => "localhost".to_owned(),
        false => zone.name(address)?.as_str().to_owned(),
    };
    let mut name = Wire::from_ascii(text).ok()?;
    name.set_fqdn(true);
    Some(name)
}

/// The SOA record of a negative answer, which has its TTL (RFC 2308).
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

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::names::Names;
    use crate::outside::{question, wire as wired};

    /// Knows `granted.example` and what is beneath `wild.example`.
    struct Few(RefCell<Names>);

    impl Zone for Few {
        fn knows(&self, name: &Name) -> bool {
            name.as_str() == "granted.example" || name.as_str().ends_with(".wild.example")
        }

        fn addresses(&self, name: &Name) -> Option<Addresses> {
            if name.as_str() == "full.wild.example" {
                return None;
            }
            self.0.borrow_mut().address(name)
        }

        fn name(&self, address: IpAddr) -> Option<Name> {
            self.0.borrow().name(address).cloned()
        }
    }

    fn few() -> Few {
        let granted = Name::parse(b"granted.example").unwrap();
        Few(RefCell::new(Names::with(&[granted])))
    }

    fn ask(message: &Message) -> (Message, Option<Refused>) {
        let reply = answer(&message.to_vec().unwrap(), &few()).unwrap();
        assert!(reply.bytes.len() <= 512);
        let told = Message::from_vec(&reply.bytes).unwrap();
        assert_eq!(told.metadata.id, message.metadata.id);
        assert_eq!(told.metadata.message_type, MessageType::Response);
        (told, reply.refused)
    }

    fn told(name: &str, kind: RecordType) -> (ResponseCode, Vec<String>, Option<Refused>) {
        let asked = question(name, kind);
        let (told, refused) = ask(&asked);
        assert_eq!(told.queries, asked.queries);
        let records = told.answers.iter();
        let texts = records.map(|r| format!("{} {} {}", r.name, r.ttl, r.data));
        let soa = told
            .authorities
            .iter()
            .any(|r| r.record_type() == RecordType::SOA);
        assert_eq!(
            soa,
            told.answers.is_empty() && told.metadata.response_code != ResponseCode::ServFail
        );
        (told.metadata.response_code, texts.collect(), refused)
    }

    fn records(name: &str, kind: RecordType) -> Vec<String> {
        let (code, records, refused) = told(name, kind);
        assert_eq!(
            (code, refused),
            (ResponseCode::NoError, None),
            "{name} {kind}"
        );
        records
    }

    #[test]
    fn a_granted_name_has_its_synthetic_addresses() {
        let v4 = "granted.example. 30 198.18.1.0";
        let v6 = "granted.example. 30 fd63:7265:656c::100";
        assert_eq!(records("granted.example", RecordType::A), [v4]);
        assert_eq!(records("granted.example", RecordType::AAAA), [v6]);
        assert_eq!(records("granted.example", RecordType::ANY), [v4, v6]);
        assert_eq!(
            records("a.wild.example", RecordType::A),
            ["a.wild.example. 30 198.18.1.1"]
        );
        for none in [
            RecordType::HTTPS,
            RecordType::SVCB,
            RecordType::MX,
            RecordType::TXT,
            RecordType::Unknown(65280),
        ] {
            assert!(records("granted.example", none).is_empty(), "{none}");
        }
    }

    #[test]
    fn the_case_of_a_question_comes_back_and_means_nothing() {
        let asked = question("GrAnTeD.eXaMpLe", RecordType::A);
        let (told, refused) = ask(&asked);
        assert_eq!(refused, None);
        assert!(told.queries[0].name().eq_case(asked.queries[0].name()));
        assert!(told.answers[0].name.eq_case(asked.queries[0].name()));
        assert_eq!(told.answers[0].data.to_string(), "198.18.1.0");
    }

    #[test]
    fn no_other_name_exists_and_each_is_told() {
        for other in [
            "other.example",
            "x.granted.example",
            "granted.example.evil.example",
            "evilgranted.example",
            "wild.example",
            "xwild.example",
            "example",
            "c2VjcmV0.other.example",
        ] {
            for kind in [
                RecordType::A,
                RecordType::AAAA,
                RecordType::HTTPS,
                RecordType::TXT,
            ] {
                let (code, records, refused) = told(other, kind);
                assert_eq!(code, ResponseCode::NXDomain, "{other}");
                assert!(records.is_empty());
                let name = Name::parse(other.as_bytes()).unwrap();
                assert_eq!(refused, Some(Refused::Unknown(name)));
            }
        }
        let (code, _, refused) = told("full.wild.example", RecordType::A);
        assert_eq!(code, ResponseCode::ServFail);
        assert!(matches!(refused, Some(Refused::TooMany(_))));
    }

    #[test]
    fn what_is_in_a_label_is_no_part_of_another() {
        for (labels, said) in [
            (&[&b"granted.example"[..]][..], "granted\\.example"),
            (&[b"a.wild", b"example"], "a\\.wild.example"),
            (&[b"granted\0", b"example"], "granted\\x00.example"),
            (&[b"granted", b"example\0"], "granted.example\\x00"),
            (
                &[b"evil.example\0a", b"wild", b"example"],
                "evil\\.example\\x00a.wild.example",
            ),
            (
                &["b\u{fc}cher".as_bytes(), b"wild", b"example"],
                "b\\xc3\\xbccher.wild.example",
            ),
            (
                &["a\u{3002}evil".as_bytes(), b"wild", b"example"],
                "a\\xe3\\x80\\x82evil.wild.example",
            ),
        ] {
            let mut asked = question("x", RecordType::A);
            let mut name = Wire::from_labels(labels.iter().copied()).unwrap();
            name.set_fqdn(true);
            asked.queries[0].set_name(name);
            let (told, refused) = ask(&asked);
            assert_eq!(
                told.metadata.response_code,
                ResponseCode::NXDomain,
                "{said}"
            );
            match refused {
                Some(Refused::NoName(text, _)) => assert_eq!(text, said),
                other => panic!("{said}: {other:?}"),
            }
        }
    }

    #[test]
    fn an_address_in_place_of_a_name_is_none() {
        let (code, records, refused) = told("10.0.0.1", RecordType::A);
        assert_eq!((code, records.len()), (ResponseCode::NXDomain, 0));
        assert!(matches!(refused, Some(Refused::NoName(..))), "{refused:?}");
    }

    #[test]
    fn localhost_is_the_jails_own() {
        for name in ["localhost", "LOCALHOST", "a.b.localhost"] {
            let a = records(name, RecordType::A);
            assert!(a[0].ends_with(" 127.0.0.1"), "{a:?}");
            let aaaa = records(name, RecordType::AAAA);
            assert!(aaaa[0].ends_with(" ::1"), "{aaaa:?}");
            assert!(records(name, RecordType::MX).is_empty());
        }
        let (code, ..) = told("xlocalhost", RecordType::A);
        assert_eq!(code, ResponseCode::NXDomain);
    }

    #[test]
    fn addresses_have_the_names_that_they_were_given_to() {
        let v6 = "0.0.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.c.6.5.6.5.6.2.7.3.6.d.f.ip6.arpa";
        for (reverse, name) in [
            ("0.1.18.198.in-addr.arpa", "granted.example."),
            (v6, "granted.example."),
            ("1.0.0.127.in-addr.arpa", "localhost."),
        ] {
            let found = records(reverse, RecordType::PTR);
            assert!(found[0].ends_with(&format!(" {name}")), "{found:?}");
            assert!(records(reverse, RecordType::A).is_empty());
        }
        for none in [
            "1.1.18.198.in-addr.arpa",
            "1.0.18.198.in-addr.arpa",
            "1.18.198.in-addr.arpa",
            "8.8.8.8.in-addr.arpa",
            "f.ip6.arpa",
            "in-addr.arpa",
        ] {
            let (code, _, refused) = told(none, RecordType::PTR);
            assert_eq!((code, refused), (ResponseCode::NXDomain, None), "{none}");
        }
        let (code, _, refused) = told("x.8.8.8.8.in-addr.arpa", RecordType::PTR);
        assert_eq!(code, ResponseCode::NXDomain);
        assert!(refused.is_some());
    }

    #[test]
    fn what_is_no_plain_question_is_answered_with_its_error() {
        let asked = question("granted.example", RecordType::A);
        let code = |message: &Message| {
            let (told, refused) = ask(message);
            assert_eq!(refused, None);
            assert!(told.answers.is_empty());
            told.metadata.response_code
        };
        let mut other = asked.clone();
        other.metadata.op_code = OpCode::Status;
        assert_eq!(code(&other), ResponseCode::NotImp);
        let mut other = asked.clone();
        other.queries.clear();
        assert_eq!(code(&other), ResponseCode::FormErr);
        let mut other = asked.clone();
        other.add_query(asked.queries[0].clone());
        assert_eq!(code(&other), ResponseCode::FormErr);
        let mut other = asked.clone();
        other.queries[0].set_query_class(DNSClass::CH);
        assert_eq!(code(&other), ResponseCode::Refused);
        let transfer = question("granted.example", RecordType::AXFR);
        assert_eq!(code(&transfer), ResponseCode::Refused);
        let mut other = asked.clone();
        let mut edns = Edns::new();
        edns.set_version(1);
        other.set_edns(edns);
        let (told, _) = ask(&other);
        let high = told.edns.unwrap().rcode_high();
        assert_eq!((high, told.metadata.response_code.low()), (1, 0));
    }

    #[test]
    fn extensions_are_answered_with_extensions() {
        let mut asked = question("granted.example", RecordType::A);
        assert_eq!(ask(&asked).0.edns, None);
        let mut edns = Edns::new();
        edns.set_max_payload(4096);
        asked.set_edns(edns);
        let (told, _) = ask(&asked);
        assert_eq!(told.edns.unwrap().max_payload(), DEFAULT_MAX_PAYLOAD_LEN);
        assert_eq!(told.answers.len(), 1);
    }

    #[test]
    fn what_is_no_question_gets_silence_or_an_error_and_no_panic() {
        let whole = question("granted.example", RecordType::A).to_vec().unwrap();
        for length in 0..whole.len() {
            match answer(&whole[..length], &few()) {
                None => assert!(length < 12, "{length}"),
                Some(reply) => {
                    let told = Message::from_vec(&reply.bytes).unwrap();
                    assert_eq!(told.metadata.response_code, ResponseCode::FormErr);
                }
            }
        }
        let mut response = whole.clone();
        response[2] |= 0x80;
        assert!(answer(&response, &few()).is_none());
        // A name that points at itself.
        let mut circle = whole[..12].to_vec();
        circle.extend([0xc0, 12, 0, 1, 0, 1]);
        let told = Message::from_vec(&answer(&circle, &few()).unwrap().bytes).unwrap();
        assert_eq!(told.metadata.response_code, ResponseCode::FormErr);
        let root = question(".", RecordType::NS);
        assert_eq!(root.queries[0].name(), &wired("."));
        assert_eq!(ask(&root).0.metadata.response_code, ResponseCode::NoError);
    }
}
