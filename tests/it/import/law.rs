//! The law of the import: what a naive reading of the source denies, the imported layer denies.
//!
//! The readings here are written apart from the import, from the other programs' documents.

use std::collections::BTreeSet;
use std::convert::Infallible;

use creel_dialects::import::{self, Choice, Dialect, Standing};
use creel_policy::decide::decide;
use creel_policy::effective::close;
use creel_policy::glob::Pattern;
use creel_policy::layer::{Case, Layer, Rank};
use creel_policy::preset;
use creel_policy::rights::{Rights, Roots};
use creel_policy::stack::Stack;
use creel_policy::tools::Tool;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::{reads_as_written, take};

fn roots() -> Roots {
    Roots {
        home: "/home/u".into(),
        workspace: "/home/u/w".into(),
    }
}

/// Rights of the layer on top of those that it extends.
pub fn rights(layer: &Layer) -> Rights {
    let mut whole = layer.clone();
    for base in std::mem::take(&mut whole.extends) {
        whole = whole.over(preset::layer(&base.value).expect("a preset"));
    }
    let mut stack = Stack {
        layers: vec![(Rank::Operator, whole)],
    };
    // All that is asked for is there.
    let unmet = stack.expand(&roots(), |wanted| {
        let pattern = Pattern::parse(&wanted.pattern);
        let names: BTreeSet<&str> = ASKED.iter().flat_map(|path| above(path)).collect();
        let met = names
            .into_iter()
            .filter(|name| pattern.meets(name, wanted.sense));
        Ok::<_, Infallible>(met.map(str::to_owned).collect())
    });
    assert!(unmet.is_ok());
    let limits = preset::limits().expect("the default");
    close(
        &Rights::of(&stack.layers[0].1, Rank::Operator, &roots()),
        &limits,
    )
}

pub fn denies(rights: &Rights, case: &Case) -> bool {
    !decide(rights, &roots(), case).is_allowed()
}

/// Denied for its name: while there is no network, the tools of the network are denied whatever a policy
/// says of them, which would prove nothing.
fn denies_by_name(rights: &Rights, tool: Tool) -> bool {
    !rights.tools.allows(tool)
}

fn case(tool: Tool, words: &[&str]) -> Case {
    Case {
        tool,
        words: words.iter().map(|word| (*word).to_owned()).collect(),
    }
}

// OpenClaw: names, globs and groups.

const WORDS: [&str; 22] = [
    "read",
    "Write",
    "edit",
    "apply_patch",
    "apply-patch",
    "exec",
    " bash",
    "process",
    "browser",
    "message",
    "web_fetch",
    "web_search",
    "code_execution",
    "web_*",
    "*",
    "e*",
    "*_patch",
    "group:fs",
    "group:runtime",
    "group:web",
    "group:ui",
    "sessions_send",
];

/// OpenClaw's tools, each under all its names, with creel's.
const TOOLS: [(Tool, &str); 9] = [
    (Tool::Read, "read"),
    (Tool::Write, "write"),
    (Tool::Edit, "edit"),
    (Tool::ApplyPatch, "apply_patch"),
    (Tool::Exec, "exec"),
    (Tool::Process, "process"),
    (Tool::Browser, "browser"),
    (Tool::Message, "message"),
    (Tool::Fetch, "web_fetch"),
];

fn star(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, tail)) => text
            .strip_prefix(head)
            .is_some_and(|rest| (0..=rest.len()).any(|at| star(tail, &rest[at..]))),
    }
}

fn meant(word: &str, tool: &str) -> bool {
    let word = word.trim().to_lowercase();
    let group: &[&str] = match word.as_str() {
        "bash" => &["exec"],
        "apply-patch" => &["apply_patch"],
        "group:fs" => &["read", "write", "edit", "apply_patch"],
        "group:runtime" => &["exec", "process"],
        "group:web" => &["web_search", "x_search", "web_fetch"],
        "group:ui" => &["browser", "canvas"],
        word => return star(word, tool),
    };
    group.contains(&tool)
}

