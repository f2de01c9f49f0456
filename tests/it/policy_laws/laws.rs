//! The laws, over three layers and a universe of cases. Each is judged without the evaluator's own
//! idea of "wider": field by field, by membership.

use std::collections::{BTreeMap, BTreeSet};

use creel_policy::effective_access::{reach, usable};
use creel_policy::layer::{Arguments, Case, Rank, Security};
use creel_policy::net::decide::Transport;
use creel_policy::net::{self, Answer, Host, List, Network};
use creel_policy::path_set::{AbsPath, PathSet, Whose};
use creel_policy::rights::{Bound, Constraints, DenySet, Names, Others, Rights};
use creel_policy::tools::{Ruling, Tool};

use super::evaluator::Evaluator;
use super::given::{COMMANDS, Given, HOSTS, SUBJECTS, tool_names};

/// The law that does not hold, and on what.
#[derive(Debug)]
pub struct Broken {
    pub law: &'static str,
    pub on: String,
}

fn hold(law: &'static str, holds: bool, on: impl Fn() -> String) -> Result<(), Broken> {
    match holds {
        true => Ok(()),
        false => Err(Broken { law, on: on() }),
    }
}

/// All laws over these three layers.
pub fn all(ev: &Evaluator, given: [&Given; 3], cases: &[Case]) -> Result<(), Broken> {
    let [a, b, c] = given.map(|given| ev.of(given));
    let both = ev.meet(&a, &b);
    let all = ev.meet(&both, &c);
    algebra(ev, [&a, &b, &c], &both, &all)?;
    for (narrow, wide) in [(&both, &a), (&both, &b), (&all, &both), (&all, &c)] {
        if let Some(field) = wider(narrow, wide) {
            return hold("a meet is within either side", false, || field.clone());
        }
    }
    let closed = ev.close(&both);
    let further = ev.meet(&closed, &c);
    let reordered = ev.meet(&c, &closed);
    hold("layers have no order", further == reordered, String::new)?;
    hold(
        "closing twice is closing once",
        ev.close(&closed) == closed,
        String::new,
    )?;
    if let Some(field) = wider(&closed, &both) {
        return hold("closing never widens", false, || field.clone());
    }
    for path in ["/a/b", "/ab", "/usr/bin/git", "/opt/x", "/home/u/w/src/a"] {
        let more = mapped(ev, &further, path) && !mapped(ev, &closed, path);
        hold("a further layer never lets load", !more, || path.into())?;
    }
    for case in cases {
        let allows = |rights: &Rights| ev.allows(rights, case);
        let said = || case.to_string();
        let (narrowed, met) = (allows(&further), allows(&both));
        hold(
            "a further layer never allows",
            !narrowed || allows(&closed),
            said,
        )?;
        // Before it is closed, an allowlist may be named by one who grants and filled by another.
        let unfilled = |rights: &Rights| {
            let exec = rights.constraints(Tool::Exec);
            let listed = exec
                .security
                .as_ref()
                .is_some_and(|s| s.value == Security::Allowlist);
            listed && exec.commands.is_none()
        };
        let met = met && !(case.tool == Tool::Exec && (unfilled(&a) || unfilled(&b)));
        hold(
            "no meet allows more than either side",
            !met || allows(&a) && allows(&b),
            said,
        )?;
        hold(
            "closing never allows by silence",
            !allows(&closed) || allows(&both),
            said,
        )?;
        for given in given {
            let denied = spoken_against(given, case);
            hold("deny wins", !(denied && allows(&all)), said)?;
        }
    }
    for (given, rights) in given.into_iter().zip([&a, &b, &c]) {
        ranks(given, rights)?;
        empty(ev, given, rights)?;
    }
    Ok(())
}

