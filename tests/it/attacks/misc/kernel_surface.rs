//! System calls and socket families that a jail does not have, and the foreign entries to all others.

use crate::attacks::{attack, outside};
use crate::support::{Run, Who, Workspace, need};

/// Name, expression, answer in the jail. Arguments are nonsense that a kernel which gets to see them
/// refuses in another way: nothing happens where a denial is missing.
const CALLS: &[(&str, &str, &str)] = &[
    ("bpf", "sc(321, 0xffff, 0, 0)", "EPERM"),
    ("perf_event_open", "sc(298, 0, 0, -1, -1, 0)", "EPERM"),
    ("userfaultfd", "sc(323, 0xdead)", "EPERM"),
    ("io_uring_setup", "sc(425, 0, 0)", "ENOSYS"),
    ("io_uring_enter", "sc(426, -1, 0, 0, 0, 0, 0)", "ENOSYS"),
    ("io_uring_register", "sc(427, -1, 0, 0, 0)", "ENOSYS"),
    ("keyctl", "sc(250, 9999, 0, 0, 0, 0)", "EPERM"),
    ("keyctl_read_session", "sc(250, 0, -3, 0, 0, 0)", "EPERM"),
    ("add_key", "sc(248, 0, 0, 0, 0, 0)", "EPERM"),
    ("request_key", "sc(249, 0, 0, 0, 0)", "EPERM"),
    ("open_by_handle_at", "sc(304, -1, 0, 0)", "EPERM"),
    ("name_to_handle_at", "sc(303, -1, 0, 0, 0, 0)", "EPERM"),
    ("ptrace_traceme", "sc(101, 0, 0, 0, 0)", "EPERM"),
    (
        "process_vm_readv",
        "sc(310, os.getpid(), 0, 0, 0, 0, 9)",
        "EPERM",
    ),
    ("pidfd_getfd", "sc(438, -1, 0, 0)", "EPERM"),
    (
        "kcmp",
        "sc(312, os.getpid(), os.getpid(), 99, 0, 0)",
        "EPERM",
    ),
    ("kexec_load", "sc(246, 0, 0, 0, 0xff)", "EPERM"),
    ("init_module", "sc(175, 0, 0, 0)", "EPERM"),
    ("finit_module", "sc(313, -1, 0, 0)", "EPERM"),
    ("delete_module", "sc(176, 0, 0)", "EPERM"),
    ("mount", "sc(165, 0, 0, 0, 0, 0)", "EPERM"),
    ("umount2", "sc(166, b'/nonexistent', 0xff00)", "EPERM"),
    ("pivot_root", "sc(155, 0, 0)", "EPERM"),
    ("open_tree", "sc(428, -1, 0, 0xff)", "EPERM"),
    ("move_mount", "sc(429, -1, 0, -1, 0, 0xffff)", "EPERM"),
    ("fsopen", "sc(430, b'tmpfs', 0xff)", "EPERM"),
    ("fspick", "sc(433, -1, 0, 0xffff)", "EPERM"),
    ("mount_setattr", "sc(442, -1, 0, 0xffff, 0, 0)", "EPERM"),
    ("open_tree_attr", "sc(467, -1, 0, 0xff, 0, 0)", "EPERM"),
    ("statmount", "sc(457, 0, 0, 0, 0xff)", "ENOSYS"),
    ("listmount", "sc(458, 0, 0, 0, 0xff)", "ENOSYS"),
    ("chroot", "sc(161, b'/nonexistent')", "EPERM"),
    ("swapon", "sc(167, 0, -1)", "EPERM"),
    ("swapoff", "sc(168, 0)", "EPERM"),
    ("reboot", "sc(169, 0, 0, 0, 0)", "EPERM"),
    ("acct", "sc(163, b'/nonexistent/x')", "EPERM"),
    ("settimeofday", "sc(164, 1, 1)", "EPERM"),
    ("clock_settime", "sc(227, 99, 0)", "EPERM"),
    ("adjtimex", "sc(159, 0)", "EPERM"),
    ("sethostname", "sc(170, 0, -1)", "EPERM"),
    ("setdomainname", "sc(171, 0, -1)", "EPERM"),
    ("iopl", "sc(172, 9)", "EPERM"),
    ("ioperm", "sc(173, 70000, 1, 1)", "EPERM"),
    ("modify_ldt", "sc(154, 99, 0, 0)", "EPERM"),
    ("quotactl", "sc(179, -1, 0, 0, 0)", "EPERM"),
    ("syslog", "sc(103, 99, 0, 0)", "EPERM"),
    ("fanotify_init", "sc(300, 0xffffffff, 0)", "EPERM"),
    (
        "personality_read_implies_exec",
        "sc(135, 0x400000)",
        "EPERM",
    ),
    ("personality_linux32", "sc(135, 8)", "EPERM"),
    ("mbind", "sc(237, 1, 0, 0, 0, 0, 0xff)", "EPERM"),
    ("move_pages", "sc(279, 0, 0, 0, 0, 0, 0xff)", "EPERM"),
    ("process_madvise", "sc(440, -1, 0, 0, 0, 0)", "EPERM"),
    ("process_mrelease", "sc(448, -1, 0)", "EPERM"),
    ("seccomp_listener", "sc(317, 1, 8, 0)", "EPERM"),
    ("madv_mergeable", "sc(28, 0, 0, 12)", "EINVAL"),
    ("memfd_secret", "sc(447, 0xff)", "ENOSYS"),
    ("tcp_ulp", "sc(54, -1, 6, 31, b'tls', 3)", "EPERM"),
    ("msg_oob", "sc(44, -1, b'x', 1, 1, 0, 0)", "EPERM"),
    ("socket_alg", "sc(41, 38, 5, 0)", "EAFNOSUPPORT"),
    ("socket_vsock", "sc(41, 40, 1, 0)", "EAFNOSUPPORT"),
    ("socket_packet", "sc(41, 17, 3, 0)", "EAFNOSUPPORT"),
    ("socket_key", "sc(41, 15, 3, 2)", "EAFNOSUPPORT"),
    ("socket_can", "sc(41, 29, 3, 1)", "EAFNOSUPPORT"),
    ("socket_bluetooth", "sc(41, 31, 3, 1)", "EAFNOSUPPORT"),
    ("socket_tipc", "sc(41, 30, 1, 0)", "EAFNOSUPPORT"),
    ("socket_xdp", "sc(41, 44, 3, 0)", "EAFNOSUPPORT"),
    ("socket_raw", "sc(41, 2, 3, 1)", "EPERM"),
    ("socket_raw6", "sc(41, 10, 3, 58)", "EPERM"),
    ("socket_ping", "sc(41, 2, 2, 1)", "EACCES"),
    ("socket_sctp", "sc(41, 2, 1, 132)", "EINVAL"),
    ("socket_mptcp", "sc(41, 2, 1, 262)", "EINVAL"),
    ("netlink_netfilter", "sc(41, 16, 3, 12)", "EAFNOSUPPORT"),
    ("netlink_uevent", "sc(41, 16, 3, 15)", "EAFNOSUPPORT"),
    ("netlink_audit", "sc(41, 16, 3, 9)", "EAFNOSUPPORT"),
    ("netlink_generic", "sc(41, 16, 3, 16)", "EAFNOSUPPORT"),
    (
        "socket_high_bits",
        "sc(41, 38 | 1 << 32, 5, 0)",
        "EAFNOSUPPORT",
    ),
    ("unknown", "sc(400)", "ENOSYS"),
    ("future", "sc(600)", "ENOSYS"),
];

