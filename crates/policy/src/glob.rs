//! Patterns in paths: `*`, `?`, `[..]` and `**`, and what they mean as text.
//!
//! A pattern is split at its slashes. `**` matches any number of directories, `*` any run of characters
//! within a name, `?` one character, `[a-z]` one of these, `[!a-z]` one that is none of these. `[*]` is a
//! literal star. A name that begins with a dot is hidden: in a grant only a pattern with the dot written
//! out matches it, in a denial every pattern does, so both err on the side that allows less. It refuses a
//! `**` next to other characters and a bracket that is not closed. [`super::expand`] asks which names
//! exist.

use super::fault::PathFault;

/// The names that a wildcard matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sense {
    /// Names that are not hidden.
    Grant,
    /// All names.
    Denial,
}

/// A path with wildcards in it, absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    parts: Vec<Part>,
}

/// The text between two slashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// A name without wildcards.
    Name(String),
    /// A name with wildcards.
    Wild(Vec<Token>),
    /// `**`: any number of directories, including none.
    Deep,
}

/// A part of a name with wildcards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    /// This character.
    Char(char),
    /// `?`
    One,
    /// `*`
    Run,
    /// `[a-z]` or `[!a-z]`: one character.
    Class {
        /// Whether the class matches the characters outside of the ranges.
        not: bool,
        /// The first and the last character of each range.
        ranges: Vec<(char, char)>,
    },
}

/// Whether a path is a pattern, not a plain name.
pub fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// Why a pattern is invalid; `None` if it is valid.
pub fn fault(text: &str) -> Option<PathFault> {
    text.split('/').find_map(|part| match part {
        "**" => None,
        _ if part.contains("**") => Some(PathFault::Stars),
        _ => tokens(part).is_none().then_some(PathFault::Bracket),
    })
}

/// The pattern that matches `path` alone.
pub fn escape(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for c in path.chars() {
        match c {
            '*' | '?' | '[' => out.extend(['[', c, ']']),
            c => out.push(c),
        }
    }
    out
}

impl Pattern {
    /// Parses text without a [`fault`]; a part with a fault is taken literally.
    pub fn parse(text: &str) -> Pattern {
        let mut parts = vec![];
        for text in text.split('/').filter(|p| !p.is_empty() && *p != ".") {
            let part = part(text);
            // Two adjacent `**` match the same as one.
            if part != Part::Deep || parts.last() != Some(&Part::Deep) {
                parts.push(part);
            }
        }
        // A last `**` is the same as `*`, because a path includes everything beneath it.
        if let Some(last) = parts.last_mut()
            && *last == Part::Deep
        {
            *last = Part::Wild(vec![Token::Run]);
        }
        Pattern { parts }
    }

    /// The parts of the pattern, from the root.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The path, if the pattern has no wildcard.
    pub fn literal(&self) -> Option<String> {
        let plain = self.parts.iter().all(|p| matches!(p, Part::Name(_)));
        plain.then(|| self.base())
    }

    /// The directory above the first wildcard.
    pub fn base(&self) -> String {
        let mut path = String::new();
        for part in &self.parts {
            let Part::Name(name) = part else { break };
            path.push('/');
            path.push_str(name);
        }
        match path.is_empty() {
            true => "/".into(),
            false => path,
        }
    }

    /// The same pattern, with another directory above the first wildcard.
    pub fn rebased(&self, base: &str) -> Pattern {
        let names = base.split('/').filter(|name| !name.is_empty());
        let names = names.map(|name| Part::Name(name.into()));
        let wild = self.parts.iter().skip_while(|p| matches!(p, Part::Name(_)));
        Pattern {
            parts: names.chain(wild.cloned()).collect(),
        }
    }

    /// Whether it matches `path`.
    pub fn meets(&self, path: &str, sense: Sense) -> bool {
        self.after(path, sense).contains(&self.parts.len())
    }

    /// Whether it can match a name beneath the directory `tree`.
    pub fn reaches_beneath(&self, tree: &str) -> bool {
        let after = self.after(tree, Sense::Denial);
        after.iter().any(|at| *at < self.parts.len())
    }

