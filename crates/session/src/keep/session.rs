//! The state of a session, as its keeper and all connections share it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant as Moment;

use super::error::SessionError;
use super::keeper::Settings;
use super::net::Net;
use super::record::{Events, Record};
use super::store::Claim;
use super::wire::ExecAsk;
use crate::desk::Desk;
use crate::jail::Jail;
use crate::{Cause, Declared, Verdict};
use creel_jail::init::MOST_COMMANDS;
use creel_jail::protocol::{FIRST, Request};
use creel_plan::{Act, CgroupLimits, CommandPlan, Host, Plan, resolve};
use creel_sys::signal;

/// The cause of an end for names that were uncovered.
pub(super) const UNCOVERED: &str =
    "a name that its policy denies or protects was replaced or removed";
/// The bit of the numbers of requests that are no command: people see those of commands.
const ACT: u32 = 1 << 31;
/// Detached commands whose ends are remembered.
const MOST_ENDED: usize = 256;

/// Makes the lines for people about the end of a command. The names are those of limits that are its own.
pub type Lines = fn(&Verdict, &[&'static str]) -> Vec<String>;

/// A session, as all connections share it.
pub(super) struct Keeper {
    pub jail: Jail,
    pub claim: Claim,
    pub record: Record,
    pub events: Events,
    pub lines: Lines,
    pub declared: Declared,
    host: Host,
    pub net: Net,
    pub kernel: String,
    /// Variables of every command that the relay made.
    placeholders: BTreeMap<Vec<u8>, Vec<u8>>,
    pub plan: Arc<Plan>,
    /// The same with the command that is judged: a copy of the whole plan for each would take longer than the rest.
    pub judged: RefCell<Plan>,
    /// The number of the last command.
    last: Cell<u32>,
    /// The number of the last other request.
    last_act: Cell<u32>,
    places: RefCell<[bool; MOST_COMMANDS]>,
    pub running: RefCell<BTreeMap<u32, Job>>,
    /// Detached commands that have ended: number and exit status.
    pub ended: RefCell<BTreeMap<u32, Job>>,
    pub paused: Cell<bool>,
    /// Commands that are being killed: while there are any, the session's group is not frozen, since neither they nor
    /// pid 1 could act.
    awake: Cell<u32>,
    /// The jail has ended.
    pub over: Cell<bool>,
    /// The end was asked for.
    pub asked: Cell<bool>,
    /// The request or event that ends it.
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
    /// The verdict, once the command has ended.
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
        if keeper.asked.get() && keeper.running.borrow().is_empty() {
            // Nothing is left that needs the grace.
            keeper.jail.kill(Cause::Asked);
        }
        keeper.jail.is_busy(!keeper.running.borrow().is_empty());
        keeper.changed.notify_waiters();
    }
}

impl Keeper {
    /// A session whose jail has just been made.
    pub fn new(
        jail: Jail,
        settings: Settings,
        events: Events,
        (declared, host): (Declared, Host),
        desk: Option<Rc<Desk>>,
        kernel: String,
        placeholders: BTreeMap<Vec<u8>, Vec<u8>>,
    ) -> Keeper {
        let plan = Arc::clone(&jail.live.plan);
        Keeper {
            jail,
            claim: settings.claim,
            record: settings.record,
            events,
            lines: settings.lines,
            declared,
            host,
            net: Net::new(&plan, desk),
            kernel,
            placeholders,
            judged: RefCell::new(Plan::clone(&plan)),
            plan,
            last: Cell::new(FIRST),
            last_act: Cell::new(ACT),
            places: RefCell::new([false; MOST_COMMANDS]),
            running: RefCell::default(),
            ended: RefCell::default(),
            paused: Cell::new(false),
            awake: Cell::new(0),
            over: Cell::new(false),
            asked: Cell::new(false),
            why: Cell::new("its first process ended"),
            idle: Cell::new(Moment::now()),
            oom_kills: Cell::new(0),
            changed: Notify::new(),
        }
    }

    /// The plan with the network as it is now.
    pub fn plan_now(&self) -> Plan {
        let mut plan = Plan::clone(&self.plan);
        self.net.now(&mut plan, &self.declared.policy.network);
        plan
    }

    /// A number and a place for one more command.
    pub fn admit(self: &Rc<Self>, job: Job) -> Result<Place, SessionError> {
        self.takes_requests()?;
        let number = self.last.get() + 1;
        self.last.set(number);
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
    pub fn plan_of(&self, ask: &ExecAsk) -> Result<CommandPlan, SessionError> {
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

    /// The limits of the session's control group, from the plan.
    fn group(&self) -> Option<CgroupLimits> {
        self.plan.jail.build.iter().find_map(|act| match act {
            Act::Cgroup(limits) => Some(*limits),
            _ => None,
        })
    }

    /// The memory of all commands together; 0 if nothing limits it.
    pub fn memory(&self) -> u64 {
        self.group().map_or(0, |limits| limits.memory)
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
        let group = self.group();
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

    /// Notes the end of the jail, and wakes whatever waits for it.
    pub fn is_over(&self) {
        self.over.set(true);
        self.changed.notify_waiters();
    }

    /// Returns when the jail has ended.
    pub async fn end_of_jail(&self) {
        while !self.over.get() {
            self.change().await;
        }
    }

    /// A number for a request to pid 1 that is no command.
    pub fn number(&self) -> Result<u32, SessionError> {
        self.takes_requests()?;
        let number = self.last_act.get().wrapping_add(1) | ACT;
        self.last_act.set(number);
        Ok(number)
    }

    fn takes_requests(&self) -> Result<(), SessionError> {
        match (self.is_ending(), self.paused.get()) {
            (true, _) => Err(SessionError::Ending),
            (_, true) => Err(SessionError::Paused),
            _ => Ok(()),
        }
    }

    /// Stops or continues every process. False if it is so already.
    pub fn pause(&self, pause: bool) -> bool {
        if self.paused.replace(pause) == pause {
            return false;
        }
        match pause {
            // It is frozen when the commands that are being killed have ended.
            true if self.awake.get() > 0 => {}
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

    /// Lets a paused session run until [`Keeper::rest`], so that a command can be killed in it.
    pub fn wake(&self) {
        self.awake.set(self.awake.get() + 1);
        if self.paused.get() {
            self.jail.live.thaw();
        }
    }

    /// Ends [`Keeper::wake`].
    pub fn rest(&self) {
        self.awake.set(self.awake.get().saturating_sub(1));
        if self.awake.get() == 0 && self.paused.get() {
            // Without a group, the session was stopped by signals, and stayed so.
            self.jail.live.freeze();
        }
    }

    /// Sends a signal to every command. pid 1 is not one: SIGKILL or SIGSTOP would end or stop the session.
    pub fn signal_all(&self, number: i32) {
        let running: Vec<u32> = self.running.borrow().keys().copied().collect();
        for command in running {
            // One that has ended meanwhile needs none.
            self.signal_one(command, number);
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
    pub fn within_limits(&self, ask: &ExecAsk) -> Result<(), SessionError> {
        let group = self.group();
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
        let share = |n| creel_policy::CpuShare(n as u32).to_string();
        let cpus = group.map(|group| u64::from(group.cpu_milli));
        most("--cpus", ask.cpu_milli.map(u64::from), cpus, share)?;
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

    /// The cause of the session's end.
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
    pub fn deadline(&self, born: Moment) -> Option<Moment> {
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
