//! Facts that a plan depends on have been asked for: `ask` covers `resolve` for every policy, request and
//! machine. From answers made up, without root and without a kernel.

use std::collections::hash_map::DefaultHasher;
use std::convert::Infallible;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use creel_plan::host::SearchDir;
use creel_plan::host::{Idmap, Image, LoadTree, NamedBy, Piece, Role};
use creel_plan::paths::absolute_from;
use creel_plan::questions::ask;
use creel_plan::request::RawGrant;
use creel_plan::request::Way;
use creel_plan::wanted::{Purpose, Wanted};
use creel_plan::{CgroupLayout, Fact, Host, IdMode, Node, Request, ResolveError, resolve};
use creel_policy::{
    Absent, Degradable, Execution, Origin, Policy, Sourced, WorkspaceMode, file, preset,
};
use proptest::prelude::*;

use crate::support::planned;

/// Names that enclose each other, in a policy's words.
const NAMES: &[&str] = &[
    "/usr",
    "/usr/bin/tool",
    "/usr/lib",
    "/opt/a",
    "/opt/a/b/c/d",
    "/home/u/project",
    "/home/u/project/.git/hooks",
    "/home/u/link",
    "/home/u/link/x/y/z",
    "/srv/real",
    "/srv/real/p",
    "/srv/real/p/q/r",
    "$WORKSPACE",
    "$WORKSPACE/.env",
    "$WORKSPACE/.git/config",
    "$WORKSPACE/a/b/c",
    "$WORKSPACE/bin/tool",
    "~",
    "~/.config/creel",
    "~/.config/creel/policies/x",
    "~/link/x",
    "/tmp",
    "/tmp/w/deep/er",
    "/etc/ssl/certs",
];
const WORKSPACES: &[&str] = &["/home/u/project", "/home/u/link", "/srv/real/p", "/tmp/w"];

/// A machine that answers whatever it is asked, the same each time.
#[derive(Debug)]
struct Machine(u64);

impl Machine {
    fn pick(&self, what: &str, path: &Path, end: u64) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.0, what, path).hash(&mut hasher);
        hasher.finish() % end
    }

    fn place(&self, what: &str, path: &Path) -> PathBuf {
        let place = NAMES[self.pick(what, path, NAMES.len() as u64) as usize];
        PathBuf::from(
            place
                .replace("$WORKSPACE", WORKSPACES[0])
                .replace('~', "/home/u"),
        )
    }

    fn fact(&self, path: &Path) -> Fact {
        let leads = self.pick("leads", path, 4) == 0;
        match self.pick("fact", path, 16) {
            0..4 => Fact::Absent,
            4 => Fact::Denied,
            5 => Fact::Special,
            kind => Fact::Present {
                real: match leads {
                    true => self.place("real", path),
                    false => path.into(),
                },
                node: match kind < 9 {
                    true => Node::File,
                    false => Node::Directory,
                },
                uid: 1000,
                gid: 1000,
                link: leads && kind % 3 == 0,
                idmap: Idmap::Works,
            },
        }
    }

    /// As `jail::probe` does: what a program loads is looked at where it is found.
    fn answer(&self, want: Wanted, host: &mut Host) {
        let fact = self.fact(&want.path);
        if let Fact::Present { real, .. } = &fact {
            let other = self.place("loads", real);
            let there = matches!(self.fact(&other), Fact::Present { .. });
            let loads = match there {
                false => vec![],
                true => vec![Piece {
                    name: other.clone(),
                    role: [Role::Library, Role::Converters][self.pick("role", real, 2) as usize],
                    named_by: NamedBy::System,
                }],
            };
            match want.purpose {
                Purpose::Program => {
                    let image = match self.pick("image", real, 6) {
                        0 => Image::Script {
                            interpreter: other.clone(),
                        },
                        1 => Image::Unreadable,
                        _ => Image::Elf {
                            loads,
                            missing: vec![],
                        },
                    };
                    host.paths
                        .entry(other.clone())
                        .or_insert_with(|| self.fact(&other));
                    host.found.programs.insert(real.clone(), image);
                }
                Purpose::Load => {
                    host.paths
                        .entry(other.clone())
                        .or_insert_with(|| self.fact(&other));
                    let tree = LoadTree::Libraries { loads };
                    host.found.load_trees.insert(real.clone(), tree);
                }
                Purpose::Protect if self.pick("linked", real, 16) == 0 => {
                    host.found.hard_linked.insert(real.clone());
                }
                Purpose::Protect | Purpose::Read | Purpose::Write => {}
            }
        }
        if want.path.ends_with(".git/config") {
            let path = want.path.with_file_name("worktrees").join("w/commondir");
            host.paths.insert(path.clone(), self.fact(&path));
            host.found.worktrees.insert(path);
        }
        host.paths.insert(want.path, fact);
    }

    fn host(&self, id_mode: IdMode) -> Host {
        let seats = ["/etc/creel", "/home/u/.config/creel", "/home/u/project/p/q"];
        let seat = |path: &str| SearchDir {
            path: path.into(),
            links: vec![],
        };
        let mut host = Host {
            kernel: "6.1.0".into(),
            id_mode,
            uid: 1000,
            gid: 1000,
            home: Some("/home/u".into()),
            cwd: WORKSPACES[0].into(),
            landlock_abi: 7,
            cgroups: CgroupLayout::Unusable {
                why: "a test".into(),
                lacks: Default::default(),
            },
            open_files_ceiling: 1024,
            paths: Default::default(),
            found: Default::default(),
        };
        host.found.search_dirs = seats.map(seat).into();
        host
    }

    fn asked(&self, policy: &Policy, request: &Request, id_mode: IdMode) -> Host {
        let mut host = self.host(id_mode);
        let asked = ask(policy, request, &mut host, |want, host| {
            self.answer(want, host);
            Ok::<(), Infallible>(())
        });
        asked.expect("it answers");
        host
    }
}

