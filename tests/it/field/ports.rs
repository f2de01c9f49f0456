//! Servers in a jail at the ports that their documents name.

use crate::support::{Run, Who, Workspace};

/// Binds and answers itself.
const SERVE: &str = "
import socket, sys
for family, kind, address in [
    (socket.AF_INET, socket.SOCK_STREAM, ('127.0.0.1', 80)),
    (socket.AF_INET, socket.SOCK_STREAM, ('0.0.0.0', 443)),
    (socket.AF_INET6, socket.SOCK_STREAM, ('::1', 25)),
    (socket.AF_INET, socket.SOCK_DGRAM, ('127.0.0.1', 514)),
    (socket.AF_INET, socket.SOCK_STREAM, ('127.0.0.1', 8080)),
]:
    with socket.socket(family, kind) as s:
        s.bind(address)
        print(address[1], end=' ')
";

each!(ports_below_1024_can_be_bound);
fn ports_below_1024_can_be_bound(who: Who) {
    let workspace = Workspace::new(who);
    let ports = |flags: &[&str]| {
        let ran = Run::new(who, &workspace).flags(flags).python(SERVE).ok();
        assert_eq!(ran.stdout, "80 443 25 514 8080 ", "{who:?} {flags:?}");
    };
    ports(&[]);
    // The jail is born in a network that was made before.
    ports(&["--allow-net", "example.org:7"]);
}

each!(the_hosts_ports_stay_as_they_are);
/// The host's own stay root's.
fn the_hosts_ports_stay_as_they_are(who: Who) {
    let start = || {
        std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").expect("a sysctl")
    };
    let before = start();
    let workspace = Workspace::new(who);
    Run::new(who, &workspace).argv(["/bin/true"]).ok();
    assert_eq!(start(), before, "{who:?}");
}
