//! A foreign file that is being taken over: its tree in, a layer and a report out.
//!
//! Owns what all dialects share: a line of the report for each key, values that keep their places, and
//! grants that are made only where the layer grants at all. It refuses what it must not drop: a denial
//! that it cannot read is an error, never a line of the report.

use super::names::{self, Wider};
use super::paths;
use super::report::{Entry, Fate};
use crate::policy::error::{PathFault, PolicyError};
use crate::policy::layer::{Layer, Settings};
use crate::policy::tools::{Pattern, Tool};
use crate::policy::tree::{Node, Table, Text, Value};
use crate::policy::units::{Count, Span};
use crate::policy::{Absent, Grant, Origin, Sourced};

/// Whether the layer grants, or narrows what others grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Grants,
    Narrows,
}

/// The file and what has come of it.
pub struct Source<'a> {
    pub text: &'a Text<'a>,
    pub standing: Standing,
    /// The file itself says all that is granted: no preset beneath it.
    pub whole: bool,
    pub layer: Layer,
    pub report: Vec<Entry>,
}

/// A key's full name and its value.
#[derive(Clone, Copy)]
pub struct Item<'t> {
    pub key: &'t str,
    pub node: &'t Node,
}

/// One more part of a key's name.
pub fn join(key: &str, part: &str) -> String {
    match key.is_empty() {
        true => part.to_owned(),
        false => format!("{key}.{part}"),
    }
}

pub fn table(node: &Node) -> Option<&Table> {
    match &node.value {
        Value::Table(table) => Some(table),
        _ => None,
    }
}

/// The table at the end of a path of keys.
pub fn inner<'t>(top: &'t Table, path: &[&str]) -> Option<&'t Table> {
    path.iter().try_fold(top, |at, key| table(at.get(key)?))
}

pub fn text<'t>(top: &'t Table, key: &str) -> Option<&'t str> {
    top.get(key)?.as_str()
}

