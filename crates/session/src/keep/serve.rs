//! The keeper's side of a connection: one request, its answers, and what comes after it.

use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use rustix::net::{SocketFlags, accept_with};
use serde_json::json;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::error::SessionError;
use super::files;
use super::net;
use super::one;
use super::record::Event;
use super::session::{Job, Keeper};
use super::store;
use super::wire::{self, Ask, Fds, Tell};
use creel_jail::fault_point::{self, Point};
use creel_sys::socket::Wait;
use creel_sys::{Errno, readiness};

/// A client.
pub(super) struct Connection {
    socket: AsyncFd<OwnedFd>,
    /// A message could not be sent: the client does not read, and what follows would have a hole.
    broken: Cell<bool>,
    /// It was told of a stop and has said nothing since: one is enough.
    told_of_stop: Cell<bool>,
}

impl Connection {
    /// The next request; `None` when the client is gone.
    pub async fn next(&self) -> Option<(Ask, Fds)> {
        if self.broken.get() {
            return None;
        }
        let heard = self.socket.async_io(Interest::READABLE, |socket| {
            wire::receive::<Ask>(socket.as_fd(), Wait::No)
        });
        let heard = heard.await;
        if let Err(error) = &heard
            && Errno::from_io_error(error) == Some(Errno::MFILE)
        {
            let error = SessionError::Descriptors;
            self.tell(&Tell::Refused {
                code: error.code().into(),
                text: error.to_string(),
                status: error.status(),
            });
        }
        // A client that breaks the form is treated as one that is gone.
        let heard = heard.ok().flatten();
        self.told_of_stop.set(false);
        heard
    }

    /// The socket to the client.
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.socket.get_ref().as_fd()
    }

    /// Tells of a stop of the command.
    pub fn tell_of_stop(&self) {
        if !self.told_of_stop.replace(true) {
            self.tell(&Tell::Stopped);
        }
    }

    /// Sends an answer; a client that is gone needs none.
    pub fn tell(&self, message: &Tell) {
        self.hand(message, &[]);
    }

    pub fn hand(&self, message: &Tell, fds: &[BorrowedFd<'_>]) {
        if wire::send(self.socket.get_ref().as_fd(), message, fds).is_err() {
            self.broken.set(true);
        }
    }

    pub fn refuse(&self, keeper: &Keeper, error: &SessionError) {
        let text = error.to_string();
        keeper.events.record(&Event::Refused {
            code: error.code(),
            text: &text,
        });
        self.tell(&Tell::Refused {
            code: error.code().into(),
            text,
            status: error.status(),
        });
    }
}

/// Accepts clients for ever.
pub(super) async fn accept(keeper: &Rc<Keeper>, listener: &AsyncFd<OwnedFd>) -> Infallible {
    loop {
        let one = listener.async_io(Interest::READABLE, |socket| {
            Ok(accept_with(
                socket,
                SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            )?)
        });
        match one.await {
            Ok(client) if is_own(&client).await => {
                if let Ok(client) = readiness::to_read(client) {
                    let keeper = Rc::clone(keeper);
                    let client = Connection {
                        socket: client,
                        broken: Cell::new(false),
                        told_of_stop: Cell::new(false),
                    };
                    tokio::task::spawn_local(serve(keeper, client));
                }
            }
            Ok(_) => {}
            // Out of descriptors: those that are connected go on.
            Err(e) if e.kind() != io::ErrorKind::ConnectionAborted => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(_) => {}
        }
    }
}

