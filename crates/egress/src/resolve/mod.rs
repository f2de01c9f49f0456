//! Resolves names with the host's resolvers. Queries hold canonical names, and nothing else that a jail can
//! vary.
//!
//! A name is sent when it is dialled, after it was granted. Under a rule such as `*.example.org` a jail
//! chooses the labels, and the servers of `example.org` see them, as they would see its requests.
//!
//! Answers are not judged here; [`gate`](super::gate) checks every address before the dial. Search domains
//! are not applied.

pub mod ask;
mod error;
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
pub use self::error::ResolveError;
use self::error::WHOLE;
use self::message::Kind;
use creel_policy::net::Name;

/// Time limit for one answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the other family may take once one has an address (RFC 8305, section 3, is stricter).
const SETTLE: Duration = Duration::from_millis(150);
/// Minimum cache time of an answer, which negative answers have, and the maximum.
const LEAST: Duration = Duration::from_secs(5);
const MOST: Duration = Duration::from_secs(300);
/// Maximum cached names.
const KEPT: usize = 1024;
/// Maximum concurrent lookups; each uses two sockets.
const AT_ONCE: usize = 64;

/// The resolver: its configuration, read before the relay is confined, and its cache.
#[derive(Debug)]
pub struct Resolver {
    /// The resolvers, in the order in which they are asked.
    pub servers: Vec<SocketAddr>,
    /// From `/etc/hosts`; these names are not queried.
    hosts: RefCell<BTreeMap<Name, Vec<IpAddr>>>,
    patience: Duration,
    /// Concurrent lookups of one name share a single query.
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
            hosts: RefCell::default(),
            patience: PATIENCE,
            kept: RefCell::default(),
            turns: Semaphore::new(AT_ONCE),
        }
    }
}

/// The `wanted` names of the host's `/etc/hosts`, with their addresses. An unreadable file counts as empty, as it
/// does for the host's own programs.
pub fn hosts_of_host(wanted: impl Fn(&Name) -> bool) -> BTreeMap<Name, Vec<IpAddr>> {
    host::hosts(&text("/etc/hosts"), wanted)
}

