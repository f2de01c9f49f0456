//! Commands, test cases, and the enums that bind commands.

use std::collections::BTreeSet;
use std::fmt;

use super::glob;
use super::grant::Absent;
use super::origin::Origin;
use super::path_set::PathRule;
use super::roots::{AbsPath, Roots};
use super::tools::Tool;
use super::words::words;

/// A program that may be executed, and with which arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// An absolute path, `~/...`, `$WORKSPACE/...`, or a bare name. A bare name stands for that name in
    /// each of [`PROGRAM_DIRECTORIES`].
    pub program: String,
    /// Alternatives; the arguments must match one of them. If empty, any arguments are allowed.
    pub args: BTreeSet<Arguments>,
    /// The place where the policy lists the program.
    pub origin: Origin,
}

impl Command {
    /// Whether the program is a path, not a bare name.
    pub fn is_path(&self) -> bool {
        is_path(&self.program)
    }

    /// A rule for each path that the program can mean.
    pub fn rules(&self, absent: Absent, roots: &Roots) -> Vec<PathRule> {
        let rule = |written| roots.rule(written, absent, self.origin.clone());
        match self.is_path() {
            true => vec![rule(self.program.clone())],
            false => in_directories(&self.program).map(rule).into(),
        }
    }

    /// The paths that a policy's program name can mean.
    pub fn paths(program: &str, roots: &Roots) -> Vec<AbsPath> {
        match is_path(program) {
            true => vec![roots.expand(program)],
            false => in_directories(program)
                .map(|path| roots.expand(&path))
                .into(),
        }
    }
}

fn is_path(program: &str) -> bool {
    program.contains('/') || program == "~"
}

fn in_directories(name: &str) -> [String; PROGRAM_DIRECTORIES.len()] {
    PROGRAM_DIRECTORIES.map(|dir| format!("{dir}/{name}"))
}

/// A pattern for arguments, one word per argument. `*` in a word matches any run of characters; a last
/// word `...` matches any further arguments.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Arguments(pub Vec<String>);

impl Arguments {
    /// The words of a text, split at blanks.
    pub fn parse(text: &str) -> Arguments {
        Arguments(text.split_ascii_whitespace().map(str::to_owned).collect())
    }

    /// Whether the pattern matches all of `args`, the arguments without the program name.
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
                .all(|(word, arg)| glob::stars(word, arg))
    }
}

impl fmt::Display for Arguments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(" "))
    }
}

/// Search path of a bare program name: the system's own directories, regardless of PATH.
pub const PROGRAM_DIRECTORIES: [&str; 6] = [
    "/usr/local/bin",
    "/usr/bin",
    "/bin",
    "/usr/local/sbin",
    "/usr/sbin",
    "/sbin",
];

/// A tool and its operands: `write .git/hooks/x`, `exec git status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// The tool that is asked for.
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

words! {
    /// The programs that the `exec` tool may run.
    Security {
        /// Only the worker itself.
        Deny = "deny",
        /// The listed commands, and what they load.
        Allowlist = "allowlist",
        /// Any program in an executable grant.
        Full = "full",
    }
}

words! {
    /// When a person is asked. No answer means denial.
    Ask {
        Always = "always",
        /// If no rule already allows the call.
        OnMiss = "on-miss",
        Off = "off",
    }
}

words! {
    /// The sessions that are jailed.
    Mode {
        All = "all",
        /// All except the operator's own.
        NonMain = "non-main",
        Off = "off",
    }
}

words! {
    /// The sessions that share one jail.
    Scope {
        Session = "session",
        Agent = "agent",
        Shared = "shared",
    }
}

words! {
    /// The place where a browser runs.
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
