//! The rule that asked for an act, as JSON: `{"file": "agent.toml", "line": 3}`. A flag has no line.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use creel_policy::Origin;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    file: String,
    #[serde(default, skip_serializing_if = "is_none")]
    line: u32,
}

fn is_none(line: &u32) -> bool {
    *line == 0
}

/// For `#[serde(with = "rule")]`.
pub fn serialize<S: Serializer>(rule: &Option<Origin>, to: S) -> Result<S::Ok, S::Error> {
    let form = rule.as_ref().map(|origin| Form {
        file: origin.source.to_string(),
        line: origin.line,
    });
    form.serialize(to)
}

/// For `#[serde(with = "rule")]`.
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Origin>, D::Error> {
    let form = Option::<Form>::deserialize(from)?;
    Ok(form.map(|form| Origin {
        source: form.file.into(),
        line: form.line,
    }))
}
