//! Changes of a session's network while it runs, by its operator: `creel net`.
//!
//! ```text
//! creel net ── Ask::Net ──▶ keeper ── checks: the ceiling, denials of the policy
//!                             ├── pid 1: unconnected sockets of the jail's network, which the keeper binds
//!                             ├── the event
//!                             └── relay: Change; it answers once the change is in force
//! ```
//!
//! One change at a time; the next one waits. A change is in force when the client has its answer, or it is refused. If
//! the relay does not answer, what it lets through is unknown, and it is ended.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::error::SessionError;
use super::record::{Event, now};
use super::serve::Connection;
use super::session::Keeper;
use super::wire::{NetChange, Tell};
use crate::declare::{PublishOn, only_loopback, publish_below_ceiling, within_network};
use crate::desk::Desk;
use crate::jail::Said;
use creel_egress::change::{ALLOWED, DENIED};
use creel_egress::protocol::{self, Change};
use creel_egress::resolve::hosts_of_host;
use creel_jail::protocol::Request;
use creel_plan::egress::{Egress, Listener, PUBLISHED, Serves, listeners, names_of};
use creel_plan::request::Publish;
use creel_plan::{Act, Plan};
use creel_policy::net::{Changes, Host, Mode, Name, Rule, Wish};
use creel_policy::{Network, Origin};
use creel_sys::net::{self, Family};
use creel_sys::socket::MAX_FDS;
use creel_sys::{Errno, peer};

/// How long the relay and pid 1 have for one change.
const PATIENCE: Duration = Duration::from_secs(10);
/// Rules that may be added, and published ports.
const MOST: usize = 100;
/// Changes that `creel net show` lists.
const SHOWN: usize = 100;

/// The network of a session, as it was changed.
pub(super) struct Net {
    /// `None` if the session has no relay.
    desk: Option<Rc<Desk>>,
    turn: Mutex<()>,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    changes: Changes,
    publish: Vec<Publish>,
    listeners: BTreeSet<Listener>,
    /// The numbers of the names with listeners of their own.
    numbers: BTreeMap<Name, u32>,
    /// The relay has sockets for published ports.
    has_spares: bool,
    /// Changes so far.
    count: u64,
    log: VecDeque<Made>,
}

/// A change, as `creel net show` lists it.
#[derive(Debug, Clone, Serialize)]
struct Made {
    /// Milliseconds since 1970.
    time: u64,
    #[serde(flatten)]
    by: By,
    verb: &'static str,
    what: Vec<String>,
}

/// The client that made a change.
#[derive(Debug, Clone, Copy, Serialize)]
struct By {
    uid: u32,
    pid: i32,
}

impl Net {
    /// The network as the session is made with it.
    pub fn new(plan: &Plan, desk: Option<Rc<Desk>>) -> Net {
        let egress = plan.acts().find_map(|act| match act {
            Act::Egress(egress) => Some(egress),
            _ => None,
        });
        Net {
            desk,
            turn: Mutex::default(),
            state: RefCell::new(egress.map_or_else(State::default, |egress| State::of(egress))),
        }
    }

    /// The plan with the rules and the published ports as they are now.
    pub fn now(&self, plan: &mut Plan, base: &Network) {
        let state = self.state.borrow();
        if state.count > 0 {
            plan.change_network(&state.changes.on(base), &state.publish, state.count);
        }
    }

    /// The rules, the published ports and the last changes, for `creel net show`. Null without a relay.
    pub fn shown(&self, base: &Network) -> Value {
        if self.desk.is_none() {
            return Value::Null;
        }
        let state = self.state.borrow();
        let network = state.changes.on(base);
        let texts = |rules: &BTreeSet<Rule>| -> Vec<String> {
            rules.iter().map(ToString::to_string).collect()
        };
        let lists: Vec<Vec<String>> = network.lists.iter().map(|l| texts(&l.rules)).collect();
        json!({
            "mode": network.mode.name(),
            "relay": if self.is_gone() { "ended" } else { "running" },
            "lists": lists,
            "deny": texts(&network.deny),
            "publish": state.publish,
            "changes": state.count,
            "log": state.log,
        })
    }

    /// The network as it is now, if it has been changed since the session's start.
    pub fn changed(&self, base: &Network) -> Option<Network> {
        let state = self.state.borrow();
        (state.count > 0).then(|| state.changes.on(base))
    }

    fn is_gone(&self) -> bool {
        self.desk.as_ref().is_some_and(|desk| desk.is_closed())
    }
}

