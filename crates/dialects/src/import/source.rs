//! A foreign file during import: its tree in, a layer and a report out.
//!
//! Owns what all dialects share: a line of the report for each key and each list element, values that
//! keep their places, and grants that are made only if the layer grants at all. It refuses what it must
//! not drop: a denial that it cannot read is an error, never a line of the report.

use super::names::{self, Wider};
use super::paths::{self, Denial, Denied, Spelling};
use super::report::Entry;
use super::report::Fate::{self, Enforced, NotHonoured, Translated};
use creel_policy::error::{PathFault, PolicyError};
use creel_policy::layer::{Layer, Settings};
use creel_policy::net::{NetworkFault, Rule};
use creel_policy::tools::{Pattern, Tool};
use creel_policy::tree::{Node, Table, Text, Value};
use creel_policy::units::{Count, Span};
use creel_policy::words::Words;
use creel_policy::{Absent, Grant, Origin, Sourced};

/// Whether the layer grants, or narrows what others grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It grants paths; unless the file lists all grants, the default preset is its base.
    Grants,
    /// It only narrows: it has no path grants and no preset.
    Narrows,
}

/// The file and the results of the import so far.
pub struct Source<'a> {
    pub text: &'a Text<'a>,
    pub standing: Standing,
    /// The file lists all grants itself: it gets no preset as a base.
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

/// An element of a list, with the list's key and its index; a single value counts as a list of one.
pub struct Element<'t> {
    key: String,
    pub node: &'t Node,
}

impl Element<'_> {
    pub fn item(&self) -> Item<'_> {
        let Element { key, node } = self;
        Item { key, node }
    }

    pub fn text(&self) -> &str {
        self.node.as_str().unwrap_or_default()
    }
}

/// The result for a path in a list of grants: its line in the report, and whether it is converted.
pub enum Taken {
    As(Fate, String),
    Left(Fate, String),
}

/// The elements, of any type.
pub fn elements<'t>(item: Item<'t>) -> Vec<Element<'t>> {
    match &item.node.value {
        Value::Array(nodes) => {
            let key = |at: usize| format!("{}[{at}]", item.key);
            let nodes = nodes.iter().enumerate();
            nodes
                .map(|(at, node)| Element { key: key(at), node })
                .collect()
        }
        _ => vec![Element {
            key: item.key.to_owned(),
            node: item.node,
        }],
    }
}

/// The entries of a table, each with its own key and its full name.
pub fn entries<'t>(of: &'t Table, above: &str) -> impl Iterator<Item = (&'t str, Element<'t>)> {
    of.entries().iter().map(move |(key, node)| {
        let name = key.name.as_str();
        let key = join(above, name);
        (name, Element { key, node })
    })
}

