//! The part of Go's templates that callers of `docker inspect -f` use: fields, `json`, `index`, and a `range` with
//! `println`. Anything else is refused.

use serde_json::Value;

use crate::cli::failure::Failure;

/// Fills in a template.
pub fn render(template: &str, whole: &Value) -> Result<String, Failure> {
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, behind)) = rest.split_once("{{") {
        text += before;
        let (action, behind) = behind.split_once("}}").ok_or_else(|| refused(template))?;
        rest = behind;
        match action.trim().strip_prefix("range ") {
            None => text += &filled(action.trim(), whole)?,
            Some(path) => {
                let (body, behind) = behind
                    .split_once("{{end}}")
                    .ok_or_else(|| refused(template))?;
                rest = behind;
                let list = field(path.trim(), whole)?;
                for item in list.as_array().ok_or_else(|| refused(action))? {
                    text += &render(body, item)?;
                }
            }
        }
    }
    Ok(text + rest)
}

fn filled(action: &str, dot: &Value) -> Result<String, Failure> {
    let words: Vec<&str> = action.split_whitespace().collect();
    match words.as_slice() {
        ["json", path] => Ok(field(path, dot)?.to_string()),
        ["println", path] => Ok(scalar(field(path, dot)?, action)? + "\n"),
        ["index", path, ..] => {
            let key = action
                .split_once('"')
                .and_then(|(_, rest)| rest.strip_suffix('"'));
            let key = key
                .filter(|key| !key.contains(['"', '\\']))
                .ok_or_else(|| refused(action))?;
            let map = field(path, dot)?
                .as_object()
                .ok_or_else(|| refused(action))?;
            map.get(key)
                .map_or(Ok(String::new()), |value| scalar(value, action))
        }
        [path] if path.starts_with('.') => scalar(field(path, dot)?, action),
        _ => Err(refused(action)),
    }
}

/// The value of `.A.B`.
fn field<'a>(path: &str, dot: &'a Value) -> Result<&'a Value, Failure> {
    let names = path.strip_prefix('.').ok_or_else(|| refused(path))?;
    let mut value = dot;
    for name in names.split('.').filter(|_| !names.is_empty()) {
        // The field has this name in Go, and the other in JSON.
        let other = if name == "ID" { "Id" } else { name };
        let found = value.get(name).or_else(|| value.get(other));
        value = found.ok_or_else(|| {
            Failure::new(format!(
                "the template: creel-docker has no field {name} in {path}"
            ))
            .with_status(1)
        })?;
    }
    Ok(value)
}

fn scalar(value: &Value, action: &str) -> Result<String, Failure> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Bool(_) | Value::Number(_) => Ok(value.to_string()),
        _ => Err(refused(action)),
    }
}

fn refused(action: &str) -> Failure {
    Failure::new(format!(
        "the template {action:?}: creel-docker fills in fields, `json .FIELD`, `index .FIELD \"KEY\"` and `range .FIELD` with `println .` alone"
    ))
    .with_status(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Those of OpenClaw 2026.9.6.
    #[test]
    fn openclaws_templates_are_filled_in() {
        let whole = json!({
            "Id": "ab", "State": { "Running": true, "Paused": false }, "Mounts": [{ "RW": true }],
            "HostConfig": { "Tmpfs": { "/tmp": "" } },
            "Config": { "Env": ["A=1", "B=2"], "Labels": { "a.b": "c" } },
        });
        for (template, wanted) in [
            ("{{.State.Running}}", "true"),
            (
                "{{.Id}} {{.State.Running}} {{.State.Paused}}",
                "ab true false",
            ),
            ("{{ index .Config.Labels \"a.b\" }}", "c"),
            ("{{ index .Config.Labels \"none\" }}", ""),
            ("{{range .Config.Env}}{{println .}}{{end}}", "A=1\nB=2\n"),
            (
                "{\"Mounts\":{{json .Mounts}},\"Tmpfs\":{{json .HostConfig.Tmpfs}}}",
                "{\"Mounts\":[{\"RW\":true}],\"Tmpfs\":{\"/tmp\":\"\"}}",
            ),
            ("{\"Id\":{{json .ID}}}", "{\"Id\":\"ab\"}"),
        ] {
            assert_eq!(render(template, &whole).unwrap(), wanted, "{template}");
        }
    }

    #[test]
    fn other_templates_are_refused() {
        let whole = json!({ "Id": "ab", "List": ["a"] });
        for template in [
            "{{.No}}",
            "{{.Id | upper}}",
            "{{if .Id}}x{{end}}",
            "{{.List}}",
            "{{printf .Id}}",
            "{{",
            "{{Id}}",
            "{{range .Id}}{{.}}{{end}}",
            "{{range .List}}{{.}}",
            "{{index .List 0}}",
        ] {
            assert!(render(template, &whole).is_err(), "{template}");
        }
    }
}
