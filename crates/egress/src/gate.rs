//! The gate that every connection passes: decision, question, limits, record, and the dial.
//!
//! A [`Pass`] is an admitted connection. Dropping it ends its count and its record, whatever the reason.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use super::Way;
use super::admission::Admission;
use super::authority::Authority;
use super::names::Names;
use super::open::{Grip, Open};
use super::protocol::Consent;
use super::rate_limit::{RateLimit, Reservations};
use super::record::{Entry, Event, Records};
use super::refusal::{Bound, Failure, Refusal};
use super::resolve::Resolver;
use super::udp_queue::Budget;
use super::windows::{self, Window, Windows};
use super::{dial, record};
use creel_policy::net::decide::{Spoken, Transport};
use creel_policy::net::{Answer, Host, Tls, Why};
use creel_policy::{Network, Sourced};
use creel_sys::local;

/// Idle time limit of a connection, if the policy sets none.
const IDLE: Duration = Duration::from_secs(600);
/// Maximum open connections, if the policy sets none: what the relay's descriptors allow.
const CONNECTIONS: u64 = 4096;

/// State that all connections share.
pub struct Gate {
    /// The rules and limits of all layers together.
    pub policy: Rules,
    /// Names and their synthetic addresses.
    pub names: RefCell<Names>,
    /// Resolves names outside the jail.
    pub resolver: Resolver,
    /// The log and the summary.
    pub records: Records,
    /// For TLS termination; `None` if no rule asks for it.
    pub authority: Option<Authority>,
    /// Asks a person in mode `ask`; `None` denies instead.
    pub asker: Option<Box<dyn Asker>>,
    /// The use of the limits so far.
    pub meter: Meter,
    /// The admitted connections.
    pub open: Open,
}

/// The rules in force. A change replaces them as a whole.
#[derive(Debug)]
pub struct Rules(RefCell<Rc<Network>>);

impl From<Network> for Rules {
    fn from(network: Network) -> Rules {
        Rules(RefCell::new(Rc::new(network)))
    }
}

impl Rules {
    /// The rules as they are now.
    pub fn now(&self) -> Rc<Network> {
        Rc::clone(&self.0.borrow())
    }
}

/// Asks about destinations that a list does not have.
pub trait Asker {
    /// Resolves to the answer of a person.
    fn ask(&self, host: &Host, port: u16) -> std::pin::Pin<Box<dyn Future<Output = Consent>>>;
}

/// The use of the limits.
#[derive(Debug, Default)]
pub struct Meter {
    connections: Cell<u64>,
    bytes_in: Cell<u64>,
    bytes_out: Cell<u64>,
    reserved_in: Reservations,
    reserved_out: Reservations,
    /// Slots and memory of clients that are not admitted yet.
    pub admission: Rc<Admission>,
    /// Memory of queued datagrams.
    pub datagrams: Rc<Budget>,
    windows: Windows,
    /// Start of the current second, and the connections in it.
    second: Cell<Option<(Instant, u64)>>,
}

/// The direction of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the network to the jail.
    In,
    /// From the jail to the network.
    Out,
}

/// One admitted connection.
pub struct Pass {
    gate: Rc<Gate>,
    /// How the destination was requested.
    pub way: Way,
    /// The destination, canonical.
    pub host: Host,
    /// Its port.
    pub port: u16,
    entry: RefCell<Entry>,
    /// A connection for the next dial, if it was made in advance.
    dialled: RefCell<Option<TcpStream>>,
    window: RefCell<Option<Rc<Window>>>,
    dials: Cell<u64>,
    grip: Rc<Grip>,
}

impl Gate {
    /// Decides on a destination, and asks if the policy says so. A refusal is on record already.
    pub async fn admit(self: &Rc<Self>, way: Way, host: Host, port: u16) -> Result<Pass, Refusal> {
        let entry = Entry::new(way, &host, port);
        match self.decide(&host, port, way.transport()).await {
            Ok(rule) => self.open(way, (host, port), None, entry.allowed(rule)),
            Err(refusal) => {
                let _ = self.records.write(&entry.refused(&refusal), Event::Refused);
                Err(refusal)
            }
        }
    }

    /// Admits a client of a published port. All limits apply except the rate, which is for connections that
    /// the jail begins.
    pub fn welcome(
        self: &Rc<Self>,
        peer: IpAddr,
        port: u16,
        entrance: SocketAddr,
    ) -> Result<Pass, Refusal> {
        let (way, host) = (Way::Published, Host::from(peer));
        let entry = Entry::new(way, &host, port).allowed("--publish".into());
        match self.meter.has_room(&self.policy.now().limits) {
            Ok(()) => self.open(way, (host, port), Some(entrance), entry),
            Err(refusal) => {
                let _ = self.records.write(&entry.refused(&refusal), Event::Refused);
                Err(refusal)
            }
        }
    }

