//! The heap of this binary, which can be watched: a child that uses it dies.
//!
//! Between clone3(2) and execve(2) a jail's processes must not touch the heap: another thread of the caller
//! could hold its lock, and then the child would wait for ever. The rule is kept by comments in the code and
//! by this allocator in the tests.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU32, Ordering};

/// The process that may use the heap; 0 if every process may.
static OWNER: AtomicU32 = AtomicU32::new(0);

/// From here on, every process that this one clones dies at its first use of the heap, with a line on stderr.
pub fn mine_alone() {
    OWNER.store(std::process::id(), Ordering::Relaxed);
}

pub struct Heap;

fn check() {
    let owner = OWNER.load(Ordering::Relaxed);
    if owner != 0 && std::process::id() != owner {
        // Once: the message must not need the heap, and neither must the end.
        OWNER.store(0, Ordering::Relaxed);
        let _ = rustix::io::write(rustix::stdio::stderr(), b"a child used the heap\n");
        std::process::abort();
    }
}

// SAFETY: every call goes on to the system's allocator, with the same arguments.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        check();
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        check();
        // SAFETY: `memory` is of the system's allocator, since `alloc` and `realloc` return no other.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        check();
        // SAFETY: as in `dealloc`.
        unsafe { System.realloc(memory, layout, size) }
    }
}
