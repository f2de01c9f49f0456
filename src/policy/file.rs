//! A policy's file form: TOML in, [`Policy`] out.
//!
//! Owns the walk from spanned TOML to the types, by hand, so that every value keeps its line and
//! every fault its column. It refuses what it does not know (a key, a section, a word, a type), what
//! no kernel call can carry (NUL), and what would mean something else than it says (`..`, globs,
//! `$HOME`). Limits that a file does not name are taken from a base, with the base's origin.
//!
//! No text makes it panic: the TOML reader bounds nesting at 80, the text is bounded by
//! [`MAX_BYTES`], and spans are clamped to it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};
use toml::Spanned;
use toml::de::{DeArray, DeInteger, DeString, DeTable, DeValue};

use super::error::{NameFault, PathFault, Place, PolicyError, Remedy};
use super::units::{Bytes, Count, CpuShare, Percent, Quantity, Span, UnitError};
use super::{
    Absent, Degradable, Environment, Execution, Filesystem, Grant, Limits, Network, Origin, Policy,
    Sourced, WorkspaceMode,
};

/// The largest policy that is read, in bytes.
pub const MAX_BYTES: usize = 1 << 20;

/// The file's bytes as text. `source` names the file in errors.
pub fn decode<'a>(source: &str, bytes: &'a [u8]) -> Result<&'a str, PolicyError> {
    check_length(source, bytes)?;
    std::str::from_utf8(bytes).map_err(|error| {
        let valid = bytes.get(..error.valid_up_to()).unwrap_or_default();
        // Valid by the error's own word: nothing is replaced.
        let text = String::from_utf8_lossy(valid);
        let at = File::new(source, &text).place(valid.len());
        PolicyError::NotUtf8 { at }
    })
}

/// The policy that `text` declares. `source` is the file's path as the operator named it; limits
/// that `text` leaves out are those of `base`.
pub fn parse(source: &str, text: &str, base: &Limits) -> Result<Policy, PolicyError> {
    read(source, text, Some(base))
}

/// A policy that names every limit itself, as the presets do.
pub fn parse_complete(source: &str, text: &str) -> Result<Policy, PolicyError> {
    read(source, text, None)
}

const TOP: Keys = Keys {
    place: "at the top level",
    section: "",
    known: &[
        "filesystem",
        "exec",
        "network",
        "environment",
        "limits",
        "allow_degraded",
    ],
};
const FILESYSTEM: Keys = Keys {
    place: "in [filesystem]",
    section: "filesystem",
    known: &["read", "write", "exec", "load", "deny", "workspace"],
};
const EXEC: Keys = Keys {
    place: "in [exec]",
    section: "exec",
    known: &["mode", "programs"],
};
const NETWORK: Keys = Keys {
    place: "in [network]",
    section: "network",
    known: &["mode"],
};
const ENVIRONMENT: Keys = Keys {
    place: "in [environment]",
    section: "environment",
    known: &["set", "pass"],
};
const LIMITS: Keys = Keys {
    place: "in [limits]",
    section: "limits",
    known: &[
        "memory",
        "memory_high",
        "cpus",
        "pids",
        "timeout",
        "cpu_time",
        "disk",
        "inodes",
        "file_size",
        "open_files",
        "output",
        "grace",
    ],
};
const GRANT: Keys = Keys {
    place: "in a grant",
    section: "",
    known: &["path", "optional"],
};

/// What a table may hold.
struct Keys {
    /// Reads on from a key's name.
    place: &'static str,
    /// Its header, without brackets; empty for a table that has none.
    section: &'static str,
    known: &'static [&'static str],
}

type Table<'t> = Option<&'t DeTable<'t>>;
type Value<'t> = Spanned<DeValue<'t>>;

fn read(source: &str, text: &str, base: Option<&Limits>) -> Result<Policy, PolicyError> {
    check_length(source, text.as_bytes())?;
    let file = File::new(source, text);
    if text.starts_with('\u{feff}') {
        let at = file.place(0);
        return Err(PolicyError::ByteOrderMark { at });
    }
    let document = DeTable::parse(text).map_err(|error| PolicyError::Syntax {
        at: match error.span() {
            Some(span) => file.place(span.start),
            None => Place::whole(source),
        },
        message: error.message().to_owned(),
    })?;
    let top = document.get_ref();
    file.check_keys(top, &TOP)?;
    Ok(Policy {
        name: source.to_owned(),
        digest: hex_digest(text),
        filesystem: file.filesystem(file.section(top, &FILESYSTEM)?)?,
        exec: file.execution(file.section(top, &EXEC)?)?,
        network: file.network(file.section(top, &NETWORK)?)?,
        environment: file.environment(file.section(top, &ENVIRONMENT)?)?,
        limits: file.limits(file.section(top, &LIMITS)?, base)?,
        allow_degraded: file.allow_degraded(top)?,
    })
}

fn check_length(source: &str, bytes: &[u8]) -> Result<(), PolicyError> {
    if bytes.len() > MAX_BYTES {
        return Err(PolicyError::TooLarge {
            at: Place::whole(source),
            most: MAX_BYTES,
        });
    }
    Ok(())
}

