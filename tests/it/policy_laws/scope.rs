//! A small scope, exhaustively: every value of each field's small domain against every other over three
//! layers, and the cross products where fields interact.

use std::collections::BTreeMap;

use creel_policy::layer::{
    Arguments, Ask, Case, Command, Language, Layer, Mode, Rank, Scope, Security, Settings, Target,
};
use creel_policy::net;
use creel_policy::tools::{Pattern, Profile, Tool};
use creel_policy::{
    Absent, Bytes, Count, CpuShare, Degradable, Grant, Origin, Percent, Sourced, Span,
    WorkspaceMode,
};

use super::evaluator::Evaluator;
use super::given::{Given, HOSTS, case, universe};
use super::laws;

type Set = Box<dyn Fn(&mut Layer)>;
/// The values of one field, the first of which is usually silence.
type Domain = Vec<Set>;

fn here<T>(value: T) -> Sourced<T> {
    Sourced {
        value,
        origin: Origin {
            source: "".into(),
            line: 1,
        },
    }
}

fn grants(paths: &[&str]) -> Vec<Grant> {
    let grant = |path: &&str| Grant::new(*path, Absent::Skip, here(()).origin);
    paths.iter().map(grant).collect()
}

fn patterns(texts: &[&str]) -> Vec<Pattern> {
    let parsed = texts
        .iter()
        .flat_map(|text| Pattern::parse(text).expect("a pattern"));
    parsed.collect()
}

/// A domain of silence and these values.
fn domain<T: Clone + 'static>(
    values: &[T],
    set: impl Fn(&mut Layer, T) + Copy + 'static,
) -> Domain {
    let silence: Set = Box::new(|_| {});
    let said = values
        .iter()
        .cloned()
        .map(|value| -> Set { Box::new(move |layer| set(layer, value.clone())) });
    std::iter::once(silence).chain(said).collect()
}

fn of(layer: &mut Layer, tool: Tool) -> &mut Settings {
    layer.tools.each.entry(tool).or_default()
}

/// Layers with every combination of these domains.
fn product(domains: &[Domain]) -> Vec<Layer> {
    domains
        .iter()
        .fold(vec![Layer::default()], |layers, domain| {
            let with = |layer: &Layer| {
                let layer = layer.clone();
                domain
                    .iter()
                    .map(move |set| {
                        let mut layer = layer.clone();
                        set(&mut layer);
                        layer
                    })
                    .collect::<Vec<_>>()
            };
            layers.iter().flat_map(with).collect()
        })
}

/// The layer, all of whose places are those of the layer of this number.
fn placed(layer: &Layer, number: usize) -> Layer {
    let source: std::sync::Arc<str> = format!("layer {number}").into();
    let mut layer = layer.clone();
    let files = &mut layer.filesystem;
    let granted = [&mut files.read, &mut files.write];
    let code = [&mut files.load, &mut files.exec];
    let lists = granted.into_iter().chain(code);
    let places = [&mut files.deny, &mut files.protect, &mut files.unprotect];
    let lists = lists.filter_map(Option::as_mut).chain(places);
    lists
        .flatten()
        .for_each(|grant| grant.origin.source = source.clone());
    if let Some(mode) = &mut files.workspace {
        mode.origin.source = source.clone();
    }
    if let Some(memory) = &mut layer.limits.memory {
        memory.origin.source = source.clone();
    }
    if let Some(list) = &mut layer.tools.allow {
        list.origin.source = source.clone();
    }
    layer
        .tools
        .deny
        .iter_mut()
        .for_each(|denied| denied.origin.source = source.clone());
    layer
}

fn files(tools: &[Tool], paths: &[&str]) -> Vec<Case> {
    tools
        .iter()
        .flat_map(|tool| paths.iter().map(|path| case(*tool, &[path])))
        .collect()
}

/// A name, the layers, and the cases that could tell them apart.
pub struct Group {
    pub name: &'static str,
    pub layers: Vec<Layer>,
    pub cases: Vec<Case>,
}

fn lists(
    values: &[&'static [&'static str]],
    set: impl Fn(&mut Layer, Option<Vec<Grant>>) + Copy + 'static,
) -> Domain {
    domain(values, move |layer, paths| set(layer, Some(grants(paths))))
}

fn places(
    values: &[&'static [&'static str]],
    set: impl Fn(&mut Layer, Vec<Grant>) + Copy + 'static,
) -> Domain {
    domain(values, move |layer, paths| set(layer, grants(paths)))
}

const MODES: [WorkspaceMode; 4] = WorkspaceMode::ALL;

