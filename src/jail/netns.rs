//! The jail's network namespace, made beside its tree.
//!
//! `CLONE_NEWNET` and bringing loopback up cost as much as all mounts together and wait for locks of
//! the whole host. So a helper that shares pid 1's memory and descriptors makes the namespace while
//! pid 1 builds the tree; pid 1 then joins it. The helper ends before pid 1 gives up the
//! capabilities that both have.

use std::os::fd::IntoRawFd;
use std::sync::atomic::{AtomicI32, Ordering};

use crate::sys::{Errno, Result, clone, net, process};

/// Room for the helper's stack, 16 bytes each.
pub const ROOM: usize = 1024;

/// What the helper leaves in the shared memory: a socket in its namespace, or an errno.
struct Answer {
    socket: AtomicI32,
    errno: AtomicI32,
}

static ANSWER: Answer = Answer { socket: AtomicI32::new(-1), errno: AtomicI32::new(0) };

/// The helper at work.
pub struct Making {
    pid: i32,
}

/// Starts the helper. Runs after clone, once, in pid 1 with capabilities over its user namespace.
pub fn begin(room: &'static mut [u128]) -> Result<Making> {
    let pid = clone::start_helper(room, make, &ANSWER)?;
    Ok(Making { pid })
}

/// Waits for the helper and joins its namespace. Runs after clone.
pub fn join(making: &Making) -> Result<()> {
    process::reap(making.pid)?;
    match ANSWER.errno.load(Ordering::SeqCst) {
        0 => {}
        errno => return Err(Errno::from_raw_os_error(errno)),
    }
    let number = ANSWER.socket.load(Ordering::SeqCst);
    if number < 0 {
        return Err(Errno::CHILD);
    }
    let socket = net::adopt(number);
    net::enter_namespace_of(&socket)
}

extern "C" fn make(answer: *mut std::ffi::c_void) -> i32 {
    let answer: &Answer = clone::argument(answer);
    match net::new_namespace().and_then(|()| net::loopback_up()) {
        Ok(socket) => answer.socket.store(socket.into_raw_fd(), Ordering::SeqCst),
        Err(errno) => answer.errno.store(errno.raw_os_error(), Ordering::SeqCst),
    }
    process::exit(0)
}