/// How long a client waits for a descriptor with which the keeper looks at it.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether the client is the user's own. While no descriptor is left to look at it, it waits for one of the others.
async fn is_own(client: &OwnedFd) -> bool {
    let until = tokio::time::Instant::now() + PATIENCE;
    loop {
        match store::is_own(client) {
            Ok(own) => return own,
            Err(_) if tokio::time::Instant::now() >= until => return false,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Serves a client until it is gone; a client of file acts sends several.
async fn serve(keeper: Rc<Keeper>, connection: Connection) {
    while one_request(&keeper, &connection).await {}
}

/// False when nothing more is served.
async fn one_request(keeper: &Rc<Keeper>, connection: &Connection) -> bool {
    let heard = tokio::select! {
        heard = connection.next() => heard,
        () = keeper.end_of_jail() => None,
    };
    let Some((ask, fds)) = heard else {
        return false;
    };
    let goes_on = matches!(ask, Ask::File { .. } | Ask::Inspect);
    let act = |verb| keeper.events.record(&Event::Act { verb });
    match ask {
        Ask::Exec(ask) => one::exec(keeper, connection, *ask, fds).await,
        Ask::File {
            act,
            paths,
            flags,
            mode,
        } => {
            files::serve(keeper, connection, act, &paths, (flags, mode)).await;
        }
        Ask::Inspect => connection.tell(&Tell::Inspected {
            session: inspect(keeper),
        }),
        Ask::AwaitJob { number } => await_job(keeper, connection, number).await,
        Ask::Wait => ended(keeper, connection).await,
        Ask::SignalAll { number } => {
            act("signal");
            keeper.signal_all(number);
            connection.tell(&Tell::Done);
        }
        Ask::SignalJob { job, number } => {
            act("signal");
            match keeper.signal_one(job, number) {
                true => connection.tell(&Tell::Done),
                false => connection.refuse(keeper, &SessionError::NoJob { number: job }),
            }
        }
        Ask::Stop { grace } => {
            act("stop");
            keeper.end(
                "creel stop",
                Some(grace.map_or(keeper.grace(), Duration::from_millis)),
            );
            ended(keeper, connection).await;
        }
        Ask::Kill => {
            act("kill");
            fault_point::reach(Point::EndAsked);
            keeper.end("creel kill, rm --force or create --replace", None);
            ended(keeper, connection).await;
        }
        Ask::Net { change } => net::serve(keeper, connection, &change).await,
        Ask::Pause | Ask::Resume => {
            let pause = matches!(ask, Ask::Pause);
            act(if pause { "pause" } else { "resume" });
            keeper.pause(pause);
            connection.tell(&Tell::Done);
        }
        Ask::Signal { .. } | Ask::Exceeded | Ask::Drained { .. } | Ask::Unknown => {
            let creel = env!("CARGO_PKG_VERSION");
            connection.refuse(keeper, &SessionError::Unknown { creel });
        }
    }
    goes_on
}

/// Waits for the end of the session, or of the client.
async fn ended(keeper: &Keeper, connection: &Connection) {
    while !keeper.over.get() {
        tokio::select! {
            () = keeper.change() => {}
            _ = connection.next() => return,
        }
    }
    connection.tell(&Tell::Ended {
        exit_status: 0,
        lines: vec![],
    });
}

async fn await_job(keeper: &Keeper, connection: &Connection, number: u32) {
    while keeper.running.borrow().contains_key(&number) {
        tokio::select! {
            () = keeper.change() => {}
            _ = connection.next() => return,
        }
    }
    let ended = keeper.ended.borrow().get(&number).cloned();
    match ended {
        Some(job) => connection.tell(&Tell::Ended {
            exit_status: job.exit_status.unwrap_or(crate::exit::OWN_FAILURE),
            lines: job.lines,
        }),
        None => connection.refuse(keeper, &SessionError::NoJob { number }),
    }
}

/// The session as JSON, for `creel inspect` and `creel ps`.
fn inspect(keeper: &Keeper) -> serde_json::Value {
    let job = |(number, job): (&u32, &Job)| {
        json!({
            "number": number,
            "command": job.command,
            "began": job.began,
            "detached": job.detached,
            "state": if job.exit_status.is_some() { "ended" } else { "running" },
            "exit_status": job.exit_status,
            "verdict": job.verdict,
        })
    };
    let running = keeper.running.borrow();
    let ended = keeper.ended.borrow();
    let commands: Vec<_> = ended.iter().chain(running.iter()).map(job).collect();
    let state = match keeper.paused.get() {
        true => "paused",
        false => "running",
    };
    json!({
        "version": 1,
        "state": state,
        "frozen": keeper.jail.live.is_frozen(),
        "record": keeper.record,
        "pid": std::process::id(),
        "commands": commands,
        "receipt": crate::Receipt::of(&keeper.plan_now(), &keeper.kernel),
        "network": keeper.net.shown(&keeper.declared.policy.network),
        "limits": keeper.limits(),
        "mounts": keeper.mounts(),
    })
}
