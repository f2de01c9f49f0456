//! A policy's file form: reads a document into a [`Layer`].
//!
//! Owns the conversion from a document's [`tree`] to the types, so that every value keeps its line and
//! every fault its column. [`layer`] has the keys of each section with their forms; `form` defines forms
//! and generates reading, printing and descriptions from the rows; the other files have the forms of
//! values. It refuses what is unknown (a key, a section, a word, a type), what no system call can take
//! (NUL), and what would not mean what it says (`..`, `$HOME`).
//!
//! No text makes it panic: the readers limit nesting to 80, [`MAX_BYTES`] limits the text, and spans are
//! clamped to it.

pub(crate) mod form;
pub(crate) mod grants;
mod keys;
pub(crate) mod limits;
pub(crate) mod network;
pub(crate) mod plain;
mod schema;
pub(crate) mod sections;
pub(crate) mod tools;
pub(crate) mod walk;

pub use super::tree::MAX_BYTES;
pub use grants::path_fault;
pub use schema::schema;
pub use sections::{is_reserved, is_variable_name};

use super::digest::digest;
use super::error::{PolicyError, Remedy};
use super::layer::{self, Layer, Rank};
use super::limits::Limits;
use super::net;
use super::policy::Policy;
use super::rights::Roots;
use super::stack::Stack;
use super::tree::{self, Format, Table, Text, check_length};
use form::Section;
use walk::File;

/// The file's bytes as text. `source` names the file in errors.
pub fn decode<'a>(source: &str, bytes: &'a [u8]) -> Result<&'a str, PolicyError> {
    check_length(source, bytes)?;
    std::str::from_utf8(bytes).map_err(|error| {
        let valid = bytes.get(..error.valid_up_to()).unwrap_or_default();
        // Valid UTF-8 up to here, so nothing is replaced.
        let text = String::from_utf8_lossy(valid);
        let at = Text::new(source, &text).place(valid.len());
        PolicyError::NotUtf8 { at }
    })
}

/// Reads `text` as a layer. `source` is the file's path as the operator named it; its extension selects
/// the format.
pub fn read(source: &str, text: &str) -> Result<Layer, PolicyError> {
    read_all(source, text).map_err(|faults| *faults.first)
}

/// All faults of a text, at most one for each section.
#[derive(Debug)]
pub struct Faults {
    /// The first error, in the order in which the file is read.
    pub first: Box<PolicyError>,
    /// The errors after it.
    pub rest: Vec<PolicyError>,
}

impl From<PolicyError> for Faults {
    fn from(first: PolicyError) -> Faults {
        Faults {
            first: first.into(),
            rest: vec![],
        }
    }
}

/// Like [`read`], but continues after a section with a fault, to find the faults of the others.
pub fn read_all(source: &str, text: &str) -> Result<Layer, Faults> {
    let lines = Text::new(source, text);
    let top = tree::read(Format::of(source), &lines)?;
    of_tree(&lines, &top)
}

/// Like [`read`]; `None` if `foreign` recognises the document's keys as another program's.
pub fn read_own(
    source: &str,
    text: &str,
    foreign: fn(&Table) -> bool,
) -> Result<Option<Layer>, PolicyError> {
    let lines = Text::new(source, text);
    let top = tree::read(Format::of(source), &lines)?;
    match foreign(&top) {
        true => Ok(None),
        false => match of_tree(&lines, &top) {
            Ok(layer) => Ok(Some(layer)),
            Err(faults) => Err(*faults.first),
        },
    }
}

fn of_tree(lines: &Text, top: &Table) -> Result<Layer, Faults> {
    let (source, text) = (lines.source(), lines.as_str());
    let file = File {
        text: lines,
        format: Format::of(source),
        elsewhere,
    };
    let mut faults = vec![];
    if let Err(fault) = file.check_keys(top, Layer::PLACE, &Layer::known()) {
        faults.push(fault);
    }
    let mut failed = |fault| {
        faults.push(fault);
        Ok(())
    };
    let layer = Section::read(&file, top, "", &mut failed)?;
    let layer = Layer {
        name: source.to_owned(),
        digest: digest(text.as_bytes()),
        ..layer
    };
    // In the order of the file.
    faults.sort_by_key(|fault| fault.place().map(|at| (at.line, at.column)));
    let mut faults = faults.into_iter();
    match faults.next() {
        None => Ok(layer),
        Some(first) => Err(Faults {
            first: first.into(),
            rest: faults.collect(),
        }),
    }
}

