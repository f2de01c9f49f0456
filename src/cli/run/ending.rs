//! The messages for people on stderr when a run has ended: the reason, grants without effect, and on request
//! the enforced layers and the used resources. Programs read the verdict instead.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::advice;
use super::args::RunArgs;
use super::words::Words;
use crate::cli::hint::{quoted, say};
use creel_plan::{self as plan, Layer, MechanismName};
use creel_policy::effective::{Note, Weight};
use creel_policy::stack::Outcome;
use creel_policy::{Bytes, Execution, Limits, Origin, Span};
use creel_session::egress::Traffic;
use creel_session::execute::Prepared;
use creel_session::left::{Done, Left, Remnant, What};
use creel_session::verdict::{Denial, Limit};
use creel_session::{Declared, Kind, Verdict, exit, judge};

/// Limit for the lines of one list on stderr.
const MOST_LINES: usize = 5;
/// Limit for a command line, in characters; a longer one is shown without the command's arguments.
const MOST_OF_COMMAND: usize = 1024;
/// Limit for a path, in characters.
const MOST_OF_PATH: usize = 256;

/// Messages that are not in the verdict, one line each.
pub struct Remarks {
    /// Advice for a command that failed.
    hints: Vec<String>,
    /// Parts of the policy without effect: all with `-v`; otherwise one line if the command failed, since that
    /// may be the cause.
    notes: Vec<String>,
}

impl Remarks {
    pub fn of(args: &RunArgs, words: &Words, declared: &Declared, verdict: &Verdict) -> Remarks {
        let policy = &declared.policy;
        let hints = match policy.exec.value {
            Execution::Granted => elsewhere(args, declared, verdict)
                .into_iter()
                .chain(advice::of(words, policy, verdict))
                .collect(),
            // If a policy lists its programs, no flag adds to them.
            Execution::Worker | Execution::Only(_) => vec![],
        };
        Remarks {
            hints,
            notes: declared
                .outcome
                .as_ref()
                .map_or_else(Vec::new, |outcome| notes(args, outcome, verdict)),
        }
    }
}

fn notes(args: &RunArgs, outcome: &Outcome, verdict: &Verdict) -> Vec<String> {
    let notes = outcome.effective.notes.iter();
    if args.verbose {
        let unsaid = notes.filter(|note| note.weight != Weight::Open);
        let clips = outcome.clips.iter().map(ToString::to_string);
        return unsaid.map(ToString::to_string).chain(clips).collect();
    }
    // If the verdict names another cause, these notes are not it.
    let known = verdict.error.is_some() || verdict.limit.is_some();
    let refused: Vec<&Note> = notes
        .filter(|note| note.weight == Weight::Refused)
        .collect();
    match refused.as_slice() {
        [first, rest @ ..] if verdict.exit_status != 0 && !known => vec![match rest.len() {
            0 => first.to_string(),
            more => format!("{first}; -v says {more} more"),
        }],
        _ => vec![],
    }
}

/// Warnings before the command runs: limits from a policy or a flag that are not enforced without a cgroup.
pub fn unheld(declared: &Declared, prepared: &Prepared) -> Vec<String> {
    let is_cgroup = |layer: &&Layer| layer.name == MechanismName::Cgroup;
    let layer = prepared.plan.layers.iter().find(is_cgroup);
    if layer.is_none_or(|layer| layer.in_force) {
        return vec![];
    }
    let Limits { memory, cpus, .. } = &declared.policy.limits;
    let asked = |name: &str, written: String, at: &Origin| match at.is_flag() {
        true => Some(format!("{at} {written}")),
        false => (!at.is_built_in()).then(|| format!("{name} = {written} at {at}")),
    };
    [
        asked("memory", memory.value.to_string(), &memory.origin),
        asked("cpus", cpus.value.to_string(), &cpus.origin),
    ]
    .into_iter()
    .flatten()
    .map(|asked| {
        format!(
            "{asked} is not enforced: no cgroup is available; `creel doctor` says how to get one"
        )
    })
    .collect()
}

