//! Changes that the supervisor makes while the relay serves: other rules, further sockets, published ports.
//!
//! The supervisor alone has the other end of the control socket. It decides what may be changed; the relay does
//! what it says and answers once that is in force.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::rc::Rc;

use tokio::task::AbortHandle;

use super::Way;
use super::gate::Gate;
use super::protocol::Change;
use super::publish::{self, Store};
use super::refusal::Refusal;
use super::relay::start_service;
use creel_plan::request::Publish;
use creel_policy::Network;
use creel_policy::net::{Changes, Name, Rule, RuleError};
use creel_policy::{Origin, net};
use creel_sys::net::Family;

/// The source of a rule that was added while the session runs, in place of a file.
pub const ALLOWED: &str = "creel net allow";
/// See [`ALLOWED`].
pub const DENIED: &str = "creel net deny";

/// The state of the relay that a change concerns.
pub(super) struct Served {
    pub gate: Rc<Gate>,
    pub store: Rc<Store>,
    /// The rules that it was started with.
    pub base: Network,
    /// The tasks that accept clients of published ports.
    pub published: RefCell<BTreeMap<SocketAddr, AbortHandle>>,
}

impl Served {
    /// Makes a change, which is in force when this returns; `None` but for a name's number. The error means that the
    /// supervisor and the relay disagree, and ends the relay.
    pub async fn change(
        &self,
        change: Change,
        mut fds: impl Iterator<Item = OwnedFd>,
    ) -> io::Result<Option<u32>> {
        let nonsense = || io::Error::from(io::ErrorKind::InvalidData);
        match change {
            Change::Number { name } => {
                let name = Name::parse(name.as_bytes()).map_err(|_| nonsense())?;
                return Ok(self.gate.names.borrow_mut().number(&name));
            }
            Change::Serve { serves } => {
                let socket = fds.next().ok_or_else(nonsense)?;
                start_service(&self.gate, socket, serves)?;
            }
            Change::Spare { family } => {
                let family = [Family::V4, Family::V6]
                    .into_iter()
                    .find(|f| f.number() == family)
                    .ok_or_else(nonsense)?;
                fds.for_each(|socket| self.store.put(family, socket));
            }
            Change::Publish { publish } => {
                let listener = fds.next().ok_or_else(nonsense)?;
                self.publish(listener.into(), publish)?;
            }
            Change::Unpublish { address } => {
                if let Some(task) = self.published.borrow_mut().remove(&address) {
                    task.abort();
                }
                let of_it = |entrance: Option<SocketAddr>| entrance == Some(address);
                self.gate.open.end(|grip| {
                    (grip.way == Way::Published && of_it(grip.entrance))
                        .then_some(Refusal::Unpublished)
                });
                // The task that accepts has its listener until it is polled.
                tokio::task::yield_now().await;
                self.gate.open.all_ended().await;
            }
            Change::Rules { allow, deny, hosts } => {
                let changes = changes(&allow, &deny).map_err(|_| nonsense())?;
                let named = hosts.into_iter().filter_map(|(name, addresses)| {
                    Some((Name::parse(name.as_bytes()).ok()?, addresses))
                });
                self.gate.resolver.add(named.collect());
                self.gate.change(changes.on(&self.base));
                self.gate.open.all_ended().await;
            }
        }
        Ok(None)
    }

    /// Accepts clients of a port of the host.
    pub fn publish(&self, listener: TcpListener, publish: Publish) -> io::Result<()> {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let (gate, store) = (Rc::clone(&self.gate), Rc::clone(&self.store));
        let ports = (publish.address, publish.port);
        let task = tokio::task::spawn_local(publish::serve(gate, store, listener, ports));
        let mut published = self.published.borrow_mut();
        published.insert(publish.address, task.abort_handle());
        Ok(())
    }
}

/// The changes with these texts.
fn changes(allow: &[String], deny: &[String]) -> Result<Changes, RuleError> {
    let (allowed, denied) = (Origin::flag(ALLOWED), Origin::flag(DENIED));
    let allow = allow
        .iter()
        .map(|text| Rule::of_text(text, allowed.clone()));
    let deny = deny.iter().map(|text| Rule::denial(text, denied.clone()));
    Ok(net::Changes {
        allow: allow.collect::<Result<_, _>>()?,
        deny: deny.collect::<Result<_, _>>()?,
    })
}