/// The section of a key that only one section has.
fn elsewhere(name: &str, format: Format) -> Option<Remedy> {
    fn of<S: Section>() -> (&'static str, Vec<&'static str>) {
        (S::NAME, S::known())
    }
    // Keys that several sections have, so that none can be suggested.
    const EVERYWHERE: [&str; 3] = ["allow", "limits", "ports"];
    let sections = [
        of::<layer::Files>(),
        of::<net::Said>(),
        of::<layer::Variables>(),
        of::<layer::Limits>(),
        of::<layer::Process>(),
        ("tools.exec", keys::EXEC_TOOL.known()),
        ("tools.message", keys::MESSAGE_TOOL.known()),
    ];
    let has = |known: &[&str]| known.contains(&name) && !EVERYWHERE.contains(&name);
    match sections.into_iter().find(|(_, known)| has(known)) {
        Some((section, _)) => Some(Remedy::Section(section)),
        None => Layer::known().contains(&name).then_some(match format {
            Format::Toml => Remedy::TopLevel,
            Format::Yaml | Format::Json5 => Remedy::Outermost,
        }),
    }
}

/// The policy that `text` alone declares where `~` and `$WORKSPACE` stand for these `roots`. Limits that it
/// does not set are those of `base`.
pub fn parse(
    source: &str,
    text: &str,
    base: &Limits,
    roots: &Roots,
) -> Result<Policy, PolicyError> {
    Ok(alone(read(source, text)?, base, roots))
}

/// The policy of a single layer.
pub fn alone(layer: Layer, base: &Limits, roots: &Roots) -> Policy {
    let stack = Stack {
        layers: vec![(Rank::Operator, layer)],
    };
    stack.resolve(base, roots).effective.policy
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Absent, Count, CpuShare, Degradable, Environment, Filesystem, Network, Origin, Sourced,
        Span, WorkspaceMode, preset,
    };
    use std::collections::{BTreeMap, BTreeSet};

    pub fn base() -> Limits {
        preset::limits().unwrap()
    }

    pub fn good(text: &str) -> Policy {
        parse("p.toml", text, &base(), &Roots::symbolic())
            .unwrap_or_else(|error| panic!("{text}\n{error}"))
    }

    pub fn message(text: &str) -> String {
        match parse("p.toml", text, &base(), &Roots::symbolic()) {
            Ok(policy) => panic!("{text:?} gave {policy:?}"),
            Err(error) => error.to_string(),
        }
    }

    /// Pairs of lines: a text, in which `|` ends a line, and its message after `p.toml:`.
    #[track_caller]
    pub fn refused(cases: &str) {
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

    pub fn origin(line: u32) -> Origin {
        Origin {
            source: "p.toml".into(),
            line,
        }
    }

    pub fn sourced<T>(value: T, line: u32) -> Sourced<T> {
        let origin = origin(line);
        Sourced { value, origin }
    }

    #[test]
    fn an_empty_file_grants_nothing_and_has_the_base_limits() {
        let policy = good("");
        assert_eq!(policy.name, "p.toml");
        let protect = policy.filesystem.protect.clone();
        assert_eq!(protect.len(), crate::protected_defaults::PATHS.len());
        assert_eq!(
            policy.filesystem,
            Filesystem {
                protect,
                ..Filesystem::default()
            }
        );
        let Environment {
            set,
            pass,
            git_identity,
        } = policy.environment;
        assert!(set.is_empty() && pass.is_empty() && !git_identity.value);
        assert_eq!(policy.network, Network::default());
        assert_eq!(policy.allow_degraded, BTreeSet::new());
        assert_eq!(policy.limits, base());
        assert_eq!(&*policy.limits.memory.origin.source, "preset:default");
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
        let grant =
            |path: &'static str, absent, line| Roots::symbolic().rule(path, absent, origin(line));
        assert_eq!(
            policy.filesystem,
            Filesystem {
                read: vec![grant("/a", Absent::Refuse, 5), grant("~", Absent::Skip, 6)],
                exec: vec![
                    grant("$WORKSPACE/bin", Absent::Refuse, 8),
                    grant("~/x", Absent::Refuse, 8),
                ],
                workspace: Some(sourced(WorkspaceMode::ReadOnly, 3)),
                // Trust paths, which every policy protects.
                protect: policy.filesystem.protect.clone(),
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
            (
                "\u{feff}",
                "p.toml:1:1: the file begins with a byte order mark;",
            ),
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
            "p:2:3: the file is not UTF-8; save it as UTF-8"
        );
        let long = " ".repeat(MAX_BYTES + 1);
        let expected = "p: the file is larger than 1048576 bytes; list directories, not files";
        assert_eq!(
            decode("p", long.as_bytes()).unwrap_err().to_string(),
            expected
        );
        assert_eq!(
            parse("p", &long, &base(), &Roots::symbolic())
                .unwrap_err()
                .to_string(),
            expected
        );
        assert!(parse("p", &long[1..], &base(), &Roots::symbolic()).is_ok());
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
            let result =
                decode("p", &bytes).and_then(|text| parse("p", text, &base, &Roots::symbolic()));
            if let Err(error) = result {
                let line = error.to_string();
                assert!(!line.contains(char::is_control), "{line:?}");
            }
        }
    }
}
