//! Names outside: the host's own resolvers, asked for canonical names and nothing else that a jail can
//! vary.
//!
//! A name leaves when it is dialled, after it was granted. Under a rule such as `*.example.org` a jail
//! chooses the labels, and the servers of `example.org` see them: as they would see its requests.
//!
//! What an answer holds is not judged here; [`gate`](super::gate) checks every address before the
//! dial. Search domains are not applied: a name means itself.

pub mod ask;
pub mod host;
pub mod message;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{OnceCell, Semaphore};
use tokio::time::{Instant, timeout};

use self::ask::{Found, ask};
use self::message::Kind;
use super::dns::answer::is_localhost;
use crate::policy::net::Name;

/// For one answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the other family may take once one has an address (RFC 8305, section 3, is stricter).
const SETTLE: Duration = Duration::from_millis(150);
/// For how long an answer is kept, whatever it says, and one that says there is nothing.
const LEAST: Duration = Duration::from_secs(5);
const MOST: Duration = Duration::from_secs(300);
/// Names whose answers are kept.
const KEPT: usize = 1024;
/// Names that are asked for at once; each takes two sockets.
const AT_ONCE: usize = 64;

/// Why a name has no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    #[error("no resolver is known")]
    NoResolver,
    #[error("it does not exist")]
    NoName,
    #[error("it exists without an address")]
    NoAddress,
    #[error("its aliases do not end")]
    Aliases,
    #[error("the resolver {server} failed: {why}")]
    Server { server: SocketAddr, why: String },
}

/// What is needed to resolve, read before the relay is confined; and what was found lately.
#[derive(Debug)]
pub struct Resolver {
    pub servers: Vec<SocketAddr>,
    /// Of `/etc/hosts`; who is here is not asked for.
    pub hosts: BTreeMap<Name, Vec<IpAddr>>,
    patience: Duration,
    /// Who asks while another does waits for that one's answer.
    kept: RefCell<HashMap<Name, Rc<OnceCell<Kept>>>>,
    turns: Semaphore,
}

#[derive(Debug)]
struct Kept {
    outcome: Result<Vec<IpAddr>, ResolveError>,
    until: Instant,
}

impl Default for Resolver {
    fn default() -> Resolver {
        Resolver {
            servers: vec![],
            hosts: BTreeMap::new(),
            patience: PATIENCE,
            kept: RefCell::default(),
            turns: Semaphore::new(AT_ONCE),
        }
    }
}

impl Resolver {
    /// What the host would do, for the names that are `wanted` of `/etc/hosts`. A file that cannot be
    /// read is as an empty one, as it is to the host's own programs.
    pub fn of_host(wanted: impl Fn(&Name) -> bool) -> Resolver {
        let text = |path: &str| {
            let bytes = std::fs::read(path).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let interface = |name: &str| {
            let plain = !name.contains(['/', '.']);
            let number = plain.then(|| text(&format!("/sys/class/net/{name}/ifindex")));
            number?.trim().parse().ok()
        };
        Resolver {
            servers: host::servers(&text("/etc/resolv.conf"), interface),
            hosts: host::hosts(&text("/etc/hosts"), wanted),
            ..Resolver::default()
        }
    }

    /// With the resolvers that a policy names, and nothing of the host's.
    pub fn with(servers: Vec<SocketAddr>) -> Resolver {
        Resolver {
            servers,
            ..Resolver::default()
        }
    }

    /// The name's addresses, in the order in which to dial them.
    pub async fn resolve(&self, name: &Name) -> Result<Vec<IpAddr>, ResolveError> {
        if let Some(addresses) = self.hosts.get(name) {
            return Ok(addresses.clone());
        }
        if is_localhost(name) {
            return Ok(vec![Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()]);
        }
        let slot = self.slot(name);
        let kept = slot.get_or_init(|| self.find(name)).await;
        kept.outcome.clone()
    }

    fn slot(&self, name: &Name) -> Rc<OnceCell<Kept>> {
        let now = Instant::now();
        let holds = |slot: &OnceCell<Kept>| slot.get().is_none_or(|kept| kept.until > now);
        let mut kept = self.kept.borrow_mut();
        if let Some(slot) = kept.get(name)
            && holds(slot)
        {
            return Rc::clone(slot);
        }
        if kept.len() >= KEPT {
            kept.retain(|_, slot| holds(slot));
        }
        if kept.len() >= KEPT {
            kept.clear();
        }
        let slot = Rc::default();
        kept.insert(name.clone(), Rc::clone(&slot));
        slot
    }

    async fn find(&self, name: &Name) -> Kept {
        let _turn = self.turns.acquire().await;
        let mut v4 = pin!(ask(&self.servers, self.patience, name, Kind::A));
        let mut v6 = pin!(ask(&self.servers, self.patience, name, Kind::Aaaa));
        let (v4, v6) = tokio::select! {
            v4 = &mut v4 => {
                let v6 = other(&v4, v6).await;
                (Some(v4), v6)
            }
            v6 = &mut v6 => {
                let v4 = other(&v6, v4).await;
                (v4, Some(v6))
            }
        };
        keep(v6, v4)
    }
}

type Answer = Result<Found, ResolveError>;

/// The other family's answer; where one has addresses already, only if it is quick.
async fn other(one: &Answer, other: Pin<&mut impl Future<Output = Answer>>) -> Option<Answer> {
    match one {
        Ok(_) => timeout(SETTLE, other).await.ok(),
        Err(_) => Some(other.await),
    }
}

/// Both families' answers as one; IPv6 first (RFC 6724).
fn keep(v6: Option<Answer>, v4: Option<Answer>) -> Kept {
    let now = Instant::now();
    let mut addresses = vec![];
    let mut lasts = MOST;
    let mut error = ResolveError::NoAddress;
    let mut sure = true;
    for answer in [v6, v4] {
        match answer {
            Some(Ok(found)) => {
                addresses.extend(found.addresses);
                lasts = lasts.min(Duration::from_secs(found.ttl.into()));
            }
            Some(Err(ResolveError::NoAddress)) => {}
            Some(Err(ResolveError::NoName)) if sure => error = ResolveError::NoName,
            Some(Err(ResolveError::NoName)) => {}
            Some(Err(why)) => {
                error = why;
                sure = false;
            }
            None => sure = false,
        }
    }
    if addresses.is_empty() {
        // A server that failed may be well again for who asks next.
        let until = if sure { now + LEAST } else { now };
        return Kept {
            outcome: Err(error),
            until,
        };
    }
    if !sure {
        lasts = LEAST;
    }
    Kept {
        outcome: Ok(addresses),
        until: now + lasts.max(LEAST),
    }
}
