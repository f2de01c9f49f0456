//! Converts JSON5 and YAML numbers to digits that TOML could contain.

use super::fault::Fault;
use super::node::{Integer, Value};

/// The number in `word`. The caller has checked its form: an optional sign, then decimal digits with at
/// most one point and an exponent, or a base prefix and its digits.
pub fn number(word: &str) -> Result<Value, Fault> {
    let (sign, body) = match word.strip_prefix('-') {
        Some(body) => ("-", body),
        None => ("", word.strip_prefix('+').unwrap_or(word)),
    };
    let base = |radix, digits: &str| {
        Ok(Value::Integer(Integer::new(
            &format!("{sign}{digits}"),
            radix,
        )))
    };
    match body.as_bytes() {
        [b'0', b'x' | b'X', ..] => base(16, body.get(2..).unwrap_or_default()),
        [b'0', b'o', ..] => base(8, body.get(2..).unwrap_or_default()),
        _ if body.contains(['.', 'e', 'E']) => float(word, sign, body),
        _ => base(10, body),
    }
}

/// `.5` and `5.` get the zero that TOML requires.
fn float(word: &str, sign: &str, body: &str) -> Result<Value, Fault> {
    // The form is checked: the only possible error is overflow.
    if !body.parse::<f64>().is_ok_and(f64::is_finite) {
        return Err(Fault::NotFinite(word.to_owned()));
    }
    let (mantissa, exponent) = match body.find(['e', 'E']) {
        Some(at) => body.split_at(at),
        None => (body, ""),
    };
    let before = if mantissa.starts_with('.') { "0" } else { "" };
    let after = if mantissa.ends_with('.') { "0" } else { "" };
    Ok(Value::Float(format!(
        "{sign}{before}{mantissa}{after}{exponent}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_form() {
        for (word, expected) in [
            ("0", Value::Integer(Integer::new("0", 10))),
            ("-12", Value::Integer(Integer::new("-12", 10))),
            ("+12", Value::Integer(Integer::new("12", 10))),
            ("0xfF", Value::Integer(Integer::new("fF", 16))),
            ("-0XA", Value::Integer(Integer::new("-A", 16))),
            ("0o17", Value::Integer(Integer::new("17", 8))),
            (".5", Value::Float("0.5".to_owned())),
            ("+5.", Value::Float("5.0".to_owned())),
            ("-.5e3", Value::Float("-0.5e3".to_owned())),
            ("1.50", Value::Float("1.50".to_owned())),
            ("5.E-2", Value::Float("5.0E-2".to_owned())),
        ] {
            assert_eq!(number(word), Ok(expected), "{word}");
        }
        assert_eq!(number("1e999"), Err(Fault::NotFinite("1e999".to_owned())));
    }
}