/// The name of a key with one more part.
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
        self.say(item, Enforced, how);
    }

    pub fn translated(&mut self, item: Item, how: impl Into<String>) {
        self.say(item, Translated, how);
    }

    pub fn not(&mut self, item: Item, why: impl Into<String>) {
        self.say(item, NotHonoured, why);
    }

    pub fn say(&mut self, item: Item, fate: Fate, text: impl Into<String>) {
        self.report.push(Entry {
            key: item.key.to_owned(),
            origin: self.origin(item.node),
            fate,
            text: text.into(),
        });
    }

    /// Reports a value of the wrong type, for a key that grants: nothing is granted.
    pub fn other_type(&mut self, item: Item, expected: &str) {
        let kind = item.node.kind();
        self.not(item, format!("is {kind}, not {expected}"));
    }

    /// The error for a value of the wrong type, for a key that denies.
    pub fn wrong_type(&self, item: Item, expected: &'static str) -> PolicyError {
        PolicyError::WrongType {
            at: self.text.place(item.node.span.start),
            key: item.key.to_owned(),
            found: item.node.kind(),
            expected: expected.to_owned(),
        }
    }

    pub fn bad_path(&self, item: Item, path: &str, fault: PathFault) -> PolicyError {
        PolicyError::BadPath {
            at: self.text.place(item.node.span.start),
            key: item.key.to_owned().into(),
            path: path.to_owned(),
            fault,
        }
    }

    /// The elements of a list of grants; an element that is not text gets a line of the report.
    pub fn words<'t>(&mut self, item: Item<'t>) -> Vec<Element<'t>> {
        let mut all = elements(item);
        all.retain(|element| match element.node.as_str() {
            Some(_) => true,
            None => {
                self.other_type(element.item(), "a string");
                false
            }
        });
        all
    }

    /// The elements of a list of denials; an error for one that is not text.
    pub fn strict_words<'t>(&self, item: Item<'t>) -> Result<Vec<Element<'t>>, PolicyError> {
        let all = elements(item);
        let other = |element: &&Element| element.node.as_str().is_none();
        match all.iter().find(other) {
            Some(element) => Err(self.wrong_type(
                Item {
                    node: element.node,
                    ..item
                },
                "each as a string",
            )),
            None => Ok(all),
        }
    }

    /// Adds the report's line for an empty list, which has no elements to report.
    pub fn if_empty(&mut self, item: Item, how: &str) {
        if matches!(&item.node.value, Value::Array(nodes) if nodes.is_empty()) {
            self.translated(item, how);
        }
    }

    /// A boolean; if the value is another type, reports that and returns `None`.
    pub fn switch(&mut self, item: Item) -> Option<bool> {
        match item.node.value {
            Value::Bool(value) => Some(value),
            _ => {
                self.other_type(item, "true or false");
                None
            }
        }
    }

    /// A table; misreading it would grant access, so another type is an error.
    pub fn strict_table<'t>(&self, item: Item<'t>) -> Result<&'t Table, PolicyError> {
        table(item.node).ok_or_else(|| self.wrong_type(item, "a table"))
    }

    /// A boolean; misreading it would grant access, so another type is an error.
    pub fn strict_switch(&self, item: Item) -> Result<bool, PolicyError> {
        match item.node.value {
            Value::Bool(value) => Ok(value),
            _ => Err(self.wrong_type(item, "true or false")),
        }
    }

    /// A value that is one of creel's words; `expected` lists them for the error.
    pub fn word<T: Words>(
        &self,
        item: Item,
        expected: &'static str,
    ) -> Result<Sourced<T>, PolicyError> {
        let word = item.node.as_str().and_then(T::parse);
        let word = word.ok_or_else(|| self.wrong_type(item, expected))?;
        Ok(self.sourced(item.node, word))
    }

    pub fn count(&mut self, item: Item) -> Option<Sourced<Count>> {
        let number = match &item.node.value {
            Value::Integer(number) if !number.is_negative() => number.to_u64(),
            _ => None,
        };
        match number.and_then(|number| Count::new(number).ok()) {
            Some(count) => Some(self.sourced(item.node, count)),
            None => {
                self.not(
                    item,
                    "is not a count that creel accepts; creel's limit applies",
                );
                None
            }
        }
    }

    /// A time in seconds, or with a unit.
    pub fn seconds(&mut self, item: Item) -> Option<Sourced<Span>> {
        let text = match &item.node.value {
            Value::Integer(number) => format!("{number}s"),
            Value::String(text) => text.clone(),
            _ => String::new(),
        };
        match Span::parse_limit(&text) {
            Ok(span) => Some(self.sourced(item.node, span)),
            Err(_) => {
                self.not(
                    item,
                    "is not a time that creel accepts; creel's limit applies",
                );
                None
            }
        }
    }

    pub fn tool(&mut self, tool: Tool) -> &mut Settings {
        self.layer.tools.each.entry(tool).or_default()
    }

    /// Denies a tool because of the value at `node`.
    pub fn deny_tool(&mut self, node: &Node, name: &str) {
        for pattern in Pattern::parse(name).unwrap_or_default() {
            let pattern = self.sourced(node, pattern);
            self.layer.tools.deny.push(pattern);
        }
    }

    /// Denies the tools in a list.
    pub fn deny_tools(&mut self, item: Item) -> Result<(), PolicyError> {
        self.if_empty(item, "denies nothing");
        for word in self.strict_words(item)? {
            match names::denied(word.text()) {
                Ok(patterns) => {
                    for pattern in patterns {
                        let pattern = self.sourced(word.node, pattern);
                        self.layer.tools.deny.push(pattern);
                    }
                    self.enforced(word.item(), "tools.deny");
                }
                // A group may contain any tool.
                Err(fault)
                    if word
                        .text()
                        .trim()
                        .to_ascii_lowercase()
                        .starts_with("group:") =>
                {
                    return Err(PolicyError::BadPattern {
                        at: self.text.place(word.node.span.start),
                        key: item.key.to_owned(),
                        text: word.text().to_owned(),
                        fault,
                    });
                }
                Err(_) => {
                    let why = format!("'{}' cannot be the name of a tool", word.text());
                    self.not(word.item(), why);
                }
            }
        }
        Ok(())
    }

    /// The patterns of a list that allows. `fate` and `how` are reported for each.
    pub fn allowed_tools(&mut self, item: Item, fate: Fate, how: &str) -> Vec<Pattern> {
        self.if_empty(item, "allows nothing");
        let mut all = vec![];
        for word in self.words(item) {
            let name = word.text();
            match names::granted(name) {
                Ok(patterns) => {
                    all.extend(patterns);
                    self.say(word.item(), fate, how);
                }
                Err(Wider::Tool(tool)) => self.not(
                    word.item(),
                    format!("'{name}' is part of creel's {tool}, which the list does not name"),
                ),
                Err(Wider::Fault(fault)) => self.not(word.item(), format!("'{name}' {fault}")),
            }
        }
        all
    }

    /// Adds the layer's own grants, one for each path of a list.
    pub fn grants(
        &mut self,
        item: Item,
        list: fn(&mut Layer) -> &mut Option<Vec<Grant>>,
        name: &str,
    ) {
        if self.narrows(item) {
            return;
        }
        let enforced = |path: &str| match path {
            path if paths::is_own(path) => Taken::Left(
                Translated,
                format!("the jail has its own {path}, which is empty at the start"),
            ),
            path if paths::is_never(path) => {
                Taken::Left(NotHonoured, format!("{path} is never granted"))
            }
            _ => Taken::As(Enforced, name.to_owned()),
        };
        let grants = self.listed(item, Spelling::Globs, enforced);
        if !grants.is_empty() {
            list(&mut self.layer).get_or_insert_default().extend(grants);
        }
    }

    /// The paths in a list of grants: texts, and tables with `path` and `literal`, in which every
    /// character is literal.
    fn spelled<'t>(&mut self, item: Item<'t>, spelling: Spelling) -> Vec<(Element<'t>, Spelling)> {
        let mut all = vec![];
        for word in elements(item) {
            match self.literal(&word) {
                Some((path, spelled)) => all.push((path, spelled.unwrap_or(spelling))),
                None if word.node.as_str().is_some() => all.push((word, spelling)),
                None => self.other_type(word.item(), "a string"),
            }
        }
        all
    }

    /// The path of a `{path, literal}` table, and its spelling if it has one; reports each other key.
    fn literal<'t>(&mut self, word: &Element<'t>) -> Option<(Element<'t>, Option<Spelling>)> {
        let of = table(word.node)?;
        let path = of.get("path").filter(|node| node.as_str().is_some())?;
        let mut spelling = None;
        for (key, entry) in entries(of, &word.key) {
            let (item, node) = (entry.item(), entry.node);
            match (key, &node.value) {
                ("path", _) => {}
                ("literal", Value::Bool(literal)) => {
                    spelling = literal.then_some(Spelling::Plain);
                    self.enforced(item, "how the path is read");
                }
                _ => self.not(item, "creel does not know this key; the path is a glob"),
            }
        }
        let key = join(&word.key, "path");
        Some((Element { key, node: path }, spelling))
    }

    /// The grants for a list of paths, with a line of the report each; `take` decides on each path.
    pub fn listed(
        &mut self,
        item: Item,
        spelling: Spelling,
        take: impl Fn(&str) -> Taken,
    ) -> Vec<Grant> {
        self.if_empty(item, "grants nothing");
        let mut all = vec![];
        for (word, spelling) in self.spelled(item, spelling) {
            let path = match paths::granted(word.text(), spelling) {
                Ok(path) => path,
                Err(why) => {
                    self.not(word.item(), format!("path '{}' {why}", word.text()));
                    continue;
                }
            };
            match take(&path) {
                Taken::As(fate, how) => {
                    self.say(word.item(), fate, how);
                    all.push(self.grant(word.node, path, Absent::Skip));
                }
                Taken::Left(fate, why) => self.say(word.item(), fate, why),
            }
        }
        all
    }

    /// The denials for a list of paths, for the policy's `list`, with a line of the report each. If
    /// `otherwise` returns a line, the path is denied in another way.
    pub fn denials(
        &mut self,
        item: Item,
        denial: Denial,
        list: &str,
        mut otherwise: impl FnMut(&Denied) -> Option<String>,
    ) -> Result<Vec<Grant>, PolicyError> {
        self.if_empty(item, "denies nothing");
        let mut all = vec![];
        for element in elements(item) {
            let literal = match denial {
                Denial::AtStart => self.literal(&element),
                Denial::Sight | Denial::Change => None,
            };
            let (word, spelling) = literal.unwrap_or((element, None));
            let listed = Item {
                node: word.node,
                ..item
            };
            let Some(text) = word.node.as_str() else {
                return Err(self.wrong_type(listed, "each as a string"));
            };
            let denied = match spelling {
                Some(Spelling::Plain) => paths::literal(text).map(Denied::Path),
                _ => paths::denied(text, denial),
            };
            let denied = denied.map_err(|fault| self.bad_path(listed, text, fault))?;
            if let Some(how) = otherwise(&denied) {
                self.translated(word.item(), how);
                continue;
            }
            let how = match &denied {
                Denied::Path(_) => None,
                Denied::Tree(path) => Some(format!("'{text}' becomes all of {path}")),
                Denied::Pattern(path) if denial == Denial::AtStart => Some(format!(
                    "the pattern {path}, for the names that exist at the start"
                )),
                Denied::Pattern(path) => Some(format!(
                    "the pattern {path}; creel refuses the run if the jail could create a matching name"
                )),
            };
            match how {
                None => self.enforced(word.item(), list),
                Some(how) => self.translated(word.item(), format!("{list}: {how}")),
            }
            let absent = match (&denied, denial) {
                (Denied::Pattern(_), Denial::AtStart) => Absent::Skip,
                _ => Absent::Refuse,
            };
            all.push(self.grant(word.node, denied.path().to_owned(), absent));
        }
        Ok(all)
    }

    /// The denial of a host, at a byte offset of the source.
    pub fn denied_host(&self, key: &str, text: &str, at: usize) -> Result<Rule, PolicyError> {
        Rule::denial(text, self.text.origin(at)).map_err(|fault| PolicyError::Network {
            at: self.text.place(at),
            fault: NetworkFault::Destination {
                key: key.to_owned(),
                text: text.to_owned(),
                fault,
            },
        })
    }

    /// Whether the layer grants no paths of its own; if so, reports it.
    pub fn narrows(&mut self, item: Item) -> bool {
        let narrows = self.standing == Standing::Narrows;
        if narrows {
            self.not(item, "a layer that narrows grants no paths");
        }
        narrows
    }

    /// Grants a path for reading, or also for writing.
    pub fn give(&mut self, item: Item, path: String, absent: Absent, written: bool) {
        let grant = self.grant(item.node, path, absent);
        self.give_grant(item, grant, written);
    }

    /// The same for a grant.
    pub fn give_grant(&mut self, item: Item, grant: Grant, written: bool) {
        let files = &mut self.layer.filesystem;
        let (list, name) = match written {
            true => (&mut files.write, "filesystem.write"),
            false => (&mut files.read, "filesystem.read"),
        };
        list.get_or_insert_default().push(grant);
        self.enforced(item, name);
    }

    pub fn grant(&self, node: &Node, path: String, absent: Absent) -> Grant {
        Grant::new(path, absent, self.origin(node))
    }
}

/// Keeps the stricter of the current and the new value.
pub fn stricter<T: Ord>(slot: &mut Option<Sourced<T>>, said: Sourced<T>) {
    if slot.as_ref().is_none_or(|known| said.value < known.value) {
        *slot = Some(said);
    }
}
