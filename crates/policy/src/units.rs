//! Sizes, counts, shares and times, as an operator writes them.
//!
//! Owns the one grammar of policy files and command-line flags: a whole number and a unit, in integers
//! throughout, so that nothing is rounded. It refuses ambiguous values (a time without a unit, `1.5GiB`),
//! and zero wherever the kernel or a user would read it as "no limit": a tmpfs of size 0 is unbounded
//! (tmpfs(5)). Only a grace period may be zero.
//!
//! Every value that `parse` accepts is printed by `Display` in a form that parses to the same value.

use std::fmt;

pub use super::quantity::{Quantity, UnitError};
use super::quantity::{is_digits, malformed, number, unknown_unit};
pub use super::span::Span;

/// Bytes. `512B`, `64KiB`, `10MB`; `K`, `M`, `G` and `T` alone are binary. Any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub u64);

/// A number of things: tasks, files, descriptors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Count(pub u64);

/// Processor time per second of wall time, in thousandths of one processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CpuShare(pub u32);

/// 1 to 100. Written with its sign: `90%`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent(pub u8);

/// A quantity as a plain number, for compiled presets.
pub(super) trait Number {
    #[cfg(test)]
    fn number(&self) -> u64;
    fn of(number: u64) -> Self;
}

macro_rules! numbers {
    ($($type:ident($of:ty)),+) => {
        $(impl Number for $type {
            #[cfg(test)]
            fn number(&self) -> u64 {
                self.0.into()
            }
            fn of(number: u64) -> Self {
                $type(number as $of)
            }
        })+
    };
}

numbers!(
    Bytes(u64),
    Count(u64),
    CpuShare(u32),
    Percent(u8),
    Span(u64)
);

impl Bytes {
    /// Just under 8 EiB: file offsets are signed, and `u64::MAX` is `RLIM_INFINITY`.
    pub const MAX: Self = Self(8_388_607 << 40);

    /// Parses a size of at least one byte.
    pub fn parse(text: &str) -> Result<Self, UnitError> {
        let quantity = Quantity::Size;
        let (number, unit) = number(text, quantity)?;
        if unit.is_empty() {
            // It would mean bytes, while users mean megabytes.
            return Err(match number {
                0 => UnitError::Zero { quantity },
                _ if number > Self::MAX.0 => UnitError::TooLarge { quantity },
                _ => UnitError::NoUnit { quantity, number },
            });
        }
        let (_, factor) = BYTE_UNITS
            .iter()
            .find(|(name, _)| unit.eq_ignore_ascii_case(name))
            .ok_or(unknown_unit(unit, quantity))?;
        match number.checked_mul(*factor) {
            Some(0) => Err(UnitError::Zero { quantity }),
            Some(bytes) if bytes <= Self::MAX.0 => Ok(Self(bytes)),
            _ => Err(UnitError::TooLarge { quantity }),
        }
    }
}

impl Bytes {
    /// Parses a size in other programs' notation (docker(1)): a bare number is bytes.
    pub fn parse_foreign(text: &str) -> Result<Self, UnitError> {
        match is_digits(text) {
            true => Self::parse(&format!("{text}B")),
            false => Self::parse(text),
        }
    }
}

impl Count {
    /// No table of tasks, descriptors or inodes that a policy limits is larger, and `u64::MAX` is
    /// `RLIM_INFINITY`.
    pub const MAX: Self = Self(u32::MAX as u64);

    /// A count of at least one.
    pub fn new(number: u64) -> Result<Self, UnitError> {
        let quantity = Quantity::Count;
        match number {
            0 => Err(UnitError::Zero { quantity }),
            _ if number > Self::MAX.0 => Err(UnitError::TooLarge { quantity }),
            _ => Ok(Self(number)),
        }
    }

    /// Parses a plain whole number of at least one.
    pub fn parse(text: &str) -> Result<Self, UnitError> {
        match number(text, Quantity::Count)? {
            (number, "") => Self::new(number),
            _ => Err(malformed(Quantity::Count)),
        }
    }
}

