//! A document as a tree of values with their places in the text, in any of the formats.
//!
//! Owns what TOML, YAML and JSON5 have in common ([`Node`], [`Table`]) and the choice between them
//! ([`Format`]). It knows no keys and no units: [`file`](super::file) interprets the values. It refuses
//! text that is not exactly one document of the format.

mod excerpt;
pub(crate) mod fault;
pub(crate) mod format;
mod json5;
mod node;
mod number;
mod text;
mod toml;
mod yaml;

pub use excerpt::excerpt;
pub use fault::{Fault, MAX_DEPTH};
pub use format::Format;
pub use node::{Integer, Key, Node, Table, Value};
pub use text::Text;

use super::error::PolicyError;
use super::place::Place;

/// The largest document that is read, in bytes.
pub const MAX_BYTES: usize = 1 << 20;

/// Parses `text` as a document. `source` names it in errors.
pub fn parse(format: Format, source: &str, text: &str) -> Result<Table, PolicyError> {
    read(format, &Text::new(source, text))
}

/// Like [`parse`], for a caller that already has the index of lines.
pub fn read(format: Format, text: &Text) -> Result<Table, PolicyError> {
    check_length(text.source(), text.as_str().as_bytes())?;
    if text.as_str().starts_with('\u{feff}') {
        let at = text.place(0);
        return Err(PolicyError::ByteOrderMark { at });
    }
    match format {
        // The TOML parser checks characters itself.
        Format::Toml => toml::read(text),
        Format::Yaml => check_characters(text).and_then(|()| yaml::read(text)),
        Format::Json5 => check_characters(text).and_then(|()| json5::read(text)),
    }
}

/// An error if the text is larger than [`MAX_BYTES`].
pub fn check_length(source: &str, bytes: &[u8]) -> Result<(), PolicyError> {
    if bytes.len() > MAX_BYTES {
        return Err(PolicyError::TooLarge {
            at: Place::whole(source),
            most: MAX_BYTES,
        });
    }
    Ok(())
}

/// Readers disagree about which characters end a line, and so a comment: one skips what another obeys.
/// Only `\n` and `\r\n` end a line here.
fn check_characters(text: &Text) -> Result<(), PolicyError> {
    let mut rest = text.as_str().char_indices().peekable();
    while let Some((at, c)) = rest.next() {
        let refused = match c {
            '\n' | '\t' => false,
            '\r' => rest.peek().is_none_or(|(_, next)| *next != '\n'),
            '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => true,
            _ => c.is_control(),
        };
        if refused {
            return Err(text.fault(at, Fault::Character(c)));
        }
    }
    Ok(())
}
