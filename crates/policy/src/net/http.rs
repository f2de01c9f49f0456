//! The requests that a rule grants, and paths that cannot be decided safely.

use std::collections::BTreeSet;

use super::fault::RuleError;
use crate::glob::stars;

/// A set of requests.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Http {
    /// Upper case; if empty, any.
    pub methods: BTreeSet<String>,
    /// Patterns of paths, with `*` for any run of characters; if empty, any.
    pub paths: BTreeSet<String>,
}

impl Http {
    /// An error unless methods are upper-case words, and paths begin with `/` and are canonical.
    pub fn new(methods: BTreeSet<String>, paths: BTreeSet<String>) -> Result<Http, RuleError> {
        let word =
            |m: &String| !m.is_empty() && m.bytes().all(|b| b.is_ascii_uppercase() || b == b'-');
        if let Some(method) = methods.iter().find(|m| !word(m)) {
            return Err(RuleError::Method(method.clone()));
        }
        let odd = |path: &&String| path.contains(['?', '#']) || ambiguous(path).is_some();
        match paths.iter().find(odd) {
            Some(path) => Err(RuleError::Path(path.clone())),
            None => Ok(Http { methods, paths }),
        }
    }

    /// Whether a request is in the set. `path` is as sent, without the query.
    pub fn allows(&self, method: &str, path: &str) -> bool {
        let matches = |p: &String| stars(p, path);
        (self.methods.is_empty() || self.methods.contains(method))
            && (self.paths.is_empty() || self.paths.iter().any(matches))
    }

    pub(super) fn covers(&self, other: &Http) -> bool {
        let within = |own: &BTreeSet<String>, other: &BTreeSet<String>| {
            own.is_empty() || (!other.is_empty() && own.is_superset(other))
        };
        let path = |path: &String| {
            // A pattern's `*` may match any run that another pattern's `*` matches.
            self.paths.iter().any(|own| {
                own == path
                    || !path.contains('*') && stars(own, path)
                    || own
                        .strip_suffix('*')
                        .is_some_and(|own| !own.contains('*') && path.starts_with(own))
            })
        };
        within(&self.methods, &other.methods)
            && (self.paths.is_empty() || !other.paths.is_empty() && other.paths.iter().all(path))
    }
}

/// Why servers may read this path in different ways; `None` if they do not. One server may read as a name
/// what another reads as a step up, a separator or a parameter. Rules with paths refuse such a path.
pub fn ambiguous(path: &str) -> Option<&'static str> {
    if !path.starts_with('/') {
        return Some("does not begin with '/'");
    }
    let segment = |s: &str| s == "." || s == "..";
    if path.split('/').any(segment) {
        return Some("has a segment of dots");
    }
    if path.contains("//") {
        return Some("has an empty segment");
    }
    for (at, byte) in path.bytes().enumerate() {
        match byte {
            b'\\' => return Some("has a backslash"),
            b';' => return Some("has a parameter"),
            0..=b' ' | 0x7f.. => return Some("has a control character, a blank or raw bytes"),
            b'%' => {
                let hex = path.get(at + 1..at + 3);
                let hex = hex.filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
                let byte = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
                match byte {
                    None => return Some("has a broken escape"),
                    // A dot, a separator, a parameter, another escape, the end of the path, a character
                    // invalid in paths; C0 and C1 start an overlong form of one.
                    Some(b'.' | b'/' | b'\\' | b';' | b'%' | b'?' | b'#') => {
                        return Some("hides a separator or a dot in an escape");
                    }
                    Some(0..=0x1f | 0x7f | 0xc0 | 0xc1) => {
                        return Some("hides a control character in an escape");
                    }
                    Some(_) => {}
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ambiguous_paths() {
        for path in [
            "/", "/a", "/a/b.c", "/a...b", "/...", "/a%20b", "/%C3%A4", "/a/", "/a+b=c&d", "/~x",
        ] {
            assert_eq!(ambiguous(path), None, "{path}");
        }
        for path in [
            "",
            "*",
            "a",
            "http://x/",
            "/..",
            "/../a",
            "/a/..",
            "/a/./b",
            "/.",
            "/a//b",
            "//",
            "/%2e%2e/",
            "/a%2E",
            "/a%2fb",
            "/a%5Cb",
            "/a\\b",
            "/a;b",
            "/a%3bb",
            "/a%252e",
            "/a%",
            "/a%2",
            "/a%zz",
            "/a%u002e",
            "/a\0",
            "/a\nb",
            "/a b",
            "/a%00",
            "/a%0a",
            "/a\u{7f}",
            "/ä",
            "/%c0%ae",
            "/a%3fb",
            "/a%23",
        ] {
            assert!(ambiguous(path).is_some(), "{path:?}");
        }
    }

    #[test]
    fn what_covers_allows_all_that_the_other_does() {
        let http = |methods: &[&str], paths: &[&str]| Http {
            methods: methods.iter().map(|m| (*m).to_owned()).collect(),
            paths: paths.iter().map(|p| (*p).to_owned()).collect(),
        };
        let any = http(&[], &[]);
        for (outer, inner, covers) in [
            (&any, &http(&["GET"], &["/a"]), true),
            (&http(&["GET"], &["/a"]), &any, false),
            (&http(&["GET"], &[]), &any, false),
            (&http(&[], &["/a"]), &any, false),
            (&http(&["GET", "PUT"], &[]), &http(&["GET"], &["/a"]), true),
            (&http(&["GET"], &[]), &http(&["GET", "PUT"], &[]), false),
            (&http(&[], &["/a/*"]), &http(&[], &["/a/b", "/a/*"]), true),
            (
                &http(&[], &["/a/*"]),
                &http(&[], &["/a/b*", "/a/*/c"]),
                true,
            ),
            (&http(&[], &["/a/*"]), &http(&[], &["/b"]), false),
            (&http(&[], &["/a/b"]), &http(&[], &["/a/*"]), false),
            // `*` may stand for what ends otherwise.
            (&http(&[], &["/*/a"]), &http(&[], &["/x/*"]), false),
            (&http(&[], &["/*/a"]), &http(&[], &["/*"]), false),
            (&http(&[], &["/*/a*"]), &http(&[], &["/*/ab*"]), false),
            (&http(&[], &["/*/a*"]), &http(&[], &["/x/ab"]), true),
        ] {
            assert_eq!(outer.covers(inner), covers, "{outer:?} {inner:?}");
        }
    }
}
