//! `creel policy explain`: what a command may do, the policy line for it, and the kernel act that enforces it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::ValueHint;
use serde_json::{Value, json};

use super::report::origin_json;
use crate::cli::answer::{print, print_json};
use crate::cli::failure::Failure;
use crate::cli::flags::FlagArgs;
use crate::cli::hint::say;
use crate::cli::policies::PolicyArgs;
use crate::cli::run;
use crate::cli::run::args::{JailArgs, RunArgs};
use creel_jail::{self as jail, globs::MOST_ENTRIES};
use creel_plan::explain::{Row, rows};
use creel_plan::{Host, Plan};
use creel_policy::decide::{Decision, decide};
use creel_policy::effective_access::usable;
use creel_policy::error::escaped;
use creel_policy::layer::{Ask, Case, Rank};
use creel_policy::net::Mode;
use creel_policy::rights::{Rights, Roots};
use creel_policy::stack::Outcome;
use creel_policy::tools::{Ruling, Tool};
use creel_policy::{Execution, Origin};
use creel_session::execute::start::{self, Start};
use creel_session::exit::FOUND;
use creel_session::layers::{self, Layers, Names, source};
use creel_session::{Place, declare};

/// Size limit for the description of a host, in bytes; it lists every name that a pattern matched.
const MOST_DESCRIBED: usize = 64 << 20;

/// Show what a command may do, the policy line for it, and the kernel act that enforces it
#[derive(clap::Args)]
#[command(
    after_help = "With --host FILE only the policies are read from this machine. FILE is the output of \
    --print-host on the other machine, with the same policies; it does not list the programs there. Exit status: \
    0 the command may run; 1 it may not run or does not exist, or the machine lacks a layer; 2 no answer."
)]
pub struct ExplainArgs {
    #[command(flatten)]
    policies: PolicyArgs,

    #[command(flatten)]
    flags: FlagArgs,

    /// Explain for the machine that this file describes
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    host: Option<PathBuf>,

    /// Print only the description of this machine, for --host
    #[arg(long, conflicts_with = "host")]
    print_host: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,

    /// The command and its arguments
    #[arg(required = true, last = true, value_name = "CMD", value_hint = ValueHint::CommandWithArguments)]
    command: Vec<OsString>,
}

pub fn run(args: &ExplainArgs) -> Result<u8, Failure> {
    let asked = run::asked(&RunArgs {
        jail: JailArgs {
            flags: args.flags.clone(),
            ..JailArgs::default()
        },
        command: args.command.clone(),
        ..RunArgs::default()
    })?;
    let given = args.host.as_deref().map(described).transpose()?;
    let place = match &given {
        Some(host) => Place::of(host),
        None => Place::here(),
    };
    let sources = layers::sources(&args.policies.named(), &Place::here().roots(None))?;
    let names = match &given {
        Some(host) => Names::Given(&host.found.globs),
        None => Names::Here,
    };
    let roots = place.roots(asked.workspace.as_deref());
    let layers = Layers::of(&sources, &roots, names)?;
    let declared = declare(&asked, "explain", Some(&layers), &place, &mut say)?;
    let host = match given {
        Some(host) => host,
        None => {
            let (mut host, _) = jail::probe(&declared.policy, &declared.request)?;
            host.found.globs = layers.expanded.met.clone();
            let entries = layers.expanded.entries;
            host.found.glob_entries = (entries > 0).then_some(entries);
            host
        }
    };
    if args.print_host {
        print_json(&serde_json::to_value(&host)?)?;
        return Ok(0);
    }
    let (plan, refused) = declared.told(&host)?;
    let Some(outcome) = &declared.outcome else {
        return Err(Failure::new(
            "no layer grants anything; name a policy with --policy",
        ));
    };
    let mut command = may_run(
        args,
        outcome,
        &declared.roots,
        &plan,
        &declared.policy.exec.value,
    );
    if let (true, Some(error)) = (command.may, refused.first()) {
        command = CommandRow {
            may: false,
            text: error.to_string(),
            origin: None,
        };
    }
    let may = command.may;
    let answer = Answer {
        command,
        ranks: ranks(&layers),
        tools: Tool::ALL.map(|tool| tool_row(&outcome.rights, tool)).into(),
        rows: rows(&declared.policy, &declared.request, &host, &plan),
        outcome,
        plan: &plan,
        glob_entries: host.found.glob_entries,
    };
    match args.json {
        true => print_json(&answer.to_json())?,
        false => print(&answer.to_text())?,
    }
    Ok(if may { 0 } else { FOUND })
}