/// One scope's word on a tool.
fn scope_denies(allow: &[&str], deny: &[&str], tool: &str) -> bool {
    let listed = |tool| allow.iter().any(|word| meant(word, tool));
    let implied = tool == "apply_patch" && listed("write");
    deny.iter().any(|word| meant(word, tool)) || !(allow.is_empty() || listed(tool) || implied)
}

fn words() -> impl Strategy<Value = Vec<&'static str>> {
    subsequence(WORDS.to_vec(), 0..5)
}

fn json(words: &[&str]) -> String {
    serde_json::to_string(words).expect("words")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn openclaws_scopes_only_narrow(
        allow in words(), deny in words(),
        agent_allow in words(), agent_deny in words(),
        provider_deny in words(), sandbox_allow in words(),
        entries: bool,
    ) {
        let agent = format!(
            r#"{{"id": "a", "tools": {{"allow": {}, "deny": {}}}}}"#, json(&agent_allow), json(&agent_deny)
        );
        let agents = match entries {
            true => format!(r#"{{"entries": {{"a": {agent}}}}}"#),
            false => format!(r#"{{"list": [{agent}]}}"#),
        };
        let text = format!(
            r#"{{"tools": {{"allow": {}, "deny": {}, "byProvider": {{"x": {{"deny": {}}}}},
                "sandbox": {{"tools": {{"allow": {}}}}}}}, "agents": {agents}}}"#,
            json(&allow), json(&deny), json(&provider_deny), json(&sandbox_allow)
        );
        let everybody = take("o.json", &text, None).layer;
        let one = take("o.json", &text, Some("a")).layer;
        reads_as_written(&everybody);
        reads_as_written(&one);
        for (tool, name) in TOOLS {
            let case = match tool {
                Tool::Exec => case(tool, &["/usr/bin/git"]),
                _ => case(tool, &["/home/u/w/x"]),
            };
            let all = scope_denies(&allow, &deny, name)
                || scope_denies(&[], &provider_deny, name)
                || scope_denies(&sandbox_allow, &[], name);
            if all {
                let rights = rights(&everybody);
                prop_assert!(denies_by_name(&rights, tool) && denies(&rights, &case), "{name}
{text}");
            }
            if all || scope_denies(&agent_allow, &agent_deny, name) {
                let rights = rights(&one);
                prop_assert!(denies_by_name(&rights, tool) && denies(&rights, &case), "{name}, agent
{text}");
            }
        }
    }

    #[test]
    fn srt_paths_stay_denied(
        deny_read in subsequence(PATHS.to_vec(), 0..4),
        allow_write in subsequence(PATHS.to_vec(), 0..4),
        deny_write in subsequence(PATHS.to_vec(), 0..4),
    ) {
        let text = format!(
            r#"{{"network": {{"allowedDomains": []}}, "filesystem": {{"denyRead": {}, "allowWrite": {}, "denyWrite": {}}}}}"#,
            json(&deny_read), json(&allow_write), json(&deny_write)
        );
        let layer = take("s.json", &text, None).layer;
        reads_as_written(&layer);
        let rights = rights(&layer);
        for path in ASKED {
            if is_denied(&deny_read, path) {
                prop_assert!(denies(&rights, &case(Tool::Read, &[path])), "read {path}\n{text}");
            }
            if is_denied(&deny_write, path) || !is_granted(&allow_write, path) {
                prop_assert!(denies(&rights, &case(Tool::Write, &[path])), "write {path}\n{text}");
            }
        }
    }

    #[test]
    fn what_srt_denies_stays_denied_where_a_part_is_opened(
        denied in subsequence(vec!["~", "/home", "~/k", "/opt", "/opt/data", "/usr/share", "src"], 1..4),
        opened in subsequence(vec![".", "~/k/a", "/opt/data/y", "/usr/share/x"], 0..4),
        write in subsequence(vec![".", "~/k/b", "/opt/w"], 0..3),
    ) {
        let text = format!(
            r#"{{"filesystem": {{"denyRead": {}, "allowRead": {}, "allowWrite": {}}}}}"#,
            json(&denied), json(&opened), json(&write)
        );
        let layer = take("s.json", &text, None).layer;
        let rights = rights(&layer);
        for path in ["/home/u/z", "/home/u/k/a/x", "/home/u/k/b/x", "/opt/w/x", "/opt/data/y/z", "/home/u/w/src/z", "/home/u/w/a"] {
            // The closest name decides, and where both have it, the denial.
            let depth = |list: &[&str]| above(path).filter(|name| list.iter().any(|l| absolute(l) == *name)).map(str::len).max();
            let (no, yes) = (depth(&denied), depth(&opened));
            if no.is_some() && no >= yes {
                prop_assert!(denies(&rights, &case(Tool::Read, &[path])), "read {path}\n{text}");
            }
        }
    }

    #[test]
    fn claudes_rules_stay_denied(
        read in subsequence(PATHS.to_vec(), 0..4),
        edit in subsequence(PATHS.to_vec(), 0..4),
        granted in subsequence(PATHS.to_vec(), 0..4),
        deny_read in subsequence(PATHS.to_vec(), 0..3),
        lines in subsequence(LINES.to_vec(), 0..5),
        allowed in subsequence(LINES.to_vec(), 0..4),
        list in select(vec!["deny", "ask"]),
        enabled: bool,
    ) {
        let rules = |tool: &str, whats: &[&str]| -> Vec<String> {
            whats.iter().map(|what| format!("{tool}({what})")).collect()
        };
        // Their own readings of a path from the root.
        let rooted = |paths: &[&str]| -> Vec<String> {
            paths.iter().map(|path| match path.starts_with('/') {
                true => format!("/{path}"),
                false => (*path).to_owned(),
            }).collect()
        };
        let texts = |paths: &[&str], tool: &str| {
            let paths = rooted(paths);
            rules(tool, &paths.iter().map(String::as_str).collect::<Vec<_>>())
        };
        let strict = [texts(&read, "Read"), texts(&edit, "Edit"), rules("Bash", &lines)].concat();
        let open = [texts(&granted, "Read"), texts(&granted, "Edit"), rules("Bash", &allowed)].concat();
        let text = serde_json::json!({
            "permissions": {list: strict, "allow": open},
            "sandbox": {"enabled": enabled, "filesystem": {"denyRead": deny_read}},
        }).to_string();
        let choice = Choice { dialect: Some(Dialect::Claude), agent: None, standing: Standing::Grants };
        // A denial that cannot be said is an error.
        let Ok(imported) = import::read("s.json", &text, &choice) else {
            let odd = ["/opt/d**", "/etc/[!a]*/**"];
            prop_assert!(odd.iter().any(|odd| [&read, &edit, &deny_read].iter().any(|l| l.contains(odd))), "{text}");
            return Ok(());
        };
        let layer = imported.layer;
        reads_as_written(&layer);
        let rights = rights(&layer);
        for path in ASKED {
            if is_denied(&read, path) || is_denied(&deny_read, path) {
                prop_assert!(denies(&rights, &case(Tool::Read, &[path])), "read {path}\n{text}");
            }
            if is_denied(&read, path) || is_denied(&edit, path) {
                prop_assert!(denies(&rights, &case(Tool::Write, &[path])), "write {path}\n{text}");
            }
        }
        for words in [&["git", "status"][..], &["git", "push", "-f"], &["curl", "x"], &["rm", "-rf", "x"], &["ls"]] {
            let line = words.join(" ");
            let met = |rule: &&str| {
                let rule = rule.replace(":*", " *");
                let bare = rule.strip_suffix(" *").is_some_and(|bare| bare == line);
                bare || stars(&rule, &line)
            };
            if lines.iter().any(&met) {
                prop_assert!(denies(&rights, &case(Tool::Exec, words)), "{line}\n{text}");
            }
            let all = enabled || allowed.iter().any(met) || allowed.is_empty();
            if !all {
                prop_assert!(denies(&rights, &case(Tool::Exec, words)), "{line} is not allowed\n{text}");
            }
        }
    }

    #[test]
    fn shape_three_stays_within_its_paths(
        enabled: bool, exec: bool,
        allowed in subsequence(PATHS.to_vec(), 0..4),
        denied in subsequence(PATHS.to_vec(), 0..4),
        language in select(vec!["python", "javascript", "cobol"]),
    ) {
        let text = format!(
            r#"{{"sandbox": true, "tools": {{"file_system": {{"enabled": {enabled}, "allowed_paths": {}, "denied_paths": {}}},
                "code_execution": {{"enabled": {exec}, "languages": ["{language}"]}}, "web_browsing": {{"enabled": false}}}}}}"#,
            json(&allowed), json(&denied)
        );
        let layer = take("p.json", &text, None).layer;
        reads_as_written(&layer);
        let rights = rights(&layer);
        for path in ASKED {
            // Executable files stay readable: the workspace's programs and /usr.
            if is_denied(&denied, path) {
                prop_assert!(denies(&rights, &case(Tool::Read, &[path])), "read {path}\n{text}");
            }
            if !enabled || is_denied(&denied, path) || !is_granted(&allowed, path) {
                prop_assert!(denies(&rights, &case(Tool::Write, &[path])), "write {path}\n{text}");
            }
        }
        let programs = [("python", "python3"), ("javascript", "node"), ("", "ruby"), ("", "bash")];
        for (of, program) in programs {
            if !exec || of != language {
                prop_assert!(denies(&rights, &case(Tool::Exec, &[program])), "{program}\n{text}");
            }
        }
        prop_assert!(denies_by_name(&rights, Tool::Browser));
        prop_assert!(exec || denies_by_name(&rights, Tool::Exec));
    }

    #[test]
    fn codex_rules_keep_the_strictest(
        rules in prop::collection::vec((
            prop::collection::vec(subsequence(vec!["git", "push", "/usr/bin/git", "a*", "..."], 1..3), 1..4),
            0..3usize,
        ), 0..5),
        asked in prop::collection::vec(select(vec!["git", "push", "/usr/bin/git", "a*", "ab", "..."]), 1..5),
    ) {
        const DECISIONS: [&str; 3] = ["allow", "prompt", "forbidden"];
        let text: String = rules.iter().map(|(pattern, decision)| {
            let pattern = serde_json::to_string(pattern).expect("words");
            format!("prefix_rule(pattern = {pattern}, decision = \"{}\")\n", DECISIONS[*decision])
        }).collect();
        let layer = take("p.rules", &text, None).layer;
        reads_as_written(&layer);
        // The program is the same by either name: creel looks at the file.
        let same = |a: &str, b: &str, first: bool| {
            a == b || first && a.rsplit('/').next() == b.rsplit('/').next()
        };
        let matching = rules.iter().filter(|(pattern, _)| {
            pattern.len() <= asked.len()
                && pattern.iter().zip(&asked).enumerate().all(|(at, (words, asked))| {
                    words.iter().any(|word| same(word, asked, at == 0))
                })
        });
        let strictest = matching.map(|(_, decision)| *decision).max();
        if strictest != Some(0) {
            let words: Vec<&str> = asked.clone();
            prop_assert!(denies(&rights(&layer), &case(Tool::Exec, &words)), "{asked:?}\n{text}");
        }
    }
}