pub fn groups() -> Vec<Group> {
    let some = [Tool::Read, Tool::Write, Tool::Edit];
    let any = |name| case(name, &["x"]);
    let by_name: Vec<Case> = Tool::ALL.into_iter().map(any).collect();
    let nested = [
        "/a",
        "/a/b",
        "/a/b/c",
        "/ab",
        "/home/u/w",
        "/home/u/w/s/x",
        "/home/u/w/sx",
        "/home/u/x",
    ];
    let runs: Vec<Case> = [
        &["/a/b"][..],
        &["/a/b", "s"],
        &["/a/c"],
        &["git"],
        &["git", "s"],
        &["git", "t"],
    ]
    .into_iter()
    .map(|words| case(Tool::Exec, words))
    .collect();
    let mut groups = vec![
        Group {
            name: "tools: allow, deny, enabled, ask",
            layers: product(&[
                domain(
                    &[&[][..], &["*"], &["read", "write", "exec"], &["group:fs"]],
                    |l, t| l.tools.allow = Some(here(patterns(t))),
                ),
                domain(&["write", "b*sh"], |l, t| {
                    l.tools.deny = patterns(&[t]).into_iter().map(here).collect()
                }),
                domain(&[false], |l, on| of(l, Tool::Read).enabled = Some(here(on))),
            ]),
            cases: by_name.clone(),
        },
        Group {
            name: "tools: profile, ask of each",
            layers: product(&[
                domain(
                    &[Profile::Readonly, Profile::Coding, Profile::Full],
                    |l, p| l.tools.profile = Some(here(p)),
                ),
                domain(&[Ask::Off, Ask::OnMiss, Ask::Always], |l, ask| {
                    of(l, Tool::Exec).ask = Some(here(ask))
                }),
                domain(&[Ask::Always], |l, ask| {
                    of(l, Tool::Write).ask = Some(here(ask))
                }),
            ]),
            cases: by_name,
        },
        Group {
            name: "filesystem: read, write, exec, nested",
            layers: product(&[
                lists(&[&[], &["/a/b"]], |l, g| l.filesystem.read = g),
                lists(&[&["/a"], &["/a/b/c", "/ab"]], |l, g| {
                    l.filesystem.write = g
                }),
                lists(&[&["/a/b"]], |l, g| l.filesystem.exec = g),
            ]),
            cases: files(&[Tool::Read, Tool::Write], &nested)
                .into_iter()
                .chain(runs.clone())
                .collect(),
        },
        Group {
            name: "filesystem: load, exec, commands",
            layers: product(&[
                lists(&[&[], &["/a/b"], &["/a", "/ab"]], |l, g| {
                    l.filesystem.load = g
                }),
                lists(&[&[], &["/a"]], |l, g| l.filesystem.exec = g),
                domain(&["/a/b"], |l, program| {
                    let command = Command {
                        program: program.into(),
                        args: Default::default(),
                        origin: here(()).origin,
                    };
                    of(l, Tool::Exec).commands = Some(vec![command]);
                }),
            ]),
            cases: files(&[Tool::Read], &nested)
                .into_iter()
                .chain(runs.clone())
                .collect(),
        },
        Group {
            name: "filesystem: write, deny, protect",
            layers: product(&[
                lists(&[&["/"], &["/a", "$WORKSPACE/s"]], |l, g| {
                    l.filesystem.write = g
                }),
                places(&[&["/a/b"]], |l, g| l.filesystem.deny = g),
                places(&[&["/a"], &["$WORKSPACE/s/x"]], |l, g| {
                    l.filesystem.protect = g
                }),
            ]),
            cases: files(&some, &nested),
        },
        Group {
            name: "workspace: mode, write, write's own paths",
            layers: product(&[
                domain(&MODES, |l, mode| l.filesystem.workspace = Some(here(mode))),
                lists(&[&["/home"]], |l, g| l.filesystem.write = g),
                lists(&[&["$WORKSPACE/s"]], |l, g| {
                    of(l, Tool::Write).allowed_paths = g
                }),
            ]),
            cases: files(&some, &nested),
        },
        Group {
            name: "workspace: each tool's own paths",
            layers: product(&[
                lists(&[&["$WORKSPACE/s"], &["/home"]], |l, g| {
                    of(l, Tool::Read).allowed_paths = g
                }),
                lists(&[&["$WORKSPACE/s/x", "/a"]], |l, g| {
                    of(l, Tool::Write).allowed_paths = g
                }),
                lists(&[&["$WORKSPACE/sx"]], |l, g| {
                    of(l, Tool::Edit).allowed_paths = g
                }),
            ]),
            cases: files(&some, &nested),
        },
        Group {
            name: "workspace: each tool's denied paths",
            layers: product(&[
                places(&[&["$WORKSPACE/s"]], |l, g| {
                    of(l, Tool::Read).denied_paths = g
                }),
                places(&[&["$WORKSPACE/s/x"]], |l, g| {
                    of(l, Tool::Write).denied_paths = g
                }),
                places(&[&["/a"]], |l, g| of(l, Tool::Exec).denied_paths = g),
                domain(&[WorkspaceMode::ReadOnly], |l, mode| {
                    l.filesystem.workspace = Some(here(mode))
                }),
            ]),
            cases: files(&some, &nested),
        },
        Group {
            name: "exec: security, commands, trees",
            layers: product(&[
                domain(&Security::ALL, |l, s| {
                    of(l, Tool::Exec).security = Some(here(s))
                }),
                domain(
                    &[&[][..], &[("git", "")], &[("git", "s"), ("/a/b", "...")]],
                    |l, list| {
                        let command = |(program, args): &(&str, &str)| Command {
                            program: (*program).into(),
                            args: [*args]
                                .iter()
                                .filter(|a| !a.is_empty())
                                .map(|a| Arguments::parse(a))
                                .collect(),
                            origin: here(()).origin,
                        };
                        of(l, Tool::Exec).commands = Some(list.iter().map(command).collect());
                    },
                ),
                lists(&[&["/a", "/usr"]], |l, g| l.filesystem.exec = g),
            ]),
            cases: runs.clone(),
        },
        Group {
            name: "exec: languages, allowed paths",
            layers: product(&[
                domain(
                    &[&[][..], &[Language::Sh], &[Language::Sh, Language::Perl]],
                    |l, list| {
                        of(l, Tool::Exec).languages =
                            Some(list.iter().copied().map(here).collect());
                    },
                ),
                lists(&[&["/usr/bin"]], |l, g| of(l, Tool::Exec).allowed_paths = g),
                lists(&[&["/usr"], &[]], |l, g| l.filesystem.exec = g),
            ]),
            cases: [&["sh"][..], &["perl", "x"], &["/usr/bin/sh"], &["/bin/sh"]]
                .into_iter()
                .map(|w| case(Tool::Exec, w))
                .collect(),
        },
        Group {
            name: "elevated, unprotect",
            layers: product(&[
                domain(&[true, false], |l, on| l.tools.elevated = Some(here(on))),
                domain(&[true, false], |l, on| {
                    of(l, Tool::Exec).elevated = Some(here(on))
                }),
                places(
                    &[&["$WORKSPACE/.git"], &["$WORKSPACE/.git", "/a"]],
                    |l, g| l.filesystem.unprotect = g,
                ),
            ]),
            cases: vec![],
        },
        Group {
            name: "environment, degradation",
            layers: product(&[
                domain(
                    &[&[][..], &[("A", "1")], &[("A", "2"), ("B", "1")]],
                    |l, list| {
                        let all = list
                            .iter()
                            .map(|(n, v)| ((*n).to_owned(), here((*v).to_owned())));
                        l.environment.set = Some(all.collect());
                    },
                ),
                domain(&[&["A"][..], &["A", "B"]], |l, list| {
                    l.environment.pass = Some(list.iter().map(|n| here((*n).to_owned())).collect());
                }),
                domain(&[&[][..], &[Degradable::Cgroup]], |l, list| {
                    let all = list.iter().map(|d| (*d, here(()).origin));
                    l.allow_degraded = Some(all.collect::<BTreeMap<_, _>>());
                }),
            ]),
            cases: vec![],
        },
    ];
    groups.extend(alone());
    groups
}

