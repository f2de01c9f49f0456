//! A policy in force as text in the native form, each line with its place.
//!
//! Owns the conversion from the combined layers back to a single file. Read again as the operator's own
//! layer, the text means the same; a test checks that. It refuses nothing, and omits values that only the
//! tools enforce if it would have to guess their text.

use std::collections::BTreeMap;

use super::effective::Effective;
use super::file::form::{Form, List, Section, print};
use super::file::grants::{entry, optional};
use super::file::network::{Credentials, Denial, Resolvers, rule_text};
use super::file::plain::{Any, Flag, Word};
use super::file::sections::{Degraded, Workspace};
use super::file::tools::command_text;
use super::glob::escape;
use super::grant::{Absent, WorkspaceMode};
use super::layer::{self, PROGRAM_DIRECTORIES};
use super::net::{List as Rules, Mode, OnMiss};
use super::origin::{Origin, Sourced};
use super::path_set::{AbsPath, PathRule, PathSet};
use super::policy::Policy;
use super::printer::{Printer, quoted};
use super::rights::{Allowed, Constraints, Rights, Roots};
use super::tools::Tool;
use super::units::{Count, Span};

/// The text of the policy. `effective` was made from `rights`; `roots` are those of both.
pub fn text(rights: &Rights, effective: &Effective, roots: &Roots) -> String {
    let policy = &effective.policy;
    let mut out = Printer::with_places();
    if !policy.allow_degraded.is_empty() {
        let words = policy.allow_degraded.iter().map(|d| (*d, Origin::creel()));
        out.line("allow_degraded", &Degraded::text(&words.collect()), None);
    }
    out.open("tools");
    let allowed = Tool::ALL.into_iter();
    let allowed = allowed.filter(|tool| rights.tools.allows(*tool));
    let allowed: Vec<String> = allowed.map(|tool| quoted(tool.name())).collect();
    out.line(
        "allow",
        &format!("[{}]", allowed.join(", ")),
        rights.tools.allow.values().next(),
    );
    let denied = rights.tools.deny.iter();
    out.list("deny", denied.map(|(p, o)| (quoted(p.text()), Some(o))));
    print::<Flag, _>(&rights.elevated, "elevated", &mut out);
    print::<Count, _>(&rights.max_iterations, "max_iterations", &mut out);
    for (tool, constraints) in &rights.each {
        one_tool(&mut out, *tool, constraints);
    }
    files(&mut out, rights, policy, roots);
    network(&mut out, rights, policy);
    out.open("environment");
    List::<Any>::print(&policy.environment.pass, "pass", &mut out);
    if policy.environment.git_identity.value {
        Flag::print(&policy.environment.git_identity, "git_identity", &mut out);
    }
    out.open("environment.set");
    for (name, value) in &policy.environment.set {
        Any::print(value, name, &mut out);
    }
    out.open("limits");
    layer::Limits::from(policy.limits.clone()).print(&mut out);
    // A denied permission needs no line.
    out.section("process");
    let debug = rights.debug.clone().filter(|debug| debug.value);
    layer::Process { debug }.print(&mut out);
    out.section("session");
    let (mode, scope) = (rights.mode.clone(), rights.scope.clone());
    layer::Session { mode, scope }.print(&mut out);
    out.text
}

fn files(out: &mut Printer, rights: &Rights, policy: &Policy, roots: &Roots) {
    let files = &policy.filesystem;
    out.open("filesystem");
    print::<Workspace, _>(&files.workspace, "workspace", out);
    let own = files
        .mapped
        .iter()
        .filter(|one| one.path == roots.workspace);
    for mapping in own.clone() {
        out.line("workspace_at", &quoted(&mapping.at), Some(&mapping.origin));
    }
    let at = |rule: &PathRule| {
        let mut all = files
            .mapped
            .iter()
            .filter(|one| one.path != roots.workspace);
        all.find(|one| one.path == rule.path)
            .map(|one| one.at.as_str())
    };
    for (key, grants) in [
        ("read", &files.read),
        ("write", &files.write),
        ("load", &files.load),
        ("exec", &files.exec),
    ] {
        out.list(
            key,
            grants.iter().map(|rule| {
                let path = quoted(&escape(rule.shown()));
                (entry(path, rule.absent, at(rule)), Some(&rule.origin))
            }),
        );
    }
    let mode = files.workspace.as_ref().map(|mode| mode.value);
    let writes = mode.is_none_or(WorkspaceMode::writes) || !files.write.is_empty();
    for (key, grants, patterns) in [
        ("deny", &files.deny, &files.deny_patterns),
        ("protect", &files.protect, &files.protect_patterns),
    ] {
        // If nothing is writable, creel's own protections need no line.
        let told = |rule: &&PathRule| key == "deny" || writes || rule.origin != Origin::creel();
        let named = grants.iter().filter(told);
        // With `$WORKSPACE` also if that is a fresh one: the text is read where the host's is meant.
        let text = |rule: &PathRule| quoted(&escape(&roots.shorten(&rule.path)));
        let named = named.map(|rule| (optional(text(rule), rule.absent), Some(&rule.origin)));
        let pattern = |rule: &PathRule| optional(quoted(rule.shown()), rule.absent);
        let met = patterns
            .iter()
            .map(|rule| (pattern(rule), Some(&rule.origin)));
        out.list(key, named.chain(met));
    }
    if let Some(names) = rights.unprotect.as_ref().filter(|names| !names.is_empty()) {
        let shown = names
            .iter()
            .map(|(p, o)| (quoted(&roots.shorten(p)), Some(o)));
        out.list("unprotect", shown);
    }
}

