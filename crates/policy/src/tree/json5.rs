//! Parses JSON5 into the tree, including JSON and JSON with comments.
//!
//! Owns the walk over jsonc-parser's syntax tree, whose values have byte offsets, and checks what it
//! accepts beyond <https://spec.json5.org>: missing commas, line ends in strings, bare keys with a `-`,
//! any whitespace. It refuses `Infinity` and `NaN`, which JSON5 has but no limit can use.

use jsonc_parser::ast::{self, ObjectPropName};
use jsonc_parser::common::Ranged as _;
use jsonc_parser::errors::{ParseError, ParseErrorKind};
use jsonc_parser::{CollectOptions, CommentCollectionStrategy, ParseOptions, parse_to_ast};

use super::fault::{Fault, MAX_DEPTH};
use super::format::Format;
use super::node::{Key, Node, Table, Value};
use super::number::number;
use super::text::Text;
use crate::error::PolicyError;

const OPTIONS: ParseOptions = ParseOptions {
    allow_comments: true,
    allow_loose_object_property_names: true,
    allow_trailing_commas: true,
    allow_missing_commas: false,
    allow_single_quoted_strings: true,
    allow_hexadecimal_numbers: true,
    allow_unary_plus_numbers: true,
    allow_bare_decimal_point_numbers: true,
    // Recognised, to distinguish them from misspelt words, then refused.
    allow_non_finite_numbers: true,
    allow_extended_string_escapes: true,
};

pub fn read(text: &Text) -> Result<Table, PolicyError> {
    let collect = CollectOptions {
        comments: CommentCollectionStrategy::Off,
        tokens: false,
    };
    let parsed =
        parse_to_ast(text.as_str(), &collect, &OPTIONS).map_err(|error| syntax(text, &error))?;
    let Some(value) = &parsed.value else {
        return Err(text.fault(0, Fault::Nothing));
    };
    let node = Walk { text }.node(value, 0)?;
    match node.value {
        Value::Table(table) => Ok(table),
        _ => Err(text.fault(node.span.start, Fault::NotTable(node.kind()))),
    }
}

fn syntax(text: &Text, error: &ParseError) -> PolicyError {
    let at = error.range().start;
    match error.kind() {
        ParseErrorKind::NestingDepthExceeded => text.fault(at, Fault::TooDeep),
        kind => PolicyError::Syntax {
            at: text.place(at),
            message: kind.to_string(),
            format: Format::Json5,
        },
    }
}

struct Walk<'a> {
    text: &'a Text<'a>,
}

