//! The settings of a call, from `-o` and the sections of a configuration file that are for its host, ssh_config(5).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use super::options::{self, Then};
use crate::cli::failure::Failure;

/// Bytes of a configuration file.
const LONGEST: u64 = 1 << 20;

/// Settings by keyword, in small letters. The first value holds.
#[derive(Debug, Default)]
pub struct Settings(BTreeMap<&'static str, String>);

impl Settings {
    /// The value of a keyword.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Sets a keyword, unless it has a value.
    pub fn put(&mut self, name: &'static str, value: String) {
        self.0.entry(name).or_insert(value);
    }

    /// `-o KEYWORD=VALUE` or `-o "KEYWORD VALUE"`.
    pub fn option(&mut self, line: &str) -> Result<(), Failure> {
        let (name, value) = parts(line);
        let place = |text: String| Failure::new(format!("-o {line}: {text}"));
        match name.eq_ignore_ascii_case("host") {
            true => Err(place("it is no option".into())),
            false => self.line(&name, value).map_err(place),
        }
    }

    /// The sections of a file that are for this host.
    pub fn read_file(&mut self, path: &Path, alias: &str) -> Result<(), Failure> {
        let fault = |error: &dyn std::fmt::Display| {
            Failure::new(format!("the configuration {}: {error}", path.display()))
        };
        let mut bytes = vec![];
        let opened =
            File::open(path).and_then(|file| file.take(LONGEST + 1).read_to_end(&mut bytes));
        opened.map_err(|error| fault(&error))?;
        if bytes.len() as u64 > LONGEST {
            return Err(fault(&"it is longer than 1 MiB"));
        }
        let all = String::from_utf8(bytes).map_err(|_| fault(&"it is no text in UTF-8"))?;
        let mut ours = true;
        for (number, line) in (1..).zip(all.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, value) = parts(line);
            let place = |text: String| Failure::new(format!("{}:{number}: {text}", path.display()));
            if name.eq_ignore_ascii_case("host") {
                ours = is_for(value, alias);
            } else if ours || name.eq_ignore_ascii_case("match") {
                self.line(&name, value).map_err(place)?;
            }
        }
        Ok(())
    }

    /// A keyword and its value. An earlier value of it holds, and the later one is not looked at.
    fn line(&mut self, name: &str, value: &str) -> Result<(), String> {
        let Some(row) = options::of_keyword(name) else {
            return Err(format!(
                "creel-ssh does not know {name}; `creel-ssh --help` lists the options"
            ));
        };
        if self.0.contains_key(row.name) {
            return Ok(());
        }
        let value = match row.name {
            "setenv" => value.to_owned(),
            _ => unquoted(value),
        };
        if value.is_empty() {
            return Err(format!("{name} needs a value"));
        }
        check(name, &value, row.then, row.why).map_err(|failure| failure.text)?;
        self.put(row.name, value);
        Ok(())
    }
}

/// Refuses an option that creel cannot honour.
pub fn check(option: &str, value: &str, then: Then, why: &str) -> Result<(), Failure> {
    match then {
        Then::Honoured | Then::Unneeded => Ok(()),
        Then::Only(values) if values.iter().any(|known| value.eq_ignore_ascii_case(known)) => {
            Ok(())
        }
        Then::Only(values) => Err(Failure::new(format!(
            "creel-ssh refuses {option} {value}: {why}; it takes {option} {}",
            values.join(" or ")
        ))),
        Then::Refused => Err(Failure::new(format!("creel-ssh refuses {option}: {why}"))),
    }
}

/// A keyword, and the rest of the line behind white space or one `=`.
fn parts(line: &str) -> (String, &str) {
    let at = line
        .find(|c: char| c.is_whitespace() || c == '=')
        .unwrap_or(line.len());
    let (name, rest) = line.split_at(at);
    let rest = rest.trim_start();
    let rest = rest.strip_prefix('=').unwrap_or(rest);
    (name.to_owned(), rest.trim())
}

/// A value without the quotes around it.
fn unquoted(value: &str) -> String {
    let inner = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
    inner.unwrap_or(value).to_owned()
}

/// Words that are separated by white space, which double quotes keep.
fn words(text: &str) -> Result<Vec<String>, Failure> {
    let (mut all, mut word, mut quoted) = (vec![], None::<String>, false);
    for c in text.chars() {
        match c {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            c if c.is_whitespace() && !quoted => all.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    all.extend(word);
    match quoted {
        true => Err(Failure::new(format!("{text}: a quote is not closed"))),
        false => Ok(all),
    }
}

/// `SetEnv NAME=VALUE ...`
pub fn variables(text: &str) -> Result<BTreeMap<String, String>, Failure> {
    let pair = |word: String| match word.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(Failure::new(format!("SetEnv {word}: it is NAME=VALUE"))),
    };
    words(text)?.into_iter().map(pair).collect()
}

/// Whether the patterns of a `Host` line match.
fn is_for(patterns: &str, alias: &str) -> bool {
    let mut found = false;
    for pattern in patterns.split_whitespace().map(unquoted) {
        match pattern.strip_prefix('!') {
            Some(pattern) if fits(pattern.as_bytes(), alias.as_bytes()) => return false,
            Some(_) => {}
            None => found |= fits(pattern.as_bytes(), alias.as_bytes()),
        }
    }
    found
}

/// `*` and `?`, ssh_config(5). The work is bounded by the product of the lengths.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == b'?' || c.eq_ignore_ascii_case(&name[n]) => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    (p, n) = (at + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_ssh_config() {
        for (pattern, name, fit) in [
            ("*", "", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*.x", "a.b.x", true),
            ("a*b*c", "aXbYbc", true),
            ("a*b", "a", false),
            ("A", "a", true),
        ] {
            assert_eq!(
                fits(pattern.as_bytes(), name.as_bytes()),
                fit,
                "{pattern} {name}"
            );
        }
        assert!(!fits(
            "a*".repeat(100).as_bytes(),
            "a".repeat(50).as_bytes()
        ));
    }
}
