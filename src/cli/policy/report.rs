//! Findings about a policy, errors and advice, as text and as JSON.

use std::path::Path;

use serde::Serialize;

use creel_dialects::lint;
use creel_policy::Origin;
use creel_policy::error::{Place, PolicyError};
use creel_policy::file;
use creel_policy::stack::Clip;
use creel_policy::tree::excerpt;
use creel_session::layers;

/// How many items a combined finding names.
const MOST_ITEMS: usize = 3;

/// The severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The policy cannot be used.
    Error,
    /// The policy can be used, but a line has another effect than it seems, or grants more than is wise.
    Warning,
    /// Information.
    Note,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub severity: Severity,
    /// Stable across versions.
    pub id: String,
    pub file: String,
    /// 1-based; 0 for the whole file.
    pub line: u32,
    /// 1-based; 0 for the whole line.
    pub column: u32,
    pub reason: String,
    /// The smallest change that fixes it, if the reason does not name one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl Finding {
    /// `source`: the file that was read, for an error without a place.
    pub fn of_error(error: &PolicyError, source: &str) -> Finding {
        let at = error.place().cloned();
        let at = at.unwrap_or_else(|| Place::whole(source));
        let cause = std::error::Error::source(error);
        Finding {
            severity: Severity::Error,
            id: error.code().into(),
            file: at.file,
            line: at.line,
            column: at.column,
            reason: match cause {
                Some(cause) => format!("{}: {cause}", error.reason()),
                None => error.reason(),
            },
            fix: None,
        }
    }

    pub fn of_clip(clip: &Clip) -> Finding {
        let origin = clip.excess.origin.as_ref();
        Finding {
            severity: Severity::Warning,
            id: "clipped".into(),
            file: origin.map_or_else(String::new, |origin| origin.source.to_string()),
            line: origin.map_or(0, |origin| origin.line),
            column: 0,
            reason: clip.reason(),
            fix: Some("grant it in the layer above, or take it out here".into()),
        }
    }

    /// One finding for all clips of a preset that the file `layer` extends.
    pub fn of_clips(clips: &[&Clip], preset: &str, layer: &str) -> Finding {
        let items = clips.iter().map(|clip| {
            let item = clip.excess.item.escape_debug();
            format!("{} {item}", clip.excess.key)
        });
        let some: Vec<String> = items.take(MOST_ITEMS).collect();
        let rank = clips.first().map_or("layer", |clip| clip.rank.name());
        Finding {
            severity: Severity::Warning,
            id: "clipped".into(),
            file: layer.to_owned(),
            line: 0,
            column: 0,
            reason: format!(
                "{preset} asks for {} things that the layers above the {rank}'s do not grant; they are left out: {} and so on",
                clips.len(),
                some.join(", ")
            ),
            fix: Some(
                "extend it in the layer above, or write here only the restrictions of this layer"
                    .into(),
            ),
        }
    }

    pub fn of_lint(finding: &lint::Finding) -> Finding {
        let origin = finding.origin.as_ref();
        Finding {
            severity: match finding.severity {
                lint::Severity::Critical | lint::Severity::Warn => Severity::Warning,
                lint::Severity::Info => Severity::Note,
            },
            id: finding.id.into(),
            file: origin.map_or_else(String::new, |origin| origin.source.to_string()),
            line: origin.map_or(0, |origin| origin.line),
            column: 0,
            reason: finding.reason.clone(),
            fix: Some(finding.fix.clone()),
        }
    }

    /// The finding in a compiler's form. `text`: the content of the file, for an excerpt.
    fn to_text(&self, text: Option<&str>) -> String {
        let word = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        };
        let at = Place {
            file: self.file.clone(),
            line: self.line,
            column: self.column,
        };
        let mut shown = format!("{word}[{}]: {}\n", self.id, self.reason);
        if !self.file.is_empty() {
            shown += &format!(" --> {at}\n");
        }
        shown += &text.and_then(|text| excerpt(text, &at)).unwrap_or_default();
        if let Some(fix) = &self.fix {
            shown += &format!(" = fix: {fix}\n");
        }
        shown
    }
}

/// All errors of the file in which `error` was found, which is `source` or a policy that it extends.
pub fn faults(source: &Path, error: &PolicyError) -> Vec<Finding> {
    let name = source.to_string_lossy();
    let named = error.place().map_or(name.as_ref(), |at| at.file.as_str());
    let all = layers::text(&place_path(named)).map(|text| file::read_all(named, &text));
    match all {
        Ok(Err(faults)) => std::iter::once(faults.first.as_ref())
            .chain(&faults.rest)
            .map(|error| Finding::of_error(error, named))
            .collect(),
        // The file cannot be read, or its text alone has no error.
        _ => vec![Finding::of_error(error, named)],
    }
}

/// All findings as text, each with an excerpt of its file.
pub fn to_text(findings: &[Finding]) -> String {
    let mut shown = String::new();
    for finding in findings {
        let text = layers::text(&place_path(&finding.file)).ok();
        shown += &finding.to_text(text.as_deref());
        shown.push('\n');
    }
    shown
}

/// The path or the name of the preset in an origin.
fn place_path(named: &str) -> std::path::PathBuf {
    named.strip_prefix("preset:").unwrap_or(named).into()
}

/// An origin as `{"file": "policy.toml", "line": 3}`; line 0 means the whole file.
pub fn origin_json(origin: &Origin) -> serde_json::Value {
    serde_json::json!({ "file": &*origin.source, "line": origin.line })
}
