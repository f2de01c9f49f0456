#![doc = include_str!("../README.md")]
//!
//! # The loop
//!
//! Watched: from a live jail to a verdict.
//!
//! ```text
//! Running ── timeout, cpu time, output, TERM ──▶ Ending ── grace over, second TERM ──▶ Killed
//!    │                                              │                                     │
//!    └───────────────────── the jail's first process ends ◀───────────────────────────────┘
//! ```
//!
//! One thread, one loop. It starts after `clone3`, so that nothing of it is on the way there.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::dbg_macro
    )
)]

pub mod ask;
pub mod declare;
pub mod execute;
pub mod exit;
pub mod judge;
pub mod layers;
pub mod left;
pub mod signals;
pub mod stream;
pub mod terminal;
pub mod throttled;
pub mod typed;
pub mod uncharged;
pub mod verdict;
pub mod way_out;

pub use creel_sys::host::random_id;
pub use creel_sys::startup::prepare;
pub use declare::{Asked, DeclareError, Declared, Place, declare};
pub use execute::ExecuteError;
pub use judge::judge;
pub use layers::{LayerError, Layers};
pub use verdict::{Kind, Receipt, Verdict};

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use tokio::io::unix::AsyncFd;

use creel_egress::relay::Relay;
use creel_jail::cgroup::{Counters, Group};
use creel_jail::covers::Fate;
use creel_jail::janitor::{Janitor, Told, Uncovered, Unguarded};
use creel_jail::stdin;
use creel_jail::step::STDIN;
use creel_jail::wire::{DISKS, LENGTH, Message};
use creel_jail::{JailError, Live};
use creel_sys::process::Change;
use creel_sys::signal::{Alarm, Held};
use creel_sys::socket::{self, Wait};
use creel_sys::{self as sys, Errno};
use signals::Signals;
use stream::{Budget, End, Hurry, Ours, relay_all};
use terminal::Joined;
use throttled::Throttled;
use uncharged::Uncharged;
use way_out::{Traffic, WayOut};

/// How often the cpu time of a whole jail is looked at, where a cgroup counts it.
const CPU_TICK: Duration = Duration::from_millis(100);

/// What a reader has at least, where the policy's grace is shorter: it may be about to read.
pub const LEAST_GRACE: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SuperviseError {
    #[error("{what} failed")]
    Io {
        what: &'static str,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Jail(#[from] JailError),
}

creel_policy::codes!(SuperviseError {
    Self::Io { .. } => "session-io",
} else {
    Self::Jail(error) => error.code(),
});

/// How a run ended, before it is put in the form of a verdict.
#[derive(Debug)]
pub struct Exited {
    pub end: Ended,
    /// The limit or the caller's signal that ended it, if creel did.
    pub cause: Option<Cause>,
    pub counters: Counters,
    /// Milliseconds of processor time of the command's own process, as RLIMIT_CPU counts them.
    pub cpu: u32,
    pub usage: sys::process::Usage,
    pub wall: Duration,
    pub output: u64,
    pub disks: [[u32; 2]; DISKS],
    /// A stream of the caller's that failed.
    pub lost: Option<io::Error>,
    /// How long creel waits for who reads what it says of the end; nothing where the output was given up.
    pub patience: Duration,
    /// What was reached, where there was a way out.
    pub traffic: Option<Traffic>,
    /// Names whose covers the host took off, in order.
    pub uncovered: Vec<Uncovered>,
    /// Why nobody looked after the covers, where nobody did.
    pub unwatched: Option<Errno>,
    /// Where the jail's opening of denied names is not held, though it should be.
    pub unguarded: Vec<Unguarded>,
}

/// What the jail itself said of its end.
#[derive(Debug)]
pub enum Ended {
    /// The command ran and ended so.
    Command(Change),
    /// It could not be executed.
    NotExecuted(Errno),
    /// A step failed; its act and errno.
    Setup(JailError),
    /// Pid 1 was killed before it could say anything.
    Silent,
}

/// Why creel ended a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    Timeout,
    CpuTime,
    Output,
    Oom,
    Asked,
    /// A cover could not be put back in time.
    Uncovered,
    /// The janitor ended before the jail.
    JanitorDied,
}

