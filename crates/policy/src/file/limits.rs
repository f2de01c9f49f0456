//! Forms of numbers with units.

use std::fmt::Display;

use serde_json::Value as Json;

use super::form::{Form, defined};
use super::walk::At;
use crate::error::PolicyError;
use crate::origin::Sourced;
use crate::printer::quoted;
use crate::tree::{Node, Value};
use crate::units::{Bytes, Count, CpuShare, Percent, Quantity, Span, UnitError};

/// A number with its unit.
pub trait Unit {
    type Of: Display;
    /// Its definition in the schema.
    const SCHEMA: &'static str;
    const EXPECTED: &'static str;
    const IS_QUOTED: bool;

    /// `None` if the value has another type.
    fn of(node: &Node) -> Option<Result<Self::Of, UnitError>>;
}

impl<U: Unit> Form for U {
    type Value = Sourced<U::Of>;

    fn read(at: At) -> Result<Sourced<U::Of>, PolicyError> {
        match U::of(at.node) {
            None => Err(at.wrong_type(U::EXPECTED)),
            Some(Ok(value)) => Ok(at.sourced(value)),
            Some(Err(reason)) => Err(PolicyError::BadUnit {
                at: at.place(),
                key: at.key.to_owned().into(),
                value: match &at.node.value {
                    Value::String(text) | Value::Float(text) => text.clone(),
                    Value::Integer(number) => number.to_string(),
                    _ => String::new(),
                },
                reason,
            }),
        }
    }

    fn schema() -> Json {
        defined(U::SCHEMA)
    }

    fn text(value: &Sourced<U::Of>) -> String {
        let text = value.value.to_string();
        if U::IS_QUOTED { quoted(&text) } else { text }
    }
}

/// A time that may be zero: a grace period.
pub struct Pause;

macro_rules! units {
    ($($form:ident: $of:ident, $schema:literal, $quoted:literal, $expected:literal, $read:expr;)+) => {
        $(impl Unit for $form {
            type Of = $of;
            const SCHEMA: &'static str = $schema;
            const EXPECTED: &'static str = $expected;
            const IS_QUOTED: bool = $quoted;

            fn of(node: &Node) -> Option<Result<$of, UnitError>> {
                let read: fn(&Node) -> Option<Result<$of, UnitError>> = $read;
                read(node)
            }
        })+
    };
}

units! {
    Bytes: Bytes, "size", true, "a size in quotes, for example \"2GiB\"", |n| n.as_str().map(Bytes::parse);
    Percent: Percent, "percent", true, "a percentage in quotes, for example \"90%\"", |n| n.as_str().map(Percent::parse);
    Span: Span, "time", true, "a time in quotes, for example \"1h\"", |n| n.as_str().map(Span::parse_limit);
    Pause: Span, "time", true, "a time in quotes, for example \"30s\"", |n| n.as_str().map(Span::parse);
    Count: Count, "count", false, "a whole number without quotes, for example 512", |node| match &node.value {
        Value::Integer(number) => Some(number.unsigned(Quantity::Count).and_then(Count::new)),
        _ => None,
    };
    CpuShare: CpuShare, "processors", false, "a number of processors, for example 0.5", |node| match &node.value {
        Value::Integer(number) => Some(number.unsigned(Quantity::CpuShare).and_then(|n| CpuShare::parse(&n.to_string()))),
        // Use the number's text, not its value: 0.1 has no exact value in binary.
        Value::Float(number) => Some(CpuShare::parse(number.trim_start_matches('+'))),
        Value::String(text) => Some(CpuShare::parse(text)),
        _ => None,
    };
}

#[cfg(test)]
mod tests {
    use super::super::tests::{good, message, refused};
    use super::*;

    #[test]
    fn bad_limits() {
        let digits = "9".repeat(1_000_000);
        let text = message(&format!("[limits]\npids = {digits}"));
        let expected = "… (999920 more bytes)': a count is too large; the most is 4294967295";
        assert!(text.ends_with(expected) && text.len() < 250, "{text}");
        refused(
            r#"
            [limits]|timeout = '30'
            2:11: 'limits.timeout' is '30': a time needs a unit; add a unit: 30s
            [limits]|timeout = '0s'
            2:11: 'limits.timeout' is '0s': a time of zero would allow nothing; the least is 1ms
            [limits]|disk = '0'
            2:8: 'limits.disk' is '0': a size of zero would allow nothing; the least is 1B
            [limits]|memory = "1\u0000B\n"
            2:10: 'limits.memory' is '1\0B\n': a size is a whole number with a unit; write for example 64MiB
            "#,
        );
        for (value, fault) in [
            ("-1", "a count cannot be negative; write for example 512"),
            ("0", "a count of zero would allow nothing; the least is 1"),
            (
                "0xffffffffffffffffffff",
                "a count is too large; the most is 4294967295",
            ),
        ] {
            let text = format!("[limits]\ninodes = {value}");
            let expected = format!("p.toml:2:10: 'limits.inodes' is '{value}': {fault}");
            assert_eq!(message(&text), expected);
        }
        for value in [
            "inf", "-inf", "nan", "1e3", "-0.5", "0.3333", "0.001", "5000", "-1", "0",
        ] {
            let text = message(&format!("[limits]\ncpus = {value}"));
            let start = format!("p.toml:2:8: 'limits.cpus' is '{value}': a processor share");
            assert!(text.starts_with(&start), "{text}");
        }
    }

    #[test]
    fn cpus_have_three_types() {
        for value in ["2", "+2", "2.0", "+2.0", "'2'", "'2.000'", "0b10"] {
            let policy = good(&format!("[limits]\ncpus = {value}"));
            assert_eq!(policy.limits.cpus.value, CpuShare(2000), "{value}");
        }
    }
}
