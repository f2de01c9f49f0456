//! A network outside the jail, made of two namespaces and a veth pair. The test, its jails and a resolver are
//! in one namespace. All other addresses are local to the other one, where servers speak HTTP, TLS and
//! protocols of single tests. Nothing depends on the host's network.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};

use super::wait;
use creel_sys::udp;
use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_bind, mount_change, unmount};
use sha2::{Digest, Sha256};

/// The address of the names.
pub const PUBLIC: Ipv4Addr = Ipv4Addr::new(93, 184, 216, 34);

/// The traffic that the servers saw.
#[derive(Debug, Default)]
pub struct Seen {
    /// Names of the queries to the resolver.
    pub questions: Vec<String>,
    /// Destination addresses of the connections.
    pub connections: Vec<SocketAddr>,
    /// Heads of the HTTP requests.
    pub requests: Vec<String>,
}

/// The outside network, which lives as long as this process.
#[derive(Clone)]
pub struct Outside {
    pub seen: Arc<Mutex<Seen>>,
    names: Arc<Mutex<BTreeMap<String, Vec<IpAddr>>>>,
    aliases: Arc<Mutex<BTreeMap<String, String>>>,
    /// The certificate authority that signs the TLS server's certificates, PEM.
    pub authority: Arc<PathBuf>,
    /// The server's certificate and key, PEM, also for servers that are other programs.
    pub certificate: Arc<PathBuf>,
    pub key: Arc<PathBuf>,
    /// Sends jobs to a thread in the other namespace.
    far: Sender<Job>,
    /// The other network namespace.
    network: Arc<OwnedFd>,
}

type Job = Box<dyn FnOnce() + Send>;

thread_local! {
    /// Whether this thread has called [trust](Outside::trust) before.
    static TRUSTS: Cell<bool> = const { Cell::new(false) };
}

/// A server process in the other namespace. It ends with the test.
pub struct Peer(Child);

impl Peer {
    pub fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // SIGINT shuts PostgreSQL down and ends Python and Node.js.
        // SAFETY: two integers; the child is not reaped yet.
        unsafe { libc::kill(self.0.id() as i32, libc::SIGINT) };
        let _ = self.0.wait();
    }
}

impl Outside {
    /// Moves this thread, and all that it starts, into the network. The `names` resolve to [`PUBLIC`].
    pub fn enter(names: &[&str], directory: &Path) -> Outside {
        creel_sys::net::new_namespace().expect("a network namespace needs root");
        creel_sys::net::loopback_up().expect("loopback");
        let (far, network) = cable();
        let table = names
            .iter()
            .map(|name| ((*name).to_owned(), vec![PUBLIC.into()]));
        let file = |name| Arc::new(directory.join(name));
        let outside = Outside {
            seen: Arc::default(),
            names: Arc::new(Mutex::new(table.collect())),
            aliases: Arc::default(),
            authority: file("outside-ca.pem"),
            certificate: file("outside-certificate.pem"),
            key: file("outside-key.pem"),
            far,
            network: Arc::new(network),
        };
        outside.resolver();
        outside.serve(80, answer_requests);
        outside.tls(names);
        outside
    }

    /// Adds the test's authority to the host's trusted ones for all that this thread starts from now on, by a
    /// bind mount in the thread's own mount namespace.
    pub fn trust(&self) {
        let bundle = Path::new(creel_sys::host::CERTIFICATES[0]);
        // SAFETY: unshare(2) concerns this thread alone.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNS) }, 0);
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change("/", private).expect("private mounts");
        if TRUSTS.replace(true) {
            unmount(bundle, UnmountFlags::DETACH).expect("the mount of the last time");
        }
        let host = std::fs::read(bundle).expect("certificates: install ca-certificates");
        let own = std::fs::read(&*self.authority).expect("the authority");
        let both = self.authority.with_file_name("outside-bundle.pem");
        std::fs::write(&both, [host, own].concat()).expect("write");
        mount_bind(&both, bundle).expect("a bind mount");
    }