/// How much is found out about a run: the cgroup's counters cost a dozen system calls, a receipt has
/// two digests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Somebody reads the verdict.
    Full,
    /// Only what explains a failure.
    OfFailures,
}

/// Watches `live` to its end and removes what it leaves.
pub fn run(
    live: Live,
    relay: Option<Relay>,
    pipes: Ours,
    started: Instant,
    detail: Detail,
) -> Result<Exited, SuperviseError> {
    let fault = |what| move |source| SuperviseError::Io { what, source };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(fault("starting the event loop"))?;
    runtime.block_on(watch(live, relay, pipes, started, detail))
}

/// What the loop knows.
struct Watching {
    live: Live,
    joined: Option<Joined>,
    cause: Option<Cause>,
    /// When the wall time is over.
    over: tokio::time::Instant,
    /// A signal was passed on that asks the command to end.
    asked: bool,
    /// When politeness ends.
    deadline: Option<tokio::time::Instant>,
    end: Option<Ended>,
    disks: [[u32; 2]; DISKS],
    cpu: u32,
    /// Pid 1 has closed its end: an end of file is always ready to be read again.
    silent: bool,
    uncovered: Vec<Uncovered>,
    unwatched: Option<Errno>,
    unguarded: Vec<Unguarded>,
    janitor_over: bool,
    /// What the jail has as stdin in the place of the caller's file, and the position at the start.
    stdin: Option<(OwnedFd, u64)>,
}