/// Prints the rules that all layers' lists have in common.
fn network(out: &mut Printer, rights: &Rights, policy: &Policy) {
    let bounds = &rights.network;
    let origin = bounds.mode.as_ref().map(|mode| &mode.origin);
    let mode = policy.network.mode;
    out.open("network");
    // No mode is set, or no tool may use the network.
    out.line("mode", &quoted(mode.name()), origin);
    if mode == Mode::None {
        return;
    }
    let asks = |list: &Rules| list.on_miss == OnMiss::Ask;
    if mode == Mode::Ask && !bounds.lists.iter().all(asks) {
        out.raw(
            "# one layer asks and another has a list: destinations that are not on the list are denied",
            None,
        );
    }
    let folded = bounds.folded();
    let items = folded.iter().map(|rule| match rule {
        Ok(rule) => (rule_text(rule), Some(&rule.origin)),
        // One file cannot express it; with one layer's paths it would allow more.
        Err(rule) => (
            format!("# {rule}: several layers restrict its paths"),
            Some(&rule.origin),
        ),
    });
    out.list("allow", items);
    out.list(
        "deny",
        bounds
            .deny
            .iter()
            .map(|r| (Denial::text(r), Some(&r.origin))),
    );
    let resolvers = bounds.resolvers.as_ref();
    let resolvers = resolvers.map(|all| {
        all.iter()
            .map(|(r, o)| Sourced::new(*r, o.clone()))
            .collect()
    });
    print::<Resolvers, Option<_>>(&resolvers, "resolvers", out);
    out.open("network.limits");
    bounds.limits.print(out);
    Credentials::print(&policy.network.credentials, "credentials", out);
}

fn one_tool(out: &mut Printer, tool: Tool, bounds: &Constraints) {
    out.open(&format!("tools.{tool}"));
    print::<Word<_>, _>(&bounds.security, "security", out);
    print::<Word<_>, _>(&bounds.ask, "ask", out);
    print::<Word<_>, _>(&bounds.target, "target", out);
    print::<Span, _>(&bounds.timeout, "timeout", out);
    print::<Count, _>(&bounds.rate, "rate", out);
    print::<Count, _>(&bounds.max_iterations, "max_iterations", out);
    if let PathSet::Of(trees) = &bounds.allowed {
        places(out, "allowed_paths", trees.rules());
    }
    if !bounds.denied.is_empty() {
        places(out, "denied_paths", bounds.denied.values());
    }
    if let Some(commands) = &bounds.commands {
        // Printed once, for its first directory.
        let first = |path: &str| {
            let name = bare(path, commands);
            name.is_none_or(|name| path == format!("{}/{name}", PROGRAM_DIRECTORIES[0]))
        };
        let told = commands.iter().filter(|(path, _)| first(path));
        let items = told.map(|(path, allowed)| {
            let program = quoted(bare(path, commands).unwrap_or(allowed.rule.shown()));
            let mut args = allowed.args.iter();
            let item = match (args.next(), args.next()) {
                (None, _) => program,
                (Some(alternatives), None) => command_text(program, alternatives),
                // One file cannot express it; without arguments it would allow more.
                _ => format!("# {program}: several layers restrict its arguments"),
            };
            (item, Some(&allowed.rule.origin))
        });
        out.list("commands", items);
    }
    if let Some(channels) = &bounds.channels {
        out.list(
            "channels",
            channels.iter().map(|(c, o)| (quoted(c), Some(o))),
        );
    }
}

fn places<'r>(out: &mut Printer, key: &str, rules: impl Iterator<Item = &'r PathRule>) {
    out.list(key, rules.map(|rule| (place(rule), Some(&rule.origin))));
}

fn place(rule: &PathRule) -> String {
    optional(quoted(&escape(rule.shown())), rule.absent)
}

