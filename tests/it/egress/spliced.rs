//! The relay of bytes: nothing lost, ends and resets passed on, limits held.

use std::rc::Rc;
use std::time::{Duration, Instant};

use creel_egress::gate::{Direction, Gate};
use creel_egress::refusal::{Bound, Refusal};
use creel_egress::splice::{self, Half};
use creel_policy::net::{Limits, Protocol};
use creel_policy::{Bytes, Origin, Span};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, spawn_local};

use super::{admit, gate, local, network, pair, rules, sourced};

const PORT: u16 = 7;

/// A client and a server with a relay between.
struct Relayed {
    gate: Rc<Gate>,
    client: TcpStream,
    server: TcpStream,
    relay: JoinHandle<Result<(), Refusal>>,
}

impl Relayed {
    async fn new(limits: Limits) -> Relayed {
        let gate = gate(network(rules(PORT, Protocol::Tcp, &[]), limits));
        Relayed::of(gate).await
    }

    async fn of(gate: Rc<Gate>) -> Relayed {
        let (client, inside) = pair().await;
        let (outside, server) = pair().await;
        let pass = admit(&gate, PORT).await;
        let relay = spawn_local(async move {
            let (out, back) = (Half::new(Direction::Out), Half::new(Direction::In));
            splice::relay(&pass, inside, outside, out, back).await
        });
        Relayed {
            gate,
            client,
            server,
            relay,
        }
    }
}

/// Bytes that are nowhere the same for long.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes: Vec<u8> = (0..length.div_ceil(8)).flat_map(|_| next()).collect();
    bytes.truncate(length);
    bytes
}

#[test]
fn bytes_go_both_ways_and_so_does_each_end() {
    local(async {
        let mut relayed = Relayed::new(Limits::default()).await;
        relayed.client.write_all(b"ask").await.expect("a write");
        let mut read = [0; 3];
        relayed.server.read_exact(&mut read).await.expect("a read");
        assert_eq!(&read, b"ask");
        // The client is done; the server reads that, and still answers.
        relayed.client.shutdown().await.expect("a half-close");
        assert_eq!(relayed.server.read(&mut read).await.expect("the end"), 0);
        relayed.server.write_all(b"yes").await.expect("a write");
        relayed.client.read_exact(&mut read).await.expect("a read");
        assert_eq!(&read, b"yes");
        assert!(!relayed.relay.is_finished());
        drop(relayed.server);
        assert_eq!(relayed.client.read(&mut read).await.expect("the end"), 0);
        assert_eq!(relayed.relay.await.expect("no panic"), Ok(()));
        let sum = &relayed.gate.records.summary()[0];
        assert_eq!((sum.bytes_out, sum.bytes_in), (3, 3));
    });
}

