//! The keeper: the process that owns a session's jail, from its making to its end.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::LocalSet;
use tokio::time::Instant as Moment;

use super::error::SessionError;
use super::record::{Event, Events, Record};
use super::serve;
use super::store::Claim;
use crate::events::until;
use crate::execute::Prepared;
use crate::jail::{Jail, JailLoop, Notes, Said};
use crate::left::Extent;
use crate::signals::Signals;
use crate::{
    Cause, Declared, Detail, Ended, ExecuteError, Exited, LEAST_GRACE, SuperviseError, Verdict,
    judge,
};
use creel_jail::JailError;
use creel_jail::covers::Fate;
use creel_jail::init::MOST_COMMANDS;
use creel_jail::protocol::{DISKS, FIRST, Request};
use creel_plan::{Act, CommandPlan, Host, PLACEHOLDER, Plan, resolve};
use creel_sys::process::Change;
use creel_sys::readiness;
use creel_sys::signal::{self, Held};

/// Why a session ends that its keeper was asked to end by a signal.
const SIGNALLED: &str = "its keeper was asked to end by a signal";
const UNCOVERED: &str = "a name that its policy denies or protects was replaced or removed";
/// Detached commands whose ends are remembered.
const MOST_ENDED: usize = 256;
/// How long the clients of a session that has ended have to take their answers.
const FAREWELL: Duration = Duration::from_secs(5);

/// What a keeper needs beside the jail.
pub struct Settings {
    /// The session's directory.
    pub claim: Claim,
    /// How it is made.
    pub record: Record,
    /// The lines for people about the end of a command, and the names of the limits that are its own.
    pub lines: Lines,
}

