//! The three formats of a policy: the same policy in each, and texts that are none in any.

use std::time::Duration;

use creel_policy::tree::{self, Format, MAX_DEPTH, excerpt};
use creel_policy::{
    Absent, Degradable, Origin, Policy, PolicyError, Roots, WorkspaceMode, file, preset,
};
use proptest::prelude::*;

const TOML: &str = r#"
allow_degraded = ["cgroup", "idmap"]
[filesystem]
read = ["/etc/ssl/certs", { path = "~/data", optional = true }]
write = []
exec = ["/usr", "$WORKSPACE"]
deny = ["$WORKSPACE/.env"]
workspace = "ro"
[network]
mode = "none"
[environment]
set = { PATH = "/usr/bin:/bin", LANG = "C.UTF-8", EMPTY = "", ANSWER = "42", NORWAY = "no" }
pass = ["TERM"]
[limits]
memory = "1GiB"
memory_high = "80%"
cpus = 0.5
pids = 31
timeout = "10m"
"#;

const YAML: &str = r#"
# The same, less brackets.
allow_degraded: [cgroup, idmap]
filesystem:
  read:
    - /etc/ssl/certs
    - path: ~/data
      optional: true
  write: []
  exec: [/usr, $WORKSPACE]
  deny:
  - "$WORKSPACE/.env"
  workspace: ro
network: {mode: none}
environment:
  set:
    PATH: /usr/bin:/bin
    LANG: 'C.UTF-8'
    EMPTY: ""
    ANSWER: "42"
    NORWAY: "no"
  pass: [TERM]
limits:
  memory: 1GiB
  memory_high: 80%
  cpus: .5
  pids: 31
  timeout: 10m
"#;

const JSON5: &str = r#"
// The same, more brackets.
{
  allow_degraded: ["cgroup", 'idmap'],
  "filesystem": {
    read: ["/etc/ssl/certs", {path: "~/data", optional: true}],
    write: [],
    exec: ["/usr", "$WORKSPACE"],
    deny: ["$WORKSPACE/.env"],
    workspace: "ro", /* nothing is written */
  },
  network: {mode: "none"},
  environment: {
    set: {PATH: "/usr/bin:/bin", LANG: "C.UTF-8", EMPTY: "", ANSWER: "42", NORWAY: "no"},
    pass: ["TERM"],
  },
  limits: {memory: "1GiB", memory_high: "80%", cpus: .5, pids: 0x1f, timeout: "10m"},
}
"#;

/// A file's name for each format.
fn name(format: Format) -> &'static str {
    match format {
        Format::Toml => "p.toml",
        Format::Yaml => "p.yaml",
        Format::Json5 => "p.json5",
    }
}

fn parse(format: Format, text: &str) -> Result<Policy, PolicyError> {
    let limits = preset::limits().expect("the default preset parses");
    file::parse(name(format), text, &limits, &Roots::symbolic())
}

/// Without what tells one file from another: its name, its digest and its lines.
fn bare(mut policy: Policy) -> Policy {
    let forget = |origin: &mut Origin| {
        if !origin.source.starts_with("preset:") {
            *origin = Origin {
                source: "".into(),
                line: 0,
            };
        }
    };
    policy.name.clear();
    policy.digest.clear();
    let fs = &mut policy.filesystem;
    for list in [&mut fs.read, &mut fs.write, &mut fs.exec, &mut fs.deny] {
        list.iter_mut().for_each(|grant| forget(&mut grant.origin));
    }
    fs.workspace.iter_mut().for_each(|w| forget(&mut w.origin));
    policy
        .environment
        .set
        .values_mut()
        .for_each(|v| forget(&mut v.origin));
    policy
        .environment
        .pass
        .iter_mut()
        .for_each(|v| forget(&mut v.origin));
    let l = &mut policy.limits;
    for origin in [
        &mut l.memory.origin,
        &mut l.memory_high.origin,
        &mut l.cpus.origin,
        &mut l.pids.origin,
        &mut l.timeout.origin,
        &mut l.cpu_time.origin,
        &mut l.disk.origin,
        &mut l.inodes.origin,
        &mut l.file_size.origin,
        &mut l.open_files.origin,
        &mut l.output.origin,
        &mut l.grace.origin,
    ] {
        forget(origin);
    }
    policy
}