async fn watch(
    mut live: Live,
    relay: Option<Relay>,
    pipes: Ours,
    started: Instant,
    detail: Detail,
) -> Result<Exited, SuperviseError> {
    let fault = |what| move |source: io::Error| SuperviseError::Io { what, source };
    let readable = sys::readiness::to_read;
    let mut signals = Signals::new().map_err(fault("listening for signals"))?;
    live.held.take().into_iter().for_each(Held::deliver);
    let pidfd = live
        .pidfd
        .try_clone()
        .and_then(readable)
        .map_err(fault("watching the jail"))?;
    let socket = live
        .socket
        .try_clone()
        .and_then(readable)
        .map_err(fault("watching the jail"))?;
    let janitor = live.janitor.as_ref().map(|janitor| {
        let socket = janitor.socket().try_clone_to_owned();
        socket.and_then(readable)
    });
    let janitor = janitor.transpose().map_err(fault("watching the janitor"))?;
    let oom = match live.group.as_ref().map(|g| g.oom_events()).transpose() {
        Ok(events) => events
            .flatten()
            .map(readable)
            .transpose()
            .map_err(fault("watching memory"))?,
        Err(e) => return Err(JailError::from(e).into()),
    };
    let mut way_out = relay
        .map(WayOut::new)
        .transpose()
        .map_err(fault("watching the relay"))?;
    let (whole, watch) = (
        live.plan.jail.watch.clone(),
        live.plan.command.watch.clone(),
    );
    let budget = Budget::new(watch.output);
    let over = (started + Duration::from_millis(watch.timeout)).into();
    let timeout = tokio::time::sleep_until(over);
    tokio::pin!(timeout);
    let mut tick = tokio::time::interval_at(tokio::time::Instant::now() + CPU_TICK, CPU_TICK);
    let counts_cpu = live.group.is_some();
    let mut look = tokio::time::interval(terminal::LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut uncharged = Uncharged::default();
    let mut throttled = Throttled::default();

    let mut state = Watching {
        live,
        joined: None,
        cause: None,
        asked: false,
        over,
        deadline: None,
        end: None,
        disks: [[0; 2]; DISKS],
        cpu: 0,
        silent: false,
        uncovered: vec![],
        unwatched: None,
        unguarded: vec![],
        janitor_over: false,
        stdin: None,
    };
    let streams = relay_all(pipes.written, &budget);
    tokio::pin!(streams);
    let mut streamed: Option<Option<io::Error>> = None;
    let mut screen: Option<std::pin::Pin<Box<dyn Future<Output = End>>>> = None;
    let mut shown = None;
    let mut keys: std::pin::Pin<Box<dyn Future<Output = std::convert::Infallible>>> =
        match pipes.typed {
            Some(typed) => Box::pin(typed.carry()),
            None => Box::pin(std::future::pending()),
        };

    loop {
        let polite_until = state.deadline;
        let asking = way_out::is_asking(&way_out);
        tokio::select! {
            biased;
            _ = pidfd.readable() => break,
            ready = socket.readable(), if !state.silent => {
                if let Ok(mut ready) = ready {
                    if let Some(master) = state.hear() {
                        let joined = Joined::new(master);
                        let (reader, writer) = joined.halves().map_err(fault("joining the terminal"))?;
                        screen = Some(Box::pin(terminal::output(reader, &budget)));
                        keys = Box::pin(terminal::input(writer));
                        state.joined = Some(joined);
                    }
                    ready.clear_ready();
                }
            }
            number = signals.next() => state.signal(number),
            () = &mut timeout, if state.cause.is_none() => state.end_politely(Cause::Timeout),
            () = budget.exceeded() => state.kill(Cause::Output),
            () = until(polite_until) => {
                let cause = state.cause.unwrap_or(Cause::Asked);
                state.kill(cause);
            }
            () = ready_or_never(oom.as_ref()) => state.kill(Cause::Oom),
            () = ready_or_never(janitor.as_ref()), if !state.janitor_over => {
                let told = state.live.janitor.as_mut().map_or_else(Vec::new, Janitor::told);
                state.note(told);
                if state.janitor_over {
                    state.kill(Cause::JanitorDied);
                }
            }
            _ = tick.tick(), if counts_cpu && state.cause.is_none() => {
                state.live.group.iter().for_each(|group| throttled.look(group));
                let used = state.live.group.as_ref().and_then(|g| g.cpu_used()).unwrap_or(0);
                if used >= whole.cpu_time.saturating_mul(1000) {
                    state.kill(Cause::CpuTime);
                } else if uncharged.exceeds(&state.live, whole.uncharged) {
                    state.kill(Cause::Oom);
                }
            }
            _ = look.tick(), if !asking && state.is_left() => state.joined.iter_mut().for_each(Joined::look),
            // While a person is asked, the terminal is theirs alone; a pipe may lead to it as well.
            lost = &mut streams, if streamed.is_none() && !asking => streamed = Some(lost),
            end = finished(&mut screen), if !asking => (screen, shown) = (None, end.loss()),
            _ = &mut keys, if !asking && !state.is_left() => {}
            () = way_out::serve(&mut way_out) => {}
        }
    }
    way_out.iter_mut().for_each(WayOut::end);
    if let Some(master) = state.hear() {
        // The command was quicker than this loop.
        let joined = Joined::new(master);
        let (reader, _) = joined.halves().map_err(fault("joining the terminal"))?;
        screen = Some(Box::pin(terminal::output(reader, &budget)));
        state.joined = Some(joined);
    }
    let word = Message::from_words(&state.live.board.get());
    if let Some(Message::Ended {
        change, disks, cpu, ..
    }) = word
    {
        (state.disks, state.cpu) = (disks, cpu);
        // A worker that could not execute ends too, after it said why.
        state.end.get_or_insert(Ended::Command(change));
    }
    if state.end.is_none() {
        // The janitor kills in the same breath in which it says why.
        let told = state
            .live
            .janitor
            .as_mut()
            .map_or_else(Vec::new, Janitor::told);
        state.note(told);
        if state.janitor_over {
            state.cause.get_or_insert(Cause::JanitorDied);
        }
    }
    let (change, usage) = state.live.reap()?;
    if let Some((file, position)) = state.stdin.take() {
        stdin::give_back(&file, position);
    }
    let traffic = match &way_out {
        Some(way_out) => Some(way_out.finish().await),
        None => None,
    };
    let wall = started.elapsed();
    budget.jail_ended();
    // What was written before the end arrives before the verdict; the last writer is dead. Where creel ended
    // the run, a reader has the grace for it; else as long as it takes, until the caller asks to end.
    let grace = Duration::from_millis(watch.grace).max(LEAST_GRACE);
    let patience = state.was_ended(change).then(|| Instant::now() + grace);
    {
        let rest = async {
            if streamed.is_none() {
                streamed = Some((&mut streams).await);
            }
            if screen.is_some() {
                shown = finished(&mut screen).await.loss();
            }
        };
        tokio::pin!(rest);
        let hurry = tokio::select! {
            biased;
            () = &mut rest => None,
            () = signals.asked() => Some(Hurry::Asked),
            () = until(patience.map(Into::into)) => Some(Hurry::Grace),
        };
        if let Some(why) = hurry {
            budget.hurry(why);
            rest.await;
        }
    }
    let lost = streamed.flatten();
    drop((screen, keys));
    if budget.was_exceeded() {
        // Also where the command ended before it could be killed for it.
        state.cause.get_or_insert(Cause::Output);
    }
    let clean =
        matches!(state.end, Some(Ended::Command(Change::Exited(0)))) && state.cause.is_none();
    let counters = match (&state.live.group, clean, detail) {
        // Nobody asks how much a command used that did what it should.
        (_, true, Detail::OfFailures) | (None, ..) => Counters::default(),
        (Some(group), ..) => group.counters(),
    };
    let end = state.end.take().unwrap_or(match change {
        // Pid 1 exits only after it has spoken.
        Change::Exited(_) => Ended::Setup(JailError::Died),
        _ => Ended::Silent,
    });
    let Watching {
        live,
        mut cause,
        disks,
        cpu,
        joined,
        mut uncovered,
        mut unwatched,
        mut unguarded,
        ..
    } = state;
    drop((joined, janitor));
    for told in live.clean() {
        match told {
            Told::Uncovered(name) => uncovered.push(name),
            Told::Unwatched(errno) => unwatched = Some(errno),
            Told::Unguarded(place) => unguarded.push(place),
            Told::Over => {}
        }
    }
    if uncovered.iter().any(|name| name.fate == Fate::Ended) {
        cause = Some(Cause::Uncovered);
    }
    // Last: by now it has ended by itself.
    drop(way_out);
    Ok(Exited {
        end,
        cause,
        counters,
        cpu,
        usage,
        wall,
        output: budget.passed(),
        disks,
        lost: lost.or(shown),
        patience: match budget.hurried() {
            Some(_) => Duration::ZERO,
            None => grace,
        },
        traffic,
        uncovered,
        unwatched,
        unguarded,
    })
}

impl Watching {
    /// Takes every message that is there. A terminal's master is handed out.
    fn hear(&mut self) -> Option<OwnedFd> {
        let mut bytes = [0; LENGTH];
        let mut master = None;
        loop {
            let (length, mut fds) =
                match socket::receive(self.live.socket.as_fd(), &mut bytes, Wait::No) {
                    Ok((0, _)) => {
                        self.silent = true;
                        break;
                    }
                    Ok((length, fds)) => (length, fds),
                    // The child ended with something of ours unread: reported once, and before what it
                    // said itself (unix(7)).
                    Err(Errno::CONNRESET) => continue,
                    Err(_) => break,
                };
            match Message::decode(&bytes[..length]) {
                Some(Message::Failed { step, errno }) => {
                    self.end = Some(Ended::Setup(self.failed(step, errno)))
                }
                Some(Message::NotExecuted { errno, .. }) => {
                    self.end = Some(Ended::NotExecuted(Errno::from_raw_os_error(errno)));
                }
                Some(Message::Terminal) => master = fds[0].take(),
                Some(Message::Stdin { position }) => {
                    self.stdin = fds[0].take().map(|file| (file, position));
                }
                // Without a terminal to give back nobody waits for a stopped creel, and a jail must
                // not stop its own clock.
                Some(Message::Stopped { .. })
                    if self.joined.as_ref().is_some_and(Joined::holds_terminal) =>
                {
                    self.live.signal(sys::signal::TSTP);
                    self.stop_too();
                }
                Some(Message::Stopped { .. } | Message::Ended { .. }) | None => {}
            }
        }
        master
    }

    fn note(&mut self, all: Vec<Told>) {
        for told in all {
            match told {
                Told::Uncovered(name) => self.uncovered.push(name),
                Told::Unwatched(errno) => self.unwatched = Some(errno),
                Told::Unguarded(place) => self.unguarded.push(place),
                Told::Over => self.janitor_over = true,
            }
        }
    }

    /// Whether the caller's terminal was taken over, and is another job's by now.
    fn is_left(&self) -> bool {
        self.joined.as_ref().is_some_and(Joined::is_left)
    }

    fn failed(&self, step: u32, errno: i32) -> JailError {
        let source = Errno::from_raw_os_error(errno);
        match self.live.plan.acts().nth(step as usize) {
            Some(act) => JailError::Act {
                act: Box::new(act.clone()),
                source,
            },
            None if step == STDIN => JailError::Stdin { source },
            None => JailError::System {
                what: "starting the jail's first process",
                source,
            },
        }
    }

    /// Whether a limit or a signal to creel ended the command, and not it itself.
    fn was_ended(&self, change: Change) -> bool {
        let signal = match (&self.end, change) {
            (Some(Ended::Command(Change::Signaled(number))), _) => Some(*number),
            (None, Change::Signaled(number)) => Some(number),
            _ => None,
        };
        let of_memory = |group: &Group| group.counters().oom_kills > 0;
        self.cause.is_some()
            || self.deadline.is_some()
            || self.asked && signal.is_some()
            || signal == Some(sys::signal::XCPU)
            || signal == Some(sys::signal::KILL) && self.live.group.as_ref().is_some_and(of_memory)
    }

    fn signal(&mut self, number: i32) {
        use sys::signal::{HUP, INT, QUIT};
        self.asked |= matches!(number, INT | HUP | QUIT);
        match number {
            sys::signal::WINCH => match &self.joined {
                // The kernel tells the jail's foreground of the new size itself.
                Some(joined) => joined.resize(),
                None => self.live.signal(number),
            },
            // The jail stops, says so, and then so does this process.
            sys::signal::TSTP if self.joined.as_ref().is_some_and(Joined::holds_terminal) => {
                self.live.signal(sys::signal::TSTP);
            }
            sys::signal::TSTP => {
                self.live.signal(sys::signal::TSTP);
                self.stop_too();
            }
            sys::signal::TERM if self.deadline.is_some() => self.kill(Cause::Asked),
            sys::signal::TERM => {
                self.live.signal(number);
                self.be_patient();
            }
            number => self.live.signal(number),
        }
    }

    /// Stops this process as its caller expects, and wakes the jail with it. Nothing of the jail runs
    /// meanwhile, or the clock goes on: what was stopped by a signal wakes itself with a timer of its own.
    fn stop_too(&mut self) {
        let ends = match self.cause {
            None => self.over,
            Some(_) => self.deadline.unwrap_or(self.over),
        };
        let left = ends.saturating_duration_since(tokio::time::Instant::now());
        let alarm = match self.live.freeze() {
            true => None,
            false => Some(Alarm::after(left)),
        };
        // Where there is neither, this process does not stop.
        if !matches!(alarm, Some(Err(_))) {
            let stop = || {
                // A process that cannot stop itself goes on, and so does its jail.
                let _ = sys::signal::stop_self();
            };
            let over = || alarm.is_some() && tokio::time::Instant::now() >= ends;
            match &mut self.joined {
                Some(joined) => joined.suspended(stop, over),
                None => stop(),
            }
        }
        self.live.thaw();
        self.live.signal(sys::signal::CONT);
    }

    fn end_politely(&mut self, cause: Cause) {
        self.cause.get_or_insert(cause);
        self.live.signal(sys::signal::TERM);
        // What is stopped would never hear of it; timeout(1) does the same.
        self.live.signal(sys::signal::CONT);
        self.be_patient();
    }

    fn be_patient(&mut self) {
        let grace = Duration::from_millis(self.live.plan.command.watch.grace);
        self.deadline
            .get_or_insert(tokio::time::Instant::now() + grace);
    }

    fn kill(&mut self, cause: Cause) {
        self.cause.get_or_insert(cause);
        self.live.kill();
        // Once is enough, and the deadline must not fire again at once.
        self.deadline = Some(tokio::time::Instant::now() + Duration::from_secs(1));
    }
}

async fn until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// The end of what may not have begun.
async fn finished<T>(future: &mut Option<std::pin::Pin<Box<dyn Future<Output = T> + '_>>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

async fn ready_or_never(event: Option<&AsyncFd<OwnedFd>>) {
    match event {
        Some(event) => {
            if let Ok(mut guard) = event.readable().await {
                guard.clear_ready();
            }
        }
        None => std::future::pending().await,
    }
}
