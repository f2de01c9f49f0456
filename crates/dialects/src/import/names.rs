//! Lists of tools in other programs' notation.
//!
//! If two programs use one name for different tools, a conversion could grant what was denied. So a name
//! that creel reads as a wider tool is used in denials only, and a glob of a denial is also matched
//! against every name for which creel has an alias.

use creel_policy::glob::stars;
use creel_policy::tools::{Pattern, PatternFault, aliases, canonical};

/// Aliases with the same meaning in both programs, not a wider one.
const SAME: [&str; 5] = [
    "bash",
    "apply-patch",
    "web_fetch",
    "multi_edit",
    "send_message",
];

/// The patterns for an entry of an allow list; they match nothing that the entry does not.
pub fn granted(word: &str) -> Result<Vec<Pattern>, Wider> {
    let name = word.trim().to_ascii_lowercase();
    let tool = canonical(&name);
    if tool != name && !SAME.contains(&name.as_str()) {
        return Err(Wider::Tool(tool));
    }
    let mut patterns = Pattern::parse(word).map_err(Wider::Fault)?;
    if name.contains('*') {
        // `web_*` matches web_fetch, which is an alias of `fetch` here.
        for (alias, tool) in aliases().filter(|(alias, _)| SAME.contains(alias)) {
            if stars(&name, alias) {
                patterns.extend(Pattern::parse(tool).unwrap_or_default());
            }
        }
    }
    Ok(patterns)
}

/// Why an entry of an allow list grants nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wider {
    /// Creel uses one tool for this name and for others.
    Tool(String),
    Fault(PatternFault),
}

/// The patterns for an entry of a deny list, including every tool whose alias it matches.
pub fn denied(word: &str) -> Result<Vec<Pattern>, PatternFault> {
    let mut patterns = Pattern::parse(word)?;
    let name = word.trim().to_ascii_lowercase();
    for (alias, tool) in aliases() {
        if stars(&name, alias) {
            patterns.extend(Pattern::parse(tool).unwrap_or_default());
        }
    }
    patterns.sort();
    patterns.dedup();
    Ok(patterns)
}

/// The names that both lists allow. Two globs that overlap without one containing the other give nothing:
/// less than both, never more.
pub fn common(a: &[Pattern], b: &[Pattern]) -> Vec<Pattern> {
    let within = |p: &Pattern, list: &[Pattern]| list.iter().any(|outer| outer.matches(p.text()));
    let mut both: Vec<Pattern> = a.iter().filter(|p| within(p, b)).cloned().collect();
    both.extend(b.iter().filter(|p| within(p, a)).cloned());
    both.sort();
    both.dedup();
    both
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(patterns: Vec<Pattern>) -> Vec<String> {
        patterns.iter().map(|p| p.text().to_owned()).collect()
    }

    #[test]
    fn a_wider_name_denies_and_does_not_grant() {
        assert_eq!(
            texts(denied("web_*").unwrap()),
            ["browser", "fetch", "web_*"]
        );
        assert_eq!(granted("code_execution"), Err(Wider::Tool("exec".into())));
        assert_eq!(granted("web_search"), Err(Wider::Tool("fetch".into())));
        assert_eq!(texts(granted("Bash").unwrap()), ["exec"]);
        assert_eq!(texts(granted("web_*").unwrap()), ["web_*", "fetch"]);
    }

    #[test]
    fn what_is_common_is_in_both() {
        let list = |words: &[&str]| -> Vec<Pattern> {
            words
                .iter()
                .flat_map(|w| Pattern::parse(w).unwrap())
                .collect()
        };
        let both = |a: &[&str], b: &[&str]| texts(common(&list(a), &list(b)));
        assert_eq!(
            both(&["*"], &["read", "sessions_*"]),
            ["read", "sessions_*"]
        );
        assert_eq!(both(&["sessions_*"], &["sessions_send"]), ["sessions_send"]);
        assert_eq!(both(&["a*"], &["*b"]), [""; 0]);
        assert_eq!(both(&["read"], &["write"]), [""; 0]);
    }
}
