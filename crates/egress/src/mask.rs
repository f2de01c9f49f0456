//! Replaces secrets in a host's responses by their placeholders, even if a stream is cut within a secret.
//! Pure.
//!
//! The jail can have a host echo guesses, so only a whole secret may change what the jail sees: a partial
//! match must not affect which bytes come, in which pieces, or when.
//!
//! - The last bytes of a stream are held back until more come or it ends; their number does not depend on
//!   their content. No timer releases them: the jail can have a host pause anywhere, in the middle of a
//!   secret.
//! - A byte that no secret can have releases them, so that lines, events and most JSON are not delayed.
//! - Nothing is compared with a part of a secret, which would take longer the more of it matches. A rolling
//!   hash over the secret's length has the same cost for every byte.
//!
//! Letter case is ignored. Encoded secrets (base64, compressed) are not found; callers request responses
//! that are not compressed.

use std::rc::Rc;

use zeroize::Zeroizing;

/// Minimum window in bytes, even for short secrets. A window is a power of two, which is all that it reveals
/// of the secrets' length.
const LEAST: usize = 256;
/// Factor of the hash: any odd number.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// Masks one stream with the secrets of one exchange.
#[derive(Clone)]
pub struct Mask {
    secrets: Rc<Secrets>,
    /// The end of the input: at least the length of the longest secret, and all that is held back.
    text: Zeroizing<Vec<u8>>,
    /// Bytes of `text` that were output.
    given: usize,
    /// End of the last replaced secret in `text`.
    replaced: usize,
    /// Rolling hash at the end of `text`, for each secret.
    hashes: Vec<u64>,
    /// Secrets in the bytes that are held back.
    hits: Vec<Hit>,
    found: bool,
}

struct Secrets {
    all: Vec<Secret>,
    /// Window in bytes; the longest secret fits in.
    window: usize,
    alphabet: Alphabet,
}

struct Secret {
    text: Zeroizing<Vec<u8>>,
    by: Vec<u8>,
    hash: u64,
    /// The weight in the hash of the byte that leaves it.
    weight: u64,
}

/// The bytes that secrets may have: one of two sets, so that the choice reveals nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Alphabet {
    /// Letters, digits, and the punctuation of tokens (RFC 6750, 2.1) and names.
    Token,
    /// All bytes that a header can carry.
    Printable,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Hit {
    start: usize,
    /// Reversed: of two secrets with the same start the longer one comes first.
    end: std::cmp::Reverse<usize>,
    secret: usize,
}

impl Mask {
    /// Takes pairs of a secret and its placeholder. Secrets are printable; empty ones are ignored.
    pub fn new(mut pairs: Vec<(Zeroizing<Vec<u8>>, Vec<u8>)>) -> Mask {
        pairs.retain(|(secret, _)| !secret.is_empty());
        let all: Vec<Secret> = pairs.into_iter().map(Secret::new).collect();
        let longest = all.iter().map(|secret| secret.text.len()).max();
        let alphabet = match all
            .iter()
            .all(|secret| Alphabet::Token.writes(&secret.text))
        {
            true => Alphabet::Token,
            false => Alphabet::Printable,
        };
        let secrets = Secrets {
            window: longest.unwrap_or_default().max(LEAST).next_power_of_two(),
            alphabet,
            all,
        };
        Mask::begin(Rc::new(secrets))
    }

    fn begin(secrets: Rc<Secrets>) -> Mask {
        Mask {
            text: Zeroizing::default(),
            given: 0,
            replaced: 0,
            hashes: vec![0; secrets.all.len()],
            hits: vec![],
            found: false,
            secrets,
        }
    }

    /// Masks a whole text; `None` if it has no secret.
    pub fn whole(&self, text: &[u8]) -> Option<Vec<u8>> {
        let mut mask = Mask::begin(Rc::clone(&self.secrets));
        let mut masked = mask.next(text);
        masked.extend(mask.end());
        mask.found.then_some(masked)
    }

    /// Takes the next bytes of the stream; returns the masked bytes that are released.
    pub fn next(&mut self, bytes: &[u8]) -> Vec<u8> {
        let fresh = self.text.len();
        self.text.extend_from_slice(bytes);
        self.find(fresh);
        let length = self.text.len();
        let held = &self.text[self.given..];
        let ended = held
            .iter()
            .rposition(|byte| !self.secrets.alphabet.has(*byte));
        let ended = ended.map_or(0, |last| self.given + last + 1);
        // A secret that begins before this position also ends in the text.
        let known = (length + 1).saturating_sub(self.secrets.window);
        let out = self.give(known.max(ended).max(self.given));
        self.forget(length.saturating_sub(self.secrets.window));
        out
    }