#[test]
fn the_same_policy_in_three_formats_is_the_same_policy() {
    let toml = parse(Format::Toml, TOML).expect("TOML");
    let yaml = parse(Format::Yaml, YAML).expect("YAML");
    let json5 = parse(Format::Json5, JSON5).expect("JSON5");
    assert_eq!(toml.filesystem.read[1].absent, Absent::Skip);
    assert_eq!(toml.limits.cpus.value.0, 500);
    assert_eq!(toml.limits.pids.value.0, 31);
    assert!(toml.allow_degraded.contains(&Degradable::Idmap));
    assert_eq!(
        yaml.filesystem.workspace.as_ref().map(|w| w.value),
        Some(WorkspaceMode::ReadOnly)
    );
    // Each value keeps its own line.
    let lines = |p: &Policy| {
        let set = &p.environment.set;
        (
            p.filesystem.read[1].origin.line,
            set["NORWAY"].origin.line,
            p.limits.pids.origin.line,
        )
    };
    assert_eq!(lines(&toml), (4, 12, 18));
    assert_eq!(lines(&yaml), (7, 21, 27));
    assert_eq!(lines(&json5), (6, 14, 17));
    assert_eq!(&*yaml.limits.pids.origin.source, "p.yaml");
    assert_eq!(bare(toml.clone()), bare(yaml));
    assert_eq!(bare(toml), bare(json5));
}

#[test]
fn a_file_is_read_by_its_extension() {
    for (name, format) in [
        ("a.toml", Format::Toml),
        ("a.yaml", Format::Yaml),
        ("./x.d/a.YML", Format::Yaml),
        ("a.json", Format::Json5),
        ("a.jsonc", Format::Json5),
        ("a.yaml.json5", Format::Json5),
        ("a", Format::Toml),
        ("a.policy", Format::Toml),
        ("preset:default", Format::Toml),
        (".yaml", Format::Toml),
        ("yaml/a", Format::Toml),
    ] {
        assert_eq!(Format::of(name), format, "{name}");
    }
}

#[test]
fn mistakes_are_told_in_the_words_of_the_format() {
    for (format, text, expected) in [
        (
            Format::Yaml,
            "filesystem:\n  raed: []\n",
            "p.yaml:2:3: unknown key 'raed' in [filesystem]; did you mean 'read'?",
        ),
        (
            Format::Json5,
            "{filesystem: {\n  raed: []}}",
            "p.json5:2:3: unknown key 'raed' in [filesystem]; did you mean 'read'?",
        ),
        (
            Format::Yaml,
            "limits:\n  allow_degraded: []\n",
            "p.yaml:2:3: unknown key 'allow_degraded' in [limits]; move it to the top level",
        ),
        (
            Format::Yaml,
            "filesystem:\n",
            "p.yaml:1:11: 'filesystem' is null; write a table: its keys with their values",
        ),
        (
            Format::Json5,
            "{limits: 3}",
            "p.json5:1:10: 'limits' is an integer; write a table: its keys with their values",
        ),
        (
            Format::Yaml,
            "filesystem:\n  read: [3]\n",
            "p.yaml:2:10: 'filesystem.read' is an integer; write a path, or { path: \"/usr\", optional: true }",
        ),
        (
            Format::Yaml,
            "filesystem:\n  read: [~]\n",
            "p.yaml:2:10: 'filesystem.read' is null; write a path, or { path: \"/usr\", optional: true }",
        ),
        (
            Format::Yaml,
            "environment:\n  set:\n    DAY: 1979-05-27\n",
            "p.yaml:3:10: 'environment.set.DAY' is a date; write a string",
        ),
        (
            Format::Yaml,
            "limits: {pids: 99999999999999999999999}",
            "p.yaml:1:16: 'limits.pids' is '99999999999999999999999': a count is too large; the most is 4294967295",
        ),
        (
            Format::Json5,
            "{limits: {pids: -0x1}}",
            "p.json5:1:17: 'limits.pids' is '-0x1': a count cannot be negative; write for example 512",
        ),
        (
            Format::Json5,
            "{environment: {set: {A: 'x\\0'}}}",
            "p.json5:1:25: the value of 'A' contains a NUL byte, which no variable can contain; remove it",
        ),
        (
            Format::Yaml,
            "filesystem:\n  read: [\"/\\0\"]\n",
            "p.yaml:2:10: path '/\\0' in 'filesystem.read' contains a NUL byte, which no path can contain; remove it",
        ),
        (Format::Yaml, "a: [", "p.yaml:1:5: while parsing a node"),
        (
            Format::Json5,
            "{a: }",
            "p.json5:1:5: unexpected close brace; see https://json5.org for the syntax",
        ),
    ] {
        let error = parse(format, text).expect_err(text);
        let message = error.to_string();
        assert!(message.starts_with(expected), "{text:?}: {message}");
        let at = error.place().expect("a text's error has a place");
        let shown = excerpt(text, at).expect("the place is in the text");
        let caret = shown.lines().nth(1).and_then(|line| line.find('^'));
        let margin = "  1 | ".len();
        assert_eq!(caret, Some(margin + at.column as usize - 1), "{shown}");
    }
}

