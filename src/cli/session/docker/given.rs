//! The arguments of a command, read by its table of flags.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

use super::options::{Flag, Then, Value};
use crate::cli::failure::Failure;

/// A command's flags with their values, in order, and the words behind them.
#[derive(Debug)]
pub struct Given<'a> {
    flags: Vec<(&'static str, &'a str)>,
    pub words: &'a [OsString],
}

impl<'a> Given<'a> {
    /// Reads flags up to the first other word.
    pub fn read(arguments: &'a [OsString], table: &'static [Flag]) -> Result<Given<'a>, Failure> {
        let (mut flags, mut at) = (vec![], 0);
        while let Some(word) = arguments.get(at) {
            let bytes = word.as_bytes();
            if !bytes.starts_with(b"-") || bytes == b"-" {
                break;
            }
            at += 1;
            if bytes == b"--" {
                break;
            }
            let word = text(word)?;
            let mut next = || {
                at += 1;
                arguments.get(at - 1)
            };
            match word.strip_prefix("--") {
                Some(long) => {
                    let (name, value) = match long.split_once('=') {
                        Some((name, value)) => (name, Some(value)),
                        None => (long, None),
                    };
                    let flag = table.iter().find(|flag| flag.long == name);
                    let flag = flag.ok_or_else(|| unknown(&format!("--{name}")))?;
                    match (flag.value, value) {
                        (Value::Needed, Some(value)) => flags.push(flag.taken(value)?),
                        (Value::Needed, None) => flags.push(flag.taken(needed(word, next())?)?),
                        (Value::None, None | Some("true")) => flags.push(flag.taken("")?),
                        (Value::None, Some("false")) => {}
                        (Value::None, Some(_)) => {
                            return Err(Failure::new(format!("{word}: it is true or false")));
                        }
                    }
                }
                None => {
                    let letters = &word[1..];
                    for (place, letter) in letters.char_indices() {
                        let flag = table.iter().find(|flag| flag.short == Some(letter));
                        let flag = flag.ok_or_else(|| unknown(&format!("-{letter}")))?;
                        if flag.value == Value::None {
                            flags.push(flag.taken("")?);
                            continue;
                        }
                        let behind = &letters[place + letter.len_utf8()..];
                        let value = match behind.strip_prefix('=').unwrap_or(behind) {
                            "" => needed(word, next())?,
                            value => value,
                        };
                        flags.push(flag.taken(value)?);
                        break;
                    }
                }
            }
        }
        Ok(Given {
            flags,
            words: arguments.get(at..).unwrap_or_default(),
        })
    }

    pub fn has(&self, long: &str) -> bool {
        self.flags.iter().any(|(name, _)| *name == long)
    }

    /// Every value of a flag.
    pub fn all<'b>(&'b self, long: &'b str) -> impl Iterator<Item = &'a str> + 'b {
        let of = move |(name, value): &(&str, &'a str)| (*name == long).then_some(*value);
        self.flags.iter().filter_map(of)
    }

    /// The last value of a flag.
    pub fn last(&self, long: &str) -> Option<&'a str> {
        self.all(long).last()
    }

    /// Variables of `--env-file` and `--env`, in docker's order: the latter win.
    pub fn variables(&self) -> Result<Vec<(OsString, OsString)>, Failure> {
        let mut all = vec![];
        for file in self.all("env-file") {
            for (number, line) in crate::cli::session::exec::lines_of(&file.into())? {
                let place = || format!("{file}:{number}: ");
                all.extend(variable(&line).map_err(|text| Failure::new(place() + &text))?);
            }
        }
        for pair in self.all("env") {
            all.extend(variable(&pair.into()).map_err(Failure::new)?);
        }
        Ok(all)
    }
}

