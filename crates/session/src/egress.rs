//! The supervisor's side of the relay: it answers questions, notices the relay's end, and keeps its final
//! summary for the verdict. A relay that sends nothing more may still serve, and is not treated as ended.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use rustix::fs::OFlags;
use serde::Serialize;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::ask;
use super::desk::{Desk, Order};
use super::events::finished;
use creel_egress::log::Lines;
use creel_egress::names;
use creel_egress::protocol::{self, Consent, FromRelay, ToRelay};
use creel_egress::relay::{QUESTIONS, Relay};
use creel_egress::summary::{self, Destination};
use creel_sys::socket::{MAX_FDS, Wait};
use creel_sys::{Errno, readiness};

/// The time limit for the relay's final summary.
const FAREWELL: Duration = Duration::from_secs(2);

/// How long the relay waits for an answer; after that, no one waits for the question.
const HELD: Duration = creel_egress::relay::PATIENCE;

/// Maximum queued questions. The relay has [`QUESTIONS`] open at a time and can replace one that timed out; a
/// relay that sends more is compromised.
const MOST_WAITING: usize = 4 * QUESTIONS;

/// The destinations that the jail requested, reached or refused, for the verdict.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// The relay ended before the jail did; after that, no traffic left the jail.
    pub relay_died: bool,
    /// The relay was alive and did not report in time what was reached: any allowed traffic may have left.
    pub summary_lost: bool,
    /// Lines of --log-net that are missing.
    pub log: Lines,
    /// At most [`summary::MOST`]; the rest is counted under the host `others`, port 0.
    pub destinations: Vec<Destination>,
}

/// The relay of a running jail.
pub struct Egress {
    /// The relay ends when this is dropped.
    relay: Relay,
    socket: AsyncFd<OwnedFd>,
    died: bool,
    /// Questions that wait for the current one; the relay bounds their number.
    waiting: VecDeque<Question>,
    /// The answer to the current question.
    asking: Option<Pin<Box<dyn Future<Output = ToRelay>>>>,
    desk: Rc<Desk>,
    /// The change that the relay makes now.
    changing: Option<(u64, oneshot::Sender<Option<u32>>)>,
    /// The number of the last change.
    last: u64,
}

struct Question {
    number: u64,
    host: String,
    port: u16,
    until: Instant,
}

impl Egress {
    /// Watches the socket of a relay. Needs a tokio runtime; errors are those of epoll(7) and of a lack of
    /// descriptors.
    pub fn new(relay: Relay) -> io::Result<Egress> {
        let socket = readiness::to_read(relay.socket.try_clone()?)?;
        Ok(Egress {
            relay,
            socket,
            died: false,
            waiting: VecDeque::new(),
            asking: None,
            desk: Rc::default(),
            changing: None,
            last: 0,
        })
    }

    /// The queue of changes for the relay.
    pub fn desk(&self) -> &Rc<Desk> {
        &self.desk
    }

    /// Whether a person is being asked. The terminal then belongs to the question.
    pub fn is_asking(&self) -> bool {
        self.asking.is_some()
    }

    /// Serves the relay's questions, one at a time; returns when one is started or answered. A started
    /// question continues if this future is dropped and called again.
    pub async fn serve(&mut self) {
        loop {
            if self.died {
                // The relay has ended and waits for no answer. A caller that gave the terminal to a question
                // takes it back.
                self.waiting.clear();
                self.desk.close();
                self.changing = None;
                if self.asking.take().is_some() {
                    return;
                }
                return std::future::pending().await;
            }
            if self.asking.is_none()
                && let Some(question) = self.waiting.pop_front()
            {
                self.asking = Some(Box::pin(question.put()));
                return;
            }
            tokio::select! {
                answer = finished(&mut self.asking) => {
                    self.asking = None;
                    // If the relay has ended, the answer is not needed.
                    let _ = protocol::send(self.socket.get_ref().as_fd(), &answer);
                    return;
                }
                order = self.desk.next(), if self.changing.is_none() => self.order(order),
                () = self.desk.given_up() => self.kill(),
                said = next(&self.socket) => match said {
                    Heard::Said((FromRelay::Changed { number, name }, _)) => self.changed(number, name),
                    Heard::Said((FromRelay::Dial { number, address }, fds)) => {
                        self.dial(number, address, fds.into_iter().flatten().next());
                    }
                    Heard::Said((FromRelay::Ask { number, host, port }, _))
                        if self.waiting.len() < MOST_WAITING =>
                    {
                        let until = Instant::now() + HELD;
                        self.waiting.push_back(Question { number, host, port, until });
                    }
                    Heard::Ended => self.died = true,
                    // The state of the relay is unknown, so it is ended before it is reported as ended.
                    Heard::Said(_) | Heard::Nonsense => self.kill(),
                },
            }
        }
    }