    fn open(
        self: &Rc<Self>,
        way: Way,
        (host, port): (Host, u16),
        entrance: Option<SocketAddr>,
        entry: Entry,
    ) -> Result<Pass, Refusal> {
        // Without a record the connection is not admitted.
        let written = self.records.write(&entry, Event::Open);
        written.map_err(|unrecorded| unrecorded.refusal())?;
        self.meter.connections.set(self.meter.connections.get() + 1);
        Ok(Pass {
            grip: self.open.add(way, host.clone(), port, entrance),
            gate: Rc::clone(self),
            way,
            host,
            port,
            entry: RefCell::new(entry),
            dialled: RefCell::default(),
            window: RefCell::default(),
            dials: Cell::new(0),
        })
    }

    /// Replaces the rules, and ends the connections that they no longer allow; [`Open::all_ended`] waits for
    /// these. One that a person has allowed stays, unless a rule denies it.
    pub fn change(&self, network: Network) {
        *self.policy.0.borrow_mut() = Rc::new(network);
        self.open.end(|grip| self.no_longer(grip));
    }

    fn no_longer(&self, grip: &Grip) -> Option<Refusal> {
        let policy = self.policy.now();
        let (host, port, transport) = (&grip.host, grip.port, grip.way.transport());
        if grip.way == Way::Published {
            return None;
        }
        if let Answer::Deny(why) = policy.judge(host, port, transport) {
            return Some(Refusal::Policy(why));
        }
        match (policy.bars(grip.address.get()?, port, transport)?, host) {
            (Why::Special(_), Host::Name(name)) if name.is_host() => None,
            (why, _) => Some(Refusal::Policy(why)),
        }
    }

    /// Maps a synthetic address to its name: a program may resolve a name itself and give the address to a
    /// proxy. Other hosts are returned unchanged.
    pub fn meant(&self, host: Host) -> Host {
        match &host {
            Host::Address(address) => match self.names.borrow().name(*address) {
                Some(name) => Host::Name(name.clone()),
                None => host,
            },
            Host::Name(_) => host,
        }
    }

    /// Records a refusal of something that may be no valid destination.
    pub fn refuse(&self, way: Way, said: &str, port: u16, refusal: &Refusal) {
        let entry = Entry::unknown(way, said, port).refused(refusal);
        let _ = self.records.write(&entry, Event::Refused);
    }

    async fn decide(
        &self,
        host: &Host,
        port: u16,
        transport: Transport,
    ) -> Result<String, Refusal> {
        let policy = self.policy.now();
        let rule = match policy.judge(host, port, transport) {
            Answer::Allow(rules) => record::rules(&rules),
            Answer::Deny(why) => return Err(Refusal::Policy(why)),
            Answer::Ask => {
                if let Host::Address(address) = host {
                    self.check_own(*address, port, transport)?;
                }
                let answer = match &self.asker {
                    Some(asker) => asker.ask(host, port).await,
                    None => Consent::Unanswered,
                };
                match answer {
                    // The rules may have changed while somebody was asked.
                    Consent::Allowed => match self.policy.now().judge(host, port, transport) {
                        Answer::Deny(why) => return Err(Refusal::Policy(why)),
                        Answer::Allow(_) | Answer::Ask => "asked".into(),
                    },
                    Consent::Denied => return Err(Refusal::AskedDenied),
                    Consent::Unanswered => return Err(Refusal::Unanswered),
                }
            }
        };
        self.meter.admit(&self.policy.now().limits)?;
        Ok(rule)
    }

    /// Refuses an address that this host has now, in any range: services on it are not on the network that
    /// the policy covers. A rule that names its range grants it.
    fn check_own(&self, address: IpAddr, port: u16, transport: Transport) -> Result<(), Refusal> {
        if self.policy.now().names_address(address, port, transport) {
            return Ok(());
        }
        match local::is_local(address) {
            Ok(false) => Ok(()),
            Ok(true) => Err(Refusal::Own(address)),
            Err(errno) => Err(Refusal::Dial {
                failure: Failure::OwnUnknown,
                text: format!("creel cannot check whether {address} is this host's own: {errno}"),
            }),
        }
    }

    /// The idle time limit of a connection.
    pub fn idle(&self) -> Duration {
        match &self.policy.now().limits.idle {
            Some(idle) => Duration::from_millis(idle.value.0),
            None => IDLE,
        }
    }

    /// The refusal of a connection that was idle for that long.
    pub fn idle_refusal(&self, text: &'static str) -> Refusal {
        let policy = self.policy.now();
        let idle = policy.limits.idle.as_ref();
        let rule = idle.map(|idle| idle.origin.clone());
        Refusal::Idle { text, rule }
    }
}

