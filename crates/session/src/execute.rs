//! From a declared run to its verdict, on this machine.
//!
//! ```text
//! Declared ── plan ──▶ Planned ── settle ──▶ Prepared ── start ──▶ Running ── watch ──▶ Finished ── verdict
//! ```
//!
//! Each step consumes the one before, so that a caller can look at the plan, choose its own files by the
//! plan, and print messages while the jail runs. [`Declared::run`] does all steps.

mod error;
pub mod outlets;
mod secrets;
pub mod start;
pub mod streams;
pub(crate) mod walk;

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use error::{ExecuteError, OutletFault};

use super::declare::Declared;
use super::keep::store::state_dir;
use super::left::{self, Extent};
use super::stream::{self, Ours};
use super::verdict::Fault;
use super::workspace::{self, Store};
use super::{Detail, Ended, Exited, LEAST_GRACE, Verdict, exit, judge};
use creel_egress::relay::{self, Relay};
use creel_jail::netns::{self, Ahead};
use creel_jail::scope::{self, Settled};
use creel_jail::{self as jail, Live, Pins, Ready, RelayLink, spawn};
use creel_plan::{self as plan, Act, Host, Plan, ResolveError, Terminal};
use creel_sys::process;

/// A plan and the machine that it is made for.
#[derive(Debug)]
pub struct Planned {
    /// Every act of the run, as data.
    pub plan: Plan,
    /// The machine, probed once.
    pub host: Host,
    pins: Pins,
    network: Option<Ahead>,
}

/// A plan for the cgroup that exists, ready to start.
#[derive(Debug)]
pub struct Prepared {
    /// Every act of the run, as data.
    pub plan: Plan,
    /// The machine, probed once.
    pub host: Host,
    pins: Pins,
    network: Option<Ahead>,
}

/// A running jail.
pub struct Running {
    live: Live,
    relay: Option<Relay>,
    pipes: Ours,
    kernel: String,
    before: Option<left::Before>,
    changes: Option<workspace::Live>,
    started: Instant,
    detail: Detail,
}

/// A jail that has ended.
#[derive(Debug)]
pub struct Finished {
    exited: Exited,
    plan: Arc<Plan>,
    kernel: String,
    before: Option<left::Before>,
    /// Until the verdict is made.
    _changes: Option<workspace::Live>,
    detail: Detail,
}

/// The host's files before a session, and the lock of its layers.
pub(crate) struct Before {
    pub(crate) files: Option<left::Before>,
    pub(crate) layers: Option<workspace::Live>,
}

impl Declared {
    /// Runs the command to its end, with the caller's streams.
    pub fn run(&self) -> Result<Verdict, ExecuteError> {
        let started = Instant::now();
        let prepared = self.plan()?.settle(self)?;
        let running = prepared.start(self, None, started, Detail::Full)?;
        running.watch()?.verdict(self, Extent::Budget)
    }

    /// Probes the machine and makes the plan. Returns an error if the jail could read its own secrets.
    pub fn plan(&self) -> Result<Planned, ExecuteError> {
        // Every jail has one, and it takes as long to make as the plan.
        let network = netns::ahead();
        let (host, pins) = jail::probe(&self.policy, &self.request)?;
        let plan = plan::resolve(&self.policy, &self.request, &host)?;
        Planned::of(plan, host, pins, network)
    }

    /// As [`Declared::plan`], for a plan that is only displayed, by [`Declared::told`]. Also returns the
    /// refusals.
    pub fn show(&self) -> Result<(Planned, Vec<ResolveError>), ExecuteError> {
        let (host, pins) = jail::probe(&self.policy, &self.request)?;
        let (plan, refused) = self.told(&host)?;
        Ok((Planned::of(plan, host, pins, None)?, refused))
    }

    /// A plan for display, also if this machine lacks layers and a run would be refused: the plan is that
    /// of a run without them, and the refusals are returned with it.
    pub fn told(&self, host: &Host) -> Result<(Plan, Vec<ResolveError>), ResolveError> {
        let mut refused = vec![];
        // A copy: a run after this one must not go without the layers that are waived here.
        let mut policy = self.policy.clone();
        loop {
            match plan::resolve(&policy, &self.request, host) {
                Err(error) => match error.lacks() {
                    Some(layer) if policy.allow_degraded.insert(layer) => refused.push(error),
                    _ => return Err(error),
                },
                Ok(plan) => return Ok((plan, refused)),
            }
        }
    }
}

impl Planned {
    fn of(
        plan: Plan,
        host: Host,
        pins: Pins,
        network: Option<Ahead>,
    ) -> Result<Planned, ExecuteError> {
        secrets::check(&plan)?;
        outlets::check_state(&plan, &host, &state_dir())?;
        outlets::check_changes(&plan, Store::of_caller().path())?;
        Ok(Planned {
            plan,
            host,
            pins,
            network,
        })
    }

    /// Requests a cgroup if the plan was made for one on request, and makes the plan again for the result.
    pub fn settle(mut self, declared: &Declared) -> Result<Prepared, ExecuteError> {
        if scope::settle(&mut self.host, &declared.request.id) == Settled::Anew {
            self.plan = plan::resolve(&declared.policy, &declared.request, &self.host)?;
        }
        let Planned {
            plan,
            host,
            pins,
            network,
        } = self;
        Ok(Prepared {
            plan,
            host,
            pins,
            network,
        })
    }
}