/// Whether a process may map the path as code, under closed rights.
pub fn mapped(ev: &Evaluator, rights: &Rights, path: &str) -> bool {
    let reach = reach(rights, &ev.roots);
    let exec = rights.constraints(Tool::Exec);
    let full = exec
        .security
        .as_ref()
        .is_none_or(|s| s.value == Security::Full);
    let free = usable(rights, Tool::Exec) && full && exec.commands.is_none();
    let lies = |place: &AbsPath| inside(path, place);
    let there = reach.parts_left() || !inside(path, &ev.roots.workspace);
    let loads = reach.load.cover(path) || free && reach.exec.cover(path);
    loads && there && !reach.deny.keys().any(lies)
}

fn algebra(
    ev: &Evaluator,
    [a, b, c]: [&Rights; 3],
    both: &Rights,
    all: &Rights,
) -> Result<(), Broken> {
    let on = || format!("{a:?}\n{b:?}\n{c:?}");
    hold("a meet with itself is itself", ev.meet(a, a) == *a, on)?;
    hold("a meet has no order", ev.meet(b, a) == *both, on)?;
    hold(
        "a meet has no brackets",
        ev.meet(a, &ev.meet(b, c)) == *all,
        on,
    )?;
    hold("a meet absorbs its sides", ev.meet(both, a) == *both, on)?;
    hold(
        "the top says nothing",
        ev.meet(&Rights::default(), a) == *a,
        on,
    )
}

/// Nobody's silence grants: of closed rights of which nobody spoke, nothing outside the workspace, whose
/// mode is then the request's.
pub fn default_deny(ev: &Evaluator, cases: &[Case]) -> Result<(), Broken> {
    let closed = ev.close(&Rights::default());
    for case in cases {
        let rooted = |word: &String| word.starts_with('/') || word == "~" || word.starts_with("~/");
        let first = case.words.first().map(|word| match rooted(word) {
            true => ev.roots.expand(word).to_string(),
            false => format!("{}/{word}", ev.roots.workspace),
        });
        let inside = first.is_some_and(|path| path.starts_with(&ev.roots.workspace));
        let files = !matches!(
            case.tool,
            Tool::Exec | Tool::Browser | Tool::Message | Tool::Fetch
        );
        let may = case.tool == Tool::Process || files && inside;
        hold("default deny", may || !ev.allows(&closed, case), || {
            case.to_string()
        })?;
    }
    Ok(())
}

/// Whether a denial of this layer names the case: its tool, one that it needs, or its path.
fn spoken_against((_, layer): &Given, case: &Case) -> bool {
    let denies = |tool: &Tool| {
        let off = layer
            .tools
            .each
            .get(tool)
            .and_then(|own| own.enabled.as_ref());
        let denied = layer
            .tools
            .deny
            .iter()
            .any(|p| p.value.matches(tool.name()));
        denied || off.is_some_and(|on| !on.value)
    };
    let files = &layer.filesystem;
    let roots = super::given::roots();
    let writes = matches!(case.tool, Tool::Write | Tool::Edit | Tool::ApplyPatch);
    let path = case.words.first().filter(|word| word.starts_with('/'));
    let lies = path.is_some_and(|path| {
        let protect = files.protect.iter().filter(|_| writes);
        files
            .deny
            .iter()
            .chain(protect)
            .any(|grant| inside(path, &roots.expand(&grant.path)))
    });
    case.tool.needs().iter().chain([&case.tool]).any(denies) || lies
}

fn ranks((rank, _): &Given, rights: &Rights) -> Result<(), Broken> {
    let low = *rank > Rank::Operator;
    let elevated = rights.elevated.as_ref().is_some_and(|said| said.value);
    hold(
        "a lower rank cannot elevate",
        !(low && elevated),
        String::new,
    )?;
    hold(
        "a lower rank cannot unprotect",
        !(low && rights.unprotect.is_some()),
        String::new,
    )
}

