//! Times, as an operator writes them.

use std::fmt;

use super::quantity::{Quantity, UnitError, number, unknown_unit};

/// A time in milliseconds. `500ms`, `30s`, `5m`, `1h30m`, `2d`: largest unit first, each once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub u64);

impl Span {
    /// The number of whole days in 2^63 nanoseconds, the range of the kernel's clocks.
    pub const MAX: Self = Self(106_751 * DAY);

    /// Parses a time, including zero: in a grace period, zero means "kill at once".
    pub fn parse(text: &str) -> Result<Self, UnitError> {
        let quantity = Quantity::Span;
        let mut total: u64 = 0;
        let mut last_factor = u64::MAX;
        let mut rest = text;
        loop {
            let (number, tail) = number(rest, quantity)?;
            let end = tail.find(|c: char| c.is_ascii_digit());
            let (unit, tail) = tail.split_at(end.unwrap_or(tail.len()));
            if unit.is_empty() {
                return Err(UnitError::NoUnit { quantity, number });
            }
            let (_, factor) = SPAN_UNITS
                .iter()
                .find(|(name, _)| *name == unit)
                .ok_or(unknown_unit(unit, quantity))?;
            if *factor >= last_factor {
                return Err(UnitError::UnitOrder { quantity });
            }
            total = number
                .checked_mul(*factor)
                .and_then(|part| total.checked_add(part))
                .filter(|total| *total <= Self::MAX.0)
                .ok_or(UnitError::TooLarge { quantity })?;
            if tail.is_empty() {
                return Ok(Self(total));
            }
            (last_factor, rest) = (*factor, tail);
        }
    }

    /// Parses a time of at least one millisecond, for a time limit. Zero would end the run before it
    /// began, and users often mean "no limit" by it.
    pub fn parse_limit(text: &str) -> Result<Self, UnitError> {
        match Self::parse(text)? {
            Self(0) => Err(UnitError::Zero {
                quantity: Quantity::Span,
            }),
            span => Ok(span),
        }
    }
}

/// `1h30m`, `500ms`, `0s`.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.0;
        for (name, factor) in SPAN_UNITS {
            if rest >= factor {
                write!(f, "{}{name}", rest / factor)?;
                rest %= factor;
            }
        }
        Ok(())
    }
}

const DAY: u64 = 86_400_000;

const SPAN_UNITS: [(&str, u64); 5] = [
    ("d", DAY),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

#[cfg(test)]
mod tests {
    use super::super::quantity::tests::check;
    use super::*;

    #[test]
    fn times() {
        const FORM: &str = "a time is whole numbers with units; write for example 1h30m";
        const UNITS: &str = "a time has an unknown unit; use ms, s, m, h or d";
        const ORDER: &str =
            "a time names a unit twice or out of order; write the largest first: 1h30m";
        const MOST: &str = "a time is too large; the most is 106751d";
        let good = [
            ("0s", 0),
            ("500ms", 500),
            ("30s", 30_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("2d", 172_800_000),
            ("1h30m", 5_400_000),
            ("1d2h3m4s5ms", 93_784_005),
            ("90m", 5_400_000),
            ("106751d", Span::MAX.0),
        ];
        let bad = [
            ("", FORM),
            ("s", FORM),
            ("1.5h", FORM),
            ("30 s", FORM),
            ("1h 30m", UNITS),
            ("30S", UNITS),
            ("30sec", UNITS),
            ("1w", UNITS),
            ("30", "a time needs a unit; add a unit: 30s"),
            ("1h30", "a time needs a unit; add a unit: 30s"),
            ("30m1h", ORDER),
            ("1h1h", ORDER),
            ("-1s", "a time cannot be negative; write for example 1h30m"),
            ("106752d", MOST),
            ("106751d1ms", MOST),
            ("18446744073709551615s", MOST),
        ];
        check(Span::parse, |v| v.0, &good, &bad);
        assert_eq!(Span::parse_limit("1ms"), Ok(Span(1)));
        assert_eq!(
            Span::parse_limit("0m").unwrap_err().to_string(),
            "a time of zero would allow nothing; the least is 1ms"
        );
    }
}
