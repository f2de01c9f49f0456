//! One command of a session, from the request to its verdict.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::time::Instant as Moment;

use super::error::SessionError;
use super::record::{self, Event};
use super::serve::Connection;
use super::session::{Job, Keeper, Place};
use super::wire::{Ask, ExecAsk, Fds, Tell};
use crate::events::{finished, until};
use crate::jail::{CommandEnd, Mail, Said};
use crate::stream::{self, Budget};
use crate::verdict::{Fault, Kind};
use crate::{Cause, Detail, Ended, Exited, LEAST_GRACE, Verdict, exit, judge};
use creel_jail::Stdio;
use creel_jail::branch::{Branch, OwnLimits};
use creel_jail::cgroup::Counters;
use creel_jail::fault_point::{self, Point};
use creel_jail::protocol::{DISKS, Request, Stumble};
use creel_plan::{Act, CommandPlan, Terminal};
use creel_sys::handed::{self, Parts};
use creel_sys::process::{Change, Usage};
use creel_sys::{Errno, fd, signal, socket};

/// How long the first process has to start a command, and to report the end of one that was killed.
const START: Duration = Duration::from_secs(10);
/// Bytes of a word, and words of a command, in lists and events.
const SHOWN: usize = 256;
const SHOWN_WORDS: usize = 16;

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

/// The reading ends of a detached command's output, and the file for it.
struct Log {
    output: OwnedFd,
    file: std::fs::File,
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

    fn grace(&self) -> Duration {
        Duration::from_millis(self.plan.watch.grace)
    }

    /// Sends a signal to the command's process group.
    fn signal(&self, number: i32) {
        let request = Request::Signal {
            command: self.place.number,
            number,
        };
        // A first process that takes no request is found by a deadline.
        let _ = self.keeper.jail.live.request(request, &[]);
    }

    fn end_politely(&mut self, cause: Cause) {
        if self.keeper.paused.get() {
            // It cannot act on SIGTERM.
            return self.kill(cause);
        }
        self.cause = self.cause.or(Some(cause));
        self.signal(signal::TERM);
        self.signal(signal::CONT);
        self.deadline = Some(Moment::now() + self.grace());
    }

    fn kill(&mut self, cause: Cause) {
        self.cause = self.cause.or(Some(cause));
        if !std::mem::replace(&mut self.woke, true) {
            self.keeper.wake();
        }
        self.signal(signal::KILL);
        self.sweep();
        // One kill is enough, and the deadline must not fire again at once.
        self.deadline = Some(Moment::now() + Duration::from_secs(1));
        self.answer_by = self.answer_by.or(Some(Moment::now() + START));
    }

    /// Pid 1 has not answered: a process of the jail has stopped it, or the child for which it waits. First the child
    /// is killed; if that does not help, the session is ended, since its first process holds requests that would run
    /// later, without an owner.
    fn free_first(&mut self) {
        if self.keeper.paused.get() && !self.woke {
            // It cannot answer, and need not.
            self.answer_by = Some(Moment::now() + START);
            return;
        }
        let could_help = self.keeper.jail.live.kill_strays();
        if self.helped || !could_help {
            self.keeper.end("its first process did not answer", None);
            self.answer_by = None;
        } else {
            self.helped = true;
            self.answer_by = Some(Moment::now() + START);
        }
    }

    /// Kills every process of the command.
    fn sweep(&self) {
        if let Some(branch) = &self.branch {
            branch.kill();
        }
    }

    /// It has ended: a paused session need not run for it any more.
    fn rest(&mut self) {
        if std::mem::take(&mut self.woke) {
            self.keeper.rest();
        }
    }

    fn was_ended(&self) -> bool {
        self.cause.is_some() || self.deadline.is_some() || self.keeper.over.get()
    }