/// Whatever the text: an answer, in one line and with a place in the text.
fn holds(format: Format, text: &str) -> Result<(), TestCaseError> {
    let error = match parse(format, text) {
        Ok(_) => return Ok(()),
        Err(error) => error,
    };
    let message = error.to_string();
    prop_assert!(!message.contains(char::is_control), "{message:?}");
    prop_assert!(message.len() < 1000, "{message:?}");
    let at = error.place();
    let at = at.filter(|at| at.line > 0);
    prop_assert!(at.is_some() || message.contains("is missing"), "{message}");
    if let Some(at) = at {
        let lines = text.split('\n').count();
        prop_assert!(at.line as usize <= lines, "{message}");
        let shown = excerpt(text, at).unwrap_or_default();
        prop_assert!(
            !shown.replace('\n', "").contains(char::is_control),
            "{shown:?}"
        );
    }
    Ok(())
}

/// Pieces of which texts that are nearly policies are made.
const PIECES: [&str; 48] = [
    "{",
    "}",
    "[",
    "]",
    ":",
    ": ",
    ",",
    "\n",
    "\r\n",
    "\r",
    "\t",
    " ",
    "  ",
    "- ",
    "? ",
    "| ",
    "|\n",
    ">-\n",
    "\"",
    "'",
    "\\",
    "\\u",
    "\\ud83d",
    "\\x4",
    "#",
    "//",
    "/*",
    "*/",
    "&a ",
    "*a",
    "!!str ",
    "<<",
    "---\n",
    "...\n",
    "%YAML 1.2\n",
    "=",
    "filesystem",
    "read",
    "limits",
    "pids",
    "0x1",
    "1e9",
    ".5",
    "no",
    "\u{feff}",
    "\0",
    "é",
    "\u{2028}",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_a_reader_panic(text in any::<String>()) {
        for format in Format::ALL {
            holds(format, &text)?;
        }
    }

    #[test]
    fn nor_does_what_looks_like_a_document(picks in proptest::collection::vec(0..PIECES.len(), 0..60)) {
        let text: String = picks.into_iter().map(|at| PIECES[at]).collect();
        for format in Format::ALL {
            holds(format, &text)?;
        }
    }

    #[test]
    fn nor_does_a_policy_with_a_few_bytes_changed(
        changes in proptest::collection::vec((0..2_000_usize, 0..40_usize, 0..PIECES.len()), 1..6),
    ) {
        for (format, text) in [(Format::Toml, TOML), (Format::Yaml, YAML), (Format::Json5, JSON5)] {
            let mut text: Vec<char> = text.chars().collect();
            for (at, length, piece) in &changes {
                let at = at % text.len();
                let end = (at + length / 4).min(text.len());
                text.splice(at..end, PIECES[*piece].chars());
                text.push('\n');
            }
            holds(format, &text.into_iter().collect::<String>())?;
        }
    }
}