impl State {
    fn of(egress: &Egress) -> State {
        let numbered = |(number, name): (usize, &Name)| (name.clone(), number as u32);
        State {
            publish: egress.publish.clone(),
            listeners: egress.listeners.iter().copied().collect(),
            numbers: egress.names.iter().enumerate().map(numbered).collect(),
            has_spares: !egress.publish.is_empty(),
            ..State::default()
        }
    }

    /// Whether a listener accepts what this one would.
    fn serves(&self, wanted: &Listener) -> bool {
        let any = match wanted.address {
            SocketAddr::V4(_) => SocketAddr::from(([0; 4], wanted.address.port())),
            SocketAddr::V6(_) => SocketAddr::from(([0u16; 8], wanted.address.port())),
        };
        let everywhere = Listener {
            address: any,
            ..*wanted
        };
        self.listeners.contains(wanted) || self.listeners.contains(&everywhere)
    }

    fn publishes(&self, address: SocketAddr) -> bool {
        self.publish.iter().any(|known| known.address == address)
    }
}

/// Serves one change of a client.
pub(super) async fn serve(keeper: &Keeper, client: &Connection, change: &NetChange) {
    // One that was sent earlier is made earlier.
    let _turn = keeper.net.turn.lock().await;
    match make(keeper, client, change).await {
        Ok(()) => client.tell(&Tell::Done),
        Err(error) => client.refuse(keeper, &error),
    }
}

async fn make(
    keeper: &Keeper,
    client: &Connection,
    change: &NetChange,
) -> Result<(), SessionError> {
    if keeper.is_ending() {
        return Err(SessionError::Ending);
    }
    let (pid, uid) = peer::credentials(client.socket()).unwrap_or((0, u32::MAX));
    let work = Work {
        keeper,
        by: By { uid, pid },
        desk: keeper.net.desk.as_deref().ok_or(SessionError::NoRelay {
            name: keeper.record.name.clone(),
            flag: change.flag(),
        })?,
    };
    if keeper.net.is_gone() {
        return Err(SessionError::RelayGone);
    }
    match change {
        NetChange::Allow { destinations } => work.allow(destinations).await,
        NetChange::Deny { destinations } => work.deny(destinations).await,
        NetChange::Reset => work.rules("reset", &[], Changes::default()).await,
        NetChange::Publish { publish, on } => work.publish(publish, *on).await,
        NetChange::Unpublish { addresses } => work.unpublish(addresses).await,
    }
}

/// One change on its way.
struct Work<'a> {
    keeper: &'a Keeper,
    desk: &'a Desk,
    by: By,
}

