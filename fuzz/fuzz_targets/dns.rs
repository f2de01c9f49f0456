//! The jail's questions and the answers of resolvers outside: any bytes get an answer or silence, what
//! does not exist stays so, and what is believed of an answer is about the name that was asked for.
//!
//! The first byte says which of the two the rest is.

#![no_main]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_proto::op::{Message, MessageType};
use hickory_proto::rr::RData;
use libfuzzer_sys::fuzz_target;

use creel_egress::dns::answer::{Refused, Zone, answer};
use creel_egress::names::Addresses;
use creel_egress::resolve::message::{Kind, Said, read};
use creel_policy::net::Name;

/// Knows `granted.example` and what is beneath `wild.example`, all at one pair of addresses.
struct Few;

const PAIR: Addresses = Addresses {
    v4: Ipv4Addr::new(198, 18, 1, 0),
    v6: Ipv6Addr::new(0xfd63, 0x7265, 0x656c, 0, 0, 0, 0, 0x100),
};

fn granted(name: &Name) -> bool {
    name.as_str() == "granted.example" || name.as_str().ends_with(".wild.example")
}

impl Zone for Few {
    fn knows(&self, name: &Name) -> bool {
        granted(name)
    }

    fn addresses(&self, name: &Name) -> Option<Addresses> {
        assert!(granted(name), "{name} was given an address");
        Some(PAIR)
    }

    fn name(&self, address: IpAddr) -> Option<Name> {
        (address == PAIR.v4 || address == PAIR.v6).then(name)
    }
}

fuzz_target!(|bytes: &[u8]| {
    match bytes.split_first() {
        Some((0, question)) => ask(question),
        Some((kind, answer)) => told(answer, if *kind == 1 { Kind::A } else { Kind::Aaaa }),
        None => {}
    }
});

fn name() -> Name {
    let Ok(name) = Name::parse(b"granted.example") else {
        panic!("granted.example is no name")
    };
    name
}

fn ask(question: &[u8]) {
    let Some(reply) = answer(question, &Few) else {
        return;
    };
    assert!(reply.bytes.len() <= 512, "{} bytes", reply.bytes.len());
    assert_eq!(reply.bytes[..2], question[..2]);
    let message = Message::from_vec(&reply.bytes).expect("what is answered can be read");
    assert_eq!(message.metadata.message_type, MessageType::Response);
    for record in &message.answers {
        let address = match &record.data {
            RData::A(a) => IpAddr::V4(a.0),
            RData::AAAA(a) => IpAddr::V6(a.0),
            _ => continue,
        };
        assert!(
            Few.name(address).is_some() || address.is_loopback(),
            "{address}"
        );
    }
    match reply.refused {
        None => {}
        Some(Refused::Unknown(name) | Refused::TooMany(name)) => {
            assert!(message.answers.is_empty() && !granted(&name));
        }
        Some(Refused::NoName(said, _)) => {
            assert!(message.answers.is_empty());
            assert!(!said.contains(char::is_control), "{said:?}");
        }
    }
}

fn told(answer: &[u8], kind: Kind) {
    // The number is the answer's own: that it must match is tested elsewhere.
    let id = answer.first_chunk().map_or(0, |id| u16::from_be_bytes(*id));
    match read(answer, id, &name(), kind) {
        Said::Addresses(addresses, _) => {
            assert!(!addresses.is_empty() && addresses.len() <= 16);
            let is_asked = |address: &IpAddr| address.is_ipv4() == (kind == Kind::A);
            assert!(addresses.iter().all(is_asked), "{addresses:?}");
        }
        Said::Alias(target, _) => {
            let again = Name::parse(target.as_str().as_bytes());
            assert_eq!(again.as_ref(), Ok(&target));
        }
        Said::Failed(why) => assert!(!why.contains(char::is_control), "{why:?}"),
        _ => {}
    }
}