fn hex_digest(text: &str) -> String {
    let digest = Sha256::digest(text);
    let mut hex = String::with_capacity(2 * digest.len());
    for byte in digest {
        // Writing to a String does not fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

/// The text under its name, with an index of its lines.
struct File<'a> {
    source: &'a str,
    text: &'a str,
    /// Where each line begins, in bytes.
    lines: Vec<usize>,
}

/// Sections.
impl File<'_> {
    fn filesystem(&self, table: Table) -> Result<Filesystem, PolicyError> {
        Ok(Filesystem {
            read: self.grants(table, "filesystem.read")?,
            write: self.grants(table, "filesystem.write")?,
            exec: self.grants(table, "filesystem.exec")?,
            load: self.grants(table, "filesystem.load")?,
            deny: self.grants(table, "filesystem.deny")?,
            workspace: self.workspace(table)?,
        })
    }

    fn workspace(&self, table: Table) -> Result<Option<Sourced<WorkspaceMode>>, PolicyError> {
        const KEY: &str = "filesystem.workspace";
        let Some(value) = get(table, KEY) else {
            return Ok(None);
        };
        let word = self.string(value, KEY, "\"none\", \"ro\" or \"rw\"")?;
        if let Some(mode) = WorkspaceMode::parse(word) {
            return Ok(Some(self.sourced(value, mode)));
        }
        let (at, word) = (self.place_of(value), word.to_owned());
        let names = WorkspaceMode::ALL.map(WorkspaceMode::name);
        Err(match word.as_str() {
            "overlay" => PolicyError::Later {
                at,
                key: KEY,
                word,
                remedy: Remedy::Known(names.to_vec()),
            },
            _ => PolicyError::UnknownWord {
                at,
                key: KEY,
                remedy: Remedy::among(&word, &names),
                word,
            },
        })
    }

    fn execution(&self, table: Table) -> Result<Sourced<Execution>, PolicyError> {
        const KEY: &str = "exec.mode";
        const MODES: [&str; 3] = ["granted", "worker", "allowlist"];
        let programs = self.grants(table, "exec.programs")?;
        let Some(value) = get(table, KEY) else {
            return Ok(Sourced {
                value: Execution::Granted,
                origin: Origin {
                    source: self.source.to_owned(),
                    line: 0,
                },
            });
        };
        let word = self.string(value, KEY, "\"granted\", \"worker\" or \"allowlist\"")?;
        let execution = match word {
            "granted" => Execution::Granted,
            "worker" => Execution::Worker,
            "allowlist" => Execution::Only(programs),
            _ => {
                return Err(PolicyError::UnknownWord {
                    at: self.place_of(value),
                    key: KEY,
                    word: word.to_owned(),
                    remedy: Remedy::among(word, &MODES),
                });
            }
        };
        Ok(self.sourced(value, execution))
    }

    fn network(&self, table: Table) -> Result<Network, PolicyError> {
        const KEY: &str = "network.mode";
        const MODES: [&str; 1] = ["none"];
        let Some(value) = get(table, KEY) else {
            return Ok(Network::None);
        };
        let word = self.string(value, KEY, "\"none\"")?;
        if word == "none" {
            return Ok(Network::None);
        }
        Err(PolicyError::Later {
            at: self.place_of(value),
            key: KEY,
            word: word.to_owned(),
            remedy: Remedy::among(word, &MODES),
        })
    }

    fn environment(&self, table: Table) -> Result<Environment, PolicyError> {
        Ok(Environment {
            set: self.variables(table)?,
            pass: self.passed(table)?,
        })
    }

    fn variables(&self, table: Table) -> Result<BTreeMap<String, Sourced<String>>, PolicyError> {
        const KEY: &str = "environment.set";
        let mut set = BTreeMap::new();
        let Some(value) = get(table, KEY) else {
            return Ok(set);
        };
        let DeValue::Table(variables) = value.get_ref() else {
            return Err(self.wrong_type(value, KEY, "a table, for example { LANG = \"C.UTF-8\" }"));
        };
        for (name, value) in variables {
            self.check_name(name)?;
            let name = name.get_ref();
            let text = self.string(value, &format!("{KEY}.{name}"), "a string")?;
            if text.contains('\0') {
                return Err(PolicyError::NulInValue {
                    at: self.place_of(value),
                    name: name.to_string(),
                });
            }
            set.insert(name.to_string(), self.sourced(value, text.to_owned()));
        }
        Ok(set)
    }

    fn passed(&self, table: Table) -> Result<Vec<Sourced<String>>, PolicyError> {
        const KEY: &str = "environment.pass";
        let mut pass = Vec::new();
        for value in self.array(table, KEY, "an array of names, for example [\"TERM\"]")? {
            let name = self.string(value, KEY, "each name as a string, for example \"TERM\"")?;
            self.check_name(&Spanned::new(value.span(), name.into()))?;
            pass.push(self.sourced(value, name.to_owned()));
        }
        Ok(pass)
    }

    fn limits(&self, table: Table, base: Option<&Limits>) -> Result<Limits, PolicyError> {
        let at = LimitReader { file: self, table };
        Ok(Limits {
            memory: at.read("limits.memory", size, base.map(|b| &b.memory))?,
            memory_high: at.read("limits.memory_high", percent, base.map(|b| &b.memory_high))?,
            cpus: at.read("limits.cpus", cpu_share, base.map(|b| &b.cpus))?,
            pids: at.read("limits.pids", count, base.map(|b| &b.pids))?,
            timeout: at.read("limits.timeout", time_limit, base.map(|b| &b.timeout))?,
            cpu_time: at.read("limits.cpu_time", time_limit, base.map(|b| &b.cpu_time))?,
            disk: at.read("limits.disk", size, base.map(|b| &b.disk))?,
            inodes: at.read("limits.inodes", count, base.map(|b| &b.inodes))?,
            file_size: at.read("limits.file_size", size, base.map(|b| &b.file_size))?,
            open_files: at.read("limits.open_files", count, base.map(|b| &b.open_files))?,
            output: at.read("limits.output", size, base.map(|b| &b.output))?,
            grace: at.read("limits.grace", time, base.map(|b| &b.grace))?,
        })
    }

    fn allow_degraded(&self, top: &DeTable) -> Result<BTreeSet<Degradable>, PolicyError> {
        const KEY: &str = "allow_degraded";
        let mut allowed = BTreeSet::new();
        let expected = "an array of layers, for example [\"cgroup\"]";
        for value in self.array(Some(top), KEY, expected)? {
            let word = self.string(value, KEY, "each layer as a string, for example \"cgroup\"")?;
            let layer = Degradable::ALL.into_iter().find(|d| d.name() == word);
            allowed.insert(layer.ok_or_else(|| PolicyError::UnknownWord {
                at: self.place_of(value),
                key: KEY,
                word: word.to_owned(),
                remedy: Remedy::among(word, &Degradable::ALL.map(Degradable::name)),
            })?);
        }
        Ok(allowed)
    }
}

