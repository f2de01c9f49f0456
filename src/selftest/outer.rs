//! The outer half: jails around creel itself, one for the attempts and one for each exhaustion.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::attempt::{Line, Task};
use super::error::SelftestError;
use super::facts::Facts;
use super::layer::Layer;
use super::plant::{self, Planted};
use super::report::Report;
use super::score::{judge_attempt, judge_spend, judge_work};
use super::weaken::weaken;
use super::{rows, spend};
use creel_jail::{self as jail, Stdio, probe, spawn};
use creel_plan::{self as plan, Act, Plan, Request, ResolveError, Terminal};
use creel_policy::{Absent, Degradable, Limits, Origin, Policy, Sourced, WorkspaceMode, preset};
use creel_session::declare::Place;
use creel_session::stream::Ours;
use creel_session::{self as supervise, Ended, Verdict};
use creel_sys::attempt::{self, c};
use creel_sys::{Errno, host, process};

/// Request of the caller.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The layer to take out of the plan.
    pub without: Option<Layer>,
    pub allow_degraded: Vec<Degradable>,
}

/// Runs the suite.
pub fn run(options: &Options) -> Result<Report, SelftestError> {
    let named = std::env::var_os("TMPDIR")
        .map(PathBuf::from)
        .filter(|dir| dir.is_dir());
    let base = match named {
        Some(dir) => dir,
        None => PathBuf::from("."),
    };
    let base = base
        .canonicalize()
        .map_err(|source| SelftestError::Scratch {
            path: base.clone(),
            source,
        })?;
    let mut planted = Planted::new(&base)?;
    // The canaries need exactly the modes that are given.
    let umask = process::set_mask(0);
    let report = Outer::new(options, &mut planted).and_then(|outer| outer.run());
    process::set_mask(umask);
    report
}

struct Outer<'a> {
    options: &'a Options,
    planted: &'a Planted,
    creel: PathBuf,
    workspace: WorkspaceMode,
    facts: Facts,
    notes: Vec<String>,
}

/// A jail's verdict and its output.
struct Ran {
    verdict: Verdict,
    stdout: String,
    stderr: String,
}

impl<'a> Outer<'a> {
    fn new(options: &'a Options, planted: &'a mut Planted) -> Result<Outer<'a>, SelftestError> {
        if options.without == Some(Layer::PidNamespace) {
            // A supervisor forwards these to creel's pid 1, which would stop and wake every process that it
            // sees: without its namespace, those of the host.
            attempt::ignore(c::SIGTSTP);
            attempt::ignore(c::SIGCONT);
        }
        let creel = std::fs::read_link("/proc/self/exe").map_err(SelftestError::NoProgram)?;
        let mut notes = vec![];
        let mut workspace = WorkspaceMode::ReadWrite;
        let place = planted.workspace();
        let first = match resolve(
            options,
            &creel,
            &place,
            workspace,
            &Task::Rows(Box::new(planted.site.clone())),
            |_| {},
        ) {
            Err(SelftestError::Resolve(
                error @ (ResolveError::NoIdmap { .. } | ResolveError::NoIdmapBelow { .. }),
            )) => {
                notes.push(format!("workspace none: {error}"));
                workspace = WorkspaceMode::None;
                resolve(
                    options,
                    &creel,
                    &place,
                    workspace,
                    &Task::Rows(Box::new(planted.site.clone())),
                    |_| {},
                )?
            }
            other => other?,
        };
        let (plan, host, _) = first;
        let facts = Facts::of(&plan, &host, &planted.site);
        if let Some(layer) = options.without
            && !facts.in_force(layer, 0)
        {
            return Err(SelftestError::NotInForce(layer));
        }
        let site = &mut planted.site;
        site.uid = plan.acts().find_map(become_uid).unwrap_or(host.uid);
        site.home = plan::paths::home(&host);
        site.workspace = plan.command.workdir.clone();
        site.creel = creel.clone();
        site.shares_pids = options.without == Some(Layer::PidNamespace);
        Ok(Outer {
            options,
            planted,
            creel,
            workspace,
            facts,
            notes,
        })
    }

    fn run(self) -> Result<Report, SelftestError> {
        let mut report = Report::new(self.options.without, &self.facts, self.notes.clone());
        let ran = self.jail(&Task::Rows(Box::new(self.planted.site.clone())), |_| {})?;
        let lines = lines(&ran.stdout)?;
        if lines.is_empty() {
            let said = ran
                .stderr
                .lines()
                .next()
                .unwrap_or("it gave no answer")
                .to_owned();
            return Err(SelftestError::NotRun(ran.verdict.error.unwrap_or(said)));
        }
        let outcome = |name: &str| {
            lines
                .iter()
                .find(|line| line.name == name)
                .map(|line| &line.outcome)
        };
        for row in rows::all() {
            report.add(judge_attempt(
                row,
                outcome(row.name),
                &self.facts,
                self.options.without,
            ));
        }
        for row in rows::works() {
            report.add(judge_work(row, outcome(row.name), self.options.without));
        }
        for row in spend::ROWS {
            let shares_pids = self.planted.site.shares_pids;
            let ran = self.jail(
                &Task::Spend {
                    spend: row.spend,
                    shares_pids,
                },
                row.limit,
            )?;
            report.add(judge_spend(
                row,
                &ran.verdict,
                &self.facts,
                self.options.without,
            ));
        }
        Ok(report)
    }

    /// Runs creel's inner half in a jail.
    fn jail(&self, task: &Task, limit: impl Fn(&mut Limits)) -> Result<Ran, SelftestError> {
        let started = Instant::now();
        let place = self.planted.workspace();
        let (mut plan, host, mut pins) = resolve(
            self.options,
            &self.creel,
            &place,
            self.workspace,
            task,
            limit,
        )?;
        self.planted.put(&mut plan, &mut pins)?;
        plan::check_order(&plan)?;
        if let Some(layer) = self.options.without {
            weaken(&mut plan, layer, self.planted);
        }
        let fault = |what| move |source| SelftestError::System { what, source };
        let pipe =
            || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(fault("a pipe"));
        let memory = |name| {
            let flags = rustix::fs::MemfdFlags::CLOEXEC;
            rustix::fs::memfd_create(name, flags)
                .map(File::from)
                .map_err(fault("a file in memory"))
        };
        let (out_read, out_write) = pipe()?;
        let (err_read, err_write) = pipe()?;
        let (mut out, mut err) = (memory("stdout")?, memory("stderr")?);
        let null = File::open("/dev/null").map_err(|e| SelftestError::System {
            what: "/dev/null",
            source: Errno::from_io_error(&e).unwrap_or(Errno::IO),
        })?;
        let stdio = Stdio([Some(null.into()), Some(out_write), Some(err_write)]);
        let runtime_dir = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let state = spawn::state_dir(host.uid, runtime_dir.as_deref());
        let live = jail::prepare(plan, &host, pins, stdio, None, None, &state)?.spawn()?;
        let plan = live.plan.clone();
        let pipes = Ours {
            written: vec![(out_read, out.as_raw_fd()), (err_read, err.as_raw_fd())],
            typed: None,
        };
        let exited = supervise::run(live, None, pipes, started, supervise::Detail::Full)?;
        if let Ended::Setup(error) = exited.end {
            return Err(error.into());
        }
        let verdict = supervise::judge(
            host::random_id(),
            &plan,
            &host.kernel,
            &exited,
            supervise::Detail::Full,
        );
        Ok(Ran {
            verdict,
            stdout: text(&mut out),
            stderr: text(&mut err),
        })
    }
}

