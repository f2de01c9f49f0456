//! Covers are mounts over names in granted trees: which ones a plan makes, why, and the fate of one that a
//! process outside of the jail removes.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::rights;
use super::step::Place;
use creel_plan::paths::within;
use creel_plan::{Act, IfAbsent, Later, Plan};
use creel_sys::mount;

/// Why a name is covered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It is hidden.
    Denied,
    /// As `Denied`, for a socket on which a process listens, or may listen later.
    Socket,
    /// It cannot be changed; mount attributes.
    Kept(u64),
    /// It cannot be renamed or removed.
    Held,
    /// It stays absent.
    Withheld(Later),
}

/// A cover and its place in the jail.
#[derive(Debug, Clone)]
pub(super) struct Cover {
    pub path: PathBuf,
    /// Its path on the host, for people.
    pub host: PathBuf,
    pub at: CString,
    pub parent: CString,
    /// The directories from the parent up to the granted tree: a rename of one moves the cover too.
    pub above: Vec<CString>,
    pub purpose: Purpose,
}

/// The fate of a removed cover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It was put back.
    Restored,
    /// It could not be put back, or not in time; the jail was killed.
    Ended,
}

/// One event: the cover's number, its fate, and the time from when its removal was noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// The number of the cover in [`Covers`].
    pub cover: u32,
    /// The result of the repair.
    pub fate: Fate,
    /// Microseconds from the notice of the removal to the fate.
    pub microseconds: u32,
}

/// The covers of a plan in the order in which they are made: enclosing paths first.
#[derive(Debug, Clone, Default)]
pub struct Covers(pub(super) Vec<Cover>);

impl Covers {
    /// The covers that the plan makes over names in granted trees.
    pub fn of(plan: &Plan) -> Covers {
        let writable = |path: &Path| {
            let above = plan.acts().filter_map(|act| match act {
                Act::Bind {
                    target,
                    access,
                    unnamed: false,
                    ..
                } if within(path, target) && path != target => Some((target, access.write)),
                _ => None,
            });
            above
                .max_by_key(|(target, _)| target.components().count())
                .is_some_and(|(_, write)| write)
        };
        let granted = |path: &Path| Place::of(&plan.jail, path) == Place::Granted;
        let purpose = |act: &Act| match act {
            // No grant names this mount, and it is read-only because it cannot be idmapped. If the host unmounts
            // it, the name leads to a file of the granted tree, which needs no cover.
            Act::Bind { unnamed: true, .. } => None,
            // A mapped tree in another one: what it covers is of that tree, and needs no cover.
            Act::Bind { source, target, .. }
                if plan.jail.point(target).is_some_and(|p| p != *source) =>
            {
                None
            }
            Act::Bind { target, access, .. } if !access.write && writable(target) => Some((
                target.clone(),
                Purpose::Kept(rights::attributes(*access) | mount::NODEV),
            )),
            Act::Hold { path, .. } => Some((path.clone(), Purpose::Held)),
            Act::Mask { path, absent, .. } if granted(path) => Some((
                path.clone(),
                match absent {
                    IfAbsent::Refuse => Purpose::Denied,
                    IfAbsent::Skip => Purpose::Socket,
                },
            )),
            Act::Withhold { path, later, .. } => Some((path.clone(), Purpose::Withheld(*later))),
            _ => None,
        };
        let mut covers: Vec<Cover> = plan
            .acts()
            .filter_map(purpose)
            .filter_map(|(path, purpose)| {
                let trees = plan.acts().filter_map(|act| match act {
                    Act::Bind { target, .. } => Some(target.as_path()),
                    _ => None,
                });
                let outer = trees.filter(|tree| within(&path, tree) && *tree != path);
                let outer = outer.min_by_key(|tree| tree.components().count());
                let outer = outer.unwrap_or(Path::new("/")).to_path_buf();
                let host = plan.jail.point(&path).unwrap_or_else(|| path.clone());
                Cover::new(path, host, &outer, purpose)
            })
            .collect();
        covers.sort_by_key(|cover| cover.path.components().count());
        Covers(covers)
    }

    /// Names that exist and become absent if the host removes them.
    pub fn kept(&self) -> impl Iterator<Item = &Path> {
        let kept = |cover: &&Cover| matches!(cover.purpose, Purpose::Kept(_));
        self.0.iter().filter(kept).map(|cover| cover.path.as_path())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names that are hidden.
    pub fn denied(&self) -> impl Iterator<Item = &Path> {
        let denied = |cover: &&Cover| cover.purpose == Purpose::Denied;
        self.0
            .iter()
            .filter(denied)
            .map(|cover| cover.path.as_path())
    }

    /// The path on the host of an [`Event`]'s cover.
    pub fn path(&self, cover: u32) -> Option<&Path> {
        self.0.get(cover as usize).map(|cover| cover.host.as_path())
    }
}

impl Cover {
    /// `tree`: the outermost granted tree that contains `path`.
    fn new(path: PathBuf, host: PathBuf, tree: &Path, purpose: Purpose) -> Option<Cover> {
        let text = |path: &Path| CString::new(path.as_os_str().as_bytes()).ok();
        let above = path
            .ancestors()
            .skip(1)
            .take_while(|above| within(above, tree));
        Some(Cover {
            above: above.filter_map(text).collect(),
            at: text(&path)?,
            parent: text(path.parent()?)?,
            purpose,
            path,
            host,
        })
    }
}
