//! Parses YAML into the tree: the unambiguous part of YAML 1.2.
//!
//! Owns the walk over saphyr-parser's events and the meaning of plain scalars (the core schema). It
//! refuses references to text elsewhere (aliases, anchors, merge keys), syntax that changes how a value
//! is read (tags, directives), a second document, keys that are not strings, and the words and numbers
//! that YAML 1.1 reads differently: `no`, `on`, `010`, `1:30`. It also refuses tabs before a key, which
//! this parser accepts and others do not.

use std::ops::Range;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};

use super::fault::{Fault, MAX_DEPTH};
use super::format::Format;
use super::node::{Key, Node, Table, Value};
use super::number::number;
use super::text::Text;
use crate::error::PolicyError;

pub fn read(text: &Text) -> Result<Table, PolicyError> {
    let mut build = Build {
        text,
        offsets: Offsets::new(text.as_str()),
        open: vec![],
        root: None,
        documents: 0,
    };
    for event in Parser::new_from_str(text.as_str()) {
        let (event, span) = event.map_err(|error| PolicyError::Syntax {
            at: text.place(build.offsets.byte(error.marker().index())),
            message: error.info().to_owned(),
            format: Format::Yaml,
        })?;
        build.take(event, build.offsets.bytes(span))?;
    }
    match build.root {
        None => Ok(Table::default()),
        Some(Node {
            value: Value::Table(table),
            ..
        }) => Ok(table),
        // A document of `---` alone.
        Some(node) if node.span.is_empty() && node.value == Value::Null => Ok(Table::default()),
        Some(node) => Err(text.fault(node.span.start, Fault::NotTable(node.kind()))),
    }
}

/// A collection that has started and not ended.
enum Open {
    Array {
        start: usize,
        nodes: Vec<Node>,
    },
    Table {
        start: usize,
        table: Table,
        /// The key whose value comes next.
        key: Option<Key>,
    },
}

struct Build<'a> {
    text: &'a Text<'a>,
    offsets: Offsets,
    open: Vec<Open>,
    root: Option<Node>,
    documents: usize,
}

