//! Mounts, namespaces, modules, foreign ABIs: the kernel's privileged code.

use super::{attempts, call};
use crate::selftest::Stopped;
use creel_sys::attempt::{self, at, c};

/// `CLONE_NEWTIME` and the nsfs ioctls, linux/sched.h and linux/nsfs.h.
const CLONE_NEWTIME: usize = 0x80;
const NS_GET_OWNER_UID: usize = 0xb704;

attempts! { ROWS, "kernel";
    "getpid through int 0x80" [Seccomp: SIGSYS|SIGSEGV]
        "the i386 table passes every rule on numbers" |_| Ok(attempt::foreign_getpid().map(drop)?);
    "getpid through x32" [Seccomp: ENOSYS, Kernel: ENOSYS]
        "the x32 table passes every rule on numbers" |_| call(0x4000_0000 + c::SYS_getpid, &[]);
    "a number from the future" [Seccomp: ENOSYS, Kernel: ENOSYS]
        "system calls that the table does not list" |_| call(600, &[]);
    "a negative number" [Seccomp: ENOSYS, Kernel: ENOSYS]
        "system calls that the table does not list" |_| call(-3, &[]);
    "unshare a user namespace" [Seccomp: EPERM]
        "opens the kernel's privileged code (CVE-2022-0185)" |_| call(c::SYS_unshare, &[c::CLONE_NEWUSER as usize]);
    "unshare a mount namespace" [Seccomp: EPERM, Capabilities: EPERM]
        "uncovers what mounts hide" |_| call(c::SYS_unshare, &[c::CLONE_NEWNS as usize]);
    "unshare a network namespace" [Seccomp: EPERM, Capabilities: EPERM]
        "netfilter's bugs" |_| call(c::SYS_unshare, &[c::CLONE_NEWNET as usize]);
    "unshare a time namespace" [Seccomp: EPERM, Capabilities: EPERM]
        "another clock" |_| call(c::SYS_unshare, &[CLONE_NEWTIME]);
    "unshare a cgroup namespace" [Seccomp: EPERM, Capabilities: EPERM]
        "CVE-2022-0492" |_| call(c::SYS_unshare, &[c::CLONE_NEWCGROUP as usize]);
    "clone into a user namespace" [Seccomp: EPERM]
        // With it, CLONE_FS is invalid.
        "opens the kernel's privileged code"
        |_| call(c::SYS_clone, &[(c::CLONE_NEWUSER | c::CLONE_FS) as usize, 0, 0, 0, 0]);
    "clone3" [Seccomp: ENOSYS]
        // A size of 0 is invalid.
        "its flags are behind a pointer" |_| call(c::SYS_clone3, &[0, 0]);
    "setns" [Seccomp: EPERM]
        "another's namespaces" |_| call(c::SYS_setns, &[usize::MAX, 0]);
    "the owner of the user namespace" [Seccomp: EPERM]
        "shows the owner on the host" |_| {
            use std::os::fd::AsRawFd;
            let namespace = std::fs::File::open("/proc/self/ns/user")?;
            call(c::SYS_ioctl, &[namespace.as_raw_fd() as usize, NS_GET_OWNER_UID, at(&0u32)])
        };
    "mount a tmpfs" [Seccomp: EPERM, Landlock: EPERM, Capabilities: EPERM]
        "hides and uncovers" |_| call(c::SYS_mount, &[at(c"none"), at(c"/absent"), at(c"tmpfs"), 0, 0]);
    "unmount a mask" [Seccomp: EPERM, Capabilities: EPERM]
        "uncovers what a mount hides" |_| call(c::SYS_umount2, &[at(c"/absent"), 2]);
    "remount writable" [Seccomp: EPERM, Landlock: EPERM, Capabilities: EPERM]
        "lifts read-only" |_| call(c::SYS_mount, &[0, at(c"/absent"), 0, (c::MS_REMOUNT | c::MS_BIND) as usize, 0]);
    "chroot" [Seccomp: EPERM, Capabilities: EPERM]
        "chroot escapes are a classic" |_| call(c::SYS_chroot, &[at(c"/")]);
    "pivot_root" [Seccomp: EPERM, Landlock: EPERM, Capabilities: EPERM]
        "another root" |_| call(c::SYS_pivot_root, &[at(c"/absent"), at(c"/absent")]);
    "open_tree" [Seccomp: EPERM]
        "copies mounts" |_| call(c::SYS_open_tree, &[c::AT_FDCWD as usize, at(c"/"), 0]);
    "move_mount" [Seccomp: EPERM, Landlock: EPERM, Capabilities: EPERM]
        "moves mounts" |_| call(c::SYS_move_mount, &[usize::MAX, at(c""), usize::MAX, at(c""), 0]);
    "fsopen" [Seccomp: EPERM, Capabilities: EPERM]
        "parsers of filesystems" |_| call(c::SYS_fsopen, &[at(c"absent"), 0]);
    "fsconfig" [Seccomp: EPERM]
        "CVE-2022-0185" |_| call(c::SYS_fsconfig, &[usize::MAX, 99, 0, 0, 0]);
    "mount_setattr" [Seccomp: EPERM, Capabilities: EPERM, Kernel: EPERM|EINVAL|ENOENT]
        "lifts read-only and noexec" |_| call(c::SYS_mount_setattr, &[c::AT_FDCWD as usize, at(c"/absent"), 0, at(&[0u64; 4]), 32]);
    "load a module" [Seccomp: EPERM, Kernel: EPERM]
        "code in the kernel" |_| call(c::SYS_init_module, &[0, 0, 0]);
    "load a module from a file" [Seccomp: EPERM, Kernel: EPERM]
        "code in the kernel" |_| call(c::SYS_finit_module, &[usize::MAX, 0, 0]);
    "unload a module" [Seccomp: EPERM, Kernel: EPERM]
        "takes a driver away" |_| call(c::SYS_delete_module, &[at(c"absent-module"), 0]);
    "load another kernel" [Seccomp: EPERM, Kernel: EPERM]
        "the host" |_| call(c::SYS_kexec_load, &[0, 0, 0, usize::MAX]);
    "reboot" [Seccomp: EPERM, Kernel: EPERM]
        // Wrong magic numbers: invalid even with permission.
        "the host" |_| call(c::SYS_reboot, &[0, 0, 0, 0]);
    "swap on a file" [Seccomp: EPERM, Kernel: EPERM]
        "the host's memory" |_| call(c::SYS_swapon, &[at(c"/absent"), 0]);
    "process accounting" [Seccomp: EPERM, Kernel: EPERM]
        "writes to a file of the host" |_| call(c::SYS_acct, &[at(c"/absent")]);
    "the kernel's log" [Seccomp: EPERM, Kernel: EPERM]
        "addresses" |_| call(c::SYS_syslog, &[10, 0, 0]);
    "I/O ports" [Seccomp: EPERM, Kernel: EPERM]
        "hardware" |_| call(c::SYS_ioperm, &[0, 1, 1]);
    "the privilege level of I/O" [Seccomp: EPERM, Kernel: EPERM]
        "hardware" |_| call(c::SYS_iopl, &[3]);
    "set the clock" [Seccomp: EPERM, Kernel: EPERM]
        "everybody's time" |_| call(c::SYS_settimeofday, &[0, 0]);
    "read the clock's steering" [Seccomp: EPERM]
        "read access implies write access" |_| { let room = std::hint::black_box([0u64; 32]); call(c::SYS_adjtimex, &[at(&room)]) };
    "disk quotas" [Seccomp: EPERM]
        "the host's disks" |_| call(c::SYS_quotactl, &[0, at(c"/absent"), 0, 0]);
    "hang up the terminal" [Seccomp: EPERM, Kernel: EPERM]
        "everybody's terminal" |_| call(c::SYS_vhangup, &[]);
    "bpf" [Seccomp: EPERM, Kernel: EPERM|EINVAL]
        "verifier bugs (CVE-2021-3490)" |_| call(c::SYS_bpf, &[usize::MAX, 0, 0]);
    "open by handle" [Seccomp: EPERM, Kernel: EPERM]
        "the Shocker escape (CVE-2014-3519)" |_| call(c::SYS_open_by_handle_at, &[usize::MAX, 0, 0]);
    "a key of the caller" [Seccomp: EPERM, Keyring: ENOKEY]
        "tokens and passwords" |s| {
            let description = std::ffi::CString::new(s.key.as_bytes())
                .map_err(|e| Stopped::CouldNotRun(e.to_string()))?;
            let session = c::KEY_SPEC_SESSION_KEYRING as isize as usize;
            call(c::SYS_keyctl, &[c::KEYCTL_SEARCH as usize, session, at(c"user"), at(description.as_c_str()), 0])
        };
}
