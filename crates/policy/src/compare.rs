//! What one set of rights allows that another does not, rule by rule.
//!
//! The same comparison answers two questions. [`clipped`]: which words of a layer ask for more than
//! the layers above it have, and are therefore without effect. [`widened`]: which rules of a policy
//! allow what another policy did not, for a reviewer.

use std::collections::BTreeMap;
use std::fmt::Display;

use super::layer::Security;
use super::limits::Visitor;
use super::net::{Bounds, Credential, Mode, To};
use super::reach::usable;
use super::rights::{Bound, Constraints, Names, Others, Places, Rights, Roots, Values};
use super::tools::{Ruling, Tool};
use super::trees::{Trees, within};
use super::{Origin, Sourced};

/// Ends an item that only the other side has, and that denied.
pub const GONE: &str = " no longer";

/// A rule that allows more.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Excess {
    /// As written in a policy: `filesystem.read`.
    pub key: String,
    /// The value, or what is no longer denied.
    pub item: String,
    /// Where the rule stands; `None` where a rule is missing.
    pub origin: Option<Origin>,
}

impl Excess {
    /// With a path as a policy would write it.
    pub fn shortened(self, roots: &Roots) -> Excess {
        let item = roots.shorten(&self.item);
        Excess { item, ..self }
    }
}

/// What is compared.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// Only what is written: silence asks for nothing.
    Words,
    /// All: silence allows.
    Whole,
}

/// The words of `asked` that go beyond `above`.
pub fn clipped(asked: &Rights, above: &Rights) -> Vec<Excess> {
    compare(asked, above, Scope::Words)
}

/// What `new` allows and `old` does not. Both closed.
pub fn widened(old: &Rights, new: &Rights) -> Vec<Excess> {
    compare(new, old, Scope::Whole)
}

/// Whether these say which programs may execute, and leave it not to the grants alone.
fn programs_named(rights: &Rights) -> bool {
    let exec = rights.constraints(Tool::Exec);
    let security = exec.security.as_ref().map(|security| security.value);
    exec.commands.is_some()
        || security.is_some_and(|word| word != Security::Full)
        || !usable(rights, Tool::Exec)
}

fn compare(a: &Rights, b: &Rights, scope: Scope) -> Vec<Excess> {
    let mut found = Found {
        list: vec![],
        scope,
    };
    found.tools(a, b);
    found.trees("filesystem.read", &a.read, &b.read);
    found.trees("filesystem.write", &a.write, &b.write);
    // What stays executable needs no other word to be loaded, unless programs are named.
    let executed = match programs_named(a) || programs_named(b) {
        true => Trees::none(),
        false => b.exec.meet(&a.exec),
    };
    found.trees("filesystem.load", &a.load, &b.loadable().join(&executed));
    found.trees("filesystem.exec", &a.exec, &b.exec);
    found.places("filesystem.deny", &a.deny, &b.deny);
    found.places("filesystem.protect", &a.protect, &b.protect);
    found.places("filesystem.deny", &a.deny_patterns, &b.deny_patterns);
    found.places(
        "filesystem.protect",
        &a.protect_patterns,
        &b.protect_patterns,
    );
    found.names("filesystem.unprotect", &a.unprotect, &b.unprotect);
    found.bound("filesystem.workspace", &a.workspace, &b.workspace, |m| {
        m.name().into()
    });
    found.network(&a.network, &b.network);
    found.values("environment.set", &a.set, &b.set);
    found.names("environment.pass", &a.pass, &b.pass);
    a.limits.each(&b.limits, &mut found);
    if let Some(degraded) = &a.allow_degraded {
        for (layer, origin) in degraded {
            if b.allow_degraded
                .as_ref()
                .is_some_and(|b| !b.contains_key(layer))
            {
                found.add("allow_degraded", layer.name(), Some(origin));
            }
        }
    }
    found.bound(
        "environment.git_identity",
        &a.git_identity,
        &b.git_identity,
        |i| i.to_string(),
    );
    found.bound("process.debug", &a.debug, &b.debug, |d| d.to_string());
    found.bound("session.mode", &a.mode, &b.mode, |m| m.to_string());
    found.bound("session.scope", &a.scope, &b.scope, |s| s.to_string());
    found.bound("tools.elevated", &a.elevated, &b.elevated, |e| {
        e.to_string()
    });
    let count = |c: &super::Count| c.0.to_string();
    found.bound(
        "tools.max_iterations",
        &a.max_iterations,
        &b.max_iterations,
        count,
    );
    for tool in Tool::ALL {
        // Who says nothing of a tool asks for nothing.
        if scope == Scope::Whole || a.each.contains_key(&tool) {
            found.constraints(tool, a.constraints(tool), b.constraints(tool));
        }
    }
    found.list.sort();
    found.list
}