impl Meter {
    fn admit(&self, limits: &creel_policy::net::Limits) -> Result<(), Refusal> {
        self.has_room(limits)?;
        self.hurry(limits)
    }

    fn has_room(&self, limits: &creel_policy::net::Limits) -> Result<(), Refusal> {
        let most = limits
            .connections
            .as_ref()
            .map_or(CONNECTIONS, |c| c.value.0);
        match self.connections.get() >= most {
            true => Err(limit(Bound::Connections, limits.connections.as_ref())),
            false => Ok(()),
        }
    }

    /// Counts a new connection against the limit per second.
    fn hurry(&self, limits: &creel_policy::net::Limits) -> Result<(), Refusal> {
        if let Some(rate) = &limits.rate {
            let now = Instant::now();
            let (since, count) = match self.second.get() {
                Some((since, count)) if now - since < Duration::from_secs(1) => (since, count),
                _ => (now, 0),
            };
            if count >= rate.value.0 {
                return Err(limit(Bound::Rate, Some(rate)));
            }
            self.second.set(Some((since, count + 1)));
        }
        Ok(())
    }
}

/// A refusal by a limit; `None` for a limit of creel's own.
fn limit<T>(bound: Bound, set: Option<&Sourced<T>>) -> Refusal {
    let rule = set.map(|limit| limit.origin.clone());
    Refusal::Limit { bound, rule }
}

impl Pass {
    /// The gate that admitted the connection.
    pub fn gate(&self) -> &Rc<Gate> {
        &self.gate
    }

    /// The refusal of this connection if nothing moved for the idle time limit.
    pub fn idle_refusal(&self) -> Refusal {
        let text = "no bytes moved for the time of network.limits.idle";
        self.gate.idle_refusal(text)
    }

    /// Whether TLS to this destination is terminated or forwarded.
    pub fn tls(&self) -> Tls {
        self.gate.policy.now().tls_of(&self.host, self.port)
    }

    /// Judges the protocol of the connection, or a request by its method and path. A destination that was
    /// allowed by an answer may use any protocol.
    pub fn judge(&self, spoken: &Spoken<'_>) -> Result<(), Refusal> {
        let policy = self.gate.policy.now();
        match policy.judge_spoken(&self.host, self.port, spoken) {
            Ok(()) => Ok(()),
            Err(why) => Err(Refusal::Spoken(why)),
        }
    }

    /// By which a change of the rules ends this connection.
    pub fn grip(&self) -> &Rc<Grip> {
        &self.grip
    }

    /// Dials the destination, at an address that was checked.
    pub async fn dial(&self) -> Result<TcpStream, Refusal> {
        tokio::select! {
            biased;
            refusal = self.grip.ended() => Err(refusal),
            dialled = self.dial_now() => dialled,
        }
    }

    async fn dial_now(&self) -> Result<TcpStream, Refusal> {
        if let Some(stream) = self.dialled.take() {
            return Ok(stream);
        }
        if self.dials.replace(self.dials.get() + 1) > 0 {
            self.again()?;
        }
        let dialled = dial::dial(&self.addresses().await?).await;
        let (stream, address) = dialled.map_err(|error| Refusal::dial(&error))?;
        self.reached(address.ip());
        self.bound_outside(&stream);
        Ok(stream)
    }

    /// Bounds the kernel's buffers of the outside connection, until it carries much.
    pub fn bound_outside(&self, stream: &TcpStream) {
        let connections = self.gate.meter.connections.get();
        let window = self.gate.meter.windows.open(stream, connections);
        self.window.replace(window);
    }

    /// Bounds the kernel's buffers of the jail's side.
    pub fn bound_inside(&self, stream: &TcpStream) {
        windows::bound_inside(stream, self.gate.meter.connections.get());
    }

    /// Gives the jail's side of the connection the bound of the outside.
    pub fn join(&self, inside: &TcpStream) {
        if let Some(window) = &*self.window.borrow() {
            window.join(inside);
        }
    }

    /// Admits a new connection in place of the previous one, which is over. It counts against the rate, and
    /// has its own record.
    fn again(&self) -> Result<(), Refusal> {
        self.gate.meter.hurry(&self.gate.policy.now().limits)?;
        let mut entry = Entry::new(self.way, &self.host, self.port);
        entry.rule.clone_from(&self.entry.borrow().rule);
        let before = self.entry.replace(entry);
        let records = &self.gate.records;
        let _ = records.write(&before, Event::Close);
        let opened = records.write(&self.entry.borrow(), Event::Open);
        opened.map_err(|unrecorded| unrecorded.refusal())
    }