/// Lines of `Bash` rules.
const LINES: [&str; 8] = [
    "git push:*",
    "git:*",
    "git status",
    "curl *",
    "rm -rf:*",
    "*push*",
    "ls",
    "eval:*",
];

/// A star is any run of characters, of blanks too.
fn stars(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, tail)) => text
            .strip_prefix(head)
            .is_some_and(|rest| (0..=rest.len()).any(|at| stars(tail, &rest[at..]))),
    }
}

const PATHS: [&str; 19] = [
    ".",
    "src",
    "./src/x",
    "~/.ssh",
    "/etc",
    "/usr/share",
    "/opt/data/**",
    "~/w/doc",
    "~",
    "*.key",
    "**/z",
    "src/*",
    "**/[x-z]/**",
    "~/*/doc",
    "~/w/s?c/**",
    "/opt/d*/**",
    "/etc/ssl/*/x",
    "/opt/d**",
    "/etc/[!a]*/**",
];
const ASKED: [&str; 12] = [
    "/home/u/w/a",
    "/home/u/w/a.key",
    "/home/u/w/.hidden/z",
    "/home/u/w/src/x/y",
    "/home/u/w/src/z",
    "/home/u/w/doc/z",
    "/home/u/.ssh/id",
    "/home/u/z",
    "/etc/ssl/certs/x",
    "/usr/share/x",
    "/opt/data/x",
    "/opt/data/y/z",
];

