//! Why a text is not a quantity, and the whole number at the start of a quantity.
//!
//! Owns the texts that messages use for each kind: its form, an example, its units and its bounds.

use std::fmt;

/// Why a text is not a quantity. It does not contain the text, because the caller has that and its place.
/// `quantity` is the kind that was read, and `number` the number without a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[expect(
    missing_docs,
    reason = "the enum's comment describes the fields that variants share"
)]
pub enum UnitError {
    /// The text has another form.
    #[error("{quantity} is {}; write for example {}", quantity.form(), quantity.example())]
    Malformed { quantity: Quantity },
    /// A number without a unit.
    #[error("{quantity} needs a unit; add a unit: {}", quantity.with_unit(*number))]
    NoUnit { quantity: Quantity, number: u64 },
    /// A number with a unit of another kind, or with none that exists.
    #[error("{quantity} has an unknown unit; use {}", quantity.units())]
    UnknownUnit { quantity: Quantity },
    /// A time whose units are not in descending order.
    #[error("{quantity} names a unit twice or out of order; write the largest first: 1h30m")]
    UnitOrder { quantity: Quantity },
    /// A number below zero.
    #[error("{quantity} cannot be negative; write for example {}", quantity.example())]
    Negative { quantity: Quantity },
    /// Zero, which the kernel or a user would read as "no limit".
    #[error("{quantity} of zero would allow nothing; the least is {}", quantity.least())]
    Zero { quantity: Quantity },
    /// A number below the least value of its kind.
    #[error("{quantity} is too small; the least is {}", quantity.least())]
    TooSmall { quantity: Quantity },
    /// A number above the greatest value of its kind.
    #[error("{quantity} is too large; the most is {}", quantity.most())]
    TooLarge { quantity: Quantity },
    /// More than three decimals.
    #[error("{quantity} has more than three decimals; round it: 0.125")]
    TooFine { quantity: Quantity },
}

/// Declares the message texts for each kind of quantity.
macro_rules! quantities {
    ($($name:ident: $words:literal is $form:literal as $example:literal in $units:literal,
        $least:literal to $most:literal;)+) => {
        /// The kind of quantity that was read.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Quantity { $(#[doc = concat!("The kind of ", $words, ".")] $name),+ }

        impl Quantity {
            fn form(self) -> &'static str {
                match self { $(Self::$name => $form),+ }
            }
            fn example(self) -> &'static str {
                match self { $(Self::$name => $example),+ }
            }
            fn units(self) -> &'static str {
                match self { $(Self::$name => $units),+ }
            }
            pub(super) fn least(self) -> &'static str {
                match self { $(Self::$name => $least),+ }
            }
            pub(super) fn most(self) -> &'static str {
                match self { $(Self::$name => $most),+ }
            }
        }

        impl fmt::Display for Quantity {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$name => $words),+ })
            }
        }
    };
}

quantities! {
    Size: "a size" is "a whole number with a unit" as "64MiB" in "B, KiB, MiB, GiB, TiB, KB, MB, GB or TB", "1B" to "8388607TiB";
    Count: "a count" is "a plain whole number" as "512" in "none", "1" to "4294967295";
    CpuShare: "a processor share" is "a plain decimal number" as "0.5" in "none", "0.01" to "4096";
    Percent: "a percentage" is "a whole number from 1% to 100%" as "90%" in "%", "1%" to "100%";
    Span: "a time" is "whole numbers with units" as "1h30m" in "ms, s, m, h or d", "1ms" to "106751d";
}

impl Quantity {
    fn with_unit(self, number: u64) -> String {
        match self {
            Self::Size => format!("{number}MiB, or {number}B for bytes"),
            Self::Count | Self::CpuShare => number.to_string(),
            Self::Percent => format!("{number}%"),
            Self::Span => format!("{number}s"),
        }
    }
}

/// The whole number at the start of `text`, and the rest.
pub(super) fn number(text: &str, quantity: Quantity) -> Result<(u64, &str), UnitError> {
    let end = text.find(|c: char| !c.is_ascii_digit());
    let (digits, rest) = text.split_at(end.unwrap_or(text.len()));
    if digits.is_empty() {
        return Err(match rest.strip_prefix('-') {
            Some(after) if after.starts_with(|c: char| c.is_ascii_digit()) => {
                UnitError::Negative { quantity }
            }
            _ => malformed(quantity),
        });
    }
    match digits.parse() {
        Ok(number) => Ok((number, rest)),
        // Only digits: the only possible error is overflow.
        Err(_) => Err(UnitError::TooLarge { quantity }),
    }
}

/// The error for an unknown unit. `1.5GiB` and `64 MiB` do not lack a unit: their form is wrong.
pub(super) fn unknown_unit(unit: &str, quantity: Quantity) -> UnitError {
    if unit.starts_with(char::is_alphabetic) {
        UnitError::UnknownUnit { quantity }
    } else {
        malformed(quantity)
    }
}

pub(super) fn malformed(quantity: Quantity) -> UnitError {
    UnitError::Malformed { quantity }
}

pub(super) fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
pub(super) mod tests {
    use std::fmt::Debug;

    use crate::quantity::UnitError;

    /// A parser's answer for each text: the value's number, or the message.
    pub fn check<T: Debug>(
        parse: fn(&str) -> Result<T, UnitError>,
        number: fn(T) -> u64,
        good: &[(&str, u64)],
        bad: &[(&str, &str)],
    ) {
        for (text, expected) in good {
            assert_eq!(parse(text).map(number), Ok(*expected), "{text:?}");
        }
        for (text, message) in bad {
            let error = parse(text).map(number).unwrap_err().to_string();
            assert_eq!(error, *message, "{text:?}");
        }
    }
}