impl Build<'_> {
    fn take(&mut self, event: Event, span: Range<usize>) -> Result<(), PolicyError> {
        match event {
            Event::DocumentStart(_) => self.document(span.start),
            Event::Alias(_) => Err(self.text.fault(span.start, Fault::Alias)),
            Event::Scalar(written, style, anchor, tag) => {
                self.check_plain(&span, anchor, tag.as_deref())?;
                self.scalar(&written, style, span)
            }
            Event::SequenceStart(anchor, tag) => {
                self.check_plain(&span, anchor, tag.as_deref())?;
                self.begin(Open::Array {
                    start: span.start,
                    nodes: vec![],
                })
            }
            Event::MappingStart(anchor, tag) => {
                self.check_plain(&span, anchor, tag.as_deref())?;
                self.begin(Open::Table {
                    start: span.start,
                    table: Table::default(),
                    key: None,
                })
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(span.end),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn document(&mut self, start: usize) -> Result<(), PolicyError> {
        self.documents += 1;
        if self.documents > 1 {
            return Err(self.text.fault(start, Fault::SecondDocument));
        }
        // Before the document, only a directive starts with `%`.
        let mut at = 0;
        for line in self.text.as_str().split_inclusive('\n') {
            if at >= start {
                break;
            }
            if line.starts_with('%') {
                return Err(self.text.fault(at, Fault::Directive));
            }
            at += line.len();
        }
        Ok(())
    }

    fn check_plain(
        &self,
        span: &Range<usize>,
        anchor: usize,
        tag: Option<&Tag>,
    ) -> Result<(), PolicyError> {
        let fault = match (anchor, tag) {
            (0, None) => return Ok(()),
            (0, Some(_)) => Fault::Tag,
            (_, _) => Fault::Anchor,
        };
        Err(self.text.fault(span.start, fault))
    }

    fn scalar(
        &mut self,
        written: &str,
        style: ScalarStyle,
        span: Range<usize>,
    ) -> Result<(), PolicyError> {
        let plain = style == ScalarStyle::Plain;
        let expects_key = matches!(self.open.last(), Some(Open::Table { key: None, .. }));
        if plain && expects_key && written == "<<" {
            return Err(self.text.fault(span.start, Fault::MergeKey));
        }
        // For an absent value the parser still reports one, with the span of the next token.
        let stands = self.text.as_str().get(span.clone()).unwrap_or_default();
        let span = match plain && matches!(written, "" | "~") && stands != written {
            true => span.start..span.start,
            false => span,
        };
        let value = match plain {
            true if span.is_empty() => Value::Null,
            true => resolve(written).map_err(|fault| self.text.fault(span.start, fault))?,
            false => Value::String(written.to_owned()),
        };
        match (self.open.last_mut(), value) {
            (
                Some(Open::Table {
                    start,
                    key: key @ None,
                    ..
                }),
                Value::String(name),
            ) => {
                let block = self.text.as_str().as_bytes().get(*start) != Some(&b'{');
                if block && self.text.indent(span.start).contains('\t') {
                    return Err(self.text.fault(span.start, Fault::Tab));
                }
                *key = Some(Key { name, span });
                Ok(())
            }
            (Some(Open::Table { key: None, .. }), _) => {
                Err(self.text.fault(span.start, Fault::KeyNotString))
            }
            (_, value) => self.put(Node { span, value }),
        }
    }

    fn begin(&mut self, open: Open) -> Result<(), PolicyError> {
        let (Open::Array { start, .. } | Open::Table { start, .. }) = open;
        if matches!(self.open.last(), Some(Open::Table { key: None, .. })) {
            return Err(self.text.fault(start, Fault::KeyNotString));
        }
        if self.open.len() > MAX_DEPTH {
            return Err(self.text.fault(start, Fault::TooDeep));
        }
        self.open.push(open);
        Ok(())
    }

    fn end(&mut self, end: usize) -> Result<(), PolicyError> {
        // The parser's events are balanced.
        let Some(open) = self.open.pop() else {
            return Ok(());
        };
        let (start, value) = match open {
            Open::Array { start, nodes } => (start, Value::Array(nodes)),
            Open::Table { start, table, .. } => (start, Value::Table(table)),
        };
        self.put(Node {
            span: start..end.max(start),
            value,
        })
    }

    /// Adds a complete value: an element, the value of the preceding key, or the document.
    fn put(&mut self, node: Node) -> Result<(), PolicyError> {
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::Array { nodes, .. }) => nodes.push(node),
            Some(Open::Table { table, key, .. }) => {
                // A value without a key was refused at its start.
                if let Some(key) = key.take() {
                    table.add(self.text, key, node)?;
                }
            }
        }
        Ok(())
    }
}

/// The value of a plain scalar in the core schema; an error if YAML 1.1 disagrees.
fn resolve(word: &str) -> Result<Value, Fault> {
    Ok(match word {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ if is_old_boolean(word) => return Err(Fault::Boolean(word.to_owned())),
        _ => {
            let body = word.strip_prefix(['-', '+']).unwrap_or(word);
            match form(body) {
                Form::Number => number(word)?,
                Form::NotFinite => return Err(Fault::NotFinite(word.to_owned())),
                Form::Old => return Err(Fault::Number(word.to_owned())),
                Form::Date if body.len() == word.len() => Value::Date(word.to_owned()),
                Form::Date | Form::Word => Value::String(word.to_owned()),
            }
        }
    })
}

fn is_old_boolean(word: &str) -> bool {
    const WORDS: [&str; 6] = ["y", "n", "yes", "no", "on", "off"];
    let lower = word.to_ascii_lowercase();
    // YAML 1.1 has yes, Yes and YES; yES is a string in both versions.
    let rest = word.get(1..).unwrap_or_default();
    let cased =
        word == lower || rest == rest.to_ascii_lowercase() || word == word.to_ascii_uppercase();
    WORDS.contains(&lower.as_str()) && cased
}

