//! Parses TOML into the tree.
//!
//! Owns the walk over the `toml` crate's spanned values. That crate bounds nesting at 80, keeps the
//! digits of numbers, and refuses duplicate keys and control characters itself.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::format::Format;
use super::node::{Integer, Key, Node, Table, Value};
use super::text::Text;
use crate::error::PolicyError;
use crate::place::Place;

pub fn read(text: &Text) -> Result<Table, PolicyError> {
    let document = DeTable::parse(text.as_str()).map_err(|error| PolicyError::Syntax {
        at: match error.span() {
            Some(span) => text.place(span.start),
            None => Place::whole(text.source()),
        },
        message: error.message().to_owned(),
        format: Format::Toml,
    })?;
    Ok(table(document.get_ref()))
}

fn table(of: &DeTable) -> Table {
    let mut entries: Vec<_> = of.iter().collect();
    // The crate sorts keys alphabetically.
    entries.sort_by_key(|(key, _)| key.span().start);
    let mut table = Table::default();
    for (key, value) in entries {
        let key = Key {
            name: key.get_ref().to_string(),
            span: key.span(),
        };
        // A map has no duplicate keys.
        let _ = table.insert(key, node(value));
    }
    table
}

fn node(of: &Spanned<DeValue>) -> Node {
    Node {
        span: of.span(),
        value: match of.get_ref() {
            DeValue::String(text) => Value::String(text.to_string()),
            DeValue::Integer(number) => {
                Value::Integer(Integer::new(number.as_str(), number.radix()))
            }
            DeValue::Float(number) => Value::Float(number.as_str().to_owned()),
            DeValue::Boolean(truth) => Value::Bool(*truth),
            DeValue::Datetime(date) => Value::Date(date.to_string()),
            DeValue::Array(array) => Value::Array(array.iter().map(node).collect()),
            DeValue::Table(inner) => Value::Table(table(inner)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::parse;

    #[test]
    fn values_keep_their_order_and_their_spans() {
        let text = "z = [1, '2']\n\"é\" = { k = 0x1_0 }\n[a]\nb.c = 1.50\nd = 1979-05-27\n";
        let table = parse(Format::Toml, "p", text).unwrap();
        let names: Vec<&str> = table.keys().map(|key| key.name.as_str()).collect();
        assert_eq!(names, ["z", "é", "a"]);
        let spans: Vec<&str> = table.keys().map(|key| &text[key.span.clone()]).collect();
        assert_eq!(spans, ["z", "\"é\"", "a"]);
        let Value::Array(z) = &table.get("z").unwrap().value else {
            panic!("no array")
        };
        let written = |node: &Node| text[node.span.clone()].to_owned();
        assert_eq!(z.iter().map(written).collect::<Vec<_>>(), ["1", "'2'"]);
        let inner = |name: &str| match &table.get(name).unwrap().value {
            Value::Table(table) => table.clone(),
            other => panic!("{other:?}"),
        };
        let k = inner("é").get("k").cloned().unwrap();
        assert_eq!(k.value, Value::Integer(Integer::new("10", 16)));
        assert_eq!(written(&k), "0x1_0");
        let a = inner("a");
        assert_eq!(written(a.get("d").unwrap()), "1979-05-27");
        assert_eq!(a.get("d").unwrap().kind(), "a date");
        let Value::Table(b) = &a.get("b").unwrap().value else {
            panic!("no table")
        };
        assert_eq!(b.get("c").unwrap().value, Value::Float("1.50".to_owned()));
    }
}