/// The lines about the end of a command in a session, as `announce` prints them for a run.
/// `own`: the names of its own limits; the others are the session's, and a flag of `creel exec` raises none.
pub fn lines(verdict: &Verdict, own: &[&'static str]) -> Vec<String> {
    let told = |limit: &Limit, text: String| match text.split_once("; raise it with ") {
        Some((what, flag)) if !own.contains(&limit.name) => {
            format!("{what}; it is the session's limit, set by {flag} at `creel create`")
        }
        _ => text,
    };
    let limit = verdict.limit.as_ref().zip(reason(verdict));
    let mut lines: Vec<String> = limit
        .map(|(limit, text)| told(limit, text))
        .into_iter()
        .collect();
    lines.extend(verdict.error.clone());
    if verdict.exit_status != 0 && verdict.limit.is_none() {
        let hit = verdict.limits_hit.iter();
        lines.extend(hit.map(|limit| told(limit, reached(limit))));
    }
    lines
}

/// Prints the messages about the end of the run on stderr.
pub fn announce(args: &RunArgs, verdict: &Verdict, remarks: &Remarks) {
    // `--quiet` is about the end of a command, and one that did not start has none.
    let unstarted = matches!(verdict.kind, Kind::Denied | Kind::SetupFailed);
    if !args.quiet || unstarted {
        if let Some(text) = reason(verdict) {
            say(&text);
        }
        if let Some(error) = &verdict.error {
            say(error);
        }
        remarks.hints.iter().for_each(|text| say(text));
        if verdict.exit_status != 0 || args.verbose {
            refusals(verdict).iter().for_each(|line| say(line));
        }
        if verdict.exit_status != 0 && verdict.limit.is_none() {
            verdict
                .limits_hit
                .iter()
                .for_each(|limit| say(&reached(limit)));
        }
        if verdict.network.as_ref().is_some_and(|n| n.relay_died) {
            say(
                "the relay ended before the command did, and the jail had no network from then on; run it again",
            );
        }
        if verdict.network.as_ref().is_some_and(|n| n.summary_lost) {
            say(
                "the relay served to the end but did not report its destinations in time: the verdict's list is incomplete; --log-net FILE has each",
            );
        }
        if let Some(text) = verdict.network.as_ref().and_then(missing) {
            say(&text);
        }
    }
    if !args.quiet {
        uncovered(verdict).iter().for_each(|line| say(line));
    }
    if let Some(left) = verdict.left.as_ref().filter(|_| !args.quiet) {
        remnants(left).iter().for_each(|line| say(line));
    }
    let told = |left: &&Left| args.verbose || left.unseen_changed && !args.quiet;
    if let Some(left) = verdict.left.as_ref().filter(told)
        && let Some(first) = &left.unseen_first
    {
        let changed = match left.unseen_changed {
            true => ", and the command changed at least one of them",
            false => "",
        };
        say(&format!(
            "{} directories, {} first, were not searched for files that the host obeys{changed}; --review-all searches all",
            left.unseen,
            first.chars().take(MOST_OF_PATH).collect::<String>()
        ));
    }
    if !args.quiet {
        let notes = remarks.notes.iter();
        notes.for_each(|note| say(&format!("note: {note}")));
    }
    if args.verbose {
        if let Some(receipt) = &verdict.receipt {
            for layer in &receipt.layers {
                let mark = if layer.in_force { "on" } else { "OFF" };
                say(&format!("{mark:3} {}: {}", layer_name(layer), layer.detail));
            }
        }
        let used = &verdict.usage;
        say(&format!(
            "{} ms wall, {} ms user, {} ms system, {} peak, {} bytes of output",
            used.wall_us / 1000,
            used.user_us / 1000,
            used.system_us / 1000,
            Bytes(used.memory_peak),
            used.output
        ));
    }
}

/// If the jail lacks the command or may not execute it: the command's path on the host, with the flags that
/// grant it. Not for programs in the workspace or the system directories: their failure has another cause.
fn elsewhere(args: &RunArgs, declared: &Declared, verdict: &Verdict) -> Option<String> {
    let (name, path) = (args.command.first()?, std::env::var_os("PATH")?);
    // A command that had started, or was ended for an uncovered name, needs no grant.
    let ended = verdict.uncovered.iter().any(|name| !name.restored);
    if verdict.code.is_some()
        || ended
        || !matches!(verdict.exit_status, exit::NOT_EXECUTABLE | exit::NOT_FOUND)
    {
        return None;
    }
    let file = match name.as_encoded_bytes().contains(&b'/') {
        true => std::path::absolute(name).ok()?,
        false => std::env::split_paths(&path)
            .map(|directory| directory.join(name))
            .find(|file| is_program(file))?,
    };
    let real = std::fs::canonicalize(&file)
        .ok()
        .filter(|real| is_program(real))?;
    let workspace = match &declared.request.workspace {
        Some(directory) => directory.clone(),
        None => std::env::current_dir().ok()?,
    };
    let system = ["/usr", "/bin", "/sbin", "/etc"].map(PathBuf::from);
    let mut there = system
        .iter()
        .chain([&workspace])
        .chain(&args.jail.flags.exec);
    if there.any(|tree| std::fs::canonicalize(tree).is_ok_and(|tree| real.starts_with(tree))) {
        return None;
    }
    let directory = file.parent()?;
    let beyond = real.parent().filter(|parent| *parent != directory);
    let grants: Vec<&Path> = [Some(directory), beyond].into_iter().flatten().collect();
    Some(format!(
        "on the host it is {}; grant its directory for execution: {}",
        file.display(),
        again(args, &grants, &file)
    ))
}

/// This command line with `--exec` for each of `grants` and the full path of the program. Values of `--env`
/// are left out: they may be secrets.
fn again(args: &RunArgs, grants: &[&Path], program: &Path) -> String {
    let given = std::env::args_os().skip(2).take_while(|word| word != "--");
    let shown = |word: OsString| {
        let word = word.to_string_lossy().into_owned();
        let values = args.jail.flags.env.iter().filter_map(|text| {
            let text = text.to_str()?;
            let (name, _) = text.split_once('=')?;
            Some(format!("{}{name}=...", word.strip_suffix(text)?))
        });
        let value = values.max_by_key(String::len);
        quoted(&value.unwrap_or(word))
    };
    let mut words: Vec<String> = given.map(shown).collect();
    for grant in grants {
        words.push(format!("--exec {}", quoted(&grant.to_string_lossy())));
    }
    words.push("--".into());
    words.push(quoted(&program.to_string_lossy()));
    let line = |rest: &[OsString]| -> String {
        let rest = rest.iter().map(|word| quoted(&word.to_string_lossy()));
        let all: Vec<String> = words.iter().cloned().chain(rest).collect();
        format!("creel run {}", all.join(" "))
    };
    let whole = line(&args.command[1..]);
    match whole.chars().count() > MOST_OF_COMMAND {
        true => line(&[]) + " ...",
        false => whole,
    }
}

fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    let executable =
        |meta: std::fs::Metadata| meta.is_file() && meta.permissions().mode() & 0o111 != 0;
    file.metadata().is_ok_and(executable)
}