/// Collects.
struct Found {
    list: Vec<Excess>,
    scope: Scope,
}

impl Visitor for Found {
    fn limit<T: Ord + Clone + Display>(&mut self, key: &str, a: &Bound<T>, b: &Bound<T>) {
        self.bound(key, a, b, T::to_string);
    }
}

impl Found {
    fn add(&mut self, key: &str, item: impl Into<String>, origin: Option<&Origin>) {
        self.list.push(Excess {
            key: key.into(),
            item: item.into(),
            origin: origin.cloned(),
        });
    }

    fn tools(&mut self, a: &Rights, b: &Rights) {
        let mut names: BTreeMap<String, Option<Origin>> = BTreeMap::new();
        if self.scope == Scope::Whole {
            names.extend(Tool::ALL.map(|tool| (tool.name().to_owned(), None)));
            let literal = b.tools.deny.keys().filter(|p| !p.is_wild());
            names.extend(literal.map(|p| (p.text().to_owned(), None)));
        }
        for (patterns, origin) in &a.tools.allow {
            let literal = patterns.iter().filter(|p| !p.is_wild());
            names.extend(literal.map(|p| (p.text().to_owned(), Some(origin.clone()))));
        }
        for (name, origin) in names {
            let allows = |rights: &Rights| rights.tools.rule(&name) == Ruling::Allowed;
            if allows(a) && !allows(b) {
                self.add("tools.allow", name.clone(), origin.as_ref());
            }
        }
    }

    fn network(&mut self, a: &Bounds, b: &Bounds) {
        self.bound("network.mode", &a.mode, &b.mode, |m| m.name().into());
        let none = |bounds: &Bounds| bounds.mode.as_ref().is_some_and(|m| m.value == Mode::None);
        // The rules of a layer whose mode goes beyond what is above say nothing more.
        if !none(a) && (self.scope == Scope::Whole || !none(b)) {
            for rule in a.folded() {
                let (Ok(rule) | Err(rule)) = rule;
                let told = rule.to == To::Any && a.mode() > b.mode();
                let shut = a.deny.iter().any(|deny| deny.shuts(&rule));
                if !told && !shut && (none(b) || !b.covers(&rule)) {
                    self.add("network.allow", rule.to_string(), Some(&rule.origin));
                }
            }
        }
        macro_rules! each {
            ($($field:ident),+) => {
                $(self.bound(
                    concat!("network.limits.", stringify!($field)),
                    &a.limits.$field,
                    &b.limits.$field,
                    |value| value.to_string(),
                );)+
            };
        }
        if !none(a) {
            each!(connections, rate, bytes_in, bytes_out, bandwidth, idle);
        }
        if self.scope == Scope::Words || none(a) {
            return;
        }
        for deny in &b.deny {
            if !a.deny.iter().any(|own| own.shuts(deny)) {
                self.add(
                    "network.deny",
                    format!("{}{GONE}", deny.destination()),
                    None,
                );
            }
        }
        let given = |c: &Credential| {
            let same = |b: &&Credential| (&b.host, &b.header) == (&c.host, &c.header);
            b.credentials.iter().any(|b| same(&b))
        };
        for new in a.credentials.iter().filter(|c| !given(c)) {
            let item = format!("{} for {}", new.header, new.host);
            self.add("network.credentials", item, Some(&new.origin));
        }
    }

