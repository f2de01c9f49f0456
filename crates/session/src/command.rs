//! The loop of a command: its streams, its terminal, its time limit, and the signals for it.
//!
//! ```text
//! Running ── timeout, cpu time, output, TERM ──▶ Ending ── grace over, second TERM ──▶ Killed
//!    │                                              │                                     │
//!    └───────────────────── the jail's first process ends ◀───────────────────────────────┘
//! ```
//!
//! A jail that is made for one command ends with it, so the end of the command is the end of the jail. A command in a
//! session has the same loop, in the process that asked for it; its [`Running`] speaks to the keeper.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};

use super::events::{finished, until};
use super::jail::{Jail, Mail, Said};
use super::signals::Signals;
use super::stream::{Budget, Carrier, End, Hurry, Ours, relay_all};
use super::terminal::{self, Joined};
use super::{Cause, SuperviseError};
use creel_jail::protocol::FIRST;
use creel_plan::CommandWatch;
use creel_sys as sys;
use creel_sys::Errno;
use creel_sys::signal::Alarm;

/// A command in its jail, as its loop sees it: in this process's own jail, or in a session of a keeper.
pub trait Running {
    /// Returns when a message may have come, or when the result of `is_asking` has changed.
    async fn came(&self);
    fn take(&self) -> Vec<Said>;
    fn is_asking(&self) -> bool;
    /// The limit or the caller's signal for which creel ends it, if it does.
    fn cause(&self) -> Option<Cause>;
    fn deadline(&self) -> Option<Instant>;
    /// SIGTERM, and SIGKILL after the grace.
    fn end_politely(&self, cause: Cause, grace: Duration);
    /// SIGKILL after the grace, unless a deadline is set already.
    fn be_patient(&self, grace: Duration);
    fn kill(&self, cause: Cause);
    fn signal(&self, number: i32);
    /// Nobody can write to the command's pipes any more, and what was written is delivered, or `lost`.
    fn streams_ended(&self, _budget: &Budget, _lost: Option<&io::Error>) {}
    /// Stops every process until [`Running::thaw`]. False if that is not possible.
    fn freeze(&self) -> bool;
    fn thaw(&self);
}

/// The first command of a jail.
pub struct First<'j> {
    pub jail: &'j Jail,
    mail: Rc<Mail>,
}

impl<'j> First<'j> {
    pub fn of(jail: &'j Jail) -> First<'j> {
        let mail = jail.mail_of(FIRST);
        First { jail, mail }
    }
}

impl Running for First<'_> {
    async fn came(&self) {
        self.mail.came().await;
    }
    fn take(&self) -> Vec<Said> {
        self.mail.take()
    }
    fn is_asking(&self) -> bool {
        self.jail.is_asking()
    }
    fn cause(&self) -> Option<Cause> {
        self.jail.cause()
    }
    fn deadline(&self) -> Option<Instant> {
        self.jail.deadline()
    }
    fn end_politely(&self, cause: Cause, grace: Duration) {
        self.jail.end_politely(cause, grace);
    }
    fn be_patient(&self, grace: Duration) {
        self.jail.be_patient(grace);
    }
    fn kill(&self, cause: Cause) {
        self.jail.kill(cause);
    }
    fn signal(&self, number: i32) {
        self.jail.live.signal(number);
    }
    fn freeze(&self) -> bool {
        self.jail.live.freeze()
    }
    fn thaw(&self) {
        self.jail.live.thaw();
    }
}

/// The state of the loop.
pub struct CommandLoop<'a> {
    watch: CommandWatch,
    budget: &'a Budget,
    signals: Signals,
    /// When the wall time ends.
    over: Instant,
    /// A signal that asks the command to end was passed on.
    pub asked: bool,
    /// The command could not be executed.
    pub not_executed: Option<Errno>,
    joined: Option<Joined>,
    streams: Pin<Box<dyn Future<Output = Option<io::Error>> + 'a>>,
    /// The result of the streams after their end: the error of a lost one, if any.
    streamed: Option<Option<io::Error>>,
    screen: Option<Pin<Box<dyn Future<Output = End> + 'a>>>,
    shown: Option<io::Error>,
    keys: Carrier,
}