/// Refused network destinations, at most [`MOST_LINES`] and a count of the rest.
fn refusals(verdict: &Verdict) -> Vec<String> {
    let all = &verdict.denials;
    let short = |line: &Denial| {
        let line = line.to_string();
        line.chars().take(MOST_OF_PATH).collect::<String>()
    };
    let mut lines: Vec<String> = all
        .iter()
        .take(MOST_LINES)
        .map(|line| format!("refused: {}", short(line)))
        .collect();
    if all.len() > MOST_LINES {
        lines.push(format!(
            "{} more destinations were refused; the verdict's `denials` has all (--status-file)",
            all.len() - MOST_LINES
        ));
    }
    lines
}

/// Denied or protected names that were uncovered for a moment, each once, in a few lines.
fn uncovered(verdict: &Verdict) -> Vec<String> {
    let mut lines = vec![];
    if let Some(why) = &verdict.unwatched {
        lines.push(match why.starts_with(judge::UNGUARDED) {
            true => why.clone(),
            false => format!(
                "no process watched the names that the policy denies or protects while the command ran: {why}"
            ),
        });
    }
    let restored = verdict.uncovered.iter().filter(|name| name.restored);
    let names: BTreeSet<&str> = restored.map(|name| name.path.as_str()).collect();
    for path in names.iter().take(MOST_LINES - 1) {
        let path: String = path.chars().take(MOST_OF_PATH).collect();
        lines.push(format!(
            "a process outside of the jail replaced or removed {path}, and the command could use the name until creel covered it again; the verdict says for how long (--status-file)"
        ));
    }
    if names.len() >= MOST_LINES {
        let more = names.len() + 1 - MOST_LINES;
        lines.push(format!("{more} more names were uncovered in this way"));
    }
    lines
}

