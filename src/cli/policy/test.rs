//! `creel policy test`: runs the test cases in policy files against the evaluator and against the kernel.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::ValueHint;
use serde_json::{Value, json};

use super::inner::{self, Answer, Trial};
use super::report::origin_json;
use crate::cli::answer::{print, print_json};
use crate::cli::failure::Failure;
use crate::cli::flags::degradable;
use crate::selftest::scratch::Scratch;
use creel_jail::globs::Finder;
use creel_jail::{self as jail, Stdio, spawn};
use creel_plan::{self as plan, Request, Terminal};
use creel_policy::cases::{Expected, Judged, beyond_kernel, judge, subject};
use creel_policy::decide::Decision;
use creel_policy::glob::Pattern;
use creel_policy::layer::{Layer, PROGRAM_DIRECTORIES, Rank};
use creel_policy::net::Network;
use creel_policy::path_set::within;
use creel_policy::rights::Roots;
use creel_policy::stack::{Outcome, Stack};
use creel_policy::tools::Tool;
use creel_policy::{Absent, Degradable, Execution, Origin, Policy};
use creel_session::exit::FOUND;
use creel_session::layers::{self, Names};
use creel_session::stream::Ours;
use creel_session::{self as supervise, Detail, Ended, Place};
use creel_sys::{attempt, host};

/// Run the test cases in policies: `[tests] allow = ["read x"], deny = ["exec curl"]`
#[derive(clap::Args)]
#[command(
    after_help = "Exit status: 0 every case holds; 1 a case fails, a file has no cases, or with --kernel the kernel and \
    the evaluator differ; 2 a policy cannot be read or its jail cannot be created."
)]
pub struct TestArgs {
    /// Policies to test, each separately
    #[arg(required_unless_present = "inside", value_name = "FILE|NAME", value_hint = ValueHint::FilePath)]
    files: Vec<PathBuf>,

    /// Also try each case in a jail with the policy
    #[arg(long)]
    kernel: bool,

    /// With --kernel: use this workspace instead of a fresh one
    #[arg(long, value_name = "DIR", requires = "kernel", value_hint = ValueHint::DirPath)]
    workspace: Option<PathBuf>,

    /// Run without this layer if the host lacks it: cgroup, landlock, idmap
    #[arg(long, value_name = "LAYER", value_parser = degradable)]
    allow_degraded: Vec<Degradable>,

    /// Print JSON
    #[arg(long)]
    json: bool,

    /// The inner half, in the jail
    #[arg(long, hide = true, value_name = "TASK", exclusive = true)]
    inside: Option<String>,
}

/// The result of a case.
struct Tried {
    judged: Judged,
    /// The kernel's answer, or why the kernel was not asked; `None` without `--kernel`.
    kernel: Option<Result<Answer, &'static str>>,
}

impl Tried {
    fn kernel_disagrees(&self) -> bool {
        let allowed = self.judged.decision.is_allowed();
        matches!(&self.kernel, Some(Ok(answer)) if (*answer == Answer::Allowed) != allowed)
    }

    fn holds(&self) -> bool {
        self.judged.holds() && !self.kernel_disagrees()
    }
}

pub fn run(args: &TestArgs) -> Result<u8, Failure> {
    if let Some(task) = &args.inside {
        return inner::run(task);
    }
    let mut all = vec![];
    let mut without = vec![];
    for path in &args.files {
        let tried = of_file(args, path)?;
        if tried.is_empty() {
            without.push(path.to_string_lossy().escape_debug().to_string());
        }
        all.extend(tried);
    }
    let failed = all.iter().filter(|tried| !tried.holds()).count();
    let asked = all
        .iter()
        .filter(|t| matches!(t.kernel, Some(Ok(_))))
        .count();
    if args.json {
        print_json(&json!({
            "version": 1,
            "cases": all.iter().map(as_json).collect::<Vec<_>>(),
            "passed": all.len() - failed,
            "failed": failed,
            "without_cases": without,
            "kernel": asked,
        }))?;
    } else {
        let mut text: String = all.iter().map(line).collect();
        for file in &without {
            text += &format!(
                "FAIL  {file}: no cases; write what the policy must allow and deny into [tests]: allow = [...], deny = [...]\n"
            );
        }
        text += &format!("{} passed, {failed} failed", all.len() - failed);
        if args.kernel && !all.is_empty() {
            text += &format!("; the kernel was asked about {asked}");
        }
        print(&(text + "\n"))?;
    }
    // A file without cases fails: otherwise lost cases would go unnoticed.
    Ok(match failed == 0 && without.is_empty() {
        true => 0,
        false => FOUND,
    })
}

