//! Checks the project's rules in the source text: which folder may import which, where `unsafe` and
//! crates with system calls may be used, which crates are pure, how long a file may be, and whether the
//! documents are up to date. See docs/architecture.md.

use std::path::{Path, PathBuf};

use creel_policy::protected_defaults;

/// The crates; "" is the program. cargo enforces their dependencies.
const CRATES: [&str; 8] = [
    "policy", "dialects", "plan", "sys", "egress", "jail", "session", "",
];
/// Crates that only `crates/sys` depends on.
const KERNEL_CRATES: [&str; 5] = ["nix", "libc", "landlock", "seccompiler", "caps"];
/// Pure crates, and the modules and crates that they must not use.
const PURE: [&str; 3] = ["crates/policy/", "crates/dialects/", "crates/plan/"];
const IMPURE: [&str; 9] = [
    "std::fs",
    "std::env",
    "std::process",
    "std::net",
    "std::thread",
    "std::os::fd",
    "std::time::SystemTime",
    "tokio",
    "rustix",
];
/// Lines above which a file gets a warning, and above which the test fails.
const LONG: usize = 400;
const TOO_LONG: usize = 700;
/// File names that do not say what a file owns.
const SAYING_NOTHING: [&str; 6] = ["utils", "util", "helpers", "manager", "common", "misc"];