impl<'a> CommandLoop<'a> {
    /// `started`: the time from which its limit counts.
    pub fn new(
        watch: CommandWatch,
        budget: &'a Budget,
        signals: Signals,
        pipes: Ours,
        started: std::time::Instant,
    ) -> CommandLoop<'a> {
        CommandLoop {
            over: (started + Duration::from_millis(watch.timeout)).into(),
            watch,
            budget,
            signals,
            asked: false,
            not_executed: None,
            joined: None,
            streams: Box::pin(relay_all(pipes.written, budget)),
            streamed: None,
            screen: None,
            shown: None,
            keys: match pipes.typed {
                Some(typed) => typed,
                None => Box::pin(std::future::pending()),
            },
        }
    }

    /// Serves the command while its jail lives; returns only an error.
    pub async fn run(&mut self, jail: &impl Running) -> Result<Infallible, SuperviseError> {
        let timeout = tokio::time::sleep_until(self.over);
        tokio::pin!(timeout);
        let mut look = tokio::time::interval(super::stdin_relay::LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let (asking, left) = (jail.is_asking(), self.is_left());
            tokio::select! {
                biased;
                () = jail.came() => self.hear(jail)?,
                number = self.signals.next() => self.signal(jail, number),
                () = &mut timeout, if jail.cause().is_none() => {
                    if jail.cause().is_none() {
                        jail.end_politely(Cause::Timeout, self.grace());
                    }
                }
                () = self.budget.exceeded() => jail.kill(Cause::Output),
                _ = look.tick(), if !asking && left => self.joined.iter_mut().for_each(Joined::look),
                // While a person is asked, the terminal belongs to the question; a pipe may lead to the
                // terminal as well.
                lost = &mut self.streams, if self.streamed.is_none() && !asking => {
                    jail.streams_ended(self.budget, lost.as_ref());
                    self.streamed = Some(lost);
                }
                end = finished(&mut self.screen), if !asking => {
                    (self.screen, self.shown) = (None, end.loss());
                }
                _ = &mut self.keys, if !asking && !left => {}
            }
        }
    }

    fn grace(&self) -> Duration {
        Duration::from_millis(self.watch.grace)
    }

    /// Whether the caller's terminal was taken over and now belongs to another job.
    fn is_left(&self) -> bool {
        self.joined.as_ref().is_some_and(Joined::is_left)
    }

    /// Takes pid 1's messages about the command.
    pub fn hear(&mut self, jail: &impl Running) -> Result<(), SuperviseError> {
        for said in jail.take() {
            match said {
                Said::NotExecuted(errno, _) => self.not_executed = Some(errno),
                Said::Terminal(master) => {
                    let joined = Joined::new(master);
                    let (reader, writer) =
                        joined.halves().map_err(|source| SuperviseError::Io {
                            what: "joining the terminal",
                            source,
                        })?;
                    self.screen = Some(Box::pin(terminal::output(reader, self.budget)));
                    self.keys = Box::pin(terminal::input(writer));
                    self.joined = Some(joined);
                }
                // Without a terminal to give back, nobody waits for creel to stop, and a jail must not stop
                // its own clock.
                Said::Stopped if self.holds_terminal() => {
                    jail.signal(sys::signal::TSTP);
                    self.stop_too(jail);
                }
                Said::Stopped | Said::Started | Said::FileDone(..) | Said::Ended(_) => {}
            }
        }
        Ok(())
    }

    fn holds_terminal(&self) -> bool {
        self.joined.as_ref().is_some_and(Joined::holds_terminal)
    }

    fn signal(&mut self, jail: &impl Running, number: i32) {
        use sys::signal::{HUP, INT, QUIT};
        self.asked |= matches!(number, INT | HUP | QUIT);
        match number {
            sys::signal::WINCH => match &self.joined {
                // The kernel notifies the jail's foreground of the new size itself.
                Some(joined) => joined.resize(),
                None => jail.signal(number),
            },
            // The jail stops and reports it, and then this process stops.
            sys::signal::TSTP if self.holds_terminal() => jail.signal(sys::signal::TSTP),
            sys::signal::TSTP => {
                jail.signal(sys::signal::TSTP);
                self.stop_too(jail);
            }
            sys::signal::TERM if jail.deadline().is_some() => jail.kill(Cause::Asked),
            sys::signal::TERM => {
                jail.signal(number);
                jail.be_patient(self.grace());
            }
            number => jail.signal(number),
        }
    }

    /// Stops this process as its caller expects, and continues the jail when it is continued. The jail is
    /// frozen meanwhile: a process that a signal stopped could wake itself with a timer. If it cannot be
    /// frozen, its clock goes on, and an alarm wakes this process when the time is over.
    fn stop_too(&mut self, jail: &impl Running) {
        let ends = match jail.cause() {
            None => self.over,
            Some(_) => jail.deadline().unwrap_or(self.over),
        };
        let left = ends.saturating_duration_since(Instant::now());
        let alarm = match jail.freeze() {
            true => None,
            false => Some(Alarm::after(left)),
        };
        // Without a freeze and without an alarm this process does not stop.
        if !matches!(alarm, Some(Err(_))) {
            let stop = || {
                // If the process cannot stop itself, it continues, and so does its jail.
                let _ = sys::signal::stop_self();
            };
            let over = || alarm.is_some() && Instant::now() >= ends;
            match &mut self.joined {
                Some(joined) => joined.suspended(stop, over),
                None => stop(),
            }
        }
        jail.thaw();
        jail.signal(sys::signal::CONT);
    }

    /// After the end: delivers the remaining output before the verdict. A reader has until `patience`, or
    /// without it for ever, until a signal asks creel to end.
    pub async fn drain(&mut self, patience: Option<std::time::Instant>) {
        let budget = self.budget;
        let rest = async {
            if self.streamed.is_none() {
                self.streamed = Some((&mut self.streams).await);
            }
            if self.screen.is_some() {
                self.shown = finished(&mut self.screen).await.loss();
            }
        };
        tokio::pin!(rest);
        let hurry = tokio::select! {
            biased;
            () = &mut rest => None,
            () = self.signals.asked() => Some(Hurry::Asked),
            () = until(patience.map(Into::into)) => Some(Hurry::Grace),
        };
        if let Some(why) = hurry {
            budget.hurry(why);
            rest.await;
        }
    }

    /// Gives the caller's terminal back. Returns the error of a lost stream, if any.
    pub fn finish(self) -> Option<io::Error> {
        self.streamed.flatten().or(self.shown)
    }
}