/// The default policy, with creel itself as one more program.
fn resolve(
    options: &Options,
    creel: &Path,
    workspace: &Path,
    mode: WorkspaceMode,
    task: &Task,
    limit: impl Fn(&mut Limits),
) -> Result<(Plan, plan::Host, jail::Pins), SelftestError> {
    let roots = Place::here().roots(Some(workspace));
    let mut policy: Policy = preset::default_in(&roots, Some(mode))?;
    limit(&mut policy.limits);
    // The workspace is a scratch directory, whose files no program obeys later.
    policy.filesystem.protect.clear();
    let path = creel
        .to_str()
        .ok_or_else(|| SelftestError::NotText(creel.into()))?;
    let origin = Origin {
        source: "creel selftest".into(),
        line: 0,
    };
    let rule = roots.rule(path.to_owned(), Absent::Refuse, origin);
    policy.filesystem.exec.push(rule);
    policy.filesystem.workspace = Some(Sourced::creel(mode));
    policy.allow_degraded.extend(&options.allow_degraded);
    let task = serde_json::to_string(task)?;
    let request = Request {
        command: vec![
            creel.into(),
            "selftest".into(),
            "--inside".into(),
            task.into(),
        ],
        workspace: Some(workspace.into()),
        // A canary: no policy passes it.
        caller_env: vec![(plant::VARIABLE.into(), "canary".into())],
        terminal: Terminal::Pipes,
        id: host::random_id(),
        ..Request::default()
    };
    let (mut host, pins) = probe(&policy, &request)?;
    jail::scope::settle(&mut host, &request.id);
    Ok((plan::resolve(&policy, &request, &host)?, host, pins))
}

fn become_uid(act: &Act) -> Option<u32> {
    match act {
        Act::Become { uid, .. } => Some(*uid),
        _ => None,
    }
}

fn text(file: &mut File) -> String {
    let mut bytes = vec![];
    // A file in memory is readable; an empty result is reported as such.
    let _ = file.rewind().and_then(|()| file.read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

fn lines(stdout: &str) -> Result<Vec<Line>, SelftestError> {
    let parse = |line: &str| {
        serde_json::from_str(line)
            .map_err(|_| SelftestError::Mumbled(line.chars().take(200).collect()))
    };
    stdout
        .lines()
        .filter(|line| !line.is_empty())
        .map(parse)
        .collect()
}
