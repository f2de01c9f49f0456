//! Execution, limits of processes, capabilities.

use super::{attempts, call, execute, unless_absent};
use crate::selftest::{Stopped, plant};
use creel_sys::attempt::{self, at, c};

attempts! { ROWS, "credentials";
    "execute on a noexec mount" [Noexec: EACCES]
        "a grant to read is none to execute" |_| execute(format!("{}/program", plant::NOEXEC));
    "map a noexec mount's file as code" [Noexec: EPERM]
        "start a program that may not be executed through ld.so" |_| {
            use std::os::fd::AsRawFd;
            let file = std::fs::File::open(format!("{}/program", plant::NOEXEC))?;
            Ok(attempt::map(file.as_raw_fd(), 12, c::MAP_PRIVATE, c::PROT_READ | c::PROT_EXEC)?)
        };
    "a capability in the bounding set" [Capabilities: ABSENT]
        "a set-user-ID program could gain it" |_| {
            let has = |n| attempt::call(c::SYS_prctl, &[c::PR_CAPBSET_READ as usize, n, 0, 0, 0]);
            unless_absent((0..64).any(|n| has(n) == Ok(1)))
        };
    "open securebits" [Capabilities: ABSENT]
        "uid 0 would have capabilities again" |_| {
            let bits = attempt::call(c::SYS_prctl, &[c::PR_GET_SECUREBITS as usize, 0, 0, 0, 0])?;
            // NOROOT, NO_SETUID_FIXUP, NO_CAP_AMBIENT_RAISE and their locks, KEEP_CAPS's lock:
            // capabilities(7).
            unless_absent(bits & 0b1110_1111 != 0b1110_1111)
        };
    "any effective capability" [Capabilities: ABSENT, Kernel: ABSENT]
        "root by another name" |_| {
            let counts = creel_sys::caps::counts().ok_or(Stopped::CouldNotRun("capget".into()))?;
            unless_absent(counts[0] + counts[1] + counts[2] + counts[4] != 0)
        };
    "raise an ambient capability" [Capabilities: EPERM, Kernel: EPERM]
        "survives every exec" |_| call(c::SYS_prctl, &[c::PR_CAP_AMBIENT as usize,
            c::PR_CAP_AMBIENT_RAISE as usize, 21, 0, 0]);
    "become root" [Ids: EPERM|EINVAL, Capabilities: EPERM|EINVAL]
        "the jail's root owns its namespaces" |_| call(c::SYS_setresuid, &[0, 0, 0]);
    "become another group" [Ids: EPERM|EINVAL, Capabilities: EPERM|EINVAL]
        "groups own devices" |_| call(c::SYS_setresgid, &[0, 0, 0]);
    "take supplementary groups" [Ids: EPERM, Capabilities: EPERM]
        "groups own devices" |_| call(c::SYS_setgroups, &[1, at(&[0u32])]);
    "give a file away" [Capabilities: EPERM|EINVAL, Kernel: EPERM|EINVAL]
        "the file would seem to belong to another user" |_| {
            std::fs::write("/tmp/given", "")?;
            Ok(std::os::unix::fs::chown("/tmp/given", Some(65534), Some(65534))?)
        };
    "a core dump" [Rlimits: ABSENT]
        "core_pattern runs a program on the host" |_| unless_absent(attempt::limit(c::RLIMIT_CORE)?.1 > 1);
    "a file of 5 GiB" [Rlimits: EFBIG]
        "fills a disk of the host" |_| {
            // Sparse: no block is used.
            let file = std::fs::File::create("/tmp/large")?;
            Ok(file.set_len(5 << 30)?)
        };
    "a POSIX message queue" [Rlimits: EMFILE]
        "kernel memory that no tmpfs limit counts" |_| {
            let name = c"creel-selftest";
            // O_RDWR | O_CREAT; gone with the ipc namespace.
            let flags = (c::O_RDWR | c::O_CREAT) as usize;
            call(c::SYS_mq_open, &[at(name), flags, 0o600, 0])?;
            call(c::SYS_mq_unlink, &[at(name)])
        };
    "lock memory" [Rlimits: ENOMEM]
        "memory that the host cannot page out" |_| {
            let room = vec![1u8; 256 << 10];
            call(c::SYS_mlock, &[room.as_ptr() as usize, room.len()])
        };
    "raise the limit of descriptors" [Rlimits: EPERM, Kernel: EPERM]
        "kernel memory" |_| Ok(attempt::set_limit(c::RLIMIT_NOFILE, 1 << 30, 1 << 30)?);
    "raise the limit of processor time" [Rlimits: EPERM]
        "one process for ever" |_| Ok(attempt::set_limit(c::RLIMIT_CPU, c::RLIM_INFINITY, c::RLIM_INFINITY)?);
    "run in real time" [Kernel: EPERM, Capabilities: EPERM]
        "starves the host" |_| call(c::SYS_sched_setscheduler, &[0, c::SCHED_FIFO as usize, at(&[1i32])]);
    "a better nice value" [Kernel: EACCES|EPERM, Capabilities: EACCES]
        "before everybody else's work" |_| {
            // From the worst value, which every process may take: if creel was started at the best value,
            // nothing would be better than the start.
            call(c::SYS_setpriority, &[0, 0, 19])?;
            call(c::SYS_setpriority, &[0, 0, 18])
        };
}
