//! The cases of a policy's `[tests]`: the evaluator's answer to each, and whether the kernel can check it
//! too.

use super::decide::{Decision, Why, decide};
use super::layer::{Case, Command, Layer};
use super::net::Mode;
use super::net::why::UNNAMED;
use super::origin::Sourced;
use super::path_set::{AbsPath, within};
use super::rights::{Rights, Roots};
use super::tools::Tool;

/// The expectation of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// The evaluator allows the case.
    Allow,
    /// The evaluator denies the case.
    Deny,
}

/// A case with the evaluator's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// The case, with its line in the file.
    pub case: Sourced<Case>,
    /// The list that has the case: `allow` or `deny`.
    pub expected: Expected,
    /// The evaluator's answer.
    pub decision: Decision,
}

impl Judged {
    /// Whether the evaluator's answer is the expected one.
    pub fn holds(&self) -> bool {
        self.decision.is_allowed() == (self.expected == Expected::Allow)
    }
}

/// Decides every case of a layer, in the order of the file.
pub fn judge(layer: &Layer, rights: &Rights, roots: &Roots) -> Vec<Judged> {
    let judged = |case: &Sourced<Case>, expected| Judged {
        case: case.clone(),
        expected,
        decision: decide(rights, roots, &case.value),
    };
    let allow = layer.tests.allow.iter().map(|c| judged(c, Expected::Allow));
    let deny = layer.tests.deny.iter().map(|c| judged(c, Expected::Deny));
    allow.chain(deny).collect()
}

/// Directories that every jail has of its own, under any policy.
const OWN: [&str; 6] = ["/tmp", "/dev", "/proc", "/etc", "/var/tmp", "/workspace"];

/// Why the kernel cannot check a case; `None` if it can. Either the rule binds a tool, not a path, or the
/// jail has its own directory at that path.
pub fn beyond_kernel(judged: &Judged, rights: &Rights, roots: &Roots) -> Option<&'static str> {
    let case = &judged.case.value;
    let by_name = matches!(
        judged.decision,
        Decision::Denied {
            why: Why::ToolDenied(_) | Why::ToolUnlisted(_) | Why::ToolNeeds(_) | Why::Asks(_)
        }
    );
    let subject = case.words.first().map(|word| subject(roots, word));
    let own = subject.as_ref().is_some_and(|path| {
        let own = OWN.iter().any(|own| within(path, own)) || within(path, &roots.home);
        own && !within(path, &roots.workspace)
    });
    match case.tool {
        Tool::Browser | Tool::Message | Tool::Fetch if rights.network.mode() != Mode::None => {
            Some("destinations are decided outside of the jail, not by the kernel")
        }
        Tool::Process => {
            Some("the agent's runtime implements the tool: there is no system call to try")
        }
        Tool::Edit | Tool::ApplyPatch if by_name => {
            Some("the tool is not offered; the kernel sees only writes")
        }
        Tool::Read
            if by_name
                && !subject
                    .as_ref()
                    .is_some_and(|p| within(p, &roots.workspace)) =>
        {
            Some("paths that may be executed are readable")
        }
        Tool::Read | Tool::Write | Tool::Edit | Tool::ApplyPatch if own => {
            Some("the jail has its own directory there")
        }
        Tool::Exec => {
            let commands = rights.constraints(Tool::Exec).commands.as_ref()?;
            let program = case.words.first()?;
            let paths: Vec<AbsPath> = match program.contains('/') {
                true => vec![subject?],
                false => Command::paths(program, roots),
            };
            let bound = |path: &AbsPath| commands.get(path).is_some_and(|c| !c.args.is_empty());
            let why = "the arguments are checked only for the command that creel starts";
            paths.iter().any(bound).then_some(why)
        }
        _ => None,
    }
}

/// The path that a case names, absolute.
pub fn subject(roots: &Roots, word: &str) -> AbsPath {
    match word.as_bytes().first() {
        Some(b'/' | b'~' | b'$') => roots.expand(word),
        _ => roots.expand(&format!("$WORKSPACE/{word}")),
    }
}

impl Why {
    /// The reason as text for the author of the case.
    pub fn reason(&self) -> String {
        match self {
            Why::ToolDenied(origin) => format!("the tool is denied at {origin}"),
            Why::ToolUnlisted(origin) => format!("the list at {origin} does not contain the tool"),
            Why::ToolNeeds(tool) => format!("the tool needs {}, which is not allowed", tool.name()),
            Why::Asks(origin) => format!("approval is required at {origin}"),
            Why::Nothing => "the case names no path or command".into(),
            Why::Parent => "a path with `..` cannot be decided from its text".into(),
            Why::NotGranted => "no rule grants it".into(),
            Why::Denied(origin) => format!("denied at {origin}"),
            Why::Protected(origin) => format!("protected at {origin}"),
            Why::Workspace(Some(origin)) => {
                format!("the workspace's mode at {origin} does not allow it")
            }
            Why::Workspace(None) => "the workspace's mode does not allow it".into(),
            Why::Security(origin) => format!("`security` at {origin} denies it"),
            Why::Unlisted => "the list of commands does not contain the program".into(),
            Why::Arguments(origin) => format!("other arguments are allowed at {origin}"),
            Why::NoNetwork => "there is no network".into(),
            Why::NoHost(fault) => format!("the destination is not valid: {fault}"),
            Why::Special(kind) => format!("the address is {kind}, and {UNNAMED}"),
            Why::Spoken(why) => why.clone(),
        }
    }
}