fn empty(ev: &Evaluator, (_, layer): &Given, rights: &Rights) -> Result<(), Broken> {
    const LAW: &str = "an empty list grants nothing";
    let files = &layer.filesystem;
    let none = |list: &Option<Vec<_>>| list.as_ref().is_some_and(Vec::is_empty);
    hold(
        LAW,
        !none(&files.write) || rights.write == PathSet::none(),
        String::new,
    )?;
    hold(
        LAW,
        !none(&files.exec) || rights.exec == PathSet::none(),
        String::new,
    )?;
    hold(
        LAW,
        !none(&files.load) || rights.loadable() == PathSet::none(),
        String::new,
    )?;
    let tools = layer
        .tools
        .allow
        .as_ref()
        .is_some_and(|list| list.value.is_empty());
    let any = Tool::ALL.iter().any(|tool| rights.tools.allows(*tool));
    hold(LAW, !tools || !any, String::new)?;
    for (tool, own) in &layer.tools.each {
        let bounds = rights.constraints(*tool);
        let paths = none(&own.allowed_paths);
        hold(
            LAW,
            !paths || bounds.allowed == PathSet::none(),
            String::new,
        )?;
        let commands = own.commands.as_ref().is_some_and(Vec::is_empty) && own.languages.is_none();
        hold(
            LAW,
            !commands || bounds.commands == Some(BTreeMap::new()),
            String::new,
        )?;
    }
    let _ = ev;
    Ok(())
}

/// A field in which `a` allows what `b` does not.
pub fn wider(a: &Rights, b: &Rights) -> Option<String> {
    let name = |name: &str| Some(name.to_owned());
    for tool in tool_names() {
        let allows = |rights: &Rights| rights.tools.rule(tool) == Ruling::Allowed;
        if allows(a) && !allows(b) {
            return name(&format!("tools: {tool}"));
        }
    }
    for (field, a, b) in [
        ("read", &a.read, &b.read),
        ("write", &a.write, &b.write),
        ("load", &a.load, &b.load),
        ("mapped", &a.mapped, &b.mapped),
        ("exec", &a.exec, &b.exec),
    ] {
        if trees(a, b) {
            return name(field);
        }
    }
    for (field, a, b) in [
        ("deny", &a.deny, &b.deny),
        ("protect", &a.protect, &b.protect),
    ] {
        if places(a, b) {
            return name(field);
        }
    }
    // Entries that the other side does not name stay open until it is finalized.
    let open = b.set.others == Others::Open;
    let env = a.set.set().any(|(name, ours)| match b.set.named.get(name) {
        Some(theirs) => theirs
            .as_ref()
            .is_none_or(|theirs| theirs.value != ours.value),
        None => !open,
    });
    if env || !open && a.set.others == Others::Open {
        return name("environment.set");
    }
    macro_rules! bounds {
        ($($field:ident),+ of $a:expr, $b:expr) => {
            $(if bound(&$a.$field, &$b.$field) {
                return name(stringify!($field));
            })+
        };
    }
    bounds!(elevated, max_iterations, workspace, mode, scope, debug, git_identity of a, b);
    bounds!(mode of a.network, b.network);
    bounds!(connections, rate, bytes_in, bytes_out, bandwidth, idle of a.network.limits, b.network.limits);
    let more = |host: &&&str| reaches(a, host) > reaches(b, host);
    if let Some(host) = HOSTS.iter().find(more) {
        return name(&format!("network: {host}"));
    }
    bounds!(memory, memory_high, cpus, pids, timeout, cpu_time, disk, inodes, file_size, open_files,
        output, grace of a.limits, b.limits);
    if names(&a.unprotect, &b.unprotect) || names(&a.pass, &b.pass) {
        return name("unprotect or pass");
    }
    if names(&a.allow_degraded, &b.allow_degraded) {
        return name("allow_degraded");
    }
    Tool::ALL.iter().find_map(|tool| {
        let field = constraints(a.constraints(*tool), b.constraints(*tool))?;
        name(&format!("{}.{field}", tool.name()))
    })
}