    fn judge(&self, full: bool) -> Verdict {
        let keeper = self.keeper;
        let mut hits = self.branch.as_ref().map(Branch::hits).unwrap_or_default();
        let killed = Change::Signaled(signal::KILL);
        if self.cause.is_none() && self.end.is_some_and(|end| end.change == killed) {
            hits.oom_kills += keeper.new_oom_kills();
        }
        let end = match (self.not_executed, self.end) {
            (Some((errno, _)), _) => Ended::NotExecuted(errno),
            (None, Some(end)) => Ended::Command(end.change),
            (None, None) => Ended::Silent,
        };
        // The session's own end ended it.
        let cause = match self.end {
            Some(_) => self.cause,
            None => self.cause.or(keeper.jail.cause()),
        };
        let exited = Exited {
            end,
            cause,
            counters: Counters {
                oom_kills: hits.oom_kills,
                pids_refused: hits.pids_refused,
                ..Counters::default()
            },
            cpu: self.end.map_or(0, |end| end.cpu),
            usage: self.end.map(|end| end.usage).unwrap_or_default(),
            wall: self.started.elapsed(),
            output: self.output,
            disks: self.end.map_or([[0; 2]; DISKS], |end| end.disks),
            lost: self.lost.clone().map(std::io::Error::other),
            patience: LEAST_GRACE,
            traffic: None,
            uncovered: vec![],
            unwatched: None,
            unguarded: vec![],
            janitor: None,
        };
        let mut plan = keeper.judged.borrow_mut();
        plan.command = self.plan.clone();
        for act in plan.acts_mut() {
            if let Act::Cgroup(all) = act {
                all.memory = self.limits.memory.unwrap_or(keeper.memory());
                // One of the jail's is pid 1, which the verdict does not count.
                all.pids = self.limits.pids.unwrap_or(keeper.most_processes()) + 1;
            }
        }
        let detail = match full {
            true => Detail::Full,
            false => Detail::OfFailures,
        };
        let mut verdict = judge(
            keeper.record.id.clone(),
            &plan,
            &keeper.kernel,
            &exited,
            detail,
        );
        if let Ended::NotExecuted(errno) = exited.end
            && exited.lost.is_none()
            && let Some(text) = crate::execute::start::why_not(&plan, errno)
        {
            verdict.error = Some(text);
        }
        if let Some((errno, Stumble::Workdir)) = self.not_executed {
            let path = self.plan.workdir.display();
            verdict.fail(
                Fault::NoWorkdir,
                None,
                format!("the working directory {path}: {errno}"),
            );
            verdict.exit_status = exit::OWN_FAILURE;
            verdict.kind = Kind::SetupFailed;
        }
        let was_killed = matches!(
            self.end.map(|end| end.change),
            None | Some(Change::Signaled(_))
        );
        if was_killed && self.cause.is_none() && self.not_executed.is_none() && keeper.is_ending() {
            let text = format!("the session was ended: {}", keeper.why());
            verdict.fail(Fault::SessionEnded, None, text);
        }
        verdict
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

/// A command for lists and events: the first words of it, and of each the beginning.
fn shown(words: &[Vec<u8>]) -> Vec<String> {
    let begin = |bytes: &Vec<u8>| {
        let text = String::from_utf8_lossy(bytes.get(..SHOWN).unwrap_or(bytes)).into_owned();
        if bytes.len() > SHOWN {
            text + "..."
        } else {
            text
        }
    };
    let mut all: Vec<String> = words.iter().take(SHOWN_WORDS).map(begin).collect();
    if words.len() > SHOWN_WORDS {
        all.push("...".into());
    }
    all
}

/// The names of the limits that a request sets.
fn own(ask: &ExecAsk) -> Vec<&'static str> {
    let all = [
        ("memory", ask.memory.is_some()),
        ("pids", ask.pids.is_some()),
        ("timeout", ask.timeout.is_some()),
    ];
    let set = all.into_iter().filter(|(_, set)| *set);
    set.map(|(name, _)| name).collect()
}

fn first(source: Errno) -> SessionError {
    SessionError::First { source }
}

/// The streams that came with the request. A directory or a file would lead the command to the host.
fn streams(fds: Fds, terminal: Option<[u16; 2]>) -> Result<Stdio, SessionError> {
    let mut fds = fds.into_iter();
    let streams = Stdio(std::array::from_fn(|_| fds.next().flatten()));
    if terminal.is_some() {
        // Pid 1 takes three; the terminal replaces them.
        return nothing();
    }
    let is_stream = |stream: &Option<OwnedFd>| {
        let Some(stream) = stream else { return false };
        let kind = fd::stat(stream.as_fd()).map(|stat| stat.kind);
        kind == Ok(fd::Kind::Other) && !socket::leads_out(stream.as_fd())
    };
    match streams.0.iter().all(is_stream) {
        true => Ok(streams),
        false => Err(SessionError::Streams),
    }
}

/// An empty stdin, and output that nobody reads.
fn nothing() -> Result<Stdio, SessionError> {
    let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(first);
    let (input, _) = pipe()?;
    let (_, output) = pipe()?;
    let copy = rustix::io::fcntl_dupfd_cloexec(&output, 3).map_err(first)?;
    Ok(Stdio([Some(input), Some(output), Some(copy)]))
}

fn log(keeper: &Keeper, number: u32) -> Result<(Stdio, Log), SessionError> {
    let file = keeper.claim.create(&format!("job-{number}"))?;
    let (input, _) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(first)?;
    let (output, theirs) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(first)?;
    let copy = rustix::io::fcntl_dupfd_cloexec(&theirs, 3).map_err(first)?;
    let streams = Stdio([Some(input), Some(theirs), Some(copy)]);
    Ok((streams, Log { output, file }))
}

fn parts(plan: &CommandPlan, terminal: Option<[u16; 2]>) -> Parts {
    let text = |bytes: &[u8]| std::ffi::CString::new(bytes).unwrap_or_default();
    let variables = plan.environment.iter();
    Parts {
        candidates: plan.candidates.iter().map(|path| text(path)).collect(),
        argv: plan.argv.iter().map(|word| text(word)).collect(),
        environment: variables
            .map(|(name, value)| text(&[name, b"=".as_slice(), value].concat()))
            .collect(),
        workdir: {
            use std::os::unix::ffi::OsStrExt as _;
            text(plan.workdir.as_os_str().as_bytes())
        },
        limits: vec![],
        terminal: terminal.filter(|_| plan.terminal == Terminal::Pty),
    }
}
