//! An overlay of a tree: overlayfs, Documentation/filesystems/overlayfs.rst of the kernel.
//!
//! A layer is given as `/proc/self/fd/N`: the kernel resolves that to exactly the directory that was opened, and
//! mountinfo shows no path of the host. The layers keep their marks in `user.overlay.*` (`userxattr`, Linux 5.11), as
//! an overlay of a user namespace has to; the kernel escapes attributes of these names that a process sets.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};

use rustix::fs::{Mode, OFlags, openat};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

use super::{Errno, Result, clone, mount, process};

/// The directory of changes, beneath that of the layers.
pub const UPPER: &CStr = c"upper";
/// The kernel's own directory, on the same filesystem as [`UPPER`].
pub const WORK: &CStr = c"work";
/// The layer of whiteouts over the lower tree. It may be absent.
pub const DENIED: &CStr = c"denied";

/// The longest text of two layers.
const LONGEST: usize = 64;
const SELF: &[u8] = b"/proc/self/fd/";

/// Mounts an overlay of `lower`, detached. `layers`: the directory with the layers. Both must be on mounts of this
/// process's mount namespace (`EINVAL`). `attributes`: `MOUNT_ATTR_*`. Runs after clone.
pub fn mount(lower: BorrowedFd<'_>, layers: BorrowedFd<'_>, attributes: u64) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = |name: &CStr| openat(layers, name, flags, Mode::empty());
    let (upper, work) = (open(UPPER)?, open(WORK)?);
    let denied = match open(DENIED) {
        Ok(denied) => Some(denied),
        Err(Errno::NOENT) => None,
        Err(errno) => return Err(errno),
    };
    let [mut lowers, mut uppers, mut works] = [[0u8; LONGEST]; 3];
    // The topmost comes first.
    let layers = match &denied {
        Some(denied) => text(&mut lowers, &[denied.as_fd(), lower])?,
        None => text(&mut lowers, &[lower])?,
    };
    let options = [
        (c"lowerdir", layers),
        (c"upperdir", text(&mut uppers, &[upper.as_fd()])?),
        (c"workdir", text(&mut works, &[work.as_fd()])?),
        (c"userxattr", c""),
        // Handles of files are not kept: the lower tree may change.
        (c"index", c"off"),
    ];
    mount::new(c"overlay", options.into_iter(), attributes)
}

/// `/proc/self/fd/A:/proc/self/fd/B`, without an allocation.
fn text<'a>(room: &'a mut [u8; LONGEST], layers: &[BorrowedFd<'_>]) -> Result<&'a CStr> {
    let mut end = 0;
    let mut push = |byte: u8| {
        let place = room.get_mut(end).ok_or(Errno::NAMETOOLONG)?;
        *place = byte;
        end += 1;
        Ok::<(), Errno>(())
    };
    for (at, layer) in layers.iter().enumerate() {
        if at > 0 {
            push(b':')?;
        }
        SELF.iter().try_for_each(|byte| push(*byte))?;
        let number = layer.as_raw_fd().cast_unsigned();
        let mut power = 1;
        while number / power >= 10 {
            power *= 10;
        }
        while power > 0 {
            push(b'0' + (number / power % 10) as u8)?;
            power /= 10;
        }
    }
    push(0)?;
    CStr::from_bytes_until_nul(room).map_err(|_| Errno::INVAL)
}

/// The child's input and its result.
struct Task<'a> {
    lower: &'a OwnedFd,
    layers: &'a OwnedFd,
    user: u32,
    attributes: u64,
    made: Result<i32>,
}

/// As [`mount()`], of detached mounts whose owners are mapped (mount_setattr(2), Linux 5.19 for overlayfs): made
/// outside of the jail's user namespace, by a process whose file user is `user`, the id that the layers' owner is
/// mapped to. The kernel makes files in the layers as that user; as one that the layers do not map, it would mount the
/// overlay read-only without an error.
pub fn mount_mapped(
    lower: &OwnedFd,
    layers: &OwnedFd,
    user: u32,
    attributes: u64,
) -> Result<OwnedFd> {
    let mut room = vec![0u128; 1024];
    let mut task = Task {
        lower,
        layers,
        user,
        attributes,
        made: Err(Errno::IO),
    };
    // The child shares this process's descriptor table, and opens the mount in it.
    let flags = libc::CLONE_NEWNS | libc::CLONE_FILES;
    let child = clone::start_in(flags, &mut room, body, &mut task)?;
    process::reap(child)?;
    // SAFETY: the child has opened it in the table of descriptors that it shared, and nothing else owns it.
    task.made.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

extern "C" fn body(task: *mut libc::c_void) -> i32 {
    // SAFETY: `mount_mapped` passes its task, which it does not touch until this child has ended.
    let task = unsafe { &mut *task.cast::<Task>() };
    task.made = mapped(task).map(IntoRawFd::into_raw_fd);
    process::exit(0)
}

fn mapped(task: &Task<'_>) -> Result<OwnedFd> {
    mount::make_private()?;
    // Before Linux 6.15 a layer must be attached. Paths still resolve in the root beneath.
    mount::attach_on_root(task.lower.as_fd())?;
    mount::attach_on_root(task.layers.as_fd())?;
    let mut sets = capabilities(None)?;
    // SAFETY: both only change this thread's credentials, and this process has one thread.
    unsafe {
        libc::setfsgid(task.user);
        libc::setfsuid(task.user);
    }
    // A file user other than 0 empties the set (capabilities(7)). The overlay acts with these credentials; the blocks
    // that a filesystem reserves for root are not the jail's to use.
    sets.effective &= !CapabilitySet::SYS_RESOURCE;
    set_capabilities(None, sets)?;
    mount(task.lower.as_fd(), task.layers.as_fd(), task.attributes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_named_by_their_descriptors() {
        let mut room = [0; LONGEST];
        // SAFETY: the descriptors are never used.
        let fd = |number| unsafe { BorrowedFd::borrow_raw(number) };
        let one = text(&mut room, &[fd(7)]).map(CStr::to_owned);
        assert_eq!(one.as_deref(), Ok(c"/proc/self/fd/7"));
        let two = text(&mut room, &[fd(1_048_575), fd(10)]).map(CStr::to_owned);
        assert_eq!(
            two.as_deref(),
            Ok(c"/proc/self/fd/1048575:/proc/self/fd/10")
        );
        assert_eq!(text(&mut room, &[fd(9); 5]), Err(Errno::NAMETOOLONG));
    }
}
