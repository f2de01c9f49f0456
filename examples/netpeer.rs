//! Peers for measuring the relay, and the measure itself: a connection through it against one without.
//!
//!     netpeer serve ADDRESS                  serves; the first byte of a connection says what:
//!                                            `s` sinks, `d` sends (8 bytes follow: how many), `e` echoes
//!     netpeer down|up ADDRESS STREAMS BYTES  carries so many in all and says how many bytes a second
//!     netpeer echo ADDRESS ROUNDS            says the median and the 99th percentile of a round, in ns
//!     netpeer connect ADDRESS ROUNDS         the same of connecting, saying a byte and hearing it
//!     netpeer relay ROUNDS                   all of these, direct and through a relay of this process's
//!
//! Threads that block, as simple programs do.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Instant;

const CHUNK: usize = 128 << 10;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let words: Vec<&str> = arguments.iter().skip(1).map(String::as_str).collect();
    match words.as_slice() {
        ["serve", address] => serve(TcpListener::bind(address).expect("an address to listen on")),
        [way @ ("down" | "up"), address, streams, bytes] => {
            let rate = throughput(at(address), way, number(streams), number(bytes) as u64);
            println!("{rate:.0}");
        }
        [what @ ("echo" | "connect"), address, rounds] => {
            let mut took = match *what {
                "echo" => echo(at(address), number(rounds)),
                _ => connect(at(address), number(rounds)),
            };
            took.sort_unstable();
            println!("{} {}", took[took.len() / 2], took[took.len() * 99 / 100]);
        }
        ["relay", rounds] => relay::measure(number(rounds)),
        _ => {
            eprintln!("netpeer serve|down|up|echo|connect|relay ...");
            std::process::exit(2);
        }
    }
}

fn at(address: &str) -> SocketAddr {
    address.parse().expect("IP:PORT")
}

fn number(word: &str) -> usize {
    word.parse().expect("a number")
}

fn serve(listener: TcpListener) {
    for client in listener.incoming().flatten() {
        thread::spawn(move || one(client));
    }
}

fn one(mut client: TcpStream) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    let mut what = [0];
    client.read_exact(&mut what)?;
    let mut buffer = vec![0; CHUNK];
    match what[0] {
        b's' => {
            while client.read(&mut buffer)? > 0 {}
            // The sender waits for this: everything arrived.
            client.write_all(b".")
        }
        b'd' => {
            let mut bytes = [0; 8];
            client.read_exact(&mut bytes)?;
            let mut left = u64::from_le_bytes(bytes);
            while left > 0 {
                let part = left.min(CHUNK as u64) as usize;
                client.write_all(&buffer[..part])?;
                left -= part as u64;
            }
            Ok(())
        }
        _ => loop {
            match client.read(&mut buffer)? {
                0 => return Ok(()),
                length => client.write_all(&buffer[..length])?,
            }
        },
    }
}

/// Bytes a second of all streams together.
fn throughput(server: SocketAddr, way: &str, streams: usize, bytes: u64) -> f64 {
    let each = bytes / streams as u64;
    let since = Instant::now();
    let down = way == "down";
    let carry = move || -> std::io::Result<()> {
        let mut stream = TcpStream::connect(server)?;
        let mut buffer = vec![0; CHUNK];
        let mut left = each;
        if down {
            stream.write_all(b"d")?;
            stream.write_all(&each.to_le_bytes())?;
            while left > 0 {
                match stream.read(&mut buffer)? {
                    0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                    length => left -= length as u64,
                }
            }
            return Ok(());
        }
        stream.write_all(b"s")?;
        while left > 0 {
            let part = left.min(CHUNK as u64) as usize;
            stream.write_all(&buffer[..part])?;
            left -= part as u64;
        }
        stream.shutdown(std::net::Shutdown::Write)?;
        stream.read_exact(&mut buffer[..1])
    };
    let threads: Vec<_> = (0..streams).map(|_| thread::spawn(carry)).collect();
    for thread in threads {
        thread.join().expect("no panic").expect("a stream");
    }
    (each * streams as u64) as f64 / since.elapsed().as_secs_f64()
}

/// Nanoseconds of each round on one open connection.
fn echo(server: SocketAddr, rounds: usize) -> Vec<u128> {
    let mut stream = TcpStream::connect(server).expect("a connection");
    stream.set_nodelay(true).expect("nodelay");
    stream.write_all(b"e").expect("a write");
    let mut message = [7; 200];
    let mut round = || {
        let since = Instant::now();
        stream.write_all(&message).expect("a write");
        stream.read_exact(&mut message).expect("a read");
        since.elapsed().as_nanos()
    };
    (0..rounds).map(|_| round()).collect()
}

