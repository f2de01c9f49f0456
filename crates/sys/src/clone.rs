//! `clone3(2)` and the two uses of `clone(2)` that share memory with their parent.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::{Errno, Result};

/// Linux 5.7; overflows `c_int`, so libc's constant cannot be used.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// The namespaces, as `clone3` flags.
pub const NEWUSER: u64 = libc::CLONE_NEWUSER as u64;
/// mount_namespaces(7)
pub const NEWNS: u64 = libc::CLONE_NEWNS as u64;
/// pid_namespaces(7)
pub const NEWPID: u64 = libc::CLONE_NEWPID as u64;
/// network_namespaces(7)
pub const NEWNET: u64 = libc::CLONE_NEWNET as u64;
/// ipc_namespaces(7)
pub const NEWIPC: u64 = libc::CLONE_NEWIPC as u64;
/// uts_namespaces(7)
pub const NEWUTS: u64 = libc::CLONE_NEWUTS as u64;
/// cgroup_namespaces(7)
pub const NEWCGROUP: u64 = libc::CLONE_NEWCGROUP as u64;

/// Makes a cgroup namespace whose roots are the groups of this process (cgroup_namespaces(7)). Runs after
/// clone.
pub fn unshare_cgroup() -> Result<()> {
    // SAFETY: unshare of a namespace concerns no memory and no descriptor table.
    match unsafe { libc::unshare(libc::CLONE_NEWCGROUP) } {
        0 => Ok(()),
        _ => Err(last()),
    }
}

/// `struct clone_args`, the 88 bytes of Linux 5.7.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// The side of `clone3`.
pub enum Side {
    /// The caller.
    Parent {
        /// The pid of the child.
        pid: i32,
        /// A pidfd of the child (clone(2), `CLONE_PIDFD`).
        pidfd: OwnedFd,
    },
    /// The new process.
    Child,
}

/// Starts a child with a copy of this memory in new namespaces, optionally in the v2 cgroup whose directory
/// is given.
///
/// # Safety
/// The process has one thread: another thread's locks would stay locked in the child for ever.
/// The child must reach `exec` or `_exit` without unwinding into the caller's frames.
pub unsafe fn clone3(namespaces: u64, cgroup: Option<BorrowedFd<'_>>) -> Result<Side> {
    let mut pidfd: i32 = -1;
    let mut args = CloneArgs {
        flags: namespaces | libc::CLONE_PIDFD as u64,
        pidfd: &raw mut pidfd as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArgs::default()
    };
    if let Some(dir) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = dir.as_raw_fd() as u64;
    }
    // SAFETY: args is a valid clone_args of the size passed and outlives the call; the caller
    // guarantees that one thread exists, so that copying memory copies a consistent state.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) };
    match pid {
        -1 => Err(last()),
        0 => Ok(Side::Child),
        pid => Ok(Side::Parent {
            pid: pid as i32,
            // SAFETY: with CLONE_PIDFD a successful clone3 has stored a new descriptor that
            // nothing else owns.
            pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) },
        }),
    }
}

/// A stack for a child that shares this memory; there is no guard page.
pub struct Stack<'a>(&'a mut [u128]);

