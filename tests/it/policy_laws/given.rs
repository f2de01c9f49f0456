//! Layers and cases made from choices: of a random number, or of a property test's tape, whose zeros
//! are the simplest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use creel_policy::layer::{
    Arguments, Ask, Case, Command, Language, Layer, Mode, Rank, Scope, Security, Settings, Target,
};
use creel_policy::net;
use creel_policy::rights::Roots;
use creel_policy::tools::{Pattern, Profile, Tool};
use creel_policy::{
    Absent, Bytes, Count, CpuShare, Degradable, Grant, Origin, Percent, Sourced, Span,
    WorkspaceMode,
};

/// A layer with its rank.
pub type Given = (Rank, Layer);

pub fn roots() -> Roots {
    Roots {
        home: "/home/u".into(),
        workspace: "/home/u/w".into(),
    }
}

/// Places that enclose each other, begin alike, and are named in several ways.
pub const PATHS: [&str; 18] = [
    "/usr",
    "/usr/bin",
    "/usr/bin/git",
    "/usr/bin/python3",
    "/usrlocal",
    "/opt/x",
    "/",
    "$WORKSPACE",
    "$WORKSPACE/src",
    "$WORKSPACE/src/a",
    "$WORKSPACE/srcs",
    "$WORKSPACE/.git",
    "/home/u/w/docs/",
    "/home/u/./w",
    "/home",
    "~/w3",
    "~/.ssh",
    "~/w2",
];

/// Subjects of cases; more than policies name.
pub const SUBJECTS: [&str; 22] = [
    "/usr",
    "/usr/bin/git",
    "/usr/bin/gitk",
    "/usrlocal/x",
    "/opt/x",
    "/opt/xx",
    "/etc/passwd",
    "/",
    "$WORKSPACE",
    "src/a/b",
    "src/a",
    "src",
    "srcs/x",
    ".git/hooks/x",
    "docs/x",
    "~/.ssh/id",
    "~/w2/x",
    "~/wx",
    "/home/v",
    "src/../x",
    "~backup",
    "$HOME",
];

pub const COMMANDS: [&[&str]; 9] = [
    &["git"],
    &["git", "status"],
    &["git", "push", "-f"],
    &["python3"],
    &["python3", "x"],
    &["/usr/bin/git", "status"],
    &["/opt/x/run"],
    &["$WORKSPACE/src/a", "y"],
    &["bash"],
];

/// Destinations that policies name, which enclose each other and end alike.
pub const RULES: [&str; 9] = [
    "a.example",
    "*.a.example",
    "*.example:443",
    "b.example:443,8443",
    "*:8443",
    "10.0.0.0/8:443",
    "10.1.0.0/16:443",
    "0.0.0.0/0:443",
    "8.8.8.8:443",
];

/// Destinations of cases.
pub const HOSTS: [&str; 13] = [
    "a.example",
    "https://A.example./x",
    "http://a.example",
    "x.a.example",
    "y.x.a.example",
    "b.example:8443",
    "ba.example",
    "a.example.evil",
    "8.8.8.8",
    "10.1.2.3",
    "10.2.0.1",
    "127.1",
    "a b",
];

const PATTERNS: [&str; 20] = [
    "read",
    "write",
    "edit",
    "apply_patch",
    "exec",
    "process",
    "browser",
    "message",
    "fetch",
    "Bash",
    "web_search",
    "web_*",
    "group:fs",
    "group:runtime",
    "*",
    "e*",
    "*e",
    "apply-*",
    "session_status",
    "b*h",
];

/// A source of choices: each is below `n`.
pub trait Choices {
    fn pick(&mut self, n: usize) -> usize;
}

/// SplitMix64: the same numbers everywhere.
pub struct Numbers(pub u64);

impl Choices for Numbers {
    fn pick(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }
}

/// Bytes; after the last come zeros.
pub struct Tape<'t>(pub &'t [u8]);

impl Choices for Tape<'_> {
    fn pick(&mut self, n: usize) -> usize {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        usize::from(*first) % n
    }
}

/// Makes one layer's values, each with a place of its own.
pub struct Writer<'c> {
    choices: &'c mut dyn Choices,
    source: Arc<str>,
    line: u32,
    /// One of so many keys is written.
    sparse: usize,
}