/// Grants and names.
impl File<'_> {
    fn grants(&self, table: Table, key: &'static str) -> Result<Vec<Grant>, PolicyError> {
        self.array(table, key, "an array of paths, for example [\"/usr\"]")?
            .iter()
            .map(|value| self.grant(value, key))
            .collect()
    }

    fn grant(&self, value: &Value, key: &'static str) -> Result<Grant, PolicyError> {
        let (path, absent) = match value.get_ref() {
            DeValue::Table(table) => {
                self.check_keys(table, &GRANT)?;
                let path = table.get("path").ok_or_else(|| PolicyError::MissingKey {
                    at: self.place_of(value),
                    key: format!("{key}: path"),
                })?;
                (path, self.absent(table)?)
            }
            _ => (value, Absent::Refuse),
        };
        let text = self.string(path, key, "a path, or { path = \"/usr\", optional = true }")?;
        match path_fault(text) {
            Some(fault) => Err(PolicyError::BadPath {
                at: self.place_of(path),
                key,
                path: text.to_owned(),
                fault,
            }),
            None => Ok(Grant {
                path: text.to_owned(),
                absent,
                origin: self.origin(path),
            }),
        }
    }

    fn absent(&self, table: &DeTable) -> Result<Absent, PolicyError> {
        match table.get("optional") {
            None => Ok(Absent::Refuse),
            Some(value) => match value.get_ref() {
                DeValue::Boolean(true) => Ok(Absent::Skip),
                DeValue::Boolean(false) => Ok(Absent::Refuse),
                _ => Err(self.wrong_type(value, "optional", "true or false")),
            },
        }
    }

    fn check_name(&self, name: &Spanned<DeString>) -> Result<(), PolicyError> {
        let text = name.get_ref().as_ref();
        let fault = if !is_variable_name(text) {
            NameFault::Malformed
        } else if text == "CREEL" || text.starts_with("CREEL_") {
            NameFault::Reserved
        } else {
            return Ok(());
        };
        Err(PolicyError::BadName {
            at: self.place(name.span().start),
            name: text.to_owned(),
            fault,
        })
    }
}

fn is_variable_name(text: &str) -> bool {
    !text.starts_with(|c: char| c.is_ascii_digit())
        && !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Why a path cannot be granted, if it cannot.
fn path_fault(path: &str) -> Option<PathFault> {
    if path.is_empty() {
        return Some(PathFault::Empty);
    }
    if path.contains('\0') {
        return Some(PathFault::Nul);
    }
    let rest = path.strip_prefix("$WORKSPACE").unwrap_or(path);
    if rest.contains('$') {
        return Some(PathFault::Variable);
    }
    match path.as_bytes().first() {
        Some(b'/') => {}
        Some(b'$') if rest.is_empty() || rest.starts_with('/') => {}
        // `$WORKSPACES`: another variable.
        Some(b'$') => return Some(PathFault::Variable),
        Some(b'~') if path == "~" || path.starts_with("~/") => {}
        Some(b'~') => return Some(PathFault::User),
        _ => return Some(PathFault::Relative),
    }
    if path.split('/').any(|component| component == "..") {
        return Some(PathFault::Parent);
    }
    path.contains(['*', '?', '[']).then_some(PathFault::Glob)
}

/// Reads `[limits]`, one value at a time.
struct LimitReader<'a> {
    file: &'a File<'a>,
    table: Table<'a>,
}

