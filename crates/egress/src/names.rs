//! Synthetic addresses, one per name: the address of a connection identifies the name.
//!
//! A name keeps its address for the jail's lifetime, since a program may hold it for as long.
//! `198.18.0.0/24` and its IPv6 equivalent are reserved for creel's own services.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use creel_plan::egress::{number_of, synthetic};
use creel_policy::net::Name;

/// Maximum names with an address; further names get none.
pub const MOST: u32 = 100_000;

/// Addresses of one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// In 198.18.0.0/15 (RFC 2544), which is not used on the internet.
    pub v4: Ipv4Addr,
    /// In creel's own unique local prefix.
    pub v6: Ipv6Addr,
}

/// The assigned addresses.
#[derive(Debug, Default)]
pub struct Names {
    by_name: HashMap<Name, u32>,
    by_number: Vec<Name>,
}

impl Addresses {
    /// The addresses with this number.
    pub const fn numbered(number: u32) -> Addresses {
        let (v4, v6) = synthetic(number);
        Addresses { v4, v6 }
    }
}

impl Names {
    /// Assigns the first numbers, in order, to the policy's exact names. A duplicate has no number of its
    /// own.
    pub fn with(exact: &[Name]) -> Names {
        let mut names = Names::default();
        for name in exact {
            names.address(name);
        }
        names
    }

    /// The addresses of a granted name, assigned on first use; `None` at the limit of names.
    pub fn address(&mut self, name: &Name) -> Option<Addresses> {
        self.number(name).map(Addresses::numbered)
    }

    /// The number of those addresses.
    pub fn number(&mut self, name: &Name) -> Option<u32> {
        let number = match self.by_name.get(name) {
            Some(number) => *number,
            None => {
                let number = u32::try_from(self.by_number.len()).ok()?;
                if number >= MOST {
                    return None;
                }
                self.by_number.push(name.clone());
                self.by_name.insert(name.clone(), number);
                number
            }
        };
        Some(number)
    }

    /// The name of an address; `None` if the address was never assigned.
    pub fn name(&self, address: IpAddr) -> Option<&Name> {
        self.by_number.get(number_of(address)? as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn exact_names_have_the_first_numbers_in_order_and_keep_them() {
        let exact = [name("b.example"), name("a.example"), name("b.example")];
        let mut names = Names::with(&exact);
        assert_eq!(names.address(&exact[0]), Some(Addresses::numbered(0)));
        assert_eq!(names.address(&exact[1]), Some(Addresses::numbered(1)));
        let on_demand = names.address(&name("x.wild.example")).unwrap();
        assert_eq!(on_demand, Addresses::numbered(2));
        assert_eq!(names.address(&name("x.wild.example")), Some(on_demand));
        assert_eq!(
            Addresses::numbered(0).v4,
            "198.18.1.0".parse::<Ipv4Addr>().unwrap()
        );
        assert_eq!(
            Addresses::numbered(0).v6,
            "fd63:7265:656c::100".parse::<Ipv6Addr>().unwrap()
        );
    }

    #[test]
    fn an_address_that_was_not_given_out_has_no_name() {
        let names = Names::with(&[name("a.example"), name("b.example")]);
        for given in ["198.18.1.1", "::ffff:198.18.1.1", "fd63:7265:656c::101"] {
            let given = given.parse().unwrap();
            assert_eq!(names.name(given), Some(&name("b.example")), "{given}");
        }
        for other in [
            "198.18.0.1",
            "198.18.0.255",
            "198.18.1.2",
            "198.19.255.255",
            "198.20.0.0",
            "0.0.0.0",
            "255.255.255.255",
            "fd63:7265:656c::",
            "fd63:7265:656c::ff",
            "fd63:7265:656c::102",
            "fd63:7265:656c::1:0:0:101",
            "fd63:7265:656d::100",
            "::",
            "::198.18.1.1",
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        ] {
            assert_eq!(names.name(other.parse().unwrap()), None, "{other}");
        }
    }

    #[test]
    fn names_are_bounded_and_every_address_is_in_its_range() {
        let mut names = Names::default();
        for number in 0..MOST {
            assert!(
                names
                    .address(&name(&format!("n{number}.example")))
                    .is_some()
            );
        }
        assert_eq!(names.address(&name("one.more.example")), None);
        let last = names.address(&name(&format!("n{}.example", MOST - 1)));
        let last = last.unwrap();
        assert_eq!(last.v4.octets()[..2], [198, 19]);
        assert_eq!(last.v6.segments()[..6], [0xfd63, 0x7265, 0x656c, 0, 0, 0]);
        for address in [IpAddr::V4(last.v4), IpAddr::V6(last.v6)] {
            let found = names.name(address).map(Name::as_str);
            assert_eq!(found, Some("n99999.example"));
        }
    }
}
