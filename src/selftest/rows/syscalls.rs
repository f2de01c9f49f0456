//! Calls that the kernel allows to every process and the filter does not: attack surface, and the ways around
//! rules on paths.

use super::{attempts, c_path, call};
use crate::selftest::Stopped;
use creel_sys::attempt::{self, at, c};

// linux/prctl.h, asm-generic/ioctls.h, linux/kd.h, linux/tiocl.h
const PR_SET_SYSCALL_USER_DISPATCH: usize = 59;
const PR_SCHED_CORE: usize = 62;
const PR_SET_MEMORY_MERGE: usize = 67;
const TIOCLINUX: usize = 0x541c;
const TIOCSTI: usize = 0x5412;
const TIOCSETD: usize = 0x5423;
const KDGETMODE: usize = 0x4b3b;
const VT_GETMODE: usize = 0x5601;
const READ_IMPLIES_EXEC: usize = 0x0040_0000;
const NEW_LISTENER: usize = 8;
/// linux/btrfs.h
const BTRFS_IOC_SNAP_CREATE_V2: usize = 0x5000_9417;

/// An ioctl on a pseudoterminal of the jail's own.
fn on_terminal(request: usize, argument: usize) -> crate::selftest::Tried {
    use std::os::fd::AsRawFd;
    let (_master, slave) = creel_sys::pty::open()?;
    call(
        c::SYS_ioctl,
        &[slave.as_raw_fd() as usize, request, argument],
    )
}

