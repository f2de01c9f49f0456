//! The supervisor's side of the relay: it answers questions, notices the relay's end, and keeps its final
//! summary for the verdict. A relay that sends nothing more may still serve, and is not treated as ended.

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

/// The time limit for the relay's final summary.
const FAREWELL: Duration = Duration::from_secs(2);

/// How long the relay waits for an answer; after that, no one waits for the question.
const HELD: Duration = creel_egress::relay::PATIENCE;

/// The destinations that the jail requested, reached or refused, for the verdict.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// The relay ended before the jail did; after that, no traffic left the jail.
    pub relay_died: bool,
    /// The relay was alive and did not report in time what was reached: any allowed traffic may have left.
    pub summary_lost: bool,
    /// Lines of --log-net that are missing.
    pub log: Lines,
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
}

struct Question {
    number: u64,
    host: String,
    port: u16,
    until: Instant,
}

impl Egress {
    pub fn new(relay: Relay) -> io::Result<Egress> {
        let socket = readiness::to_read(relay.socket.try_clone()?)?;
        Ok(Egress {
            relay,
            socket,
            died: false,
            waiting: VecDeque::new(),
            asking: None,
        })
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
                said = next(&self.socket) => match said {
                    Heard::Said(FromRelay::Ask { number, host, port }) => {
                        let until = Instant::now() + HELD;
                        self.waiting.push_back(Question { number, host, port, until });
                    }
                    Heard::Said(_) => {}
                    Heard::Ended => self.died = true,
                    // The state of the relay is unknown, so it is ended before it is reported as ended.
                    Heard::Nonsense => {
                        self.relay.end();
                        self.died = true;
                    }
                },
            }
        }
    }

    /// The jail has ended: tells the relay to end too, which it does while the caller cleans up.
    pub fn end(&mut self) {
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
            // The relay's end of the socket closes only when the relay ends.
            relay_died: matches!(last, Ok(Heard::Ended)),
            summary_lost: matches!(last, Err(_) | Ok(Heard::Nonsense)),
            log,
            destinations,
        }
    }
}

impl Question {
    /// Asks the person, unless the relay waits no longer for the answer.
    async fn put(self) -> ToRelay {
        let asked = timeout_at(self.until, ask::may(&self.host, self.port));
        let allow = self.until > Instant::now() && asked.await.unwrap_or(false);
        let number = self.number;
        ToRelay::Answer { number, allow }
    }
}

/// A message or the end of the relay.
enum Heard<M> {
    Said(M),
    /// The relay has ended: nothing more will come.
    Ended,
    /// Not a valid message.
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
