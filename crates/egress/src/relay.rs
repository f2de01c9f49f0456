//! The relay: the process that serves a jail's egress, confined before it reads the jail's first byte.
//!
//! The supervisor forks it before the jail. It reads what it needs from the host (resolvers, certificates,
//! secrets), gives up everything else, and serves. It ends with its supervisor; its end closes every
//! connection and listener, so that nothing leaves.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};
use tokio::task::LocalSet;

use super::authority::Authority;
use super::change::Served;
use super::credential::Vault;
use super::gate::{Asker, Gate, Meter};
use super::names::Names;
use super::open::Open;
use super::protocol::{self, Consent, FromRelay, ToRelay};
use super::publish::{self, Store};
use super::record::Records;
use super::resolve::Resolver;
use super::{beyond, connect, dns, socks, transparent, udp};
use creel_plan::egress::{ALL, Egress, SERVED, Serves};
use creel_policy::net::{Host, OnMiss};
use creel_sys::clone::{self, Side};
use creel_sys::landlock::Dials;
use creel_sys::net::Family;
use creel_sys::socket::{self, Wait};
use creel_sys::{Errno, confine, process, readiness, signal};

/// Maximum questions that wait for an answer, and the time limit of each.
pub const QUESTIONS: usize = 16;
/// The time limit of each question.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Why the relay does not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RelayError {
    /// A system call for the new process failed.
    #[error("the network layer: the relay cannot be started")]
    Start(#[source] Errno),
    /// The relay reported this before it was ready.
    #[error("the network layer: the relay failed: {0}")]
    Failed(String),
    /// The relay ended without a message.
    #[error("the network layer: the relay ended before it was ready")]
    Gone,
}

creel_policy::codes!(RelayError {
    Self::Start(_) => "relay-start",
    Self::Failed(_) => "relay-failed",
    Self::Gone => "relay-gone",
});

/// A running relay. Dropping it kills the process.
pub struct Relay {
    pid: i32,
    /// Carries the messages of [`protocol`].
    pub socket: OwnedFd,
    /// For the jail, which sends its listening sockets over it.
    pub sockets: Option<OwnedFd>,
}

/// Objects that the relay creates for the jail if a rule terminates TLS.
#[derive(Debug, Default)]
pub struct Made {
    /// PEM certificate of the jail's own authority.
    pub authority: Option<String>,
    /// Environment variables of the jail, with the placeholders of secrets.
    pub placeholders: BTreeMap<String, String>,
}

/// Starts the relay; it is usable once it is [ready](Relay::ready). `log` gets one line per decision.
pub fn start(id: &str, egress: &Egress, log: Option<File>) -> Result<Relay, RelayError> {
    let (ours, theirs) = socket::pair().map_err(RelayError::Start)?;
    let (give, take) = socket::pair().map_err(RelayError::Start)?;
    // Signals stay blocked in the relay: a Ctrl-C for the caller's whole job must not end it.
    let held = signal::Held::all().map_err(RelayError::Start)?;
    let side = clone::clone3_single_threaded(0, None).map_err(RelayError::Start)?;
    let pid = match side {
        Side::Parent { pid, .. } => pid,
        Side::Child => {
            // The child closes the supervisor's ends with all other descriptors that are not kept.
            std::mem::forget((ours, give));
            let mut kept = vec![theirs, take];
            kept.extend(log.map(OwnedFd::from));
            // A failure is ignored: the kernel ends a process by its own fault anyway.
            let _ = signal::take_faults();
            process::exit(live(id, egress, kept))
        }
    };
    drop((theirs, take, held));
    Ok(Relay {
        pid,
        socket: ours,
        sockets: Some(give),
    })
}

impl Relay {
    /// Waits until the relay is confined; returns what it created for the jail. The jail also waits for the
    /// relay, and does not begin its command before.
    pub fn ready(&self) -> Result<Made, RelayError> {
        match protocol::receive(&self.socket, Wait::Yes) {
            Ok(Some(FromRelay::Ready {
                authority,
                placeholders,
            })) => Ok(Made {
                authority,
                placeholders,
            }),
            Ok(Some(FromRelay::Failed { why })) => Err(RelayError::Failed(why)),
            Ok(_) => Err(RelayError::Gone),
            Err(error) => Err(RelayError::Failed(error.to_string())),
        }
    }