/// Whether the command may run, with the reason.
struct CommandRow {
    may: bool,
    text: String,
    origin: Option<Origin>,
}

/// Asks the evaluator and, unless `--host` describes another machine, the plan and this host's files.
fn may_run(
    args: &ExplainArgs,
    outcome: &Outcome,
    roots: &Roots,
    plan: &Plan,
    execution: &Execution,
) -> CommandRow {
    let words = args
        .command
        .iter()
        .map(|w| w.to_string_lossy().into_owned());
    let case = Case {
        tool: Tool::Exec,
        words: words.collect(),
    };
    let (by, why) = match decide(&outcome.rights, roots, &case) {
        Decision::Allowed { by } => (by, None),
        Decision::Denied { why } => (None, Some(why)),
    };
    let told = why.as_ref().and_then(start::told);
    let alone = *execution == Execution::Worker;
    let (may, text) = match (&args.host, alone) {
        (Some(_), true) => (
            true,
            "the command alone; it can execute nothing else".into(),
        ),
        (Some(_), false) => match why {
            None => (true, "the policy allows it".into()),
            Some(why) => (false, why.reason()),
        },
        (None, _) => match start::of(plan) {
            Start::Runs(path) if alone => (
                true,
                format!("{}, and it can execute nothing else", path.display()),
            ),
            Start::Runs(path) => (true, path.display().to_string()),
            Start::Refused(text) => (false, told.unwrap_or(text)),
            Start::Lacks(text) | Start::Nowhere(text) => (false, text),
        },
    };
    CommandRow {
        may,
        text,
        origin: by.filter(|_| may),
    }
}

fn described(path: &Path) -> Result<Host, Failure> {
    let name = path.display();
    let bytes = source::read(path, MOST_DESCRIBED)
        .map_err(|e| Failure::new(format!("--host {name}: {e}; check the path")))?;
    serde_json::from_slice(&bytes).map_err(|e| {
        Failure::new(format!(
            "--host {name}: {e}; write it with `creel policy explain --print-host -- CMD`"
        ))
    })
}

/// The layer of each source. A layer that is a shipped policy is listed under `preset:NAME` too.
fn ranks(layers: &Layers) -> Vec<(String, &'static str)> {
    let all = layers.stack.layers.iter().flat_map(|(rank, layer)| {
        let own = layer.name.clone();
        let preset = format!("preset:{}", layer.name);
        [(own, rank.name()), (preset, rank.name())]
    });
    all.collect()
}

/// Whether a tool may be used.
struct ToolRow {
    tool: Tool,
    allowed: bool,
    /// The reason, such as the rule that decides.
    rule: String,
    origin: Option<Origin>,
}

fn tool_row(rights: &Rights, tool: Tool) -> ToolRow {
    let row = |allowed, rule: String, origin: Option<&Origin>| ToolRow {
        tool,
        allowed,
        rule,
        origin: origin.cloned(),
    };
    match rights.tools.rule_tool(tool) {
        Ruling::Denied(pattern, origin) => {
            row(false, format!("denied by '{pattern}'"), Some(origin))
        }
        Ruling::Unlisted(origin) => row(
            false,
            "not in the list of allowed tools".into(),
            Some(origin),
        ),
        Ruling::Needs(needed) => row(false, format!("needs {}", needed.name()), None),
        Ruling::Allowed if !usable(rights, tool) => {
            let asks = [&[tool], tool.needs()].concat();
            let asks = asks.iter().find_map(|tool| {
                let ask = rights.constraints(*tool).ask.as_ref()?;
                (ask.value == Ask::Always).then(|| ask.origin.clone())
            });
            row(
                false,
                "it needs an approval, and `creel run` cannot ask for one".into(),
                asks.as_ref(),
            )
        }
        Ruling::Allowed if matches!(tool, Tool::Browser | Tool::Message | Tool::Fetch) => {
            let origin = rights.network.mode.as_ref().map(|mode| &mode.origin);
            match rights.network.mode() {
                Mode::None => row(false, "the policy has no network".into(), origin),
                mode => row(true, mode.name().into(), origin),
            }
        }
        Ruling::Allowed => {
            let list = rights.tools.allow.values().next();
            row(true, "allowed".into(), list)
        }
    }
}

struct Answer<'a> {
    command: CommandRow,
    ranks: Vec<(String, &'static str)>,
    tools: Vec<ToolRow>,
    rows: Vec<Row>,
    outcome: &'a Outcome,
    plan: &'a Plan,
    /// Directory entries that the patterns read.
    glob_entries: Option<usize>,
}

