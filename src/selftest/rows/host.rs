//! The host: its processes, its ipc, its name, and what the caller passes on.

use super::{attempts, call, read, unless_absent, write};
use crate::selftest::{Stopped, plant};
use creel_sys::attempt::{self, at, c, find_queue};
use creel_sys::process;

attempts! { PROCESSES, "processes";
    "see the outer process by its pid" [PidNamespace: ESRCH]
        "a visible pid can be signalled, traced or read" |s| call(c::SYS_getpgid, &[s.pid as usize]);
    "signal 0 to the outer process" [PidNamespace: ESRCH, Ids: EPERM, Landlock 6: EPERM]
        "a jail could stop its supervisor" |s| call(c::SYS_kill, &[s.pid as usize, 0]);
    "pidfd of the outer process" [PidNamespace: ESRCH]
        "a handle on a process of the host" |s| call(c::SYS_pidfd_open, &[s.pid as usize, 0]);
    "scheduling of the outer process" [PidNamespace: ESRCH]
        "shows the host's processes" |s| call(c::SYS_sched_getscheduler, &[s.pid as usize]);
    "memory of creel's pid 1" [Seccomp: EPERM, NotDumpable: EPERM]
        "pid 1 holds the supervisor's socket" |_| {
            let byte = [0u8; 1];
            let (here, there) = ([at(&byte), 1], [0x40_0000usize, 1]);
            call(c::SYS_process_vm_readv, &[1, at(&here), 1, at(&there), 1, 0])
        };
    "trace creel's pid 1" [Seccomp: EPERM, NotDumpable: EPERM]
        "pid 1 speaks for the jail" |_| call(c::SYS_ptrace, &[c::PTRACE_SEIZE as usize, 1, 0, 0]);
    "take a descriptor of creel's pid 1" [Seccomp: EPERM, NotDumpable: EPERM]
        "its descriptor 3 is the supervisor's socket" |_| {
            let pid1 = attempt::call(c::SYS_pidfd_open, &[1, 0])?;
            call(c::SYS_pidfd_getfd, &[pid1, 3, 0])
        };
}

attempts! { ROWS, "host";
    "a message queue of the host" [IpcNamespace: ENOENT]
        "System V ipc needs no file and no permission that a path rule sees" |s| match s.queue {
            Some(key) => Ok(find_queue(key)?),
            None => Err(Stopped::Errno(creel_sys::Errno::NOENT)),
        };
    "the host's name" [UtsNamespace: ABSENT]
        "names the machine that the jail runs on"
        |s| unless_absent(rustix::system::uname().nodename().to_bytes() == s.hostname.as_bytes());
    "change the host name" [Seccomp: EPERM, Kernel: EPERM]
        "would rename the host if the namespace failed"
        // Sets the host's own name again: without the namespace that changes nothing.
        |s| call(c::SYS_sethostname, &[at(s.hostname.as_str()), s.hostname.len()]);
    "a descriptor that the caller left open" [Descriptors: EBADF]
        "CVE-2024-21626: an inherited directory leads out of any root"
        |s| call(c::SYS_fcntl, &[s.descriptor as usize, c::F_GETFD as usize]);
    "any descriptor above 3" [Descriptors: EBADF]
        "every file that the caller had open" |_| {
            let open = (16..1024).any(|n| attempt::call(c::SYS_fcntl, &[n, c::F_GETFD as usize]).is_ok());
            if open { Ok(()) } else { Err(Stopped::Errno(creel_sys::Errno::BADF)) }
        };
    "a socket among the descriptors" [Descriptors: ABSENT, Kernel: ABSENT]
        // Without this layer creel's own descriptors are still closed at exec.
        "a message on the supervisor's socket can forge the end of the run" |_| {
            let (name, length) = ([0u8; 128], 128u32);
            let arguments = |n| [n, at(&name), at(&length)];
            unless_absent((3..64).any(|n| attempt::call(c::SYS_getsockname, &arguments(n)).is_ok()))
        };
    "a variable of the caller" [Environment: ABSENT]
        "tokens live in the environment" |_| unless_absent(std::env::var_os(plant::VARIABLE).is_some());
    "any variable that looks like a credential" [Environment: ABSENT]
        "tokens live in the environment" |_| unless_absent(std::env::vars_os().any(|(name, _)| {
            let name = name.to_string_lossy().to_uppercase();
            ["TOKEN", "SECRET", "PASSWORD", "API_KEY", "AUTH_SOCK"].iter().any(|word| name.contains(word))
        }));
    "LD_PRELOAD from the caller" [Environment: ABSENT, Kernel: ABSENT]
        "runs the caller's library in the jail" |_| unless_absent(std::env::var_os("LD_PRELOAD").is_some());
    "the caller's terminal" [Session: ENXIO]
        "a terminal takes typed commands (CVE-2017-5226)" |_| read("/dev/tty");
    "the session of the caller" [Session: ABSENT, PidNamespace: ABSENT]
        "a session shares its terminal" |s| {
            let own = process::session_id();
            // In the jail's pid namespace session 1 is creel's, and 0 any session from outside.
            unless_absent(own == s.session && (own > 1 || s.shares_pids))
        };
    "gain privileges by executing" [NoNewPrivileges: ABSENT]
        "a set-user-ID program would have its owner's rights" |_| {
            let set = attempt::call(c::SYS_prctl, &[c::PR_GET_NO_NEW_PRIVS as usize, 0, 0, 0, 0])?;
            unless_absent(set == 0)
        };
    "change creel's binary" [ReadOnly: EACCES|EROFS|ETXTBSY, Landlock: EACCES]
        "CVE-2019-5736: the runtime's own binary, executed by the host next" |s| write(&s.creel);
}