type Grants = Vec<(&'static str, Absent)>;

fn grants() -> impl Strategy<Value = Grants> {
    let one = (0..NAMES.len(), proptest::bool::weighted(0.9)).prop_map(|(name, optional)| {
        let absent = match optional {
            true => Absent::Skip,
            false => Absent::Refuse,
        };
        (NAMES[name], absent)
    });
    proptest::collection::vec(one, 0..4)
}

/// A policy, before it is known what `~` and `$WORKSPACE` stand for.
#[derive(Debug)]
struct Written {
    lists: (Grants, Grants, Grants, Grants),
    more: (Grants, Grants, Grants, u8, bool),
}

fn policy() -> impl Strategy<Value = Written> {
    let lists = (grants(), grants(), grants(), grants());
    let more = (grants(), grants(), grants(), 0u8..4, any::<bool>());
    (lists, more).prop_map(|(lists, more)| Written { lists, more })
}

impl Written {
    /// The policy with these flags; the request gets those that no line can hold.
    fn policy(self, (mode, grants): Flags, request: &mut Request, host: &Host) -> Policy {
        let ((read, write, exec, load), (deny, protect, patterns, how, ends)) =
            (self.lists, self.more);
        let text = match ends {
            true => {
                "[network]\nmode = 'allowlist'\nallow = [{ host = 'a.example', tls = 'terminate' }]"
            }
            false => "",
        };
        let roots = planned::roots(&*request, host);
        let limits = preset::limits().expect("the default parses");
        let mut policy = file::parse("a test", text, &limits, &roots).expect("the policy parses");
        let rule = |(path, absent)| roots.rule(path, absent, Origin::creel());
        let rules = |grants: Grants| grants.into_iter().map(rule).collect::<Vec<_>>();
        let mut exec = rules(exec);
        if mode == Some(WorkspaceMode::None) {
            let all = exec.iter_mut();
            all.for_each(|rule| rule.path = roots.fresh(rule));
        }
        policy.exec.value = match how {
            0 => Execution::Worker,
            1 => Execution::Only(exec.clone()),
            _ => Execution::Granted,
        };
        let fs = &mut policy.filesystem;
        let bases = patterns.iter().filter(|(path, _)| path.starts_with('/'));
        let pattern = |(path, _): &(&str, Absent)| {
            roots.rule(format!("{path}/**/.env"), Absent::Skip, Origin::creel())
        };
        fs.deny_patterns = bases.map(pattern).collect();
        (fs.read, fs.write, fs.exec, fs.load) = (rules(read), rules(write), exec, rules(load));
        (fs.deny, fs.protect) = (rules(deny), rules(protect));
        for (grant, is_raw) in grants {
            let list = match grant.way {
                Way::Write => &mut fs.write,
                _ => &mut fs.read,
            };
            let text = || grant.path.to_str().expect("text").to_owned();
            match is_raw {
                true => request.raw.push(grant),
                false => list.push(roots.rule(text(), Absent::Refuse, grant.origin.clone())),
            }
        }
        policy.filesystem.workspace = mode.map(Sourced::creel);
        policy.allow_degraded = Degradable::ALL.into();
        policy
    }
}

type Flags = (Option<WorkspaceMode>, Vec<(RawGrant, bool)>);

/// What flags ask for: a mode of the workspace, and a path to read and one to write, each as a line of the
/// policy or as bytes that no line can hold.
fn flags() -> impl Strategy<Value = Flags> {
    let place = || proptest::option::weighted(0.3, (0..NAMES.len(), any::<bool>()));
    let mode = proptest::option::of(0..WorkspaceMode::ALL.len());
    (place(), place(), mode).prop_map(|(read, write, mode)| {
        let grant = |way, flag, (place, raw): (usize, bool)| {
            let path = Path::new(NAMES[place].trim_start_matches(['$', '~']));
            let path = absolute_from(Path::new(WORKSPACES[0]), path);
            let origin = Origin::flag(flag);
            let grant = RawGrant {
                way,
                path,
                within: vec![],
                origin,
            };
            (grant, raw)
        };
        let read = read.map(|place| grant(Way::Read, "--read", place));
        let write = write.map(|place| grant(Way::Write, "--write", place));
        let mode = mode.map(|mode| WorkspaceMode::ALL[mode]);
        (mode, read.into_iter().chain(write).collect())
    })
}

static RESOLVED: AtomicUsize = AtomicUsize::new(0);
static MISSED: AtomicUsize = AtomicUsize::new(0);

#[test]
fn what_a_plan_depends_on_was_asked() {
    nothing_is_unasked();
    let (resolved, missed) = (
        RESOLVED.load(Ordering::Relaxed),
        MISSED.load(Ordering::Relaxed),
    );
    eprintln!("{resolved} of 2000 cases resolved; an answer taken away was missed {missed} times");
    assert!(resolved >= 80, "{resolved}");
    assert!(missed >= 200, "{missed}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..Default::default() })]

    fn nothing_is_unasked(
        (policy, flags, workspace) in (policy(), flags(), 0..WORKSPACES.len()),
        machine in any::<u64>().prop_map(Machine),
        root in any::<bool>(),
        lost in any::<prop::sample::Index>(),
    ) {
        let id_mode = if root { IdMode::Privileged } else { IdMode::Rootless };
        let mut request = Request {
            command: vec!["tool".into()],
            workspace: Some(WORKSPACES[workspace].into()),
            ..Default::default()
        };
        let policy = policy.policy(flags, &mut request, &machine.host(id_mode));
        let mut host = machine.asked(&policy, &request, id_mode);
        match resolve(&policy, &request, &host) {
            Err(ResolveError::Unasked(error)) => {
                return Err(TestCaseError::fail(format!("{error}\n{:#?}", host.paths)));
            }
            Ok(_) => drop(RESOLVED.fetch_add(1, Ordering::Relaxed)),
            Err(_) => {}
        }
        // The control: an answer that is not there is not made up.
        let paths: Vec<PathBuf> = host.paths.keys().cloned().collect();
        if !paths.is_empty() {
            let lost = lost.get(&paths);
            host.paths.remove(lost);
            if let Err(ResolveError::Unasked(error)) = resolve(&policy, &request, &host) {
                prop_assert_eq!(&error.path, lost);
                MISSED.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// An absent name in a `deny` that nobody looked for was a note in the plan.
#[test]
fn a_question_that_was_forgotten_is_an_error() {
    let limits = preset::limits().expect("the default parses");
    let text = "[filesystem]\ndeny = [{ path = '$WORKSPACE/.env', optional = true }]\n";
    let request = Request {
        command: vec!["true".into()],
        ..Default::default()
    };
    let mut host = Machine(0).host(IdMode::Rootless);
    host.found.search_dirs.clear();
    let roots = planned::roots(&request, &host);
    let mut policy = file::parse("a test", text, &limits, &roots).expect("the policy parses");
    policy.filesystem.workspace = Some(Sourced::creel(WorkspaceMode::ReadOnly));
    policy.allow_degraded = Degradable::ALL.into();
    let directory = |path: &str| Fact::Present {
        real: path.into(),
        node: Node::Directory,
        uid: 1000,
        gid: 1000,
        link: false,
        idmap: Idmap::Works,
    };
    let done = ask(&policy, &request, &mut host, |want, host| {
        let fact = match want.path == Path::new(WORKSPACES[0]) {
            true => directory(WORKSPACES[0]),
            false => Fact::Absent,
        };
        host.paths.insert(want.path, fact);
        Ok::<(), Infallible>(())
    });
    done.expect("it answers");
    let plan = resolve(&policy, &request, &host).expect("a plan");
    assert!(plan.to_text().contains(".env: absent, not covered"));
    let name = Path::new(WORKSPACES[0]).join(".env");
    host.paths.remove(&name).expect("it was asked for");
    let error = resolve(&policy, &request, &host).expect_err("unasked");
    assert!(
        error
            .to_string()
            .starts_with("the host description has no entry for /home/u/project/.env"),
        "{error}"
    );
}