each!(what_a_jail_needs_not_it_has_not);
fn what_a_jail_needs_not_it_has_not(who: Who) {
    let body: String = CALLS
        .iter()
        .map(|(name, call, _)| format!("say({name:?}, {call})\n"))
        .collect();
    let workspace = Workspace::new(who);
    let got = attack(Run::new(who, &workspace), &body);
    for (name, _, answer) in CALLS {
        assert_eq!(got.of(name), *answer, "{name}");
    }
    if who == Who::Root {
        // The kernel has most of these, and answers the same nonsense otherwise.
        let free = outside(who, &workspace.path(), &body);
        let same: Vec<_> = CALLS
            .iter()
            .filter(|(name, _, answer)| free.of(name) == *answer)
            .map(|c| c.0)
            .collect();
        assert!(
            same.len() < CALLS.len() / 3,
            "the control proves nothing: {same:?}"
        );
        for must in [
            "bpf",
            "mount",
            "umount2",
            "open_by_handle_at",
            "setns",
            "reboot",
            "ptrace_traceme",
            "keyctl",
        ] {
            assert!(!same.contains(&must), "{must}");
        }
    }
    // Calls that programs do need work.
    attack(
        Run::new(who, &workspace),
        "say('unix', sc(41, 1, 1, 0))\nsay('tcp', sc(41, 2, 1, 6))\nsay('udp6', sc(41, 10, 2, 0))\nsay('route', sc(41, 16, 3, 0))\nsay('memfd', sc(319, b'x', 0))",
    )
    .expect(&[("unix", "OK"), ("tcp", "OK"), ("udp6", "OK"), ("route", "OK"), ("memfd", "OK")]);
}

