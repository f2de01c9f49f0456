//! The parts of `/proc` that are hidden from a jail, with a reason per row.
//!
//! The pid namespace and `hidepid` cover processes; these files describe the host. Files that only the
//! host's root may open (`kcore`, `kmsg`, `kpagecount`, `slabinfo`, `sysrq-trigger`, `timer_list`, ...) are
//! not listed: no id of a jail is that root, and each mask is a mount that every run pays for.

use super::Node;

/// A path under `/proc`, its type, and what it would reveal.
pub const MASKS: &[(&str, Node, &str)] = &[
    (
        "acpi",
        Node::Directory,
        "firmware of the host; wakeup is a switch",
    ),
    ("asound", Node::Directory, "sound hardware of the host"),
    (
        "buddyinfo",
        Node::File,
        "free memory of the host by size, a side channel and a help to exploits",
    ),
    (
        "bus",
        Node::Directory,
        "PCI and input devices of the host, with their registers",
    ),
    (
        "cmdline",
        Node::File,
        "the host's boot parameters, secrets among them at times",
    ),
    (
        "config.gz",
        Node::File,
        "configuration of the host's kernel, a help to exploits",
    ),
    (
        "diskstats",
        Node::File,
        "activity of the host's disks, a side channel",
    ),
    ("driver", Node::Directory, "hardware of the host"),
    (
        "fs",
        Node::Directory,
        "mounted filesystems of the host, with switches",
    ),
    (
        "interrupts",
        Node::File,
        "keystroke and network timing of the host",
    ),
    (
        "irq",
        Node::Directory,
        "interrupt routing of the host, with switches",
    ),
    (
        "kallsyms",
        Node::File,
        "the kernel's symbols, a help to exploits",
    ),
    ("key-users", Node::File, "users of the host who have keys"),
    ("keys", Node::File, "descriptions of the host's keys"),
    ("latency_stats", Node::File, "kernel activity of the host"),
    (
        "locks",
        Node::File,
        "pids and inodes of the host that hold locks",
    ),
    (
        "modules",
        Node::File,
        "modules of the host's kernel, a help to exploits",
    ),
    ("partitions", Node::File, "disks of the host"),
    (
        "pressure",
        Node::Directory,
        "load of the host, a side channel",
    ),
    (
        "scsi",
        Node::Directory,
        "disks of the host; removing them is a write here",
    ),
    (
        "softirqs",
        Node::File,
        "network and timer activity of the host",
    ),
    (
        "sys/kernel/random/boot_id",
        Node::File,
        "identity of the host and of its boot",
    ),
    (
        "tty",
        Node::Directory,
        "terminals of the host and who uses them",
    ),
    (
        "zoneinfo",
        Node::File,
        "free memory of the host by zone, a side channel",
    ),
];

/// Paths under `/proc` that are read-only for every process, whatever the modes of their files.
pub const READ_ONLY: &[(&str, &str)] = &[("sys", "kernel parameters, core_pattern among them")];