impl<'c> Writer<'c> {
    pub fn new(choices: &'c mut dyn Choices, source: String, sparse: usize) -> Writer<'c> {
        Writer {
            choices,
            source: source.into(),
            line: 0,
            sparse,
        }
    }

    fn place(&mut self) -> Origin {
        self.line += 1;
        Origin {
            source: self.source.clone(),
            line: self.line,
        }
    }

    fn of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.choices.pick(all.len())].clone()
    }

    fn said<T>(&mut self, value: T) -> Sourced<T> {
        let origin = self.place();
        Sourced { value, origin }
    }

    /// Whether a key is written at all.
    fn speaks(&mut self) -> bool {
        let n = self.sparse;
        self.choices.pick(n) == n - 1
    }

    fn one<T: Clone>(&mut self, all: &[T]) -> Option<Sourced<T>> {
        self.speaks().then(|| {
            let value = self.of(all);
            self.said(value)
        })
    }

    fn many<T>(&mut self, most: usize, mut each: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let count = self.choices.pick(most + 1);
        (0..count).map(|_| each(self)).collect()
    }

    fn grant(&mut self) -> Grant {
        let path = self.of(&PATHS);
        let absent = self.of(&[Absent::Skip, Absent::Refuse]);
        Grant::new(path, absent, self.place())
    }

    fn grants(&mut self) -> Option<Vec<Grant>> {
        self.speaks().then(|| self.many(4, Self::grant))
    }

    fn denials(&mut self) -> Vec<Grant> {
        match self.speaks() {
            true => self.many(2, Self::grant),
            false => vec![],
        }
    }

    fn patterns(&mut self) -> Vec<Pattern> {
        let text = self.of(&PATTERNS);
        Pattern::parse(text).expect("a pattern")
    }

    fn command(&mut self) -> Command {
        let programs = [
            "git",
            "python3",
            "/usr/bin/git",
            "/opt/x/run",
            "$WORKSPACE/src/a",
        ];
        Command {
            program: self.of(&programs).into(),
            args: self
                .many(2, |w| {
                    w.of(&["status", "...", "push ...", "", "x", "p* -f", "*"])
                })
                .into_iter()
                .map(Arguments::parse)
                .collect(),
            origin: self.place(),
        }
    }

    fn count(&mut self) -> Option<Sourced<Count>> {
        self.one(&[Count(1), Count(2), Count(9)])
    }

    fn settings(&mut self) -> Settings {
        Settings {
            enabled: self.one(&[true, false]),
            elevated: self.one(&[false, true]),
            security: self.one(&Security::ALL),
            ask: self.one(&[Ask::Off, Ask::OnMiss, Ask::Always]),
            allowed_paths: self.grants(),
            denied_paths: self.denials(),
            commands: self.speaks().then(|| self.many(4, Self::command)),
            languages: self.speaks().then(|| {
                self.many(2, |w| {
                    let language = w.of(&Language::ALL);
                    w.said(language)
                })
            }),
            timeout: self.one(&[Span(1), Span(5), Span(10_000_000)]),
            rate: self.count(),
            max_iterations: self.count(),
            channels: self.names(),
            target: self.one(&[Target::Sandbox]),
        }
    }

    fn names(&mut self) -> Option<Vec<Sourced<String>>> {
        self.speaks().then(|| {
            self.many(3, |w| {
                let name = w.of(&["A", "B", "C"]).to_owned();
                w.said(name)
            })
        })
    }

    fn rules(&mut self, denial: bool) -> Vec<net::Rule> {
        self.many(3, |w| {
            let (text, origin) = (w.of(&RULES), w.place());
            match denial {
                true => net::Rule::denial(text, origin),
                false => net::Rule::of_text(text, origin),
            }
            .expect("a rule")
        })
    }

    fn network(&mut self) -> net::Said {
        net::Said {
            mode: self.one(&net::Mode::ALL),
            allow: self.speaks().then(|| self.rules(false)),
            deny: match self.speaks() {
                true => self.rules(true),
                false => vec![],
            },
            limits: net::Limits {
                rate: self.count(),
                ..net::Limits::default()
            },
            ..net::Said::default()
        }
    }

    pub fn layer(&mut self) -> Layer {
        let mut layer = Layer {
            name: self.source.to_string(),
            digest: self.source.to_string(),
            ..Layer::default()
        };
        let tools = &mut layer.tools;
        tools.profile = match self.speaks() {
            true => self.one(&Profile::ALL),
            false => None,
        };
        tools.allow = self.speaks().then(|| {
            let mut list: Vec<Pattern> =
                self.many(5, Self::patterns).into_iter().flatten().collect();
            // Lists that leave nothing are right, and dull.
            if self.choices.pick(2) == 1 {
                list.extend(Pattern::parse("group:fs").expect("a group"));
                list.extend(Pattern::parse("exec").expect("a tool"));
            }
            self.said(list)
        });
        if self.speaks() {
            for pattern in self.many(2, Self::patterns).into_iter().flatten() {
                let denied = self.said(pattern);
                tools.deny.push(denied);
            }
        }
        tools.elevated = self.one(&[false, true]);
        tools.max_iterations = self.count();
        for tool in Tool::ALL {
            if self.speaks() {
                tools.each.insert(tool, self.settings());
            }
        }
        let files = &mut layer.filesystem;
        files.read = self.grants();
        files.write = self.grants();
        files.load = self.grants();
        files.exec = self.grants();
        files.deny = self.denials();
        files.protect = self.denials();
        files.unprotect = self.denials();
        files.workspace = self.one(&[
            WorkspaceMode::ReadWrite,
            WorkspaceMode::Overlay,
            WorkspaceMode::ReadOnly,
            WorkspaceMode::None,
        ]);
        layer.network = self.network();
        layer.environment.pass = self.names();
        layer.environment.set = self.speaks().then(|| {
            let pairs = self.many(3, |w| {
                let (name, value) = (w.of(&["A", "B", "C"]), w.of(&["1", "2"]));
                (name.to_owned(), w.said(value.to_owned()))
            });
            pairs.into_iter().collect::<BTreeMap<_, _>>()
        });
        layer.allow_degraded = self.speaks().then(|| {
            let pairs = self.many(2, |w| (w.of(&Degradable::ALL), w.place()));
            pairs.into_iter().collect::<BTreeMap<_, _>>()
        });
        let l = &mut layer.limits;
        let (bytes, counts) = (
            [Bytes(4096), Bytes(8192), Bytes(1 << 40)],
            [Count(1), Count(7), Count(100_000)],
        );
        let spans = [Span(1), Span(1000), Span(90_000_000)];
        l.memory = self.one(&bytes);
        l.memory_high = self.one(&[Percent(50), Percent(90), Percent(100)]);
        l.cpus = self.one(&[CpuShare(100), CpuShare(1000), CpuShare(64_000)]);
        l.pids = self.one(&counts);
        l.timeout = self.one(&spans);
        l.cpu_time = self.one(&spans);
        l.disk = self.one(&bytes);
        l.inodes = self.one(&counts);
        l.file_size = self.one(&bytes);
        l.open_files = self.one(&counts);
        l.output = self.one(&bytes);
        l.grace = self.one(&spans);
        layer.session.mode = self.one(&Mode::ALL);
        layer.session.scope = self.one(&Scope::ALL);
        layer.environment.git_identity = self.one(&[false, true]);
        layer.process.debug = self.one(&[false, true]);
        layer
    }
}

