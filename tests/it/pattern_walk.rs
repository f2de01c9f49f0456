//! One walk for all patterns of a policy finds what a walk for each of them finds, and what a model finds that
//! looks names up one by one: in random trees with links, odd names, and directories that the caller cannot
//! list or pass.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use creel_jail::globs::Finder;
use creel_policy::Origin;
use creel_policy::expand::Wanted;
use creel_policy::glob::{Part, Pattern, Sense, seen};
use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::policy_laws::given::{Choices, Numbers};
use crate::support::{Who, is_root};

/// Names of files and directories; two are not text that a policy can have.
const NAMES: [&[u8]; 12] = [
    b"a",
    b"b",
    b"A",
    b"ab",
    b".a",
    b".env",
    b"x.pem",
    b"X.PEM",
    b"[a]",
    b"a b",
    b"\xff.pem",
    b"n\nl",
];
/// Parts of patterns.
const PARTS: [&str; 14] = [
    "**", "**", "**", "*", "?", "a", "b", ".env", "ab", "*.pem", ".*", "[a-b]*", "[!a]", "*b",
];

fn of<T: Copy>(numbers: &mut Numbers, all: &[T]) -> T {
    all[numbers.pick(all.len())]
}

/// A tree of the account's; the directories that were closed, for the end.
struct Tree {
    dir: tempfile::TempDir,
    closed: Vec<PathBuf>,
}

impl Drop for Tree {
    fn drop(&mut self) {
        for path in &self.closed {
            let _ = fs::set_permissions(path, Permissions::from_mode(0o755));
        }
    }
}

impl Tree {
    fn random(numbers: &mut Numbers, who: Who) -> Tree {
        let dir = tempfile::tempdir().expect("a directory");
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).expect("chmod");
        let mut tree = Tree {
            dir,
            closed: vec![],
        };
        // Links lead out of the tree too, and no further than here.
        for name in ["outside/a", "outside/.env", "tree"] {
            fs::create_dir_all(tree.dir.path().join(name)).expect("mkdir -p");
        }
        let mut all = vec![tree.path()];
        for _ in 0..8 + numbers.pick(32) {
            let above = all[numbers.pick(all.len())].clone();
            // Most trees have names that are text alone.
            let names = NAMES.len() - if numbers.pick(6) == 0 { 0 } else { 2 };
            let path = above.join(OsStr::from_bytes(of(numbers, &NAMES[..names])));
            if path.symlink_metadata().is_ok() {
                continue;
            }
            match numbers.pick(6) {
                0 => symlink(tree.target(numbers, &all), &path).expect("symlink"),
                1 | 2 => fs::write(&path, "").expect("write"),
                _ => {
                    fs::create_dir(&path).expect("mkdir");
                    all.push(path.clone());
                }
            }
        }
        if let (Who::User, true) = (who, is_root()) {
            let (uid, gid, _) = who.account();
            for path in &all {
                chown(path, Some(uid), Some(gid)).expect("chown");
            }
        }
        // From the innermost, since a closed directory cannot be passed.
        for path in all.iter().skip(1).rev() {
            if numbers.pick(8) == 0 {
                let mode = of(numbers, &[0o000, 0o111, 0o444, 0o333, 0o555]);
                fs::set_permissions(path, Permissions::from_mode(mode)).expect("chmod");
                tree.closed.insert(0, path.clone());
            }
        }
        tree
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("tree")
    }

    fn target(&self, numbers: &mut Numbers, all: &[PathBuf]) -> PathBuf {
        match numbers.pick(5) {
            0 => "..".into(),
            1 => "nowhere".into(),
            2 => self.dir.path().join("outside"),
            3 => self.path(),
            _ => all[numbers.pick(all.len())].clone(),
        }
    }

    fn wanted(&self, numbers: &mut Numbers) -> Wanted {
        let mut parts: Vec<&str> = (0..=numbers.pick(3)).map(|_| of(numbers, &PARTS)).collect();
        if !parts.iter().any(|part| part.contains(['*', '?', '['])) {
            parts.push("*");
        }
        let written = parts.join("/");
        Wanted {
            pattern: format!("{}/{written}", self.path().display()),
            written,
            sense: of(numbers, &[Sense::Grant, Sense::Denial]),
            origin: Origin::creel(),
        }
    }
}