impl Walk<'_> {
    /// The parser limits its nesting, and so limits this recursion.
    fn node(&self, of: &ast::Value, depth: usize) -> Result<Node, PolicyError> {
        let (start, end) = (of.start(), of.end());
        if depth > MAX_DEPTH {
            return Err(self.text.fault(start, Fault::TooDeep));
        }
        let value = match of {
            ast::Value::NullKeyword(_) => Value::Null,
            ast::Value::BooleanLit(truth) => Value::Bool(truth.value),
            ast::Value::NumberLit(digits) => self.number(start, digits.value)?,
            ast::Value::StringLit(string) => {
                self.check_line_ends(start, end)?;
                Value::String(string.value.to_string())
            }
            ast::Value::Array(array) => {
                let elements = array.elements.iter();
                let nodes = elements.map(|element| self.node(element, depth + 1));
                Value::Array(nodes.collect::<Result<_, _>>()?)
            }
            ast::Value::Object(object) => {
                let mut table = Table::default();
                for property in &object.properties {
                    let key = self.key(&property.name)?;
                    let value = self.node(&property.value, depth + 1)?;
                    table.add(self.text, key, value)?;
                }
                Value::Table(table)
            }
        };
        Ok(Node {
            span: start..end,
            value,
        })
    }

    fn number(&self, start: usize, word: &str) -> Result<Value, PolicyError> {
        if word.ends_with("Infinity") || word.ends_with("NaN") {
            return Err(self.text.fault(start, Fault::NotFinite(word.to_owned())));
        }
        number(word).map_err(|fault| self.text.fault(start, fault))
    }

    fn key(&self, name: &ObjectPropName) -> Result<Key, PolicyError> {
        let (start, end) = (name.start(), name.end());
        match name {
            ObjectPropName::String(_) => self.check_line_ends(start, end)?,
            ObjectPropName::Word(word) => {
                let inner = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
                if word.value.starts_with(|c: char| c.is_numeric() || c == '-') {
                    return Err(self.text.fault(start, Fault::KeyNotString));
                }
                if !word.value.chars().all(inner) {
                    let fault = Fault::KeyNeedsQuotes(word.value.to_owned());
                    return Err(self.text.fault(start, fault));
                }
            }
        }
        Ok(Key {
            name: name.as_str().to_owned(),
            span: start..end,
        })
    }

    /// In a string, a line may end only after a backslash. The offsets are those of the quotes.
    fn check_line_ends(&self, start: usize, end: usize) -> Result<(), PolicyError> {
        let written = self.text.as_str().as_bytes().get(start..end);
        let mut bytes = written.unwrap_or_default().iter().enumerate().peekable();
        while let Some((at, byte)) = bytes.next() {
            match byte {
                b'\\' => {
                    let escaped = bytes.next();
                    if escaped.is_some_and(|(_, byte)| *byte == b'\r') {
                        bytes.next_if(|(_, byte)| **byte == b'\n');
                    }
                }
                b'\r' | b'\n' => return Err(self.text.fault(start + at, Fault::OpenString)),
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Integer, parse};

    fn read(text: &str) -> Result<Table, String> {
        parse(Format::Json5, "p", text).map_err(|error| error.to_string())
    }

    #[test]
    fn what_json5_adds_to_json() {
        let text = "// c\n{ é: 0x1F, /* c */ 'b\\'': \"\\u00e9\\x41\\\n.\", $_9: [+1, -.5, 5., ], true: null, }";
        let table = read(text).unwrap();
        let written: Vec<(&str, &str)> = table
            .entries()
            .iter()
            .map(|(key, node)| (&text[key.span.clone()], &text[node.span.clone()]))
            .collect();
        assert_eq!(
            written,
            [
                ("é", "0x1F"),
                ("'b\\''", "\"\\u00e9\\x41\\\n.\""),
                ("$_9", "[+1, -.5, 5., ]"),
                ("true", "null"),
            ]
        );
        let value = |name: &str| table.get(name).unwrap().value.clone();
        assert_eq!(value("é"), Value::Integer(Integer::new("1F", 16)));
        assert_eq!(value("b'"), Value::String("éA.".to_owned()));
        assert_eq!(value("true"), Value::Null);
        let Value::Array(numbers) = value("$_9") else {
            panic!("no array")
        };
        let numbers: Vec<Value> = numbers.into_iter().map(|node| node.value).collect();
        assert_eq!(
            numbers,
            [
                Value::Integer(Integer::new("1", 10)),
                Value::Float("-0.5".to_owned()),
                Value::Float("5.0".to_owned()),
            ]
        );
    }

    #[test]
    fn pairs_of_surrogates_are_one_character() {
        let table = read("{\"a\": \"\\ud83e\\udd80\"}").unwrap();
        assert_eq!(table.get("a").unwrap().as_str(), Some("\u{1f980}"));
    }

    #[test]
    fn what_would_be_a_guess_is_refused_with_its_place() {
        for (text, start) in [
            ("", "p:1:1: the document is empty;"),
            ("// {}", "p:1:1: the document is empty;"),
            ("[1]", "p:1:1: the document is an array;"),
            (" null", "p:1:2: the document is null;"),
            ("{} {}", "p:1:4: "),
            (
                "{a: 1,\n 'a': 2}",
                "p:2:2: key 'a' exists already, on line 1;",
            ),
            ("{a: 1 b: 2}", "p:1:6: expected comma"),
            ("{a: [1 2]}", "p:1:7: expected comma"),
            ("{a: 1, , b: 2}", "p:1:8: "),
            ("{a: NaN}", "p:1:5: 'NaN' is not finite"),
            ("{a: -Infinity}", "p:1:5: '-Infinity' is not finite"),
            ("{a: 1e999}", "p:1:5: '1e999' is not finite"),
            ("{a: 01}", "p:1:6: "),
            ("{a: 0x}", "p:1:7: "),
            ("{a: yes}", "p:1:5: "),
            ("{1: 2}", "p:1:2: a key is not a string"),
            ("{-1: 2}", "p:1:2: a key is not a string"),
            ("{0x1: 2}", "p:1:2: a key is not a string"),
            ("{1a: 2}", "p:1:"),
            ("{a-b: 2}", "p:1:2: key 'a-b' is not made of"),
            ("{[1]: 2}", "p:1:2: "),
            ("{a: 'x\ny'}", "p:1:7: a string continues"),
            ("{'x\ny': 1}", "p:1:4: a string continues"),
            ("{a: 'x\\\\\r\ny'}", "p:1:9: a string continues"),
            ("{a: \"\\ud83d\"}", "p:1:"),
            ("{a: \"\\udd80\"}", "p:1:"),
            ("{a: \"\\ud83d\\u0041\"}", "p:1:"),
            ("{a: '\\07'}", "p:1:"),
            ("{a: 'x}", "p:1:5: unterminated string literal;"),
            ("{a: /* 1}", "p:1:5: unterminated comment block;"),
            ("{a: 1", "p:1:"),
            (
                "{a: '\u{7}'}",
                "p:1:6: the document contains the character U+0007",
            ),
            (
                "{a: '\0'}",
                "p:1:6: the document contains the character U+0000",
            ),
            (
                "// x\r{}",
                "p:1:5: the document contains the character U+000D",
            ),
            (
                "// x\u{2028}{}",
                "p:1:5: the document contains the character U+2028",
            ),
            (
                "\u{feff}{}",
                "p:1:1: the file begins with a byte order mark",
            ),
            (
                "{\u{feff}}",
                "p:1:2: the document contains the character U+FEFF",
            ),
        ] {
            let message = match read(text) {
                Ok(table) => panic!("{text:?} gave {table:?}"),
                Err(message) => message,
            };
            assert!(message.starts_with(start), "{text:?}: {message}");
        }
        assert!(read("{a: 'x\\\r\ny'}").is_ok());
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| format!("{{a: {}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(read(&nested(MAX_DEPTH)).is_ok());
        for depth in [MAX_DEPTH + 1, 600, 30_000] {
            let message = read(&nested(depth)).unwrap_err();
            assert!(
                message.ends_with("nested deeper than 80 levels; a policy needs five"),
                "{message}"
            );
        }
    }
}
