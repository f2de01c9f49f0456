//! `/proc`: masked files, read-only files and invisible processes.

use super::{attempts, list, read, unless_absent, write};

attempts! { ROWS, "proc";
    "read /proc/cmdline" [Masks: EACCES] needs "/proc/cmdline" "boot parameters, secrets at times" |_| read("/proc/cmdline");
    "read /proc/diskstats" [Masks: EACCES] needs "/proc/diskstats" "activity of the host's disks" |_| read("/proc/diskstats");
    "read /proc/interrupts" [Masks: EACCES] needs "/proc/interrupts" "keystrokes of the host" |_| read("/proc/interrupts");
    "read /proc/locks" [Masks: EACCES] needs "/proc/locks" "pids and inodes of the host" |_| read("/proc/locks");
    "read /proc/modules" [Masks: EACCES] needs "/proc/modules" "a help to exploits" |_| read("/proc/modules");
    "read /proc/kallsyms" [Masks: EACCES] needs "/proc/kallsyms" "a help to exploits" |_| read("/proc/kallsyms");
    "read /proc/partitions" [Masks: EACCES] needs "/proc/partitions" "disks of the host" |_| read("/proc/partitions");
    "read /proc/keys" [Masks: EACCES] needs "/proc/keys" "keys of the host" |_| read("/proc/keys");
    "read /proc/key-users" [Masks: EACCES] needs "/proc/key-users" "users who have keys" |_| read("/proc/key-users");
    "list /proc/bus" [Masks: EACCES] needs "/proc/bus" "PCI registers" |_| list("/proc/bus");
    "list /proc/driver" [Masks: EACCES] needs "/proc/driver" "hardware" |_| list("/proc/driver");
    "list /proc/fs" [Masks: EACCES] needs "/proc/fs" "mounted filesystems" |_| list("/proc/fs");
    "list /proc/irq" [Masks: EACCES] needs "/proc/irq" "interrupt routing" |_| list("/proc/irq");
    "list /proc/tty" [Masks: EACCES] needs "/proc/tty" "terminals of the host" |_| list("/proc/tty");
    "list /proc/pressure" [Masks: EACCES] needs "/proc/pressure" "load of the host" |_| list("/proc/pressure");
    "list /proc/acpi" [Masks: EACCES] needs "/proc/acpi" "firmware" |_| list("/proc/acpi");
    "list /proc/asound" [Masks: EACCES] needs "/proc/asound" "sound hardware" |_| list("/proc/asound");
    "list /proc/scsi" [Masks: EACCES] needs "/proc/scsi" "removes disks" |_| list("/proc/scsi");
    "read /proc/kcore" [Masks: EACCES|ENOENT, Ids: EACCES] "the kernel's memory" |_| read("/proc/kcore");
    "read /proc/kmsg" [Masks: EACCES|ENOENT, Ids: EACCES] "the kernel's log" |_| read("/proc/kmsg");
    "open /proc/sysrq-trigger" [Masks: EACCES|ENOENT, Ids: EACCES] "reboots the host" |_| write("/proc/sysrq-trigger");
    "open core_pattern" [Masks: EROFS|EACCES, Ids: EACCES] "a program that the host runs" |_| write("/proc/sys/kernel/core_pattern");
    "open modprobe's path" [Masks: EROFS|EACCES|ENOENT, Ids: EACCES] "a program that the host runs" |_| write("/proc/sys/kernel/modprobe");
    "open vm.overcommit_memory" [Masks: EROFS|EACCES, Ids: EACCES] "the host's memory" |_| write("/proc/sys/vm/overcommit_memory");
    "open net.ipv4.ip_forward" [Masks: EROFS|EACCES, Ids: EACCES] "routes" |_| write("/proc/sys/net/ipv4/ip_forward");
    "open kernel.ns_last_pid" [Masks: EROFS] needs "/proc/sys/kernel/ns_last_pid"
        "anybody may open it for writing" |_| write("/proc/sys/kernel/ns_last_pid");
    "see creel's pid 1" [NotDumpable: ENOENT, Ids: ENOENT] "it holds the supervisor's socket" |_| list("/proc/1");
    "memory of pid 1 by /proc" [NotDumpable: ENOENT, Ids: EACCES] "pid 1 speaks for the jail" |_| read("/proc/1/mem");
    "environment of pid 1" [NotDumpable: ENOENT, Ids: EACCES] "the caller's variables" |_| read("/proc/1/environ");
    "root of pid 1" [NotDumpable: ENOENT, Ids: EACCES] "the way out of a chroot" |_| list("/proc/1/root/");
    "descriptors of pid 1" [NotDumpable: ENOENT, Ids: EACCES] "the supervisor's socket" |_| list("/proc/1/fd");
    "a process of the host in /proc" [PidNamespace: ENOENT, NotDumpable: ENOENT]
        "names and arguments of the host's processes" |s| list(format!("/proc/{}", s.pid));
    "the host's path of the jail's cgroup" [CgroupNamespace: ABSENT]
        "names tenants and their neighbours" |_| {
            let groups = std::fs::read_to_string("/proc/self/cgroup")?;
            unless_absent(groups.lines().any(|line| line.starts_with("0::/") && line != "0::/"))
        };
    "the host's mounts" [Root: ABSENT, Kernel: ABSENT]
        "mount points of the host" |_| {
            let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
            unless_absent(mounts.lines().any(|line| line.split(' ').nth(4) == Some("/sys")))
        };
    "network interfaces of the host" [Network: ABSENT]
        needs "/sys/class/net/eth0" "the host's networks" |_| {
            let devices = std::fs::read_to_string("/proc/net/dev")?;
            unless_absent(devices.lines().skip(2).any(|line| !line.trim_start().starts_with("lo:")))
        };
    "sockets of the host in /proc/net/tcp" [Network: ABSENT]
        "peers of the host" |s| {
            let sockets = std::fs::read_to_string("/proc/net/tcp")?;
            unless_absent(sockets.contains(&format!(":{:04X} ", s.port)))
        };
    "the host's root as own user" [Ids: ABSENT]
        "root on the host, although the jail sees another user" |_| {
            let map = std::fs::read_to_string("/proc/self/uid_map")?;
            let mut numbers = map.split_whitespace().skip(1);
            unless_absent(numbers.next() == Some("0"))
        };
    "lower the oom score" [Kernel: EACCES, Masks: EACCES]
        "the host's processes would be killed first" |_| {
            use std::io::Write;
            let mut file = std::fs::OpenOptions::new().write(true).open("/proc/self/oom_score_adj")?;
            Ok(file.write_all(b"-1000")?)
        };
    "another process's uid map" [Kernel: EPERM, Capabilities: EPERM]
        "maps root of the host" |_| {
            use std::io::Write;
            let mut file = std::fs::OpenOptions::new().write(true).open("/proc/self/uid_map")?;
            Ok(file.write_all(b"0 0 1")?)
        };
    "creel's own program by its process" [NotDumpable: ENOENT, Ids: EACCES]
        "CVE-2019-5736" |_| read("/proc/1/exe");
}
