//! What one layer says, before it meets the others: every key optional, every value with its place.
//!
//! A key that is absent leaves the matter to the layers above; an empty list grants nothing. The
//! file form fills this; [`super::rights`] gives it its meaning.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::net;
use super::tools::{Pattern, Profile, Tool};
use super::{
    Bytes, Count, CpuShare, Degradable, Grant, Origin, Percent, Sourced, Span, WorkspaceMode,
};

/// The layers, from the widest authority to the narrowest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rank {
    /// `/etc/creel`: the ceiling of the machine.
    Platform,
    /// `$XDG_CONFIG_HOME/creel`.
    Operator,
    Agent,
    Renter,
    /// A file found in the workspace: text of whoever wrote the project.
    Project,
    CommandLine,
}

impl Rank {
    pub const ALL: [Rank; 6] = [
        Self::Platform,
        Self::Operator,
        Self::Agent,
        Self::Renter,
        Self::Project,
        Self::CommandLine,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Platform => "platform",
            Self::Operator => "operator",
            Self::Agent => "agent",
            Self::Renter => "renter",
            Self::Project => "project",
            Self::CommandLine => "command line",
        }
    }
}

/// One layer's text, read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layer {
    /// The preset's name or the file's path.
    pub name: String,
    /// SHA-256 of the source text, lower-case hex.
    pub digest: String,
    /// Presets or files whose text this one reuses; what is said here counts, and lists add up.
    pub extends: Vec<Sourced<String>>,
    pub tools: Tools,
    pub filesystem: Files,
    pub network: net::Said,
    pub environment: Variables,
    pub limits: Limits,
    pub process: Process,
    pub allow_degraded: Option<BTreeMap<Degradable, Origin>>,
    pub session: Session,
    /// Cases that `creel policy test` runs.
    pub tests: Cases,
}

impl Layer {
    /// How many paths and patterns of paths it names.
    pub fn paths(&self) -> usize {
        let files = &self.filesystem;
        let lists = [&files.read, &files.write, &files.load, &files.exec];
        let listed: usize = lists.into_iter().flatten().map(Vec::len).sum();
        let tools = self.tools.each.values().map(Settings::paths);
        listed
            + files.deny.len()
            + files.protect.len()
            + files.unprotect.len()
            + tools.sum::<usize>()
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tools {
    pub profile: Option<Sourced<Profile>>,
    /// A list of patterns, with the list's own place.
    pub allow: Option<Sourced<Vec<Pattern>>>,
    pub deny: Vec<Sourced<Pattern>>,
    pub elevated: Option<Sourced<bool>>,
    pub max_iterations: Option<Sourced<Count>>,
    pub each: BTreeMap<Tool, Settings>,
}

/// What a layer says of one tool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    pub enabled: Option<Sourced<bool>>,
    pub elevated: Option<Sourced<bool>>,
    pub security: Option<Sourced<Security>>,
    pub ask: Option<Sourced<Ask>>,
    pub allowed_paths: Option<Vec<Grant>>,
    pub denied_paths: Vec<Grant>,
    pub commands: Option<Vec<Command>>,
    /// Names of interpreters' languages; each stands for programs, see [`LANGUAGES`].
    pub languages: Option<Vec<Sourced<Language>>>,
    pub timeout: Option<Sourced<Span>>,
    /// Calls a minute.
    pub rate: Option<Sourced<Count>>,
    pub max_iterations: Option<Sourced<Count>>,
    /// Of `message`: where to.
    pub channels: Option<Vec<Sourced<String>>>,
    /// Of `browser`: where it runs. Only `sandbox` is known.
    pub target: Option<Sourced<Target>>,
}

impl Settings {
    fn paths(&self) -> usize {
        self.allowed_paths.as_ref().map_or(0, Vec::len) + self.denied_paths.len()
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    pub read: Option<Vec<Grant>>,
    pub write: Option<Vec<Grant>>,
    /// Mapped as code, as libraries are, and not executed.
    pub load: Option<Vec<Grant>>,
    pub exec: Option<Vec<Grant>>,
    pub deny: Vec<Grant>,
    /// Cannot be changed, though it lies in a writable tree.
    pub protect: Vec<Grant>,
    /// Taken from the trust paths that are protected by default; the operator's and the platform's
    /// right alone.
    pub unprotect: Vec<Grant>,
    /// Patterns that were in `deny` before they were expanded.
    pub deny_patterns: Vec<Grant>,
    /// The same of `protect`.
    pub protect_patterns: Vec<Grant>,
    /// The names of grants that were patterns before they were expanded.
    pub met: Vec<Met>,
    pub workspace: Option<Sourced<WorkspaceMode>>,
}

/// A name that a pattern of a grant met. Both paths are absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Met {
    pub name: String,
    /// What is before the pattern's first wildcard, out of which the name must not lead.
    pub base: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Variables {
    pub set: Option<BTreeMap<String, Sourced<String>>>,
    pub pass: Option<Vec<Sourced<String>>>,
    /// Whether the name and the address of the operator's git come in.
    pub git_identity: Option<Sourced<bool>>,
}

/// As [`super::Limits`], each where it was named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    pub memory: Option<Sourced<Bytes>>,
    pub memory_high: Option<Sourced<Percent>>,
    pub cpus: Option<Sourced<CpuShare>>,
    pub pids: Option<Sourced<Count>>,
    pub timeout: Option<Sourced<Span>>,
    pub cpu_time: Option<Sourced<Span>>,
    pub disk: Option<Sourced<Bytes>>,
    pub inodes: Option<Sourced<Count>>,
    pub file_size: Option<Sourced<Bytes>>,
    pub open_files: Option<Sourced<Count>>,
    pub output: Option<Sourced<Bytes>>,
    pub grace: Option<Sourced<Span>>,
}

/// Rights of the jail's processes over each other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Process {
    /// Debuggers: ptrace(2) and its like, within the jail.
    pub debug: Option<Sourced<bool>>,
}