/// Nanoseconds from connecting until the first byte is back.
fn connect(server: SocketAddr, rounds: usize) -> Vec<u128> {
    let round = || {
        let since = Instant::now();
        let mut stream = TcpStream::connect(server).expect("a connection");
        // Nothing that could still become a request: a relay would wait for the rest of it.
        stream.write_all(b"e\x07").expect("a write");
        stream.read_exact(&mut [0]).expect("a read");
        since.elapsed().as_nanos()
    };
    (0..rounds).map(|_| round()).collect()
}

/// A relay in this process, of one thread as creel's is, without a jail around it.
mod relay {
    use std::cell::RefCell;
    use std::collections::BTreeSet;
    use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
    use std::rc::Rc;
    use std::thread;

    use creel_egress::gate::{Gate, Meter};
    use creel_egress::names::Names;
    use creel_egress::record::Records;
    use creel_egress::resolve::Resolver;
    use creel_egress::{Way, tunnel};
    use creel_policy::Origin;
    use creel_policy::net::{Host, List, Mode, Network, OnMiss, Protocol, Range, Rule, Tls, To};

    use super::{connect, echo, serve, throughput};

    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind((LOOPBACK, 0)).expect("a listener");
        let address = listener.local_addr().expect("its address");
        (listener, address)
    }

    /// Prints a line for each measure: direct, relayed, and how they compare. `rounds` times in turn,
    /// of which the best counts: what else the machine does only ever slows one.
    pub fn measure(rounds: usize) {
        let (server, direct) = listener();
        let (relay, relayed) = listener();
        thread::spawn(move || serve(server));
        // A name of its own, for who profiles it.
        let relay_thread = thread::Builder::new().name("relay".into());
        relay_thread
            .spawn(move || run(relay, direct.port()))
            .expect("a thread");
        for (what, streams, bytes) in [
            ("down", 1, 2u64 << 30),
            ("up", 1, 2 << 30),
            ("down", 8, 4 << 30),
            ("up", 8, 4 << 30),
        ] {
            let mut best = [0f64; 2];
            for _ in 0..rounds {
                for (best, address) in best.iter_mut().zip([direct, relayed]) {
                    *best = best.max(throughput(address, what, streams, bytes));
                }
            }
            let [direct, relayed] = best.map(|rate| rate / 1e9);
            let ratio = relayed / direct;
            println!("{what} {streams}: {direct:.2} GB/s, relayed {relayed:.2} GB/s, {ratio:.2}");
        }
        type Measure = fn(SocketAddr, usize) -> Vec<u128>;
        for (what, measure, count) in [
            ("round trip", echo as Measure, 20_000),
            ("new connection", connect, 2_000),
        ] {
            let mut best = [u128::MAX; 2];
            for _ in 0..rounds {
                for (best, address) in best.iter_mut().zip([direct, relayed]) {
                    let mut took = measure(address, count);
                    took.sort_unstable();
                    *best = (*best).min(took[took.len() / 2]);
                }
            }
            let [direct, relayed] = best.map(|nanos| nanos as f64 / 1e3);
            let added = relayed - direct;
            println!("{what}: {direct:.1} us, relayed {relayed:.1} us, {added:.1} us added");
        }
    }

    fn run(listener: TcpListener, port: u16) {
        let rule = Rule {
            to: To::Range(Range {
                address: LOOPBACK,
                bits: 32,
            }),
            ports: BTreeSet::from([port]),
            protocol: Protocol::Tcp,
            tls: Tls::Forward,
            http: None,
            origin: Origin::creel(),
        };
        let list = List {
            on_miss: OnMiss::Deny,
            rules: BTreeSet::from([rule]),
        };
        let gate = Rc::new(Gate {
            policy: Network {
                mode: Mode::Allowlist,
                lists: BTreeSet::from([list]),
                ..Network::default()
            }
            .into(),
            open: Default::default(),
            names: RefCell::new(Names::default()),
            resolver: Resolver::with(vec![]),
            records: Records::default(),
            authority: None,
            asker: None,
            meter: Meter::default(),
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let accept = async {
            listener.set_nonblocking(true).expect("a listener");
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            loop {
                let (client, _) = listener.accept().await.expect("a connection");
                let gate = Rc::clone(&gate);
                tokio::task::spawn_local(async move {
                    let host = Host::Address(LOOPBACK);
                    let pass = gate.admit(Way::Transparent, host, port).await;
                    tunnel::carry(pass.expect("it is granted"), client, vec![]).await;
                });
            }
        };
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, accept)
    }
}
