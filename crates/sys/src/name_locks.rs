//! Locks by which runs share the names that they hold in one directory.
//!
//! All are read locks on the directory, because a write lock needs a descriptor that was opened for writing. Each name has two bytes, at offsets made of its hash:
//!
//! ```text
//! a run that needs the name:   lock "needed",  then wait while another run has locked "removed"
//! a run that removes the name: lock "removed", then step back if another run has locked "needed"
//! ```
//!
//! Of two runs that meet, at least one finds the other's lock, and only the one that removes steps back. Who
//! needs a name waits for those alone that had looked before it came, so a stream of runs starves nobody. A
//! lock ends with the last descriptor of its run, whatever ended that.
//!
//! A jail may take these locks on a directory of its workspace, too: the start of a run then waits [`PATIENCE`]
//! and goes on, and a name may stay on the host. A running jail's watcher waits for nothing. Filesystems without locks have none of this: the first run that ends
//! removes the name.

use std::ffi::CStr;
use std::os::fd::BorrowedFd;

use super::ofd_lock::{self, Kind};

/// How often a run looks whether another has removed a name, a tenth of a millisecond apart.
const PATIENCE: usize = 1000;
/// Half of the offsets: "needed" below, "removed" from here on. The last offset of a file is never used: it
/// means a range without end.
const HALF: i64 = 1 << 61;

/// A range of one half's offsets: its first and its length.
#[derive(Clone, Copy)]
struct Range(i64, i64);

const ALL: Range = Range(0, HALF);

/// The byte of one name: FNV-1a.
fn of(name: &CStr) -> Range {
    let hash = name
        .to_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
    Range((hash >> 3) as i64, 1)
}

/// Says that this run needs `name` in `directory`, until it [removes](Removal::begin) its names there. Another
/// run may be removing it.
pub fn say(directory: BorrowedFd<'_>, name: &CStr) {
    set(directory, Kind::Read, of(name), 0);
}

/// Says that this run needs `names`, and waits: when this returns, no other run removes one.
pub fn need<'n>(directory: BorrowedFd<'_>, names: impl Iterator<Item = &'n CStr> + Clone) {
    names.clone().for_each(|name| say(directory, name));
    for _ in 0..PATIENCE {
        if !is_removed(directory, names.clone()) {
            return;
        }
        super::janitor::pause(0);
    }
}

/// Whether another run removes one of `names`.
fn is_removed<'n>(directory: BorrowedFd<'_>, mut names: impl Iterator<Item = &'n CStr>) -> bool {
    others_have(directory, ALL, HALF) && names.any(|name| others_have(directory, of(name), HALF))
}

/// The removal of a run's names from a directory; dropped, it is over.
pub struct Removal<'d> {
    directory: BorrowedFd<'d>,
    /// No other run needs a name in the directory.
    alone: bool,
}

impl<'d> Removal<'d> {
    /// This run needs no name in `directory` any more.
    pub fn begin(directory: BorrowedFd<'d>) -> Removal<'d> {
        set(directory, Kind::None, ALL, 0);
        let alone = claim(directory, ALL);
        Removal { directory, alone }
    }

    /// Does `remove` if no other run needs `name`.
    pub fn of<T>(&self, name: &CStr, remove: impl FnOnce() -> T) -> Option<T> {
        let range = of(name);
        if !self.alone && !claim(self.directory, range) {
            return None;
        }
        let done = remove();
        if !self.alone {
            set(self.directory, Kind::None, range, HALF);
        }
        Some(done)
    }
}

impl Drop for Removal<'_> {
    fn drop(&mut self) {
        if self.alone {
            set(self.directory, Kind::None, ALL, HALF);
        }
    }
}

/// Locks a range to remove its names; not if another run needs one of them.
fn claim(directory: BorrowedFd<'_>, range: Range) -> bool {
    set(directory, Kind::Read, range, HALF);
    let free = !others_have(directory, range, 0);
    if !free {
        set(directory, Kind::None, range, HALF);
    }
    free
}

/// A filesystem without locks has none to set.
fn set(directory: BorrowedFd<'_>, kind: Kind, range: Range, half: i64) {
    let _ = ofd_lock::set(directory, kind, half + range.0, range.1);
}

/// Whether another run has locked a byte of the range.
fn others_have(directory: BorrowedFd<'_>, range: Range, half: i64) -> bool {
    ofd_lock::others_have(directory, half + range.0, range.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::{Duration, Instant};

    /// Two names whose removal one directory's runs dispute.
    const NAMES: [&CStr; 2] = [c".envrc", c".mcp.json"];

    fn opened(place: &std::path::Path) -> std::fs::File {
        std::fs::File::open(place).expect("it opens")
    }

    #[test]
    fn a_needed_name_is_not_removed() {
        let place = tempfile::tempdir().expect("a directory");
        let (one, two) = (opened(place.path()), opened(place.path()));
        need(one.as_fd(), NAMES[..1].iter().copied());
        let removal = Removal::begin(two.as_fd());
        assert_eq!(removal.of(NAMES[0], || ()), None);
        // The control: nobody needs this one.
        assert_eq!(removal.of(NAMES[1], || ()), Some(()));
        drop(removal);
        drop(one);
        assert_eq!(
            Removal::begin(two.as_fd()).of(NAMES[0], || ()),
            Some(()),
            "its run has ended"
        );
    }

    #[test]
    fn who_needs_a_name_waits_while_it_is_removed() {
        let place = tempfile::tempdir().expect("a directory");
        let (one, two) = (opened(place.path()), opened(place.path()));
        let removal = Removal::begin(two.as_fd());
        let (since, over) = (Instant::now(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                need(one.as_fd(), NAMES.into_iter());
                let waited =
                    over.load(Ordering::SeqCst) || since.elapsed() > Duration::from_millis(100);
                assert!(waited, "{:?}", since.elapsed());
            });
            std::thread::sleep(Duration::from_millis(20));
            over.store(true, Ordering::SeqCst);
            drop(removal);
        });
    }

    #[test]
    fn a_name_that_is_removed_holds_up_no_other() {
        let place = tempfile::tempdir().expect("a directory");
        let (one, two, three) = (
            opened(place.path()),
            opened(place.path()),
            opened(place.path()),
        );
        need(one.as_fd(), NAMES[..1].iter().copied());
        let removal = Removal::begin(two.as_fd());
        let is_removed = |number: usize| is_removed(three.as_fd(), [NAMES[number]].into_iter());
        let during = removal.of(NAMES[1], || (is_removed(0), is_removed(1)));
        assert_eq!(during, Some((false, true)));
        assert!(!is_removed(1), "it is over");
    }

    /// Of many that need and remove at once, nobody finds a name gone that it needs.
    #[test]
    fn no_name_is_removed_beneath_who_needs_it() {
        let place = tempfile::tempdir().expect("a directory");
        let name = place.path().join(".envrc");
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let mine = opened(place.path());
                        need(mine.as_fd(), NAMES.into_iter());
                        let _ = std::fs::File::create_new(&name);
                        std::thread::yield_now();
                        assert!(name.exists());
                        Removal::begin(mine.as_fd()).of(NAMES[0], || std::fs::remove_file(&name));
                    }
                });
            }
        });
        assert!(!name.exists(), "the last removes it");
    }
}
