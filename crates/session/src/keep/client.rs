//! A client of a keeper: one request, or one command whose streams, terminal and signals it carries.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant as Moment;

use super::error::SessionError;
use super::store::Store;
use super::wire::{self, Ask, ExecAsk, Fds, Tell};
use crate::command::{CommandLoop, Running};
use crate::events::runtime;
use crate::jail::{Mail, Said};
use crate::signals::Signals;
use crate::stream::{self, Budget, Pipes};
use crate::{Cause, ExecuteError, LEAST_GRACE, SuperviseError};
use creel_jail::fault_point::{self, Point};
use creel_plan::CommandWatch;
use creel_sys::socket::Wait;
use creel_sys::{Errno, peer, readiness, signal};

/// No time limit of the client's: the keeper has it. Half a year.
const NEVER: u64 = 183 * 24 * 3600 * 1000;

/// The end of a command in a session.
#[derive(Debug)]
pub struct Outcome {
    /// The exit status of `creel exec`.
    pub exit_status: u8,
    /// Whether this is the command's own status: it exited, and no signal, limit or fault ended it.
    pub exited: bool,
    /// Lines for people.
    pub lines: Vec<String>,
    /// The verdict, if it was wanted, as a line of JSON.
    pub verdict: Option<String>,
}

/// Why a command in a session has no end that the caller can be told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecError {
    /// The session refused it, or cannot be asked.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The caller's streams cannot be carried.
    #[error(transparent)]
    Execute(#[from] ExecuteError),
}

creel_policy::codes!(ExecError {} else {
    Self::Session(error) => error.code(),
    Self::Execute(error) => error.code(),
});

impl From<SuperviseError> for ExecError {
    fn from(error: SuperviseError) -> ExecError {
        ExecError::Execute(error.into())
    }
}

/// A connection to a keeper.
#[derive(Debug)]
pub struct Client {
    name: String,
    socket: OwnedFd,
}

impl Client {
    /// Connects to the keeper of a session.
    pub fn connect(store: &Store, name: &str) -> Result<Client, SessionError> {
        Ok(Client {
            name: name.into(),
            socket: store.connect(name)?,
        })
    }