/// Makes the lines for people about the end of a command. The names are those of limits that are its own.
pub type Lines = fn(&Verdict, &[&'static str]) -> Vec<String>;

/// Why a session did not come about, or could not be watched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeepError {
    /// The jail cannot be made.
    #[error(transparent)]
    Execute(#[from] ExecuteError),
    /// The session's files cannot be used.
    #[error(transparent)]
    Session(#[from] SessionError),
}

creel_policy::codes!(KeepError {} else {
    Self::Execute(error) => error.code(),
    Self::Session(error) => error.code(),
});

impl From<SuperviseError> for KeepError {
    fn from(error: SuperviseError) -> KeepError {
        KeepError::Execute(error.into())
    }
}

impl From<JailError> for KeepError {
    fn from(error: JailError) -> KeepError {
        KeepError::Execute(error.into())
    }
}

/// A session, as all connections share it.
pub(super) struct Keeper {
    pub jail: Jail,
    pub claim: Claim,
    pub record: Record,
    pub events: Events,
    pub lines: Lines,
    declared: Declared,
    host: Host,
    pub kernel: String,
    /// Variables of every command that the relay made.
    placeholders: BTreeMap<Vec<u8>, Vec<u8>>,
    pub plan: Arc<Plan>,
    /// The same with the command that is judged: a copy of the whole plan for each would take longer than the rest.
    pub judged: RefCell<Plan>,
    last: Cell<u32>,
    places: RefCell<[bool; MOST_COMMANDS]>,
    pub running: RefCell<BTreeMap<u32, Job>>,
    /// Detached commands that have ended: number and exit status.
    pub ended: RefCell<BTreeMap<u32, Job>>,
    pub paused: Cell<bool>,
    /// The jail has ended.
    pub over: Cell<bool>,
    /// The end was asked for.
    pub asked: Cell<bool>,
    /// What asked for it.
    why: Cell<&'static str>,
    /// When the last command ended, or the session began.
    idle: Cell<Moment>,
    /// Kills for lack of memory that are known already.
    oom_kills: Cell<u64>,
    changed: Notify,
}

/// A command, as `creel ps` and `creel jobs` show it.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub command: Vec<String>,
    /// Milliseconds since 1970.
    pub began: u64,
    pub detached: bool,
    pub exit_status: Option<u8>,
    /// The lines for people about its end.
    pub lines: Vec<String>,
    /// Of a command that has ended.
    pub verdict: Option<serde_json::Value>,
}

/// The place of a command among those that run at once, as long as it runs.
pub(super) struct Place {
    keeper: Rc<Keeper>,
    pub number: u32,
    pub place: u32,
}

impl Drop for Place {
    fn drop(&mut self) {
        let keeper = &self.keeper;
        keeper.jail.forget(self.number);
        keeper.places.borrow_mut()[self.place as usize] = false;
        let job = keeper.running.borrow_mut().remove(&self.number);
        if let Some(job) = job.filter(|job| job.detached) {
            let mut ended = keeper.ended.borrow_mut();
            ended.insert(self.number, job);
            // Their output stays.
            while ended.len() > MOST_ENDED {
                ended.pop_first();
            }
        }
        keeper.idle.set(Moment::now());
        keeper.jail.is_busy(!keeper.running.borrow().is_empty());
        keeper.changed.notify_waiters();
    }
}

impl Keeper {
    /// A number and a place for one more command.
    pub fn admit(self: &Rc<Self>, job: Job) -> Result<Place, SessionError> {
        let number = self.number()?;
        let mut places = self.places.borrow_mut();
        let free = places.iter().position(|used| !used);
        let place = free.ok_or(SessionError::TooMany {
            most: MOST_COMMANDS,
        })?;
        places[place] = true;
        self.running.borrow_mut().insert(number, job);
        // The session is not idle any more.
        self.jail.is_busy(true);
        self.changed.notify_waiters();
        Ok(Place {
            keeper: Rc::clone(self),
            number,
            place: place as u32,
        })
    }

    /// The plan of a command under the session's policy.
    pub fn plan_of(&self, ask: &super::wire::ExecAsk) -> Result<CommandPlan, SessionError> {
        use std::ffi::OsString;
        use std::os::unix::ffi::OsStringExt as _;
        let text = |bytes: &Vec<u8>| OsString::from_vec(bytes.clone());
        let mut request = self.declared.request.clone();
        request.command = ask.command.iter().map(text).collect();
        let passed = &self.declared.policy.environment.pass;
        let is_passed = |name: &[u8]| passed.iter().any(|pass| pass.value.as_bytes() == name);
        for (name, value) in ask.offered.iter().filter(|(name, _)| is_passed(name)) {
            let own = text(name);
            request.caller_env.retain(|(other, _)| *other != own);
            request.caller_env.push((own, text(value)));
        }
        let variables = ask
            .env
            .iter()
            .map(|(name, value)| (text(name), text(value)));
        request.env.extend(variables);
        if let Some(workdir) = ask.workdir.first() {
            request.workdir = Some(text(workdir).into());
        }
        request.terminal = match ask.terminal {
            Some(_) => creel_plan::Terminal::Pty,
            None => creel_plan::Terminal::Pipes,
        };
        let mut plan =
            resolve::command(&self.declared.policy, &request, &self.host, &self.plan.jail)?;
        plan.environment.extend(self.placeholders.clone());
        if let Some(timeout) = ask.timeout {
            plan.watch.timeout = plan.watch.timeout.min(timeout);
        }
        Ok(plan)
    }

    /// The memory of all commands together; 0 if nothing limits it.
    pub fn memory(&self) -> u64 {
        let group = self.plan.jail.build.iter().find_map(|act| match act {
            Act::Cgroup(limits) => Some(limits.memory),
            _ => None,
        });
        group.unwrap_or(0)
    }

    /// The most processes of all commands together.
    pub fn most_processes(&self) -> u64 {
        self.declared.policy.limits.pids.value.0
    }

    /// Processes killed because the session ran out of memory, since the last call.
    pub fn new_oom_kills(&self) -> u64 {
        let group = self.jail.live.group.as_ref();
        let all = group.map_or(0, |group| group.counters().oom_kills);
        all.saturating_sub(self.oom_kills.replace(all))
    }

    /// The limits of the session, from the plan.
    pub fn limits(&self) -> serde_json::Value {
        let group = self.plan.jail.build.iter().find_map(|act| match act {
            Act::Cgroup(limits) => Some(*limits),
            _ => None,
        });
        let watch = &self.plan.command.watch;
        serde_json::json!({
            "memory": group.map(|limits| limits.memory),
            "cpu_milli": group.map(|limits| limits.cpu_milli),
            "pids": self.most_processes(),
            "timeout": watch.timeout,
            "output": watch.output,
            "grace": watch.grace,
            "cpu_time": self.plan.jail.watch.cpu_time,
        })
    }

    /// The trees of the host in the jail: source, target and access.
    pub fn mounts(&self) -> serde_json::Value {
        let mounts = self.plan.jail.build.iter().filter_map(|act| match act {
            Act::Bind {
                source,
                target,
                access,
                ..
            } => Some(serde_json::json!({
                "source": source.to_string_lossy(),
                "target": target.to_string_lossy(),
                "write": access.write,
            })),
            _ => None,
        });
        mounts.collect()
    }

    /// The policy's time between SIGTERM and SIGKILL.
    pub fn grace(&self) -> Duration {
        Duration::from_millis(self.plan.command.watch.grace)
    }

    /// Returns when a command has ended or the session is over.
    pub async fn change(&self) {
        self.changed.notified().await;
    }

    /// Returns when the jail has ended.
    pub async fn end_of_jail(&self) {
        while !self.over.get() {
            self.change().await;
        }
    }

    /// A number for a request to pid 1 that is no command.
    pub fn number(&self) -> Result<u32, SessionError> {
        if self.over.get() || self.asked.get() || self.jail.cause().is_some() {
            return Err(SessionError::Ending);
        }
        if self.paused.get() {
            return Err(SessionError::Paused);
        }
        let number = self.last.get() + 1;
        self.last.set(number);
        Ok(number)
    }

    /// Stops or continues every process. False if it is so already.
    pub fn pause(&self, pause: bool) -> bool {
        if self.paused.replace(pause) == pause {
            return false;
        }
        match pause {
            // Without a group that can be frozen, by signals.
            true if !self.jail.live.freeze() => self.jail.live.signal(signal::TSTP),
            true => {}
            false => {
                self.jail.live.thaw();
                self.jail.live.signal(signal::CONT);
            }
        }
        true
    }

    /// Sends a signal to every command. pid 1 is not one: SIGKILL or SIGSTOP would end or stop the session.
    pub fn signal_all(&self, number: i32) {
        for command in self.running.borrow().keys() {
            let request = Request::Signal {
                command: *command,
                number,
            };
            let _ = self.jail.live.request(request, &[]);
        }
    }

    /// Sends a signal to one command. False if it does not run.
    pub fn signal_one(&self, command: u32, number: i32) -> bool {
        let runs = self.running.borrow().contains_key(&command);
        runs && self
            .jail
            .live
            .request(Request::Signal { command, number }, &[])
            .is_ok()
    }

    /// Refuses limits of one command that are wider than the session's.
    pub fn within_limits(&self, ask: &super::wire::ExecAsk) -> Result<(), SessionError> {
        let group = self.plan.jail.build.iter().find_map(|act| match act {
            Act::Cgroup(limits) => Some(*limits),
            _ => None,
        });
        let most = |what, asked: Option<u64>, most: Option<u64>, shown: fn(u64) -> String| match (
            asked, most,
        ) {
            (Some(asked), Some(most)) if asked > most => Err(SessionError::Beyond {
                what,
                asked: shown(asked),
                most: shown(most),
            }),
            _ => Ok(()),
        };
        let bytes = |n| creel_policy::Bytes(n).to_string();
        let span = |n| creel_policy::Span(n).to_string();
        let number = |n: u64| n.to_string();
        let memory = group.map(|group| group.memory);
        most("--memory", ask.memory, memory, bytes)?;
        most("--pids", ask.pids, Some(self.most_processes()), number)?;
        most(
            "--timeout",
            ask.timeout,
            Some(self.plan.command.watch.timeout),
            span,
        )
    }

    /// Whether the session is ending or over.
    pub fn is_ending(&self) -> bool {
        self.over.get() || self.asked.get() || self.jail.cause().is_some()
    }

    /// What ended the session.
    pub fn why(&self) -> &'static str {
        match self.jail.cause() {
            Some(Cause::Oom) => "it needed more memory than its limit",
            Some(Cause::CpuTime) => "its processor time is used up",
            Some(Cause::JanitorDied) => "its janitor was killed",
            Some(Cause::Uncovered) => UNCOVERED,
            _ => self.why.get(),
        }
    }

    /// Ends the session.
    pub fn end(&self, why: &'static str, grace: Option<Duration>) {
        if !self.asked.replace(true) {
            self.why.set(why);
        }
        self.pause(false);
        match grace {
            Some(grace) if !self.running.borrow().is_empty() => {
                self.jail.end_politely(Cause::Asked, grace);
            }
            _ => self.jail.kill(Cause::Asked),
        }
    }

    /// When the session ends for its age or for doing nothing.
    fn deadline(&self, born: Moment) -> Option<Moment> {
        let after = |start: Moment, limit: Option<u64>| Some(start + Duration::from_millis(limit?));
        let idle = match self.running.borrow().is_empty() {
            true => after(self.idle.get(), self.record.idle_timeout),
            false => None,
        };
        [after(born, self.record.max_age), idle]
            .into_iter()
            .flatten()
            .min()
    }
}

fn fault(what: &'static str) -> impl FnOnce(io::Error) -> SuperviseError {
    move |source| SuperviseError::Io { what, source }
}

/// Makes the session's jail and keeps it to its end. `ready` is called once commands can be asked for; it is false
/// if whoever asked for the session is gone.
pub fn keep(
    prepared: Prepared,
    declared: Declared,
    settings: Settings,
    ready: impl FnOnce() -> bool,
) -> Result<Verdict, KeepError> {
    let started = Instant::now();
    let events = Events::new(settings.claim.create("events")?);
    let record = serde_json::to_string_pretty(&settings.record).unwrap_or_default();
    settings
        .claim
        .directory()
        .write("record", record.as_bytes())?;
    let host = prepared.host.clone();
    let running = prepared.start(&declared, None, started, Detail::Full)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(fault("starting the event loop"))?;
    let (mut live, relay, kernel, before) = running.parts();
    let plan = Arc::clone(&live.plan);
    let local = LocalSet::new();
    let enter = runtime.enter();
    let signals = Signals::new().map_err(fault("listening for signals"))?;
    live.held.take().into_iter().for_each(Held::deliver);
    let mut watched = JailLoop::new(&live, relay)?;
    drop(enter);
    let made = |(_, value): &(&Vec<u8>, &Vec<u8>)| value.starts_with(PLACEHOLDER);
    let placeholders = plan.command.environment.iter().filter(made);
    let keeper = Rc::new(Keeper {
        jail: Jail::new(live),
        claim: settings.claim,
        record: settings.record,
        events,
        lines: settings.lines,
        declared,
        host,
        kernel,
        placeholders: placeholders.map(|(k, v)| (k.clone(), v.clone())).collect(),
        plan: Arc::clone(&plan),
        judged: RefCell::new(Plan::clone(&plan)),
        last: Cell::new(FIRST),
        places: RefCell::new([false; MOST_COMMANDS]),
        running: RefCell::default(),
        ended: RefCell::default(),
        paused: Cell::new(false),
        over: Cell::new(false),
        asked: Cell::new(false),
        why: Cell::new("its first process ended"),
        idle: Cell::new(Moment::now()),
        oom_kills: Cell::new(0),
        changed: Notify::new(),
    });
    let served = local.block_on(&runtime, live_on(&keeper, &mut watched, signals, ready));
    // The tasks of connections share the keeper.
    drop(local);
    served?;
    let mut keeper = Rc::into_inner(keeper).ok_or(SessionError::Ending)?;
    let exited = runtime.block_on(finish(&mut keeper, watched, started))?;
    let why = keeper.why();
    let (jail, claim, events) = (keeper.jail, keeper.claim, keeper.events);
    let (told, janitor) = jail.live.clean();
    let mut notes = Notes::default();
    notes.add(told);
    let mut exited = exited;
    exited.uncovered.extend(notes.uncovered);
    if exited.uncovered.iter().any(|name| name.fate == Fate::Ended) {
        exited.cause.get_or_insert(Cause::Uncovered);
    }
    exited.janitor = janitor;
    if let Ended::Setup(error) = exited.end {
        return Err(error.into());
    }
    let id = keeper.record.id.clone();
    let mut verdict = judge(id, &plan, &keeper.kernel, &exited, Detail::Full);
    verdict.left = before.map(|before| before.look(Extent::Budget));
    let cause = match exited.cause {
        Some(Cause::Uncovered) => UNCOVERED,
        _ => why,
    };
    events.record(&Event::Ended { cause });
    let end = serde_json::json!({
        "cause": cause,
        "verdict": serde_json::from_str::<serde_json::Value>(&verdict.to_json()).ok(),
    });
    let _ = claim.directory().write("end", end.to_string().as_bytes());
    Ok(verdict)
}

/// Serves clients until the jail has ended and they have their answers.
async fn live_on(
    keeper: &Rc<Keeper>,
    watched: &mut JailLoop,
    mut signals: Signals,
    ready: impl FnOnce() -> bool,
) -> Result<(), KeepError> {
    let jail = &keeper.jail;
    let first = jail.mail_of(FIRST);
    {
        let mut run = pin!(watched.run(jail));
        let is_up = loop {
            tokio::select! {
                biased;
                () = &mut run => break false,
                () = first.came() => {
                    if first.take().iter().any(|said| matches!(said, Said::Started)) {
                        break true;
                    }
                }
                _ = signals.next() => jail.kill(Cause::Asked),
            }
        };
        if is_up {
            let listener = keeper.claim.listen()?;
            let listener = readiness::to_read(listener).map_err(fault("listening"))?;
            keeper.events.record(&Event::Created {
                digest: &keeper.record.digest,
            });
            jail.is_busy(false);
            if !ready() {
                keeper.end("its maker is gone", None);
            }
            let born = Moment::now();
            let mut accept = pin!(serve::accept(keeper, &listener));
            loop {
                tokio::select! {
                    biased;
                    () = &mut run => break,
                    number = signals.next() => hear(keeper, number),
                    () = keeper.change() => {}
                    () = until(keeper.deadline(born)) => {
                        let why = match keeper.running.borrow().is_empty() {
                            true => "no command ran for its --idle-timeout",
                            false => "it was as old as its --max-age",
                        };
                        keeper.end(why, Some(keeper.grace()));
                        // Only once: from now on the jail's own deadline counts.
                        run.await;
                        break;
                    }
                    never = &mut accept => { let _: Infallible = never; }
                }
            }
        }
    }
    watched.ended(jail);
    keeper.claim.close();
    keeper.over.set(true);
    keeper.changed.notify_waiters();
    let until = Moment::now() + FAREWELL;
    while Rc::strong_count(keeper) > 1 && Moment::now() < until {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

fn hear(keeper: &Keeper, number: i32) {
    match number {
        signal::TERM | signal::INT | signal::QUIT if keeper.asked.get() => {
            keeper.end(SIGNALLED, None);
        }
        signal::TERM | signal::INT | signal::QUIT => {
            keeper.end(SIGNALLED, Some(keeper.grace()));
        }
        // A keeper has no terminal, and whoever made it may be gone.
        _ => {}
    }
}

/// The facts about a session that has ended.
async fn finish(
    keeper: &mut Keeper,
    mut watched: JailLoop,
    started: Instant,
) -> Result<Exited, KeepError> {
    let failed = watched.failed.take();
    let jail = &mut keeper.jail;
    if failed.is_none() {
        watched.hear_janitor(jail);
    }
    let (change, usage) = jail.live.reap()?;
    let traffic = match &watched.egress {
        Some(egress) => Some(egress.finish().await),
        None => None,
    };
    let counters = jail.live.group.as_ref().map(|group| group.counters());
    let cause = jail.cause().filter(|cause| *cause != Cause::Asked);
    let (notes, egress) = watched.finish();
    drop(egress);
    Ok(Exited {
        end: match (failed, change) {
            (Some(error), _) => Ended::Setup(error),
            (None, Change::Exited(_)) => Ended::Setup(JailError::Died),
            _ if keeper.asked.get() => Ended::Command(Change::Exited(0)),
            _ => Ended::Silent,
        },
        cause,
        counters: counters.unwrap_or_default(),
        cpu: 0,
        usage,
        wall: started.elapsed(),
        output: 0,
        disks: [[0; 2]; DISKS],
        lost: None,
        patience: LEAST_GRACE,
        traffic,
        uncovered: notes.uncovered,
        unwatched: notes.unwatched,
        unguarded: notes.unguarded,
        janitor: None,
    })
}
