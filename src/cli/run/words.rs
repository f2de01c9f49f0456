//! The words of a command line, for advice if the command fails.

use std::ffi::OsString;
use std::path::Path;

/// The words of one command.
pub struct Words {
    /// The program's name without its directory.
    pub program: String,
    arguments: Vec<String>,
    /// The arguments split into words, as for a script of `sh -c`.
    script: Vec<String>,
}

impl Words {
    pub fn of(command: &[OsString]) -> Words {
        let all = command.iter().map(|word| word.to_string_lossy());
        let all: Vec<String> = all.map(|word| word.into_owned()).collect();
        let plain = |c: char| c.is_ascii_alphanumeric() || "_./-".contains(c);
        let split = |text: &String| -> Vec<String> {
            let parts = text.split(|c| !plain(c)).filter(|part| !part.is_empty());
            parts.map(str::to_owned).collect()
        };
        let program = command.first().and_then(|name| Path::new(name).file_name());
        Words {
            program: program.map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
            script: all.iter().flat_map(split).collect(),
            arguments: all.into_iter().skip(1).collect(),
        }
    }

    /// Whether one of `words` is an argument.
    pub fn say(&self, words: &[&str]) -> bool {
        let said = |argument: &String| words.contains(&argument.as_str());
        self.arguments.iter().any(said)
    }

    /// The words from the first that names git, also inside a script; `None` if no word does.
    pub fn since_git(&self) -> Option<&[String]> {
        let is_git = |word: &String| word.rsplit('/').next() == Some("git");
        let first = self.script.iter().position(is_git)?;
        Some(&self.script[first..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn git_is_found_in_scripts_and_nowhere_else() {
        let named = |argv: &[&str]| {
            let argv: Vec<OsString> = argv.iter().map(Into::into).collect();
            Words::of(&argv).since_git().is_some()
        };
        assert!(named(&["git", "remote"]));
        assert!(named(&["/usr/bin/git"]));
        assert!(named(&["sh", "-c", "cd x;git config a b"]));
        assert!(named(&["sh", "-c", "x=$(git status)"]));
        assert!(!named(&["cat", ".git/config"]));
        assert!(!named(&["legit", "gitk", "git.txt"]));
    }
}
