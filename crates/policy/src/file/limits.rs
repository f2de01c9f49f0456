//! `[limits]`: numbers with units.

use super::walk::{File, Section, get};
use crate::error::PolicyError;
use crate::layer::Limits;
use crate::rights::Bound;
use crate::tree::{Integer, Node, Value};
use crate::units::{Bytes, Count, CpuShare, Percent, Quantity, Span, UnitError};

impl File<'_> {
    pub fn limits(&self, table: Section) -> Result<Limits, PolicyError> {
        Ok(Limits {
            memory: self.quantity(table, "limits.memory", size)?,
            memory_high: self.quantity(table, "limits.memory_high", percent)?,
            cpus: self.quantity(table, "limits.cpus", cpu_share)?,
            pids: self.quantity(table, "limits.pids", count)?,
            timeout: self.quantity(table, "limits.timeout", time_limit)?,
            cpu_time: self.quantity(table, "limits.cpu_time", time_limit)?,
            disk: self.quantity(table, "limits.disk", size)?,
            inodes: self.quantity(table, "limits.inodes", count)?,
            file_size: self.quantity(table, "limits.file_size", size)?,
            open_files: self.quantity(table, "limits.open_files", count)?,
            output: self.quantity(table, "limits.output", size)?,
            grace: self.quantity(table, "limits.grace", time)?,
        })
    }

    /// A count under `key`, of one or more.
    pub fn count(&self, table: Section, key: &str) -> Result<Bound<Count>, PolicyError> {
        self.quantity(table, key, count)
    }

    /// A size under `key`.
    pub fn size(&self, table: Section, key: &str) -> Result<Bound<Bytes>, PolicyError> {
        self.quantity(table, key, size)
    }

    /// A time under `key`, longer than none.
    pub fn span(&self, table: Section, key: &str) -> Result<Bound<Span>, PolicyError> {
        self.quantity(table, key, time_limit)
    }

    fn quantity<T>(
        &self,
        table: Section,
        key: &str,
        convert: fn(&Node) -> Result<T, LimitFault>,
    ) -> Result<Bound<T>, PolicyError> {
        let Some(value) = get(table, key) else {
            return Ok(None);
        };
        match convert(value) {
            Ok(limit) => Ok(Some(self.sourced(value, limit))),
            Err(LimitFault::Type(expected)) => Err(self.wrong_type(value, key, expected)),
            Err(LimitFault::Unit(reason)) => Err(PolicyError::BadUnit {
                at: self.place_of(value),
                key: key.to_owned().into(),
                value: match &value.value {
                    Value::String(text) => text.to_string(),
                    Value::Integer(number) => number.to_string(),
                    Value::Float(number) => number.to_string(),
                    _ => String::new(),
                },
                reason,
            }),
        }
    }
}

/// Why a value is no limit.
enum LimitFault {
    /// The wrong type; says what to write instead.
    Type(&'static str),
    Unit(UnitError),
}

fn size(value: &Node) -> Result<Bytes, LimitFault> {
    quoted(
        value,
        "a size in quotes, for example \"2GiB\"",
        Bytes::parse,
    )
}

fn time(value: &Node) -> Result<Span, LimitFault> {
    quoted(value, "a time in quotes, for example \"30s\"", Span::parse)
}

fn time_limit(value: &Node) -> Result<Span, LimitFault> {
    quoted(
        value,
        "a time in quotes, for example \"1h\"",
        Span::parse_limit,
    )
}

fn percent(value: &Node) -> Result<Percent, LimitFault> {
    quoted(
        value,
        "a percentage in quotes, for example \"90%\"",
        Percent::parse,
    )
}

fn quoted<T>(
    value: &Node,
    expected: &'static str,
    parse: fn(&str) -> Result<T, UnitError>,
) -> Result<T, LimitFault> {
    let text = value.as_str().ok_or(LimitFault::Type(expected))?;
    parse(text).map_err(LimitFault::Unit)
}

fn count(value: &Node) -> Result<Count, LimitFault> {
    match &value.value {
        Value::Integer(number) => integer(number, Quantity::Count).and_then(Count::new),
        _ => {
            return Err(LimitFault::Type(
                "a whole number without quotes, for example 512",
            ));
        }
    }
    .map_err(LimitFault::Unit)
}

fn cpu_share(value: &Node) -> Result<CpuShare, LimitFault> {
    match &value.value {
        Value::Integer(number) => integer(number, Quantity::CpuShare)
            .and_then(|number| CpuShare::parse(&number.to_string())),
        // The text of the number, not its value: 0.1 has none in binary.
        Value::Float(number) => CpuShare::parse(number.trim_start_matches('+')),
        Value::String(text) => CpuShare::parse(text),
        _ => return Err(LimitFault::Type("a number of processors, for example 0.5")),
    }
    .map_err(LimitFault::Unit)
}

fn integer(number: &Integer, quantity: Quantity) -> Result<u64, UnitError> {
    if number.is_negative() {
        return Err(UnitError::Negative { quantity });
    }
    number.to_u64().ok_or(UnitError::TooLarge { quantity })
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
