//! Every request on a connection is judged, the first and the last.

use creel_policy::net::Limits;

use super::*;

fn get(host: &str) -> String {
    format!("GET /x HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

#[test]
fn a_request_to_another_host_is_refused_on_any_connection() {
    local(async {
        let outside = server::http().await;
        let port = outside.port;
        let world = Setup::at(&[port]).start().await;
        for (to, said) in [
            ("good.example", format!("good.example:{port}")),
            ("good.example", format!("GOOD.example.:{port}")),
            ("127.0.0.1", format!("127.0.0.1:{port}")),
            ("127.0.0.1", format!("[::ffff:127.0.0.1]:{port}")),
        ] {
            let mut client = world.transparent(to, port, Version::One).await;
            client.write_all(get(&said).as_bytes()).await.unwrap();
            assert_eq!(status(&answer(&mut client).await), 200, "{said}");
        }
        // The checked request is the one that is sent.
        assert!(
            outside
                .seen
                .last()
                .contains(&format!("host: 127.0.0.1:{port}\n"))
        );
        let before = outside.seen.count();
        for (to, said) in [
            ("good.example", "good.example".to_owned()),
            ("good.example", format!("good.example:{}", port - 1)),
            ("good.example", format!("evil.example:{port}")),
            ("good.example", format!("good.example.evil.example:{port}")),
            ("good.example", format!("sub.good.example:{port}")),
            ("good.example", format!("127.0.0.1:{port}")),
            ("good.example", format!("a.wild.example:{port}")),
            ("127.0.0.1", format!("good.example:{port}")),
            ("127.0.0.1", format!("127.0.0.2:{port}")),
            ("a.wild.example", format!("b.wild.example:{port}")),
        ] {
            let client = world.transparent(to, port, Version::One).await;
            let answer = say(client, get(&said).as_bytes()).await;
            assert_eq!(status(&answer), 403, "{to} {said}");
            assert!(field(&answer, "x-creel-denied").is_some(), "{answer}");
            assert!(answer.ends_with("was granted\n"), "{answer}");
        }
        assert_eq!(outside.seen.count(), before);
        assert!(world.said("its Host is") && world.coded("net-http-host"));
    });
}

#[test]
fn the_second_request_of_a_connection_is_judged_as_the_first() {
    local(async {
        let outside = server::http().await;
        let port = outside.port;
        let world = Setup::at(&[port]).start().await;
        let mut client = world.transparent("good.example", port, Version::One).await;
        for _ in 0..3 {
            let good = get(&format!("good.example:{port}"));
            client.write_all(good.as_bytes()).await.unwrap();
            assert_eq!(status(&answer(&mut client).await), 200);
        }
        assert_eq!(outside.seen.connections.get(), 1);
        // Two at once: the second is read from what came with the first.
        let both = get(&format!("good.example:{port}")) + &get("evil.example");
        client.write_all(both.as_bytes()).await.unwrap();
        assert_eq!(status(&answer(&mut client).await), 200);
        let refused = answer(&mut client).await;
        assert_eq!(status(&refused), 403);
        assert_eq!(rest(&mut client).await, "");
        assert_eq!(outside.seen.count(), 4);
    });
}

/// Each refusal is one, and a request has its own alone.
#[test]
fn what_is_refused_on_an_open_connection_counts() {
    local(async {
        let outside = server::http().await;
        let port = outside.port;
        let mut setup = Setup::at(&[port]);
        let below = BTreeSet::from(["/api/*".to_owned()]);
        setup.http = Some(Http::new(BTreeSet::new(), below).expect("a rule"));
        let world = setup.start().await;
        let ask = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: good.example:{port}\r\n\r\n");
        let mut client = world.transparent("good.example", port, Version::One).await;
        for (path, code) in [("/api/a", 200), ("/a", 403), ("/b", 403), ("/api/b", 200)] {
            client.write_all(ask(path).as_bytes()).await.unwrap();
            assert_eq!(status(&answer(&mut client).await), code, "{path}");
        }
        client.write_all(b"\x01\r\n\r\n").await.unwrap();
        rest(&mut client).await;
        world.closed(1).await;
        let records = world.records();
        let refused: Vec<_> = records
            .iter()
            .map(|r| (r["event"].as_str().unwrap(), r["refused"].is_null()))
            .collect();
        assert_eq!(
            refused,
            [
                ("open", true),
                ("request", true),
                ("request", false),
                ("request", false),
                ("request", true),
                ("close", false)
            ]
        );
        let sum = &world.gate.records.summary()[0];
        assert_eq!((sum.allowed, sum.refused), (1, 3), "{sum:?}");
        let last = sum.why.as_ref().unwrap();
        assert_eq!(last.reason.code.as_str(), "net-http-request");
        assert!(last.text.contains("not HTTP"), "{last:?}");
    });
}

/// No record, no act: on a connection that is open already too.
#[test]
fn a_request_whose_record_cannot_be_written_goes_nowhere() {
    local(async {
        let outside = server::http().await;
        let port = outside.port;
        // A log of which nobody takes more than the first lines.
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let mut setup = Setup::at(&[port]);
        setup.log = Some(std::os::fd::OwnedFd::from(writer).into());
        let world = setup.start().await;
        let mut client = world.transparent("good.example", port, Version::One).await;
        let good = get(&format!("good.example:{port}"));
        client.write_all(good.as_bytes()).await.unwrap();
        assert_eq!(status(&answer(&mut client).await), 200);
        drop(reader);
        client.write_all(good.as_bytes()).await.unwrap();
        let refused = rest(&mut client).await;
        assert_eq!(status(&refused), 403);
        assert!(
            refused.contains("its record cannot be written"),
            "{refused}"
        );
        assert_eq!(outside.seen.count(), 1);
    });
}

#[test]
fn fields_of_the_connection_go_no_further_and_none_are_added() {
    local(async {
        let outside = server::http().await;
        let port = outside.port;
        let world = Setup::at(&[port]).start().await;
        let client = world.transparent("good.example", port, Version::One).await;
        let text = format!(
            "GET /x?a=b HTTP/1.1\r\nHost: good.example:{port}\r\nConnection: close, X-Mine\r\n\
             X-Mine: 1\r\nKeep-Alive: 5\r\nProxy-Authorization: Basic eDp5\r\n\
             Proxy-Connection: keep-alive\r\nX-Kept: 2\r\n\r\n"
        );
        assert_eq!(status(&say(client, text.as_bytes()).await), 200);
        let seen = outside.seen.last();
        assert_eq!(
            seen,
            format!("GET /x?a=b HTTP/1.1\nhost: good.example:{port}\nx-kept: 2\n")
        );
    });
}

#[test]
fn a_tunnel_is_not_begun_inside_a_connection() {
    local(async {
        let outside = server::http().await;
        let port = outside.port;
        let world = Setup::at(&[port]).start().await;
        let client = world.transparent("good.example", port, Version::One).await;
        let text =
            format!("CONNECT good.example:{port} HTTP/1.1\r\nHost: good.example:{port}\r\n\r\n");
        assert_eq!(status(&say(client, text.as_bytes()).await), 400);
        assert_eq!(outside.seen.count(), 0);
    });
}

#[test]
fn a_client_that_has_said_all_still_gets_its_answer() {
    local(async {
        let outside = server::http().await;
        let port = outside.port;
        let world = Setup::at(&[port]).start().await;
        let mut client = world.transparent("good.example", port, Version::One).await;
        let text = get(&format!("good.example:{port}"));
        client.write_all(text.as_bytes()).await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(status(&rest(&mut client).await), 200);
    });
}

#[test]
fn a_limit_of_bytes_ends_the_connection() {
    local(async {
        let outside = server::http().await;
        let port = outside.port;
        let mut setup = Setup::at(&[port]);
        setup.network.limits = Limits {
            bytes_in: Some(sourced(creel_policy::Bytes(200_000))),
            ..Limits::default()
        };
        let world = setup.start().await;
        let ask = |many: u64| {
            format!(
                "GET /bytes?{many} HTTP/1.1\r\nHost: good.example:{port}\r\nConnection: close\r\n\r\n"
            )
        };
        let client = world.transparent("good.example", port, Version::One).await;
        let whole = say(client, ask(100_000).as_bytes()).await;
        assert!(whole.ends_with("0\r\n\r\n"));
        let client = world.transparent("good.example", port, Version::One).await;
        let cut = say(client, ask(300_000).as_bytes()).await;
        assert!(
            !cut.ends_with("0\r\n\r\n") && cut.chars().count() < 150_000,
            "{}",
            cut.len()
        );
        assert!(world.said("network.limits.bytes_in") && world.coded("net-limit-bytes-in"));
    });
}

#[test]
fn a_connection_on_which_nothing_moves_is_closed() {
    local(async {
        let outside = server::http().await;
        let port = outside.port;
        let mut setup = Setup::at(&[port]);
        setup.network.limits.idle = Some(sourced(creel_policy::Span(300)));
        let world = setup.start().await;
        let mut client = world.transparent("good.example", port, Version::One).await;
        client
            .write_all(get(&format!("good.example:{port}")).as_bytes())
            .await
            .unwrap();
        assert_eq!(status(&answer(&mut client).await), 200);
        assert_eq!(rest(&mut client).await, "");
        assert!(world.said("no bytes moved") && world.coded("net-idle"));
        // Events every 50 ms keep it open.
        let mut client = world.transparent("good.example", port, Version::One).await;
        let events = format!("GET /events HTTP/1.1\r\nHost: good.example:{port}\r\n\r\n");
        client.write_all(events.as_bytes()).await.unwrap();
        assert!(rest(&mut client).await.ends_with("0\r\n\r\n"));
    });
}

#[test]
fn a_host_that_does_not_answer_is_a_bad_gateway() {
    local(async {
        let port = nobody().await;
        let world = Setup::at(&[port]).start().await;
        let client = world.transparent("good.example", port, Version::One).await;
        let text = format!(
            "GET / HTTP/1.1\r\nHost: good.example:{}\r\nConnection: close\r\n\r\n",
            port
        );
        let answer = say(client, text.as_bytes()).await;
        assert_eq!(status(&answer), 502, "{answer}");
        // It is on the connection's record, which is written when that has ended.
        world.closed(1).await;
        assert!(world.said("the host does not answer"));
    });
}

#[test]
fn a_redirect_is_the_clients_own_and_its_next_request_is_judged() {
    local(async {
        let outside = server::http().await;
        let port = outside.port;
        let world = Setup::at(&[port]).start().await;
        let mut client = world.transparent("good.example", port, Version::One).await;
        let away = format!("GET /away HTTP/1.1\r\nHost: good.example:{port}\r\n\r\n");
        client.write_all(away.as_bytes()).await.unwrap();
        let answer = answer(&mut client).await;
        assert_eq!(
            (status(&answer), field(&answer, "location").as_deref()),
            (302, Some("http://evil.example/"))
        );
        let followed = say(
            dial(world.proxy).await,
            b"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
        )
        .await;
        assert_eq!(status(&followed), 403);
    });
}