/// Which sessions are jailed and what shares a jail: data for the sessions to come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Session {
    pub mode: Option<Sourced<Mode>>,
    pub scope: Option<Sourced<Scope>>,
}

/// `allow = ["read src/main.rs"]`, `deny = ["exec curl"]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cases {
    pub allow: Vec<Sourced<Case>>,
    pub deny: Vec<Sourced<Case>>,
}

/// A tool and what it is used on: `write .git/hooks/x`, `exec git status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    pub tool: Tool,
    /// The words after the tool: a path, or a command with its arguments.
    pub words: Vec<String>,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.tool.name())?;
        self.words.iter().try_for_each(|word| write!(f, " {word}"))
    }
}

/// A program that may be executed, and with which arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// An absolute path, `~/...`, `$WORKSPACE/...`, or a bare name, which stands for that name in
    /// each of [`PROGRAM_DIRECTORIES`].
    pub program: String,
    /// Alternatives, one of which the arguments must match; empty: any arguments.
    pub args: BTreeSet<Arguments>,
    pub origin: Origin,
}

/// A pattern of arguments, word by word; `*` in a word is any run of characters, a last word `...`
/// is any further words.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Arguments(pub Vec<String>);

impl Arguments {
    /// The words of a text, split at blanks.
    pub fn parse(text: &str) -> Arguments {
        Arguments(text.split_ascii_whitespace().map(str::to_owned).collect())
    }

    pub fn matches(&self, args: &[String]) -> bool {
        let (words, open) = match self.0.split_last() {
            Some((last, words)) if last == "..." => (words, true),
            _ => (&self.0[..], false),
        };
        let long_enough = match open {
            true => args.len() >= words.len(),
            false => args.len() == words.len(),
        };
        long_enough
            && words
                .iter()
                .zip(args)
                .all(|(word, arg)| super::tools::glob(word.as_bytes(), arg.as_bytes()))
    }
}

impl fmt::Display for Arguments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(" "))
    }
}

/// Where a bare program name is looked for: the system's own directories, whatever PATH says.
pub const PROGRAM_DIRECTORIES: [&str; 6] = [
    "/usr/local/bin",
    "/usr/bin",
    "/bin",
    "/usr/local/sbin",
    "/usr/sbin",
    "/sbin",
];

/// Declares an enum whose variants are ordered from the strictest to the loosest, with the words of
/// a policy for them.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$doc])* $variant),+ }

        impl $name {
            /// From the strictest to the loosest.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];
            /// The words, in the same order.
            pub const WORDS: &'static [&'static str] = &[$($word),+];

            /// As written in a policy.
            pub fn name(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }

            pub fn parse(word: &str) -> Option<$name> {
                $name::ALL.iter().copied().find(|value| value.name() == word)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

words! {
    /// What `exec` may run.
    Security {
        /// Nothing but the worker itself.
        Deny = "deny",
        /// The commands named, and what they load.
        Allowlist = "allowlist",
        /// Whatever lies in an executable grant.
        Full = "full",
    }
}

words! {
    /// When a person is asked. Silence is denial.
    Ask {
        Always = "always",
        /// Where no rule allows it already.
        OnMiss = "on-miss",
        Off = "off",
    }
}

words! {
    /// Which sessions are jailed.
    Mode {
        All = "all",
        /// All but the operator's own.
        NonMain = "non-main",
        Off = "off",
    }
}

words! {
    /// What shares one jail.
    Scope {
        Session = "session",
        Agent = "agent",
        Shared = "shared",
    }
}

words! {
    /// Where a browser runs.
    Target { Sandbox = "sandbox" }
}

words! {
    /// A language, which stands for its interpreters; see [`Language::programs`].
    Language {
        Bash = "bash",
        Javascript = "javascript",
        Perl = "perl",
        Python = "python",
        Ruby = "ruby",
        Sh = "sh",
    }
}

impl Language {
    /// The programs that run it, by their bare names.
    pub fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Bash => &["bash"],
            Self::Javascript => &["node"],
            Self::Perl => &["perl"],
            Self::Python => &["python3"],
            Self::Ruby => &["ruby"],
            Self::Sh => &["sh"],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_match_word_by_word() {
        let matches = |pattern: &str, args: &[&str]| {
            let args: Vec<String> = args.iter().map(|a| (*a).to_owned()).collect();
            Arguments::parse(pattern).matches(&args)
        };
        assert!(matches("status", &["status"]));
        assert!(!matches("status", &["status", "-s"]));
        assert!(matches("status ...", &["status", "-s"]));
        assert!(matches("test *", &["test", "a b"]));
        // Two words are not one that has a blank.
        assert!(!matches("test a b", &["test", "a b"]));
        assert!(matches("...", &[]) && matches("", &[]) && !matches("", &["x"]));
    }

    #[test]
    fn the_strictest_word_sorts_first() {
        assert!(Ask::Always < Ask::Off && Security::Deny < Security::Full);
        assert!(Mode::All < Mode::Off && Scope::Session < Scope::Shared);
        assert_eq!(Security::parse("allowlist"), Some(Security::Allowlist));
    }
}