impl CpuShare {
    /// A hundredth of a processor. Below it, a cgroup's quota in the usual period of 100 ms is shorter
    /// than the kernel's minimum (1 ms, `min_cfs_quota_period`).
    pub const MIN: Self = Self(10);
    /// 4096 processors.
    pub const MAX: Self = Self(4_096_000);

    /// Parses a number of processors: `2`, `0.5`, `1.25`; at most three decimals.
    pub fn parse(text: &str) -> Result<Self, UnitError> {
        let quantity = Quantity::CpuShare;
        let (whole, rest) = number(text, quantity)?;
        let decimals = match rest.strip_prefix('.') {
            Some(digits) if is_digits(digits) => digits.trim_end_matches('0').as_bytes(),
            None if rest.is_empty() => &[],
            _ => return Err(malformed(quantity)),
        };
        let digit = |place: usize| decimals.get(place).map_or(0, |d| u64::from(d - b'0'));
        let thousandths = digit(0) * 100 + digit(1) * 10 + digit(2);
        let share = whole.saturating_mul(1000).saturating_add(thousandths);
        match u32::try_from(share) {
            Ok(share) if share < Self::MIN.0 => Err(UnitError::TooSmall { quantity }),
            Ok(_) if decimals.len() > 3 => Err(UnitError::TooFine { quantity }),
            Ok(share) if share <= Self::MAX.0 => Ok(Self(share)),
            _ => Err(UnitError::TooLarge { quantity }),
        }
    }
}

impl Percent {
    /// Parses a whole percentage, 1% to 100%.
    pub fn parse(text: &str) -> Result<Self, UnitError> {
        let quantity = Quantity::Percent;
        match number(text, quantity)? {
            (number, "") => Err(UnitError::NoUnit { quantity, number }),
            (0, "%") => Err(UnitError::Zero { quantity }),
            (percent, "%") => match u8::try_from(percent) {
                Ok(percent) if percent <= 100 => Ok(Self(percent)),
                _ => Err(UnitError::TooLarge { quantity }),
            },
            (_, unit) => Err(unknown_unit(unit, quantity)),
        }
    }
}

/// Printed in the largest unit that divides it: `64KiB`, `10MB`, `513B`.
impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, factor) = BYTE_UNITS
            .iter()
            .find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor))
            .unwrap_or(&("B", 1));
        write!(f, "{}{name}", self.0 / factor)
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// `2`, `0.5`, `1.25`.
impl fmt::Display for CpuShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, thousandths) = (self.0 / 1000, self.0 % 1000);
        match thousandths {
            0 => write!(f, "{whole}"),
            n if n % 100 == 0 => write!(f, "{whole}.{}", n / 100),
            n if n % 10 == 0 => write!(f, "{whole}.{:02}", n / 10),
            n => write!(f, "{whole}.{n:03}"),
        }
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

/// Largest first, so that `Display` uses the first that divides. The last four are input only.
const BYTE_UNITS: [(&str, u64); 13] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1_000),
    ("B", 1),
    ("K", 1 << 10),
    ("M", 1 << 20),
    ("G", 1 << 30),
    ("T", 1 << 40),
];

#[cfg(test)]
mod tests {
    use super::super::quantity::tests::check;
    use super::*;

    const SIZE_FORM: &str = "a size is a whole number with a unit; write for example 64MiB";
    const SIZE_UNITS: &str =
        "a size has an unknown unit; use B, KiB, MiB, GiB, TiB, KB, MB, GB or TB";
    const SIZE_ZERO: &str = "a size of zero would allow nothing; the least is 1B";
    const SIZE_MOST: &str = "a size is too large; the most is 8388607TiB";