    fn trees(&mut self, key: &str, a: &Trees, b: &Trees) {
        match (a, b) {
            (Trees::All, Trees::Of(_)) if self.scope == Scope::Whole => {
                self.add(key, "every path", None);
            }
            (Trees::Of(trees), _) => {
                for (path, leaf) in trees.iter().filter(|(path, _)| !b.cover(path)) {
                    self.add(key, path.clone(), Some(&leaf.origin));
                }
            }
            (Trees::All, _) => {}
        }
    }

    fn places(&mut self, key: &str, a: &Places, b: &Places) {
        if self.scope == Scope::Words {
            return;
        }
        for path in b.keys() {
            if !a.keys().any(|place| within(path, place)) {
                self.add(key, format!("{path}{GONE}"), None);
            }
        }
    }

    fn names(&mut self, key: &str, a: &Names<String>, b: &Names<String>) {
        match (a, b) {
            (_, None) => {}
            (None, Some(_)) if self.scope == Scope::Whole => self.add(key, "every name", None),
            (None, Some(_)) => {}
            (Some(a), Some(b)) => {
                for (name, origin) in a.iter().filter(|(name, _)| !b.contains_key(*name)) {
                    self.add(key, name.clone(), Some(origin));
                }
            }
        }
    }

    fn values(&mut self, key: &str, a: &Values, b: &Values) {
        for (name, ours) in a.set() {
            let same = |theirs: &Option<Sourced<String>>| {
                theirs
                    .as_ref()
                    .is_some_and(|theirs| theirs.value == ours.value)
            };
            let within = match b.named.get(name) {
                Some(theirs) => same(theirs),
                None => b.others == Others::Open,
            };
            if !within {
                self.add(key, format!("{name}={}", ours.value), Some(&ours.origin));
            }
        }
    }

    fn bound<T: Ord>(
        &mut self,
        key: &str,
        a: &Bound<T>,
        b: &Bound<T>,
        show: impl Fn(&T) -> String,
    ) {
        match (a, b) {
            (Some(a), Some(b)) if a.value > b.value => {
                self.add(key, show(&a.value), Some(&a.origin));
            }
            (None, Some(b)) if self.scope == Scope::Whole => {
                self.add(key, format!("{}{GONE}", show(&b.value)), None);
            }
            _ => {}
        }
    }

    fn constraints(&mut self, tool: Tool, a: &Constraints, b: &Constraints) {
        let key = |name: &str| format!("tools.{}.{name}", tool.name());
        self.bound(&key("security"), &a.security, &b.security, |s| {
            s.to_string()
        });
        self.bound(&key("ask"), &a.ask, &b.ask, |ask| ask.to_string());
        self.bound(&key("timeout"), &a.timeout, &b.timeout, |t| t.to_string());
        self.bound(&key("rate"), &a.rate, &b.rate, |c| c.to_string());
        self.bound(
            &key("max_iterations"),
            &a.max_iterations,
            &b.max_iterations,
            |c| c.to_string(),
        );
        self.bound(&key("target"), &a.target, &b.target, |t| t.to_string());
        self.trees(&key("allowed_paths"), &a.allowed, &b.allowed);
        self.places(&key("denied_paths"), &a.denied, &b.denied);
        self.names(&key("channels"), &a.channels, &b.channels);
        match (&a.commands, &b.commands) {
            (None, Some(_)) if self.scope == Scope::Whole => {
                self.add(&key("commands"), "every command", None);
            }
            (Some(ours), Some(theirs)) => {
                for (path, allowed) in ours {
                    let within = theirs
                        .get(path)
                        .is_some_and(|other| allowed.args.is_superset(&other.args));
                    if !within {
                        self.add(&key("commands"), path.clone(), Some(&allowed.origin));
                    }
                }
            }
            _ => {}
        }
    }
}