/// 0: denied, 1: asked, 2: allowed; whatever the mode, and where nobody has a list.
fn reaches(rights: &Rights, host: &str) -> u8 {
    let host = host.split("://").last().and_then(|h| h.split('/').next());
    let bounds = &rights.network;
    let Ok((host, port)) = Host::parse_with_port(host.unwrap_or_default().as_bytes(), 443) else {
        return 0;
    };
    let judged = |lists: BTreeSet<List>| {
        let network = Network {
            mode: net::Mode::Open,
            lists,
            deny: bounds.deny.clone(),
            ..Network::default()
        };
        match network.judge(&host, port, Transport::Tcp) {
            Answer::Allow(_) => 2,
            Answer::Ask => 1,
            Answer::Deny(net::Why::Denied(_)) => 0,
            Answer::Deny(_) if network.lists.is_empty() => 2,
            Answer::Deny(_) => 0,
        }
    };
    judged(bounds.lists.clone())
}

fn constraints(a: &Constraints, b: &Constraints) -> Option<&'static str> {
    macro_rules! bounds {
        ($($field:ident),+) => {
            $(if bound(&a.$field, &b.$field) {
                return Some(stringify!($field));
            })+
        };
    }
    bounds!(security, ask, timeout, rate, max_iterations, target);
    if trees(&a.allowed, &b.allowed) || places(&a.denied, &b.denied) {
        return Some("paths");
    }
    if names(&a.channels, &b.channels) {
        return Some("channels");
    }
    let commands = match (&a.commands, &b.commands) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(a), Some(b)) => a.iter().any(|(path, ours)| {
            let Some(theirs) = b.get(path) else {
                return true;
            };
            let words = COMMANDS
                .iter()
                .map(|words| Arguments(words[1..].iter().map(|w| (*w).into()).collect()).0);
            words
                .into_iter()
                .any(|args| ours.accepts(&args) && !theirs.accepts(&args))
        }),
    };
    commands.then_some("commands")
}

fn bound<T: Ord>(a: &Bound<T>, b: &Bound<T>) -> bool {
    b.as_ref()
        .is_some_and(|b| a.as_ref().is_none_or(|a| a.value > b.value))
}

fn names<T: Ord>(a: &Names<T>, b: &Names<T>) -> bool {
    let lacks = |b: &BTreeMap<T, _>| {
        a.as_ref()
            .is_none_or(|a| a.keys().any(|n| !b.contains_key(n)))
    };
    b.as_ref().is_some_and(lacks)
}

fn places(a: &DenySet, b: &DenySet) -> bool {
    b.iter().any(|(path, leaf)| {
        // For one place no word is lost, and a grant that insists on its presence wins.
        a.get(path)
            .is_none_or(|kept| kept.merge(leaf).absent != kept.absent || kept.origin > leaf.origin)
    })
}

fn trees(a: &PathSet, b: &PathSet) -> bool {
    let covers = |trees: &PathSet, path: &str| match trees {
        PathSet::All => true,
        trees => trees.host().any(|rule| inside(path, &rule.path)),
    };
    let roots = |trees: &PathSet| match trees {
        PathSet::All => vec!["/".to_owned()],
        trees => trees.host().map(|rule| rule.path.to_string()).collect(),
    };
    let subjects = SUBJECTS
        .iter()
        .filter(|s| s.starts_with('/'))
        .map(|s| (*s).to_owned());
    let mut points = subjects.chain(roots(a)).chain(roots(b));
    let mut own = a.rules().filter(|rule| rule.whose == Whose::Jail);
    points.any(|path| covers(a, &path) && !covers(b, &path)) || own.any(|rule| !b.covers(rule))
}

/// By components, not by text.
pub fn inside(path: &str, tree: &str) -> bool {
    std::path::Path::new(path).starts_with(tree)
}