/// A path or a glob from the root, without the end that stands for all beneath.
fn absolute(path: &str) -> String {
    let path = path.strip_suffix("/**").unwrap_or(path);
    match path.as_bytes()[0] {
        b'/' => path.into(),
        b'~' => path.replacen('~', "/home/u", 1),
        _ => {
            let rest = path.trim_start_matches('.').trim_start_matches('/');
            format!("/home/u/w/{rest}").trim_end_matches('/').to_owned()
        }
    }
}

/// The path and the directories above it.
fn above(path: &str) -> impl Iterator<Item = &str> {
    let ends = path.match_indices('/').map(|(at, _)| at);
    ends.skip(1)
        .map(|at| &path[..at])
        .chain(std::iter::once(path))
}

/// sandbox-runtime's globs, as its regular expressions have them.
fn glob(glob: &str, text: &str) -> bool {
    let rest_of = |at: usize| text.get(at..).unwrap_or_default();
    if let Some(rest) = glob.strip_prefix("**/") {
        let behind = |(at, _): (usize, &str)| self::glob(rest, rest_of(at + 1));
        return self::glob(rest, text) || text.match_indices('/').any(behind);
    }
    if let Some(rest) = glob.strip_prefix("**") {
        return (0..=text.len()).any(|at| self::glob(rest, rest_of(at)));
    }
    if let Some(rest) = glob.strip_prefix('*') {
        let name = text.find('/').unwrap_or(text.len());
        return (0..=name).any(|at| self::glob(rest, rest_of(at)));
    }
    let Some(c) = text.bytes().next() else {
        return glob.is_empty();
    };
    if let Some(rest) = glob.strip_prefix('?') {
        return c != b'/' && self::glob(rest, rest_of(1));
    }
    if let Some((class, rest)) = glob.strip_prefix('[').and_then(|g| g.split_once(']')) {
        let range = |of: &[u8]| match of {
            [from, b'-', to] => (from..=to).contains(&&c),
            of => of.contains(&c),
        };
        return range(class.as_bytes()) && self::glob(rest, rest_of(1));
    }
    glob.bytes().next() == Some(c) && self::glob(&glob[1..], rest_of(1))
}