/// Modes, lists and denials of destinations.
fn networks() -> Group {
    let rules = |texts: &[&str]| -> Vec<net::Rule> {
        let rule = |text: &&str| net::Rule::of_text(text, here(()).origin).expect("a rule");
        texts.iter().map(rule).collect()
    };
    let modes = [net::Mode::Allowlist, net::Mode::Ask, net::Mode::Open];
    let lists = [&["*.a.example"][..], &["a.example", "10.0.0.0/8:443"]];
    let mut layers = product(&[
        domain(&modes, |l, mode| l.network.mode = Some(here(mode))),
        domain(&lists, move |l, texts| l.network.allow = Some(rules(texts))),
    ]);
    layers.extend(product(&[domain(
        &["*.a.example", "0.0.0.0/0"],
        |l, text| {
            let denial = net::Rule::denial(text, here(()).origin);
            l.network.deny = vec![denial.expect("a denial")];
        },
    )]));
    let hosts = HOSTS.iter().map(|host| case(Tool::Fetch, &[host]));
    Group {
        name: "network",
        layers,
        cases: hosts.collect(),
    }
}

/// Fields that touch no other: every value against every other.
fn alone() -> Vec<Group> {
    fn field<T: Clone + 'static>(
        name: &'static str,
        values: &[T],
        set: impl Fn(&mut Layer, Sourced<T>) + Copy + 'static,
    ) -> Group {
        Group {
            name,
            layers: product(&[domain(values, move |layer, value| set(layer, here(value)))]),
            cases: vec![],
        }
    }
    let (bytes, counts, spans) = (
        [Bytes(1), Bytes(2), Bytes(3)],
        [Count(1), Count(2), Count(3)],
        [Span(1), Span(2), Span(3)],
    );
    let mut all = vec![
        field("memory", &bytes, |l, v| l.limits.memory = Some(v)),
        field(
            "memory_high",
            &[Percent(1), Percent(2), Percent(3)],
            |l, v| l.limits.memory_high = Some(v),
        ),
        field("cpus", &[CpuShare(1), CpuShare(2), CpuShare(3)], |l, v| {
            l.limits.cpus = Some(v)
        }),
        field("pids", &counts, |l, v| l.limits.pids = Some(v)),
        field("timeout", &spans, |l, v| l.limits.timeout = Some(v)),
        field("cpu_time", &spans, |l, v| l.limits.cpu_time = Some(v)),
        field("disk", &bytes, |l, v| l.limits.disk = Some(v)),
        field("inodes", &counts, |l, v| l.limits.inodes = Some(v)),
        field("file_size", &bytes, |l, v| l.limits.file_size = Some(v)),
        field("open_files", &counts, |l, v| l.limits.open_files = Some(v)),
        field("output", &bytes, |l, v| l.limits.output = Some(v)),
        field("grace", &spans, |l, v| l.limits.grace = Some(v)),
        field("max_iterations", &counts, |l, v| {
            l.tools.max_iterations = Some(v)
        }),
        field("network.mode", &net::Mode::ALL, |l, v| {
            l.network.mode = Some(v)
        }),
        field("network.limits", &counts, |l, v| {
            l.network.limits.rate = Some(v)
        }),
        networks(),
        field("session.mode", &Mode::ALL, |l, v| l.session.mode = Some(v)),
        field("environment.git_identity", &[false, true], |l, v| {
            l.environment.git_identity = Some(v)
        }),
        field("process.debug", &[false, true], |l, v| {
            l.process.debug = Some(v)
        }),
        field("session.scope", &Scope::ALL, |l, v| {
            l.session.scope = Some(v)
        }),
        field("rate", &counts, |l, v| of(l, Tool::Fetch).rate = Some(v)),
        field("tool timeout", &spans, |l, v| {
            of(l, Tool::Exec).timeout = Some(v)
        }),
        field("tool max_iterations", &counts, |l, v| {
            of(l, Tool::Exec).max_iterations = Some(v)
        }),
        field("target", &[Target::Sandbox], |l, v| {
            of(l, Tool::Browser).target = Some(v)
        }),
    ];
    let channels: [&[&str]; 4] = [&[], &["a"], &["b"], &["a", "b"]];
    all.push(Group {
        name: "channels",
        layers: product(&[domain(&channels, |l, list| {
            of(l, Tool::Message).channels =
                Some(list.iter().map(|n| here((*n).to_owned())).collect());
        })]),
        cases: vec![],
    });
    all
}

