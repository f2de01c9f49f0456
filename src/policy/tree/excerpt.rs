//! The line that an error is about, with a caret beneath the place.

use crate::policy::error::{Place, escape};

/// Characters of a line that are shown.
const WIDTH: usize = 100;
/// Of which at most so many stand before the caret.
const BEFORE: usize = 60;

/// Two lines for a terminal: the line of `text` that `at` names, escaped and cut where it is long, and
/// a caret. None where the place has no line, or the text has no such line.
///
/// ```text
///   3 | raed = ["/usr"]
///     | ^
/// ```
pub fn excerpt(text: &str, at: &Place) -> Option<String> {
    let line = usize::try_from(at.line).ok()?.checked_sub(1)?;
    let line = text.split('\n').nth(line)?;
    let line = line.strip_suffix('\r').unwrap_or(line);
    let before = usize::try_from(at.column).ok()?.saturating_sub(1);
    let skipped = before.saturating_sub(BEFORE);
    let mut shown = String::new();
    let mut caret = 0;
    if skipped > 0 {
        shown.push('…');
        caret += 1;
    }
    let mut rest = line.chars().enumerate().skip(skipped);
    for (at, c) in rest.by_ref().take(WIDTH) {
        // A tab's width is the terminal's affair, a space's is not.
        let c = if c == '\t' { ' ' } else { c };
        let piece = escape(c);
        if at < before {
            caret += piece.chars().count();
        }
        shown.push_str(&piece);
    }
    if rest.next().is_some() {
        shown.push('…');
    }
    let number = at.line.to_string();
    let margin = " ".repeat(number.len());
    let indent = " ".repeat(caret);
    Some(format!("  {number} | {shown}\n  {margin} | {indent}^\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(line: u32, column: u32) -> Place {
        Place {
            file: "p".to_owned(),
            line,
            column,
        }
    }

    #[test]
    fn the_caret_stands_beneath_the_place() {
        let text = "a\r\n\té = [\u{1b}]x\r\n";
        assert_eq!(excerpt(text, &place(1, 1)).unwrap(), "  1 | a\n    | ^\n");
        assert_eq!(
            excerpt(text, &place(2, 2)).unwrap(),
            "  2 |  é = [\\u{1b}]x\n    |  ^\n"
        );
        assert_eq!(
            excerpt(text, &place(2, 9)).unwrap(),
            "  2 |  é = [\\u{1b}]x\n    |              ^\n"
        );
        assert_eq!(excerpt(text, &place(3, 1)).unwrap(), "  3 | \n    | ^\n");
        assert_eq!(excerpt(text, &place(4, 1)), None);
        assert_eq!(excerpt(text, &Place::whole("p")), None);
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let text = "x".repeat(100_000) + "!" + &"y".repeat(100_000);
        let shown = excerpt(&text, &place(1, 100_001)).unwrap();
        let [line, caret] = shown.lines().collect::<Vec<_>>()[..] else {
            panic!("{shown}")
        };
        assert!(line.chars().count() < 120, "{line}");
        let at = caret.find('^').unwrap();
        assert_eq!(line.chars().nth(at), Some('!'));
    }
}