#[test]
fn every_crate_but_sys_forbids_unsafe_and_knows_no_kernel_crate() {
    let mut broken = vec![];
    for name in CRATES {
        if name == "sys" {
            continue;
        }
        let at = match name {
            "" => root().to_path_buf(),
            name => root().join("crates").join(name),
        };
        let read = |file: &str| std::fs::read_to_string(at.join(file)).expect(file);
        if !read("src/lib.rs").contains("#![forbid(unsafe_code)]") {
            broken.push(format!("{name}: src/lib.rs does not forbid unsafe code"));
        }
        let manifest: toml::Table = read("Cargo.toml").parse().expect("a manifest");
        let needs = manifest["dependencies"].as_table().expect("a table");
        for kernel in KERNEL_CRATES {
            if needs.contains_key(kernel) {
                broken.push(format!("{name}: depends on {kernel}"));
            }
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

/// Rules that cargo cannot enforce: the program's two folders, and paths without `super::super::`.
#[test]
fn imports_can_be_followed() {
    let mut broken = vec![];
    for file in ours() {
        for (line, path) in file.paths() {
            if file.name.starts_with("src/selftest/") && path.starts_with("crate::cli") {
                broken.push(format!("{}:{line}: {path}", file.name));
            }
            if path.starts_with("super::super::") && line < file.tests && file.is_shallow() {
                broken.push(format!("{}:{line}: {path}: write crate::", file.name));
            }
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn policy_and_plan_are_pure() {
    let mut broken = vec![];
    for file in ours() {
        if !PURE.iter().any(|pure| file.name.starts_with(pure)) {
            continue;
        }
        for (line, path) in file.paths() {
            let impure = IMPURE.iter().any(|name| {
                path.strip_prefix(name)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
            });
            // A test may read a file to compare with.
            if impure && line < file.tests {
                broken.push(format!("{}:{line}: {path}", file.name));
            }
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn nothing_panics_and_nothing_is_left_to_do() {
    let mut broken = vec![];
    for file in ours() {
        for (line, text) in file.code_lines() {
            if line >= file.tests {
                continue;
            }
            // With an argument other than a string, `expect` is another type's method.
            for call in [".unwrap()", ".expect(\"\"", "panic!(", "dbg!("] {
                if text.contains(call) {
                    broken.push(format!("{}:{line}: {call}", file.name));
                }
            }
        }
    }
    for file in ["src", "crates", "tests"].into_iter().flat_map(sources) {
        for (line, text) in file.code_lines() {
            for call in ["todo!(", "unimplemented!("] {
                if text.contains(call) {
                    broken.push(format!("{}:{line}: {call}", file.name));
                }
            }
        }
        for (at, text) in file.text.lines().enumerate() {
            if text.contains(concat!("FIX", "ME")) || text.contains(concat!("TO", "DO")) {
                broken.push(format!("{}:{}: {}", file.name, at + 1, text.trim()));
            }
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn files_are_short_and_named_for_what_they_own() {
    let mut broken = vec![];
    for file in ours() {
        let lines = file.text.lines().count();
        match lines {
            _ if lines > TOO_LONG => broken.push(format!("{}: {lines} lines", file.name)),
            _ if lines > LONG => eprintln!("{}: {lines} lines, which is long", file.name),
            _ => {}
        }
        let stem = Path::new(&file.name)
            .file_stem()
            .and_then(|s| s.to_str())
            .unwrap_or_default();
        if SAYING_NOTHING.contains(&stem) {
            broken.push(format!("{}: name it for what it owns", file.name));
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn the_documents_keep_up() {
    let read = |name: &str| std::fs::read_to_string(root().join(name)).expect(name);
    let mut missing = vec![];

    // The default policy has every limit; these are the keys that it does not have.
    let mut keys = vec![
        "workspace".to_owned(),
        "allow_degraded".into(),
        "path".into(),
        "optional".into(),
    ];
    let policy: toml::Table = read("policies/default.toml")
        .parse()
        .expect("the default policy is TOML");
    for (name, section) in policy {
        keys.push(name);
        keys.extend(
            section
                .as_table()
                .into_iter()
                .flat_map(|t| t.keys().cloned()),
        );
    }
    let text = read("docs/policy.md");
    for key in keys {
        if !text.contains(&format!("`{key}`")) && !text.contains(&format!("`[{key}]`")) {
            missing.push(format!("docs/policy.md: {key}"));
        }
    }

    let text = read("docs/architecture.md");
    for name in CRATES.iter().filter(|name| !name.is_empty()) {
        if !text.contains(&format!("`creel-{name}`")) {
            missing.push(format!("docs/architecture.md: creel-{name}"));
        }
    }
    for (stage, reason) in creel_plan::order::ORDER {
        if !text.contains(reason) {
            missing.push(format!("docs/architecture.md: {stage:?}: {reason}"));
        }
    }

    // Each hazard of the table has a file, such as c01_runtime_binary.rs.
    let text = read("docs/security.md");
    for file in sources("tests/it/attacks") {
        let name = file.name.strip_prefix("tests/it/").unwrap_or_default();
        let number = name
            .strip_prefix("attacks/")
            .and_then(|n| n.split_once('_'));
        let numbered = number.is_some_and(|(n, _)| n.len() == 3 && n[1..].parse::<u8>().is_ok());
        if numbered && !text.contains(name) {
            missing.push(format!("docs/security.md: {name}"));
        }
    }
    assert!(missing.is_empty(), "\n{}", missing.join("\n"));
}

/// The list of protected defaults in the document equals the table in the code.
#[test]
fn the_document_lists_the_protected_defaults() {
    let text = std::fs::read_to_string(root().join("docs/policy.md")).expect("docs/policy.md");
    let (_, list) = text
        .split_once("#### Protected defaults")
        .expect("a heading");
    let lines = list.lines().skip_while(|line| !line.starts_with("| `"));
    let listed: Vec<&str> = lines.take_while(|line| line.starts_with("| `")).collect();
    let held = |when: protected_defaults::When| match when {
        protected_defaults::When::Always => "always",
        protected_defaults::When::Present => "present",
    };
    let rows = protected_defaults::PATHS.iter();
    let rows = rows.map(|row| format!("| `{}` | {} | {} |", row.path, held(row.when), row.why));
    assert_eq!(listed, rows.collect::<Vec<String>>());
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// One Rust file.
struct Source {
    /// From the root of the repository, with slashes.
    name: String,
    text: String,
    /// `text` without comments and without the content of strings and characters; the lines stay.
    code: String,
    /// The line where the tests begin, which are last in every file.
    tests: usize,
}

/// Every Rust file of the product.
fn ours() -> impl Iterator<Item = Source> {
    ["src", "crates"]
        .into_iter()
        .flat_map(sources)
        .filter(|file| !file.name.starts_with("crates/sys/build"))
}

/// Every Rust file under a directory of the repository; empty if the directory does not exist.
fn sources(under: &str) -> Vec<Source> {
    let mut found = vec![];
    let mut directories: Vec<PathBuf> = vec![root().join(under)];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten() {
            let path = entry.expect("a directory is readable").path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = std::fs::read_to_string(&path).expect("a source is readable");
                let name = path.strip_prefix(root()).expect("it is below the root");
                found.push(Source::new(name.display().to_string(), text));
            }
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

impl Source {
    fn new(name: String, text: String) -> Source {
        let code = without_words(&text);
        let tests = code.lines().position(|line| line.trim() == "#[cfg(test)]");
        Source {
            name,
            text,
            code,
            tests: tests.map_or(usize::MAX, |at| at + 1),
        }
    }

    /// Whether `super::super` leads out of the file's folder or crate.
    fn is_shallow(&self) -> bool {
        let inside = self
            .name
            .split_once("src/")
            .map_or("", |(_, inside)| inside);
        let deep = if self.name.starts_with("src/") { 2 } else { 1 };
        inside.matches('/').count() < deep
    }

    fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code
            .lines()
            .enumerate()
            .map(|(at, line)| (at + 1, line))
    }

    /// Every path of two parts or more, with its line; groups of `use` are expanded, and `use NAME` alone
    /// becomes `NAME::self`.
    fn paths(&self) -> Vec<(usize, String)> {
        let mut found = vec![];
        // The prefix that each open brace adds to a path; an ordinary block adds none.
        let mut open: Vec<String> = vec![];
        let (mut path, mut before, mut line) = (String::new(), String::new(), 1);
        let mut rest = self.code.chars().peekable();
        while let Some(c) = rest.next() {
            if c.is_alphanumeric() || c == '_' {
                path.push(c);
                continue;
            }
            if c == ':' && rest.peek() == Some(&':') {
                rest.next();
                path.push_str("::");
                continue;
            }
            let prefix = open.last().map_or("", String::as_str);
            // `as NAME` is not a path, `as libc::c_int` is one.
            let alias = path == "as" || before == "as" && !path.contains("::");
            let whole = format!("{prefix}{path}");
            match c {
                '{' if path.ends_with("::") => open.push(whole),
                _ => {
                    if alias {
                        // An alias refers to a path that is listed already.
                    } else if before == "use" && !path.is_empty() && !whole.contains("::") {
                        found.push((line, format!("{whole}::self")));
                    } else if !path.is_empty() && whole.contains("::") {
                        found.push((line, whole));
                    }
                    match c {
                        '{' => open.push(String::new()),
                        '}' => drop(open.pop()),
                        '\n' => line += 1,
                        _ => {}
                    }
                }
            }
            if !path.is_empty() {
                before = std::mem::take(&mut path);
            }
        }
        found
    }
}

/// The code without comments and without the content of strings and characters. The lines stay.
fn without_words(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        // The length of the token that starts here, and its replacement.
        let (length, instead) = if rest.starts_with("//") {
            (rest.find('\n').unwrap_or(rest.len()), "")
        } else if rest.starts_with("/*") {
            (rest.find("*/").map_or(rest.len(), |end| end + 2), " ")
        } else if let Some(hashes) = raw_string(rest, code.chars().last()) {
            let close = format!("\"{}", "#".repeat(hashes));
            let body = hashes + 2;
            (
                rest[body..]
                    .find(&close)
                    .map_or(rest.len(), |end| body + end + close.len()),
                "\"\"",
            )
        } else if c == '"' {
            (quoted(rest, '"'), "\"\"")
        } else if c == '\'' && is_character(rest) {
            (quoted(rest, '\''), "''")
        } else {
            code.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        };
        code.push_str(instead);
        code.extend(rest[..length].chars().filter(|c| *c == '\n'));
        rest = &rest[length..];
    }
    code
}

/// The number of `#` of a raw string that starts here.
fn raw_string(rest: &str, before: Option<char>) -> Option<usize> {
    let after = rest.strip_prefix('r')?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    // An identifier may end in r; `br` and `cr` are prefixes too.
    let prefixed =
        before.is_some_and(|c| c.is_alphanumeric() && !matches!(c, 'b' | 'c') || c == '_');
    (after[hashes..].starts_with('"') && !prefixed).then_some(hashes)
}

/// The length of a quoted text, with its quotes.
fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Whether this quote starts a character: a lifetime has no second quote.
fn is_character(rest: &str) -> bool {
    let mut next = rest.chars().skip(1);
    match next.next() {
        Some('\\') => true,
        Some(_) => next.next() == Some('\''),
        None => false,
    }
}

#[test]
fn the_reader_of_sources_reads() {
    let text = "use crate::{sys::{self, fd}, plan as p}; // libc::x\nlet s = \"nix::y\"; 'a: loop {}\nuse libc;\nlet q = '\"'; ::nix::z(r#\"unsafe \" {\"#);\n";
    let source = Source::new("src/x.rs".into(), text.into());
    assert_eq!(source.code.lines().count(), text.lines().count());
    let paths: Vec<String> = source
        .paths()
        .into_iter()
        .map(|(line, path)| format!("{line} {path}"))
        .collect();
    assert_eq!(
        paths,
        [
            "1 crate::sys::self",
            "1 crate::sys::fd",
            "1 crate::plan",
            "3 libc::self",
            "4 ::nix::z"
        ]
    );
}

/// A fault point stops creel for whoever sets its environment: none is in a release. scripts/package looks at the binary.
#[test]
fn a_release_has_no_fault_points() {
    let read = |name: &str| std::fs::read_to_string(root().join(name)).expect(name);
    let manifest: toml::Table = read("Cargo.toml").parse().expect("a manifest");
    let release = manifest["profile"]["release"].as_table().expect("a table");
    assert!(!release.contains_key("debug-assertions"));
    let stops: Vec<String> = ours()
        .filter(|file| file.text.contains("CREEL_STOP_AT") && !file.name.starts_with("tests/"))
        .map(|file| file.name)
        .collect();
    assert_eq!(stops, ["crates/jail/src/fault_point.rs"]);
    let text = read(&stops[0]);
    let real = "#[cfg(debug_assertions)]\npub fn reach(point: Point) {";
    assert!(text.contains(real));
    assert!(text.contains("#[cfg(not(debug_assertions))]\n#[inline]\npub fn reach(_: Point) {}\n"));
    assert_eq!(text.matches("fn reach").count(), 2);
}

/// The example policies in the documents are valid.
#[test]
fn the_policies_in_the_documents_can_be_read() {
    let mut count = 0;
    for document in ["docs/network.md", "docs/policy.md"] {
        let text = std::fs::read_to_string(root().join(document)).expect(document);
        for part in text.split("```toml\n").skip(1) {
            let policy = part.split("```").next().unwrap_or_default();
            if let Err(error) = creel_policy::file::read(document, policy) {
                panic!("{document}: {policy}\n{error}");
            }
            count += 1;
        }
    }
    assert!(count > 8, "{count} policies");
}