/// The names, or that the pattern is refused.
type Names = Result<BTreeSet<PathBuf>, ()>;

/// One pattern, part by part and by paths alone.
struct Model<'a> {
    wanted: &'a Wanted,
    base: Option<PathBuf>,
    found: BTreeSet<PathBuf>,
}

impl Model<'_> {
    fn names(wanted: &Wanted) -> Names {
        let pattern = Pattern::parse(&wanted.pattern);
        let mut model = Model {
            wanted,
            base: Path::new(&pattern.base()).canonicalize().ok(),
            found: BTreeSet::new(),
        };
        model.along(Path::new("/"), pattern.parts())?;
        Ok(model.found)
    }

    fn along(&mut self, dir: &Path, parts: &[Part]) -> Result<(), ()> {
        let (part, rest) = parts.split_first().expect("a part");
        match part {
            Part::Name(name) => self.step(&dir.join(name), rest),
            Part::Wild(_) => {
                for name in self.list(dir)? {
                    let text = name.to_string_lossy();
                    if part.accepts(&text, self.wanted.sense) {
                        self.step(&dir.join(&name), rest)?;
                    }
                }
                Ok(())
            }
            Part::Deep => {
                self.along(dir, rest)?;
                for name in self.list(dir)? {
                    let path = dir.join(&name);
                    let text = name.to_string_lossy();
                    let whole = rest.len() == 1 && rest[0].accepts(&text, self.wanted.sense);
                    let real = path.symlink_metadata().is_ok_and(|meta| meta.is_dir());
                    if real && !whole && seen(&text, self.wanted.sense) {
                        self.along(&path, parts)?;
                    }
                }
                Ok(())
            }
        }
    }

    fn step(&mut self, path: &Path, rest: &[Part]) -> Result<(), ()> {
        match rest {
            [] if path.symlink_metadata().is_err() => Ok(()),
            [] => {
                let text = path.to_str().ok_or(())?;
                let real = path.canonicalize().ok().zip(self.base.as_ref());
                let out = real.is_some_and(|(real, base)| !real.starts_with(base));
                if text.contains('\n') || self.wanted.sense == Sense::Grant && out {
                    return Err(());
                }
                self.found.insert(path.into());
                Ok(())
            }
            rest if path.is_dir() => self.along(path, rest),
            _ => Ok(()),
        }
    }

    fn list(&self, dir: &Path) -> Result<Vec<std::ffi::OsString>, ()> {
        let passable = dir.join(".").symlink_metadata().is_ok();
        match fs::read_dir(dir) {
            Ok(entries) => Ok(entries
                .map(|entry| entry.expect("an entry").file_name())
                .collect()),
            Err(_) if self.wanted.sense == Sense::Denial && passable => Err(()),
            Err(_) => Ok(vec![]),
        }
    }
}

fn found(finder: &mut Finder, wanted: &Wanted) -> Result<BTreeSet<PathBuf>, String> {
    let names = finder.find(wanted).map_err(|error| error.to_string())?;
    Ok(names.into_iter().map(PathBuf::from).collect())
}

/// Compares the three; the number of patterns that matched, and of those that were refused.
fn compare(wanted: &[Wanted]) -> (usize, usize) {
    let (mut matched, mut refused) = (0, vec![]);
    let mut together = Finder::of(wanted);
    for one in wanted {
        let mut own = Finder::default();
        let alone = found(&mut own, one);
        let model = Model::names(one);
        assert_eq!(alone.clone().map_err(|_| ()), model, "{one:?}");
        match (alone, &mut together) {
            (Err(error), _) => refused.push(error),
            (Ok(names), Ok(together)) => {
                matched += usize::from(!names.is_empty());
                assert_eq!(found(together, one), Ok(names), "{one:?} of {wanted:?}");
                assert!(together.entries() >= own.entries(), "{one:?} of {wanted:?}");
            }
            (Ok(_), Err(_)) => {}
        }
    }
    match together {
        Ok(_) => assert!(refused.is_empty(), "{wanted:?}: {refused:?}"),
        Err(error) => assert!(refused.contains(&error.to_string()), "{error}: {refused:?}"),
    }
    (matched, refused.len())
}