fn of_file(args: &TestArgs, path: &Path) -> Result<Vec<Tried>, Failure> {
    let mut layer = layers::read(path)?;
    own_cases(&mut layer, path);
    // A fresh workspace is empty; `furnish` creates the paths of the cases in it.
    let fresh = match args.kernel && args.workspace.is_none() {
        true => Some(scratch()?),
        false => None,
    };
    let work = fresh.as_ref().map(|scratch| scratch.path.join("work"));
    let roots = Place::here().roots(work.as_deref().or(args.workspace.as_deref()));
    if args.kernel && work.is_some() {
        // Before expansion, so that patterns match these paths.
        furnish(&layer, &roots)?;
    }
    let mut stack = Stack {
        layers: vec![(Rank::Operator, layer.clone())],
    };
    match args.kernel {
        true => Names::Here.expand(&mut stack, &roots)?.all_met()?,
        false => as_if_there(&mut stack, &layer, &roots)?,
    }
    let outcome = stack.resolve(&layers::limits()?, &roots);
    let judged = judge(&layer, &outcome.rights, &roots);
    if !args.kernel {
        let tried = judged.into_iter().map(|judged| Tried {
            judged,
            kernel: None,
        });
        return Ok(tried.collect());
    }
    in_jail(args, judged, &outcome, &roots)
}

/// Expands patterns to the paths here that match, and to the paths of the cases as if they existed: the
/// evaluator's answer must not depend on which files a checkout has.
fn as_if_there(stack: &mut Stack, layer: &Layer, roots: &Roots) -> Result<(), Failure> {
    let cases = layer.tests.allow.iter().chain(&layer.tests.deny);
    let named: Vec<_> = cases
        .filter_map(|case| Some(subject(roots, case.value.words.first()?)))
        .collect();
    let mut finder = Finder::of(&stack.wanted(roots))?;
    stack.expand(roots, |wanted| {
        let pattern = Pattern::parse(&wanted.pattern);
        let mut names = finder.find(wanted)?;
        for path in named
            .iter()
            .flat_map(|path| Path::new(path.as_str()).ancestors())
        {
            let path = path.to_string_lossy().into_owned();
            if pattern.meets(&path, wanted.sense) && !names.contains(&path) {
                names.push(path);
            }
        }
        Ok::<_, Failure>(names)
    })?;
    Ok(())
}

/// Keeps only this file's cases: the cases of an extended policy may expect other rights.
fn own_cases(layer: &mut Layer, path: &Path) {
    let name = path.to_string_lossy();
    let own = |origin: &Origin| {
        let preset = origin.source.strip_prefix("preset:");
        *origin.source == *name || preset == Some(name.as_ref())
    };
    layer.tests.allow.retain(|case| own(&case.origin));
    layer.tests.deny.retain(|case| own(&case.origin));
}

fn scratch() -> Result<Scratch, Failure> {
    let named = std::env::var_os("TMPDIR").map(PathBuf::from);
    let base = named
        .filter(|dir| dir.is_dir())
        .unwrap_or_else(|| ".".into());
    let fault = |e| {
        Failure::new(format!(
            "a fresh workspace cannot be created: {e}; set TMPDIR to a directory that you own"
        ))
    };
    let base = base.canonicalize().map_err(fault)?;
    let scratch = Scratch::new(&base, &host::random_id()).map_err(fault)?;
    std::fs::create_dir(scratch.path.join("work")).map_err(fault)?;
    Ok(scratch)
}