impl Prepared {
    /// How long a reader of creel's messages about the end has for them.
    pub fn patience(&self) -> Duration {
        Duration::from_millis(self.plan.command.watch.grace).max(LEAST_GRACE)
    }

    /// Builds the jail and starts its command. `log` gets a line for each decision on the network; the time
    /// limit counts from `started`.
    pub fn start(
        self,
        declared: &Declared,
        log: Option<File>,
        started: Instant,
        detail: Detail,
    ) -> Result<Running, ExecuteError> {
        let Prepared {
            mut plan,
            host,
            pins,
            network,
        } = self;
        streams::check()?;
        let id = &declared.request.id;
        let before = left::Before::of(&plan, &host, &pins, id)?;
        let policy = (&declared.policy, &declared.request);
        let changes = Store::begin(&plan, policy, &host, &pins)?;
        let pipes = match plan.command.terminal {
            _ if declared.request.stays => stream::Pipes::none(),
            Terminal::Pty => stream::Pipes::none(),
            Terminal::Pipes => stream::pipes().map_err(ExecuteError::Pipes)?,
        };
        let runtime_dir = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let state = spawn::state_dir(host.uid, runtime_dir.as_deref());
        let egress = plan.acts().find_map(|act| match act {
            Act::Egress(egress) => Some(egress),
            _ => None,
        });
        let named = egress.map_or_else(Vec::new, |egress| secrets::variables(egress));
        let mut relay = egress
            .map(|egress| relay::start(id, egress, log))
            .transpose()?;
        let terminates = egress.is_some_and(|egress| egress.terminates());
        let mut made = relay::Made::default();
        if let Some(relay) = relay.as_ref().filter(|_| terminates) {
            made = relay.ready()?;
            for (name, value) in made.placeholders {
                let environment = &mut plan.command.environment;
                environment.insert(name.into_bytes(), value.into_bytes());
            }
            // The relay has its own copy. The jail's first process begins as a copy of this process and
            // must not get it.
            named.iter().for_each(|name| process::forget_variable(name));
        }
        let relay_link = relay.as_mut().and_then(|relay| {
            Some(RelayLink {
                sockets: relay.sockets.take()?,
                authority: made.authority,
            })
        });
        let live = jail::prepare(plan, &host, pins, pipes.theirs, relay_link, network, &state)
            .and_then(Ready::spawn);
        if let Some(relay) = relay.as_ref().filter(|_| !terminates) {
            // Such a jail needs nothing from the relay, so the two are built at the same time. If the relay
            // failed, the jail failed for that reason.
            relay.ready()?;
        }
        Ok(Running {
            live: live?,
            relay,
            pipes: pipes.ours,
            kernel: host.kernel,
            before,
            changes,
            started,
            detail,
        })
    }
}

impl Running {
    /// The jail, its relay, the kernel's release and the files before it, for a keeper.
    pub(crate) fn parts(self) -> (Live, Option<Relay>, String, Before) {
        let before = Before {
            files: self.before,
            layers: self.changes,
        };
        (self.live, self.relay, self.kernel, before)
    }

    /// Watches the jail to its end.
    pub fn watch(self) -> Result<Finished, ExecuteError> {
        // The verdict uses the plan that ran; supervision consumes the live jail.
        let plan = Arc::clone(&self.live.plan);
        let exited = super::run(self.live, self.relay, self.pipes, self.started, self.detail)?;
        Ok(Finished {
            exited,
            plan,
            kernel: self.kernel,
            before: self.before,
            _changes: self.changes,
            detail: self.detail,
        })
    }
}

impl Finished {
    /// How long creel waits for a reader of its messages about the end.
    pub fn patience(&self) -> Duration {
        self.exited.patience
    }

    /// Makes the verdict of the run, and looks for files that it left.
    pub fn verdict(self, declared: &Declared, extent: Extent) -> Result<Verdict, ExecuteError> {
        let mut exited = self.exited;
        exited.end = match exited.end {
            Ended::Setup(error) => return Err(error.into()),
            end => end,
        };
        let id = declared.request.id.clone();
        let mut verdict = judge(id, &self.plan, &self.kernel, &exited, self.detail);
        if let Ended::NotExecuted(errno) = &exited.end
            && verdict.uncovered.is_empty()
            && exited.lost.is_none()
            && let Some(text) = start::why_not(&self.plan, *errno)
        {
            // The kind and the code stay; the text names the file.
            verdict.error = Some(text);
        }
        verdict.left = self.before.map(|before| before.look(extent));
        let refused = verdict.code.is_none()
            && verdict.exit_status == exit::NOT_EXECUTABLE
            && verdict.error.is_some();
        let command = &declared.request.command;
        if let Some(outcome) = declared.outcome.as_ref().filter(|_| refused)
            && let Some((text, rule)) = start::ruled_out(outcome, &declared.roots, command)
        {
            let name = command[0].to_string_lossy();
            let text = format!("{name} may not be executed: {text}");
            verdict.fail(Fault::DeniedByRule, rule.as_ref(), text);
        }
        Ok(verdict)
    }
}
