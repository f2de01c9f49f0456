//! A jail with one command in it, from its start to the end of both.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::command::{CommandLoop, First};
use super::events::runtime;
use super::jail::{Jail, JailLoop, Notes};
use super::signals::Signals;
use super::stream::{Budget, Ours};
use super::{Cause, Detail, Ended, Exited, SuperviseError};
use creel_egress::relay::Relay;
use creel_jail::cgroup::{Counters, Group};
use creel_jail::covers::Fate;
use creel_jail::protocol::{DISKS, Message};
use creel_jail::spawn::Cleaning;
use creel_jail::{JailError, Live, stdin};
use creel_sys::process::Change;
use creel_sys::signal::{self, Held};

/// The minimum time for a reader of the output, if the policy's grace is shorter: it may be about to read.
pub const LEAST_GRACE: Duration = Duration::from_secs(1);

/// Watches `live` to its end and removes what it leaves on the host.
pub fn run(
    live: Live,
    relay: Option<Relay>,
    pipes: Ours,
    started: Instant,
    detail: Detail,
) -> Result<Exited, SuperviseError> {
    let runtime = runtime().map_err(fault("starting the event loop"))?;
    let watched = runtime.block_on(watch(live, relay, pipes, started, detail));
    // The janitor works beside this.
    drop(runtime);
    let (mut exited, mut notes, cleaning) = watched?;
    let (told, janitor) = cleaning.wait();
    notes.add(told);
    // An earlier cause stays: a jail killed by a limit during its build reports missing covers, but was not
    // ended for them.
    if notes.uncovered.iter().any(|name| name.fate == Fate::Ended) {
        exited.cause.get_or_insert(Cause::Uncovered);
    }
    Ok(Exited {
        uncovered: notes.uncovered,
        unwatched: notes.unwatched,
        unguarded: notes.unguarded,
        janitor,
        ..exited
    })
}

fn fault(what: &'static str) -> impl FnOnce(io::Error) -> SuperviseError {
    move |source| SuperviseError::Io { what, source }
}

async fn watch(
    mut live: Live,
    relay: Option<Relay>,
    pipes: Ours,
    started: Instant,
    detail: Detail,
) -> Result<(Exited, Notes, Cleaning), SuperviseError> {
    let signals = Signals::new().map_err(fault("listening for signals"))?;
    live.held.take().into_iter().for_each(Held::deliver);
    let plan = Arc::clone(&live.plan);
    let limits = plan.command.watch.clone();
    let grace = Duration::from_millis(limits.grace).max(LEAST_GRACE);
    let budget = Budget::new(limits.output);
    let mut watched = JailLoop::new(&live, relay)?;
    let mut jail = Jail::new(live);
    let mut command = CommandLoop::new(limits, &budget, signals, pipes, started);
    let first = First::of(&jail);
    // The command's loop does not end by itself: the end of its one command is the end of the jail.
    tokio::select! {
        biased;
        () = watched.run(&jail) => {}
        failed = command.run(&first) => match failed? {},
    }
    watched.ended(&jail);
    // The command ended before its loop read all messages.
    command.hear(&first)?;

    let (mut disks, mut cpu) = ([[0; 2]; DISKS], 0);
    let mut end = match (watched.failed.take(), command.not_executed) {
        (Some(error), _) => Some(Ended::Setup(error)),
        (None, Some(errno)) => Some(Ended::NotExecuted(errno)),
        (None, None) => None,
    };
    if let Some(Message::Ended {
        change,
        disks: filled,
        cpu: used,
        ..
    }) = Message::from_words(&jail.live.board.get())
    {
        (disks, cpu) = (filled, used);
        // A command that could not be executed ends too, after its report.
        end.get_or_insert(Ended::Command(change));
    }
    if end.is_none() {
        watched.hear_janitor(&jail);
    }
    let (change, usage) = jail.live.reap()?;
    if let Some((file, position)) = watched.stdin.take() {
        stdin::give_back(&file, position);
    }
    let traffic = match &watched.egress {
        Some(egress) => Some(egress.finish().await),
        None => None,
    };
    let wall = started.elapsed();
    budget.jail_ended();
    // If creel ended the run, a reader has the grace; otherwise as long as it needs.
    let ended = was_ended(&jail, command.asked, end.as_ref(), change);
    command.drain(ended.then(|| Instant::now() + grace)).await;
    if budget.was_exceeded() {
        // Also if the command ended before it could be killed for it.
        jail.ends_for(Cause::Output);
    }
    let clean = matches!(end, Some(Ended::Command(Change::Exited(0)))) && jail.cause().is_none();
    let counters = match (&jail.live.group, clean, detail) {
        // Nobody reads the counters of a command that succeeded.
        (_, true, Detail::OfFailures) | (None, ..) => Counters::default(),
        (Some(group), ..) => group.counters(),
    };
    let lost = command.finish();
    let (notes, egress) = watched.finish();
    let cause = jail.cause();
    let cleaning = jail.live.clean();
    // Last: the relay has ended by itself by now.
    drop(egress);
    let exited = Exited {
        end: end.unwrap_or(match change {
            // Pid 1 exits normally only after its report.
            Change::Exited(_) => Ended::Setup(JailError::Died),
            _ => Ended::Silent,
        }),
        cause,
        counters,
        cpu,
        usage,
        wall,
        output: budget.passed(),
        disks,
        lost,
        patience: match budget.hurried() {
            Some(_) => Duration::ZERO,
            None => grace,
        },
        traffic,
        uncovered: vec![],
        unwatched: None,
        unguarded: vec![],
        janitor: None,
    };
    Ok((exited, notes, cleaning))
}

/// Whether a limit or a signal to creel ended the command, rather than the command itself.
fn was_ended(jail: &Jail, asked: bool, end: Option<&Ended>, change: Change) -> bool {
    let signal = match (end, change) {
        (Some(Ended::Command(Change::Signaled(number))), _) => Some(*number),
        (None, Change::Signaled(number)) => Some(number),
        _ => None,
    };
    let of_memory = |group: &Group| group.counters().oom_kills > 0;
    jail.cause().is_some()
        || jail.deadline().is_some()
        || asked && signal.is_some()
        || signal == Some(signal::XCPU)
        || signal == Some(signal::KILL) && jail.live.group.as_ref().is_some_and(of_memory)
}