/// Both ways at once, in pieces that cross from copies to pipes and back, with readers that stop.
#[test]
fn nothing_is_lost_or_out_of_order() {
    async fn write(mut stream: tokio::net::tcp::OwnedWriteHalf, bytes: Vec<u8>) {
        let sizes = [1, 5, 4095, 16_384, 16_385, 70_000, 900_000, 3];
        let mut rest = &bytes[..];
        for size in sizes.iter().cycle() {
            let (part, later) = rest.split_at(rest.len().min(*size));
            stream.write_all(part).await.expect("a write");
            if *size < 4096 {
                tokio::time::sleep(Duration::from_micros(300)).await;
            }
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        stream.shutdown().await.expect("the end");
    }
    async fn read(mut stream: tokio::net::tcp::OwnedReadHalf, pause: Duration) -> Vec<u8> {
        let mut bytes = vec![];
        let mut buffer = vec![0; 300_000];
        loop {
            match stream.read(&mut buffer).await.expect("a read") {
                0 => return bytes,
                n => bytes.extend_from_slice(&buffer[..n]),
            }
            tokio::time::sleep(pause).await;
        }
    }
    local(async {
        let relayed = Relayed::new(Limits::default()).await;
        let (up, down) = (noise(20_000_003), noise(15_000_001));
        let (client_read, client_write) = relayed.client.into_split();
        let (server_read, server_write) = relayed.server.into_split();
        spawn_local(write(client_write, up.clone()));
        spawn_local(write(server_write, down.clone()));
        let slow = Duration::from_millis(2);
        let (got_up, got_down) =
            tokio::join!(read(server_read, slow), read(client_read, Duration::ZERO));
        assert!(got_up == up, "{} of {}", got_up.len(), up.len());
        assert!(got_down == down, "{} of {}", got_down.len(), down.len());
        assert_eq!(relayed.relay.await.expect("no panic"), Ok(()));
        let sum = &relayed.gate.records.summary()[0];
        assert_eq!((sum.bytes_out, sum.bytes_in), (20_000_003, 15_000_001));
    });
}

/// A reader that reads nothing stops its writer, and the relay holds no more than its pipe.
#[test]
fn a_reader_that_stops_stops_its_writer() {
    local(async {
        let mut relayed = Relayed::new(Limits::default()).await;
        let bytes = noise(1 << 20);
        let mut taken = 0;
        let full = async {
            loop {
                taken += relayed.client.write(&bytes).await.expect("a write");
            }
        };
        let stopped = tokio::time::timeout(Duration::from_secs(2), full).await;
        assert!(stopped.is_err());
        // Four buffers of sockets, which grow to some megabytes each, and the pipe.
        assert!(taken < 32 << 20, "{taken}");
        let mut read = 0;
        let mut buffer = vec![0; 1 << 20];
        while read < taken {
            read += relayed.server.read(&mut buffer).await.expect("a read");
        }
        assert_eq!(read, taken);
    });
}

#[test]
fn a_reset_is_passed_on_as_one() {
    local(async {
        for server in [false, true] {
            let relayed = Relayed::new(Limits::default()).await;
            let (gone, mut left) = match server {
                true => (relayed.server, relayed.client),
                false => (relayed.client, relayed.server),
            };
            gone.set_zero_linger().expect("linger");
            drop(gone);
            let error = left.read(&mut [0; 1]).await.expect_err("a reset");
            assert_eq!(error.raw_os_error(), Some(104), "ECONNRESET");
            assert_eq!(relayed.relay.await.expect("no panic"), Ok(()));
        }
    });
}

#[test]
fn silence_in_both_directions_ends_it() {
    local(async {
        let limits = Limits {
            idle: Some(sourced(Span(400))),
            ..Limits::default()
        };
        let mut relayed = Relayed::new(limits).await;
        // One direction alone keeps it.
        for _ in 0..8 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            relayed.server.write_all(b".").await.expect("a write");
        }
        assert!(!relayed.relay.is_finished());
        let since = Instant::now();
        let mut dots = [0; 8];
        relayed.client.read_exact(&mut dots).await.expect("a read");
        let error = relayed.client.read(&mut dots).await.expect_err("a reset");
        assert_eq!(error.raw_os_error(), Some(104), "ECONNRESET");
        let took = since.elapsed();
        assert!(
            took > Duration::from_millis(250) && took < Duration::from_secs(5),
            "{took:?}"
        );
        let ended = relayed.relay.await.expect("no panic");
        assert!(
            matches!(ended, Err(Refusal::Idle { text, .. }) if text.contains("network.limits.idle"))
        );
    });
}

#[test]
fn bytes_beyond_a_limit_do_not_leave() {
    local(async {
        let most = 100_000;
        for (direction, bound) in [
            (Direction::Out, Bound::BytesOut),
            (Direction::In, Bound::BytesIn),
        ] {
            let mut limits = Limits::default();
            let limit = Some(sourced(Bytes(most)));
            match direction {
                Direction::Out => limits.bytes_out = limit,
                Direction::In => limits.bytes_in = limit,
            }
            let relayed = Relayed::new(limits).await;
            let (mut writer, mut reader) = match direction {
                Direction::Out => (relayed.client, relayed.server),
                Direction::In => (relayed.server, relayed.client),
            };
            let bytes = noise(most as usize);
            writer.write_all(&bytes).await.expect("a write");
            let mut read = vec![0; most as usize];
            reader
                .read_exact(&mut read)
                .await
                .expect("what the limit has");
            assert!(read == bytes);
            writer.write_all(b"!").await.expect("a write");
            let error = reader.read(&mut read).await.expect_err("a reset");
            assert_eq!(error.raw_os_error(), Some(104), "ECONNRESET");
            let ended = relayed.relay.await.expect("no panic");
            let rule = Some(Origin::creel());
            assert_eq!(ended, Err(Refusal::Limit { bound, rule }));
        }
    });
}

/// Four connections share it, and each direction has its own.
#[test]
fn the_bandwidth_is_that_of_all_connections() {
    local(async {
        let limits = Limits {
            bandwidth: Some(sourced(Bytes(2_000_000))),
            ..Limits::default()
        };
        let gate = gate(network(rules(PORT, Protocol::Tcp, &[]), limits));
        let since = Instant::now();
        let mut tasks = vec![];
        for _ in 0..4 {
            let relayed = Relayed::of(Rc::clone(&gate)).await;
            for (mut from, mut to) in
                [relayed.client.into_split(), relayed.server.into_split()].map(|(r, w)| (w, r))
            {
                tasks.push(spawn_local(async move {
                    from.write_all(&noise(500_000)).await.expect("a write");
                    drop(from);
                    tokio::io::copy(&mut to, &mut tokio::io::sink())
                        .await
                        .expect("reads")
                }));
            }
        }
        for task in tasks {
            assert_eq!(task.await.expect("no panic"), 500_000);
        }
        // Two million bytes each way, one second's worth, less what was saved up at the start.
        let took = since.elapsed();
        assert!(
            took > Duration::from_millis(850) && took < Duration::from_secs(5),
            "{took:?}"
        );
    });
}