impl Work<'_> {
    fn state(&self) -> &RefCell<State> {
        &self.keeper.net.state
    }

    fn base(&self) -> &Network {
        &self.keeper.declared.policy.network
    }

    async fn allow(&self, destinations: &[String]) -> Result<(), SessionError> {
        let base = self.base();
        if base.mode == Mode::None {
            return Err(SessionError::NoRelay {
                name: self.keeper.record.name.clone(),
                flag: "--allow-net HOST",
            });
        }
        let mut changes = self.state().borrow().changes.clone();
        for asked in destinations {
            let wish = Wish::parse(asked, Origin::flag(ALLOWED));
            let wish = wish.map_err(|source| unreadable(asked, source))?;
            let held = match &self.keeper.declared.ceiling {
                Some(bounds) => {
                    within_network(ALLOWED, &wish.rule, (bounds, base))?;
                    changes.lift(base, &wish)
                }
                None => changes.allow(base, &wish),
            };
            held.map_err(|denial| SessionError::NetDenied {
                asked: asked.clone(),
                denial: denial.destination(),
                place: denial.origin.to_string(),
            })?;
        }
        self.rules("allow", destinations, changes).await
    }

    async fn deny(&self, destinations: &[String]) -> Result<(), SessionError> {
        let mut changes = self.state().borrow().changes.clone();
        for asked in destinations {
            let denial = Rule::denial(asked, Origin::flag(DENIED));
            changes.deny(denial.map_err(|source| unreadable(asked, source))?);
        }
        self.rules("deny", destinations, changes).await
    }

    /// Puts these changes in the place of the earlier ones.
    async fn rules(
        &self,
        verb: &'static str,
        what: &[String],
        changes: Changes,
    ) -> Result<(), SessionError> {
        if changes.count() > MOST {
            return Err(SessionError::TooManyChanges { most: MOST });
        }
        let network = changes.on(self.base());
        let texts = |rules: &BTreeSet<Rule>| rules.iter().map(Rule::destination).collect();
        let rules = Change::Rules {
            allow: texts(&changes.allow),
            deny: texts(&changes.deny),
            hosts: self.hosts(&changes),
        };
        let length = serde_json::to_vec(&rules).map_or(usize::MAX, |text| text.len());
        if length > protocol::MOST / 2 {
            return Err(SessionError::TooManyChanges { most: MOST });
        }
        let made = self.make_listeners(&network).await?;
        self.record(verb, what);
        self.let_dial(&network, &self.state().borrow().publish);
        for (listener, socket) in made {
            let serves = listener.serves;
            self.tell(Change::Serve { serves }, vec![socket]).await?;
            self.state().borrow_mut().listeners.insert(listener);
        }
        self.tell(rules, vec![]).await?;
        self.state().borrow_mut().changes = changes;
        self.done(verb, what);
        Ok(())
    }

    /// Names in the host's `/etc/hosts` that are allowed now: the relay, which cannot open files, has those of the rules
    /// that it was started with.
    fn hosts(&self, changes: &Changes) -> BTreeMap<String, Vec<std::net::IpAddr>> {
        if !self.base().resolvers.is_empty() || changes.allow.is_empty() {
            return BTreeMap::new();
        }
        let allowed = |name: &Name| {
            let host = Host::Name(name.clone());
            changes.allow.iter().any(|rule| rule.to.has(&host))
        };
        let found = hosts_of_host(allowed).into_iter();
        found
            .map(|(name, at)| (name.as_str().to_owned(), at))
            .collect()
    }

    /// The listeners that these rules need and the jail does not have: sockets of the jail's network, bound.
    async fn make_listeners(
        &self,
        network: &Network,
    ) -> Result<Vec<(Listener, OwnedFd)>, SessionError> {
        for name in names_of(network) {
            if !self.state().borrow().numbers.contains_key(&name) {
                let text = name.as_str().to_owned();
                let number = self.tell(Change::Number { name: text }, vec![]).await?;
                // Without a number it has no address either, and nothing connects to it.
                let number = number.ok_or(SessionError::TooManyChanges { most: MOST })?;
                self.state().borrow_mut().numbers.insert(name, number);
            }
        }
        let wanted = {
            let state = self.state().borrow();
            let number = |name: &Name| state.numbers.get(name).copied().unwrap_or(0);
            let mut wanted = listeners(network, number)?;
            wanted.retain(|one| one.serves == Serves::Transparent && !state.serves(one));
            wanted
        };
        let mut made = vec![];
        if wanted.is_empty() {
            return Ok(made);
        }
        let command = self.keeper.number()?;
        for listener in wanted {
            let port = listener.address.port();
            let family = match listener.address {
                SocketAddr::V4(_) => Family::V4,
                SocketAddr::V6(_) => Family::V6,
            };
            let Some(socket) = self.socket(command, family).await? else {
                continue;
            };
            match net::bind(&socket, listener.address).and_then(|()| net::listen(&socket)) {
                // Without IPv6 on loopback.
                Err(Errno::ADDRNOTAVAIL) if family == Family::V6 => continue,
                bound => bound.map_err(|source| SessionError::NetPort { port, source })?,
            }
            made.push((listener, socket));
        }
        Ok(made)
    }

    /// An unconnected socket of the jail's network; `None` if the kernel has no IPv6. `command`: a number for the
    /// request.
    async fn socket(&self, command: u32, family: Family) -> Result<Option<OwnedFd>, SessionError> {
        let keeper = self.keeper;
        let first = |source| SessionError::First { source };
        let mail = keeper.jail.mail_of(command);
        let request = Request::Socket {
            command,
            family: family.number(),
        };
        let asked = keeper.jail.live.request(request, &[]);
        let answered = async {
            loop {
                for said in mail.take() {
                    if let Said::FileDone(errno, socket) = said {
                        return (errno, socket);
                    }
                }
                mail.came().await;
            }
        };
        let answer = match asked {
            Err(errno) => Err(first(errno)),
            Ok(()) => tokio::select! {
                answer = answered => Ok(answer),
                () = keeper.end_of_jail() => Err(SessionError::Ending),
                () = tokio::time::sleep(PATIENCE) => Err(first(Errno::TIMEDOUT)),
            },
        };
        keeper.jail.forget(command);
        match answer? {
            (None, Some(socket)) => Ok(Some(socket)),
            (Some(Errno::AFNOSUPPORT), _) if family == Family::V6 => Ok(None),
            (errno, _) => Err(first(errno.unwrap_or(Errno::BADF))),
        }
    }

    async fn publish(&self, publish: &[Publish], on: PublishOn) -> Result<(), SessionError> {
        match (&self.keeper.declared.ceiling, on) {
            (Some(_), _) => publish_below_ceiling(publish)?,
            (None, PublishOn::Loopback) => only_loopback(publish)?,
            (None, PublishOn::Any) => {}
        }
        let mut all = self.state().borrow().publish.clone();
        let mut made = vec![];
        for one in publish {
            if all.contains(one) {
                continue;
            }
            let listener = TcpListener::bind(one.address);
            let listener = listener.and_then(|l| l.set_nonblocking(true).map(|()| l));
            let fault = |source| SessionError::NetPublish {
                address: one.address,
                source,
            };
            made.push((*one, listener.map_err(fault)?));
            all.push(*one);
        }
        if all.len() > MOST {
            return Err(SessionError::TooManyChanges { most: MOST });
        }
        self.make_spares().await?;
        let what = texts(publish);
        self.record("publish", &what);
        let network = self.state().borrow().changes.on(self.base());
        self.let_dial(&network, &all);
        for (publish, listener) in made {
            let change = Change::Publish { publish };
            self.tell(change, vec![listener.into()]).await?;
            self.state().borrow_mut().publish.push(publish);
        }
        self.done("publish", &what);
        Ok(())
    }

    /// Gives the relay sockets for published ports, if it has none.
    async fn make_spares(&self) -> Result<(), SessionError> {
        if self.state().borrow().has_spares {
            return Ok(());
        }
        let command = self.keeper.number()?;
        for family in [Family::V4, Family::V6] {
            let mut sockets = vec![];
            for _ in 0..PUBLISHED {
                sockets.extend(self.socket(command, family).await?);
            }
            while !sockets.is_empty() {
                let few = sockets.split_off(sockets.len().saturating_sub(MAX_FDS));
                let family = family.number();
                self.tell(Change::Spare { family }, few).await?;
            }
        }
        self.state().borrow_mut().has_spares = true;
        Ok(())
    }

    async fn unpublish(&self, addresses: &[SocketAddr]) -> Result<(), SessionError> {
        let none = |address: &&SocketAddr| !self.state().borrow().publishes(**address);
        if let Some(address) = addresses.iter().find(none) {
            return Err(SessionError::NotPublished { address: *address });
        }
        let what: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        self.record("unpublish", &what);
        for address in addresses {
            let address = *address;
            self.tell(Change::Unpublish { address }, vec![]).await?;
            let mut state = self.state().borrow_mut();
            state.publish.retain(|one| one.address != address);
        }
        let network = self.state().borrow().changes.on(self.base());
        self.let_dial(&network, &self.state().borrow().publish);
        self.done("unpublish", &what);
        Ok(())
    }

    /// The ports that the relay may connect to through the keeper from now on.
    fn let_dial(&self, network: &Network, publish: &[Publish]) {
        let inside = publish.iter().map(|one| one.port);
        *self.desk.ports.borrow_mut() = network.ports().into_iter().chain(inside).collect();
    }

    /// Has the relay make a change.
    async fn tell(&self, change: Change, fds: Vec<OwnedFd>) -> Result<Option<u32>, SessionError> {
        tokio::select! {
            made = self.desk.ask(change, fds) => made.ok_or(SessionError::RelayGone),
            () = self.keeper.end_of_jail() => Err(SessionError::Ending),
            () = tokio::time::sleep(PATIENCE) => {
                self.desk.give_up();
                Err(SessionError::RelayGone)
            }
        }
    }

    fn record(&self, verb: &str, what: &[String]) {
        let By { uid, pid } = self.by;
        let event = Event::Net {
            verb,
            what,
            uid,
            pid,
        };
        self.keeper.events.record(&event);
    }

    /// Notes a change that is in force.
    fn done(&self, verb: &'static str, what: &[String]) {
        let mut state = self.state().borrow_mut();
        state.count += 1;
        if state.log.len() >= SHOWN {
            state.log.pop_front();
        }
        state.log.push_back(Made {
            time: now(),
            by: self.by,
            verb,
            what: what.to_vec(),
        });
        drop(state);
        let mut judged = self.keeper.judged.borrow_mut();
        self.keeper.net.now(&mut judged, self.base());
    }
}

fn unreadable(asked: &str, source: creel_policy::net::RuleError) -> SessionError {
    SessionError::Destination {
        asked: asked.escape_debug().to_string(),
        source,
    }
}

fn texts(publish: &[Publish]) -> Vec<String> {
    let text = |one: &Publish| format!("{}:{}", one.address, one.port);
    publish.iter().map(text).collect()
}
