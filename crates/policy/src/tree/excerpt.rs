//! The line of an error, with carets beneath the part that it is about.
//!
//! The text may come from an unreviewed checkout: it is escaped, and a long line is cut to the part
//! around the place.

use std::fmt::Write as _;

use crate::escape::escaped;
use crate::place::Place;

/// The most characters of a line that are shown.
const WIDE: usize = 100;

/// Two lines for a terminal; column 0 means the whole line. `None` if the place has no line, or the text
/// does not have that line.
///
/// ```text
///   3 | raed = ["/usr"]
///     | ^^^^
/// ```
pub fn excerpt(text: &str, at: &Place) -> Option<String> {
    let index = usize::try_from(at.line).ok()?.checked_sub(1)?;
    let line = text.split('\n').nth(index)?;
    let line: Vec<char> = line.trim_end_matches('\r').chars().collect();
    let (begin, end) = meant(&line, usize::try_from(at.column).unwrap_or(usize::MAX));
    // If the start is cut off, keep some of the line before the place.
    let first = match end > WIDE {
        true => begin.saturating_sub(WIDE / 2),
        false => 0,
    };
    let last = line.len().min(first + WIDE);
    let piece = |from: usize, to: usize| {
        let chars = line.get(from..to).unwrap_or_default();
        escaped(chars.iter().map(|c| if *c == '\t' { ' ' } else { *c }))
    };
    let dots = |cut: bool| if cut { "…" } else { "" };
    let before = format!("{}{}", dots(first > 0), piece(first, begin.min(last)));
    let under = piece(begin.min(last), end.min(last));
    let after = format!("{}{}", piece(end.min(last), last), dots(last < line.len()));
    let carets = "^".repeat(under.chars().count().max(1));
    let blank = " ".repeat(before.chars().count());
    let number = at.line.to_string();
    let margin = " ".repeat(number.len());
    let mut shown = String::new();
    // Writing to a String does not fail.
    let _ = writeln!(shown, "  {number} | {before}{under}{after}");
    let _ = writeln!(shown, "  {margin} | {blank}{carets}");
    Some(shown)
}

/// The text at a column, as a range of characters: a quoted text, a word, or one character.
fn meant(line: &[char], column: usize) -> (usize, usize) {
    let Some(begin) = column.checked_sub(1) else {
        let text = line.iter().position(|c| !c.is_whitespace()).unwrap_or(0);
        let trimmed = line.iter().rposition(|c| !c.is_whitespace());
        return (text, trimmed.map_or(text, |last| last + 1));
    };
    let begin = begin.min(line.len());
    let rest = line.get(begin..).unwrap_or_default();
    let long = match rest.first() {
        Some(quote @ ('"' | '\'')) => {
            let close = rest.iter().skip(1).position(|c| c == quote);
            close.map_or(1, |at| at + 2)
        }
        _ => {
            let word = |c: &char| c.is_alphanumeric() || "_-.+%".contains(*c);
            rest.iter().take_while(|c| word(c)).count()
        }
    };
    (begin, begin + long)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, line: u32, column: u32) -> Option<String> {
        let file = "p.toml".to_owned();
        excerpt(text, &Place { file, line, column })
    }

    #[test]
    fn carets_stand_under_what_is_meant() {
        let lines = |text, line, column| shown(text, line, column).unwrap();
        assert_eq!(
            lines("[filesystem]\nraed = []\n", 2, 1),
            "  2 | raed = []\n    | ^^^^\n"
        );
        assert_eq!(
            lines("a = ['/ä', 'b c']", 1, 12),
            "  1 | a = ['/ä', 'b c']\n    |            ^^^^^\n"
        );
        // A whole line, one character, the end of the line, an unclosed quote.
        assert!(lines("  x = 1  ", 1, 0).ends_with("    |   ^^^^^\n"));
        assert!(lines("a = [", 1, 5).ends_with("    |     ^\n"));
        assert!(lines("a = ", 1, 5).ends_with("    |     ^\n"));
        assert!(lines("a = 'b", 1, 5).ends_with("    |     ^\n"));
        assert_eq!(
            lines("a\r\n\tb = [\u{1b}]", 2, 2),
            "  2 |  b = [\\u{1b}]\n    |  ^\n"
        );
    }

    #[test]
    fn a_place_outside_the_text_has_no_lines() {
        for (line, column) in [(0, 0), (9, 1), (u32::MAX, u32::MAX)] {
            assert_eq!(shown("a\nb", line, column), None);
        }
        assert!(shown("a", 1, 900).is_some());
        assert_eq!(excerpt("a", &Place::whole("p.toml")), None);
    }

    #[test]
    fn a_hostile_line_is_escaped_and_cut() {
        let text = shown("k = '\u{1b}[31m\u{202e}'\t# x", 1, 5).unwrap();
        assert!(!text.contains(|c: char| c.is_control() && c != '\n'));
        assert!(!text.contains('\u{202e}'));
        let long = format!("{}'here'{}", "x".repeat(5000), "y".repeat(5000));
        let text = shown(&long, 1, 5001).unwrap();
        assert!(text.len() < 400 && text.contains("'here'"), "{text}");
        let lines: Vec<&str> = text.lines().collect();
        let caret = lines[1].chars().position(|c| c == '^');
        assert_eq!(caret, lines[0].chars().position(|c| c == '\''), "{text}");
    }
}