    /// The positions in the pattern that are possible after matching all of `path`.
    fn after(&self, path: &str, sense: Sense) -> Vec<usize> {
        let mut at = self.past_deep(vec![0]);
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let mut next = vec![];
            for at in at {
                match self.parts.get(at) {
                    // `**` takes this directory too, and may end here.
                    Some(Part::Deep) if seen(name, sense) => next.push(at),
                    Some(part) if *part != Part::Deep && part.accepts(name, sense) => {
                        next.push(at + 1);
                    }
                    _ => {}
                }
            }
            at = self.past_deep(next);
        }
        at
    }

    /// These positions, and those after a `**` that matches nothing.
    fn past_deep(&self, mut places: Vec<usize>) -> Vec<usize> {
        let behind = |at: &usize| self.parts.get(*at) == Some(&Part::Deep);
        let more: Vec<usize> = places
            .iter()
            .filter(|at| behind(at))
            .map(|a| a + 1)
            .collect();
        places.extend(more);
        places.sort_unstable();
        places.dedup();
        places
    }
}

impl Part {
    /// Whether this part matches a directory entry of that name. A `**` alone matches none.
    pub fn accepts(&self, name: &str, sense: Sense) -> bool {
        match self {
            Part::Name(own) => own == name,
            Part::Deep => false,
            Part::Wild(tokens) => {
                let dotted = tokens.first() == Some(&Token::Char('.'));
                let chars: Vec<char> = name.chars().collect();
                let is_run = |token: &Token| *token == Token::Run;
                (dotted || seen(name, sense)) && run(tokens, &chars, is_run, |t, c| t.meets(*c))
            }
        }
    }
}

/// Whether a wildcard without a written dot can match the name.
pub fn seen(name: &str, sense: Sense) -> bool {
    sense == Sense::Denial || !name.starts_with('.')
}

fn part(text: &str) -> Part {
    if text == "**" {
        return Part::Deep;
    }
    let tokens = tokens(text).unwrap_or_else(|| text.chars().map(Token::Char).collect());
    let plain = |token: &Token| match token {
        Token::Char(c) => Some(*c),
        _ => None,
    };
    match tokens.iter().map(plain).collect::<Option<String>>() {
        Some(name) => Part::Name(name),
        None => Part::Wild(tokens),
    }
}

/// `None` if a bracket is not closed or is empty.
fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut out = vec![];
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        out.push(match c {
            '*' => Token::Run,
            '?' => Token::One,
            '[' => class(&mut rest)?,
            c => Token::Char(c),
        });
    }
    Some(out)
}

/// glob(7): a `]` in first position is a member of the class.
fn class(rest: &mut std::str::Chars<'_>) -> Option<Token> {
    let mut ranges = vec![];
    let mut ahead = rest.clone();
    let not = matches!(ahead.next(), Some('!' | '^'));
    if not {
        rest.next();
    }
    loop {
        let from = match rest.next()? {
            ']' if !ranges.is_empty() => break,
            c => c,
        };
        let mut ahead = rest.clone();
        let to = match (ahead.next(), ahead.next()) {
            (Some('-'), Some(to)) if to != ']' => {
                *rest = ahead;
                to
            }
            _ => from,
        };
        if to < from {
            return None;
        }
        ranges.push((from, to));
    }
    Some(match ranges.as_slice() {
        [(from, to)] if !not && from == to => Token::Char(*from),
        _ => Token::Class { not, ranges },
    })
}

/// `*` matches any run of bytes; every other byte matches itself.
pub fn stars(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    run(pattern, text, |p| *p == b'*', |p, c| p == c)
}

/// Whether the whole text matches the pattern. Only the last star is retried, so a text costs at most its
/// length times the pattern's.
pub(super) fn run<P, C>(
    pattern: &[P],
    text: &[C],
    is_star: impl Fn(&P) -> bool,
    meets: impl Fn(&P, &C) -> bool,
) -> bool {
    let (mut place, mut at) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while let Some(c) = text.get(at) {
        match pattern.get(place) {
            Some(one) if is_star(one) => {
                star = Some((place, at));
                place += 1;
            }
            Some(one) if meets(one, c) => {
                place += 1;
                at += 1;
            }
            _ => match star {
                None => return false,
                // Let the last star take one more.
                Some((last, from)) => {
                    star = Some((last, from + 1));
                    place = last + 1;
                    at = from + 1;
                }
            },
        }
    }
    pattern.get(place..).unwrap_or_default().iter().all(is_star)
}