    /// Whether the stream, up to and with these bytes, has no secret. For streams in which nothing can be
    /// replaced: they are forwarded as they come, and so may be the first part of a secret that is cut.
    pub fn is_clean(&mut self, bytes: &[u8]) -> bool {
        self.next(bytes);
        !self.found
    }

    /// Returns the rest, masked, at the end of the stream.
    pub fn end(&mut self) -> Vec<u8> {
        self.give(self.text.len())
    }

    /// Notes the secrets that end in the text from `fresh` on.
    fn find(&mut self, fresh: usize) {
        for (at, (secret, hash)) in self.secrets.all.iter().zip(&mut self.hashes).enumerate() {
            let length = secret.text.len();
            for (index, byte) in self.text.iter().enumerate().skip(fresh) {
                // The text counts as preceded by zeros.
                let leaves = index.checked_sub(length).map_or(0, |left| self.text[left]);
                *hash = secret.roll(*hash, *byte, leaves);
                if *hash == secret.hash
                    && let Some(start) = (index + 1).checked_sub(length)
                    && self.text[start..=index].eq_ignore_ascii_case(&secret.text)
                {
                    self.found = true;
                    self.hits.push(Hit {
                        start,
                        end: std::cmp::Reverse(index + 1),
                        secret: at,
                    });
                }
            }
        }
    }

    /// Outputs the text up to `to`; all secrets that begin before it must be known. Overlapping secrets are
    /// replaced together, by the placeholder of the first.
    fn give(&mut self, to: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(to - self.given);
        let mut from = self.given.max(self.replaced);
        self.hits.sort_unstable();
        let known = self.hits.partition_point(|hit| hit.start < to);
        for hit in self.hits.drain(..known) {
            if hit.start >= self.replaced {
                out.extend_from_slice(self.text.get(from..hit.start).unwrap_or_default());
                out.extend_from_slice(&self.secrets.all[hit.secret].by);
            }
            self.replaced = self.replaced.max(hit.end.0);
            from = from.max(self.replaced);
        }
        out.extend_from_slice(self.text.get(from..to).unwrap_or_default());
        self.given = to;
        out
    }

    /// Drops the first `length` bytes of the text, which were output.
    fn forget(&mut self, length: usize) {
        self.text.drain(..length);
        self.given -= length;
        self.replaced = self.replaced.saturating_sub(length);
        for hit in &mut self.hits {
            hit.start -= length;
            hit.end.0 -= length;
        }
    }
}

impl Secret {
    fn new((text, by): (Zeroizing<Vec<u8>>, Vec<u8>)) -> Secret {
        let weight = text.iter().fold(1, |w: u64, _| w.wrapping_mul(FACTOR));
        let mut secret = Secret {
            hash: 0,
            text,
            by,
            weight,
        };
        secret.hash = secret
            .text
            .iter()
            .fold(0, |h, byte| secret.roll(h, *byte, 0));
        secret
    }

    /// Rolls the hash one byte further.
    fn roll(&self, hash: u64, comes: u8, leaves: u8) -> u64 {
        let [comes, leaves] = [comes, leaves].map(|byte| u64::from(byte.to_ascii_lowercase()));
        let next = hash.wrapping_mul(FACTOR).wrapping_add(comes);
        next.wrapping_sub(leaves.wrapping_mul(self.weight))
    }
}

impl Alphabet {
    fn writes(self, text: &[u8]) -> bool {
        text.iter().all(|byte| self.has(*byte))
    }