/// Whether a list of denials has the path, or a directory above it.
fn is_denied(list: &[&str], path: &str) -> bool {
    let has = |tree: &&str| above(path).any(|name| glob(&absolute(tree), name));
    list.iter().any(has)
}

/// As [`is_denied`], of a list of grants: there a glob means the names that it meets and nothing beneath
/// them, unless it says so.
fn is_granted(list: &[&str], path: &str) -> bool {
    let has = |text: &&str| match text.ends_with("/**") || !text.contains(['*', '?', '[']) {
        true => is_denied(&[text], path),
        false => glob(&absolute(text), path),
    };
    list.iter().any(has)
}

#[test]
fn a_sandboxs_own_lists_hold_where_only_the_other_is_replaced() {
    let take = |lists: &str| {
        let text =
            format!("{{sandbox: {{mode: 'all'}}, tools: {{sandbox: {{tools: {{{lists}}}}}}}}}");
        rights(&take("o.json", &text, None).layer)
    };
    for (lists, browser, fetch) in [
        ("", true, true),
        ("deny: ['x']", true, true),
        ("allow: ['read', 'browser', 'web_fetch']", true, false),
        ("allow: ['read', 'browser'], deny: ['x']", false, true),
    ] {
        let rights = take(lists);
        assert_eq!(denies_by_name(&rights, Tool::Browser), browser, "{lists}");
        assert_eq!(denies_by_name(&rights, Tool::Fetch), fetch, "{lists}");
        assert!(!denies_by_name(&rights, Tool::Read), "{lists}");
    }
}

