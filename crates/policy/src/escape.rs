//! Text of others made safe for one line of a terminal or a log.

use std::fmt::Write as _;

/// Policy text made safe for one line of a terminal: escaped, and shortened if long.
pub fn shown(text: &str) -> String {
    const MOST: usize = 80;
    match text.char_indices().nth(MOST) {
        None => escaped(text.chars()),
        Some((end, _)) => {
            escaped(text.chars().take(MOST)) + &format!("… ({} more bytes)", text.len() - end)
        }
    }
}

/// Escapes control characters, line ends and text reordering (U+202E and similar) as `\u{..}`.
pub fn escaped(text: impl Iterator<Item = char>) -> String {
    text.map(escape).collect()
}

/// One character, escaped as [`escaped`] does.
pub fn escape(c: char) -> String {
    match c {
        // Quotes need no escape here, and paths with `\` are easier to read without one.
        '\'' | '"' | '\\' => c.to_string(),
        _ => c.escape_debug().collect(),
    }
}

/// Escapes serialised JSON with `\u` where JSON does not require it but a terminal would act on it or a
/// line would end: DEL, the controls of ISO 6429 (U+0080 to U+009F), characters that reorder text, line
/// separators. The values stay the same.
pub fn escaped_json(text: String) -> String {
    let obeyed = |c: char| c >= '\x7f' && escape(c).starts_with('\\');
    if !text.contains(obeyed) {
        return text;
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if obeyed(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_reads_as_the_same_and_holds_nothing_that_a_terminal_obeys() {
        let text = "a\u{7f}\u{80}\u{9b}31m\u{9f}\u{200e}\u{200f}\u{202a}\u{202e}\u{2066}\u{2069}\u{2028}\u{2029}\u{e0001}é\u{1f600}\"\\\n";
        let json = escaped_json(serde_json::to_string(text).unwrap());
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        let left: String = json.chars().filter(|c| !c.is_ascii()).collect();
        assert_eq!(left, "é\u{1f600}");
        assert!(
            json.contains("\\u009b31m") && json.contains("\\udb40\\udc01"),
            "{json}"
        );
        assert!(!json.contains('\x7f'));
    }
}
