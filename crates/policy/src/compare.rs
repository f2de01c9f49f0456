//! The difference of two sets of rights: access that one allows and the other does not, rule by rule.
//!
//! The same comparison answers two questions. [`clipped`] finds the rules of a layer that ask for more
//! than the layers above it have, and so have no effect. [`widened`] finds the rules of a policy that
//! allow what another policy did not, for a reviewer.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use super::effective_access::usable;
use super::layer::Security;
use super::limits::Visitor;
use super::mapping::Mapping;
use super::net::{Bounds, Credential, Mode, To};
use super::origin::Origin;
use super::path_set::{PathSet, within};
use super::rights::{Bound, Constraints, DenySet, Names, Others, Rights, Roots, Values};
use super::tools::{Ruling, Tool};

/// Suffix of an item that only the other side denied.
pub const GONE: &str = " no longer";

/// A rule that allows more.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Excess {
    /// As written in a policy: `filesystem.read`.
    pub key: String,
    /// The value, or what is no longer denied.
    pub item: String,
    /// The place of the rule; `None` if a rule is missing.
    pub origin: Option<Origin>,
}

impl Excess {
    /// With a path as a policy would write it.
    pub fn shortened(self, roots: &Roots) -> Excess {
        let item = roots.shorten(&self.item);
        Excess { item, ..self }
    }
}

/// The kind of rule that is compared.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// Only explicit rules: an unspecified field asks for nothing.
    Words,
    /// Everything: an unspecified field allows all.
    Whole,
}

/// The rules of `asked` that go beyond `above`.
pub fn clipped(asked: &Rights, above: &Rights) -> Vec<Excess> {
    compare(asked, above, Scope::Words)
}

/// Returns the access that `new` allows and `old` does not. Both must be finalized.
pub fn widened(old: &Rights, new: &Rights) -> Vec<Excess> {
    compare(new, old, Scope::Whole)
}

/// Whether these rights list the programs that may execute, instead of leaving it to the grants alone.
fn programs_named(rights: &Rights) -> bool {
    let exec = rights.constraints(Tool::Exec);
    let security = exec.security.as_ref().map(|security| security.value);
    exec.commands.is_some()
        || security.is_some_and(|word| word != Security::Full)
        || !usable(rights, Tool::Exec)
}

/// Compares fields under their keys.
macro_rules! each {
    ($found:expr, $above:expr, $a:ident, $b:ident: $($key:literal $field:ident),+) => {
        $($a.$field.beyond(&$b.$field, &format!("{}{}", $above, $key), &mut $found);)+
    };
}

fn compare(a: &Rights, b: &Rights, scope: Scope) -> Vec<Excess> {
    let mut found = Found {
        list: vec![],
        scope,
    };
    found.tools(a, b);
    // An executable path needs no separate load grant, unless programs are listed by name.
    let executed = match programs_named(a) || programs_named(b) {
        true => PathSet::none(),
        false => b.exec.meet(&a.exec),
    };
    let loadable = b.loadable().join(&executed);
    a.load.beyond(&loadable, "filesystem.load", &mut found);
    each!(found, "", a, b:
        "filesystem.read" read, "filesystem.write" write, "filesystem.exec" exec,
        "filesystem.deny" deny, "filesystem.deny" deny_patterns,
        "filesystem.protect" protect, "filesystem.protect" protect_patterns,
        "filesystem.at" places, "filesystem.unprotect" unprotect, "filesystem.workspace" workspace,
        "environment.set" set, "environment.pass" pass, "environment.git_identity" git_identity,
        "process.debug" debug, "session.mode" mode, "session.scope" scope,
        "tools.elevated" elevated, "tools.max_iterations" max_iterations);
    found.network(&a.network, &b.network);
    a.limits.each(&b.limits, &mut found);
    for (layer, origin) in a.allow_degraded.iter().flatten() {
        let b = b.allow_degraded.as_ref();
        if b.is_some_and(|b| !b.contains_key(layer)) {
            found.add("allow_degraded", layer.name(), Some(origin));
        }
    }
    for tool in Tool::ALL {
        // A layer that does not mention a tool asks for nothing.
        if scope == Scope::Whole || a.each.contains_key(&tool) {
            found.constraints(tool, a.constraints(tool), b.constraints(tool));
        }
    }
    found.list.sort();
    found.list
}

