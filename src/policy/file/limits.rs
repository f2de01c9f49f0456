//! `[limits]`: numbers with units, from the file or from the base.

use super::walk::{File, Section, get};
use crate::policy::error::{Place, PolicyError};
use crate::policy::tree::{Integer, Node, Value};
use crate::policy::units::{Bytes, Count, CpuShare, Percent, Quantity, Span, UnitError};
use crate::policy::{Limits, Sourced};

impl File<'_> {
    pub fn limits(&self, table: Section, base: Option<&Limits>) -> Result<Limits, PolicyError> {
        let at = LimitReader { file: self, table };
        Ok(Limits {
            memory: at.read("limits.memory", size, base.map(|b| &b.memory))?,
            memory_high: at.read("limits.memory_high", percent, base.map(|b| &b.memory_high))?,
            cpus: at.read("limits.cpus", cpu_share, base.map(|b| &b.cpus))?,
            pids: at.read("limits.pids", count, base.map(|b| &b.pids))?,
            timeout: at.read("limits.timeout", time_limit, base.map(|b| &b.timeout))?,
            cpu_time: at.read("limits.cpu_time", time_limit, base.map(|b| &b.cpu_time))?,
            disk: at.read("limits.disk", size, base.map(|b| &b.disk))?,
            inodes: at.read("limits.inodes", count, base.map(|b| &b.inodes))?,
            file_size: at.read("limits.file_size", size, base.map(|b| &b.file_size))?,
            open_files: at.read("limits.open_files", count, base.map(|b| &b.open_files))?,
            output: at.read("limits.output", size, base.map(|b| &b.output))?,
            grace: at.read("limits.grace", time, base.map(|b| &b.grace))?,
        })
    }
}

/// Reads `[limits]`, one value at a time.
struct LimitReader<'a> {
    file: &'a File<'a>,
    table: Section<'a>,
}

/// Why a value is no limit.
enum LimitFault {
    /// The wrong type; says what to write instead.
    Type(&'static str),
    Unit(UnitError),
}

impl LimitReader<'_> {
    fn read<T: Clone>(
        &self,
        key: &'static str,
        convert: fn(&Node) -> Result<T, LimitFault>,
        base: Option<&Sourced<T>>,
    ) -> Result<Sourced<T>, PolicyError> {
        let file = self.file;
        let Some(value) = get(self.table, key) else {
            return base.cloned().ok_or_else(|| PolicyError::MissingKey {
                at: Place::whole(file.text.source()),
                key: key.to_owned(),
            });
        };
        match convert(value) {
            Ok(limit) => Ok(file.sourced(value, limit)),
            Err(LimitFault::Type(expected)) => Err(file.wrong_type(value, key, expected)),
            Err(LimitFault::Unit(reason)) => Err(PolicyError::BadUnit {
                at: file.place_of(value),
                key,
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