#[test]
fn modes_of_codex_deny_what_they_say() {
    let write = case(Tool::Write, &["x"]);
    let outside = case(Tool::Write, &["/home/u/z"]);
    for (text, writes) in [
        ("sandbox_mode = 'read-only'", false),
        ("approval_policy = 'never'", false),
        ("sandbox_mode = 'nonsense'", false),
        ("default_permissions = 'custom'", false),
        ("sandbox_mode = 'workspace-write'", true),
        ("sandbox_mode = 'danger-full-access'", true),
        (
            "sandbox_mode = 'workspace-write'\nprofile = 'a'\n[profiles.a]\nsandbox_mode = 'read-only'",
            false,
        ),
    ] {
        let rights = rights(&take("c.toml", text, None).layer);
        assert_eq!(denies(&rights, &write), !writes, "{text}");
        assert!(denies(&rights, &outside), "{text}");
    }
}

/// Each form of a denial, with one that grants as its control.
#[test]
fn what_codex_denies_by_name_is_denied() {
    let profile = |text: &str| format!("default_permissions = 'p'\n[permissions.p.{text}");
    let files = [
        (
            "filesystem]\n'/home/u/w/keys' = 'none'",
            "/home/u/w/keys/x",
            true,
        ),
        ("filesystem]\n'~/w/keys' = 'deny'", "keys/x", true),
        (
            "filesystem.':workspace_roots']\n'keys' = 'none'",
            "keys/x",
            true,
        ),
        (
            "filesystem.':project_roots']\n'./keys' = 'deny'",
            "keys/x",
            true,
        ),
        ("filesystem]\n':project_roots' = 'none'", "keys/x", true),
        ("filesystem]\n'~/w/keys' = 'read'", "keys/x", false),
        ("filesystem]\n'~/w/other' = 'none'", "keys/x", false),
    ];
    for (text, path, denied) in files {
        let text = profile(text);
        let rights = rights(&take("c.toml", &text, None).layer);
        assert_eq!(
            denies(&rights, &case(Tool::Read, &[path])),
            denied,
            "{text}"
        );
    }
    let hosts = [
        (
            "c.toml",
            profile("network.domains]\n'a.example' = 'deny'"),
            1,
        ),
        (
            "c.toml",
            profile("network]\ndenied_domains = ['a.example', 'b.example']"),
            2,
        ),
        (
            "c.toml",
            profile("network.domains]\n'a.example' = 'allow'"),
            0,
        ),
        (
            "p.rules",
            "network_rule(host = 'a.example', protocol = 'http', decision = 'forbidden')".into(),
            1,
        ),
        (
            "p.rules",
            "network_rule(host = 'a.example', protocol = 'http', decision = 'allow')".into(),
            0,
        ),
    ];
    for (name, text, denied) in hosts {
        let layer = take(name, &text, None).layer;
        assert_eq!(layer.network.deny.len(), denied, "{text}");
    }
}