/// One to `most` layers; the first of them are the platform's or the operator's more often.
pub fn layers(choices: &mut dyn Choices, most: usize) -> Vec<Given> {
    let count = 1 + choices.pick(most);
    (0..count)
        .map(|at| {
            let rank = match at {
                0 => Rank::ALL[choices.pick(2)],
                _ => Rank::ALL[choices.pick(Rank::ALL.len())],
            };
            // A few keys, or many.
            let sparse = [3, 6, 12][choices.pick(3)];
            // Two layers may share their places: of equal text, nothing may depend on the order.
            let name = format!("layer {}", choices.pick(6));
            (rank, Writer::new(choices, name, sparse).layer())
        })
        .collect()
}

pub fn case(tool: Tool, words: &[&str]) -> Case {
    Case {
        tool,
        words: words.iter().map(|word| (*word).to_owned()).collect(),
    }
}

/// Every tool on every subject that it has.
pub fn universe() -> Vec<Case> {
    let mut all = vec![];
    for tool in [Tool::Read, Tool::Write, Tool::Edit, Tool::ApplyPatch] {
        all.extend(SUBJECTS.iter().map(|path| case(tool, &[path])));
    }
    all.extend(COMMANDS.iter().map(|words| case(Tool::Exec, words)));
    for tool in [Tool::Process, Tool::Browser, Tool::Message, Tool::Fetch] {
        all.push(case(tool, &["x"]));
    }
    all.extend(HOSTS.iter().map(|host| case(Tool::Fetch, &[host])));
    for tool in [Tool::Read, Tool::Exec] {
        all.push(case(tool, &[]));
    }
    all
}

/// The names that a filter is asked about.
pub fn tool_names() -> BTreeSet<&'static str> {
    let others = ["session_status", "gateway", "mcp__x", "web_search", "bash"];
    Tool::ALL.iter().map(|t| t.name()).chain(others).collect()
}