/// Runs `act` in a thread of the account's.
fn as_account<T: Send>(who: Who, act: impl FnOnce() -> T + Send) -> T {
    let begun = || {
        if let (Who::User, true) = (who, is_root()) {
            let (uid, gid, _) = who.account();
            let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
            set_thread_groups(&[]).expect("setgroups");
            set_thread_res_gid(gid, gid, gid).expect("setresgid");
            set_thread_res_uid(uid, uid, uid).expect("setresuid");
        }
        act()
    };
    std::thread::scope(|scope| scope.spawn(begun).join().expect("the thread ends"))
}

each!(one_walk_finds_what_each_pattern_alone_finds);
fn one_walk_finds_what_each_pattern_alone_finds(who: Who) {
    let mut numbers = Numbers(11);
    let (mut matched, mut refused) = (0, 0);
    for _ in 0..400 {
        let tree = Tree::random(&mut numbers, who);
        let wanted: Vec<Wanted> = (0..=numbers.pick(6))
            .map(|_| tree.wanted(&mut numbers))
            .collect();
        let (more, fewer) = as_account(who, || compare(&wanted));
        matched += more;
        refused += fewer;
    }
    println!("{matched} patterns matched, {refused} were refused");
    assert!(matched > 300 && refused > 30, "{matched} {refused}");
}

/// Patterns that begin in different directories of one tree, and those whose directory a link or a hidden name
/// leads to, which the walk of another pattern does not reach.
#[test]
fn patterns_of_one_tree_share_the_walk() {
    let tree = tempfile::tempdir().expect("a directory");
    let at = tree.path();
    for name in ["a/b/c/x.pem", "a/b/y.pem", ".h/z.pem", "real/w.pem"] {
        fs::create_dir_all(at.join(name).parent().expect("a parent")).expect("mkdir -p");
        fs::write(at.join(name), "").expect("write");
    }
    symlink("real", at.join("link")).expect("symlink");
    let wanted = |written: &str, sense| Wanted {
        pattern: format!("{}/{written}", at.display()),
        written: written.into(),
        sense,
        origin: Origin::creel(),
    };
    let entries = |patterns: &[(&str, Sense)]| {
        let all: Vec<Wanted> = patterns
            .iter()
            .map(|(text, sense)| wanted(text, *sense))
            .collect();
        let (matched, refused) = compare(&all);
        assert_eq!((matched, refused), (all.len(), 0), "{patterns:?}");
        Finder::of(&all).expect("the names").entries()
    };
    // a .h link real; b; c y.pem; x.pem; z.pem; w.pem.
    let whole = entries(&[("**/*.pem", Sense::Denial)]);
    assert_eq!(whole, 10);
    let deny = |text| (text, Sense::Denial);
    let shared = [
        deny("**/*.pem"),
        deny("**/[xy]*"),
        deny("a/**/*.pem"),
        deny("a/b/*/?.pem"),
        deny("*/*.pem"),
        deny(".h/*"),
        ("**/y.pem", Sense::Grant),
    ];
    // `*/` leads through the link, to one more.
    assert_eq!(entries(&shared), whole + 1);
    // Grants pass no hidden directory, and `**` no link: those patterns have walks of their own.
    let grant = |text| (text, Sense::Grant);
    assert_eq!(entries(&[grant("**/*.pem")]), whole - 1);
    assert_eq!(entries(&[grant("**/*.pem"), grant(".h/*")]), whole);
    assert_eq!(entries(&[deny("**/*.pem"), deny("link/*.pem")]), whole + 1);
}