enum Form {
    Number,
    NotFinite,
    /// A number in YAML 1.1, but not the same number in YAML 1.2.
    Old,
    Date,
    Word,
}

/// The form of `body`, which has no sign.
fn form(body: &str) -> Form {
    let all = |text: &str, of: fn(&u8) -> bool| !text.is_empty() && text.bytes().all(|b| of(&b));
    let based = |digits: &str, of: fn(&u8) -> bool| match digits {
        _ if all(digits, of) => Form::Number,
        _ if digits.contains('_') && all(&digits.replace('_', ""), of) => Form::Old,
        _ => Form::Word,
    };
    if matches!(body, ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN") {
        return Form::NotFinite;
    }
    if let Some(digits) = body.strip_prefix("0x") {
        return based(digits, u8::is_ascii_hexdigit);
    }
    if let Some(digits) = body.strip_prefix("0o") {
        return match all(digits, |b| (b'0'..=b'7').contains(b)) {
            true => Form::Number,
            false => Form::Word,
        };
    }
    if let Some(digits) = body.strip_prefix("0b") {
        return match all(digits, |b| matches!(b, b'0' | b'1' | b'_')) {
            true => Form::Old,
            false => Form::Word,
        };
    }
    if !body.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return Form::Word;
    }
    if is_date(body) {
        return Form::Date;
    }
    let (mantissa, exponent) = match body.find(['e', 'E']) {
        Some(at) => (body.get(..at), body.get(at + 1..)),
        None => (Some(body), None),
    };
    let (mantissa, exponent) = (mantissa.unwrap_or_default(), exponent);
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let decimal = digits(whole) && digits(fraction) && whole.len() + fraction.len() > 0;
    let scaled = exponent.is_none_or(|e| {
        let e = e.strip_prefix(['-', '+']).unwrap_or(e);
        !e.is_empty() && digits(e)
    });
    // 010 is eight in YAML 1.1 and ten in YAML 1.2.
    let zero = mantissa == whole && exponent.is_none() && whole.len() > 1 && whole.starts_with('0');
    if decimal && scaled && !zero {
        return Form::Number;
    }
    // 1_000 and 1:30 are also numbers in YAML 1.1.
    let old = whole.starts_with(|c: char| c.is_ascii_digit())
        && mantissa
            .bytes()
            .all(|b| b.is_ascii_digit() || b"_:.".contains(&b))
        && scaled
        && !mantissa.contains("::")
        && mantissa.matches('.').count() < 2;
    match old {
        true => Form::Old,
        false => Form::Word,
    }
}

/// A date such as 1979-05-27, or a text that starts with one.
fn is_date(body: &str) -> bool {
    let mut parts = body.splitn(3, '-');
    let mut digits = |lengths: Range<usize>| {
        parts.next().is_some_and(|part| {
            let count = part.bytes().take_while(u8::is_ascii_digit).count();
            lengths.contains(&count) && (count == part.len() || lengths.start == 1)
        })
    };
    digits(4..5) && digits(1..3) && digits(1..3)
}

/// Converts the parser's character offsets to bytes.
struct Offsets {
    /// The byte offset of each character; `None` if both are always equal.
    bytes: Option<Vec<usize>>,
    length: usize,
}

impl Offsets {
    fn new(text: &str) -> Self {
        let starts = || text.char_indices().map(|(at, _)| at).collect();
        Self {
            bytes: (!text.is_ascii()).then(starts),
            length: text.len(),
        }
    }

    fn byte(&self, character: usize) -> usize {
        let byte = match &self.bytes {
            Some(bytes) => bytes.get(character).copied(),
            None => Some(character),
        };
        byte.unwrap_or(self.length).min(self.length)
    }

