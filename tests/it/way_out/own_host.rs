//! Servers on the host's own loopback (a local model) are reached by one name, where a rule has that very name.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};

use super::Jail;
use crate::support::{Who, need};

const GET: &str = "curl -fsS -m 5";

/// A server of HTTP on the loopback of whoever calls it; its port.
fn model() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let _ = stream.read(&mut [0; 4096]);
            let answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nmodel";
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    port
}

each!(a_rule_of_its_name_reaches_the_hosts_loopback);
fn a_rule_of_its_name_reaches_the_hosts_loopback(who: Who) {
    need("curl");
    let Some(jail) = Jail::new(who, "mode = \"none\"") else {
        return;
    };
    let (port, other) = (model(), model());
    let granted = format!("host.creel.internal:{port}");
    let url = format!("http://{granted}/");
    let transparent = format!("{} {GET} {url}", super::PLAIN);
    let jail = jail.flags(&["--allow-net", &granted]);
    for script in [format!("{GET} {url}"), transparent] {
        assert_eq!(jail.sh(&script).ok().stdout, "model", "{who:?} {script}");
    }
    // Only that port, and by no other name.
    for (status, url) in [
        // Curl's own words: an HTTP status of 400 and more, and nobody there.
        (22, format!("http://host.creel.internal:{other}/")),
        (7, format!("http://127.0.0.1:{port}/")),
        (7, format!("http://localhost:{port}/")),
        (22, format!("http://a.host.creel.internal:{port}/")),
        (22, format!("http://198.18.0.1:{port}/")),
    ] {
        let ran = jail.sh(&format!("{GET} {url}"));
        assert_eq!(ran.status, status, "{who:?} {url}: {ran:#?}");
    }
}

#[test]
fn nothing_but_its_name_grants_it() {
    need("curl");
    let tried = |network: &str, granted: bool| {
        let jail = Jail::new(Who::Root, "")?;
        let port = model().to_string();
        let jail = Jail {
            network: network.replace("PORT", &port),
            ..jail
        };
        let ran = jail.sh(&format!("{GET} http://host.creel.internal:{port}/"));
        assert_eq!(ran.stdout == "model", granted, "{network}: {ran:#?}");
        Some(())
    };
    let allow = |rules: &str| format!("mode = \"allowlist\"\nallow = [{rules}]");
    for (network, granted) in [
        (allow("\"host.creel.internal:PORT\""), true),
        (
            allow("{ host = \"host.creel.internal\", ports = [PORT], protocol = \"http\" }"),
            true,
        ),
        (allow("\"*.creel.internal:PORT\""), false),
        (allow("\"*.internal:PORT\""), false),
        (allow("\"127.0.0.0/8:PORT\""), false),
        ("mode = \"open\"".into(), false),
        ("mode = \"ask\"".into(), false),
        (
            format!(
                "{}\ndeny = [\"*.internal\"]",
                allow("\"host.creel.internal:PORT\"")
            ),
            false,
        ),
        (
            format!(
                "{}\ndeny = [\"127.0.0.0/8\"]",
                allow("\"host.creel.internal:PORT\"")
            ),
            false,
        ),
    ] {
        if tried(&network, granted).is_none() {
            return;
        }
    }
}

#[test]
fn what_means_the_jails_own_loopback_is_refused_with_the_name() {
    let Some(jail) = Jail::new(Who::Root, "mode = \"none\"") else {
        return;
    };
    for (rule, why) in [
        (
            "localhost:11434",
            "is the jail's own loopback, which needs no rule; write host.creel.internal:PORT",
        ),
        ("a.localhost:11434", "is the jail's own loopback"),
        ("127.0.0.1:11434", "is the jail's own loopback"),
        ("[::1]:11434", "is the jail's own loopback"),
        ("0.0.0.0:11434", "is the jail's own loopback"),
        ("[::]:11434", "is the jail's own loopback"),
        (
            "host.creel.internal",
            "add the ports, as in host.creel.internal:11434",
        ),
    ] {
        let run = jail.run().flags(["--allow-net", rule]).argv(["/bin/true"]);
        assert_eq!(run.status, 125, "{rule}: {run:#?}");
        assert!(run.stderr.contains(why), "{rule}: {run:#?}");
    }
    // The control: a range is for names that resolve there.
    let run = jail.run().flags(["--allow-net", "127.0.0.0/8:11434"]);
    assert_eq!(run.argv(["/bin/true"]).status, 0);
}