    /// Runs `act` in the other namespace and returns its result.
    pub fn beyond<T: Send + 'static>(&self, act: impl FnOnce() -> T + Send + 'static) -> T {
        let (give, take) = channel();
        let job = Box::new(move || drop(give.send(act())));
        self.far.send(job).expect("the other end");
        take.recv().expect("no panic there")
    }

    /// Starts a server in the other namespace, and waits until it listens.
    pub fn start(&self, command: &mut Command, port: u16) -> Peer {
        // SAFETY: prctl is async-signal-safe.
        unsafe {
            command.pre_exec(|| {
                match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGINT as libc::c_ulong) {
                    0 => Ok(()),
                    _ => Err(io::Error::last_os_error()),
                }
            });
        }
        let null = (Stdio::null(), Stdio::null());
        // setns(2) before the spawn: the child may no longer be root when it could call it.
        let here = std::fs::File::open("/proc/thread-self/ns/net").expect("a namespace");
        creel_sys::net::enter(&self.network).expect("the other end");
        let spawned = command.stdin(null.0).stdout(null.1).spawn();
        creel_sys::net::enter(&here.into()).expect("this end");
        let peer = Peer(spawned.expect("a server"));
        wait::until(&format!("{command:?} listens at {port}"), || {
            self.beyond(move || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok())
        });
        peer
    }

    /// Sets the addresses of a name.
    pub fn lead(&self, name: &str, to: &[IpAddr]) {
        self.names
            .lock()
            .expect("a lock")
            .insert(name.to_owned(), to.to_vec());
    }

    /// Makes the name an alias of another.
    pub fn alias(&self, name: &str, other: &str) {
        let mut aliases = self.aliases.lock().expect("a lock");
        aliases.insert(name.to_owned(), other.to_owned());
    }

    pub fn questions(&self) -> Vec<String> {
        self.seen.lock().expect("a lock").questions.clone()
    }

    pub fn connections(&self) -> Vec<SocketAddr> {
        self.seen.lock().expect("a lock").connections.clone()
    }

    pub fn requests(&self) -> Vec<String> {
        self.seen.lock().expect("a lock").requests.clone()
    }

    /// The number of packets so far in this thread's namespace, on loopback and on the veth pair.
    pub fn packets(&self) -> u64 {
        // proc_pid_net(5): the network namespace of this thread.
        let text = std::fs::read_to_string("/proc/thread-self/net/dev").expect("the devices");
        let devices = text.lines().filter_map(|line| line.split_once(':'));
        let count = |numbers: &str, at| -> u64 {
            let number = numbers.split_whitespace().nth(at).expect("packets");
            number.parse().expect("a number")
        };
        devices
            .map(|(_, numbers)| count(numbers, 1) + count(numbers, 9))
            .sum()
    }

    fn resolver(&self) {
        let socket = UdpSocket::bind("127.0.0.53:53").expect("port 53");
        let outside = self.clone();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok((length, from)) = socket.recv_from(&mut bytes) {
                let Ok(question) = Message::from_vec(&bytes[..length]) else {
                    continue;
                };
                if let Ok(answer) = outside.resolve(&question).to_vec() {
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
    }

    fn resolve(&self, question: &Message) -> Message {
        let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
        answer.metadata.message_type = MessageType::Response;
        answer.metadata.recursion_available = true;
        for query in &question.queries {
            answer.add_query(query.clone());
            let name = query.name().to_ascii();
            let mut name = name.trim_end_matches('.').to_owned();
            let mut owner = query.name().clone();
            self.seen
                .lock()
                .expect("a lock")
                .questions
                .push(name.clone());
            if let Some(other) = self.aliases.lock().expect("a lock").get(&name) {
                let target = Name::from_ascii(format!("{other}.")).expect("a name");
                let data = RData::CNAME(CNAME(target.clone()));
                answer.add_answer(Record::from_rdata(owner, 5, data));
                (owner, name) = (target, other.clone());
            }
            match self.names.lock().expect("a lock").get(&name) {
                None => answer.metadata.response_code = ResponseCode::NXDomain,
                Some(addresses) => {
                    for address in addresses {
                        let data = match (address, query.query_type()) {
                            (IpAddr::V4(v4), RecordType::A) => RData::A(A(*v4)),
                            (IpAddr::V6(v6), RecordType::AAAA) => RData::AAAA(AAAA(*v6)),
                            _ => continue,
                        };
                        answer.add_answer(Record::from_rdata(owner.clone(), 5, data));
                    }
                }
            }
        }
        answer
    }

    /// Starts a server on every address of both namespaces, with a thread for each connection.
    pub fn serve(&self, port: u16, speak: fn(Box<dyn Stream>, &Mutex<Seen>) -> io::Result<()>) {
        for listener in self.listen(port) {
            let seen = Arc::clone(&self.seen);
            std::thread::spawn(move || {
                for client in listener.incoming().flatten() {
                    let seen = Arc::clone(&seen);
                    note(&client, &seen);
                    std::thread::spawn(move || speak(Box::new(client), &seen));
                }
            });
        }
    }

    /// Listeners in both namespaces.
    fn listen(&self, port: u16) -> [TcpListener; 2] {
        let any = (Ipv4Addr::UNSPECIFIED, port);
        let far = self.beyond(move || TcpListener::bind(any));
        [TcpListener::bind(any), far].map(|listener| listener.expect("a port"))
    }

    /// Starts a UDP echo server on a port of the other namespace.
    pub fn echo(&self, port: u16) {
        let any = (Ipv4Addr::UNSPECIFIED, port);
        let socket = self.beyond(move || UdpSocket::bind(any)).expect("a port");
        udp::tell_destination(socket.as_fd()).expect("IP_PKTINFO");
        std::thread::spawn(move || {
            let mut bytes = [0; 2048];
            // peek waits for a datagram and leaves it in the socket for `receive`.
            while socket.peek_from(&mut bytes).is_ok() {
                if let Ok(came) = udp::receive(socket.as_fd(), &mut bytes) {
                    let _ = udp::send(socket.as_fd(), &bytes[..came.bytes], came.from, came.to);
                }
            }
        });
    }

    fn tls(&self, names: &[&str]) {
        let mut params = rcgen::CertificateParams::new(vec![]).expect("parameters");
        // If both certificates had one name, the server's would look self-signed.
        let common = rcgen::DnType::CommonName;
        params
            .distinguished_name
            .push(common.clone(), "the test's authority");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        std::fs::write(&*self.authority, certificate.pem()).expect("write");
        let issuer = rcgen::Issuer::new(params, key);
        let key = rcgen::KeyPair::generate().expect("a key");
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut leaf = rcgen::CertificateParams::new(names).expect("parameters");
        leaf.distinguished_name.push(common, "the test's server");
        let leaf = leaf.signed_by(&key, &issuer).expect("a certificate");
        std::fs::write(&*self.certificate, leaf.pem()).expect("write");
        std::fs::write(&*self.key, key.serialize_pem()).expect("write");
        let der = rustls_pki_types::PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], der)
            .expect("a configuration");
        let config = Arc::new(config);
        for listener in self.listen(443) {
            let (config, seen) = (Arc::clone(&config), Arc::clone(&self.seen));
            std::thread::spawn(move || {
                for client in listener.incoming().flatten() {
                    let (config, seen) = (Arc::clone(&config), Arc::clone(&seen));
                    note(&client, &seen);
                    std::thread::spawn(move || {
                        let session =
                            rustls::ServerConnection::new(config).map_err(io::Error::other)?;
                        let stream = rustls::StreamOwned::new(session, client);
                        answer_requests(Box::new(stream), &seen)
                    });
                }
            });
        }
    }
}

