//! The choice between the formats of a document.

use std::path::Path;

/// The syntax of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// TOML.
    Toml,
    /// The part of YAML that versions 1.1 and 1.2 read alike.
    Yaml,
    /// Includes JSON and JSON with comments.
    Json5,
}

impl Format {
    /// Every format.
    pub const ALL: [Format; 3] = [Self::Toml, Self::Yaml, Self::Json5];

    /// The format for a file name; TOML unless the extension names another.
    pub fn of(source: &str) -> Self {
        let extension = Path::new(source).extension().and_then(|e| e.to_str());
        match extension.map(str::to_ascii_lowercase).as_deref() {
            Some("yaml" | "yml") => Self::Yaml,
            Some("json" | "json5" | "jsonc") => Self::Json5,
            _ => Self::Toml,
        }
    }

    /// The documentation of the syntax.
    pub fn reference(self) -> &'static str {
        match self {
            Self::Toml => "https://toml.io",
            Self::Yaml => "https://yaml.org",
            Self::Json5 => "https://json5.org",
        }
    }
}