impl<'a> Source<'a> {
    pub fn new(text: &'a Text<'a>, standing: Standing) -> Source<'a> {
        Source {
            text,
            standing,
            whole: false,
            layer: Layer::default(),
            report: vec![],
        }
    }

    pub fn origin(&self, node: &Node) -> Origin {
        self.text.origin(node.span.start)
    }

    pub fn sourced<T>(&self, node: &Node, value: T) -> Sourced<T> {
        let origin = self.origin(node);
        Sourced { value, origin }
    }

    pub fn enforced(&mut self, item: Item, how: impl Into<String>) {
        self.say(item, Fate::Enforced, how);
    }

    pub fn translated(&mut self, item: Item, how: impl Into<String>) {
        self.say(item, Fate::Translated, how);
    }

    pub fn not(&mut self, item: Item, why: impl Into<String>) {
        self.say(item, Fate::NotHonoured, why);
    }

    fn say(&mut self, item: Item, fate: Fate, text: impl Into<String>) {
        self.report.push(Entry {
            key: item.key.to_owned(),
            origin: self.origin(item.node),
            fate,
            text: text.into(),
        });
    }

    /// The key holds something else than it must. Where it grants, nothing is granted.
    pub fn other_type(&mut self, item: Item, expected: &str) {
        let kind = item.node.kind();
        self.not(item, format!("is {kind}, not {expected}"));
    }

    /// The key holds something else than it must, and denies.
    pub fn wrong_type(&self, item: Item, expected: &'static str) -> PolicyError {
        PolicyError::WrongType {
            at: self.text.place(item.node.span.start),
            key: item.key.to_owned(),
            found: item.node.kind(),
            expected: expected.to_owned(),
        }
    }

    fn bad_path(&self, item: Item, path: &str, fault: PathFault) -> PolicyError {
        PolicyError::BadPath {
            at: self.text.place(item.node.span.start),
            key: item.key.to_owned().into(),
            path: path.to_owned(),
            fault,
        }
    }

    /// Elements of a list that grants; a single word counts as a list of it.
    pub fn words<'t>(&mut self, item: Item<'t>) -> Vec<Item<'t>> {
        let nodes = match &item.node.value {
            Value::Array(nodes) => nodes.as_slice(),
            _ => std::slice::from_ref(item.node),
        };
        let (good, bad): (Vec<&Node>, Vec<&Node>) =
            nodes.iter().partition(|node| node.as_str().is_some());
        for node in bad {
            self.other_type(Item { node, ..item }, "a string");
        }
        good.into_iter().map(|node| Item { node, ..item }).collect()
    }

    /// Elements of a list that denies.
    pub fn strict_words<'t>(&self, item: Item<'t>) -> Result<Vec<Item<'t>>, PolicyError> {
        let nodes = match &item.node.value {
            Value::Array(nodes) => nodes.as_slice(),
            _ => std::slice::from_ref(item.node),
        };
        let one = |node| {
            let item = Item { node, ..item };
            match item.node.as_str() {
                Some(_) => Ok(item),
                None => Err(self.wrong_type(item, "each as a string")),
            }
        };
        nodes.iter().map(one).collect()
    }

    /// A switch; `None`, with its line of the report, where it is none.
    pub fn switch(&mut self, item: Item) -> Option<bool> {
        match item.node.value {
            Value::Bool(value) => Some(value),
            _ => {
                self.other_type(item, "true or false");
                None
            }
        }
    }

    /// A switch whose misreading would grant.
    pub fn strict_switch(&self, item: Item) -> Result<bool, PolicyError> {
        match item.node.value {
            Value::Bool(value) => Ok(value),
            _ => Err(self.wrong_type(item, "true or false")),
        }
    }

    pub fn count(&mut self, item: Item) -> Option<Sourced<Count>> {
        let number = match &item.node.value {
            Value::Integer(number) if !number.is_negative() => number.to_u64(),
            _ => None,
        };
        match number.and_then(|number| Count::new(number).ok()) {
            Some(count) => Some(self.sourced(item.node, count)),
            None => {
                self.not(item, "is no count that creel takes; its own limit stays");
                None
            }
        }
    }

    /// A time in seconds, or with its unit.
    pub fn seconds(&mut self, item: Item) -> Option<Sourced<Span>> {
        let text = match &item.node.value {
            Value::Integer(number) => format!("{number}s"),
            Value::String(text) => text.clone(),
            _ => String::new(),
        };
        match Span::parse_limit(&text) {
            Ok(span) => Some(self.sourced(item.node, span)),
            Err(_) => {
                self.not(item, "is no time that creel takes; its own limit stays");
                None
            }
        }
    }

    pub fn tool(&mut self, tool: Tool) -> &mut Settings {
        self.layer.tools.each.entry(tool).or_default()
    }

    /// Denies a tool for what stands at `node`.
    pub fn deny_tool(&mut self, node: &Node, name: &str) {
        for pattern in Pattern::parse(name).unwrap_or_default() {
            let pattern = self.sourced(node, pattern);
            self.layer.tools.deny.push(pattern);
        }
    }

    /// Denies what a list of tools names.
    pub fn deny_tools(&mut self, item: Item) -> Result<(), PolicyError> {
        for word in self.strict_words(item)? {
            let name = word.node.as_str().unwrap_or_default();
            match names::denied(name) {
                Ok(patterns) => {
                    for pattern in patterns {
                        let pattern = self.sourced(word.node, pattern);
                        self.layer.tools.deny.push(pattern);
                    }
                }
                // A group may have any tool in it.
                Err(fault) if name.trim().to_ascii_lowercase().starts_with("group:") => {
                    return Err(PolicyError::BadPattern {
                        at: self.text.place(word.node.span.start),
                        key: item.key.to_owned(),
                        text: name.to_owned(),
                        fault,
                    });
                }
                Err(_) => self.not(word, format!("'{name}' can be no tool's name here")),
            }
        }
        self.enforced(item, "tools.deny");
        Ok(())
    }

    /// The patterns of a list that allows.
    pub fn allowed_tools(&mut self, item: Item) -> Vec<Pattern> {
        let mut all = vec![];
        for word in self.words(item) {
            let name = word.node.as_str().unwrap_or_default();
            match names::granted(name) {
                Ok(patterns) => all.extend(patterns),
                Err(Wider::Tool(tool)) => self.not(
                    word,
                    format!("'{name}' is part of {tool} here, which the list does not name"),
                ),
                Err(Wider::Fault(fault)) => self.not(word, format!("'{name}' {fault}")),
            }
        }
        all
    }

    /// Grants of the layer itself, for each path of a list.
    pub fn grants(
        &mut self,
        item: Item,
        list: fn(&mut Layer) -> &mut Option<Vec<Grant>>,
        name: &str,
    ) {
        if self.standing == Standing::Narrows {
            return self.not(item, "a layer that narrows grants no paths");
        }
        let mut some = false;
        for word in self.words(item) {
            let text = word.node.as_str().unwrap_or_default();
            match paths::granted(text) {
                Ok(path) => {
                    let grant = self.grant(word.node, path, Absent::Skip);
                    list(&mut self.layer).get_or_insert_default().push(grant);
                    some = true;
                }
                Err(fault) => self.not(word, format!("path '{text}' {fault}")),
            }
        }
        if some {
            self.enforced(item, name);
        } else {
            self.translated(item, "grants nothing");
        }
    }

    /// The grants of a list of paths, with what cannot be granted in the report.
    pub fn listed(&mut self, item: Item) -> Vec<Grant> {
        let mut all = vec![];
        for word in self.words(item) {
            let text = word.node.as_str().unwrap_or_default();
            match paths::granted(text) {
                Ok(path) => all.push(self.grant(word.node, path, Absent::Skip)),
                Err(fault) => self.not(word, format!("path '{text}' {fault}")),
            }
        }
        all
    }

    /// The denials of a list of paths.
    pub fn denials(&mut self, item: Item) -> Result<Vec<Grant>, PolicyError> {
        let mut all = vec![];
        for word in self.strict_words(item)? {
            let text = word.node.as_str().unwrap_or_default();
            let path = paths::denied(text).map_err(|fault| self.bad_path(word, text, fault))?;
            if text.contains(['*', '?', '[', '{']) {
                self.translated(word, format!("'{text}' becomes all of {path}"));
            }
            all.push(self.grant(word.node, path, Absent::Refuse));
        }
        Ok(all)
    }

    pub fn grant(&self, node: &Node, path: String, absent: Absent) -> Grant {
        Grant {
            path,
            absent,
            origin: self.origin(node),
        }
    }
}

/// The stricter of what is there and what is said now.
pub fn stricter<T: Ord>(slot: &mut Option<Sourced<T>>, said: Sourced<T>) {
    if slot.as_ref().is_none_or(|known| said.value < known.value) {
        *slot = Some(said);
    }
}