    /// The addresses that may be dialled. A name is resolved by its canonical form alone, and every answer
    /// is checked.
    pub async fn addresses(&self) -> Result<Vec<SocketAddr>, Refusal> {
        let transport = self.way.transport();
        Ok(match &self.host {
            Host::Address(address) => {
                self.gate.check_own(*address, self.port, transport)?;
                vec![SocketAddr::new(*address, self.port)]
            }
            Host::Name(name) if name.is_host() => {
                // Not resolved: it means the host's loopback, which only a rule for this name grants.
                let both: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
                let policy = self.gate.policy.now();
                let bars = |address| policy.bars(address, self.port, transport);
                let denied = |address: &IpAddr| match bars(*address) {
                    Some(Why::Special(_)) | None => None,
                    Some(why) => Some(Refusal::Policy(why)),
                };
                if let Some(refusal) = both.iter().find_map(denied) {
                    return Err(refusal);
                }
                both.map(|address| SocketAddr::new(address, self.port))
                    .to_vec()
            }
            Host::Name(name) => {
                let found = self.gate.resolver.resolve(name).await;
                let found = found.map_err(Refusal::Unresolved)?;
                let mut open = vec![];
                let mut closed = None;
                // An IPv4-mapped answer is checked and dialled as IPv4.
                for address in found.iter().map(IpAddr::to_canonical) {
                    match self.gate.policy.now().bars(address, self.port, transport) {
                        Some(Why::Special(kind)) => {
                            let address = address.to_string();
                            closed = Some(Refusal::Special { address, kind });
                        }
                        Some(why) => closed = Some(Refusal::Policy(why)),
                        None => match self.gate.check_own(address, self.port, transport) {
                            Ok(()) => open.push(SocketAddr::new(address, self.port)),
                            Err(refusal) => closed = Some(refusal),
                        },
                    }
                }
                if let (true, Some(refusal)) = (open.is_empty(), closed) {
                    return Err(refusal);
                }
                open
            }
        })
    }

    /// Notes the address that was dialled, for the record.
    pub fn reached(&self, address: IpAddr) {
        self.entry.borrow_mut().address = Some(address);
        self.grip.address.set(Some(address));
    }

    /// Dials now, so that a proxy can report a failure to its client; the next [`dial`](Pass::dial) returns
    /// the connection.
    pub async fn prepare(&self) -> Result<(), Refusal> {
        self.keep(self.dial().await?);
        Ok(())
    }

    /// Keeps a dialled connection for the next dial.
    pub fn keep(&self, dialled: TcpStream) {
        *self.dialled.borrow_mut() = Some(dialled);
    }

    /// Counts moved bytes. An error means that a limit is reached and the connection must close.
    pub fn count(&self, direction: Direction, bytes: u64) -> Result<(), Refusal> {
        let policy = self.gate.policy.now();
        let limits = &policy.limits;
        let meter = &self.gate.meter;
        if let Some(window) = &*self.window.borrow() {
            meter.windows.carried(window, bytes);
        }
        let mut entry = self.entry.borrow_mut();
        let (used, own, most, bound) = match direction {
            Direction::In => (
                &meter.bytes_in,
                &mut entry.bytes_in,
                &limits.bytes_in,
                Bound::BytesIn,
            ),
            Direction::Out => (
                &meter.bytes_out,
                &mut entry.bytes_out,
                &limits.bytes_out,
                Bound::BytesOut,
            ),
        };
        *own += bytes;
        used.set(used.get() + bytes);
        match most {
            Some(most) if used.get() > most.value.0 => Err(limit(bound, Some(most))),
            _ => Ok(()),
        }
    }

    /// The bandwidth limit of a direction, which all connections share; `None` if there is none.
    pub fn rate_limit(&self, direction: Direction) -> Option<RateLimit<'_>> {
        let rate = self.gate.policy.now().limits.bandwidth.as_ref()?.value.0;
        let reserved = match direction {
            Direction::In => &self.gate.meter.reserved_in,
            Direction::Out => &self.gate.meter.reserved_out,
        };
        Some(RateLimit { reserved, rate })
    }

    /// Notes for the record why the connection is closed early.
    pub fn refuse(&self, refusal: &Refusal) {
        self.entry.borrow_mut().refuse(refusal);
    }

    /// Records a judged request. After an error the request must not be sent.
    pub fn request(
        &self,
        method: &str,
        path: &str,
        refusal: Option<&Refusal>,
    ) -> Result<(), Refusal> {
        let entry = self.entry.borrow().request(method, path, refusal);
        let written = self.gate.records.write(&entry, Event::Request);
        written.map_err(|unrecorded| unrecorded.refusal())
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let meter = &self.gate.meter;
        meter
            .connections
            .set(meter.connections.get().saturating_sub(1));
        if let Some(refusal) = self.grip.refusal() {
            self.refuse(&refusal);
        }
        self.gate.open.forget(&self.grip);
        let _ = self.gate.records.write(&self.entry.borrow(), Event::Close);
    }
}
