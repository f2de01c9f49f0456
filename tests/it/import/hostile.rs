//! Files that mean harm, or are broken: an error or a narrower layer, never a guess.

use creel_dialects::import::{Choice, Dialect, Standing, detect, read};
use creel_policy::layer::Case;
use creel_policy::tools::Tool;
use proptest::prelude::*;

use super::law::{denies, rights};
use super::take;

fn message(name: &str, text: &str) -> String {
    let choice = Choice {
        dialect: None,
        agent: None,
        standing: Standing::Grants,
    };
    match read(name, text, &choice) {
        Ok(imported) => panic!("{text} gave {:?}", imported.layer),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_denial_that_cannot_be_said_is_an_error() {
    let mut broken = vec![];
    for (name, text, expected) in [
        (
            "s.json",
            r#"{"filesystem": {"denyRead": ["**.env"]}}"#,
            "s.json:1:30: path '**.env' in 'filesystem.denyRead' is a pattern, which this key does not allow",
        ),
        (
            "s.json",
            r#"{"filesystem": {"denyRead": "~/../x"}}"#,
            "s.json:1:29: path '~/../x' in 'filesystem.denyRead' contains '..'",
        ),
        (
            "s.json",
            r#"{"filesystem": {"denyWrite": [3]}}"#,
            "s.json:1:31: 'filesystem.denyWrite' is an integer; write each as a string",
        ),
        (
            "o.json",
            "{sandbox: {}, tools: {deny: ['group:nonsense']}}",
            "o.json:1:30: tool 'group:nonsense' in 'tools.deny' is not a group",
        ),
        (
            "o.json",
            "{sandbox: {}, tools: {exec: {security: 'maybe'}}}",
            "o.json:1:40: 'tools.exec.security' is a string; write \"deny\"",
        ),
        (
            "o.json",
            "{agents: {}, tools: [1]}",
            "o.json:1:21: 'tools' is an array; write a table",
        ),
        (
            "p.yaml",
            "sandbox: true\ntools: {file_system: {enabled: maybe}}",
            "p.yaml:2:32: 'tools.file_system.enabled' is a string; write true or false",
        ),
        (
            "p.rules",
            "prefix_rule(pattern=['a",
            "p.rules:1:22: a string is not closed",
        ),
        (
            "s.json",
            r#"{"permissions": {"deny": ["Read(../x)"]}}"#,
            "s.json:1:27: path '../x' in 'permissions.deny[0]' contains '..'",
        ),
        (
            "s.json",
            r#"{"permissions": {"deny": ["Read(x"]}}"#,
            "s.json:1:27: 'permissions.deny[0]' is a string; write `TOOL` or `TOOL(WHAT)`",
        ),
        (
            "s.json",
            r#"{"permissions": {"deny": ["Read(//**/x)"]}}"#,
            "s.json:1:27: path '//**/x' in 'permissions.deny[0]' is a pattern",
        ),
        (
            "s.json",
            r#"{"permissions": {"ask": {}}}"#,
            "s.json:1:25: 'permissions.ask' is a table; write each as a string",
        ),
        ("p.rules", "x = (1,", "p.rules:1:8: a bracket is not closed"),
    ] {
        let found = message(name, text);
        if !found.starts_with(expected) {
            broken.push(format!(
                "{text}
{found}
{expected}"
            ));
        }
    }
    assert!(
        broken.is_empty(),
        "{}",
        broken.join(
            "
"
        )
    );
}

#[test]
fn a_rule_that_is_not_understood_may_forbid() {
    let allow = "prefix_rule(pattern = ['ls'])\n";
    let case = Case {
        tool: Tool::Exec,
        words: vec!["ls".into()],
    };
    assert!(!denies(&rights(&take("p.rules", allow, None).layer), &case));
    for more in [
        "for c in x:\n    prefix_rule(pattern=[c], decision='forbidden')",
        "prefix_rule(pattern = names, decision = 'forbidden')",
        "prefix_rule(pattern = ['ls'], decision = 'never')",
        "prefix_rule(pattern = [[]], decision = 'forbidden')",
        "load('x', 'y')",
    ] {
        let text = format!("{allow}{more}\n");
        assert!(
            denies(&rights(&take("p.rules", &text, None).layer), &case),
            "{more}"
        );
    }
}

#[test]
fn creels_own_files_are_not_taken_for_others() {
    for (name, text, dialect) in [
        ("p.toml", "", None),
        ("p.yaml", "tools: {exec: {ask: always}}", None),
        ("p.json", r#"{"limits": {"pids": 1}, "sandbox": {}}"#, None),
        ("p.json", r#"{"sandbox": {}}"#, Some(Dialect::Openclaw)),
        ("p.yaml", "sandbox: true", Some(Dialect::Simple)),
        (
            "p.json",
            r#"{"network": {"allowedDomains": []}}"#,
            Some(Dialect::Srt),
        ),
        (
            "p.json",
            r#"{"version": 1, "agents": {}}"#,
            Some(Dialect::Approvals),
        ),
        ("p.toml", "sandbox_mode = 'read-only'", Some(Dialect::Codex)),
        ("p.rules", "", Some(Dialect::Rules)),
        (
            "s.json",
            r#"{"permissions": {"deny": []}}"#,
            Some(Dialect::Claude),
        ),
        (
            "s.json",
            r#"{"sandbox": {"enabled": true}}"#,
            Some(Dialect::Claude),
        ),
        ("a/.claude/settings.json", "{}", Some(Dialect::Claude)),
        ("a.claude/settings.json", "{}", None),
        (
            "p.toml",
            "[mcp_servers.x]\ncommand = 'y'",
            Some(Dialect::Codex),
        ),
        ("p.toml", "model = 'x'", Some(Dialect::Codex)),
        ("p.toml", "[features]\nx = true", Some(Dialect::Codex)),
        (
            "p.json",
            r#"{"tools": {"codeMode": {}}}"#,
            Some(Dialect::Openclaw),
        ),
        (
            "p.json",
            r#"{"tools": {"loopDetection": {}}}"#,
            Some(Dialect::Openclaw),
        ),
        (
            "p.json",
            r#"{"tools": {"agentToAgent": {}}}"#,
            Some(Dialect::Openclaw),
        ),
        ("p.json", r#"{"mcp": {}}"#, Some(Dialect::Openclaw)),
        ("p.json", r#"{"plugins": {}}"#, Some(Dialect::Openclaw)),
        ("p.toml", "not toml", None),
    ] {
        assert_eq!(detect(name, text), dialect, "{text}");
    }
}

#[test]
fn a_report_is_lines_whatever_the_file_holds() {
    let text = "{agents: {}, 'a\\nb\\u001b[31m\\u202e': 1, tools: {allow: ['x\\ny\\u001b']}}";
    for entry in take("o.json", text, None).report {
        let line = entry.to_string();
        assert!(
            !line.contains(|c: char| c.is_control() || c == '\u{202e}'),
            "{line:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// No text makes any dialect panic.
    #[test]
    fn no_text_panics(
        text in "[ -~\n]{0,120}|(prefix_rule\\(|pattern=|\\[|\\]|\\(|\\)|'|\"|,|#|\n|a|\\\\){0,40}",
        which in 0..Dialect::ALL.len(),
    ) {
        for name in ["p.json", "p.yaml", "p.toml", "p.rules"] {
            let choice = Choice {
                dialect: Some(Dialect::ALL[which]),
                agent: Some("a"),
                standing: Standing::Narrows,
            };
            let _ = read(name, &text, &choice);
            let _ = detect(name, &text);
        }
    }
}