impl<'a> Stack<'a> {
    /// `room`: enough for the child's frames.
    pub fn on(room: &'a mut [u128]) -> Stack<'a> {
        Stack(room)
    }

    fn top(&mut self) -> *mut libc::c_void {
        self.0.as_mut_ptr_range().end.cast()
    }
}

/// The argument of a body, as [`vfork`] passes it.
pub fn argument<'a, T>(pointer: *mut libc::c_void) -> &'a T {
    // SAFETY: only vfork calls such a body, with a pointer to the T that it was given, which outlives the child;
    // a body names the same T as its caller.
    unsafe { &*pointer.cast::<T>() }
}

/// The number that [`start_helper`] was given.
pub fn number(pointer: *mut libc::c_void) -> i32 {
    // SAFETY: only start_helper calls such a body, with a pointer to a number beneath its stack.
    (unsafe { *pointer.cast::<u128>() } as u32).cast_signed()
}

/// Starts `body(argument)` in a child that shares this memory and waits until it has called exec or
/// `_exit` (`CLONE_VM | CLONE_VFORK`): no page table is copied. Runs after clone.
///
/// # Safety
/// `body` may call only what is safe while the parent is suspended in the same memory, and must not
/// return into anything but `_exit`.
pub unsafe fn vfork<T>(
    flags: i32,
    stack: &mut Stack<'_>,
    body: extern "C" fn(*mut libc::c_void) -> i32,
    argument: &mut T,
) -> Result<i32> {
    let flags = flags | libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: the stack outlives the child, because CLONE_VFORK suspends this thread until the
    // child has left the memory; the caller answers for `body`.
    match unsafe { libc::clone(body, stack.top(), flags, (&raw mut *argument).cast()) } {
        -1 => Err(last()),
        pid => Ok(pid),
    }
}

/// [`vfork`] for a body that makes system calls only and ends in `execve` or `exit`. Runs after
/// clone.
pub fn start_command<T>(
    room: &mut [u128],
    body: extern "C" fn(*mut libc::c_void) -> i32,
    argument: &mut T,
) -> Result<i32> {
    // SAFETY: this thread is suspended until the body has left the memory, and bodies started here
    // keep to the contract above.
    unsafe { vfork(0, &mut Stack::on(room), body, argument) }
}

/// As [`start_command`], in new namespaces or with more that is shared: `flags` of clone(2).
pub fn start_in<T>(
    flags: i32,
    room: &mut [u128],
    body: extern "C" fn(*mut libc::c_void) -> i32,
    argument: &mut T,
) -> Result<i32> {
    // SAFETY: as in `start_command`.
    unsafe { vfork(flags, &mut Stack::on(room), body, argument) }
}

/// Starts `body` in a child that shares this memory and runs beside this process, in new `namespaces`, for a
/// body that makes system calls only and ends in `exit`. It gets a pointer for [`number`]. The caller reaps it.
/// Runs after clone.
pub fn start_helper(
    namespaces: i32,
    room: &'static mut [u128],
    body: extern "C" fn(*mut libc::c_void) -> i32,
    number: i32,
) -> Result<i32> {
    // Not in a static: this process may start the next helper before this one has looked.
    let (first, stack) = room.split_first_mut().ok_or(Errno::INVAL)?;
    *first = u128::from(number.cast_unsigned());
    // SAFETY: stack and number are 'static, and bodies started here keep to the contract above.
    match unsafe {
        libc::clone(
            body,
            Stack::on(stack).top(),
            libc::CLONE_VM | namespaces,
            (&raw mut *first).cast(),
        )
    } {
        -1 => Err(last()),
        pid => Ok(pid),
    }
}

/// A child that shares this memory and runs beside this process; it ends by itself. The drop waits for that.
#[derive(Debug)]
pub struct Helper {
    /// The pid of the child.
    pub pid: i32,
    /// Its stack, from a box.
    room: *mut [u128],
}

// SAFETY: the child alone uses the stack until it has ended, whichever thread holds the helper.
unsafe impl Send for Helper {}
// SAFETY: a shared helper gives access to its pid alone.
unsafe impl Sync for Helper {}

impl Helper {
    /// The child's stack, in units of 16 bytes.
    const ROOM: usize = 1024;

    /// As [`start_helper`], with a stack that is freed when the child has ended.
    pub fn start(
        namespaces: i32,
        body: extern "C" fn(*mut libc::c_void) -> i32,
        number: i32,
    ) -> Result<Helper> {
        let room = Box::into_raw(vec![0u128; Helper::ROOM].into_boxed_slice());
        // SAFETY: the box is freed only after the child has ended.
        let started = start_helper(namespaces, unsafe { &mut *room }, body, number);
        if started.is_err() {
            // SAFETY: no child uses it.
            drop(unsafe { Box::from_raw(room) });
        }
        started.map(|pid| Helper { pid, room })
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // It is this process's child and ends by itself.
        if super::process::reap(self.pid).is_ok() {
            // SAFETY: it came from a box, and the child has ended.
            drop(unsafe { Box::from_raw(self.room) });
        }
    }
}

fn last() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// [`clone3`], after counting this process's threads. `EBUSY` if there may be more than one, because the
/// child would inherit locks that are never released.
pub fn clone3_single_threaded(namespaces: u64, cgroup: Option<BorrowedFd<'_>>) -> Result<Side> {
    if alone() != Some(true) {
        return Err(Errno::BUSY);
    }
    // SAFETY: this is the only thread, so no lock is held elsewhere; callers pass the child straight
    // to a function that does not return.
    unsafe { clone3(namespaces, cgroup) }
}

/// Whether this process has one thread: the link count of `/proc/self/task` is two more than the number of
/// threads (proc(5)). `None` if it cannot be read.
pub fn alone() -> Option<bool> {
    let stat = rustix::fs::stat(c"/proc/self/task").ok()?;
    Some(stat.st_nlink == 3)
}

/// Tries whether the namespaces can be made, for a child that ends at once.
pub fn try_namespaces(namespaces: u64) -> Result<()> {
    match clone3_single_threaded(namespaces, None)? {
        Side::Child => super::process::exit(0),
        Side::Parent { pid, .. } => super::process::reap(pid).map(drop),
    }
}
