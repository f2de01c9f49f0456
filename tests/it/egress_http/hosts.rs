//! One form of a host, whoever writes it: what is no host, or another one, is refused by CONNECT, by a
//! request in absolute form and by SOCKS5 alike (E2, E3, E4), and nobody outside hears of it.

use super::*;

/// How a client of a proxy names a host.
const WAYS: [&str; 3] = ["connect", "absolute", "socks5"];

/// Asks for `/` at a host by a way; whether somebody outside answered.
async fn reached(world: &World, way: &str, host: &[u8], port: u16) -> bool {
    let at = format!(":{port}");
    let answer = match way {
        "connect" => {
            let head = [b"CONNECT ", host, at.as_bytes(), b" HTTP/1.1\r\n\r\n"].concat();
            let mut client = dial(world.proxy).await;
            client.write_all(&head).await.unwrap();
            let answer = answer(&mut client).await;
            if status(&answer) != 200 {
                assert!(matches!(status(&answer), 400 | 403), "{answer}");
                return false;
            }
            let named = [b"GET / HTTP/1.1\r\nHost: ", host, at.as_bytes()].concat();
            let named = [&named[..], b"\r\nConnection: close\r\n\r\n"].concat();
            say(client, &named).await
        }
        "absolute" => {
            let head = [b"GET http://", host, at.as_bytes(), b"/ HTTP/1.1\r\nHost: "].concat();
            let tail = [host, at.as_bytes(), b"\r\nConnection: close\r\n\r\n"].concat();
            say(dial(world.proxy).await, &[head, tail].concat()).await
        }
        _ => {
            let mut client = dial(world.socks).await;
            let Ok(length) = u8::try_from(host.len()) else {
                // It cannot even be written.
                return false;
            };
            let ask = [&[5, 1, 0, 5, 1, 0, 3, length], host, &port.to_be_bytes()].concat();
            client.write_all(&ask).await.unwrap();
            let mut reply = [0; 12];
            client.read_exact(&mut reply).await.unwrap();
            if reply[3] != 0 {
                assert_eq!(reply[3], 2, "{host:?}");
                return false;
            }
            let named = [b"GET / HTTP/1.1\r\nHost: ", host, at.as_bytes()].concat();
            let named = [&named[..], b"\r\nConnection: close\r\n\r\n"].concat();
            say(client, &named).await
        }
    };
    let answered = status(&answer) == 200;
    assert!(
        answered || matches!(status(&answer), 400 | 403),
        "{way} {answer}"
    );
    answered
}

#[test]
fn a_granted_host_is_reached_however_it_is_written() {
    local(async {
        let outside = server::http().await;
        let world = Setup::at(&[outside.port]).start().await;
        for way in WAYS {
            for host in [
                "good.example",
                "GOOD.Example",
                "good.example.",
                "a.wild.example",
                "127.0.0.1",
                "xn--bcher-kva.example",
            ] {
                let reached = reached(&world, way, host.as_bytes(), outside.port).await;
                assert!(reached, "{way} {host}");
            }
        }
    });
}

#[test]
fn what_is_no_host_or_another_is_not_reached() {
    local(async {
        let outside = server::http().await;
        let world = Setup::at(&[outside.port]).start().await;
        let long = "a".repeat(64) + ".wild.example";
        let longer = "a.".repeat(127) + "wild.example";
        let hosts: &[&[u8]] = &[
            b"good.example\0",
            b"good.example\0.evil.example",
            b"evil.example\0.good.example",
            b"good.example%00.evil.example",
            b"evil.example%2egood.example",
            b"good.example%2f.evil.example",
            b"good.example .evil.example",
            b" good.example",
            b"good.example ",
            b"good.example\t",
            b"good.example\r\nX: y",
            b"good.example\nX: y",
            b"good.example/evil",
            b"good.example\\evil.example",
            b"good.example#evil.example",
            b"good.example?evil.example",
            b"good.example,evil.example",
            b"good.example@evil.example",
            b"evil.example@good.example",
            b"good..example",
            b".good.example",
            b"good.example..",
            b"*.wild.example",
            b"..wild.example",
            b"",
            b".",
            b"\xff\xfe.wild.example",
            b"a\xe2\x80\xae.wild.example",
            b"a\x7f.wild.example",
            long.as_bytes(),
            longer.as_bytes(),
            // Another host, to whoever compares whole labels.
            b"evil.example",
            b"good.example.evil.example",
            b"evilgood.example",
            b"sub.good.example",
            b"wild.example",
            b"evilwild.example",
            b"example",
        ];
        let before = outside.seen.connections.get();
        for way in WAYS {
            for host in hosts {
                let reached = reached(&world, way, host, outside.port).await;
                assert!(!reached, "{way} {:?}", host.escape_ascii().to_string());
            }
        }
        assert_eq!(outside.seen.connections.get(), before);
    });
}

#[test]
fn an_address_is_the_same_in_every_spelling() {
    local(async {
        let outside = server::http().await;
        let mut setup = Setup::at(&[outside.port]);
        // Loopback's second half is denied; the servers of the names are in the first.
        let deny = gates::rule(
            gates::range("127.128.0.0", 9),
            &[outside.port],
            Protocol::Auto,
        );
        setup.network.deny = BTreeSet::from([deny]);
        let world = setup.start().await;
        for way in WAYS {
            for spelled in ["127.0.0.1", "[::ffff:127.0.0.1]"] {
                if way == "socks5" && spelled.starts_with('[') {
                    continue;
                }
                let reached = reached(&world, way, spelled.as_bytes(), outside.port).await;
                assert!(reached, "{way} {spelled}");
            }
            let before = outside.seen.connections.get();
            for spelled in [
                "127.128.0.1",
                "127.128.1",
                "2139095041",
                "0x7f800001",
                "0x7f.0x80.1",
                "0177.0200.0.1",
                "[::ffff:127.128.0.1]",
                "[::ffff:7f80:1]",
                "[64:ff9b::7f80:1]",
                "[::1]",
                "[::]",
                "0.0.0.0",
                "0",
                "[fe80::1%25lo]",
                "[fe80::1%lo]",
                "169.254.169.254",
                "127.128.0.1.",
            ] {
                let reached = reached(&world, way, spelled.as_bytes(), outside.port).await;
                assert!(!reached, "{way} {spelled}");
            }
            assert_eq!(outside.seen.connections.get(), before, "{way}");
        }
    });
}
