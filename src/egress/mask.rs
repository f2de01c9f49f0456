//! Takes secrets out of what comes back: each is replaced by its placeholder, wherever in a stream it
//! is cut. Pure.
//!
//! Bytes are held back only while they may be the beginning of a secret, so that a stream of events
//! is not delayed. What was encoded (base64, compressed) is not seen: whoever uses a mask asks for
//! answers that are not compressed.

use zeroize::Zeroizing;

/// The secrets of one exchange.
#[derive(Clone)]
pub struct Mask {
    /// Secret and what stands for it.
    pairs: Vec<(Zeroizing<Vec<u8>>, Vec<u8>)>,
    /// The end of what came: the beginning of a secret, shorter than the longest.
    held: Zeroizing<Vec<u8>>,
    found: bool,
}

impl Mask {
    /// No secret is empty.
    pub fn new(mut pairs: Vec<(Zeroizing<Vec<u8>>, Vec<u8>)>) -> Mask {
        pairs.retain(|(secret, _)| !secret.is_empty());
        // Where two begin at the same place the longer one is replaced.
        pairs.sort_by_key(|(secret, _)| std::cmp::Reverse(secret.len()));
        Mask {
            pairs,
            held: Zeroizing::default(),
            found: false,
        }
    }

    /// A whole text without secrets; `None` where it has none to begin with.
    pub fn whole(&self, text: &[u8]) -> Option<Vec<u8>> {
        let mut mask = self.clone();
        mask.held.clear();
        let mut masked = mask.next(text);
        masked.extend(mask.end());
        (masked != text).then_some(masked)
    }

    /// The next bytes of a stream.
    pub fn next(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut text = std::mem::take(&mut self.held);
        text.extend_from_slice(bytes);
        let (out, kept) = self.replace(&text);
        self.held = Zeroizing::new(text[kept..].to_vec());
        out
    }

    /// Whether a stream up to and with these bytes has no secret, for a stream that nothing can be
    /// replaced in: it is given on as it comes, and so may be the first part of a secret that is cut.
    pub fn is_clean(&mut self, bytes: &[u8]) -> bool {
        self.next(bytes);
        !self.found
    }

    /// What is left at the end of a stream.
    pub fn end(&mut self) -> Vec<u8> {
        let mut rest = std::mem::take(&mut self.held);
        let mut out = vec![];
        // What was held may begin one secret and be, or have in it, another that is shorter.
        while !rest.is_empty() {
            let whole = self.pairs.iter().find(|(s, _)| rest.starts_with(s));
            let (by, length) = match whole {
                Some((secret, by)) => (by.as_slice(), secret.len()),
                None => (&rest[..1], 1),
            };
            out.extend_from_slice(by);
            rest = Zeroizing::new(rest[length..].to_vec());
        }
        out
    }

    /// The text without its secrets, and where the rest begins that may be the beginning of one.
    fn replace(&mut self, text: &[u8]) -> (Vec<u8>, usize) {
        let mut out = Vec::with_capacity(text.len());
        let mut rest = text;
        // Most bytes begin no secret: they are passed over without comparing.
        while let Some(at) = rest.iter().position(|byte| self.begins(*byte)) {
            out.extend_from_slice(&rest[..at]);
            rest = &rest[at..];
            let longer = |s: &Vec<u8>| s.len() > rest.len() && s.starts_with(rest);
            if self.pairs.iter().any(|(secret, _)| longer(secret)) {
                return (out, text.len() - rest.len());
            }
            match self.pairs.iter().find(|(s, _)| rest.starts_with(s)) {
                Some((secret, by)) => {
                    out.extend_from_slice(by);
                    rest = &rest[secret.len()..];
                    self.found = true;
                }
                None => {
                    out.push(rest[0]);
                    rest = &rest[1..];
                }
            }
        }
        out.extend_from_slice(rest);
        (out, text.len())
    }

    fn begins(&self, byte: u8) -> bool {
        self.pairs.iter().any(|(s, _)| s.first() == Some(&byte))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mask(pairs: &[(&str, &str)]) -> Mask {
        let pairs = pairs.iter();
        Mask::new(
            pairs
                .map(|(s, by)| {
                    (
                        Zeroizing::new(s.as_bytes().to_vec()),
                        by.as_bytes().to_vec(),
                    )
                })
                .collect(),
        )
    }

    #[test]
    fn a_secret_is_found_wherever_the_stream_is_cut() {
        let text = b"a secretsecret b secre c secresecret";
        let expected = b"a PP b secre c secreP";
        for cut in 0..text.len() {
            for second in cut..text.len() {
                let mut mask = mask(&[("secret", "P")]);
                let mut got = mask.next(&text[..cut]);
                got.extend(mask.next(&text[cut..second]));
                got.extend(mask.next(&text[second..]));
                got.extend(mask.end());
                assert_eq!(got, expected, "{cut} {second}");
            }
        }
    }

    #[test]
    fn what_begins_no_secret_is_not_held_back() {
        let mut mask = mask(&[("secret", "P")]);
        assert_eq!(mask.next(b"data: 1\n\n"), b"data: 1\n\n");
        assert_eq!(mask.next(b"data: sec"), b"data: ");
        assert_eq!(mask.next(b"ond\n\n"), b"second\n\n");
        assert_eq!(mask.end(), b"");
    }

    #[test]
    fn of_two_that_overlap_neither_is_given() {
        let of = |text: &[u8]| mask(&[("abcd", "1"), ("abcdefgh", "2")]).whole(text);
        assert_eq!(of(b"abcdefgh").as_deref(), Some(&b"2"[..]));
        assert_eq!(of(b"abcdxabcd").as_deref(), Some(&b"1x1"[..]));
        assert_eq!(of(b"abc"), None);
        let mut cut = mask(&[("abcd", "1"), ("abcdefgh", "2")]);
        assert_eq!(cut.next(b"abcd"), b"");
        assert_eq!(cut.next(b"efgh"), b"2");
        assert_eq!(cut.next(b"xabcde"), b"x");
        assert_eq!(cut.end(), b"1e");
        let mut seen = mask(&[("secret", "masked")]);
        assert!(seen.is_clean(b"a sec"));
        assert!(!seen.is_clean(b"ret b"));
    }

    proptest! {
        #[test]
        fn no_cut_gives_a_secret_away(
            text in "[ab]{0,60}",
            cuts in prop::collection::vec(0usize..60, 0..6),
        ) {
            let mut mask = mask(&[("abab", "-"), ("bbb", "=")]);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let mut got = vec![];
            for pair in cuts.windows(2) {
                got.extend(mask.next(&text.as_bytes()[pair[0]..pair[1]]));
            }
            got.extend(mask.end());
            let got = String::from_utf8(got).unwrap();
            prop_assert!(!got.contains("abab") && !got.contains("bbb"), "{text} {got}");
        }
    }
}
