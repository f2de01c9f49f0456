//! The relay as its supervisor sees it: questions are answered, its death is noticed, its last word is
//! kept for the verdict.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use serde::Serialize;
use tokio::io::unix::AsyncFd;

use super::ask;
use crate::egress::record::Destination;
use crate::egress::relay::Relay;
use crate::egress::wire::{self, FromRelay, ToRelay};
use crate::sys::readiness;
use crate::sys::socket::Wait;

/// How long the relay may take for its last word.
const FAREWELL: Duration = Duration::from_secs(2);

/// What was reached, for the verdict.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// The relay ended before the jail did; from then on nothing left.
    pub relay_died: bool,
    pub destinations: Vec<Destination>,
}

/// The relay of a jail that runs.
pub struct WayOut {
    /// Ends with this.
    _relay: Relay,
    socket: AsyncFd<OwnedFd>,
    died: bool,
}

impl WayOut {
    pub fn new(relay: Relay) -> io::Result<WayOut> {
        let socket = readiness::to_read(relay.socket.try_clone()?)?;
        Ok(WayOut {
            _relay: relay,
            socket,
            died: false,
        })
    }

    /// Serves the relay's questions, for good. Safe to drop between two messages.
    pub async fn serve(&mut self) {
        while !self.died {
            if let Some(FromRelay::Ask { number, host, port }) = self.next().await {
                let allow = ask::may(&host, port).await;
                let answer = ToRelay::Answer { number, allow };
                // If the relay is gone nobody waits for it.
                let _ = wire::send(self.socket.get_ref().as_fd(), &answer);
            }
        }
        std::future::pending().await
    }

    /// The next message; `None` where there is none to come.
    async fn next(&mut self) -> Option<FromRelay> {
        loop {
            let Ok(mut ready) = self.socket.readable().await else {
                self.died = true;
                return None;
            };
            match wire::receive(self.socket.get_ref(), Wait::No) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                Ok(Some(message)) => return Some(message),
                Ok(None) | Err(_) => {
                    self.died = true;
                    return None;
                }
            }
        }
    }

    /// The jail has ended: ends the relay and hears what was reached.
    pub async fn finish(mut self) -> Traffic {
        if self.died || wire::send(self.socket.get_ref().as_fd(), &ToRelay::Finish).is_err() {
            return Traffic {
                relay_died: true,
                destinations: vec![],
            };
        }
        let last = async {
            loop {
                match self.next().await {
                    Some(FromRelay::Summary { destinations }) => return Some(destinations),
                    Some(_) => {}
                    None => return None,
                }
            }
        };
        let destinations = tokio::time::timeout(FAREWELL, last).await.ok().flatten();
        Traffic {
            relay_died: destinations.is_none(),
            destinations: destinations.unwrap_or_default(),
        }
    }
}

/// Serves what may not be there.
pub async fn serve(way_out: &mut Option<WayOut>) {
    match way_out {
        Some(way_out) => way_out.serve().await,
        None => std::future::pending().await,
    }
}