    fn has(self, byte: u8) -> bool {
        match self {
            Alphabet::Token => byte.is_ascii_alphanumeric() || b"-._~+/=:".contains(&byte),
            Alphabet::Printable => matches!(byte, b' '..=b'~'),
        }
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
        let text = b"a-secretsecret-b-secre c secresecret";
        let expected = b"a-PP-b-secre c secreP";
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
    fn what_ends_in_a_byte_of_no_secret_is_not_held_back() {
        let mut token = mask(&[("secret", "P")]);
        assert_eq!(token.next(b"data: 1\n\n"), b"data: 1\n\n");
        assert_eq!(token.next(b"{\"a\": \"secre\"}"), b"{\"a\": \"secre\"}");
        assert_eq!(token.next(b"data: sec"), b"data: ");
        assert_eq!(token.next(b"ond\n\n"), b"second\n\n");
        assert_eq!(token.end(), b"");
        let mut printable = mask(&[("a secret", "P")]);
        assert_eq!(printable.next(b"data: 1\n\n{\"b\"}"), b"data: 1\n\n");
        assert_eq!(printable.next(b"\n"), b"{\"b\"}\n");
        assert_eq!(printable.end(), b"");
    }

    /// The place of a byte decides whether it is held back, not its value.
    #[test]
    fn the_beginning_of_a_secret_comes_as_any_other_bytes() {
        let secret = "s3cr3t-token-of-good-example";
        let pieces = |guess: &str| {
            let mut mask = mask(&[(secret, "P")]);
            let mut pieces = vec![];
            for many in [0, 1, 240, 255, 256, 257, 1000] {
                let text = format!("{}{guess}", "x".repeat(many));
                for part in [text.as_bytes(), &text.as_bytes()[..many], b"y"] {
                    pieces.push(mask.next(part).len());
                }
            }
            pieces.push(mask.end().len());
            pieces
        };
        for length in 1..secret.len() {
            let right = pieces(&secret[..length]);
            assert_eq!(right, pieces(&"z".repeat(length)), "{length}");
        }
        // The control: the whole of it is replaced.
        let length = secret.len();
        assert_ne!(pieces(secret), pieces(&"z".repeat(length)));
    }

    /// How much is held back is the same for secrets of about the same length.
    #[test]
    fn what_is_held_back_hides_the_length() {
        let held = |secret: &str| {
            let mut mask = mask(&[(secret, "P")]);
            1000 - mask.next(&[b'x'; 1000]).len()
        };
        assert_eq!(held("8 bytes."), held(&"s".repeat(200)));
        assert!(held(&"s".repeat(500)) > 499);
    }

    /// A body that keeps all of a long secret's beginning busy takes no longer than another.
    #[test]
    fn a_long_secret_costs_no_more_for_each_byte() {
        let long = "QUFB".repeat(10_000) + "end";
        let text = "QUFB".repeat(64 << 10);
        let started = std::time::Instant::now();
        let mut mask = mask(&[(&long, "P")]);
        let mut got = 0;
        for part in text.as_bytes().chunks(16 << 10) {
            got += mask.next(part).len();
        }
        got += mask.end().len();
        assert_eq!(got, text.len());
        // As much again for each byte of the secret would be minutes.
        assert!(started.elapsed() < std::time::Duration::from_secs(5));
    }

    #[test]
    fn of_two_that_overlap_neither_is_given() {
        let of = |text: &[u8]| mask(&[("abcd", "1"), ("abcdefgh", "2")]).whole(text);
        assert_eq!(of(b"abcdefgh").as_deref(), Some(&b"2"[..]));
        assert_eq!(of(b"abcdxabcd").as_deref(), Some(&b"1x1"[..]));
        assert_eq!(of(b"xABCDeF").as_deref(), Some(&b"x1eF"[..]));
        assert_eq!(of(b"abc"), None);
        assert_eq!(
            mask(&[("abab", "1")]).whole(b"cababac"),
            Some(b"c1ac".to_vec())
        );
        assert_eq!(
            mask(&[("abab", "1")]).whole(b"cabababc"),
            Some(b"c1c".to_vec())
        );
        let mut seen = mask(&[("secret", "masked")]);
        assert!(seen.is_clean(b"a sec"));
        assert!(!seen.is_clean(b"ret b"));
    }

    proptest! {
        #[test]
        fn no_cut_gives_a_secret_away(
            text in "[ab ]{0,700}",
            cuts in prop::collection::vec(0usize..700, 0..6),
        ) {
            let mut mask = mask(&[("ababab", "-"), ("bbbbb", "=")]);
            let whole = mask.whole(text.as_bytes()).unwrap_or(text.clone().into_bytes());
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let mut got = vec![];
            for pair in cuts.windows(2) {
                got.extend(mask.next(&text.as_bytes()[pair[0]..pair[1]]));
            }
            got.extend(mask.end());
            prop_assert_eq!(&got, &whole);
            let got = String::from_utf8(got).unwrap();
            prop_assert!(!got.contains("ababab") && !got.contains("bbbbb"), "{text} {got}");
        }
    }
}
