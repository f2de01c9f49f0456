//! The keeper: the process that owns a session's jail, from its making to its end.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::LocalSet;
use tokio::time::Instant as Moment;

use super::error::SessionError;
use super::inside;
use super::record::{Event, Events, Record};
use super::serve;
use super::session::{Keeper, Lines, UNCOVERED};
use super::store::Claim;
use crate::events::{runtime, until};
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
use creel_jail::fault_point::{self, Point};
use creel_jail::protocol::{DISKS, FIRST};
use creel_plan::PLACEHOLDER;
use creel_sys::process::Change;
use creel_sys::readiness;
use creel_sys::signal::{self, Held};

/// Why a session ends that its keeper was asked to end by a signal.
const SIGNALLED: &str = "its keeper was asked to end by a signal";
/// How long the clients of a session that has ended have to take their answers.
const FAREWELL: Duration = Duration::from_secs(5);

/// The parts of a keeper beside its jail.
pub struct Settings {
    /// The session's directory.
    pub claim: Claim,
    /// How it is made.
    pub record: Record,
    /// The lines for people about the end of a command, and the names of the limits that are its own.
    pub lines: Lines,
}

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
    fault_point::reach(Point::KeeperRecorded);
    let host = prepared.host.clone();
    let running = prepared.start(&declared, None, started, Detail::Full)?;
    let runtime = runtime().map_err(fault("starting the event loop"))?;
    let (mut live, relay, kernel, mut before) = running.parts();
    let plan = Arc::clone(&live.plan);
    let local = LocalSet::new();
    let enter = runtime.enter();
    let signals = Signals::new().map_err(fault("listening for signals"))?;
    live.held.take().into_iter().for_each(Held::deliver);
    let mut watched = JailLoop::new(&live, relay)?;
    drop(enter);
    let made = |(_, value): &(&Vec<u8>, &Vec<u8>)| value.starts_with(PLACEHOLDER);
    let placeholders = plan.command.environment.iter().filter(made);
    let keeper = Rc::new(Keeper::new(
        Jail::new(live),
        settings,
        events,
        (declared, host),
        watched
            .egress
            .as_ref()
            .map(|egress| Rc::clone(egress.desk())),
        kernel,
        placeholders.map(|(k, v)| (k.clone(), v.clone())).collect(),
    ));
    // A process that sees the free claim may use the layers: this is dropped first.
    let layers = before.layers.take();
    let served = local.block_on(&runtime, live_on(&keeper, &mut watched, signals, ready));
    // The tasks of connections share the keeper.
    drop(local);
    served?;
    let mut keeper = Rc::into_inner(keeper).ok_or(SessionError::Ending)?;
    let exited = runtime.block_on(finish(&mut keeper, watched, started))?;
    fault_point::reach(Point::EndReaped);
    let why = keeper.why();
    let plan = keeper.plan_now();
    let (jail, claim, events) = (keeper.jail, keeper.claim, keeper.events);
    let (told, janitor) = jail.live.clean().wait();
    drop(layers);
    fault_point::reach(Point::EndCleaned);
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
    verdict.left = before.files.map(|before| before.look(Extent::Budget));
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
    fault_point::reach(Point::EndWritten);
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
            fault_point::reach(Point::FirstStarted);
            let listener = keeper.claim.listen()?;
            let listener = readiness::to_read(listener).map_err(fault("listening"))?;
            fault_point::reach(Point::KeeperListens);
            keeper.events.record(&Event::Created {
                digest: &keeper.record.digest,
            });
            jail.is_busy(false);
            if !ready() {
                keeper.end("its maker is gone", None);
            }
            fault_point::reach(Point::MakerTold);
            let born = Moment::now();
            let mut accept = pin!(serve::accept(keeper, &listener));
            let mut answer = pin!(inside::accept(keeper, jail.client.take()));
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
                    never = &mut answer => { let _: Infallible = never; }
                }
            }
        }
    }
    watched.ended(jail);
    keeper.claim.close();
    fault_point::reach(Point::EndClosed);
    keeper.is_over();
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