    fn bytes(&self, span: Span) -> Range<usize> {
        let start = self.byte(span.start.index());
        start..self.byte(span.end.index()).max(start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::parse;

    fn read(text: &str) -> Result<Table, String> {
        parse(Format::Yaml, "p", text).map_err(|error| error.to_string())
    }

    /// Each value, keys before it, with the text of its span.
    fn spans(text: &str) -> Vec<(String, String)> {
        fn walk(text: &str, path: &str, node: &Node, out: &mut Vec<(String, String)>) {
            out.push((path.to_owned(), text[node.span.clone()].to_owned()));
            match &node.value {
                Value::Array(nodes) => nodes.iter().for_each(|n| walk(text, path, n, out)),
                Value::Table(table) => entries(text, path, table, out),
                _ => {}
            }
        }
        fn entries(text: &str, path: &str, table: &Table, out: &mut Vec<(String, String)>) {
            for (key, value) in table.entries() {
                let path = format!("{path}/{}", &text[key.span.clone()]);
                walk(text, &path, value, out);
            }
        }
        let mut out = vec![];
        entries(text, "", &read(text).unwrap(), &mut out);
        out
    }

    #[test]
    fn values_keep_their_spans() {
        let text = "é: [1, 'ü']\n\"k\":\n  - a b # c\n  - {x: \"y\", z: }\nm: |\n  t\nlast: 5\n";
        let expected = [
            ("/é", "[1, 'ü']"),
            ("/é", "1"),
            ("/é", "'ü'"),
            ("/\"k\"", "- a b # c\n  - {x: \"y\", z: }\n"),
            ("/\"k\"", "a b"),
            ("/\"k\"", "{x: \"y\", z: }"),
            ("/\"k\"/x", "\"y\""),
            ("/\"k\"/z", ""),
            ("/m", "t\n"),
            ("/last", "5"),
        ];
        let expected = expected.map(|(path, text)| (path.to_owned(), text.to_owned()));
        assert_eq!(spans(text), expected);
    }

    #[test]
    fn plain_scalars() {
        for (word, expected) in [
            ("null", Value::Null),
            ("~", Value::Null),
            ("", Value::Null),
            ("true", Value::Bool(true)),
            ("FALSE", Value::Bool(false)),
            ("12", number("12").unwrap()),
            ("-12", number("-12").unwrap()),
            ("0x1F", number("0x1F").unwrap()),
            ("0o17", number("0o17").unwrap()),
            ("0", number("0").unwrap()),
            (".5", Value::Float("0.5".to_owned())),
            ("0.5", Value::Float("0.5".to_owned())),
            ("1e3", Value::Float("1e3".to_owned())),
            ("00.5", Value::Float("00.5".to_owned())),
            ("1979-05-27", Value::Date("1979-05-27".to_owned())),
            (
                "2001-12-14t21:59:43.10-05:00",
                Value::Date("2001-12-14t21:59:43.10-05:00".to_owned()),
            ),
        ] {
            assert_eq!(resolve(word), Ok(expected), "{word}");
        }
        for word in [
            "2GiB",
            "1h30m",
            "90%",
            "/usr",
            "~/x",
            "$WORKSPACE",
            "nO",
            "yES",
            "none",
            "nein",
            "1.2.3",
            "-",
            "1e",
            "0x",
            "0x1_g",
            "0b2",
            "e5",
            ".",
            "1.2.3.4",
            "::1",
            "a:b",
            "-x",
            "1-2",
            "12-34-56",
            "127.0.0.1:80",
            "0o8",
        ] {
            assert_eq!(resolve(word), Ok(Value::String(word.to_owned())), "{word}");
        }
        for word in ["no", "No", "NO", "yes", "on", "Off", "y", "N"] {
            assert_eq!(resolve(word), Err(Fault::Boolean(word.to_owned())));
        }
        for word in [
            "010",
            "-010",
            "08",
            "1_000",
            "0x1_0",
            "0b11",
            "1:30",
            "190:20:30",
            "1:30.5",
            "1_0.5",
        ] {
            assert_eq!(resolve(word), Err(Fault::Number(word.to_owned())));
        }
        for word in [".inf", "-.Inf", ".nan", "1e999"] {
            assert_eq!(resolve(word), Err(Fault::NotFinite(word.to_owned())));
        }
    }

    #[test]
    fn an_empty_document_is_an_empty_table() {
        for text in [
            "",
            "\n",
            "# nothing\n",
            "---\n",
            "---\n# nothing\n...\n",
            "{}",
        ] {
            assert_eq!(read(text), Ok(Table::default()), "{text:?}");
        }
    }

    #[test]
    fn what_would_be_a_guess_is_refused_with_its_place() {
        for (text, start) in [
            ("a: &x 1\nb: *x", "p:1:4: anchors (&name)"),
            ("a: &x [1]", "p:1:4: anchors (&name)"),
            ("&x a: 1", "p:1:1: anchors (&name)"),
            ("a: *x", "p:1:"),
            ("<<: {a: 1}", "p:1:1: merge keys (<<)"),
            ("b: 1\n<<:\n  a: 1", "p:2:1: merge keys (<<)"),
            ("a: !!str 1", "p:1:4: tags (!name)"),
            ("a: !x {b: 1}", "p:1:4: tags (!name)"),
            ("a: ! 1", "p:1:4: tags (!name)"),
            ("%YAML 1.1\n---\na: 1", "p:1:1: directives (%NAME)"),
            ("a: 1\n---\nb: 1", "p:2:1: a second document"),
            ("a: 1\n...\n---\n", "p:3:1: a second document"),
            (
                "a: 1\nb: 2\na: 3",
                "p:3:1: key 'a' exists already, on line 1;",
            ),
            ("x: {a: 1, 'a': 2}", "p:1:11: key 'a' exists already"),
            ("a: no", "p:1:4: 'no' is a boolean in YAML 1.1"),
            ("on: 1", "p:1:1: 'on' is a boolean in YAML 1.1"),
            ("a: 010", "p:1:4: '010' is one number"),
            ("a: .inf", "p:1:4: '.inf' is not finite"),
            ("1: a", "p:1:1: a key is not a string"),
            ("true: a", "p:1:1: a key is not a string"),
            ("? [a]\n: b", "p:1:3: a key is not a string"),
            ("{[a]: b}", "p:1:2: a key is not a string"),
            (": b", "p:1:1: a key is not a string"),
            ("- a", "p:1:1: the document is an array;"),
            ("a", "p:1:1: the document is a string;"),
            ("null", "p:1:1: the document is null;"),
            ("a: \"\\ud83d\\ude00\"", "p:1:"),
            ("a: \"\\ud800\"", "p:1:"),
            ("a: b\n c: d", "p:2:"),
            ("a: [1", "p:"),
            ("a: 'x", "p:"),
            ("\ta: 1", "p:1:2: a tab"),
            ("a:\n \tb: 1", "p:2:3: a tab"),
            (
                "a: \u{7}",
                "p:1:4: the document contains the character U+0007",
            ),
            (
                "a: 1\rb: 2",
                "p:1:5: the document contains the character U+000D",
            ),
            (
                "a: 1 # \u{2028}b: 2",
                "p:1:8: the document contains the character U+2028",
            ),
            (
                "\u{feff}a: 1",
                "p:1:1: the file begins with a byte order mark",
            ),
            (
                "a: \u{feff}",
                "p:1:4: the document contains the character U+FEFF",
            ),
            ("a: \0", "p:1:4: the document contains the character U+0000"),
        ] {
            let message = match read(text) {
                Ok(table) => panic!("{text:?} gave {table:?}"),
                Err(message) => message,
            };
            assert!(message.starts_with(start), "{text:?}: {message}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| format!("a: {}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(read(&nested(MAX_DEPTH)).is_ok());
        let message = read(&nested(MAX_DEPTH + 1)).unwrap_err();
        assert_eq!(
            message,
            "p:1:84: the document is nested deeper than 80 levels; a policy needs five"
        );
    }
}