    /// Kills the relay if it still runs, and waits for its end.
    pub fn end(&mut self) {
        let pid = std::mem::take(&mut self.pid);
        // The pid cannot belong to another process: this child is not waited for yet.
        if pid > 0 {
            let _ = signal::send(pid, signal::KILL);
            let _ = process::reap(pid);
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.end();
    }
}

/// Runs the relay; returns its exit status.
fn live(id: &str, egress: &Egress, kept: Vec<OwnedFd>) -> i32 {
    let mut kept = match confine::keep_descriptors(kept) {
        Ok(kept) => kept.into_iter(),
        Err(_) => return 1,
    };
    let (Some(control), Some(sockets)) = (kept.next(), kept.next()) else {
        return 1;
    };
    let log = kept.next().map(File::from);
    match serve(id, egress, &control, sockets, log) {
        Ok(()) => 0,
        Err(why) => {
            // Fails only if the supervisor is gone.
            let _ = protocol::send(control.as_fd(), &FromRelay::Failed { why });
            1
        }
    }
}

fn serve(
    id: &str,
    egress: &Egress,
    control: &OwnedFd,
    sockets: OwnedFd,
    log: Option<File>,
) -> Result<(), String> {
    signal::ignore_what_callers_send();
    let network = &egress.network;
    let published = publish::listen(&egress.publish)?;
    let resolver = match network.resolvers.as_slice() {
        [] => Resolver::of_host(|name| network.knows(name)),
        named => Resolver::with(named.iter().map(|server| server.value).collect()),
    };
    let mut placeholders = BTreeMap::new();
    let (authority, certificate) = match egress.terminates() {
        false => (None, None),
        true => {
            let vault = Vault::load(&network.credentials).map_err(|e| e.to_string())?;
            let pairs = vault.placeholders();
            placeholders.extend(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
            let roots = creel_sys::host::certificates();
            let (authority, pem) = Authority::new(id, &roots, vault).map_err(|e| e.to_string())?;
            (Some(authority), Some(pem))
        }
    };
    let ports = network.ports();
    let resolvers: Vec<u16> = resolver
        .servers
        .iter()
        .map(|server| server.port())
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(|e| format!("no event loop: {e}"))?;
    let inside = egress.publish.iter().map(|published| published.port);
    let control_of_dials = control.try_clone().map_err(|e| e.to_string())?;
    let dials = match network.lists.iter().any(|list| list.on_miss == OnMiss::Ask) {
        true => Dials::Any,
        false => Dials::Ports(
            ports
                .iter()
                .copied()
                .chain(resolvers)
                .chain(inside)
                .collect(),
        ),
    };
    confine::for_good(&dials).map_err(|e| format!("it cannot be confined: {e}"))?;
    let questions = Rc::new(Questions {
        control: control.try_clone().map_err(|e| e.to_string())?,
        waiting: RefCell::default(),
        room: Semaphore::new(QUESTIONS),
        last: Cell::new(0),
    });
    let gate = Rc::new(Gate {
        policy: network.clone().into(),
        names: RefCell::new(Names::with(&egress.names)),
        resolver,
        records: Records::new(log),
        authority,
        asker: Some(Box::new(Rc::clone(&questions))),
        meter: Meter::default(),
        open: Open::default(),
    });
    beyond::through(control_of_dials);
    let ready = FromRelay::Ready {
        authority: certificate,
        placeholders,
    };
    protocol::send(control.as_fd(), &ready).map_err(|e| e.to_string())?;
    let local = LocalSet::new();
    let listeners = egress.listeners.iter().map(|l| l.serves).collect();
    let store = Rc::new(Store::default());
    let served = Rc::new(Served {
        gate: Rc::clone(&gate),
        store: Rc::clone(&store),
        base: network.clone(),
        published: RefCell::default(),
    });
    let services = receive_sockets(Rc::clone(&gate), store, sockets, listeners);
    local.spawn_local(async move {
        if let Err(error) = services.await {
            // Fails closed: without its listeners nothing leaves.
            eprintln!("creel: the relay has no listeners: {error}");
        }
    });
    let told = local.block_on(&runtime, async {
        for (listener, publish) in published {
            if let Err(error) = served.publish(listener, publish) {
                eprintln!("creel: port {} is not published: {error}", publish.port);
            }
        }
        told_to_finish(control, &questions, &served).await
    });
    // Closes every connection, which completes its record.
    drop(local);
    told.map_err(|e| e.to_string())?;
    for destinations in protocol::in_messages(gate.records.summary()) {
        let part = FromRelay::Summary { destinations };
        protocol::send(control.as_fd(), &part).map_err(|e| e.to_string())?;
    }
    // Fails only if the supervisor is gone.
    let lines = gate.records.finish();
    let _ = protocol::send(control.as_fd(), &FromRelay::Finished { lines });
    Ok(())
}

/// Receives the listening sockets from the jail as it creates them, and serves each.
async fn receive_sockets(
    gate: Rc<Gate>,
    store: Rc<Store>,
    sockets: OwnedFd,
    listeners: Vec<Serves>,
) -> io::Result<()> {
    let sockets = readiness::to_read(sockets)?;
    loop {
        let mut ready = sockets.readable().await?;
        let mut number = [0; 4];
        let (length, [socket, ..]) =
            match socket::receive(sockets.get_ref().as_fd(), &mut number, Wait::No) {
                Err(Errno::AGAIN) => {
                    ready.clear_ready();
                    continue;
                }
                other => other?,
            };
        let last = number[..length] == *ALL;
        let number = u32::from_le_bytes(number);
        let spare = [Family::V4, Family::V6]
            .into_iter()
            .find(|f| f.number() == number);
        let serves = listeners.get(number as usize);
        match (length, socket, serves) {
            (4, Some(socket), None) if let Some(family) = spare => store.put(family, socket),
            (_, None, _) if last => {
                return Ok(socket::send(sockets.get_ref().as_fd(), SERVED, &[])?);
            }
            (4, Some(socket), Some(serves)) => start_service(&gate, socket, *serves)?,
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// Serves a socket of the jail.
pub(super) fn start_service(gate: &Rc<Gate>, socket: OwnedFd, serves: Serves) -> io::Result<()> {
    let gate = Rc::clone(gate);
    if serves.is_datagram() {
        let socket = tokio::net::UdpSocket::from_std(UdpSocket::from(socket))?;
        tokio::task::spawn_local(async move {
            let ended = match serves {
                Serves::Dns => dns::serve_udp(gate, socket).await,
                _ => udp::serve(gate, socket).await,
            };
            if let Err(error) = ended {
                // Fails closed: without the socket nothing leaves.
                eprintln!("creel: the relay no longer serves datagrams: {error}");
            }
        });
        return Ok(());
    }
    let listener = tokio::net::TcpListener::from_std(TcpListener::from(socket))?;
    match serves {
        Serves::DnsStream => tokio::task::spawn_local(dns::serve_tcp(gate, listener)),
        Serves::HttpProxy => tokio::task::spawn_local(connect::serve(gate, listener)),
        Serves::SocksProxy => tokio::task::spawn_local(socks::serve(gate, listener)),
        _ => tokio::task::spawn_local(transparent::serve(gate, listener)),
    };
    Ok(())
}

/// Handles the supervisor's messages until the jail has ended, or the supervisor has.
async fn told_to_finish(
    control: &OwnedFd,
    questions: &Questions,
    served: &Rc<Served>,
) -> io::Result<()> {
    let control = readiness::to_read(control.try_clone()?)?;
    loop {
        let mut ready = control.readable().await?;
        let (message, fds) = match protocol::receive_with(control.get_ref(), Wait::No) {
            Ok(Some((message, fds))) => (Ok(Some(message)), fds),
            Ok(None) => (Ok(None), Default::default()),
            Err(error) => (Err(error), Default::default()),
        };
        match message {
            Ok(Some(ToRelay::Answer { number, answer })) => questions.answer(number, answer),
            Ok(Some(ToRelay::Dialled { number, errno })) => beyond::answered(number, errno),
            Ok(Some(ToRelay::Change { number, change })) => {
                let name = served.change(change, fds.into_iter().flatten()).await?;
                let changed = FromRelay::Changed { number, name };
                protocol::send(control.get_ref().as_fd(), &changed)?;
            }
            Ok(Some(ToRelay::Finish) | None) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
            Err(error) => return Err(error),
        }
    }
}

/// Pending questions to the supervisor.
struct Questions {
    control: OwnedFd,
    waiting: RefCell<HashMap<u64, oneshot::Sender<Consent>>>,
    room: Semaphore,
    last: Cell<u64>,
}

impl Questions {
    fn answer(&self, number: u64, answer: Consent) {
        if let Some(asked) = self.waiting.borrow_mut().remove(&number) {
            // The connection that asked may be gone.
            let _ = asked.send(answer);
        }
    }
}

impl Asker for Rc<Questions> {
    fn ask(&self, host: &Host, port: u16) -> Pin<Box<dyn Future<Output = Consent>>> {
        let questions = Rc::clone(self);
        let host = host.to_string();
        Box::pin(async move {
            let Ok(_room) = questions.room.try_acquire() else {
                return Consent::Unanswered;
            };
            let number = questions.last.get() + 1;
            questions.last.set(number);
            let (tell, told) = oneshot::channel();
            questions.waiting.borrow_mut().insert(number, tell);
            let question = FromRelay::Ask { number, host, port };
            if protocol::send(questions.control.as_fd(), &question).is_err() {
                return Consent::Unanswered;
            }
            let answer = tokio::time::timeout(PATIENCE, told).await;
            questions.waiting.borrow_mut().remove(&number);
            match answer {
                Ok(Ok(answer)) => answer,
                _ => Consent::Unanswered,
            }
        })
    }
}
