//! The explicit proxies: what each answers, and that one destination is not another on any of them
//! (E6).

use super::*;

#[test]
fn a_tunnel_carries_what_was_granted_and_no_other_host() {
    local(async {
        let outside = server::http().await;
        let port = outside.port;
        let world = Setup::at(&[port]).start().await;
        for (said, code) in [("good.example", 200), ("evil.example", 403)] {
            let mut client = dial(world.proxy).await;
            let connect = format!(
                "CONNECT good.example:{port} HTTP/1.1\r\nHost: good.example:{port}\r\n\r\n"
            );
            client.write_all(connect.as_bytes()).await.unwrap();
            assert!(answer(&mut client).await.starts_with("HTTP/1.1 200 "));
            let get = format!("GET / HTTP/1.1\r\nHost: {said}:{port}\r\nConnection: close\r\n\r\n");
            assert_eq!(status(&say(client, get.as_bytes()).await), code, "{said}");
        }
        assert_eq!(outside.seen.count(), 1);
        // Bytes that come with the head are the tunnel's.
        let both = format!(
            "CONNECT good.example:{port} HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\nHost: good.example:{port}\r\nConnection: close\r\n\r\n"
        );
        let answer = say(dial(world.proxy).await, both.as_bytes()).await;
        assert_eq!(answer.matches("HTTP/1.1 200 ").count(), 2, "{answer}");
    });
}

#[test]
fn a_tunnel_that_is_not_granted_says_why() {
    local(async {
        let closed = nobody().await;
        let outside = server::http().await;
        let port = outside.port;
        let world = Setup::at(&[port, closed]).start().await;
        let ask = |text: String| {
            let proxy = world.proxy;
            async move { say(dial(proxy).await, text.as_bytes()).await }
        };
        let connect = |to: &str| format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n");
        let refused = ask(connect(&format!("evil.example:{port}"))).await;
        assert_eq!(status(&refused), 403);
        assert_eq!(
            field(&refused, "x-creel-denied").as_deref(),
            Some("no rule allows it")
        );
        let status_field = field(&refused, "proxy-status").unwrap();
        assert!(
            status_field.starts_with("creel; error=http_request_denied"),
            "{status_field}"
        );
        let other_port = ask(connect("good.example:1")).await;
        assert_eq!(status(&other_port), 403);
        let nobody = ask(connect(&format!("good.example:{}", closed))).await;
        assert_eq!(status(&nobody), 502, "{nobody}");
        assert!(
            field(&nobody, "proxy-status")
                .unwrap()
                .contains("connection_refused")
        );
        let unknown = ask(connect(&format!("b.wild.example:{port}"))).await;
        assert!(matches!(status(&unknown), 502 | 504), "{unknown}");
        for (what, text) in [
            (
                "another Host",
                format!("CONNECT good.example:{port} HTTP/1.1\r\nHost: evil.example\r\n\r\n"),
            ),
            (
                "no port",
                "CONNECT good.example HTTP/1.1\r\n\r\n".to_owned(),
            ),
            (
                "a body",
                format!("CONNECT good.example:{port} HTTP/1.1\r\nContent-Length: 1\r\n\r\n"),
            ),
            ("TLS", "\x16\x03\x01".to_owned()),
            ("nonsense", "nonsense\r\n\r\n".to_owned()),
        ] {
            let answer = ask(text).await;
            assert_eq!(status(&answer), 400, "{what}: {answer}");
        }
        assert_eq!(outside.seen.connections.get(), 0);
        assert!(
            world
                .records()
                .iter()
                .all(|record| record["way"] == "connect")
        );
    });
}

#[test]
fn each_request_to_the_proxy_has_its_own_destination() {
    local(async {
        let (one, two) = (server::http().await, server::http().await);
        let world = Setup::at(&[one.port, two.port]).start().await;
        let mut client = dial(world.proxy).await;
        let get = |host: &str, port: u16| {
            format!("GET http://{host}:{port}/x HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n")
        };
        for (to, server) in [
            ("good.example", &one),
            ("good.example", &one),
            ("a.wild.example", &two),
        ] {
            let before = server.seen.count();
            client
                .write_all(get(to, server.port).as_bytes())
                .await
                .unwrap();
            assert_eq!(status(&answer(&mut client).await), 200);
            assert_eq!(server.seen.count(), before + 1);
            // In the form that a server takes.
            assert!(
                server.seen.last().starts_with("GET /x HTTP/1.1\n"),
                "{}",
                server.seen.last()
            );
        }
        assert_eq!(
            (one.seen.connections.get(), two.seen.connections.get()),
            (1, 1)
        );
        client
            .write_all(get("evil.example", one.port).as_bytes())
            .await
            .unwrap();
        assert_eq!(status(&answer(&mut client).await), 403);
        client
            .write_all(get("good.example", one.port).as_bytes())
            .await
            .unwrap();
        assert_eq!(status(&answer(&mut client).await), 200);
        assert_eq!(one.seen.count(), 3);
    });
}

