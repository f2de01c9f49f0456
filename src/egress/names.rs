//! The synthetic addresses: one a name, so that a connection says which name was meant.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::policy::net::Name;

/// Names that may have an address at once; a jail that asks for more gets no more.
pub const MOST: u32 = 100_000;

/// Addresses of one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// In 198.18.0.0/15 (RFC 2544): nothing on the internet has one of these.
    pub v4: Ipv4Addr,
    /// In a unique local prefix of creel's own.
    pub v6: Ipv6Addr,
}

/// What was given out.
#[derive(Debug, Default)]
pub struct Names {
    by_name: HashMap<Name, u32>,
    by_number: Vec<Name>,
}

const FIRST_V4: u32 = u32::from_be_bytes([198, 18, 1, 0]);
/// `fd63:7265:656c::/96`
const FIRST_V6: u128 = 0xfd63_7265_656c_0000_0000_0000_0000_0000;

impl Names {
    /// The addresses of a granted name; `None` where there are too many names.
    pub fn address(&mut self, name: &Name) -> Option<Addresses> {
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
        Some(Addresses {
            v4: Ipv4Addr::from(FIRST_V4 + number),
            v6: Ipv6Addr::from(FIRST_V6 + u128::from(number)),
        })
    }

    /// The name that was given this address.
    pub fn name(&self, address: IpAddr) -> Option<&Name> {
        let number = match address.to_canonical() {
            IpAddr::V4(v4) => u32::from(v4).checked_sub(FIRST_V4)?,
            IpAddr::V6(v6) => u128::from(v6).checked_sub(FIRST_V6)?.try_into().ok()?,
        };
        self.by_number.get(number as usize)
    }
}
