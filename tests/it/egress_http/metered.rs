//! Outgoing bytes are counted and connections limited, also on a connection that is open already.

use creel_policy::Count;
use creel_policy::net::Limits;

use super::server::each;
use super::*;

/// Bytes of a request that the limits count.
async fn counted(method: &str, code: u16) -> u64 {
    let outside = server::http().await;
    let port = outside.port;
    let world = Setup::at(&[port]).start().await;
    for way in ["transparent", "absolute"] {
        let (client, target) = by(&world, way, port, "/").await;
        let text = format!(
            "{method} {target} HTTP/1.1\r\nHost: good.example:{port}\r\nConnection: close\r\n\r\n"
        );
        assert_eq!(status(&say(client, text.as_bytes()).await), code, "{way}");
    }
    world.closed(2).await;
    let seen = outside.seen.count();
    assert_eq!(seen, if code == 200 { 2 } else { 0 }, "{method}");
    world.gate.records.summary()[0].bytes_out
}

#[test]
fn a_method_is_counted_and_is_short() {
    local(async {
        let short = counted("GET", 200).await;
        let long = counted(&"M".repeat(32), 200).await;
        assert_eq!(long - short, 2 * 29);
        assert_eq!(counted(&"M".repeat(33), 400).await, 0);
        assert_eq!(counted(&"M".repeat(60_000), 400).await, 0);
    });
}

/// Answers once, and closes.
async fn once(mut stream: Box<dyn http::version::Duplex>, seen: Rc<server::Seen>) {
    let mut bytes = vec![];
    while !bytes.ends_with(b"\r\n\r\n") {
        if !matches!(stream.read_buf(&mut bytes).await, Ok(1..)) {
            return;
        }
    }
    seen.requests.borrow_mut().push(String::new());
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
    let _ = stream.write_all(answer).await;
    let _ = stream.shutdown().await;
}

#[test]
fn a_connection_that_is_made_anew_counts_as_another() {
    local(async {
        for way in ["transparent", "absolute"] {
            for limited in [true, false] {
                let outside = each(None, once).await;
                let port = outside.port;
                let mut setup = Setup::at(&[port]);
                setup.network.limits = Limits {
                    connections: Some(sourced(Count(1))),
                    rate: limited.then(|| sourced(Count(2))),
                    ..Limits::default()
                };
                let world = setup.start().await;
                let (mut client, target) = by(&world, way, port, "/").await;
                let get = format!("GET {target} HTTP/1.1\r\nHost: good.example:{port}\r\n\r\n");
                let begun = std::time::Instant::now();
                let mut answers = vec![];
                for _ in 0..6 {
                    client.write_all(get.as_bytes()).await.unwrap();
                    answers.push(status(&answer(&mut client).await));
                }
                let seconds = begun.elapsed().as_secs() + 1;
                let made = outside.seen.connections.get();
                let what = format!("{way} {limited}: {answers:?}");
                match limited {
                    true => {
                        assert!(made <= 2 * seconds, "{what} {made}");
                        assert!(
                            seconds > 1 || answers == [200, 200, 403, 403, 403, 403],
                            "{what}"
                        );
                    }
                    false => assert_eq!((answers, made), (vec![200; 6], 6), "{way}"),
                }
                drop(client);
                // Each has its beginning and its end on record.
                let count = |event: &str| {
                    let event = format!("\"event\":\"{event}\"");
                    world.log().matches(&event).count() as u64
                };
                world.closed(made).await;
                assert_eq!((count("open"), count("close")), (made, made), "{what}");
                assert_eq!(world.gate.records.summary()[0].allowed, made, "{what}");
                assert_eq!(world.said("network.limits.rate"), limited, "{what}");
            }
        }
    });
}
