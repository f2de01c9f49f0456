//! A document's text, with the line and column of each offset.
//!
//! Owns [`Text`], which converts offsets to places. Offsets are bytes; columns are characters, as editors
//! count them. An offset outside the text is clamped to it, so that a reader's mistake cannot break an
//! error message.

use std::sync::Arc;

use super::fault::Fault;
use crate::error::PolicyError;
use crate::origin::Origin;
use crate::place::Place;

/// A named text, with an index of its lines.
pub struct Text<'a> {
    source: &'a str,
    /// The same name, for the origins of values.
    shared: Arc<str>,
    text: &'a str,
    /// The byte offset of each line.
    lines: Vec<usize>,
}

impl<'a> Text<'a> {
    /// `source` is the file's path as the operator named it, or `preset:NAME`.
    pub fn new(source: &'a str, text: &'a str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let lines = std::iter::once(0).chain(ends.map(|(end, _)| end + 1));
        Self {
            source,
            shared: source.into(),
            text,
            lines: lines.collect(),
        }
    }

    /// The name of the text: a path or `preset:NAME`.
    pub fn source(&self) -> &'a str {
        self.source
    }

    /// The text.
    pub fn as_str(&self) -> &'a str {
        self.text
    }

    /// The place of the byte at `offset`, or of the end of the text.
    pub fn place(&self, offset: usize) -> Place {
        let offset = offset.min(self.text.len());
        let line = self.line(offset);
        let begin = self.lines.get(line - 1).copied().unwrap_or(0);
        let before = self.text.as_bytes().get(begin..offset).unwrap_or_default();
        // Every byte that is not a continuation byte starts a character.
        let column = before.iter().filter(|byte| **byte & 0xc0 != 0x80).count() + 1;
        Place {
            file: self.source.to_owned(),
            line: clamped(line),
            column: clamped(column),
        }
    }

    /// The origin of a value that starts at `offset`.
    pub fn origin(&self, offset: usize) -> Origin {
        Origin {
            source: self.shared.clone(),
            line: clamped(self.line(offset)),
        }
    }

    /// An error for `fault` at `offset`.
    pub fn fault(&self, offset: usize, fault: Fault) -> PolicyError {
        PolicyError::Document {
            at: self.place(offset),
            fault,
        }
    }

    /// The text before `offset` on its line if that is all white space, else an empty text.
    pub fn indent(&self, offset: usize) -> &'a str {
        let begin = self.lines.get(self.line(offset) - 1).copied().unwrap_or(0);
        let before = self.text.get(begin..offset).unwrap_or_default();
        match before.trim().is_empty() {
            true => before,
            false => "",
        }
    }

    /// 1-based. The first line starts at 0, so at least one line starts at or before any offset.
    fn line(&self, offset: usize) -> usize {
        self.lines.partition_point(|begin| *begin <= offset)
    }
}

fn clamped(line_or_column: usize) -> u32 {
    u32::try_from(line_or_column).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_lines_and_characters() {
        let text = Text::new("p", "aé\n\nx");
        for (offset, line, column) in [
            (0, 1, 1),
            (1, 1, 2),
            (3, 1, 3),
            (4, 2, 1),
            (5, 3, 1),
            (6, 3, 2),
            (usize::MAX, 3, 2),
        ] {
            let place = text.place(offset);
            assert_eq!((place.line, place.column), (line, column), "{offset}");
            assert_eq!(text.origin(offset).line, line);
        }
    }
}
