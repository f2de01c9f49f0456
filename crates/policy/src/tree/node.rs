//! The values of a document: what TOML, YAML and JSON5 have in common.
//!
//! Numbers stay digits: their reader knows the allowed range, and 0.1 has no exact value in binary.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use super::fault::Fault;
use super::text::Text;
use crate::error::PolicyError;
use crate::quantity::{Quantity, UnitError};

/// A value and its byte range in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The byte range in the text.
    pub span: Range<usize>,
    /// The value.
    pub value: Value,
}

/// A value of any type that one of the formats has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// `null` (YAML, JSON5).
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Integer(Integer),
    /// As written: always finite in YAML and JSON5, `inf` and `nan` are possible in TOML.
    Float(String),
    /// A text, without quotes and escapes.
    String(String),
    /// A date or a time of day, as written; TOML alone has them.
    Date(String),
    /// A list.
    Array(Vec<Node>),
    /// Keys with values.
    Table(Table),
}

impl Node {
    /// The text, if the value is one.
    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The type for messages; continues the sentence after `is`: `a string`.
    pub fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Integer(_) => "an integer",
            Value::Float(_) => "a float",
            Value::String(_) => "a string",
            Value::Date(_) => "a date",
            Value::Array(_) => "an array",
            Value::Table(_) => "a table",
        }
    }
}

/// A whole number of any size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Integer {
    /// Valid for [`u64::from_str_radix`]: digits with an optional sign.
    digits: String,
    radix: u32,
}

impl Integer {
    /// `digits` are in base `radix` (2, 8, 10 or 16), with an optional sign.
    pub fn new(digits: &str, radix: u32) -> Self {
        Self {
            digits: digits.to_owned(),
            radix,
        }
    }

    /// Whether it has a minus sign; `-0` counts.
    pub fn is_negative(&self) -> bool {
        self.digits.starts_with('-')
    }

    /// The number as a value of `quantity`; an error if it is out of range.
    pub fn unsigned(&self, quantity: Quantity) -> Result<u64, UnitError> {
        match self.to_u64() {
            _ if self.is_negative() => Err(UnitError::Negative { quantity }),
            number => number.ok_or(UnitError::TooLarge { quantity }),
        }
    }

    /// `None` if it is negative or too large.
    pub fn to_u64(&self) -> Option<u64> {
        u64::from_str_radix(&self.digits, self.radix).ok()
    }
}

impl fmt::Display for Integer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, digits) = match self.digits.strip_prefix('-') {
            Some(digits) => ("-", digits),
            None => ("", self.digits.as_str()),
        };
        let base = match self.radix {
            2 => "0b",
            8 => "0o",
            16 => "0x",
            _ => "",
        };
        write!(f, "{sign}{base}{digits}")
    }
}

/// A key and its byte range, including quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The key, without quotes and escapes.
    pub name: String,
    /// The byte range in the text.
    pub span: Range<usize>,
}

/// Keys with their values, in the order of the text; keys are unique.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    entries: Vec<(Key, Node)>,
    /// The index in `entries` of each name.
    index: BTreeMap<String, usize>,
}

impl Table {
    /// If the key exists already, returns the existing key and adds nothing.
    pub fn insert(&mut self, key: Key, value: Node) -> Result<(), &Key> {
        match self.index.get(&key.name) {
            // Always present: the index refers to entries.
            Some(&at) => self.entries.get(at).map_or(Ok(()), |(first, _)| Err(first)),
            None => {
                self.index.insert(key.name.clone(), self.entries.len());
                self.entries.push((key, value));
                Ok(())
            }
        }
    }

    /// Like [`Table::insert`]; a duplicate key is an error at its second place.
    pub(super) fn add(&mut self, text: &Text, key: Key, value: Node) -> Result<(), PolicyError> {
        let (name, at) = (key.name.clone(), key.span.start);
        self.insert(key, value).map_err(|first| {
            let first = text.origin(first.span.start).line;
            text.fault(at, Fault::Duplicate { key: name, first })
        })
    }

    /// The value of a key.
    pub fn get(&self, name: &str) -> Option<&Node> {
        let at = *self.index.get(name)?;
        self.entries.get(at).map(|(_, value)| value)
    }

    /// In the order of the text.
    pub fn entries(&self) -> &[(Key, Node)] {
        &self.entries
    }

    /// The keys, in the order of the text.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.entries.iter().map(|(key, _)| key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_of_any_size_and_base() {
        for (digits, radix, shown, value) in [
            ("0", 10, "0", Some(0)),
            ("+7", 10, "+7", Some(7)),
            ("ff", 16, "0xff", Some(255)),
            ("-10", 16, "-0x10", None),
            ("17", 8, "0o17", Some(15)),
            ("101", 2, "0b101", Some(5)),
            ("-0", 10, "-0", None),
            (
                "18446744073709551615",
                10,
                "18446744073709551615",
                Some(u64::MAX),
            ),
            ("18446744073709551616", 10, "18446744073709551616", None),
        ] {
            let integer = Integer::new(digits, radix);
            assert_eq!(integer.to_string(), shown);
            assert_eq!(
                integer.to_u64(),
                value.filter(|_| !integer.is_negative()),
                "{shown}"
            );
            assert_eq!(integer.is_negative(), shown.starts_with('-'));
        }
    }

    #[test]
    fn a_table_takes_a_key_once() {
        let key = |start| Key {
            name: "a".to_owned(),
            span: start..start + 1,
        };
        let value = |truth| Node {
            span: 0..0,
            value: Value::Bool(truth),
        };
        let mut table = Table::default();
        assert_eq!(table.insert(key(3), value(true)), Ok(()));
        assert_eq!(table.insert(key(9), value(false)), Err(&key(3)));
        assert_eq!(table.get("a"), Some(&value(true)));
        assert_eq!(table.get("b"), None);
        assert_eq!(table.entries().len(), 1);
    }
}