/// `NAME=VALUE`, or `NAME` for the caller's value, if it has one.
fn variable(text: &OsString) -> Result<Option<(OsString, OsString)>, String> {
    let bytes = text.as_bytes();
    let (name, value) = match bytes.iter().position(|byte| *byte == b'=') {
        Some(at) => (
            &bytes[..at],
            Some(OsStr::from_bytes(&bytes[at + 1..]).to_owned()),
        ),
        None => (bytes, std::env::var_os(text)),
    };
    match name.is_empty() {
        true => Err("a variable is NAME=VALUE".into()),
        false => Ok(value.map(|value| (OsStr::from_bytes(name).to_owned(), value))),
    }
}

impl Flag {
    /// The flag with its value, unless creel cannot honour it.
    fn taken<'a>(&self, value: &'a str) -> Result<(&'static str, &'a str), Failure> {
        let Flag { long, why, .. } = self;
        match self.then {
            Then::Honoured | Then::Always => Ok((self.long, value)),
            Then::Only(values) if values.contains(&value) => Ok((self.long, value)),
            Then::Only(values) => Err(Failure::new(format!(
                "creel-docker refuses --{long} {value}: {why}; it takes {}",
                values.join(", ")
            ))),
            Then::Refused => Err(Failure::new(format!(
                "creel-docker refuses --{long}: {why}"
            ))),
        }
    }
}

fn unknown(flag: &str) -> Failure {
    Failure::new(format!(
        "creel-docker does not know {flag} here; `creel-docker --help` lists the flags"
    ))
}

fn needed<'a>(flag: &str, value: Option<&'a OsString>) -> Result<&'a str, Failure> {
    text(value.ok_or_else(|| Failure::new(format!("{flag} needs a value")))?)
}

/// A word as text.
pub fn text(word: &OsString) -> Result<&str, Failure> {
    let no_text = || {
        Failure::new(format!(
            "{}: it is no text in UTF-8",
            word.to_string_lossy()
        ))
    };
    word.to_str().ok_or_else(no_text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::session::docker::options::{CREATE, EXEC};

    fn words(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    #[test]
    fn flags_are_read_as_docker_reads_them() {
        let all = words(&[
            "-it",
            "-w/a",
            "-e",
            "A=1",
            "--env=B=2",
            "-u=3",
            "name",
            "-x",
        ]);
        let given = Given::read(&all, EXEC).unwrap();
        assert!(given.has("interactive") && given.has("tty") && !given.has("detach"));
        assert_eq!(
            (given.last("workdir"), given.last("user")),
            (Some("/a"), Some("3"))
        );
        assert_eq!(given.all("env").collect::<Vec<_>>(), ["A=1", "B=2"]);
        assert_eq!(given.words, &all[6..]);
        let all = words(&["--read-only=false", "--init=true", "--", "-x"]);
        let given = Given::read(&all, CREATE).unwrap();
        assert!(!given.has("read-only") && given.has("init"));
        assert_eq!(given.words.len(), 1);
    }

    #[test]
    fn what_a_session_cannot_do_is_refused() {
        for (given, wanted) in [
            (&["--privileged"][..], "--privileged"),
            (&["--cap-add", "SYS_ADMIN"], "--cap-add"),
            (&["--device=/dev/kvm"], "--device"),
            (
                &["--security-opt", "seccomp=unconfined"],
                "seccomp=unconfined",
            ),
            (&["--ipc=host"], "--ipc host"),
            (&["--pid", "host"], "--pid"),
            (&["-p", "80:80"], "--publish"),
            (&["--dream"], "--dream"),
            (&["-Z"], "-Z"),
            (&["--init=perhaps"], "true or false"),
            (&["--name"], "needs a value"),
        ] {
            let failure = Given::read(&words(given), CREATE).unwrap_err();
            assert!(failure.text.contains(wanted), "{given:?}: {}", failure.text);
        }
        let harmless = words(&[
            "--security-opt",
            "no-new-privileges",
            "--cap-drop",
            "ALL",
            "--ipc=private",
        ]);
        assert!(Given::read(&harmless, CREATE).is_ok());
    }
}
