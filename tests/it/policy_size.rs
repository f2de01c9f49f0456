//! Cost of reading a hostile policy: 64 KiB of the worst that each format has, in processor time, the
//! best of several. A file may be larger (docs/policy.md); the cost must not grow faster than it does.

use std::time::Duration;

use creel_policy::file;

use crate::policy_speed::best;

const SIZE: usize = 64 * 1024;

/// Time limit for an optimised build. Another one is some ten times slower, and the machine busy.
const MOST: Duration = Duration::from_millis(50);

fn allowed() -> Duration {
    match cfg!(debug_assertions) {
        true => MOST * 40,
        false => MOST,
    }
}

#[derive(Debug, Clone, Copy)]
enum Format {
    Toml,
    Yaml,
    Json5,
}

impl Format {
    const ALL: [Format; 3] = [Format::Toml, Format::Yaml, Format::Json5];

    fn name(self) -> &'static str {
        match self {
            Format::Toml => "p.toml",
            Format::Yaml => "p.yaml",
            Format::Json5 => "p.json5",
        }
    }

    /// One section with these entries, whose keys and values are written as JSON has them.
    fn section(self, name: &str, entries: &[(String, String)]) -> String {
        let joined = |before: &str, between: &str, after: &str| -> String {
            let one =
                |(key, value): &(String, String)| format!("{before}{key}{between}{value}{after}");
            entries.iter().map(one).collect()
        };
        match self {
            Format::Toml => format!("[{name}]\n{}", joined("", " = ", "\n")),
            Format::Yaml => {
                let names: Vec<&str> = name.split('.').collect();
                let above = names.iter().enumerate();
                let above: String = above
                    .map(|(depth, name)| format!("{}{name}:\n", "  ".repeat(depth)))
                    .collect();
                above + &joined(&"  ".repeat(names.len()), ": ", "\n")
            }
            Format::Json5 => {
                let names: Vec<&str> = name.split('.').collect();
                let open: String = names.iter().map(|name| format!("{{\"{name}\": ")).collect();
                format!(
                    "{open}{{{}}}{}",
                    joined("", ": ", ",\n"),
                    "}".repeat(names.len())
                )
            }
        }
    }
}

/// So many items of a list as fit.
fn filled(each: impl Fn(usize) -> String) -> Vec<String> {
    fitting(", ".len(), each)
}

/// So many of `each` as fit, where `between` bytes more are written for each.
fn fitting(between: usize, each: impl Fn(usize) -> String) -> Vec<String> {
    let mut room = SIZE - 256;
    let all = (0..).map(each);
    all.take_while(|text| {
        let taken = text.len() + between;
        let fits = taken <= room;
        room = room.saturating_sub(taken);
        fits
    })
    .collect()
}

fn list(items: &[String]) -> String {
    format!("[{}]", items.join(", "))
}

fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}