    fn kill(&mut self) {
        self.relay.end();
        self.died = true;
    }

    /// Sends a change to the relay.
    fn order(&mut self, order: Order) {
        let Order { change, fds, done } = order;
        self.last += 1;
        let number = self.last;
        let change = ToRelay::Change { number, change };
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        match protocol::send_with(self.socket.get_ref().as_fd(), &change, &fds) {
            Ok(()) => self.changing = Some((number, done)),
            Err(_) => self.kill(),
        }
    }

    fn changed(&mut self, number: u64, name: Option<u32>) {
        match self.changing.take() {
            Some((ordered, done)) if ordered == number => {
                // A caller that has given up needs no answer.
                let _ = done.send(name.filter(|name| *name < names::MOST));
            }
            _ => self.kill(),
        }
    }

    /// Connects a socket of the relay's, at a port that was granted after the relay was confined.
    fn dial(&mut self, number: u64, address: SocketAddr, socket: Option<OwnedFd>) {
        let connected = match socket {
            Some(socket) => connect_now(&self.desk.ports.borrow(), &socket, address),
            None => Err(Errno::BADF),
        };
        let errno = connected.err().map_or(0, Errno::raw_os_error);
        let answer = ToRelay::Dialled { number, errno };
        if protocol::send_now(self.socket.get_ref().as_fd(), &answer).is_err() {
            self.kill();
        }
    }

    /// The jail has ended: tells the relay to end too, which it does while the caller cleans up.
    pub fn end(&mut self) {
        self.desk.close();
        self.changing = None;
        self.died |= protocol::send(self.socket.get_ref().as_fd(), &ToRelay::Finish).is_err();
    }

    /// Receives the summary, after [`end`](Self::end).
    pub async fn finish(&self) -> Traffic {
        if self.died {
            return Traffic {
                relay_died: true,
                ..Traffic::default()
            };
        }
        let mut traffic = Traffic::default();
        let last = tokio::time::timeout(FAREWELL, gather(&self.socket, &mut traffic)).await;
        Traffic {
            // The relay's end of the socket closes only when the relay ends.
            relay_died: matches!(last, Ok(Heard::Ended)),
            summary_lost: matches!(last, Err(_) | Ok(Heard::Nonsense)),
            ..traffic
        }
    }
}

/// Receives the summary. The relay may have been taken over: it says what it likes, and no more of it than
/// a summary can have.
async fn gather(socket: &AsyncFd<OwnedFd>, traffic: &mut Traffic) -> Heard<()> {
    loop {
        match next(socket).await {
            Heard::Said((FromRelay::Summary { destinations }, _)) => {
                if traffic.destinations.len() + destinations.len() > summary::MOST {
                    return Heard::Nonsense;
                }
                let bounded = destinations.into_iter().map(Destination::bounded);
                traffic.destinations.extend(bounded);
            }
            Heard::Said((FromRelay::Finished { lines }, _)) => {
                traffic.log = lines;
                return Heard::Said(());
            }
            Heard::Said(_) => {}
            Heard::Ended => return Heard::Ended,
            Heard::Nonsense => return Heard::Nonsense,
        }
    }
}

/// Starts a connection to one of these ports, without waiting for it. The relay may have been taken over.
fn connect_now(ports: &BTreeSet<u16>, socket: &OwnedFd, address: SocketAddr) -> Result<(), Errno> {
    if !ports.contains(&address.port()) {
        return Err(Errno::ACCESS);
    }
    let flags = rustix::fs::fcntl_getfl(socket)?;
    rustix::fs::fcntl_setfl(socket, flags | OFlags::NONBLOCK)?;
    rustix::net::connect(socket, &address)
}

impl Question {
    /// Asks the person, unless the relay waits no longer for the answer.
    async fn put(self) -> ToRelay {
        let asked = timeout_at(self.until, ask::may(&self.host, self.port));
        let answer = match self.until > Instant::now() {
            true => asked.await.unwrap_or(Consent::Unanswered),
            false => Consent::Unanswered,
        };
        let number = self.number;
        ToRelay::Answer { number, answer }
    }
}

/// A message or the end of the relay.
#[derive(Debug)]
enum Heard<M> {
    Said(M),
    /// The relay has ended: nothing more will come.
    Ended,
    /// Not a valid message.
    Nonsense,
}