/// Collects the findings.
struct Found {
    list: Vec<Excess>,
    scope: Scope,
}

impl Visitor for Found {
    fn limit<T: Ord + Clone + Display>(&mut self, key: &str, a: &Bound<T>, b: &Bound<T>) {
        a.beyond(b, key, self);
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
        a.mode.beyond(&b.mode, "network.mode", self);
        let none = |bounds: &Bounds| bounds.mode.as_ref().is_some_and(|m| m.value == Mode::None);
        // If the layer's mode already goes beyond the mode above, its rules add nothing.
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
        if !none(a) {
            a.limits.each(&b.limits, self);
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

    fn constraints(&mut self, tool: Tool, a: &Constraints, b: &Constraints) {
        let key = |name: &str| format!("tools.{}.{name}", tool.name());
        each!(*self, key(""), a, b:
            "security" security, "ask" ask, "timeout" timeout, "rate" rate,
            "max_iterations" max_iterations, "target" target, "allowed_paths" allowed,
            "denied_paths" denied, "channels" channels);
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
                        self.add(&key("commands"), path.as_str(), Some(&allowed.rule.origin));
                    }
                }
            }
            _ => {}
        }
    }
}

/// A part of rights that can be compared.
trait Beyond {
    /// Finds what goes beyond `other`.
    fn beyond(&self, other: &Self, key: &str, found: &mut Found);
}

impl Beyond for PathSet {
    fn beyond(&self, other: &PathSet, key: &str, found: &mut Found) {
        match (self, other) {
            (PathSet::All, PathSet::Of(_)) if found.scope == Scope::Whole => {
                found.add(key, "every path", None);
            }
            (PathSet::Of(trees), _) => {
                for rule in trees.rules().filter(|rule| !other.covers(rule)) {
                    found.add(key, rule.path.as_str(), Some(&rule.origin));
                }
            }
            (PathSet::All, _) => {}
        }
    }
}

impl Beyond for DenySet {
    fn beyond(&self, other: &DenySet, key: &str, found: &mut Found) {
        if found.scope == Scope::Words {
            return;
        }
        for path in other.keys() {
            if !self.keys().any(|place| within(path, place)) {
                found.add(key, format!("{path}{GONE}"), None);
            }
        }
    }
}

/// A mapping gives no access, so a layer never goes beyond another by one. Two policies with different places
/// differ.
impl Beyond for BTreeSet<Mapping> {
    fn beyond(&self, other: &Self, key: &str, found: &mut Found) {
        if found.scope == Scope::Words {
            return;
        }
        let same =
            |one: &Mapping, other: &Mapping| (&one.path, &one.at) == (&other.path, &other.at);
        for mapping in self
            .iter()
            .filter(|one| !other.iter().any(|two| same(one, two)))
        {
            found.add(key, mapping.path.as_str(), Some(&mapping.origin));
        }
    }
}

impl<T: Ord + Display> Beyond for Names<T> {
    fn beyond(&self, other: &Self, key: &str, found: &mut Found) {
        match (self, other) {
            (None, Some(_)) if found.scope == Scope::Whole => found.add(key, "every name", None),
            (_, None) | (None, Some(_)) => {}
            (Some(a), Some(b)) => {
                for (name, origin) in a.iter().filter(|(name, _)| !b.contains_key(*name)) {
                    found.add(key, name.to_string(), Some(origin));
                }
            }
        }
    }
}

impl Beyond for Values {
    fn beyond(&self, other: &Values, key: &str, found: &mut Found) {
        for (name, ours) in self.set() {
            let within = match other.named.get(name) {
                Some(theirs) => theirs.as_ref().is_some_and(|t| t.value == ours.value),
                None => other.others == Others::Open,
            };
            if !within {
                found.add(key, format!("{name}={}", ours.value), Some(&ours.origin));
            }
        }
    }
}

impl<T: Ord + Display> Beyond for Bound<T> {
    fn beyond(&self, other: &Self, key: &str, found: &mut Found) {
        match (self, other) {
            (Some(a), Some(b)) if a.value > b.value => {
                found.add(key, a.value.to_string(), Some(&a.origin));
            }
            (None, Some(b)) if found.scope == Scope::Whole => {
                found.add(key, format!("{}{GONE}", b.value), None);
            }
            _ => {}
        }
    }
}
