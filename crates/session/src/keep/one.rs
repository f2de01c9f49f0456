//! One command of a session, from the request to its verdict.

mod ends;
mod given;
mod judged;

use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::time::Instant as Moment;

use self::given::{Log, first, log, own, parts, shown, streams};
use super::error::SessionError;
use super::record::{self, Event};
use super::serve::Connection;
use super::session::{Job, Keeper, Place};
use super::wire::{Ask, ExecAsk, Fds, Tell};
use crate::events::{finished, until};
use crate::jail::{CommandEnd, Mail, Said};
use crate::stream::{self, Budget};
use crate::verdict::Kind;
use crate::{Cause, Verdict};
use creel_jail::branch::{Branch, OwnLimits};
use creel_jail::fault_point::{self, Point};
use creel_jail::protocol::{DISKS, Request, Stumble};
use creel_plan::CommandPlan;
use creel_sys::handed;
use creel_sys::process::{Change, Usage};
use creel_sys::{Errno, signal};

/// How long the first process has to start a command, and to report the end of one that was killed.
const START: Duration = Duration::from_secs(10);
/// A command that runs.
struct One<'k> {
    keeper: &'k Rc<Keeper>,
    place: Place,
    mail: Rc<Mail>,
    branch: Option<Branch>,
    limits: OwnLimits,
    /// The names of the limits that the request has set.
    own: Vec<&'static str>,
    plan: CommandPlan,
    started: Instant,
    cause: Option<Cause>,
    /// When it is killed.
    deadline: Option<Moment>,
    /// When the first process must have answered, and whether it was helped once.
    answer_by: Option<Moment>,
    helped: bool,
    is_started: bool,
    /// It is being killed, and the session runs for that even if it is paused.
    woke: bool,
    not_executed: Option<(Errno, Stumble)>,
    end: Option<CommandEnd>,
    /// The client has delivered all output.
    drained: bool,
    output: u64,
    lost: Option<String>,
}

/// Runs a command for a client. A client that goes away ends its command, unless it is detached.
pub(super) async fn exec(keeper: &Rc<Keeper>, client: &Connection, ask: ExecAsk, fds: Fds) {
    let full = ask.full;
    match One::start(keeper, &ask, fds) {
        Ok((one, None)) => one.attached(client, full).await,
        Ok((one, Some(log))) => one.detached(client, log).await,
        Err(error) => client.refuse(keeper, &error),
    }
}

impl<'k> One<'k> {
    fn start(
        keeper: &'k Rc<Keeper>,
        ask: &ExecAsk,
        fds: Fds,
    ) -> Result<(One<'k>, Option<Log>), SessionError> {
        let started = Instant::now();
        fault_point::reach(Point::ExecTaken);
        keeper.within_limits(ask)?;
        let plan = keeper.plan_of(ask)?;
        let command = shown(&ask.command);
        let place = keeper.admit(Job {
            command: command.clone(),
            began: record::now(),
            detached: ask.detach,
            exit_status: None,
            lines: vec![],
            verdict: None,
        })?;
        fault_point::reach(Point::ExecAdmitted);
        let group = |e: creel_jail::cgroup::CgroupError| match e.source.kind() {
            std::io::ErrorKind::Unsupported => SessionError::NoOwnLimits,
            _ => SessionError::Group {
                source: std::io::Error::other(e.to_string()),
            },
        };
        let limits = OwnLimits {
            memory: ask.memory,
            cpu_milli: ask.cpu_milli,
            pids: ask.pids,
        };
        let branch = match &keeper.jail.live.group {
            Some(jail) => {
                let most = keeper.most_processes();
                Branch::new(jail, place.place, most, limits).map_err(group)?
            }
            None if limits.is_none() => None,
            None => return Err(SessionError::NoOwnLimits),
        };
        let groups = branch
            .as_ref()
            .map(Branch::open)
            .transpose()
            .map_err(group)?;
        fault_point::reach(Point::ExecGrouped);
        let (streams, log) = match ask.detach {
            true => {
                let (streams, log) = log(keeper, place.number)?;
                (streams, Some(log))
            }
            false => (streams(fds, ask.terminal)?, None),
        };
        let handed = handed::hand(&parts(&plan, ask.terminal)).map_err(first)?;
        keeper.jail.live.give_streams(&streams, plan.terminal);
        let mail = keeper.jail.mail_of(place.number);
        let groups = groups.unwrap_or_default();
        let mut all: Vec<BorrowedFd<'_>> = vec![handed.as_fd()];
        all.extend(streams.0.iter().flatten().map(AsFd::as_fd));
        all.extend(groups.iter().map(AsFd::as_fd));
        let request = Request::Start {
            command: place.number,
            grouped: branch.is_some(),
        };
        fault_point::reach(Point::ExecLaidOut);
        keeper.jail.live.request(request, &all).map_err(first)?;
        fault_point::reach(Point::ExecRequested);
        keeper.events.record(&Event::Exec {
            number: place.number,
            command: &command,
            detached: ask.detach,
        });
        let one = One {
            keeper,
            place,
            mail,
            branch,
            limits,
            own: own(ask),
            plan,
            started,
            cause: None,
            deadline: None,
            answer_by: Some(Moment::now() + START),
            helped: false,
            is_started: false,
            woke: false,
            not_executed: None,
            end: None,
            drained: false,
            output: 0,
            lost: None,
        };
        Ok((one, log))
    }

