//! Lines of native TOML: their layout and the quoting.

use std::fmt::Write as _;

use super::escape::shown;
use super::origin::Origin;

/// Longer lines are broken after each element.
const WIDTH: usize = 96;

/// Collects lines; a section's header is written with its first key.
#[derive(Default)]
pub struct Printer {
    pub text: String,
    pending: Option<String>,
    /// Whether each value is followed by its place as a comment.
    places: bool,
}

impl Printer {
    /// Prints every value on its own line, with its place.
    pub fn with_places() -> Printer {
        Printer {
            places: true,
            ..Printer::default()
        }
    }

    pub fn section(&mut self, name: &str) {
        self.pending = Some(name.to_owned());
    }

    /// Writes a header even if no key follows.
    pub fn open(&mut self, name: &str) {
        self.section(name);
        self.header();
    }

    fn header(&mut self) {
        if let Some(name) = self.pending.take() {
            let gap = if self.text.is_empty() { "" } else { "\n" };
            let _ = writeln!(self.text, "{gap}[{name}]");
        }
    }

    pub fn line(&mut self, key: &str, value: &str, origin: Option<&Origin>) {
        self.header();
        self.raw(&format!("{key} = {value}"), origin);
    }

    /// Writes a line unchanged.
    pub fn raw(&mut self, text: &str, origin: Option<&Origin>) {
        let _ = match origin.filter(|_| self.places) {
            // The origin is escaped, so that it cannot end the comment's line.
            Some(origin) => writeln!(self.text, "{text} # {}", shown(&origin.to_string())),
            None => writeln!(self.text, "{text}"),
        };
    }

    pub fn list<'o>(
        &mut self,
        key: &str,
        elements: impl Iterator<Item = (String, Option<&'o Origin>)>,
    ) {
        let elements: Vec<_> = elements.collect();
        let texts: Vec<&str> = elements.iter().map(|(text, _)| text.as_str()).collect();
        let short = format!("[{}]", texts.join(", "));
        let fits = key.len() + short.len() + 3 <= WIDTH || elements.len() < 2;
        if elements.is_empty() || fits && !self.places {
            return self.line(key, &short, None);
        }
        self.line(key, "[", None);
        for (text, origin) in elements {
            self.raw(&format!("    {text},"), origin);
        }
        self.raw("]", None);
    }
}

/// A TOML basic string.
pub fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out + "\""
}