/// Why a value is no limit.
enum LimitFault {
    /// The wrong TOML type; says what to write instead.
    Type(&'static str),
    Unit(UnitError),
}

impl LimitReader<'_> {
    fn read<T: Clone>(
        &self,
        key: &'static str,
        convert: fn(&DeValue) -> Result<T, LimitFault>,
        base: Option<&Sourced<T>>,
    ) -> Result<Sourced<T>, PolicyError> {
        let file = self.file;
        let Some(value) = get(self.table, key) else {
            return base.cloned().ok_or_else(|| PolicyError::MissingKey {
                at: Place::whole(file.source),
                key: key.to_owned(),
            });
        };
        match convert(value.get_ref()) {
            Ok(limit) => Ok(file.sourced(value, limit)),
            Err(LimitFault::Type(expected)) => Err(file.wrong_type(value, key, expected)),
            Err(LimitFault::Unit(reason)) => Err(PolicyError::BadUnit {
                at: file.place_of(value),
                key,
                value: match value.get_ref() {
                    DeValue::String(text) => text.to_string(),
                    DeValue::Integer(number) => number.to_string(),
                    DeValue::Float(number) => number.to_string(),
                    _ => String::new(),
                },
                reason,
            }),
        }
    }
}

fn size(value: &DeValue) -> Result<Bytes, LimitFault> {
    quoted(
        value,
        "a size in quotes, for example \"2GiB\"",
        Bytes::parse,
    )
}

fn time(value: &DeValue) -> Result<Span, LimitFault> {
    quoted(value, "a time in quotes, for example \"30s\"", Span::parse)
}

fn time_limit(value: &DeValue) -> Result<Span, LimitFault> {
    quoted(
        value,
        "a time in quotes, for example \"1h\"",
        Span::parse_limit,
    )
}

fn percent(value: &DeValue) -> Result<Percent, LimitFault> {
    quoted(
        value,
        "a percentage in quotes, for example \"90%\"",
        Percent::parse,
    )
}

fn quoted<T>(
    value: &DeValue,
    expected: &'static str,
    parse: fn(&str) -> Result<T, UnitError>,
) -> Result<T, LimitFault> {
    let text = value.as_str().ok_or(LimitFault::Type(expected))?;
    parse(text).map_err(LimitFault::Unit)
}

fn count(value: &DeValue) -> Result<Count, LimitFault> {
    match value {
        DeValue::Integer(number) => integer(number, Quantity::Count).and_then(Count::new),
        _ => {
            return Err(LimitFault::Type(
                "a whole number without quotes, for example 512",
            ));
        }
    }
    .map_err(LimitFault::Unit)
}

fn cpu_share(value: &DeValue) -> Result<CpuShare, LimitFault> {
    match value {
        DeValue::Integer(number) => integer(number, Quantity::CpuShare)
            .and_then(|number| CpuShare::parse(&number.to_string())),
        // The text of the number, not its value: 0.1 has none in binary.
        DeValue::Float(number) => CpuShare::parse(number.as_str().trim_start_matches('+')),
        DeValue::String(text) => CpuShare::parse(text),
        _ => return Err(LimitFault::Type("a number of processors, for example 0.5")),
    }
    .map_err(LimitFault::Unit)
}

/// TOML writes integers in four bases; the reader leaves them as digits.
fn integer(number: &DeInteger, quantity: Quantity) -> Result<u64, UnitError> {
    let digits = number.as_str();
    if digits.starts_with('-') {
        return Err(UnitError::Negative { quantity });
    }
    // Digits of that base by TOML's grammar: nothing but overflow is left to go wrong.
    u64::from_str_radix(digits, number.radix()).map_err(|_| UnitError::TooLarge { quantity })
}

/// TOML values, and their places.
impl<'a> File<'a> {
    fn new(source: &'a str, text: &'a str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let lines = std::iter::once(0).chain(ends.map(|(end, _)| end + 1));
        Self {
            source,
            text,
            lines: lines.collect(),
        }
    }

    /// The first unknown key, in the order of the file, is an error.
    fn check_keys(&self, table: &DeTable, keys: &Keys) -> Result<(), PolicyError> {
        let unknown = table
            .keys()
            .filter(|key| !keys.known.contains(&key.get_ref().as_ref()))
            .min_by_key(|key| key.span().start);
        let Some(key) = unknown else {
            return Ok(());
        };
        let name = key.get_ref().as_ref();
        let elsewhere = [&FILESYSTEM, &NETWORK, &ENVIRONMENT, &LIMITS]
            .into_iter()
            .find(|other| other.known.contains(&name));
        let remedy = match elsewhere {
            Some(other) => Remedy::Section(other.section),
            None if TOP.known.contains(&name) => Remedy::TopLevel,
            None => Remedy::among(name, keys.known),
        };
        Err(PolicyError::UnknownKey {
            at: self.place(key.span().start),
            key: name.to_owned(),
            section: keys.place,
            remedy,
        })
    }

    fn section<'t>(&self, top: &'t DeTable<'t>, keys: &Keys) -> Result<Table<'t>, PolicyError> {
        let Some(value) = top.get(keys.section) else {
            return Ok(None);
        };
        match value.get_ref() {
            DeValue::Table(table) => {
                self.check_keys(table, keys)?;
                Ok(Some(table))
            }
            _ => Err(self.wrong_type(
                value,
                keys.section,
                "a section: its name in single brackets",
            )),
        }
    }

