//! The gate that every outgoing connection passes: decision, question, limits, record, and the dial.
//!
//! A [`Pass`] is a destination that was allowed. It counts as a connection and its record is closed
//! when it is dropped, whatever the reason.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use super::Way;
use super::lobby::Lobby;
use super::names::Names;
use super::pace::{Pace, Paced};
use super::queue::Held;
use super::record::{Entry, Event, Records};
use super::resolve::Resolver;
use super::tls::Authority;
use super::windows::{self, Window, Windows};
use super::{dial, record};
use creel_policy::Network;
use creel_policy::net::judge::{Spoken, Transport, UNNAMED};
use creel_policy::net::{Answer, Host, Tls, Why};
use creel_sys::local;

/// A connection on which nothing moves is closed after this long, where the policy names no time.
const IDLE: Duration = Duration::from_secs(600);
/// Open at once, where the policy names no number: what the relay's descriptors allow.
const CONNECTIONS: u64 = 4096;

/// Why a destination is not to be reached, in the words of the record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("{0}")]
    Policy(Why),
    #[error("nobody allowed it when asked")]
    Unanswered,
    #[error("it is no host: {0}")]
    NoHost(String),
    #[error("the address {address} is {kind}, and {}", UNNAMED)]
    Special { address: String, kind: &'static str },
    #[error("the name has no address: {0}")]
    Unresolved(String),
    #[error("nobody answers: {0}")]
    Dial(String),
    #[error("the limit {0} is reached")]
    Limit(&'static str),
    /// The content of the connection does not match its grant.
    #[error("{0}")]
    Spoken(String),
    #[error("closed by creel: {0}")]
    Closed(&'static str),
}

/// Everything that the ways share.
pub struct Gate {
    pub policy: Network,
    pub names: RefCell<Names>,
    pub resolver: Resolver,
    pub records: Records,
    /// The authority for terminated TLS; `None` if no rule needs it.
    pub authority: Option<Authority>,
    pub asker: Option<Box<dyn Asker>>,
    pub meter: Meter,
}

/// Somebody who can be asked about a destination that a list does not have.
pub trait Asker {
    /// Answers, in its own time; silence is denial.
    fn ask(&self, host: &Host, port: u16) -> std::pin::Pin<Box<dyn Future<Output = bool>>>;
}

/// The used part of the limits.
#[derive(Debug, Default)]
pub struct Meter {
    connections: Cell<u64>,
    bytes_in: Cell<u64>,
    bytes_out: Cell<u64>,
    pace_in: Pace,
    pace_out: Pace,
    /// The admission of new clients.
    pub lobby: Lobby,
    /// The budget of waiting datagrams.
    pub datagrams: Held,
    windows: Windows,
    /// The count for the current second.
    second: Cell<Option<(Instant, u64)>>,
}

/// A way that bytes go.
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
    pub way: Way,
    pub host: Host,
    pub port: u16,
    entry: RefCell<Entry>,
    /// Dialled already, for whoever dials next.
    dialled: RefCell<Option<TcpStream>>,
    window: RefCell<Option<Rc<Window>>>,
    dials: Cell<u64>,
}

impl Gate {
    /// Decides on a destination, asking where the policy says so. The refusal is on record.
    pub async fn admit(self: &Rc<Self>, way: Way, host: Host, port: u16) -> Result<Pass, Refusal> {
        let entry = Entry::new(way, &host, port);
        match self.decide(&host, port, way.transport()).await {
            Ok(rule) => self.open(way, host, port, entry.allowed(rule)),
            Err(refusal) => {
                let _ = self.records.write(&entry.refused(&refusal), Event::Refused);
                Err(refusal)
            }
        }
    }

    /// Lets somebody in who came to a published port. To the limits it is a connection as any other, but
    /// for their rate, which is of those that the jail begins.
    pub fn welcome(self: &Rc<Self>, peer: IpAddr, port: u16) -> Result<Pass, Refusal> {
        let (way, host) = (Way::Published, Host::from(peer));
        let entry = Entry::new(way, &host, port);
        match self.meter.has_room(&self.policy.limits) {
            Ok(()) => self.open(way, host, port, entry.allowed("--publish".into())),
            Err(refusal) => {
                let _ = self.records.write(&entry.refused(&refusal), Event::Refused);
                Err(refusal)
            }
        }
    }

    fn open(
        self: &Rc<Self>,
        way: Way,
        host: Host,
        port: u16,
        entry: Entry,
    ) -> Result<Pass, Refusal> {
        // No record, no act.
        let written = self.records.write(&entry, Event::Open);
        written.map_err(|unrecorded| unrecorded.refusal())?;
        self.meter.connections.set(self.meter.connections.get() + 1);
        Ok(Pass {
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

    /// The name behind an address that a program gives to a proxy after it resolved the name itself:
    /// the name that a synthetic address was made for.
    pub fn meant(&self, host: Host) -> Host {
        match &host {
            Host::Address(address) => match self.names.borrow().name(*address) {
                Some(name) => Host::Name(name.clone()),
                None => host,
            },
            Host::Name(_) => host,
        }
    }

    /// Records that something which is not even a destination was refused.
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
        let rule = match self.policy.judge(host, port, transport) {
            Answer::Allow(rules) => record::rules(&rules),
            Answer::Deny(why) => return Err(Refusal::Policy(why)),
            Answer::Ask => {
                if let Host::Address(address) = host {
                    self.check_own(*address, port, transport)?;
                }
                match &self.asker {
                    Some(asker) if asker.ask(host, port).await => "asked".into(),
                    _ => return Err(Refusal::Unanswered),
                }
            }
        };
        self.meter.admit(&self.policy.limits)?;
        Ok(rule)
    }

    /// Refuses an address that is this host's own now, whatever its block: what listens there is not on
    /// the network that the policy speaks of. A rule that names its range grants it.
    fn check_own(&self, address: IpAddr, port: u16, transport: Transport) -> Result<(), Refusal> {
        if self.policy.names_address(address, port, transport) {
            return Ok(());
        }
        match local::is_local(address) {
            Ok(false) => Ok(()),
            Ok(true) => Err(Refusal::Special {
                address: address.to_string(),
                kind: "this host's own",
            }),
            Err(errno) => Err(Refusal::Dial(format!(
                "whether {address} is this host's own cannot be found out: {errno}"
            ))),
        }
    }

    /// How long a connection may be silent.
    pub fn idle(&self) -> Duration {
        match &self.policy.limits.idle {
            Some(idle) => Duration::from_millis(idle.value.0),
            None => IDLE,
        }
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
            true => Err(Refusal::Limit("network.limits.connections")),
            false => Ok(()),
        }
    }

    /// Counts a new connection, of which there may be so many a second.
    fn hurry(&self, limits: &creel_policy::net::Limits) -> Result<(), Refusal> {
        if let Some(rate) = &limits.rate {
            let now = Instant::now();
            let (since, count) = match self.second.get() {
                Some((since, count)) if now - since < Duration::from_secs(1) => (since, count),
                _ => (now, 0),
            };
            if count >= rate.value.0 {
                return Err(Refusal::Limit("network.limits.rate"));
            }
            self.second.set(Some((since, count + 1)));
        }
        Ok(())
    }
}

impl Pass {
    pub fn gate(&self) -> &Rc<Gate> {
        &self.gate
    }

    /// Whether TLS to this destination is ended here.
    pub fn tls(&self) -> Tls {
        self.gate.policy.tls_of(&self.host, self.port)
    }

    /// Whether what is spoken on the connection is what the rules grant; a request is judged by its
    /// method and path. A destination that somebody allowed when asked may speak anything.
    pub fn judge(&self, spoken: &Spoken<'_>) -> Result<(), Refusal> {
        match self.gate.policy.judge_spoken(&self.host, self.port, spoken) {
            Ok(()) => Ok(()),
            Err(why) => Err(Refusal::Spoken(why)),
        }
    }

    /// Dials the destination, at an address that was checked.
    pub async fn dial(&self) -> Result<TcpStream, Refusal> {
        if let Some(stream) = self.dialled.take() {
            return Ok(stream);
        }
        if self.dials.replace(self.dials.get() + 1) > 0 {
            self.again()?;
        }
        let dialled = dial::dial(&self.addresses().await?).await;
        let (stream, address) = dialled.map_err(|e| Refusal::Dial(e.to_string()))?;
        self.reached(address.ip());
        self.bound_outside(&stream);
        Ok(stream)
    }

    /// Bounds what the kernel holds for a connection on the host's side, until it carries much.
    pub fn bound_outside(&self, stream: &TcpStream) {
        let connections = self.gate.meter.connections.get();
        let window = self.gate.meter.windows.open(stream, connections);
        self.window.replace(window);
    }

    /// Bounds what it holds for one on the jail's side.
    pub fn bound_inside(&self, stream: &TcpStream) {
        windows::bound_inside(stream, self.gate.meter.connections.get());
    }

    /// Has the jail's side of the connection be bounded as that outside.
    pub fn join(&self, inside: &TcpStream) {
        if let Some(window) = &*self.window.borrow() {
            window.join(inside);
        }
    }

    /// Admits another connection in place of the one before, which is over: it is as much a new one as
    /// the first was, to the limits and on record.
    fn again(&self) -> Result<(), Refusal> {
        self.gate.meter.hurry(&self.gate.policy.limits)?;
        let mut entry = Entry::new(self.way, &self.host, self.port);
        entry.rule.clone_from(&self.entry.borrow().rule);
        let before = self.entry.replace(entry);
        let records = &self.gate.records;
        let _ = records.write(&before, Event::Close);
        let opened = records.write(&self.entry.borrow(), Event::Open);
        opened.map_err(|unrecorded| unrecorded.refusal())
    }

    /// The addresses that may be dialled: a name is resolved outside, by its canonical form alone, and every answer is
    /// checked.
    pub async fn addresses(&self) -> Result<Vec<SocketAddr>, Refusal> {
        let transport = self.way.transport();
        Ok(match &self.host {
            Host::Address(address) => {
                self.gate.check_own(*address, self.port, transport)?;
                vec![SocketAddr::new(*address, self.port)]
            }
            Host::Name(name) if name.is_host() => {
                // Asked of nobody, and nobody's but what the rule of this name grants.
                let both: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
                let bars = |address| self.gate.policy.bars(address, self.port, transport);
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
                let found = found.map_err(|e| Refusal::Unresolved(e.to_string()))?;
                let mut open = vec![];
                let mut closed = None;
                // An IPv4-mapped answer is dialled as the address that is checked.
                for address in found.iter().map(IpAddr::to_canonical) {
                    match self.gate.policy.bars(address, self.port, transport) {
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
    }

    /// Dials now, so that a client can be told whether anybody answers; the next
    /// [`dial`](Pass::dial) has the connection.
    pub async fn prepare(&self) -> Result<(), Refusal> {
        self.keep(self.dial().await?);
        Ok(())
    }

    /// Keeps a connection that was dialled for the next who dials.
    pub fn keep(&self, dialled: TcpStream) {
        *self.dialled.borrow_mut() = Some(dialled);
    }

    /// Counts bytes that moved; an error says that a limit is reached and the connection must close.
    pub fn count(&self, direction: Direction, bytes: u64) -> Result<(), Refusal> {
        let limits = &self.gate.policy.limits;
        let meter = &self.gate.meter;
        if let Some(window) = &*self.window.borrow() {
            meter.windows.carried(window, bytes);
        }
        let mut entry = self.entry.borrow_mut();
        let (used, own, most, name) = match direction {
            Direction::In => (
                &meter.bytes_in,
                &mut entry.bytes_in,
                &limits.bytes_in,
                "network.limits.bytes_in",
            ),
            Direction::Out => (
                &meter.bytes_out,
                &mut entry.bytes_out,
                &limits.bytes_out,
                "network.limits.bytes_out",
            ),
        };
        *own += bytes;
        used.set(used.get() + bytes);
        match most {
            Some(most) if used.get() > most.value.0 => Err(Refusal::Limit(name)),
            _ => Ok(()),
        }
    }

    /// The bandwidth of a direction, which all connections share; `None`: no bound.
    pub fn pace(&self, direction: Direction) -> Option<Paced<'_>> {
        let rate = self.gate.policy.limits.bandwidth.as_ref()?.value.0;
        let pace = match direction {
            Direction::In => &self.gate.meter.pace_in,
            Direction::Out => &self.gate.meter.pace_out,
        };
        Some(Paced { pace, rate })
    }

    /// Notes why the connection is closed before its end.
    pub fn refuse(&self, refusal: &Refusal) {
        self.entry.borrow_mut().refuse(refusal);
    }

    /// Records a request that was judged; where that fails it is not to be sent.
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
        let _ = self.gate.records.write(&self.entry.borrow(), Event::Close);
    }
}
