//! The signals that creel handles while a jail runs, and after its end.

use std::io;

use tokio::signal::unix::{SignalKind, signal};

use creel_sys as sys;

/// The signals that are passed on to the jail.
pub struct Signals(Vec<(i32, tokio::signal::unix::Signal)>);

impl Signals {
    /// Registers the watched signals, except those that the caller ignores.
    pub fn new() -> io::Result<Signals> {
        let mut all = vec![];
        for number in sys::signal::WATCHED {
            // A signal that the caller ignores (nohup) stays ignored.
            if !sys::signal::is_ignored(number) {
                all.push((number, signal(SignalKind::from_raw(number))?));
            }
        }
        Ok(Signals(all))
    }

    /// The next signal.
    pub async fn next(&mut self) -> i32 {
        std::future::poll_fn(|context| {
            for (number, signal) in &mut self.0 {
                if signal.poll_recv(context).is_ready() {
                    return std::task::Poll::Ready(*number);
                }
            }
            std::task::Poll::Pending
        })
        .await
    }

    /// Returns when a signal asks creel to end.
    pub async fn asked(&mut self) {
        use sys::signal::{HUP, INT, QUIT, TERM};
        while !matches!(self.next().await, TERM | INT | HUP | QUIT) {}
    }
}