    #[test]
    fn sizes() {
        let good = [
            ("1B", 1),
            ("512b", 512),
            ("007B", 7),
            ("64KiB", 65_536),
            ("64kib", 65_536),
            ("64k", 65_536),
            ("10MB", 10_000_000),
            ("10mb", 10_000_000),
            ("2M", 2 << 20),
            ("2GiB", 2 << 30),
            ("1g", 1 << 30),
            ("3TB", 3_000_000_000_000),
            ("1T", 1 << 40),
            ("8388607TiB", Bytes::MAX.0),
        ];
        let bad = [
            ("", SIZE_FORM),
            (
                "512",
                "a size needs a unit; add a unit: 512MiB, or 512B for bytes",
            ),
            ("GiB", SIZE_FORM),
            ("-", SIZE_FORM),
            ("+5", SIZE_FORM),
            (" 5", SIZE_FORM),
            ("5 ", SIZE_FORM),
            ("64 MiB", SIZE_FORM),
            ("1.5GiB", SIZE_FORM),
            ("1_000", SIZE_FORM),
            ("5\0", SIZE_FORM),
            ("5\r", SIZE_FORM),
            ("٣MiB", SIZE_FORM),
            ("5x", SIZE_UNITS),
            ("0x10", SIZE_UNITS),
            ("1e9", SIZE_UNITS),
            ("5MiBs", SIZE_UNITS),
            ("5PiB", SIZE_UNITS),
            ("5\u{212a}", SIZE_UNITS), // KELVIN SIGN, which lower-cases to k
            ("0", SIZE_ZERO),
            ("0GiB", SIZE_ZERO),
            ("8388608TiB", SIZE_MOST),
            ("9223372036854775807", SIZE_MOST),
            ("18446744073709551615", SIZE_MOST),
            ("18446744073709551616", SIZE_MOST),
            ("18014398509481984KiB", SIZE_MOST),
            (
                "-5MiB",
                "a size cannot be negative; write for example 64MiB",
            ),
        ];
        check(Bytes::parse, |v| v.0, &good, &bad);
        // Other programs' numbers are bytes.
        let good = [("512", 512), ("1g", 1 << 30)];
        check(Bytes::parse_foreign, |v| v.0, &good, &[("0", SIZE_ZERO)]);
    }

    #[test]
    fn counts() {
        const FORM: &str = "a count is a plain whole number; write for example 512";
        let good = [("1", 1), ("512", 512), ("4294967295", 4_294_967_295)];
        let bad = [
            ("", FORM),
            ("5k", FORM),
            ("1.0", FORM),
            ("five", FORM),
            ("-1", "a count cannot be negative; write for example 512"),
            ("0", "a count of zero would allow nothing; the least is 1"),
            ("4294967296", "a count is too large; the most is 4294967295"),
        ];
        check(Count::parse, |v| v.0, &good, &bad);
    }

    #[test]
    fn processor_shares() {
        const FORM: &str = "a processor share is a plain decimal number; write for example 0.5";
        const LEAST: &str = "a processor share is too small; the least is 0.01";
        const MOST: &str = "a processor share is too large; the most is 4096";
        let good = [
            ("2", 2000),
            ("0.5", 500),
            ("1.25", 1250),
            ("0.01", 10),
            ("0.011", 11),
            ("1.500000", 1500),
            ("4096", 4_096_000),
            ("4096.000", 4_096_000),
        ];
        let bad = [
            ("", FORM),
            (".5", FORM),
            ("2.", FORM),
            ("1e1", FORM),
            ("inf", FORM),
            ("nan", FORM),
            ("50%", FORM),
            ("500m", FORM),
            ("1.2.3", FORM),
            ("1,5", FORM),
            ("0", LEAST),
            ("0.0", LEAST),
            ("0.009", LEAST),
            ("0.0000001", LEAST),
            ("4096.001", MOST),
            ("4294968", MOST),
            ("99999999999999999999", MOST),
            (
                "0.3333",
                "a processor share has more than three decimals; round it: 0.125",
            ),
            (
                "-0.5",
                "a processor share cannot be negative; write for example 0.5",
            ),
        ];
        check(CpuShare::parse, |v| u64::from(v.0), &good, &bad);
    }