attempts! { ROWS, "syscalls";
    "io_uring" [Seccomp: ENOSYS] "runs calls past the filter" |_| call(c::SYS_io_uring_setup, &[1, 0]);
    "userfaultfd" [Seccomp: EPERM]
        "stalls the kernel inside a copy" |_| call(c::SYS_userfaultfd, &[0xffff]);
    "perf_event_open" [Seccomp: EPERM] "CVE-2013-2094" |_| call(c::SYS_perf_event_open, &[0, 0, 0, 0, 0]);
    "fanotify_init" [Seccomp: EPERM, Kernel: EPERM] "watches whole mounts" |_| call(c::SYS_fanotify_init, &[0xffff_ffff, 0]);
    "ptrace itself" [Seccomp: EPERM] "CVE-2019-13272" |_| call(c::SYS_ptrace, &[c::PTRACE_TRACEME as usize, 0, 0, 0]);
    "read memory as a debugger" [Seccomp: EPERM] "other processes' memory" |_| {
        let own = rustix::process::getpid().as_raw_nonzero().get() as usize;
        call(c::SYS_process_vm_readv, &[own, 0, 0, 0, 0, 0])
    };
    "write memory as a debugger" [Seccomp: EPERM] "other processes' memory" |_| {
        let own = rustix::process::getpid().as_raw_nonzero().get() as usize;
        call(c::SYS_process_vm_writev, &[own, 0, 0, 0, 0, 0])
    };
    "kcmp" [Seccomp: EPERM] "kernel pointers" |_| {
        let own = rustix::process::getpid().as_raw_nonzero().get() as usize;
        call(c::SYS_kcmp, &[own, own, 99, 0, 0])
    };
    "pidfd_getfd" [Seccomp: EPERM] "descriptors of others" |_| call(c::SYS_pidfd_getfd, &[usize::MAX, 0, 0]);
    "process_madvise" [Seccomp: EPERM] "others' memory" |_| call(c::SYS_process_madvise, &[usize::MAX, 0, 0, 0, 0]);
    "process_mrelease" [Seccomp: EPERM] "others' memory" |_| call(c::SYS_process_mrelease, &[usize::MAX, 0]);
    "add a key" [Seccomp: EPERM] "CVE-2017-15274"
        |_| call(c::SYS_add_key, &[at(c"user"), at(c"creel-selftest"), at(c"x"), 1, usize::MAX - 1]);
    "request a key" [Seccomp: EPERM] "calls up a helper on the host (CVE-2017-17807)"
        |_| call(c::SYS_request_key, &[at(c"user"), at(c"creel-selftest-absent"), 0, 0]);
    "join a keyring" [Seccomp: EPERM] "CVE-2016-0728" |_| call(c::SYS_keyctl, &[c::KEYCTL_JOIN_SESSION_KEYRING as usize, 0]);
    "segments for 16-bit code" [Seccomp: EPERM] "CVE-2015-3290" |_| call(c::SYS_modify_ldt, &[0, 0, 0]);
    "personality that executes what it reads" [Seccomp: EPERM]
        "CVE-2009-1895" |_| call(c::SYS_personality, &[READ_IMPLIES_EXEC]);
    "mbind" [Seccomp: EPERM] "one node's memory" |_| call(c::SYS_mbind, &[1, 1, 99, 0, 0, 0]);
    "move_pages" [Seccomp: EPERM] "CVE-2017-14140" |_| call(c::SYS_move_pages, &[0, 0, 0, 0, 0, 99]);
    "migrate_pages" [Seccomp: EPERM] "others' memory" |_| call(c::SYS_migrate_pages, &[0, 0, 0, 0]);
    "name_to_handle_at" [Seccomp: EPERM] "names for open_by_handle_at"
        |_| call(c::SYS_name_to_handle_at, &[c::AT_FDCWD as usize, at(c"/"), at(&[0u32; 2]), at(&0i32), 0]);
    "vmsplice" [Seccomp: ENOSYS] "CVE-2020-29374" |_| call(c::SYS_vmsplice, &[usize::MAX, 0, 0, 0]);
    "remap_file_pages" [Seccomp: ENOSYS] "CVE-2024-47745" |_| call(c::SYS_remap_file_pages, &[0, 0, 1, 0, 0]);
    "openat2" [Seccomp: ENOSYS] "its mode is behind a pointer" |_| call(c::SYS_openat2, &[0, 0, 0, 0]);
    "memfd_secret" [Seccomp: ENOSYS, Kernel: ENOSYS] "memory that no other process can read" |_| call(c::SYS_memfd_secret, &[0xffff]);
    "a filter that lets another process answer" [Seccomp: EPERM]
        "one program would answer the calls of another" |_| call(c::SYS_seccomp, &[1, NEW_LISTENER, 0]);
    "syscall dispatch" [Seccomp: EPERM] "hides calls" |_| call(c::SYS_prctl, &[PR_SET_SYSCALL_USER_DISPATCH, 0, 0, 0, 0]);
    "core scheduling" [Seccomp: EPERM] "decides which processes share a core" |_| call(c::SYS_prctl, &[PR_SCHED_CORE, 99, 0, 0, 0]);
    "merge memory" [Seccomp: EPERM] "merged pages tell their contents" |_| call(c::SYS_prctl, &[PR_SET_MEMORY_MERGE, 0, 0, 0, 0]);
    "change securebits" [Seccomp: EPERM, Capabilities: EPERM] "uid 0 would have capabilities"
        |_| call(c::SYS_prctl, &[c::PR_SET_SECUREBITS as usize, 0, 0, 0, 0]);
    "change the program's own name on the host" [Seccomp: EPERM, Kernel: EPERM|EINVAL] "PR_SET_MM lies to ps"
        |_| call(c::SYS_prctl, &[c::PR_SET_MM as usize, 99, 0, 0, 0]);
    "a set-user-ID file" [Seccomp: EPERM] "root's on the host, perhaps" |s| {
        let path = s.workspace.join("set-id");
        std::fs::write(&path, "")?;
        let path = c_path(path);
        call(c::SYS_chmod, &[at(path.as_c_str()), 0o4700])
    };
    "a set-group-ID file by its creation" [Seccomp: EPERM] "root's on the host, perhaps" |s| {
        let path = c_path(s.workspace.join("set-id-new"));
        let flags = (c::O_CREAT | c::O_EXCL | c::O_WRONLY) as usize;
        call(c::SYS_openat, &[c::AT_FDCWD as usize, at(path.as_c_str()), flags, 0o2700])
    };
    "a set-user-ID file by fchmodat" [Seccomp: EPERM] "root's on the host, perhaps" |_| {
        std::fs::write("/tmp/set-id", "")?;
        call(c::SYS_fchmodat, &[c::AT_FDCWD as usize, at(c"/tmp/set-id"), 0o4700])
    };
    // Landlock requires no right to make a device here.
    "a whiteout by rename" [Seccomp: EINVAL] "hides files from an overlay on the host" |_| {
        std::fs::write("/tmp/from", "")?;
        call(c::SYS_renameat2, &[c::AT_FDCWD as usize, at(c"/tmp/from"), c::AT_FDCWD as usize, at(c"/tmp/to"), 4])
    };
    "type into a terminal" [Seccomp: EPERM, Kernel: EPERM|EIO]
        "CVE-2017-5226" |_| on_terminal(TIOCSTI, at(&b'x'));
    "type into a terminal, high bits set" [Seccomp: EPERM, Kernel: EPERM|EIO]
        "CVE-2019-10063" |_| on_terminal(TIOCSTI | 1 << 32, at(&b'x'));
    "paste into a console" [Seccomp: EPERM] "CVE-2023-1523" |_| on_terminal(TIOCLINUX, at(&[0u8; 16]));
    "a line discipline" [Seccomp: EPERM] "CVE-2017-2636" |_| on_terminal(TIOCSETD, at(&0u32));
    "the console's mode" [Seccomp: EPERM] "the console of the host" |_| on_terminal(KDGETMODE, at(&[0u64; 2]));
    "the console's switch" [Seccomp: EPERM] "the console of the host" |_| on_terminal(VT_GETMODE, at(&[0u64; 2]));
    "a snapshot of a file system's tree" [Seccomp: EPERM, Kernel: ENOTTY|EFAULT|EOPNOTSUPP] "shows the denied names in it" |s| {
        use std::os::fd::AsRawFd;
        let directory = std::fs::File::open(&s.workspace)?;
        call(c::SYS_ioctl, &[directory.as_raw_fd() as usize, BTRFS_IOC_SNAP_CREATE_V2, 0])
    };
    "asynchronous I/O of the old kind" [Seccomp: ENOSYS, Kernel: EINVAL|ENOSYS] "one call takes all that the host has"
        |_| call(c::SYS_io_setup, &[0, at(&0u64)]);
    "out-of-band data" [Seccomp: EPERM] "CVE-2025-38236" |_| {
        use std::os::fd::AsRawFd;
        let (here, _there) = std::os::unix::net::UnixStream::pair()?;
        let number = here.as_raw_fd() as usize;
        let sent = attempt::call(c::SYS_sendto, &[number, at(&b'x'), 1, c::MSG_OOB as usize, 0, 0]);
        sent.map(drop).map_err(Stopped::from)
    };
}