/// Files that the command left and host programs obey, in at most [`MOST_LINES`] lines.
fn remnants(left: &Left) -> Vec<String> {
    let count = left.found.len();
    let mut found: Vec<&Remnant> = left.found.iter().collect();
    // Files that are still there come first.
    found.sort_by_key(|remnant| match remnant.done {
        Done::Failed => 0,
        Done::Nothing => 1,
        Done::Restored | Done::Removed => 2,
    });
    let lines = found.into_iter().map(|remnant| {
        let path: String = remnant.path.chars().take(MOST_OF_PATH).collect();
        let what = match remnant.what {
            What::Repository => {
                "git obeys the configuration and hooks there, which the command made or changed, also from the repository above if this is a submodule"
            }
            What::BareRepository => {
                "git takes this directory for a repository, with the configuration and hooks that the command gave it; `git config --global safe.bareRepository explicit` forbids that"
            }
            What::Hook => "git runs it",
            What::Settings => "an editor, a shell or an agent obeys it",
            What::SetId => "it runs as its owner",
            What::Link => "git on the host would follow it",
            What::Head => "git does not recognise the repository without its earlier content",
        };
        let done = match remnant.done {
            Done::Nothing => "look at it before you go there",
            Done::Removed => "it was removed",
            Done::Restored => "it has its earlier content again",
            Done::Failed => "creel could not restore it; do that before you go there",
        };
        let runs = match remnant.runs.as_slice() {
            [] => String::new(),
            keys => format!(" ({} name programs that it runs)", keys.join(", ")),
        };
        format!("new or changed during the run: {path}: {what}{runs}; {done}")
    });
    if count <= MOST_LINES {
        return lines.collect();
    }
    let mut some: Vec<String> = lines.take(MOST_LINES - 1).collect();
    let more = (count - some.len()) as u64 + left.more;
    some.push(format!(
        "new or changed during the run: {more} more that the host obeys; the verdict has the list (--status-file)"
    ));
    some
}

fn layer_name(layer: &plan::Layer) -> String {
    let name = serde_json::to_value(layer.name).ok();
    name.and_then(|v| v.as_str().map(str::to_owned))
        .unwrap_or_default()
}

/// One sentence if a limit ended the run.
fn reason(verdict: &Verdict) -> Option<String> {
    let limit = verdict.limit.as_ref()?;
    let size = || Bytes(limit.value).to_string();
    let time = || Span(limit.value).to_string();
    Some(match verdict.kind {
        Kind::Timeout => format!(
            "ended: the time limit of {} is over; raise it with --timeout",
            time()
        ),
        Kind::CpuTime => format!(
            "ended: the processor time of {} is used up; raise it with --cpu-time",
            time()
        ),
        Kind::Oom => format!(
            "ended: the jail needed more than its {} of memory; raise it with --memory",
            size()
        ),
        Kind::Output => format!(
            "ended: the command wrote more than {}; raise it with --output-limit",
            size()
        ),
        _ => return None,
    })
}

/// One sentence for a limit that a failed run reached; the limit is not known to be the cause.
fn reached(limit: &Limit) -> String {
    let value = limit.value;
    match limit.name {
        "pids" => {
            let processes = if value == 1 { "process" } else { "processes" };
            format!("the command wanted more than {value} {processes}; raise it with --pids")
        }
        "inodes" => {
            format!("a tmpfs of the jail is full at {value} files; raise inodes in the policy")
        }
        _ => format!(
            "a tmpfs of the jail is full at {}; raise it with --disk",
            Bytes(value)
        ),
    }
}

/// A message if lines of `--log-net` are missing from its file.
fn missing(traffic: &Traffic) -> Option<String> {
    let lines = traffic.log;
    if lines.unwritten > 0 {
        return Some(format!(
            "{} lines of --log-net could not be written, and the connections that waited for them were refused; free space on the file's filesystem",
            lines.unwritten
        ));
    }
    (lines.dropped > 0).then(|| {
        format!(
            "{} lines of --log-net were left out: a run logs at most 16 MiB of refusals, and beyond 256 MiB of other lines every connection is refused",
            lines.dropped
        )
    })
}