each!(the_entries_of_other_abis_kill);
fn the_entries_of_other_abis_kill(who: Who) {
    const SOURCE: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <errno.h>
#include <unistd.h>
int main(int argc, char **argv) {
    long answer = -1;
    printf("start\n"); fflush(stdout);
    if (atoi(argv[1]) == 32)
        __asm__ volatile("int $0x80" : "=a"(answer) : "a"(20) : "memory", "r8", "r9", "r10", "r11");
    else
        answer = syscall(0x40000000 + 39);
    printf("answer %ld %d\n", answer, answer == -1 ? errno : 0);
    return 0;
}
"#;
    let workspace = Workspace::new(who);
    let source = workspace.write("abi.c", SOURCE);
    let program = workspace.path().join("abi");
    let done = std::process::Command::new(need("gcc"))
        .arg("-o")
        .arg(&program)
        .arg(&source)
        .status()
        .expect("gcc");
    assert!(done.success());
    for entry in ["32", "x32"] {
        let ran = Run::new(who, &workspace).argv(["./abi", entry]);
        if entry == "x32" {
            assert_eq!(ran.stdout, "start\nanswer -1 38\n", "ENOSYS: {ran:#?}");
            continue;
        }
        assert_eq!(
            (ran.kind(), &ran.verdict["signal"]),
            ("signaled", &"SIGSYS".into()),
            "{entry}: {ran:#?}"
        );
        assert_eq!(ran.stdout, "start\n");
        let free = std::process::Command::new(&program)
            .arg(entry)
            .output()
            .expect("it starts");
        assert!(
            String::from_utf8_lossy(&free.stdout).contains("answer"),
            "the control: {free:#?}"
        );
    }
}

each!(options_are_refused_at_each_level_that_takes_them);
/// A rule by level and option is one for each level at which the kernel takes that option: it takes those of
/// UDP at UDP-Lite's level too. Flow labels are a budget of the whole host.
fn options_are_refused_at_each_level_that_takes_them(who: Who) {
    let body = r#"
import socket, struct
datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for level in (17, 136):
    say(f'encap_{level}', py(datagrams.setsockopt, level, 100, 2))
six = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
label = bytes(15) + b'\1' + struct.pack('=IBBHHHI', 0, 0, 1, 1, 6, 6, 0)
say('label', py(six.setsockopt, 41, 32, label))
say('other', py(six.setsockopt, 41, 26, 1))
"#;
    let workspace = Workspace::new(who);
    let got = attack(Run::new(who, &workspace), body);
    for name in ["encap_17", "encap_136", "label"] {
        got.expect(&[(name, "EPERM")]);
    }
    got.expect(&[("other", "OK")]);
    // The control: the kernel takes all of them, where it has the code.
    let got = outside(who, &workspace.path(), body);
    got.expect(&[("encap_136", got.of("encap_17")), ("label", "OK")]);
    assert_ne!(got.of("encap_17"), "EPERM", "{got:#?}");
}
