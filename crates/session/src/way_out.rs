//! The relay as its supervisor sees it: questions are answered, its death is noticed, its last word is
//! kept for the verdict. One that says nothing any more may still serve, and is not taken for dead.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::time::Duration;

use serde::Serialize;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, timeout_at};

use super::ask;
use super::events::finished;
use creel_egress::log::Lines;
use creel_egress::protocol::{self, FromRelay, ToRelay};
use creel_egress::record::Destination;
use creel_egress::relay::Relay;
use creel_sys::readiness;
use creel_sys::socket::Wait;

/// How long the relay may take for its last word.
const FAREWELL: Duration = Duration::from_secs(2);

/// How long the relay waits for an answer; a question that is older is nobody's.
const HELD: Duration = creel_egress::relay::PATIENCE;

/// What was reached, for the verdict.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// The relay ended before the jail did; from then on nothing left.
    pub relay_died: bool,
    /// The relay lived, and did not say in time what was reached: all of it may have left.
    pub summary_lost: bool,
    /// Lines of --log-net that are missing.
    pub log: Lines,
    pub destinations: Vec<Destination>,
}

/// The relay of a jail that runs.
pub struct WayOut {
    /// Ends with this.
    relay: Relay,
    socket: AsyncFd<OwnedFd>,
    died: bool,
    /// Questions that wait for the one that is asked; the relay bounds their number.
    waiting: VecDeque<Question>,
    /// The answer to the one that is asked.
    asking: Option<Pin<Box<dyn Future<Output = ToRelay>>>>,
}

struct Question {
    number: u64,
    host: String,
    port: u16,
    until: Instant,
}

impl WayOut {
    pub fn new(relay: Relay) -> io::Result<WayOut> {
        let socket = readiness::to_read(relay.socket.try_clone()?)?;
        Ok(WayOut {
            relay,
            socket,
            died: false,
            waiting: VecDeque::new(),
            asking: None,
        })
    }

    /// Whether somebody is asked now: the terminal is theirs.
    pub fn is_asking(&self) -> bool {
        self.asking.is_some()
    }

    /// Serves the relay's questions, one at a time; returns when one is begun or answered. What is asked
    /// goes on being asked when this is dropped and called again.
    pub async fn serve(&mut self) {
        loop {
            if self.died {
                // Nobody waits for an answer any more.
                (self.asking, self.waiting) = (None, VecDeque::new());
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
                    // If the relay is gone nobody waits for it.
                    let _ = protocol::send(self.socket.get_ref().as_fd(), &answer);
                    return;
                }
                said = next(&self.socket) => match said {
                    Heard::Said(FromRelay::Ask { number, host, port }) => {
                        let until = Instant::now() + HELD;
                        self.waiting.push_back(Question { number, host, port, until });
                    }
                    Heard::Said(_) => {}
                    Heard::Ended => self.died = true,
                    // Nobody knows what it does: it ends before that is said of it.
                    Heard::Nonsense => {
                        self.relay.end();
                        self.died = true;
                    }
                },
            }
        }
    }

    /// The jail has ended: tells the relay to end too, which it does while others clean up.
    pub fn end(&mut self) {
        self.died |= protocol::send(self.socket.get_ref().as_fd(), &ToRelay::Finish).is_err();
    }

    /// Hears what was reached, after [`end`](Self::end).
    pub async fn finish(&self) -> Traffic {
        if self.died {
            return Traffic {
                relay_died: true,
                ..Traffic::default()
            };
        }
        let mut destinations = vec![];
        let mut log = Lines::default();
        let last = async {
            loop {
                match next(&self.socket).await {
                    Heard::Said(FromRelay::Summary { destinations: part }) => {
                        destinations.extend(part);
                    }
                    Heard::Said(FromRelay::Finished { lines }) => {
                        log = lines;
                        return Heard::Said(());
                    }
                    Heard::Said(_) => {}
                    Heard::Ended => return Heard::Ended,
                    Heard::Nonsense => return Heard::Nonsense,
                }
            }
        };
        let last = tokio::time::timeout(FAREWELL, last).await;
        Traffic {
            // Its end of the socket closes with it and not before.
            relay_died: matches!(last, Ok(Heard::Ended)),
            summary_lost: matches!(last, Err(_) | Ok(Heard::Nonsense)),
            log,
            destinations,
        }
    }
}

impl Question {
    /// Asks it, unless nobody waits for the answer any more.
    async fn put(self) -> ToRelay {
        let asked = timeout_at(self.until, ask::may(&self.host, self.port));
        let allow = self.until > Instant::now() && asked.await.unwrap_or(false);
        let number = self.number;
        ToRelay::Answer { number, allow }
    }
}

/// What came from the relay.
enum Heard<M> {
    Said(M),
    /// It has ended: nothing is to come.
    Ended,
    /// No message of its own.
    Nonsense,
}

async fn next(socket: &AsyncFd<OwnedFd>) -> Heard<FromRelay> {
    loop {
        let Ok(mut ready) = socket.readable().await else {
            return Heard::Nonsense;
        };
        match protocol::receive(socket.get_ref(), Wait::No) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
            Ok(Some(message)) => return Heard::Said(message),
            Ok(None) => return Heard::Ended,
            Err(_) => return Heard::Nonsense,
        }
    }
}

/// Whether somebody is asked now.
pub fn is_asking(way_out: &Option<WayOut>) -> bool {
    way_out.as_ref().is_some_and(WayOut::is_asking)
}

/// Serves what may not be there.
pub async fn serve(way_out: &mut Option<WayOut>) {
    match way_out {
        Some(way_out) => way_out.serve().await,
        None => std::future::pending().await,
    }
}