fn text(path: &str) -> String {
    let bytes = std::fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Resolver {
    /// Uses the host's configuration, with the `wanted` names of `/etc/hosts`. An unreadable file counts as
    /// empty, as it does for the host's own programs.
    pub fn of_host(wanted: impl Fn(&Name) -> bool) -> Resolver {
        let interface = |name: &str| {
            let plain = !name.contains(['/', '.']);
            let number = plain.then(|| text(&format!("/sys/class/net/{name}/ifindex")));
            number?.trim().parse().ok()
        };
        Resolver {
            servers: host::servers(&text("/etc/resolv.conf"), interface),
            hosts: RefCell::new(hosts_of_host(wanted)),
            ..Resolver::default()
        }
    }

    /// Uses the resolvers that a policy names, and no configuration of the host.
    pub fn with(servers: Vec<SocketAddr>) -> Resolver {
        Resolver {
            servers,
            ..Resolver::default()
        }
    }

    /// Adds names that have these addresses and are not queried.
    pub fn add(&self, hosts: BTreeMap<Name, Vec<IpAddr>>) {
        self.hosts.borrow_mut().extend(hosts);
    }

    /// The name's addresses, in the order in which to dial them.
    pub async fn resolve(&self, name: &Name) -> Result<Vec<IpAddr>, ResolveError> {
        if let Some(addresses) = self.hosts.borrow().get(name) {
            return Ok(addresses.clone());
        }
        if name.is_localhost() {
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
        match timeout(WHOLE, self.ask_both(name)).await {
            Ok(kept) => kept,
            Err(_) => keep(None, Some(Err(ResolveError::Late))),
        }
    }

    async fn ask_both(&self, name: &Name) -> Kept {
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

/// Waits for the other family's answer; if this one has addresses already, only for a short time.
async fn other(one: &Answer, other: Pin<&mut impl Future<Output = Answer>>) -> Option<Answer> {
    match one {
        Ok(_) => timeout(SETTLE, other).await.ok(),
        Err(_) => Some(other.await),
    }
}

/// Merges both families' answers; IPv6 first (RFC 6724).
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
        // A failure is not cached: the server may work again for the next lookup.
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

#[cfg(test)]
impl Resolver {
    /// Clears the cache.
    pub fn forget(&self) {
        self.kept.borrow_mut().clear();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use hickory_proto::op::ResponseCode;
    use tokio::net::UdpSocket;

    use super::*;
    use crate::outside::{Carrier, Outside, addresses, answer, locally, record, to};

    fn name(text: &str) -> Name {
        Name::parse(text.as_bytes()).unwrap()
    }

    #[tokio::test]
    async fn both_families_are_asked_once_by_the_canonical_name() {
        locally(async {
            let outside = Outside::with(&[
                "A a.example 192.0.2.1",
                "A a.example 192.0.2.2",
                "AAAA a.example 2001:db8::1",
            ])
            .await;
            let resolver = outside.resolver();
            let asked = name("A.Example.");
            let both = tokio::join!(resolver.resolve(&asked), resolver.resolve(&asked));
            let expected = addresses(&["2001:db8::1", "192.0.2.1", "192.0.2.2"]);
            assert_eq!(both, (Ok(expected.clone()), Ok(expected.clone())));
            assert_eq!(resolver.resolve(&asked).await, Ok(expected));
            let mut asked = outside.asked();
            asked.sort();
            assert_eq!(asked, ["A a.example.", "AAAA a.example."]);
        })
        .await;
    }

    #[tokio::test]
    async fn what_is_not_there_is_told_apart_and_kept() {
        locally(async {
            let outside = Outside::start(|question, _| vec![answer(question, &["TXT"; 0])]).await;
            let resolver = outside.resolver();
            let none = name("none.example");
            assert_eq!(resolver.resolve(&none).await, Err(ResolveError::NoName));
            assert_eq!(resolver.resolve(&none).await, Err(ResolveError::NoName));
            assert_eq!(outside.asked().len(), 2, "{:?}", outside.asked());
            let unknown = Resolver::default().resolve(&none).await;
            assert_eq!(unknown, Err(ResolveError::NoResolver));
        })
        .await;
    }

    #[tokio::test]
    async fn aliases_are_followed_and_asked_for_where_the_answer_ends() {
        locally(async {
            let outside = Outside::start(|question, _| {
                let asked = question.queries[0].name().to_string();
                let mut reply = to(question);
                match (
                    asked.as_str(),
                    question.queries[0].query_type().to_string().as_str(),
                ) {
                    ("open.example.", _) => {
                        reply.add_answer(record("CNAME open.example middle.example 7"));
                        // An answer for another name is not believed.
                        reply.add_answer(record("A other.example 192.0.2.66"));
                    }
                    ("middle.example.", "A") => {
                        reply.add_answer(record("CNAME middle.example end.example"));
                        reply.add_answer(record("A END.example 192.0.2.1"));
                    }
                    ("circle.example.", _) => {
                        reply.add_answer(record("CNAME circle.example round.example"));
                        reply.add_answer(record("CNAME round.example circle.example"));
                    }
                    ("far.example.", _) => {
                        reply.add_answer(record("CNAME far.example afar.example"));
                    }
                    ("afar.example.", _) => {
                        reply.add_answer(record("CNAME afar.example far.example"));
                    }
                    _ => {}
                }
                vec![reply]
            })
            .await;
            let resolver = outside.resolver();
            let found = resolver.resolve(&name("open.example")).await;
            assert_eq!(found, Ok(addresses(&["192.0.2.1"])));
            let circle = resolver.resolve(&name("circle.example")).await.unwrap_err();
            assert!(
                circle.to_string().contains("the aliases do not end"),
                "{circle}"
            );
            let far = resolver.resolve(&name("far.example")).await;
            assert_eq!(far, Err(ResolveError::Aliases));
        })
        .await;
    }

    #[tokio::test]
    async fn a_forged_answer_is_waited_past() {
        locally(async {
            let outside = Outside::start(|question, _| {
                let right = answer(question, &["A a.example 192.0.2.1"]);
                let mut number = answer(question, &["A a.example 192.0.2.66"]);
                number.metadata.id ^= 1;
                let mut asks = number.clone();
                asks.metadata.id ^= 1;
                asks.metadata.message_type = hickory_proto::op::MessageType::Query;
                let mut other = answer(question, &["A a.example 192.0.2.66"]);
                other.queries[0].set_name(crate::outside::wire("b.example"));
                let mut none = answer(question, &["A a.example 192.0.2.66"]);
                none.queries.clear();
                vec![number, asks, other, none, right]
            })
            .await;
            let found = outside.resolver().resolve(&name("a.example")).await;
            assert_eq!(found, Ok(addresses(&["192.0.2.1"])));
        })
        .await;
    }

    #[tokio::test]
    async fn what_does_not_fit_is_asked_for_over_a_connection() {
        locally(async {
            let outside = Outside::start(|question, carrier| {
                let mut reply = answer(question, &["A a.example 192.0.2.1"]);
                if carrier == Carrier::Udp {
                    reply = reply.truncate();
                }
                vec![reply]
            })
            .await;
            let found = outside.resolver().resolve(&name("a.example")).await;
            assert_eq!(found, Ok(addresses(&["192.0.2.1"])));
            let over_tcp = outside
                .asked()
                .iter()
                .filter(|a| a.starts_with("tcp "))
                .count();
            assert_eq!(over_tcp, 2, "{:?}", outside.asked());
        })
        .await;
    }

    #[tokio::test]
    async fn the_next_server_is_asked_where_one_fails_or_is_silent() {
        locally(async {
            let good =
                Outside::with(&["A a.example 192.0.2.1", "AAAA a.example 2001:db8::1"]).await;
            let failing = Outside::start(|question, _| {
                let mut reply = to(question);
                reply.metadata.response_code = ResponseCode::ServFail;
                vec![reply]
            })
            .await;
            let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let closed = UdpSocket::bind("127.0.0.1:0")
                .await
                .unwrap()
                .local_addr()
                .unwrap();
            let servers = vec![
                failing.address,
                closed,
                silent.local_addr().unwrap(),
                good.address,
            ];
            let mut resolver = Resolver::with(servers);
            resolver.patience = Duration::from_millis(200);
            let found = resolver.resolve(&name("a.example")).await;
            assert_eq!(found, Ok(addresses(&["2001:db8::1", "192.0.2.1"])));
            let mut resolver = Resolver::with(vec![failing.address]);
            resolver.patience = Duration::from_millis(200);
            let failed = resolver.resolve(&name("a.example")).await.unwrap_err();
            assert!(matches!(failed, ResolveError::Server { .. }), "{failed}");
            let before = failing.asked().len();
            resolver.resolve(&name("a.example")).await.unwrap_err();
            assert!(failing.asked().len() > before, "a failure was kept");
        })
        .await;
    }

    #[tokio::test]
    async fn a_server_of_old_is_asked_without_extensions() {
        locally(async {
            let outside = Outside::start(|question, _| {
                if question.edns.is_none() {
                    return vec![answer(question, &["A a.example 192.0.2.1"])];
                }
                let mut reply = to(question);
                reply.queries.clear();
                reply.metadata.response_code = ResponseCode::FormErr;
                vec![reply]
            })
            .await;
            let found = outside.resolver().resolve(&name("a.example")).await;
            assert_eq!(found, Ok(addresses(&["192.0.2.1"])));
        })
        .await;
    }

    #[tokio::test]
    async fn one_familys_silence_does_not_hold_up_the_other() {
        locally(async {
            let outside = Outside::start(|question, _| match question.queries[0].query_type() {
                hickory_proto::rr::RecordType::A => {
                    vec![answer(question, &["A a.example 192.0.2.1 200"])]
                }
                _ => vec![],
            })
            .await;
            let resolver = outside.resolver();
            let start = Instant::now();
            let found = resolver.resolve(&name("a.example")).await;
            assert_eq!(found, Ok(addresses(&["192.0.2.1"])));
            assert!(start.elapsed() < PATIENCE / 2, "{:?}", start.elapsed());
        })
        .await;
    }

    #[test]
    fn answers_are_kept_for_as_long_as_they_hold_within_bounds() {
        let lasts = |v6: Option<Answer>, v4: Option<Answer>| {
            let now = tokio::time::Instant::now();
            let kept = keep(v6, v4);
            (
                kept.outcome.is_ok(),
                (kept.until - now).as_secs_f64().round(),
            )
        };
        let found = |ttl| {
            let addresses = addresses(&["192.0.2.1"]);
            Some(Ok(Found { addresses, ttl }))
        };
        let none = || Some(Err(ResolveError::NoAddress));
        let failed = || Some(Err(ResolveError::Aliases));
        assert_eq!(lasts(found(0), none()), (true, 5.0));
        assert_eq!(lasts(found(60), found(30)), (true, 30.0));
        assert_eq!(lasts(found(u32::MAX), none()), (true, 300.0));
        assert_eq!(lasts(found(60), None), (true, 5.0));
        assert_eq!(lasts(found(60), failed()), (true, 5.0));
        assert_eq!(lasts(none(), none()), (false, 5.0));
        assert_eq!(lasts(none(), failed()), (false, 0.0));
        assert_eq!(lasts(None, failed()), (false, 0.0));
    }

    #[tokio::test]
    async fn what_is_kept_is_bounded() {
        let resolver = Resolver::default();
        for number in 0..KEPT * 2 + 10 {
            resolver.slot(&name(&format!("n{number}.example")));
            assert!(resolver.kept.borrow().len() <= KEPT);
        }
    }

    #[tokio::test]
    async fn the_hosts_file_and_localhost_need_no_server() {
        let resolver = Resolver {
            hosts: host::hosts("192.0.2.9 own.example\n", |_| true).into(),
            ..Resolver::default()
        };
        let found = resolver.resolve(&name("own.example")).await;
        assert_eq!(found, Ok(addresses(&["192.0.2.9"])));
        let found = resolver.resolve(&name("x.localhost")).await;
        assert_eq!(found, Ok(addresses(&["::1", "127.0.0.1"])));
        let found = resolver.resolve(&name("xlocalhost")).await;
        assert_eq!(found, Err(ResolveError::NoResolver));
    }
}