/// The bare name for `path`, if the list has the same entry in every directory of programs.
fn bare<'p>(path: &'p str, commands: &BTreeMap<AbsPath, Allowed>) -> Option<&'p str> {
    let (directory, name) = path.rsplit_once('/')?;
    let own = commands.get(path)?;
    let alike = |directory: &str| {
        let other = commands.get(&*format!("{directory}/{name}"));
        other.is_some_and(|other| (&other.args, other.rule.absent) == (&own.args, own.rule.absent))
    };
    let everywhere = PROGRAM_DIRECTORIES.contains(&directory)
        && own.rule.absent == Absent::Skip
        && PROGRAM_DIRECTORIES.iter().all(|d| alike(d));
    everywhere.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::Rank;
    use crate::stack::{Outcome, Stack};
    use crate::{Limits, file, preset};

    fn base() -> Limits {
        preset::limits().unwrap()
    }

    fn resolved(source: &str) -> (Outcome, Roots) {
        let roots = Roots::symbolic();
        let layer = file::read("p.toml", source).unwrap_or_else(|e| panic!("{source}\n{e}"));
        let layers = vec![(Rank::Operator, layer)];
        (Stack { layers }.resolve(&base(), &roots), roots)
    }

    /// Without places: values alone.
    fn meaning(outcome: &Outcome) -> String {
        let text = format!("{:?}", outcome.effective.policy);
        let origins = text.split("origin: Origin {").map(|piece| {
            let end = piece.find('}').map_or(0, |at| at + 1);
            match piece.starts_with(" source:") {
                true => &piece[end..],
                false => piece,
            }
        });
        let text: String = origins.collect();
        text.split_once("filesystem").unwrap().1.to_owned()
    }

    #[test]
    fn read_again_it_means_the_same() {
        let presets = preset::names().map(|name| preset::text(name).unwrap().to_owned());
        let more = [
            "",
            "tools.allow = []",
            "tools.deny = ['write', 'group:web']\nfilesystem.workspace = 'rw'\n",
            "[filesystem]\nexec = ['/usr', '~/a\\b\"c', { path = '$WORKSPACE/x', optional = true }]\n\
             write = ['/data', '/tmp']\nload = ['/opt']\ndeny = ['/usr/x']\nprotect = ['$WORKSPACE/.git']\n\
             [tools.exec]\nsecurity = 'allowlist'\ncommands = ['git', { command = '/usr/bin/make', args = ['all', 'test ...'] }]\n\
             timeout = '5m'\nrate = 3\n[tools.write]\ndenied_paths = ['$WORKSPACE/secret']\n\
             [environment]\ngit_identity = true\n[environment.set]\nA = \"tab\\t\\u0001\\u007f\\\"\"\n[limits]\npids = 7\ncpus = 0.125\n[process]\ndebug = true\n[session]\nmode = 'all'\n",
            "[network]\nmode = 'allowlist'\nallow = ['a.example', '*.b.example:8443', { host = 'c.example', tls = 'terminate', \
             methods = ['GET'] }, { host = 'd.example', ports = [53], protocol = 'udp' }]\ndeny = ['x.b.example']\n\
             resolvers = ['9.9.9.9:53']\n[network.limits]\nconnections = 5\nidle = '1m'\n\
             [[network.credentials]]\nhost = 'c.example'\nheader = 'x-key'\nvariable = 'K'\nsecret = { file = '/run/k' }\n",
            "[filesystem]\nworkspace_at = '/w'\nread = [{ path = '/a', at = '/b' }]\nwrite = [{ path = '~/c', optional = true, at = '~/d' }]",
            "network = { mode = 'open', allow = ['a.example:22'] }",
            "network = { mode = 'ask' }",
            "network = { mode = 'allowlist', allow = ['a.example'] }\ntools.allow = ['exec']\n",
            "allow_degraded = ['cgroup']\ntools.exec.ask = 'always'",
        ];
        for source in presets.chain(more.map(str::to_owned)) {
            let (first, roots) = resolved(&source);
            let shown = text(&first.rights, &first.effective, &roots);
            let (second, _) = resolved(&shown);
            assert_eq!(meaning(&first), meaning(&second), "{source}\n---\n{shown}");
        }
    }

    #[test]
    fn a_pattern_of_a_denial_is_written_as_it_was() {
        let text_ = "[filesystem]\ndeny = ['$WORKSPACE/*.pem']\nprotect = [{ path = '/a/?', optional = true }]\n";
        let roots = Roots {
            home: "/home/u".into(),
            workspace: "/home/u/w".into(),
        };
        let mut stack = Stack {
            layers: vec![(Rank::Operator, file::read("p.toml", text_).unwrap())],
        };
        let met = stack.expand(&roots, |_| Ok::<_, std::convert::Infallible>(vec![]));
        assert!(met.is_ok());
        let outcome = stack.resolve(&base(), &roots);
        let shown = text(&outcome.rights, &outcome.effective, &roots);
        for line in [
            "    \"$WORKSPACE/*.pem\", # p.toml:2\n",
            "    { path = \"/a/?\", optional = true }, # p.toml:3\n",
        ] {
            assert!(shown.contains(line), "{line}{shown}");
        }
    }

    #[test]
    fn each_line_names_its_place() {
        let (outcome, roots) = resolved("[filesystem]\nread = [\n'/a']\nworkspace = 'ro'\n");
        let shown = text(&outcome.rights, &outcome.effective, &roots);
        assert!(shown.contains("    \"/a\", # p.toml:3\n"), "{shown}");
        assert!(shown.contains("workspace = \"ro\" # p.toml:4\n"), "{shown}");
    }
}