    /// Serves a command whose client moves its streams.
    async fn attached(mut self, client: &Connection, full: bool) {
        client.tell(&Tell::Started {
            output: self.plan.watch.output,
            grace: self.plan.watch.grace,
            drains_early: true,
        });
        fault_point::reach(Point::ExecTold);
        let mut here = true;
        let timeout = Moment::now() + Duration::from_millis(self.plan.watch.timeout);
        while self.end.is_none() && !self.keeper.over.get() {
            let mail = Rc::clone(&self.mail);
            tokio::select! {
                biased;
                () = mail.came() => self.hear(Some(client)),
                asked = client.next(), if here => match asked {
                    Some((ask, _)) => self.ask(ask),
                    None => {
                        here = false;
                        self.kill(Cause::Asked);
                    }
                },
                () = self.keeper.change() => {}
                () = until(Some(timeout)), if self.cause.is_none() => self.end_politely(Cause::Timeout),
                () = until(self.deadline) => self.kill(Cause::Asked),
                () = until(self.answer_by) => self.free_first(),
            }
        }
        self.hear(Some(client));
        fault_point::reach(Point::ExecEnded);
        // Its descendants end with it: nothing else writes to its streams.
        self.sweep();
        self.rest();
        fault_point::reach(Point::ExecSwept);
        let mut told = false;
        while here && !self.drained {
            tokio::select! {
                biased;
                asked = client.next() => match asked {
                    Some((Ask::Exceeded, _)) => self.cause = self.cause.or(Some(Cause::Output)),
                    Some((ask @ Ask::Drained { .. }, _)) => self.ask(ask),
                    Some(_) => {}
                    None => here = false,
                },
                // Not if the client's message is here already: a turn of the two less.
                () = std::future::ready(()), if !told => {
                    told = true;
                    client.tell(&Tell::Over {
                        ended: self.was_ended(),
                    });
                }
            }
        }
        let verdict = self.judge(full);
        fault_point::reach(Point::ExecJudged);
        client.tell(&Tell::Verdict {
            exit_status: verdict.exit_status,
            exited: verdict.kind == Kind::Exited,
            lines: self.lines(&verdict),
            verdict: full.then(|| verdict.to_json()),
        });
        self.leave(&verdict);
    }

    /// The lines for people.
    fn lines(&self, verdict: &Verdict) -> Vec<String> {
        (self.keeper.lines)(verdict, &self.own)
    }