    /// The elements under `key`; none where there is no such key.
    fn array<'t>(
        &self,
        table: Table<'t>,
        key: &str,
        expected: &'static str,
    ) -> Result<&'t [Value<'t>], PolicyError> {
        match get(table, key).map(|value| (value, value.get_ref())) {
            None => Ok(&[]),
            Some((_, DeValue::Array(array))) => Ok(elements(array)),
            Some((value, _)) => Err(self.wrong_type(value, key, expected)),
        }
    }

    fn string<'t>(
        &self,
        value: &'t Value<'t>,
        key: &str,
        expected: &'static str,
    ) -> Result<&'t str, PolicyError> {
        value
            .get_ref()
            .as_str()
            .ok_or_else(|| self.wrong_type(value, key, expected))
    }

    fn wrong_type(&self, value: &Value, key: &str, expected: &'static str) -> PolicyError {
        PolicyError::WrongType {
            at: self.place_of(value),
            key: key.to_owned(),
            found: match value.get_ref() {
                DeValue::String(_) => "a string",
                DeValue::Integer(_) => "an integer",
                DeValue::Float(_) => "a float",
                DeValue::Boolean(_) => "a boolean",
                DeValue::Datetime(_) => "a date",
                DeValue::Array(_) => "an array",
                DeValue::Table(_) => "a table",
            },
            expected,
        }
    }

    fn sourced<T>(&self, value: &Value, inner: T) -> Sourced<T> {
        Sourced {
            value: inner,
            origin: self.origin(value),
        }
    }

    fn origin(&self, value: &Value) -> Origin {
        Origin {
            source: self.source.to_owned(),
            line: clamped(self.line(value.span().start)),
        }
    }

    fn place_of(&self, value: &Value) -> Place {
        self.place(value.span().start)
    }

    /// The place of the byte at `offset`, or of the text's end.
    fn place(&self, offset: usize) -> Place {
        let offset = offset.min(self.text.len());
        let line = self.line(offset);
        let begin = self.lines.get(line - 1).copied().unwrap_or(0);
        let before = self.text.as_bytes().get(begin..offset).unwrap_or_default();
        // Every byte that is not a continuation byte begins a character.
        let column = before.iter().filter(|byte| **byte & 0xc0 != 0x80).count() + 1;
        Place {
            file: self.source.to_owned(),
            line: clamped(line),
            column: clamped(column),
        }
    }

    /// 1-based: the first line begins at 0, so that one at least begins at or before any offset.
    fn line(&self, offset: usize) -> usize {
        self.lines.partition_point(|begin| *begin <= offset)
    }
}

fn clamped(line_or_column: usize) -> u32 {
    u32::try_from(line_or_column).unwrap_or(u32::MAX)
}

/// The value of the last part of a dotted key.
fn get<'t>(table: Table<'t>, key: &str) -> Option<&'t Value<'t>> {
    let name = key.rsplit('.').next().unwrap_or(key);
    table.and_then(|table| table.get(name))
}

