//! Matches many names against one part of a pattern.
//!
//! Owns what can be done once for a part or once for a name: the split of a part at its stars, its form for
//! directories that ignore case, and the characters of a name. A walk of a tree compares each name with
//! every pattern. The result is that of [`Part::accepts`](super::glob::Part::accepts). It refuses nothing.

use super::glob::{Sense, Token, run, seen};

/// A part of a pattern that has wildcards.
#[derive(Debug)]
pub struct Matcher {
    sense: Sense,
    /// Whether the part begins with a written dot.
    dotted: bool,
    exact: Shape,
    /// The part as a directory that ignores case compares it, if that differs.
    folded: Option<Shape>,
}

/// A name, prepared for comparisons.
#[derive(Debug, Default)]
pub struct Name {
    hidden: bool,
    chars: Vec<char>,
    /// The characters in lower case.
    lower: Vec<char>,
}

impl Name {
    /// Takes the next name; the memory of the previous one is used again.
    pub fn set(&mut self, text: &str) {
        self.hidden = !seen(text, Sense::Grant);
        self.chars.clear();
        self.chars.extend(text.chars());
        self.lower.clear();
        self.lower.extend(self.chars.iter().copied().map(lower));
    }
}

impl Matcher {
    /// Prepares a part for the names of one sense.
    pub fn new(tokens: &[Token], sense: Sense) -> Matcher {
        let folded: Vec<Token> = tokens.iter().map(folded).collect();
        Matcher {
            sense,
            dotted: tokens.first() == Some(&Token::Char('.')),
            exact: Shape::new(tokens),
            folded: (folded != tokens).then(|| Shape::new(&folded)),
        }
    }

    /// Whether the part matches a directory entry of that name.
    pub fn accepts(&self, name: &Name) -> bool {
        let shown = self.dotted || self.sense == Sense::Denial || !name.hidden;
        shown && self.exact.accepts(&name.chars)
    }

    /// Whether the part of a denial may match another spelling of the name, in a directory that ignores case.
    /// A grant matches only the written spelling.
    pub fn may_accept_spelt(&self, name: &Name) -> bool {
        let spelt = match &self.folded {
            Some(folded) => folded.accepts(&name.lower),
            None => self.exact.accepts(&name.lower),
        };
        self.sense == Sense::Denial && spelt
    }
}

/// The tokens of a part.
#[derive(Debug)]
struct Shape {
    tokens: Vec<Token>,
    /// The number of tokens before the first star and after the last one; `None` without a star.
    ends: Option<(usize, usize)>,
}

impl Shape {
    fn new(tokens: &[Token]) -> Shape {
        let is_run = |token: &Token| *token == Token::Run;
        let ends = tokens.iter().position(is_run).map(|head| {
            let tail = tokens.iter().rev().position(is_run).unwrap_or_default();
            (head, tail)
        });
        Shape {
            tokens: tokens.to_vec(),
            ends,
        }
    }

    /// Compares the ends first: most names differ there.
    fn accepts(&self, name: &[char]) -> bool {
        let meets = |tokens: &[Token], chars: &[char]| {
            tokens.len() == chars.len() && tokens.iter().zip(chars).all(|(t, c)| t.meets(*c))
        };
        let Some((head, tail)) = self.ends else {
            return meets(&self.tokens, name);
        };
        let Some(stars) = name.len().checked_sub(head + tail) else {
            return false;
        };
        let (first, rest) = name.split_at(head);
        let (inner, last) = rest.split_at(stars);
        let (front, tokens) = self.tokens.split_at(head);
        let (middle, back) = tokens.split_at(tokens.len() - tail);
        meets(back, last)
            && meets(front, first)
            && run(middle, inner, |t| *t == Token::Run, |t, c| t.meets(*c))
    }
}

fn lower(c: char) -> char {
    match c.is_ascii() {
        true => c.to_ascii_lowercase(),
        false => c.to_lowercase().next().unwrap_or(c),
    }
}

/// The token for a directory that ignores case; names are compared with it in lower case.
fn folded(token: &Token) -> Token {
    match token {
        Token::Char(c) => Token::Char(lower(*c)),
        Token::Class { not: false, ranges } => {
            // A class may contain either spelling.
            let short = ranges.iter().filter(|(from, to)| from == to);
            let more = short.map(|(c, _)| (lower(*c), lower(*c)));
            let cased = ranges.iter().filter_map(|(from, to)| {
                let upper = from.is_ascii_uppercase() && to.is_ascii_uppercase();
                upper.then(|| (lower(*from), lower(*to)))
            });
            let mut all: Vec<(char, char)> =
                ranges.iter().copied().chain(more).chain(cased).collect();
            all.sort_unstable();
            all.dedup();
            Token::Class {
                not: false,
                ranges: all,
            }
        }
        // A name excluded by the class in one spelling matches it in the other.
        Token::Class { not: true, .. } => Token::One,
        token => token.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::glob::{Part, Pattern};

    fn name(text: &str) -> Name {
        let mut name = Name::default();
        name.set(text);
        name
    }

    /// The part of a pattern of one part.
    fn part(pattern: &str) -> Part {
        Pattern::parse(pattern).parts()[0].clone()
    }

    fn matcher(part: &Part, sense: Sense) -> Matcher {
        match part {
            Part::Wild(tokens) => Matcher::new(tokens, sense),
            part => panic!("{part:?} has no wildcard"),
        }
    }

    #[test]
    fn a_prepared_part_matches_what_the_part_matches() {
        let letters = ['a', 'b', '.', 'A', 'ä', '*'];
        let names: Vec<String> = (0..6_usize.pow(4))
            .flat_map(|at| {
                let text: Vec<char> = (0..4)
                    .map(|digit| letters[at / 6_usize.pow(digit) % 6])
                    .collect();
                (0..=4).map(move |length| text.iter().take(length).collect())
            })
            .collect();
        for pattern in [
            "*", "a*", "*a", "a*b", "*a*", "*a*b*", "a*b*a", "?", "??*", "*?", ".*", "[.]*",
            "[ab]*", "*[!a]", "[A-Z]*b", "a?*b", "ab*ba", "*.a", "*ä*", "[*]*",
        ] {
            let part = part(pattern);
            for sense in [Sense::Grant, Sense::Denial] {
                let matcher = matcher(&part, sense);
                for text in &names {
                    let expected = part.accepts(text, sense);
                    assert_eq!(matcher.accepts(&name(text)), expected, "{pattern} {text}");
                }
            }
        }
    }

    #[test]
    fn where_case_is_folded_every_spelling_is_met() {
        for (pattern, spelt) in [
            ("*.pem", "A.PEM"),
            ("*.PEM", "a.pem"),
            ("[A-C]*", "bx"),
            ("[K]x*", "kX"),
            ("[!k]x", "Kx"),
        ] {
            let part = part(pattern);
            let denial = matcher(&part, Sense::Denial);
            assert!(denial.may_accept_spelt(&name(spelt)), "{pattern} {spelt}");
            assert!(!denial.may_accept_spelt(&name("other")), "{pattern}");
            let grant = matcher(&part, Sense::Grant);
            assert!(!grant.may_accept_spelt(&name(spelt)), "{pattern} {spelt}");
        }
    }
}