    #[test]
    fn percentages() {
        const FORM: &str = "a percentage is a whole number from 1% to 100%; write for example 90%";
        let good = [("1%", 1), ("90%", 90), ("100%", 100)];
        let bad = [
            ("", FORM),
            ("%", FORM),
            ("0.9", FORM),
            ("90 %", FORM),
            ("90%%", FORM),
            ("90", "a percentage needs a unit; add a unit: 90%"),
            ("90pc", "a percentage has an unknown unit; use %"),
            (
                "0%",
                "a percentage of zero would allow nothing; the least is 1%",
            ),
            ("101%", "a percentage is too large; the most is 100%"),
            ("256%", "a percentage is too large; the most is 100%"),
            (
                "-9%",
                "a percentage cannot be negative; write for example 90%",
            ),
        ];
        check(Percent::parse, |v| u64::from(v.0), &good, &bad);
    }

    #[test]
    fn a_million_digits_are_too_large_and_a_million_letters_no_unit() {
        let digits = "9".repeat(1_000_000);
        assert!(Bytes::parse(&digits).is_err());
        assert!(Count::parse(&digits).is_err());
        assert!(Span::parse(&format!("{digits}s")).is_err());
        assert!(CpuShare::parse(&format!("1.{digits}")).is_err());
        assert!(Percent::parse(&format!("{digits}%")).is_err());
        let letters = format!("1{}", "s".repeat(1_000_000));
        assert!(Span::parse(&letters).is_err_and(|e| e.to_string().len() < 100));
        assert!(Bytes::parse(&letters).is_err_and(|e| e.to_string().len() < 100));
    }

    #[test]
    fn display_is_short() {
        let sizes = [
            (1, "1B"),
            (1023, "1023B"),
            (1024, "1KiB"),
            (1000, "1KB"),
            (1_024_000, "1000KiB"),
            (10_000_000, "10MB"),
            (1536 << 20, "1536MiB"),
            (2 << 30, "2GiB"),
            (0, "0B"),
        ];
        for (bytes, text) in sizes {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
        assert_eq!(CpuShare(1250).to_string(), "1.25");
        assert_eq!(CpuShare(2000).to_string(), "2");
        assert_eq!(CpuShare(10).to_string(), "0.01");
        assert_eq!(CpuShare(1001).to_string(), "1.001");
        assert_eq!(Percent(90).to_string(), "90%");
        assert_eq!(Count(512).to_string(), "512");
        assert_eq!(Span(5_400_000).to_string(), "1h30m");
        assert_eq!(Span(1_500).to_string(), "1s500ms");
        assert_eq!(Span(0).to_string(), "0s");
    }

    #[test]
    fn display_parses_back() {
        // Powers of both bases and their neighbours, up to each maximum.
        let mut numbers = vec![Bytes::MAX.0, Span::MAX.0, Count::MAX.0, 4_096_000];
        for base in [2u64, 10, 60, 1024] {
            let mut power = 1u64;
            while let Some(next) = power.checked_mul(base) {
                numbers.extend([power - 1, power, power + 1, power * 3 / 2]);
                power = next;
            }
        }
        for n in numbers {
            if (1..=Bytes::MAX.0).contains(&n) {
                assert_eq!(Bytes::parse(&Bytes(n).to_string()), Ok(Bytes(n)));
            }
            if n <= Span::MAX.0 {
                assert_eq!(Span::parse(&Span(n).to_string()), Ok(Span(n)));
            }
            if let Ok(count) = Count::new(n) {
                assert_eq!(Count::parse(&count.to_string()), Ok(count));
            }
        }
        for n in CpuShare::MIN.0..20_000 {
            assert_eq!(CpuShare::parse(&CpuShare(n).to_string()), Ok(CpuShare(n)));
        }
        for n in 1..=100 {
            assert_eq!(Percent::parse(&Percent(n).to_string()), Ok(Percent(n)));
        }
    }

    #[test]
    fn messages_name_the_true_bounds() {
        let bounds = [
            (Quantity::Size, Bytes(1).to_string(), Bytes::MAX.to_string()),
            (
                Quantity::Count,
                Count(1).to_string(),
                Count::MAX.to_string(),
            ),
            (
                Quantity::CpuShare,
                CpuShare::MIN.to_string(),
                CpuShare::MAX.to_string(),
            ),
            (Quantity::Span, Span(1).to_string(), Span::MAX.to_string()),
        ];
        for (quantity, least, most) in bounds {
            assert_eq!((quantity.least(), quantity.most()), (&*least, &*most));
        }
    }
}