    /// Serves a command whose output goes to a file of the session.
    async fn detached(mut self, client: &Connection, log: Log) {
        use std::os::fd::AsRawFd as _;
        if let Some(verdict) = self.failed_start(client).await {
            return self.leave(&verdict);
        }
        client.tell(&Tell::Job {
            number: self.place.number,
        });
        let budget = Budget::new(self.plan.watch.output);
        let copy = stream::relay(log.output, log.file.as_raw_fd(), &budget);
        let mut copy: Option<Pin<Box<dyn Future<Output = stream::End>>>> = Some(Box::pin(copy));
        let mut loss = None;
        let timeout = Moment::now() + Duration::from_millis(self.plan.watch.timeout);
        while self.end.is_none() && !self.keeper.over.get() {
            let mail = Rc::clone(&self.mail);
            tokio::select! {
                biased;
                () = mail.came() => self.hear(None),
                () = self.keeper.change() => {}
                () = budget.exceeded() => self.kill(Cause::Output),
                () = until(Some(timeout)), if self.cause.is_none() => self.end_politely(Cause::Timeout),
                () = until(self.deadline) => self.kill(Cause::Asked),
                () = until(self.answer_by) => self.free_first(),
                end = finished(&mut copy) => {
                    (copy, loss) = (None, end.loss());
                }
            }
        }
        self.hear(None);
        self.sweep();
        self.rest();
        budget.jail_ended();
        if copy.is_some() {
            loss = finished(&mut copy).await.loss();
        }
        drop(copy);
        if budget.was_exceeded() {
            self.cause = self.cause.or(Some(Cause::Output));
        }
        self.output = budget.passed();
        self.lost = loss.map(|error| error.to_string());
        let verdict = self.judge(false);
        self.leave(&verdict);
    }

    /// Waits until a detached command runs. If it does not, its client is told, and its verdict returned.
    async fn failed_start(&mut self, client: &Connection) -> Option<Verdict> {
        while !self.is_started && self.end.is_none() && !self.keeper.over.get() {
            let mail = Rc::clone(&self.mail);
            tokio::select! {
                biased;
                () = mail.came() => self.hear(None),
                () = self.keeper.change() => {}
                () = until(self.answer_by) => self.free_first(),
            }
        }
        if self.not_executed.is_none() && self.is_started {
            return None;
        }
        let verdict = self.judge(false);
        client.tell(&Tell::Verdict {
            exit_status: verdict.exit_status,
            exited: verdict.kind == Kind::Exited,
            lines: self.lines(&verdict),
            verdict: None,
        });
        Some(verdict)
    }

    fn hear(&mut self, client: Option<&Connection>) {
        for said in self.mail.take() {
            match said {
                Said::Started => (self.is_started, self.answer_by) = (true, None),
                Said::FileDone(..) => {}
                Said::NotExecuted(errno, at) => {
                    self.not_executed = Some((errno, at));
                    if at == Stumble::NoProcess {
                        self.end = Some(CommandEnd {
                            change: Change::Exited(127),
                            disks: [[0; 2]; DISKS],
                            cpu: 0,
                            usage: Usage::default(),
                        });
                    }
                }
                Said::Terminal(master) => {
                    if let Some(client) = client {
                        client.hand(&Tell::Terminal, &[master.as_fd()]);
                    }
                }
                Said::Stopped => {
                    if let Some(client) = client {
                        client.tell_of_stop();
                    }
                }
                Said::Ended(end) => self.end = Some(end),
            }
        }
    }

    fn ask(&mut self, ask: Ask) {
        match ask {
            Ask::Signal { number } => match number {
                signal::TERM if self.deadline.is_some() => self.kill(Cause::Asked),
                signal::TERM => {
                    self.signal(signal::TERM);
                    self.deadline = Some(Moment::now() + self.grace());
                }
                signal::TSTP => self.signal(signal::STOP),
                number => self.signal(number),
            },
            Ask::Exceeded => self.kill(Cause::Output),
            Ask::Drained { output, lost } => {
                (self.output, self.lost, self.drained) = (output, lost, true);
            }
            _ => {}
        }
    }

    fn leave(mut self, verdict: &Verdict) {
        let exit_status = verdict.exit_status;
        let number = self.place.number;
        self.rest();
        self.keeper.events.record(&Event::End {
            number,
            exit_status,
        });
        if let Some(job) = self.keeper.running.borrow_mut().get_mut(&number) {
            job.exit_status = Some(exit_status);
            job.lines = self.lines(verdict);
            job.verdict = serde_json::from_str(&verdict.to_json()).ok();
        }
        drop(self.branch);
        fault_point::reach(Point::ExecLeft);
        drop(self.place);
    }
}