fn elements<'t>(array: &'t DeArray<'t>) -> &'t [Value<'t>] {
    array
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::preset;

    fn base() -> Limits {
        preset::default().unwrap().limits
    }

    fn good(text: &str) -> Policy {
        parse("p.toml", text, &base()).unwrap_or_else(|error| panic!("{text}\n{error}"))
    }

    fn message(text: &str) -> String {
        match parse("p.toml", text, &base()) {
            Ok(policy) => panic!("{text:?} gave {policy:?}"),
            Err(error) => error.to_string(),
        }
    }

    /// Pairs of lines: a text, in which `|` ends a line, and its message after `p.toml:`.
    #[track_caller]
    fn refused(cases: &str) {
        let lines: Vec<&str> = cases
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        for case in lines.chunks(2) {
            let [text, expected] = case else {
                panic!("no message for {case:?}")
            };
            let message = message(&text.replace('|', "\n"));
            assert_eq!(message.strip_prefix("p.toml:"), Some(*expected), "{text}");
        }
    }

    #[test]
    fn an_empty_file_grants_nothing_and_has_the_base_limits() {
        let policy = good("");
        assert_eq!(policy.name, "p.toml");
        assert_eq!(policy.filesystem, Filesystem::default());
        assert_eq!(policy.environment, Environment::default());
        assert_eq!(policy.network, Network::None);
        assert_eq!(policy.allow_degraded, BTreeSet::new());
        assert_eq!(policy.limits, base());
        assert_eq!(policy.limits.memory.origin.source, "preset:default");
        // sha256sum </dev/null
        assert_eq!(
            policy.digest,
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }

    #[test]
    fn values_keep_their_lines() {
        let policy = good(
            "allow_degraded = ['idmap', 'cgroup', 'cgroup']\n\
             [filesystem]\n\
             workspace = 'ro'\n\
             read = [\n  '/a', # one\n  { path = '~', optional = true },\n]\n\
             exec = ['$WORKSPACE/bin', { path = '~/x', optional = false }]\r\n\
             [environment]\n\
             pass = ['TERM',\n'_x9']\n\
             [environment.set]\n\
             PATH = '/bin:~/bin'\n\
             EMPTY = ''\n\
             [limits]\n\
             pids = 0x10\n\
             cpus = 1_0.50\n\
             grace = '0s'\n",
        );
        let grant = |path: &str, absent, line| Grant {
            path: path.to_owned(),
            absent,
            origin: origin(line),
        };
        assert_eq!(
            policy.filesystem,
            Filesystem {
                read: vec![grant("/a", Absent::Refuse, 5), grant("~", Absent::Skip, 6)],
                exec: vec![
                    grant("$WORKSPACE/bin", Absent::Refuse, 8),
                    grant("~/x", Absent::Refuse, 8),
                ],
                workspace: Some(sourced(WorkspaceMode::ReadOnly, 3)),
                ..Filesystem::default()
            }
        );
        let set = [
            ("EMPTY".to_owned(), sourced(String::new(), 14)),
            ("PATH".to_owned(), sourced("/bin:~/bin".to_owned(), 13)),
        ];
        assert_eq!(policy.environment.set, BTreeMap::from(set));
        assert_eq!(
            policy.environment.pass,
            [
                sourced("TERM".to_owned(), 10),
                sourced("_x9".to_owned(), 11)
            ]
        );
        assert_eq!(
            policy.allow_degraded,
            BTreeSet::from([Degradable::Cgroup, Degradable::Idmap])
        );
        assert_eq!(policy.limits.pids, sourced(Count(16), 16));
        assert_eq!(policy.limits.cpus, sourced(CpuShare(10_500), 17));
        assert_eq!(policy.limits.grace, sourced(Span(0), 18));
        assert_eq!(policy.limits.memory, base().memory);
    }

    #[test]
    fn toml_has_more_than_one_way_to_write_it() {
        let policy = good(
            "limits.pids = 7\n\
             network = { mode = 'none' }\n\
             [[filesystem.read]]\npath = '/a'\n\
             [[filesystem.read]]\npath = '/b'\noptional = true\n",
        );
        assert_eq!(policy.limits.pids, sourced(Count(7), 1));
        let paths = policy
            .filesystem
            .read
            .iter()
            .map(|grant| grant.path.as_str());
        assert_eq!(paths.collect::<Vec<_>>(), ["/a", "/b"]);
        assert_eq!(policy.filesystem.read[1].origin, origin(6));
    }

    fn origin(line: u32) -> Origin {
        Origin {
            source: "p.toml".to_owned(),
            line,
        }
    }

    fn sourced<T>(value: T, line: u32) -> Sourced<T> {
        let origin = origin(line);
        Sourced { value, origin }
    }

    #[test]
    fn unknown_keys() {
        // The first in the order of the file, not of the alphabet.
        refused(
            r#"
            [filesystem]|read = []|raed = []
            3:1: unknown key 'raed' in [filesystem]; did you mean 'read'?
            [filesytem]|read = 3
            1:2: unknown key 'filesytem' at the top level; did you mean 'filesystem'?
            memory = '1GiB'
            1:1: unknown key 'memory' at the top level; it belongs in [limits]
            [limits]|allow_degraded = []
            2:1: unknown key 'allow_degraded' in [limits]; move it above the first [section]
            [network]|  "é".ports = [443]
            2:3: unknown key 'é' in [network]; known: mode
            [filesystem]|read = ['/ä', { path = '/a', optoinal = true }]
            2:30: unknown key 'optoinal' in a grant; did you mean 'optional'?
            [network]|zz = 1|aa = 1
            2:1: unknown key 'zz' in [network]; known: mode
            '' = 1
            1:1: unknown key '' at the top level; known: filesystem, exec, network, environment, limits, allow_degraded
            "#,
        );
    }

    #[test]
    fn wrong_types() {
        refused(
            r#"
            filesystem = '/usr'
            1:14: 'filesystem' is a string; write a section: its name in single brackets
            [[limits]]|pids = 1
            1:1: 'limits' is an array; write a section: its name in single brackets
            [filesystem]|read = '/usr'
            2:8: 'filesystem.read' is a string; write an array of paths, for example ["/usr"]
            [filesystem]|read = ['/usr', 3.5]
            2:17: 'filesystem.read' is a float; write a path, or { path = "/usr", optional = true }
            [filesystem]|read = [{ optional = true }]
            2:9: 'filesystem.read: path' is missing; add it
            [filesystem]|read = [{ path = '/a', optional = 'yes' }]
            2:35: 'optional' is a string; write true or false
            [filesystem]|workspace = true
            2:13: 'filesystem.workspace' is a boolean; write "none", "ro" or "rw"
            allow_degraded = 'cgroup'
            1:18: 'allow_degraded' is a string; write an array of layers, for example ["cgroup"]
            [environment]|set = ['A=1']
            2:7: 'environment.set' is an array; write a table, for example { LANG = "C.UTF-8" }
            [environment.set]|A = 1
            2:5: 'environment.set.A' is an integer; write a string
            [environment]|pass = [1979-05-27]
            2:9: 'environment.pass' is a date; write each name as a string, for example "TERM"
            [limits]|memory = 2
            2:10: 'limits.memory' is an integer; write a size in quotes, for example "2GiB"
            [limits]|pids = '512'
            2:8: 'limits.pids' is a string; write a whole number without quotes, for example 512
            [limits]|pids = 5.0
            2:8: 'limits.pids' is a float; write a whole number without quotes, for example 512
            [limits]|timeout = 30
            2:11: 'limits.timeout' is an integer; write a time in quotes, for example "1h"
            [limits]|cpus = true
            2:8: 'limits.cpus' is a boolean; write a number of processors, for example 0.5
            "#,
        );
    }

    #[test]
    fn bad_limits() {
        let digits = "9".repeat(1_000_000);
        let text = message(&format!("[limits]\npids = {digits}"));
        let expected = "… (999920 more bytes)': a count is too large; the most is 4294967295";
        assert!(text.ends_with(expected) && text.len() < 250, "{text}");
        refused(
            r#"
            [limits]|timeout = '30'
            2:11: 'limits.timeout' is '30': a time needs a unit; add a unit: 30s
            [limits]|timeout = '0s'
            2:11: 'limits.timeout' is '0s': a time of zero would allow nothing; the least is 1ms
            [limits]|disk = '0'
            2:8: 'limits.disk' is '0': a size of zero would allow nothing; the least is 1B
            [limits]|memory = "1\u0000B\n"
            2:10: 'limits.memory' is '1\0B\n': a size is a whole number with a unit; write for example 64MiB
            "#,
        );
        for (value, fault) in [
            ("-1", "a count cannot be negative; write for example 512"),
            ("0", "a count of zero would allow nothing; the least is 1"),
            (
                "0xffffffffffffffffffff",
                "a count is too large; the most is 4294967295",
            ),
        ] {
            let text = format!("[limits]\ninodes = {value}");
            let expected = format!("p.toml:2:10: 'limits.inodes' is '{value}': {fault}");
            assert_eq!(message(&text), expected);
        }
        for value in [
            "inf", "-inf", "nan", "1e3", "-0.5", "0.3333", "0.001", "5000", "-1", "0",
        ] {
            let text = message(&format!("[limits]\ncpus = {value}"));
            let start = format!("p.toml:2:8: 'limits.cpus' is '{value}': a processor share");
            assert!(text.starts_with(&start), "{text}");
        }
    }

    #[test]
    fn cpus_have_three_types() {
        for value in ["2", "+2", "2.0", "+2.0", "'2'", "'2.000'", "0b10"] {
            let policy = good(&format!("[limits]\ncpus = {value}"));
            assert_eq!(policy.limits.cpus.value, CpuShare(2000), "{value}");
        }
    }

    #[test]
    fn paths() {
        for path in [
            "/",
            "/usr",
            "//usr//lib/",
            "/a b",
            "/a~",
            "/a/.../b",
            "/a..",
            "/…",
            "/a\\nb",
            "~",
            "~/",
            "~/.x",
            "$WORKSPACE",
            "$WORKSPACE/",
            "$WORKSPACE/a",
            "/a{b}",
        ] {
            let policy = good(&format!(
                "filesystem.deny = [\"{}\"]",
                path.replace('\\', "\\\\")
            ));
            assert_eq!(policy.filesystem.deny[0].path, path);
        }
        for (path, fault) in [
            ("", PathFault::Empty),
            ("/a\\u0000", PathFault::Nul),
            ("usr", PathFault::Relative),
            ("./a", PathFault::Relative),
            (" /a", PathFault::Relative),
            ("..", PathFault::Relative),
            ("/..", PathFault::Parent),
            ("/a/../b", PathFault::Parent),
            ("~/..", PathFault::Parent),
            ("$WORKSPACE/..", PathFault::Parent),
            ("$HOME/a", PathFault::Variable),
            ("$WORKSPACES", PathFault::Variable),
            ("${WORKSPACE}", PathFault::Variable),
            ("/a/$WORKSPACE", PathFault::Variable),
            ("$WORKSPACE$X", PathFault::Variable),
            ("~root", PathFault::User),
            ("~root/a", PathFault::User),
            ("/a/*", PathFault::Glob),
            ("/a?", PathFault::Glob),
            ("~/[ab]", PathFault::Glob),
        ] {
            match parse("p", &format!("filesystem.read = [\"{path}\"]"), &base()) {
                Err(PolicyError::BadPath { fault: found, .. }) => {
                    assert_eq!(found, fault, "{path}")
                }
                other => panic!("{path}: {other:?}"),
            }
        }
        refused(
            "[filesystem]|exec = ['/usr', '/opt/*']
            2:17: path '/opt/*' in 'filesystem.exec' has a glob: globs come with a later version; name the directory",
        );
    }

    #[test]
    fn environments() {
        for name in ["A", "_", "a9_B", "CREELS", "creel"] {
            good(&format!(
                "environment.set = {{ {name} = '' }}\nenvironment.pass = ['{name}']"
            ));
        }
        for name in [
            "", "9A", "A-B", "A=B", "A B", "Ä", "A\\u0000", "A.B", "CREEL", "CREEL_ID",
        ] {
            for text in [
                format!("environment.set = {{ \"{name}\" = '' }}"),
                format!("environment.pass = [\"{name}\"]"),
            ] {
                match parse("p", &text, &base()) {
                    Err(PolicyError::BadName { fault, .. }) => {
                        assert_eq!(fault == NameFault::Reserved, name.starts_with("CREEL"));
                    }
                    other => panic!("{text}: {other:?}"),
                }
            }
        }
        refused(
            r#"
            [environment.set]|A = "x\u0000"
            2:5: the value of 'A' holds a NUL byte, which no environment carries; take it out
            [environment]|pass = ['TERM', 'CREEL_ID']
            2:17: variable name 'CREEL_ID' is reserved: creel sets CREEL and CREEL_* itself; leave it out
            "#,
        );
    }

    #[test]
    fn words() {
        refused(
            r#"
            [network]|mode = 'proxy'
            2:8: 'network.mode' cannot be 'proxy' yet: other modes come with a later version; known: none
            [network]|mode = 'noen'
            2:8: 'network.mode' cannot be 'noen' yet: other modes come with a later version; did you mean 'none'?
            [filesystem]|workspace = 'overlay'
            2:13: 'filesystem.workspace' cannot be 'overlay' yet: other modes come with a later version; known: none, ro, rw
            [filesystem]|workspace = 'rx'
            2:13: 'filesystem.workspace' has no 'rx'; known: none, ro, rw
            [filesystem]|workspace = 'row'
            2:13: 'filesystem.workspace' has no 'row'; known: none, ro, rw
            allow_degraded = ['seccomp']
            1:19: 'allow_degraded' has no 'seccomp'; known: cgroup, landlock, idmap
            allow_degraded = ['cgroups']
            1:19: 'allow_degraded' has no 'cgroups'; did you mean 'cgroup'?
            "#,
        );
    }

    #[test]
    fn what_is_no_toml_is_told_with_its_place() {
        for (text, start) in [
            ("[limits]\npids = 1\npids = 2", "p.toml:3:1: duplicate key;"),
            (
                "[limits]\n[network]\n[limits]",
                "p.toml:3:2: duplicate key;",
            ),
            ("a = ", "p.toml:1:5: "),
            ("é = 1", "p.toml:1:1: "),
            ("a = '\u{1b}'", "p.toml:1:6: "),
            ("a = 1\rb = 2", "p.toml:1:7: "),
            ("\0", "p.toml:1:2: "),
            ("a = '''\n\n", "p.toml:3:1: "),
            ("\u{feff}", "p.toml:1:1: begins with a byte order mark;"),
        ] {
            let message = message(text);
            assert!(message.starts_with(start), "{text:?}: {message}");
            assert!(!message.contains(char::is_control), "{message:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_text() {
        assert_eq!(decode("p", "ä".as_bytes()).unwrap(), "ä");
        assert_eq!(
            decode("p", b"# \xc3\xa4\nab\xff").unwrap_err().to_string(),
            "p:2:3: not UTF-8; save the file as UTF-8"
        );
        let long = " ".repeat(MAX_BYTES + 1);
        let expected = "p: larger than 1048576 bytes; a policy lists directories, not files";
        assert_eq!(
            decode("p", long.as_bytes()).unwrap_err().to_string(),
            expected
        );
        assert_eq!(
            parse("p", &long, &base()).unwrap_err().to_string(),
            expected
        );
        assert!(parse("p", &long[1..], &base()).is_ok());
    }

    #[test]
    fn depth_and_length_are_bounded() {
        let n = MAX_BYTES / 16;
        for text in [
            format!("a = {}", "[".repeat(n)),
            format!("a = {}{}", "[".repeat(n), "]".repeat(n)),
            format!("a = {}", "{a=".repeat(n)),
            format!("{}a = 1", "a.".repeat(n)),
            format!("[{}a]", "a.".repeat(n)),
            format!("{} = 1", "a".repeat(n)),
            format!("'{}' = 1", "\u{1f980}".repeat(n / 4)),
            format!("filesystem.read = [{}]", "'/',".repeat(n - 10)) + "x",
        ] {
            assert!(message(&text).len() < 500);
        }
    }

    /// A preset names every limit; one that does not is refused with the limit's name.
    #[test]
    fn a_complete_policy_misses_no_limit() {
        let text = preset::text("default").unwrap();
        for key in LIMITS.known {
            let without: Vec<&str> = text
                .lines()
                .filter(|line| !line.starts_with(&format!("{key} =")))
                .collect();
            let error = parse_complete("p", &without.join("\n")).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("p: 'limits.{key}' is missing; add it")
            );
        }
    }

    /// Bytes changed, removed and doubled at random, by a fixed seed: some answer, and no panic.
    #[test]
    fn mutations_do_not_panic() {
        let base = base();
        let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut random = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state >> 33).unwrap_or(0) % below.max(1)
        };
        let spice = b"[]{}\"'=.,#\n\r\0\\ ~$*-9e\xc3\xa4";
        for _ in 0..2_000 {
            let mut bytes = preset::text("default").unwrap().as_bytes().to_vec();
            for _ in 0..=random(6) {
                let at = random(bytes.len());
                match random(4) {
                    0 => bytes[at] = spice[random(spice.len())],
                    1 => bytes.insert(at, spice[random(spice.len())]),
                    2 => bytes.truncate(at),
                    _ => {
                        let end = (at + random(200)).min(bytes.len());
                        let piece = bytes[at..end].to_vec();
                        bytes.splice(at..at, piece);
                    }
                }
                bytes.push(b'\n');
            }
            let result = decode("p", &bytes).and_then(|text| parse("p", text, &base));
            if let Err(error) = result {
                let line = error.to_string();
                assert!(!line.contains(char::is_control), "{line:?}");
            }
        }
    }
}
