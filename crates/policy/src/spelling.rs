//! The known word that a misspelt word was probably meant to be.

/// The word of `known` nearest to `word`: at most two edits away (insertions, deletions and replacements
/// of one character), and at most half of its length. `None` if two are equally near.
pub fn nearest(word: &str, known: &[&'static str]) -> Option<&'static str> {
    // No known word is near such a long text, and the distance costs the product of both lengths.
    if word.len() > 64 {
        return None;
    }
    let mut most = (word.chars().count() / 2).min(2) + 1;
    let mut best = None;
    for &candidate in known {
        let distance = strsim::levenshtein(word, candidate);
        if distance < most {
            (most, best) = (distance, Some(candidate));
        } else if distance == most {
            best = None;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggestions() {
        let known = ["read", "write", "exec", "deny", "rw", "ro1", "ro2"];
        for (word, expected) in [
            ("raed", Some("read")),
            ("reed", Some("read")),
            ("writes", Some("write")),
            ("wirte", Some("write")),
            ("exe", Some("exec")),
            ("rx", Some("rw")),
            ("rod", None),
            ("rea", Some("read")),
            ("", None),
            ("x", None),
            ("foo", None),
            ("forbid", None),
        ] {
            assert_eq!(nearest(word, &known), expected, "{word:?}");
        }
        assert_eq!(nearest(&"r".repeat(1_000_000), &known), None);
    }
}