/// The ranks of the three layers: all that grant, and one that only narrows.
const RANKS: [Rank; 3] = [Rank::Platform, Rank::Operator, Rank::Project];

/// How much of the third layer's domain.
#[derive(Clone, Copy)]
pub enum Extent {
    /// All of it: every triple.
    Whole,
    /// Every pair of the first two with two of the third, for a debug build.
    Short,
}

/// The triples of every group; how many there were.
pub fn enumerate(
    ev: &Evaluator,
    extent: Extent,
    report: &mut dyn FnMut(&str, usize),
) -> Result<usize, laws::Broken> {
    laws::default_deny(ev, &universe())?;
    let mut total = 0;
    for group in groups() {
        let given: Vec<Vec<Given>> = RANKS
            .iter()
            .enumerate()
            .map(|(at, rank)| {
                let layers = group.layers.iter();
                layers.map(|layer| (*rank, placed(layer, at))).collect()
            })
            .collect();
        let step = match extent {
            Extent::Whole => 1,
            Extent::Short => group.layers.len().div_ceil(2),
        };
        let mut count = 0;
        for a in &given[0] {
            for b in &given[1] {
                for c in given[2].iter().step_by(step) {
                    count += 1;
                    laws::all(ev, [a, b, c], &group.cases).map_err(|broken| laws::Broken {
                        on: format!("{}: {}\n{a:#?}\n{b:#?}\n{c:#?}", group.name, broken.on),
                        ..broken
                    })?;
                }
            }
        }
        report(group.name, count);
        total += count;
    }
    Ok(total)
}