impl Token {
    pub(super) fn meets(&self, c: char) -> bool {
        match self {
            Token::Char(own) => *own == c,
            Token::One => true,
            Token::Run => false,
            Token::Class { not, ranges } => {
                ranges.iter().any(|(from, to)| (*from..=*to).contains(&c)) != *not
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meets(pattern: &str, path: &str, sense: Sense) -> bool {
        assert_eq!(fault(pattern), None, "{pattern}");
        Pattern::parse(pattern).meets(path, sense)
    }

    #[test]
    fn what_a_pattern_meets() {
        for (pattern, path, met) in [
            ("/a/*", "/a/b", true),
            ("/a/*", "/a", false),
            ("/a/*", "/a/b/c", false),
            ("/a/*.rs", "/a/x.rs", true),
            ("/a/*.rs", "/a/x.rsx", false),
            ("/a/*a*b", "/a/xaybab", true),
            ("/a/*a*b", "/a/xayba", false),
            ("/a/?", "/a/ä", true),
            ("/a/?", "/a/ab", false),
            ("/a/[a-c]", "/a/b", true),
            ("/a/[a-c]", "/a/d", false),
            ("/a/[!a-c]", "/a/d", true),
            ("/a/[^a-c]", "/a/a", false),
            ("/a/[]x]", "/a/]", true),
            ("/a/[a-]", "/a/-", true),
            ("/a/[*]", "/a/*", true),
            ("/a/[*]", "/a/b", false),
            ("/a/**/x", "/a/x", true),
            ("/a/**/x", "/a/b/c/x", true),
            ("/a/**/x", "/a/b/xx", false),
            ("/a/**/**/x", "/a/b/x", true),
            ("/**/x", "/x", true),
            ("/a/**", "/a/b", true),
            ("/a/**", "/a", false),
            ("/a/*/c/**/e", "/a/b/c/d/e", true),
            ("/a//./*/", "/a/b", true),
            ("/a/{b,c}*", "/a/{b,c}d", true),
        ] {
            assert_eq!(meets(pattern, path, Sense::Denial), met, "{pattern} {path}");
            assert_eq!(meets(pattern, path, Sense::Grant), met, "{pattern} {path}");
        }
    }

    #[test]
    fn a_hidden_name_is_met_by_denials_and_by_a_written_dot() {
        for (pattern, path) in [
            ("/a/*", "/a/.b"),
            ("/a/?b", "/a/.b"),
            ("/a/**/x", "/a/.b/x"),
        ] {
            assert!(meets(pattern, path, Sense::Denial), "{pattern} {path}");
            assert!(!meets(pattern, path, Sense::Grant), "{pattern} {path}");
        }
        for (pattern, path) in [
            ("/a/.*", "/a/.b"),
            ("/a/[.]b*", "/a/.bc"),
            ("/a/.b/*", "/a/.b/c"),
        ] {
            assert!(meets(pattern, path, Sense::Grant), "{pattern} {path}");
        }
    }

    #[test]
    fn what_says_nothing_is_refused() {
        for pattern in ["/a/**b", "/a/b**", "/***"] {
            assert_eq!(fault(pattern), Some(PathFault::Stars), "{pattern}");
        }
        for pattern in ["/a/[", "/a/[]", "/a/[b", "/a/[b/c]", "/a/[!]", "/a/[z-a]"] {
            assert_eq!(fault(pattern), Some(PathFault::Bracket), "{pattern}");
        }
        assert_eq!(fault("/a]"), None);
    }

    #[test]
    fn a_name_with_wildcards_in_it_can_be_written() {
        for path in ["/a/[slug].tsx", "/*", "/a?/[", "/a"] {
            let pattern = escape(path);
            assert_eq!(fault(&pattern), None, "{pattern}");
            assert_eq!(Pattern::parse(&pattern).literal().as_deref(), Some(path));
        }
        assert_eq!(Pattern::parse("/a/b*/c").literal(), None);
        assert_eq!(Pattern::parse("/a/b/c*/d").base(), "/a/b");
        assert_eq!(Pattern::parse("/*").base(), "/");
        let moved = Pattern::parse("/a/*/c").rebased("/x/y");
        assert_eq!(moved, Pattern::parse("/x/y/*/c"));
    }

    #[test]
    fn what_lies_beneath_a_tree_may_be_met() {
        for (pattern, tree, reaches) in [
            ("/w/*.pem", "/w", true),
            ("/w/*.pem", "/", true),
            ("/w/*.pem", "/w/a", false),
            ("/w/*.pem", "/v", false),
            ("/w/**/.env", "/w/a/b", true),
            ("/w/**/.env", "/v", false),
            ("/w/*/x", "/w/a", true),
            ("/w/*/x", "/w/a/x", false),
        ] {
            let pattern_ = Pattern::parse(pattern);
            assert_eq!(pattern_.reaches_beneath(tree), reaches, "{pattern} {tree}");
        }
    }

    #[test]
    fn a_hostile_name_costs_little() {
        let pattern = format!("/{}b", "*a".repeat(200));
        let name = format!("/{}", "a".repeat(250));
        assert!(!meets(&pattern, &name, Sense::Denial));
    }
}