/// Creates in a fresh workspace the files that cases read and the directories that cases write to.
fn furnish(layer: &Layer, roots: &Roots) -> Result<(), Failure> {
    for case in layer.tests.allow.iter().chain(&layer.tests.deny) {
        let Some(word) = case.value.words.first() else {
            continue;
        };
        let path = subject(roots, word).to_string();
        let files = [Tool::Read, Tool::Write, Tool::Edit, Tool::ApplyPatch];
        if !within(&path, &roots.workspace)
            || word.contains("..")
            || !files.contains(&case.value.tool)
        {
            continue;
        }
        let path = Path::new(&path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        if case.value.tool == Tool::Read && !path.exists() {
            File::create(path)?;
        }
    }
    Ok(())
}

/// Tries in a jail the cases that the kernel can decide.
fn in_jail(
    args: &TestArgs,
    judged: Vec<Judged>,
    outcome: &Outcome,
    roots: &Roots,
) -> Result<Vec<Tried>, Failure> {
    let mut trials = vec![];
    let mut tried: Vec<Tried> = vec![];
    for judged in judged {
        let beyond = beyond_kernel(&judged, &outcome.rights, roots);
        let asked = match beyond {
            Some(why) => Err(why),
            None => trial(&judged, roots),
        };
        let kernel = match asked {
            // The answer is filled in below.
            Ok(trial) => {
                trials.push((tried.len(), trial));
                None
            }
            Err(why) => Some(Err(why)),
        };
        tried.push(Tried { judged, kernel });
    }
    let task: Vec<&Trial> = trials.iter().map(|(_, trial)| trial).collect();
    let text = performed(args, outcome, roots, &serde_json::to_string(&task)?)?;
    let mut lines = text.lines();
    for (at, _) in &trials {
        let answer = lines
            .next()
            .and_then(|line| serde_json::from_str(line).ok());
        let Some(answer) = answer else {
            return Err(Failure::new(
                "the jail ended before all cases were tried; see `creel policy explain`",
            ));
        };
        if let Some(tried) = tried.get_mut(*at) {
            tried.kernel = Some(Ok(answer));
        }
    }
    Ok(tried)
}

/// The trial for a case, or the reason why the kernel cannot be asked.
fn trial(judged: &Judged, roots: &Roots) -> Result<Trial, &'static str> {
    let case = &judged.case.value;
    let network = matches!(case.tool, Tool::Browser | Tool::Message | Tool::Fetch);
    let Some((first, rest)) = case.words.split_first() else {
        return if network {
            Ok(Trial::Network)
        } else {
            Err("the case names nothing to try")
        };
    };
    if !network && first.contains("..") {
        return Err("a path with `..` cannot be decided from its text");
    }
    let path = subject(roots, first).to_string();
    let absent = "it does not exist here";
    match case.tool {
        Tool::Read if !Path::new(&path).exists() => Err(absent),
        Tool::Read => Ok(Trial::Read(path)),
        Tool::Write | Tool::Edit | Tool::ApplyPatch => {
            let parent = Path::new(&path).parent();
            match parent.is_some_and(Path::is_dir) {
                true => Ok(Trial::Write(path)),
                false => Err(absent),
            }
        }
        Tool::Exec => {
            let paths: Vec<String> = match first.contains('/') {
                true => vec![path],
                false => PROGRAM_DIRECTORIES.map(|d| format!("{d}/{first}")).into(),
            };
            match paths.iter().any(|path| Path::new(path).exists()) {
                true => Ok(Trial::Exec(paths, rest.to_vec())),
                false => Err(absent),
            }
        }
        Tool::Browser | Tool::Message | Tool::Fetch => Ok(Trial::Network),
        Tool::Process => Err("the runtime provides this tool"),
    }
}