impl Answer<'_> {
    fn rank(&self, origin: &Origin) -> Option<&'static str> {
        if origin.is_flag() {
            return Some(Rank::CommandLine.name());
        }
        let found = self.ranks.iter().find(|(name, _)| **name == *origin.source);
        found.map(|(_, rank)| *rank)
    }

    /// For example `operator, policy.toml:3`.
    fn from(&self, origin: &Origin) -> String {
        match self.rank(origin) {
            Some(rank) => format!("{rank}, {origin}"),
            None => origin.to_string(),
        }
    }

    fn to_text(&self) -> String {
        let policy = &self.plan.policy;
        let argv = &self.plan.command.argv;
        let argv = argv
            .iter()
            .map(|word| format!("{:?}", String::from_utf8_lossy(word)));
        let from = self.command.origin.as_ref();
        let from = from.map_or(String::new(), |o| format!(" ({})", self.from(o)));
        let mut text = format!(
            "may run   {}: {}{from}\npolicy    {} (sha256 {})\nplan      sha256 {}\ncommand   {}\n\ntools\n",
            if self.command.may { "yes" } else { "NO" },
            escaped(self.command.text.chars()),
            policy.name,
            policy.digest,
            self.plan.digest(),
            argv.collect::<Vec<_>>().join(" ")
        );
        for row in &self.tools {
            let mark = if row.allowed { "yes" } else { "NO " };
            let from = row.origin.as_ref().map(|o| format!(" ({})", self.from(o)));
            let from = from.unwrap_or_default();
            text += &format!("  {mark} {:12} {}{from}\n", row.tool.name(), row.rule);
            if !row.allowed {
                text += &format!("      {:12} -> {}\n", "", row.tool.without());
            }
        }
        text += "\nrules\n";
        for row in &self.rows {
            let item = escaped(row.item.chars());
            text += &format!("  {} {item} ({})\n", row.key, self.from(&row.origin));
            for act in &row.kernel {
                text += &format!("      -> {}\n", escaped(act.chars()));
            }
        }
        for (title, lines) in self.remarks() {
            text += &format!("\n{title}\n");
            lines.iter().for_each(|line| text += &format!("  {line}\n"));
        }
        text
    }

    /// Differences between the effect and the text of the policy: notes, clipped grants and layers not in force.
    fn remarks(&self) -> Vec<(&'static str, Vec<String>)> {
        let notes = self.outcome.effective.notes.iter();
        let clips = self.outcome.clips.iter();
        let off = self.plan.layers.iter().filter(|layer| !layer.in_force);
        let looked = self.glob_entries.map(|entries| {
            format!("looked at {entries} files and directories, of at most {MOST_ENTRIES}")
        });
        let all = [
            ("notes", notes.map(ToString::to_string).collect()),
            ("patterns", looked.into_iter().collect()),
            ("left out", clips.map(ToString::to_string).collect()),
            (
                "not in force",
                off.map(|layer| layer.detail.clone()).collect(),
            ),
        ];
        let all: Vec<(&'static str, Vec<String>)> = all.into();
        all.into_iter()
            .filter(|(_, lines)| !lines.is_empty())
            .collect()
    }

    fn to_json(&self) -> Value {
        let origin = |origin: &Origin| {
            let mut value = origin_json(origin);
            if let (Value::Object(map), Some(rank)) = (&mut value, self.rank(origin)) {
                map.insert("layer".into(), rank.into());
            }
            value
        };
        let tools: Vec<Value> = self
            .tools
            .iter()
            .map(|row| {
                json!({
                    "tool": row.tool.name(),
                    "allowed": row.allowed,
                    "rule": row.rule,
                    "origin": row.origin.as_ref().map(origin),
                    "kernel": if row.allowed { None } else { Some(row.tool.without()) },
                })
            })
            .collect();
        let rules: Vec<Value> = self
            .rows
            .iter()
            .map(|row| {
                json!({
                    "key": row.key,
                    "item": row.item,
                    "origin": origin(&row.origin),
                    "kernel": row.kernel,
                })
            })
            .collect();
        let remarks: serde_json::Map<String, Value> = self
            .remarks()
            .into_iter()
            .map(|(title, lines)| (title.replace(' ', "_"), lines.into()))
            .collect();
        json!({
            "version": 1,
            "command": {
                "may_run": self.command.may,
                "why": self.command.text,
                "origin": self.command.origin.as_ref().map(origin),
            },
            "policy": self.plan.policy,
            "plan": self.plan.digest(),
            "tools": tools,
            "rules": rules,
            "remarks": remarks,
            "layers": self.plan.layers,
        })
    }
}