#[test]
fn what_is_not_in_absolute_form_is_no_request_to_the_proxy() {
    local(async {
        let outside = server::http().await;
        let port = outside.port;
        let world = Setup::at(&[port]).start().await;
        for (what, text) in [
            (
                "origin form",
                format!("GET / HTTP/1.1\r\nHost: good.example:{port}\r\n\r\n"),
            ),
            (
                "https",
                format!(
                    "GET https://good.example:{port}/ HTTP/1.1\r\nHost: good.example:{port}\r\n\r\n"
                ),
            ),
            (
                "ftp",
                format!(
                    "GET ftp://good.example:{port}/ HTTP/1.1\r\nHost: good.example:{port}\r\n\r\n"
                ),
            ),
            (
                "another Host",
                format!(
                    "GET http://good.example:{port}/ HTTP/1.1\r\nHost: evil.example:{port}\r\n\r\n"
                ),
            ),
            (
                "another port",
                format!("GET http://good.example:{port}/ HTTP/1.1\r\nHost: good.example\r\n\r\n"),
            ),
            (
                "a user",
                format!(
                    "GET http://a:b@good.example:{port}/ HTTP/1.1\r\nHost: good.example:{port}\r\n\r\n"
                ),
            ),
            (
                "no Host",
                format!("GET http://good.example:{port}/ HTTP/1.1\r\n\r\n"),
            ),
            (
                "asterisk",
                format!("OPTIONS * HTTP/1.1\r\nHost: good.example:{port}\r\n\r\n"),
            ),
        ] {
            let answer = say(dial(world.proxy).await, text.as_bytes()).await;
            assert_eq!(status(&answer), 400, "{what}: {answer}");
        }
        assert_eq!(outside.seen.connections.get(), 0);
    });
}

#[test]
fn an_address_that_stands_for_a_name_means_the_name() {
    local(async {
        let outside = server::http().await;
        let port = outside.port;
        let world = Setup::at(&[port]).start().await;
        let given = world
            .gate
            .names
            .borrow_mut()
            .address(&name("good.example"))
            .unwrap();
        for to in [given.v4.to_string(), format!("[{}]", given.v6)] {
            let get = format!(
                "GET http://{to}:{port}/ HTTP/1.1\r\nHost: {to}:{port}\r\nConnection: close\r\n\r\n"
            );
            let answer = say(dial(world.proxy).await, get.as_bytes()).await;
            assert_eq!(status(&answer), 200, "{answer}");
            assert!(outside.seen.last().contains("host: good.example:"));
            let mut client = dial(world.proxy).await;
            let connect = format!("CONNECT {to}:{port} HTTP/1.1\r\n\r\n");
            client.write_all(connect.as_bytes()).await.unwrap();
            assert_eq!(status(&super::answer(&mut client).await), 200);
        }
        let mut client = dial(world.socks).await;
        let ask = [
            &[5, 1, 0, 5, 1, 0, 1],
            &given.v4.octets()[..],
            &port.to_be_bytes(),
        ]
        .concat();
        client.write_all(&ask).await.unwrap();
        let mut reply = [0; 12];
        client.read_exact(&mut reply).await.unwrap();
        assert_eq!(reply[3], 0);
    });
}

#[test]
fn socks_says_what_it_does_not_do() {
    local(async {
        let closed = nobody().await;
        let outside = server::http().await;
        let port = outside.port;
        let world = Setup::at(&[port, closed]).start().await;
        let named = |to: &str, port: u16| {
            let length = u8::try_from(to.len()).unwrap();
            [&[5, 1, 0, 3, length], to.as_bytes(), &port.to_be_bytes()].concat()
        };
        for (what, request, code) in [
            ("granted", named("good.example", port), 0),
            ("not granted", named("evil.example", port), 2),
            ("another port", named("good.example", 1), 2),
            ("nobody there", named("good.example", closed), 5),
            ("no address", named("b.wild.example", port), 4),
            ("bind", vec![5, 2, 0, 1, 127, 0, 0, 1, 0, 80], 7),
            ("udp", vec![5, 3, 0, 1, 127, 0, 0, 1, 0, 80], 7),
            ("another type", vec![5, 1, 0, 9, 1], 8),
        ] {
            let mut client = dial(world.socks).await;
            client
                .write_all(&[&[5, 2, 0, 2][..], &request].concat())
                .await
                .unwrap();
            let mut reply = [0; 12];
            client
                .read_exact(&mut reply)
                .await
                .unwrap_or_else(|e| panic!("{what}: {e}"));
            assert_eq!(reply[..4], [5, 0, 5, code], "{what}");
        }
        // A client that insists on a password may send any.
        let mut client = dial(world.socks).await;
        let login = [
            &[5, 1, 2, 1, 2, b'm', b'e', 1, b'x'][..],
            &named("good.example", port),
        ]
        .concat();
        client.write_all(&login).await.unwrap();
        let mut reply = [0; 8];
        client.read_exact(&mut reply).await.unwrap();
        assert_eq!(reply, [5, 2, 1, 0, 5, 0, 0, 1]);
        // SOCKS4 and 4a are answered in their own form and closed.
        for four in [
            &[4, 1, 0, 80, 127, 0, 0, 1, 0][..],
            b"\x04\x01\0\x50\0\0\0\x01\0good.example\0",
        ] {
            let mut client = dial(world.socks).await;
            client.write_all(four).await.unwrap();
            let mut reply = vec![];
            client.read_to_end(&mut reply).await.unwrap();
            assert_eq!(reply, [0, 0x5b, 0, 0, 0, 0, 0, 0]);
        }
        let mut client = dial(world.socks).await;
        client.write_all(&[5, 1, 1]).await.unwrap();
        let mut reply = vec![];
        client.read_to_end(&mut reply).await.unwrap();
        assert_eq!(reply, [5, 0xff]);
    });
}
