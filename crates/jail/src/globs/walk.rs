//! One walk for all patterns: each directory is read once, for every part of a pattern that is possible there.
//!
//! A `Place` is a position in a pattern. The places of a directory follow from those of its parent and its
//! name, as the states of an automaton. Directories are opened relative to their parents, and the type of
//! an entry is the one that getdents64(2) reports; only names that match are looked up.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{self as rx, CWD, FileType, Mode, OFlags, RawDir};

use super::lookup::{Links, folds, kind_of, leads, passable, resolved};
use super::places::{Place, Sought, Step};
use super::tally::{Exceeded, Tally};
use super::{MOST_LEVELS, MOST_NAMES, refused, shown};
use crate::error::JailError;
use crate::pins;
use creel_policy::glob::{Sense, seen};
use creel_policy::matcher::{Matcher, Name};
use creel_sys::Errno;

/// Bytes of entries that one getdents64(2) returns.
const BUFFER: usize = 64 << 10;

/// A directory in which the walk goes on.
struct Next {
    links: Links,
    places: Vec<Place>,
}

/// Directories in which the walk goes on, by name.
type Children = BTreeMap<OsString, Next>;

struct Dir<'a> {
    fd: OwnedFd,
    path: &'a Path,
    /// Whether it can be listed.
    readable: bool,
}

struct Walk<'a> {
    sought: &'a [Sought<'a>],
    found: Vec<BTreeSet<String>>,
    /// The number of entries that each pattern looked at.
    looked: Vec<usize>,
    tally: &'a mut Tally,
    /// Directories in which patterns begin, and which the walk has not reached.
    bases: BTreeMap<PathBuf, Vec<Place>>,
    buffer: Vec<MaybeUninit<u8>>,
    name: Name,
}