async fn next(socket: &AsyncFd<OwnedFd>) -> Heard<(FromRelay, [Option<OwnedFd>; MAX_FDS])> {
    loop {
        let Ok(mut ready) = socket.readable().await else {
            return Heard::Nonsense;
        };
        match protocol::receive_with(socket.get_ref(), Wait::No) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
            Ok(Some(message)) => return Heard::Said(message),
            Ok(None) => return Heard::Ended,
            Err(_) => return Heard::Nonsense,
        }
    }
}

/// Whether a person is being asked. The terminal then belongs to the question.
pub fn is_asking(egress: &Option<Egress>) -> bool {
    egress.as_ref().is_some_and(Egress::is_asking)
}

/// Serves the relay's questions; never returns if there is no relay.
pub async fn serve(egress: &mut Option<Egress>) {
    match egress {
        Some(egress) => egress.serve().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use creel_sys::socket;

    /// The supervisor's record of these messages, and how they end.
    fn gathered(messages: &[String]) -> (Traffic, Heard<()>) {
        let (ours, theirs) = socket::pair().unwrap();
        for message in messages {
            socket::send(theirs.as_fd(), message.as_bytes(), &[]).unwrap();
        }
        drop(theirs);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .unwrap();
        let mut traffic = Traffic::default();
        let end = runtime.block_on(async {
            let ours = readiness::to_read(ours).unwrap();
            gather(&ours, &mut traffic).await
        });
        (traffic, end)
    }

    fn destination(text: &str) -> String {
        format!(
            r#"{{"host":"{text}","port":1,"allowed":0,"refused":1,"bytes_in":0,"bytes_out":0,"why":{{"way":"dns",
            "reason":{{"code":"net-denied","rule":{{"file":"{text}","line":1}}}},"text":"{text}"}}}}"#
        )
    }

    fn summary(destinations: &[String]) -> String {
        let all = destinations.join(",");
        format!(r#"{{"says":"summary","destinations":[{all}]}}"#)
    }

    #[test]
    fn a_relay_connects_through_its_keeper_at_granted_ports_alone() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let socket = || {
            let made = creel_sys::net::unconnected(creel_sys::net::Family::V4);
            made.unwrap().unwrap()
        };
        let granted = BTreeSet::from([address.port()]);
        for ports in [BTreeSet::new(), BTreeSet::from([address.port() ^ 1])] {
            let denied = connect_now(&ports, &socket(), address);
            assert_eq!(denied, Err(Errno::ACCESS));
        }
        listener.set_nonblocking(true).unwrap();
        assert!(listener.accept().is_err());
        // The control. A socket that would wait does not.
        let waits = socket();
        let flags = rustix::fs::fcntl_getfl(&waits).unwrap();
        rustix::fs::fcntl_setfl(&waits, flags - OFlags::NONBLOCK).unwrap();
        let begun = connect_now(&granted, &waits, address);
        assert!(
            matches!(begun, Ok(()) | Err(Errno::INPROGRESS)),
            "{begun:?}"
        );
        listener.set_nonblocking(false).unwrap();
        listener.accept().unwrap();
        // Something else than a TCP socket connects to nothing.
        let (other, _) = socket::pair().unwrap();
        assert!(connect_now(&granted, &other, address).is_err());
    }

    #[test]
    fn a_hostile_summary_is_bounded() {
        let last = r#"{"says":"finished","lines":{"unwritten":0,"dropped":0}}"#.to_owned();
        // The control.
        let one = summary(&[destination("a.test")]);
        let (traffic, end) = gathered(&[one.clone(), last.clone()]);
        assert!(matches!(end, Heard::Said(())), "{end:?}");
        assert_eq!(traffic.destinations[0].host, "a.test");
        // Long texts are cut.
        let long = summary(&[destination(&"x".repeat(20_000))]);
        let (traffic, end) = gathered(&[long, last.clone()]);
        assert!(matches!(end, Heard::Said(())), "{end:?}");
        let cut = traffic.destinations[0].clone();
        let why = cut.why.unwrap();
        let file = why.reason.rule.unwrap().file;
        assert_eq!(
            (cut.host.len(), why.text.len(), file.len()),
            (256, 300, 4096)
        );
        // More destinations than a summary has are no summary.
        let many: Vec<String> = (0..100).map(|_| destination("a.test")).collect();
        let (traffic, end) = gathered(&vec![summary(&many); 5]);
        assert!(matches!(end, Heard::Nonsense), "{end:?}");
        assert_eq!(traffic.destinations.len(), 400);
        // Neither is what has another form; what came before it stays.
        let (traffic, end) = gathered(&[one, "{".into(), last]);
        assert!(matches!(end, Heard::Nonsense), "{end:?}");
        assert_eq!(traffic.destinations.len(), 1);
    }
}