/// Runs the inner half in a jail with this policy, and returns its stdout.
fn performed(
    args: &TestArgs,
    outcome: &Outcome,
    roots: &Roots,
    task: &str,
) -> Result<String, Failure> {
    let creel = std::fs::read_link("/proc/self/exe")?;
    let mut policy: Policy = outcome.effective.policy.clone();
    // Cases name paths of the host, and a tree has the same access at every place.
    policy.filesystem.mapped.clear();
    // The relay enforces network grants, not the kernel, and no relay runs here.
    policy.network = Network::default();
    let path = creel.to_string_lossy().into_owned();
    let grant = roots.rule(path, Absent::Refuse, Origin::creel());
    if let Execution::Only(programs) = &mut policy.exec.value {
        programs.push(grant.clone());
    }
    policy.filesystem.exec.push(grant);
    policy.allow_degraded.extend(&args.allow_degraded);
    let words = ["policy", "test", "--inside", task];
    let command = std::iter::once(creel.into_os_string());
    let request = Request {
        command: command.chain(words.map(Into::into)).collect(),
        workspace: Some(roots.workspace.clone().into()),
        terminal: Terminal::Pipes,
        id: host::random_id(),
        ..Request::default()
    };
    let (host, pins) = jail::probe(&policy, &request)?;
    let plan = plan::resolve(&policy, &request, &host)?;
    let memory = || {
        let flags = rustix::fs::MemfdFlags::CLOEXEC;
        rustix::fs::memfd_create("trials", flags).map(File::from)
    };
    let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC);
    let ((out_read, out_write), (err_read, err_write)) = (pipe()?, pipe()?);
    let (mut out, mut err) = (memory()?, memory()?);
    let null = File::open("/dev/null")?;
    let stdio = Stdio([Some(null.into()), Some(out_write), Some(err_write)]);
    let runtime_dir = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let state = spawn::state_dir(host.uid, runtime_dir.as_deref());
    let live = jail::prepare(plan, &host, pins, stdio, None, None, &state)?.spawn()?;
    let plan = live.plan.clone();
    let pipes = Ours {
        written: vec![(out_read, out.as_raw_fd()), (err_read, err.as_raw_fd())],
        typed: None,
    };
    let exited = supervise::run(live, None, pipes, Instant::now(), Detail::OfFailures)?;
    if let Ended::Setup(error) = exited.end {
        return Err(Failure::of(&error));
    }
    let verdict = supervise::judge(
        host::random_id(),
        &plan,
        &host.kernel,
        &exited,
        Detail::OfFailures,
    );
    let (said, complained) = (text(&mut out)?, text(&mut err)?);
    match (verdict.error, verdict.exit_status) {
        (None, 0) => Ok(said),
        (Some(error), _) => Err(Failure::new(format!("in the jail: {error}"))),
        (None, _) => Err(Failure::new(format!("in the jail: {}", complained.trim()))),
    }
}

fn text(file: &mut File) -> Result<String, Failure> {
    let mut bytes = vec![];
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// One line, for example `ok    policy.toml:4: deny exec curl: no rule grants it; the kernel: ENOENT`.
fn line(tried: &Tried) -> String {
    let judged = &tried.judged;
    let mark = if tried.holds() { "ok  " } else { "FAIL" };
    let expected = match judged.expected {
        Expected::Allow => "allow",
        Expected::Deny => "deny",
    };
    let kernel = match &tried.kernel {
        None => String::new(),
        Some(Ok(answer)) => format!("; the kernel: {}", answered(answer)),
        Some(Err(why)) => format!("; the kernel was not asked: {why}"),
    };
    let case = judged.case.value.to_string();
    format!(
        "{mark}  {}: {expected} {}: {}{kernel}\n",
        judged.case.origin,
        case.escape_debug(),
        reason(&judged.decision)
    )
}

fn answered(answer: &Answer) -> String {
    match answer {
        Answer::Allowed => "allowed".into(),
        Answer::Denied(errno) => format!("denied, {}", attempt::errno_name(*errno)),
    }
}

fn reason(decision: &Decision) -> String {
    match decision {
        Decision::Allowed { by: Some(origin) } => format!("allowed at {origin}"),
        Decision::Allowed { by: None } => "allowed".into(),
        Decision::Denied { why } => format!("denied: {}", why.reason()),
    }
}

fn as_json(tried: &Tried) -> Value {
    let judged = &tried.judged;
    json!({
        "case": judged.case.value.to_string(),
        "origin": origin_json(&judged.case.origin),
        "expected": match judged.expected { Expected::Allow => "allow", Expected::Deny => "deny" },
        "holds": tried.holds(),
        "evaluator": reason(&judged.decision),
        "kernel": tried.kernel.as_ref().map(|kernel| match kernel {
            Ok(answer) => answered(answer),
            Err(why) => format!("not asked: {why}"),
        }),
    })
}