/// Connects this network namespace to a new one by veth(4). The devices send no packets by themselves: both
/// have the same hardware address, with ARP off. Returns the sender of jobs to a thread in the new namespace,
/// which runs until all senders are dropped, and the namespace.
fn cable() -> (Sender<Job>, OwnedFd) {
    let (far, jobs) = channel::<Job>();
    let (give, take) = channel();
    std::thread::spawn(move || {
        creel_sys::net::new_namespace().expect("a network namespace needs root");
        creel_sys::net::loopback_up().expect("loopback");
        creel_sys::net::route_everything_here(creel_plan::egress::OWN).expect("routes");
        let network = std::fs::File::open("/proc/thread-self/ns/net").expect("a namespace");
        // SAFETY: no pointers, and it cannot fail.
        let thread = unsafe { libc::gettid() };
        give.send((network, thread)).expect("the test's thread");
        for job in jobs {
            job();
        }
    });
    let (network, thread) = take.recv().expect("the other end");
    let hardware = "02:00:00:00:00:01";
    ip(&format!(
        "link add cable address {hardware} type veth peer name cable address {hardware} netns {thread}"
    ));
    for words in [
        "link set cable arp off addrgenmode none up",
        "addr add 203.0.113.1/32 dev cable",
        "route add default dev cable",
    ] {
        ip(words);
    }
    let (ready, wait) = channel();
    let plug = move || {
        ip("link set cable arp off addrgenmode none up");
        // This route must take precedence over the one that makes all addresses local.
        ip("route add 203.0.113.1/32 dev cable table local");
        let _ = ready.send(());
    };
    far.send(Box::new(plug)).expect("the other end");
    wait.recv().expect("the cable");
    (far, network.into())
}

