//! Bytes as JSON: a string if they are UTF-8, else `{"escaped": "caf\\xe9"}`. Reading gives back the bytes
//! that were written.
//!
//! Paths, arguments and variables are bytes on Linux, and a plan keeps all of them. In an escaped text a
//! backslash is `\\`, and a byte that is not part of a character is `\x` and two digits.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A type that is bytes to the kernel.
pub trait Raw {
    /// The bytes.
    fn raw(&self) -> &[u8];
    /// The value of these bytes.
    fn of(bytes: Vec<u8>) -> Self;
}

impl Raw for Vec<u8> {
    fn raw(&self) -> &[u8] {
        self
    }

    fn of(bytes: Vec<u8>) -> Self {
        bytes
    }
}

impl Raw for PathBuf {
    fn raw(&self) -> &[u8] {
        self.as_os_str().as_bytes()
    }

    fn of(bytes: Vec<u8>) -> Self {
        OsString::from_vec(bytes).into()
    }
}

/// For `#[serde(with = "lossless")]`.
pub fn serialize<T: Raw, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
    Bytes(value.raw()).serialize(to)
}

/// For `#[serde(with = "lossless")]`.
pub fn deserialize<'de, T: Raw, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    Owned::deserialize(from).map(|bytes| T::of(bytes.0))
}

/// For a list of such values: `#[serde(with = "lossless::list")]`.
pub mod list {
    use super::{Bytes, Deserialize, Deserializer, Owned, Raw, Serializer};

    /// For a list.
    pub fn serialize<T: Raw, S: Serializer>(list: &[T], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(list.iter().map(|value| Bytes(value.raw())))
    }

    /// For a list.
    pub fn deserialize<'de, T: Raw, D: Deserializer<'de>>(from: D) -> Result<Vec<T>, D::Error> {
        let all = Vec::<Owned>::deserialize(from)?;
        Ok(all.into_iter().map(|bytes| T::of(bytes.0)).collect())
    }
}

/// For variables: `#[serde(with = "lossless::map")]`. A map, or a list of pairs if a name is not UTF-8.
pub mod map {
    use super::{BTreeMap, Bytes, Deserializer, Pairs, Serializer};

    type Map = BTreeMap<Vec<u8>, Vec<u8>>;

    /// For variables.
    pub fn serialize<S: Serializer>(map: &Map, to: S) -> Result<S::Ok, S::Error> {
        let named: Result<Vec<_>, _> = map
            .iter()
            .map(|(name, value)| std::str::from_utf8(name).map(|name| (name, Bytes(value))))
            .collect();
        match named {
            Ok(named) => to.collect_map(named),
            Err(_) => to.collect_seq(map.iter().map(|(name, value)| (Bytes(name), Bytes(value)))),
        }
    }

    /// For variables.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Map, D::Error> {
        from.deserialize_any(Pairs)
    }
}

struct Bytes<'a>(&'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(self.0) {
            Ok(text) => to.serialize_str(text),
            Err(_) => to.collect_map([("escaped", escape(self.0))]),
        }
    }
}

struct Owned(Vec<u8>);

impl<'de> Deserialize<'de> for Owned {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Either).map(Owned)
    }
}

struct Either;

impl<'de> Visitor<'de> for Either {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text, or {\"escaped\": TEXT}")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Vec<u8>, E> {
        Ok(text.as_bytes().to_vec())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vec<u8>, A::Error> {
        let bytes = match map.next_entry::<String, String>()? {
            Some((key, text)) if key == "escaped" => unescape(&text),
            _ => None,
        };
        match (bytes, map.next_key::<String>()?) {
            (Some(bytes), None) => Ok(bytes),
            _ => Err(A::Error::custom("this is no {\"escaped\": TEXT}")),
        }
    }
}

struct Pairs;

impl<'de> Visitor<'de> for Pairs {
    type Value = BTreeMap<Vec<u8>, Vec<u8>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("variables, as a map or as a list of pairs")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut all = BTreeMap::new();
        while let Some((name, value)) = map.next_entry::<String, Owned>()? {
            all.insert(name.into_bytes(), value.0);
        }
        Ok(all)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut all = BTreeMap::new();
        while let Some((name, value)) = list.next_element::<(Owned, Owned)>()? {
            all.insert(name.0, value.0);
        }
        Ok(all)
    }
}

fn escape(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text += &chunk.valid().replace('\\', "\\\\");
        for byte in chunk.invalid() {
            text += &format!("\\x{byte:02x}");
        }
    }
    text
}

/// `None` if the text is not an output of [`escape`].
fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = vec![];
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'\\' {
            bytes.push(*first);
            continue;
        }
        match rest.split_first()? {
            (b'\\', after) => {
                bytes.push(b'\\');
                rest = after;
            }
            (b'x', after) => {
                let (digits, after) = after.split_at_checked(2)?;
                let digits = std::str::from_utf8(digits).ok()?;
                bytes.push(u8::from_str_radix(digits, 16).ok()?);
                rest = after;
            }
            _ => return None,
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Sample {
        #[serde(with = "super")]
        path: PathBuf,
        #[serde(with = "super::list")]
        words: Vec<Vec<u8>>,
        #[serde(with = "super::map")]
        variables: BTreeMap<Vec<u8>, Vec<u8>>,
    }

    fn sample(path: &[u8], name: &[u8], value: &[u8]) -> Sample {
        Sample {
            path: PathBuf::of(path.to_vec()),
            words: vec![value.to_vec(), b"\\x41 \"".to_vec()],
            variables: BTreeMap::from([(name.to_vec(), value.to_vec()), (vec![b'B'], vec![])]),
        }
    }

    #[test]
    fn text_stays_text_and_other_bytes_are_escaped() {
        let text = serde_json::to_string(&sample("/é".as_bytes(), b"A", b"x")).unwrap();
        assert_eq!(
            text,
            r#"{"path":"/é","words":["x","\\x41 \""],"variables":{"A":"x","B":""}}"#
        );
        let text = serde_json::to_string(&sample(b"/\xe9", b"A\xff", b"\\\x80\xc3\xa9")).unwrap();
        assert_eq!(
            text,
            r#"{"path":{"escaped":"/\\xe9"},"words":[{"escaped":"\\\\\\x80é"},"\\x41 \""],"variables":[[{"escaped":"A\\xff"},{"escaped":"\\\\\\x80é"}],["B",""]]}"#
        );
    }

    #[test]
    fn every_byte_comes_back() {
        let all: Vec<u8> = (1..=255).collect();
        let pieces = all
            .windows(2)
            .flat_map(|pair| [pair.to_vec(), [b"\\x", pair].concat()]);
        for bytes in pieces.chain([all.clone(), b"\\".to_vec(), vec![]]) {
            let kept = sample(&bytes, &bytes, &bytes);
            let text = serde_json::to_string(&kept).unwrap();
            assert_eq!(serde_json::from_str::<Sample>(&text).unwrap(), kept);
        }
    }

    #[test]
    fn what_nobody_writes_is_refused() {
        for path in [
            r#"{"escaped":"\\"}"#,
            r#"{"escaped":"\\x4"}"#,
            r#"{"escaped":"\\xgg"}"#,
            r#"{"escaped":"\\n"}"#,
            r#"{"text":"a"}"#,
            r#"{"escaped":"a","escaped":"b"}"#,
            "{}",
            "1",
        ] {
            let text = format!(r#"{{"path":{path},"words":[],"variables":{{}}}}"#);
            assert!(serde_json::from_str::<Sample>(&text).is_err(), "{path}");
        }
    }
}