/// A name for each, and the text.
fn worst(format: Format) -> Vec<(&'static str, String)> {
    let one =
        |section: &str, key: &str, value: String| format.section(section, &[(key.into(), value)]);
    let many = |section: &str, each: &dyn Fn(usize) -> (String, String)| {
        // A separator, an indentation, a line's end.
        let entries = fitting(8, |n| {
            let (key, value) = each(n);
            key + "\0" + &value
        });
        let split = |text: &String| {
            let (key, value) = text.split_once('\0').expect("an entry");
            (key.to_owned(), value.to_owned())
        };
        let entries: Vec<(String, String)> = entries.iter().map(split).collect();
        format.section(section, &entries)
    };
    let deep = |levels: usize| "[".repeat(levels) + "1" + &"]".repeat(levels);
    let grants = |each: &dyn Fn(usize) -> String| {
        one("filesystem", "read", list(&filled(|n| quoted(&each(n)))))
    };
    let room = SIZE - 256;
    let breaks = match format {
        Format::Json5 => "\n".repeat(room) + "{}",
        Format::Toml | Format::Yaml => "\n".repeat(room),
    };
    let comment = match format {
        Format::Json5 => "// x\n".repeat(room / 5) + "{}",
        Format::Toml | Format::Yaml => "# xx\n".repeat(room / 5),
    };
    vec![
        ("one deep value", one("filesystem", "read", deep(room / 2))),
        ("never closed", one("filesystem", "read", "[".repeat(room))),
        (
            "tables never closed",
            one("filesystem", "read", "{".repeat(room)),
        ),
        (
            "many deep values",
            one("filesystem", "read", list(&filled(|_| deep(70)))),
        ),
        (
            "many unknown keys",
            many("filesystem", &|n| (format!("raed{n}"), "[]".into())),
        ),
        (
            "many unknown sections",
            many("tools", &|n| (format!("exce{n}"), "{}".into())),
        ),
        (
            "one key many times",
            many("filesystem", &|_| ("read".into(), "[]".into())),
        ),
        (
            "a long key",
            one("filesystem", &quoted(&"a".repeat(room)), "1".into()),
        ),
        (
            "a long path",
            one(
                "filesystem",
                "read",
                list(&[quoted(&"/a".repeat(room / 2))]),
            ),
        ),
        (
            "a long escape",
            one(
                "filesystem",
                "read",
                list(&[quoted(&"\\u0041".repeat(room / 6))]),
            ),
        ),
        (
            "a string never closed",
            one("filesystem", "read", format!("\"{}", "a".repeat(room))),
        ),
        ("many grants", grants(&|n| format!("/g{n}"))),
        ("many wrong grants", grants(&|n| format!("g{n}/.."))),
        ("nested grants", grants(&|n| "/a".repeat(n + 1))),
        ("the same grant", grants(&|_| "/a".into())),
        (
            "wrong types",
            one("filesystem", "read", list(&filled(|_| "1".into()))),
        ),
        (
            "many variables",
            many("environment.set", &|n| (format!("A{n}"), quoted("x"))),
        ),
        (
            "many commands",
            one(
                "tools.exec",
                "commands",
                list(&filled(|n| quoted(&format!("c{n}")))),
            ),
        ),
        (
            "stars",
            one("tools", "allow", list(&[quoted(&"*a".repeat(room / 2))])),
        ),
        (
            "many stars",
            one(
                "tools",
                "deny",
                list(&filled(|n| quoted(&format!("*{n}*")))),
            ),
        ),
        (
            "many cases",
            one(
                "tests",
                "deny",
                list(&filled(|n| quoted(&format!("read f{n}")))),
            ),
        ),
        ("a long number", one("limits", "pids", "1".repeat(room))),
        (
            "a long size",
            one("limits", "memory", quoted(&"1".repeat(room))),
        ),
        (
            "a long time",
            one("limits", "timeout", quoted(&"1s".repeat(room / 2))),
        ),
        ("line ends", breaks),
        ("comments", comment),
    ]
}

#[test]
fn the_worst_of_64_kib_is_read_within_50_milliseconds() {
    let mut slow = vec![];
    let mut most = Duration::ZERO;
    for format in Format::ALL {
        for (name, text) in worst(format) {
            assert!(text.len() <= SIZE, "{format:?}, {name}: {}", text.len());
            // Half of what fits at least, or the input is not what it says.
            assert!(text.len() >= SIZE / 2, "{format:?}, {name}: {}", text.len());
            let took = best(5, || {
                let read = file::read_all(format.name(), &text);
                // Formatting the message is part of the cost.
                std::hint::black_box(read.map_err(|faults| format!("{faults:?}").len()).is_ok());
            });
            if took > allowed() / 10 {
                println!("{format:?}, {name}: {took:?}");
            }
            if took > allowed() {
                slow.push(format!("{format:?}, {name}: {took:?}"));
            }
            most = most.max(took);
        }
    }
    println!("the worst of 64 KiB: {most:?}");
    assert!(slow.is_empty(), "{slow:#?}");
}