/// Runs ip(8) in this thread's network namespace; panics if it fails.
pub fn ip(words: &str) {
    let status = Command::new("ip").args(words.split(' ')).status();
    assert!(status.expect("ip(8) is there").success(), "{words}");
}

pub trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

fn note(client: &TcpStream, seen: &Mutex<Seen>) {
    if let Ok(address) = client.local_addr() {
        seen.lock().expect("a lock").connections.push(address);
    }
}

/// Answers HTTP/1.1 requests one after another: `/big/N` with N bytes, `/sum` with the SHA-256 of the body,
/// `/to/SCHEME/HOST` with a redirect there, any other path with the request's own head.
pub fn answer_requests(mut client: Box<dyn Stream>, seen: &Mutex<Seen>) -> io::Result<()> {
    let mut early = vec![];
    loop {
        let Some(end) = read_head(&mut client, &mut early)? else {
            return Ok(());
        };
        let rest = early.split_off(end);
        let head = String::from_utf8_lossy(&early).into_owned();
        early = rest;
        seen.lock().expect("a lock").requests.push(head.clone());
        let path = head.split(' ').nth(1).unwrap_or("/").to_owned();
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let own = name.eq_ignore_ascii_case("content-length");
            own.then(|| value.trim().parse::<usize>().ok()).flatten()
        });
        if head.to_ascii_lowercase().contains("expect: 100-continue") {
            client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let mut sum = Sha256::new();
        let mut left = length.unwrap_or(0);
        let taken = left.min(early.len());
        sum.update(&early[..taken]);
        early.drain(..taken);
        left -= taken;
        let mut bytes = vec![0; 64 << 10];
        while left > 0 {
            let most = left.min(bytes.len());
            let count = client.read(&mut bytes[..most])?;
            if count == 0 {
                return Ok(());
            }
            sum.update(&bytes[..count]);
            left -= count;
        }
        if let Some(count) = path
            .strip_prefix("/big/")
            .and_then(|n| n.parse::<usize>().ok())
        {
            write!(client, "HTTP/1.1 200 OK\r\ncontent-length: {count}\r\n\r\n")?;
            let block = vec![b'x'; 64 << 10];
            let mut left = count;
            while left > 0 {
                let most = left.min(block.len());
                client.write_all(&block[..most])?;
                left -= most;
            }
            client.flush()?;
            continue;
        }
        if let Some((scheme, host)) = path.strip_prefix("/to/").and_then(|to| to.split_once('/')) {
            write!(
                client,
                "HTTP/1.1 302 Found\r\nlocation: {scheme}://{host}/\r\ncontent-length: 0\r\n\r\n"
            )?;
            client.flush()?;
            continue;
        }
        let body = match path.as_str() {
            "/sum" => sum
                .finalize()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
            _ => head,
        };
        write!(
            client,
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )?;
        client.flush()?;
    }
}

/// Reads until `early` begins with a whole head; returns its length, or `None` at the end of the stream.
fn read_head(client: &mut impl Read, early: &mut Vec<u8>) -> io::Result<Option<usize>> {
    loop {
        if let Some(at) = early.windows(4).position(|w| w == b"\r\n\r\n") {
            return Ok(Some(at + 4));
        }
        let mut bytes = [0; 4096];
        match client.read(&mut bytes)? {
            0 => return Ok(None),
            count => early.extend_from_slice(&bytes[..count]),
        }
    }
}