/// Texts of 64 KiB that are dear to read badly.
fn dear() -> Vec<(String, String)> {
    const SIZE: usize = 64 << 10;
    let fill = |piece: &str| piece.repeat(SIZE / piece.len());
    let mut texts = vec![];
    let pieces = PIECES.iter().copied().chain([
        "[[",
        "{a:",
        "{a: ",
        "a: {",
        "- - ",
        "? ? ",
        "[a, ",
        "a: b\n",
        "- a\n",
        "&a a: *a\n",
        "a:\n ",
        "\"\\u0041\"",
        "[1,",
        "'a',",
        "\"a\": 1,",
        "x ",
        "x\n",
        "\n\n",
        "# a\n",
        "//\n",
        "/**/",
        "''",
        "\"\"",
        "\\\n",
        "é: é\n",
        "!a",
        "%a\n",
        "[]",
        "{}",
        "[],",
        "{},",
        "a, ",
        "a.",
        "\"a\".",
        "[a]\n",
        "[[a]]\n",
        "a=1\n",
        "0",
        "9",
        "0x",
        "1_",
        "1:",
        "- [",
        "- {",
        "-",
        "a:",
        "a:b:",
        ": a",
        "? a\n: ",
        "|\n a\n",
        "a: |\n a\n",
        "[\"a\": b, ",
        "{? ",
    ]);
    for piece in pieces {
        texts.push((format!("{piece:?} all over"), fill(piece)));
        texts.push((
            format!("{piece:?} in a table"),
            format!("{{a: {}", fill(piece)),
        ));
    }
    let many = |line: &dyn Fn(usize) -> String| (0..SIZE / 12).map(line).collect::<String>();
    texts.push(("many keys of YAML".into(), many(&|n| format!("k{n}: 1\n"))));
    texts.push(("many keys of TOML".into(), many(&|n| format!("k{n} = 1\n"))));
    texts.push((
        "many keys of JSON5".into(),
        format!("{{{}}}", many(&|n| format!("k{n}: 1,\n"))),
    ));
    texts.push(("many sections".into(), many(&|n| format!("[k{n}]\n"))));
    texts.push((
        "many grants".into(),
        format!("filesystem: {{read: [{}]}}", many(&|n| format!("/a{n},\n"))),
    ));
    texts.push((
        "many variables".into(),
        format!(
            "{{environment: {{set: {{{}}}}}}}",
            many(&|n| format!("A{n}: '',"))
        ),
    ));
    let mut indented = String::new();
    for depth in 0..300 {
        indented += &format!("{}a:\n", " ".repeat(depth));
    }
    texts.push(("deep blocks".into(), indented));
    texts
}

/// Processor time of this thread: the machine has other work.
fn spent() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(now).unwrap_or_default()
}

#[test]
fn sixty_four_kibibytes_are_read_in_time() {
    // An unoptimised build is given ten times what is promised.
    let most = Duration::from_millis(if cfg!(debug_assertions) { 500 } else { 50 });
    let (mut worst, mut slow) = (Duration::ZERO, vec![]);
    for (what, text) in dear() {
        for format in Format::ALL {
            let before = spent();
            let _ = parse(format, &text);
            let took = spent().saturating_sub(before);
            worst = worst.max(took);
            if took > most {
                slow.push(format!("{format:?}: {what}: {took:?}"));
            }
        }
    }
    eprintln!("the slowest took {worst:?}");
    assert!(slow.is_empty(), "\n{}", slow.join("\n"));
}

#[test]
fn nesting_is_bounded_in_every_format() {
    for depth in [MAX_DEPTH, MAX_DEPTH + 2, 1_000, 30_000] {
        let nested = "[".repeat(depth) + &"]".repeat(depth);
        for (format, text) in [
            (Format::Toml, format!("a = {nested}")),
            (Format::Yaml, format!("a: {nested}")),
            (Format::Json5, format!("{{a: {nested}}}")),
        ] {
            let parsed = tree::parse(format, "p", &text);
            assert_eq!(parsed.is_ok(), depth <= MAX_DEPTH, "{format:?} {depth}");
        }
    }
}

#[test]
fn what_is_too_large_is_not_read() {
    for format in Format::ALL {
        let text = " ".repeat(tree::MAX_BYTES + 1);
        let message = parse(format, &text).expect_err("too large").to_string();
        assert!(message.contains("larger than 1048576 bytes"), "{message}");
        let parsed = tree::parse(format, "p", &text);
        assert!(matches!(parsed, Err(PolicyError::TooLarge { .. })));
    }
}