    fn fault(&self) -> impl Fn(io::Error) -> SessionError {
        let name = self.name.clone();
        move |source| match source.kind() {
            // It has ended, perhaps before it has accepted the connection.
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                SessionError::Silent { name: name.clone() }
            }
            _ => SessionError::Socket {
                name: name.clone(),
                source,
            },
        }
    }

    pub(super) fn silent(&self) -> SessionError {
        SessionError::Silent {
            name: self.name.clone(),
        }
    }

    /// Sends a request and waits for its answer. A refusal is an error.
    pub fn ask(&self, ask: &Ask) -> Result<Tell, SessionError> {
        self.send(ask, &[])?;
        Ok(self.hear()?.0)
    }

    /// Sends a request and waits for its answer and the descriptors beside it.
    pub(super) fn ask_for(&self, ask: &Ask) -> Result<(Tell, Fds), SessionError> {
        self.send(ask, &[])?;
        self.hear()
    }

    /// As [`Client::ask`], for at most `time`; `None` if the keeper has not answered by then.
    pub fn ask_within(&self, ask: &Ask, time: Duration) -> Result<Option<Tell>, SessionError> {
        self.send(ask, &[])?;
        self.answer(time)
    }

    /// Kills the keeper, which does not answer: its session ends with it.
    pub fn kill_keeper(&self) -> Result<(), SessionError> {
        peer::kill(self.socket.as_fd()).map_err(|errno| self.fault()(errno.into()))
    }

    /// The session's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Sends a request, for [`Client::answer`].
    pub fn begin(self, ask: &Ask) -> Result<Client, SessionError> {
        self.send(ask, &[])?;
        Ok(self)
    }

    /// The answer to [`Client::begin`], if it comes within `time`.
    pub fn answer(&self, time: Duration) -> Result<Option<Tell>, SessionError> {
        match readiness::can_read_within(&self.socket, time) {
            true => Ok(Some(self.hear()?.0)),
            false => Ok(None),
        }
    }

    fn send(&self, ask: &Ask, fds: &[BorrowedFd<'_>]) -> Result<(), SessionError> {
        wire::send(self.socket.as_fd(), ask, fds).map_err(self.fault())
    }

    fn hear(&self) -> Result<(Tell, Fds), SessionError> {
        let heard = wire::receive(self.socket.as_fd(), Wait::Yes).map_err(self.fault())?;
        match heard.ok_or_else(|| self.silent())? {
            (Tell::Refused { code, text, status }, _) => {
                Err(SessionError::Refused { code, text, status })
            }
            other => Ok(other),
        }
    }

    /// Runs a command with this process's streams, to its end.
    pub fn exec(self, ask: ExecAsk) -> Result<Outcome, ExecError> {
        let started = Instant::now();
        let piped = ask.terminal.is_none();
        let pipes = match ask.terminal {
            Some(_) => Pipes::none(),
            None => stream::pipes_of_session().map_err(ExecuteError::Pipes)?,
        };
        let theirs: Vec<BorrowedFd<'_>> =
            pipes.theirs.0.iter().flatten().map(AsFd::as_fd).collect();
        fault_point::reach(Point::ExecConnected);
        // From here on the command may run, and a signal is passed on to it.
        let fault = |what| move |source| SuperviseError::Io { what, source };
        let held = signal::Held::all()
            .map_err(io::Error::from)
            .map_err(fault("holding signals"))?;
        self.send(&Ask::Exec(Box::new(ask)), &theirs)?;
        fault_point::reach(Point::ExecAsked);
        drop(pipes.theirs);
        let runtime = runtime().map_err(fault("starting the event loop"))?;
        runtime.block_on(async {
            // While the keeper starts the command.
            let signals = Signals::new().map_err(fault("listening for signals"))?;
            held.deliver();
            let (output, grace, drains_early) = match self.hear()?.0 {
                Tell::Started {
                    output,
                    grace,
                    drains_early,
                } => (output, grace, drains_early),
                _ => return Err(self.silent().into()),
            };
            fault_point::reach(Point::ExecHeard);
            let budget = Budget::new(output);
            let watch = CommandWatch {
                timeout: NEVER,
                output,
                grace,
            };
            let remote = Remote::new(&self, piped && drains_early)?;
            let mut command = CommandLoop::new(watch, &budget, signals, pipes.ours, started);
            let ended = tokio::select! {
                biased;
                ended = remote.listen() => ended.ok_or_else(|| self.silent())?,
                failed = command.run(&remote) => match failed? {},
            };
            command.hear(&remote)?;
            budget.jail_ended();
            let grace = Duration::from_millis(grace).max(LEAST_GRACE);
            command.drain(ended.then(|| Instant::now() + grace)).await;
            remote.drained(&budget, command.finish().as_ref());
            fault_point::reach(Point::ExecDrained);
            remote.verdict().await.ok_or_else(|| self.silent().into())
        })
    }
}

/// A command in a session, for the loop that carries its streams.
struct Remote {
    socket: AsyncFd<OwnedFd>,
    mail: Mail,
    cause: Cell<Option<Cause>>,
    deadline: Cell<Option<Moment>>,
    /// The end of the streams is told at once, not only when the command has ended.
    drains_early: bool,
    has_drained: Cell<bool>,
    /// Taken by whoever reads the socket.
    last: RefCell<Option<Tell>>,
}

impl Remote {
    fn new(client: &Client, drains_early: bool) -> Result<Remote, ExecError> {
        let socket = client.socket.try_clone().map_err(client.fault())?;
        rustix::io::ioctl_fionbio(&socket, true).map_err(|e| client.fault()(e.into()))?;
        Ok(Remote {
            socket: readiness::to_read(socket).map_err(client.fault())?,
            mail: Mail::default(),
            cause: Cell::new(None),
            deadline: Cell::new(None),
            drains_early,
            has_drained: Cell::new(false),
            last: RefCell::new(None),
        })
    }