#[test]
fn commands_of_approvals_are_those_of_the_document() {
    let text = super::sample("exec-approvals.json");
    let main = rights(&take("a.json", &text, Some("main")).layer);
    for (words, allowed) in [
        (&["git", "status"][..], true),
        (&["git", "status", "-s"], true),
        (&["git", "push"], false),
        (&["python3", "safe.py"], true),
        (&["python3", "other.py"], false),
        (&["ls"], false),
        (&["make", "test"], false),
        (&["wc", "-l"], true),
        (&["rg"], false),
    ] {
        assert_eq!(
            !denies(&main, &case(Tool::Exec, words)),
            allowed,
            "{words:?}"
        );
    }
    let all = rights(&take("a.json", &text, None).layer);
    assert!(denies(&all, &case(Tool::Exec, &["wc"])));
}

#[test]
fn what_srt_opens_again_is_all_that_there_is() {
    let text = r#"{"filesystem": {"allowRead": [".", "/opt"], "denyRead": ["/", "~"], "allowWrite": ["."], "denyWrite": []}}"#;
    let layer = take("s.json", text, None).layer;
    reads_as_written(&layer);
    let open = rights(&layer);
    for (tool, path, allowed) in [
        (Tool::Read, "/home/u/w/x", true),
        (Tool::Write, "/home/u/w/x", true),
        (Tool::Read, "/opt/x", true),
        (Tool::Write, "/opt/x", false),
        (Tool::Read, "/usr/share/x", false),
        (Tool::Read, "/home/u/x", false),
        (Tool::Exec, "/usr/bin/git", false),
    ] {
        assert_eq!(!denies(&open, &case(tool, &[path])), allowed, "{path}");
    }
    let closed = text.replace("\".\", ", "");
    let closed = rights(&take("s.json", &closed, None).layer);
    assert!(denies(&closed, &case(Tool::Read, &["/home/u/w/x"])));
    assert!(!denies(&closed, &case(Tool::Read, &["/opt/x"])));
}

/// Each form of a denial, and the same file without it.
#[test]
fn what_claude_code_denies_by_name_is_denied() {
    let take = |deny: &str, sandbox: &str| {
        let deny = serde_json::to_string(&[deny]).expect("a text");
        let text = format!(r#"{{"permissions": {{"deny": {deny}}}, "sandbox": {{{sandbox}}}}}"#);
        rights(&take("s.json", &text, None).layer)
    };
    let open = r#""enabled": true, "network": {"allowedDomains": ["*.example"]}"#;
    for (rule, tool, words) in [
        ("Read(/usr/share/**)", Tool::Read, &["/usr/share/x"][..]),
        ("Read(//usr/share/**)", Tool::Read, &["/usr/share/x"]),
        ("Read(/src/**)", Tool::Read, &["src/z"]),
        ("Read(z)", Tool::Read, &["/home/u/w/src/z"]),
        ("Read(./src/{x,z})", Tool::Read, &["src/z"]),
        ("Grep(src/**)", Tool::Read, &["src/z"]),
        ("Edit(src/**)", Tool::Write, &["src/z"]),
        ("Write(*.key)", Tool::Write, &["a.key"]),
        ("Read(*.key)", Tool::Write, &["a.key"]),
        ("Read", Tool::Read, &["src/z"]),
        ("Edit", Tool::Write, &["src/z"]),
        ("Bash", Tool::Exec, &["ls"]),
        ("Bash(curl:*)", Tool::Exec, &["curl"]),
        ("Bash(git push:*)", Tool::Exec, &["git", "push"]),
        ("Bash(eval *)", Tool::Exec, &["ls"]),
        (
            "WebFetch(domain:a.example)",
            Tool::Fetch,
            &["https://a.example/"],
        ),
        ("WebFetch", Tool::Fetch, &["https://a.example/"]),
        ("WebSearch", Tool::Fetch, &["https://a.example/"]),
    ] {
        let case = case(tool, words);
        assert!(denies(&take(rule, open), &case), "{rule}");
        assert!(!denies(&take("Agent(x)", open), &case), "{rule}");
    }
}
