//! The host's own name data: `/etc/resolv.conf` (resolv.conf(5)) and `/etc/hosts` (hosts(5)).

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use creel_policy::net::{Host, Name};

/// Servers that are asked, of those that a file names.
const SERVERS: usize = 3;
const PORT: u16 = 53;

/// The servers; what a machine without any means is one on its own loopback. `interface` gives the
/// number of an interface by its name, of which a link-local server has one.
pub fn servers(text: &str, interface: impl Fn(&str) -> Option<u32>) -> Vec<SocketAddr> {
    let mut servers: Vec<SocketAddr> = text
        .lines()
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => server(words.next()?, &interface),
                _ => None,
            }
        })
        .collect();
    if servers.is_empty() {
        servers.push(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), PORT));
    }
    servers.truncate(SERVERS);
    servers
}

fn server(word: &str, interface: impl Fn(&str) -> Option<u32>) -> Option<SocketAddr> {
    let Some((address, scope)) = word.split_once('%') else {
        return Some(SocketAddr::new(word.parse().ok()?, PORT));
    };
    let address: Ipv6Addr = address.parse().ok()?;
    let scope = scope.parse().ok().or_else(|| interface(scope))?;
    Some(SocketAddr::V6(SocketAddrV6::new(address, PORT, 0, scope)))
}

/// The names that the file has and somebody wants, each with its addresses in the file's order.
pub fn hosts(text: &str, wanted: impl Fn(&Name) -> bool) -> BTreeMap<Name, Vec<IpAddr>> {
    let mut hosts: BTreeMap<Name, Vec<IpAddr>> = BTreeMap::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_ascii_whitespace();
        let Some(Ok(address)) = words.next().map(str::parse::<IpAddr>) else {
            continue;
        };
        for word in words {
            if let Ok(Host::Name(name)) = Host::parse(word.as_bytes())
                && wanted(&name)
            {
                hosts.entry(name).or_default().push(address);
            }
        }
    }
    hosts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read_as_the_host_reads_them() {
        let text = "# by hand\nsearch example.org\nnameserver 192.0.2.1\n nameserver\tfe80::1%eth0 \n\
                    nameserver nonsense\nnameserver fe80::1%nothing\nnameserver 2001:db8::53 ; one\n\
                    nameserver 192.0.2.4\noptions edns0\n;nameserver 192.0.2.9\n";
        let found = servers(text, |name| (name == "eth0").then_some(7));
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            ["192.0.2.1:53", "[fe80::1%7]:53", "[2001:db8::53]:53"]
        );
        for none in ["", "nameserver\n", "search a\n"] {
            let found = servers(none, |_| None);
            assert_eq!(found, ["127.0.0.1:53".parse().unwrap()], "{none:?}");
        }
    }

    #[test]
    fn hosts_are_the_canonical_names_that_somebody_wants() {
        let text = "127.0.0.1 localhost\n192.0.2.1\tA.Example a # both\n2001:db8::1 a.example.\n\
                    nonsense b.example\n192.0.2.3\n# 192.0.2.4 c.example\n192.0.2.5 10.0.0.1 d.example\n";
        let found = hosts(text, |name| name.as_str().ends_with(".example"));
        let found: Vec<String> = found
            .iter()
            .map(|(name, addresses)| format!("{name} {addresses:?}"))
            .collect();
        assert_eq!(
            found,
            [
                "a.example [192.0.2.1, 2001:db8::1]",
                "d.example [192.0.2.5]"
            ]
        );
    }
}