    fn send(&self, ask: &Ask) {
        // A keeper that is gone is noticed by the end of its socket.
        let _ = wire::send(self.socket.get_ref().as_fd(), ask, &[]);
    }

    /// Tells the keeper once that all output is delivered.
    fn drained(&self, budget: &Budget, lost: Option<&io::Error>) {
        if self.has_drained.replace(true) {
            return;
        }
        if budget.was_exceeded() {
            self.send(&Ask::Exceeded);
        }
        self.send(&Ask::Drained {
            output: budget.passed(),
            lost: lost.map(io::Error::to_string),
        });
    }

    async fn next(&self) -> Option<(Tell, Fds)> {
        let heard = self.socket.async_io(Interest::READABLE, |socket| {
            wire::receive::<Tell>(socket.as_fd(), Wait::No)
        });
        heard.await.ok().flatten()
    }

    /// Passes the keeper's messages on until the command has ended. Whether a limit or a signal ended it; `None`
    /// if the keeper is gone.
    async fn listen(&self) -> Option<bool> {
        loop {
            let (tell, mut fds) = self.next().await?;
            match tell {
                Tell::Terminal => {
                    let master = fds[0].take().map(Said::Terminal);
                    master.into_iter().for_each(|said| self.mail.put(said));
                }
                Tell::Stopped => self.mail.put(Said::Stopped),
                Tell::Over { ended } => return Some(ended),
                tell @ (Tell::Refused { .. } | Tell::Verdict { .. }) => {
                    *self.last.borrow_mut() = Some(tell);
                    return Some(true);
                }
                _ => {}
            }
        }
    }

    async fn verdict(&self) -> Option<Outcome> {
        loop {
            let tell = self.last.borrow_mut().take();
            let tell = match tell {
                Some(tell) => tell,
                None => self.next().await?.0,
            };
            match tell {
                Tell::Verdict {
                    exit_status,
                    exited,
                    lines,
                    verdict,
                } => {
                    return Some(Outcome {
                        exit_status,
                        exited,
                        lines,
                        verdict,
                    });
                }
                Tell::Refused { text, status, .. } => {
                    return Some(Outcome {
                        exit_status: status,
                        exited: false,
                        lines: vec![text],
                        verdict: None,
                    });
                }
                _ => {}
            }
        }
    }
}

impl Running for Remote {
    async fn came(&self) {
        self.mail.came().await;
    }
    fn take(&self) -> Vec<Said> {
        self.mail.take()
    }
    fn is_asking(&self) -> bool {
        false
    }
    fn cause(&self) -> Option<Cause> {
        self.cause.get()
    }
    fn deadline(&self) -> Option<Moment> {
        self.deadline.get()
    }
    fn end_politely(&self, cause: Cause, grace: Duration) {
        self.cause.set(self.cause.get().or(Some(cause)));
        self.signal(signal::TERM);
        self.be_patient(grace);
    }
    /// The keeper has the clock; this remembers that it runs.
    fn be_patient(&self, grace: Duration) {
        let deadline = self.deadline.get().unwrap_or(Moment::now() + grace);
        self.deadline.set(Some(deadline));
    }
    fn kill(&self, cause: Cause) {
        self.cause.set(self.cause.get().or(Some(cause)));
        match cause {
            Cause::Output => self.send(&Ask::Exceeded),
            // The second one kills.
            _ => self.signal(signal::TERM),
        }
    }
    fn signal(&self, number: i32) {
        self.send(&Ask::Signal { number });
    }
    fn streams_ended(&self, budget: &Budget, lost: Option<&io::Error>) {
        if self.drains_early {
            self.drained(budget, lost);
        }
    }
    /// The command was stopped by a signal. The keeper's clock goes on and needs no alarm of this process.
    fn freeze(&self) -> bool {
        true
    }
    fn thaw(&self) {}
}

/// As the errors of the caller's streams.
impl From<Errno> for ExecError {
    fn from(errno: Errno) -> ExecError {
        ExecuteError::Pipes(errno).into()
    }
}