/// The names that each pattern matches, sorted.
pub(super) fn walk(
    sought: &[Sought<'_>],
    tally: &mut Tally,
) -> Result<Vec<Vec<String>>, JailError> {
    let mut walk = Walk {
        sought,
        found: vec![BTreeSet::new(); sought.len()],
        looked: vec![0; sought.len()],
        tally,
        bases: BTreeMap::new(),
        buffer: vec![],
        name: Name::default(),
    };
    for (pattern, one) in sought.iter().enumerate() {
        if one.parts.is_empty() {
            continue;
        }
        let place = Place {
            pattern,
            part: one.start,
            level: 0,
        };
        walk.bases.entry(one.base.clone()).or_default().push(place);
    }
    // A directory comes before those in it, so a walk from it finds their patterns here.
    while let Some((base, places)) = walk.bases.pop_first() {
        // Follows links, as for a path that a user wrote.
        if base.is_dir() {
            let links = Links::Followed;
            walk.enter(CWD, base.as_os_str(), &base, Next { links, places })?;
        }
    }
    let found = walk.found.into_iter();
    Ok(found.map(|names| names.into_iter().collect()).collect())
}

impl<'a> Walk<'a> {
    /// Looks for the places' parts in a directory, and beneath it.
    fn enter(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        path: &Path,
        mut next: Next,
    ) -> Result<(), JailError> {
        // The walk reaches a tree in which another pattern begins.
        if !self.bases.is_empty() && next.links == Links::Refused {
            next.places
                .extend(self.bases.remove(path).unwrap_or_default());
        }
        let places = self.complete(next.places)?;
        let Some(dir) = self.open(parent, name, path, next.links, &places)? else {
            return Ok(());
        };
        let mut children = Children::new();
        self.look_up(&dir, &places, &mut children)?;
        if dir.readable {
            self.list(&dir, &places, &mut children)?;
        }
        for (name, next) in children {
            self.enter(dir.fd.as_fd(), &name, &path.join(&name), next)?;
        }
        Ok(())
    }

    fn step(&self, place: Place) -> &'a Step {
        &self.sought[place.pattern].parts[place.part]
    }

    fn is_last(&self, place: Place) -> bool {
        self.sought[place.pattern].is_last(place.part)
    }

    fn sense(&self, place: Place) -> Sense {
        self.sought[place.pattern].wanted.sense
    }

    fn is_listed(&self, place: Place) -> bool {
        !matches!(self.step(place), Step::Name(_))
    }

    /// Adds the places after each `**`, which may match nothing.
    fn complete(&self, mut places: Vec<Place>) -> Result<Vec<Place>, JailError> {
        let deep = |place: &Place| matches!(self.step(*place), Step::Deep);
        let behind: Vec<Place> = places
            .iter()
            .copied()
            .filter(deep)
            .map(Place::after)
            .collect();
        places.extend(behind);
        // The longer of two ways to one place counts.
        places.sort_unstable_by(|a, b| b.cmp(a));
        places.dedup_by_key(|place| (place.pattern, place.part));
        places.reverse();
        match places.iter().find(|place| place.level > MOST_LEVELS) {
            None => Ok(places),
            Some(place) => {
                let why = format!("it leads through more than {MOST_LEVELS} directories");
                let remedy = "write a longer path before the first wildcard";
                Err(self.refused(place.pattern, why, remedy))
            }
        }
    }

    /// Opens a directory, or returns none where no place needs it.
    fn open<'p>(
        &self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        path: &'p Path,
        links: Links,
        places: &[Place],
    ) -> Result<Option<Dir<'p>>, JailError> {
        let mut flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        if links == Links::Refused {
            flags |= OFlags::NOFOLLOW;
        }
        let open = |kind| rx::openat(parent, name, flags | kind, Mode::empty());
        let dir = |readable| move |fd| Some(Dir { fd, path, readable });
        if places.iter().any(|place| self.is_listed(*place)) {
            match open(OFlags::RDONLY) {
                Ok(fd) => return Ok(dir(true)(fd)),
                Err(error) => self.unlisted(path, error, places)?,
            }
        }
        if places.iter().all(|place| self.is_listed(*place)) {
            return Ok(None);
        }
        // Names can be looked up in a directory that cannot be listed.
        match (open(OFlags::PATH), places.first()) {
            (Ok(fd), _) => Ok(dir(false)(fd)),
            (Err(error), Some(place)) if pins::is_own(error) => {
                Err(self.no_descriptor(place.pattern, path, error))
            }
            (Err(_), _) => Ok(None),
        }
    }

    /// Looks up the names that the places want. A directory that ignores case finds other spellings.
    fn look_up(
        &mut self,
        dir: &Dir<'_>,
        places: &[Place],
        children: &mut Children,
    ) -> Result<(), JailError> {
        let mut named: BTreeMap<&'a str, Vec<Place>> = BTreeMap::new();
        for place in places {
            if let Step::Name(name) = self.step(*place) {
                named.entry(name).or_default().push(*place);
            }
        }
        for (name, places) in named {
            let Some(kind) = kind_of(dir.fd.as_fd(), name.as_ref()) else {
                continue;
            };
            let links = leads(dir.fd.as_fd(), name.as_ref(), kind);
            for place in places {
                match links {
                    _ if self.is_last(place) => self.keep(place.pattern, &dir.path.join(name))?,
                    Some(links) => go_on(children, name.as_ref(), links, place.after()),
                    None => {}
                }
            }
        }
        Ok(())
    }

    /// Compares the directory's entries with the places' wildcards.
    fn list(
        &mut self,
        dir: &Dir<'_>,
        places: &[Place],
        children: &mut Children,
    ) -> Result<(), JailError> {
        let listed = places.iter().filter(|place| self.is_listed(**place));
        let places: Vec<Place> = listed.copied().collect();
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(BUFFER, MaybeUninit::uninit());
        self.tally.begin(dir.path);
        let (mut read, mut matched) = (0, vec![]);
        let mut entries = RawDir::new(dir.fd.as_fd(), &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    self.unlisted(dir.path, error, &places)?;
                    break;
                }
            };
            let bytes = entry.file_name().to_bytes();
            if bytes == b"." || bytes == b".." {
                continue;
            }
            read += 1;
            if let Err(Exceeded) = self.tally.count() {
                self.looked_at(read, &places);
                return Err(self.too_many());
            }
            let name = OsStr::from_bytes(bytes);
            self.name.set(&name.to_string_lossy());
            let mut kind = entry.file_type();
            for place in &places {
                self.compare(dir, name, &mut kind, *place, &mut matched, children);
            }
        }
        self.buffer = buffer;
        self.looked_at(read, &places);
        // In the order of names, so that an error does not depend on the filesystem's.
        matched.sort_unstable();
        for (name, pattern) in matched {
            // A dangling link is a name too; a name that cannot be looked up is none.
            if kind_of(dir.fd.as_fd(), &name).is_some() {
                self.keep(pattern, &dir.path.join(name))?;
            }
        }
        Ok(())
    }

    /// Compares one entry with one place.
    fn compare(
        &self,
        dir: &Dir<'_>,
        name: &OsStr,
        kind: &mut FileType,
        place: Place,
        matched: &mut Vec<(OsString, usize)>,
        children: &mut Children,
    ) {
        match self.step(place) {
            Step::Deep => {
                let directory = resolved(kind, dir.fd.as_fd(), name) == FileType::Directory;
                // A directory that matches includes everything beneath it.
                if directory && self.shows(name, place) && !self.is_whole(dir, name, place.after())
                {
                    go_on(children, name, Links::Refused, place.deeper());
                }
            }
            Step::Wild(matcher) if self.matches(dir.fd.as_fd(), name, matcher) => {
                if self.is_last(place) {
                    matched.push((name.into(), place.pattern));
                    return;
                }
                let kind = resolved(kind, dir.fd.as_fd(), name);
                if let Some(links) = leads(dir.fd.as_fd(), name, kind) {
                    go_on(children, name, links, place.after());
                }
            }
            _ => {}
        }
    }

    /// Whether a `**` leads through a directory of that name.
    fn shows(&self, name: &OsStr, place: Place) -> bool {
        seen(&name.to_string_lossy(), self.sense(place))
    }

    /// Whether the place is the last of its pattern, and matches the entry.
    fn is_whole(&self, dir: &Dir<'_>, name: &OsStr, place: Place) -> bool {
        let matches = match self.step(place) {
            Step::Name(own) => name == own.as_str(),
            Step::Wild(matcher) => self.matches(dir.fd.as_fd(), name, matcher),
            Step::Deep => false,
        };
        matches && self.is_last(place)
    }

    /// A denial matches every spelling that leads to a name; a grant only the written one.
    fn matches(&self, dir: BorrowedFd<'_>, name: &OsStr, matcher: &Matcher) -> bool {
        matcher.accepts(&self.name) || matcher.may_accept_spelt(&self.name) && folds(dir, name)
    }

    fn keep(&mut self, pattern: usize, path: &Path) -> Result<(), JailError> {
        let text = path
            .to_str()
            .filter(|text| !text.contains(char::is_control));
        let Some(text) = text else {
            let why = format!(
                "it matches {}, whose name is not plain text",
                path.to_string_lossy().escape_debug()
            );
            return Err(self.refused(pattern, why, "rename that file, or list the paths"));
        };
        let (sought, found) = (&self.sought[pattern], &mut self.found[pattern]);
        if found.contains(text) {
            return Ok(());
        }
        if found.len() == MOST_NAMES {
            let why = format!("it matches more than {MOST_NAMES} names");
            let remedy = "name the directory that contains them";
            return Err(refused(sought.wanted, why, remedy));
        }
        // A process that can create files in a directory controls what a pattern matches there, so a target
        // elsewhere needs a path that the policy's author wrote. A dangling link grants nothing.
        if let (Sense::Grant, Some(base)) = (sought.wanted.sense, &sought.real)
            && let Ok(real) = path.canonicalize()
            && !real.starts_with(base)
        {
            let why = format!("{text} is a symbolic link out of {}", base.display());
            let remedy = "grant its target by its full path, if it is meant";
            return Err(refused(sought.wanted, why, remedy));
        }
        found.insert(text.into());
        Ok(())
    }

    /// Adds the entries of a directory to those that the places' patterns looked at.
    fn looked_at(&mut self, entries: usize, places: &[Place]) {
        let patterns: BTreeSet<usize> = places.iter().map(|place| place.pattern).collect();
        for pattern in patterns {
            self.looked[pattern] += entries;
        }
    }

    /// Names the pattern that looks at most; of several the first.
    fn too_many(&self) -> JailError {
        let all = self.looked.iter().enumerate().rev();
        let most = all.max_by_key(|(_, looked)| **looked);
        let remedy = "write a longer path before the first wildcard";
        self.refused(most.map_or(0, |(at, _)| at), self.tally.told(), remedy)
    }

    /// A grant ignores a directory that cannot be listed; a denial fails.
    fn unlisted(&self, path: &Path, error: Errno, places: &[Place]) -> Result<(), JailError> {
        let gone = matches!(error, Errno::NOENT | Errno::NOTDIR);
        let mut places = places.iter().filter(|place| self.is_listed(**place));
        // This error is not about the directory, and a partial grant is not what the policy says.
        if pins::is_own(error) {
            let first = places.next().map_or(0, |place| place.pattern);
            return Err(self.no_descriptor(first, path, error));
        }
        let denial = places.find(|place| self.sense(**place) == Sense::Denial);
        match denial {
            Some(place) if !gone && passable(path) => Err(self.refused(
                place.pattern,
                format!("{} cannot be listed ({error})", shown(path)),
                "name the denied paths, or the directory itself",
            )),
            _ => Ok(()),
        }
    }

    fn no_descriptor(&self, pattern: usize, path: &Path, error: Errno) -> JailError {
        let why = format!("{} cannot be listed ({error})", shown(path));
        // The soft limit is raised already.
        self.refused(
            pattern,
            why,
            "raise the hard limit of open files: ulimit -Hn",
        )
    }

    fn refused(&self, pattern: usize, why: impl Into<String>, remedy: &'static str) -> JailError {
        refused(self.sought[pattern].wanted, why, remedy)
    }
}

fn go_on(children: &mut Children, name: &OsStr, links: Links, place: Place) {
    match children.get_mut(name) {
        Some(next) => next.places.push(place),
        None => {
            let places = vec![place];
            children.insert(name.into(), Next { links, places });
        }
    }
}
