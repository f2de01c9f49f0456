//! Files of the host, and the jail's own tree.

use std::path::{Path, PathBuf};

use super::{attempts, create, list, read, unless_absent, write};
use crate::selftest::plant;

/// The control groups that the jail sees.
fn groups() -> impl Iterator<Item = PathBuf> {
    let place = Path::new("/sys/fs/cgroup");
    let hierarchies = std::fs::read_dir(place).into_iter().flatten().flatten();
    let all = hierarchies.map(|entry| entry.path()).chain([place.into()]);
    all.filter(|group| group.join("cgroup.procs").exists())
}

attempts! { ROWS, "files";
    "read a file of the host by its path" [Root: ENOENT]
        "paths without a grant do not exist" |s| read(&s.outside);
    // Without this layer the socket is granted by its path, which Landlock lets through as well.
    "connect to a socket file of the host" [Root: ENOENT]
        "D-Bus, docker, ssh-agent: a socket obeys every client"
        |s| Ok(std::os::unix::net::UnixStream::connect(&s.socket).map(drop)?);
    "the host's root as own root" [Root: ABSENT, Kernel: ABSENT]
        "the jail's root is an empty tmpfs"
        // Weakening this layer leaves the jail's own root: this stays denied.
        |s| unless_absent(rustix::fs::stat("/").is_ok_and(|r| (r.st_dev, r.st_ino) == s.host_root));
    "leave the root by .." [Root: ABSENT, Kernel: ABSENT]
        "the classic of chroot escapes" |s| {
            let up = rustix::fs::stat("/../../../../../..").map(|r| (r.st_dev, r.st_ino))?;
            unless_absent(up == s.host_root)
        };
    "/etc/shadow" [Root: ENOENT, Landlock: EACCES] "password hashes" |_| read("/etc/shadow");
    "/etc/sudoers" [Root: ENOENT, Landlock: EACCES] "lists the users who may become root" |_| read("/etc/sudoers");
    "/etc/ssh" [Root: ENOENT, Landlock: EACCES] "host keys" |_| list("/etc/ssh");
    "/etc/machine-id" [Root: ENOENT, Landlock: EACCES] "names the host for ever" |_| read("/etc/machine-id");
    "~/.ssh" [Root: ENOENT, Landlock: EACCES] "private keys" |s| list(s.home.join(".ssh"));
    "~/.aws/credentials" [Root: ENOENT, Landlock: EACCES] "cloud keys" |s| read(s.home.join(".aws/credentials"));
    "/sys/class" [Root: ENOENT, Landlock: EACCES] "the host's devices" |_| list("/sys/class");
    "a control group beside the jail's own" [Root: ABSENT, Kernel: ABSENT]
        "CVE-2022-0492: release_agent runs on the host" |_| unless_absent(groups().any(|group| {
            let below = std::fs::read_dir(&group).into_iter().flatten().flatten();
            group.join("release_agent").exists()
                || below.into_iter().any(|entry| entry.path().join("cgroup.procs").exists())
        }));
    "the jail's own control groups for writing" [ReadOnly: EROFS|EACCES|ENOENT, Landlock: EACCES, Ids: EACCES]
        "write access removes every limit" |_| groups()
            .map(|group| write(group.join("cgroup.procs")))
            .find(Result::is_ok)
            .unwrap_or_else(|| write("/sys/fs/cgroup/cgroup.procs"));
    "/sys/kernel/security" [Root: ENOENT, Landlock: EACCES] "switches of security modules" |_| list("/sys/kernel/security");
    "/boot" [Root: ENOENT, Landlock: EACCES] "kernels and their symbols" |_| list("/boot");
    "/var/log" [Root: ENOENT, Landlock: EACCES] "logs of the host" |_| list("/var/log");
    "/var/run/docker.sock" [Root: ENOENT, Landlock: EACCES] "root on the host" |_| read("/var/run/docker.sock");
    "/run/systemd" [Root: ENOENT, Landlock: EACCES] "the host's service manager" |_| list("/run/systemd");
    "/run/user" [Root: ENOENT, Landlock: EACCES] "session buses and agents" |_| list("/run/user");
    "/run/creel" [Root: ENOENT, Landlock: EACCES] "creel's own state" |_| list("/run/creel");
    "/lib/modules for writing" [Root: EROFS|EACCES|ENOENT, ReadOnly: EROFS, Landlock: EACCES]
        "modules that the host's kernel loads" |_| create("/lib/modules/creel-selftest");
    "/dev/mem" [Root: ENOENT, Landlock: EACCES] "the machine's memory" |_| read("/dev/mem");
    "/dev/kmsg" [Root: ENOENT, Landlock: EACCES] "the kernel's log" |_| read("/dev/kmsg");
    "/dev/kvm" [Root: ENOENT, Landlock: EACCES] "the hypervisor" |_| read("/dev/kvm");
    "/dev/fuse" [Root: ENOENT, Landlock: EACCES] "filesystems that lie" |_| read("/dev/fuse");
    "/dev/net/tun" [Root: ENOENT, Landlock: EACCES] "packets past every rule" |_| read("/dev/net/tun");
    "/dev/vda" [Root: ENOENT, Landlock: EACCES] "the host's disk" |_| read("/dev/vda");
    "/dev/console" [Root: ENOENT, Landlock: EACCES] "the host's console" |_| write("/dev/console");
    "write to a read-only grant" [ReadOnly: EROFS]
        "a grant to read is none to write" |_| write("/run/selftest/readonly/file");
    "make a file in a read-only grant" [ReadOnly: EROFS]
        "a grant to read is none to write" |_| create("/run/selftest/readonly/new");
    "write to /usr" [ReadOnly: EROFS|EACCES, Landlock: EACCES, Ids: EACCES]
        "programs that the host runs" |_| create("/usr/creel-selftest");
    "make a file on the root" [Seal: EROFS|EACCES, Landlock: EACCES, Ids: EACCES]
        "the root's few files are the jail's identity" |_| create("/creel-selftest");
    "make a file in an open directory of the root" [Seal: EROFS]
        "no other limit bounds its inodes" |_| create(format!("{}/new", plant::OPEN));
    "replace /etc/passwd" [Seal: EROFS|EACCES, Landlock: EACCES, Ids: EACCES]
        "decides the name of the jail's user" |_| write("/etc/passwd");
    "replace /dev/null" [Seal: EROFS|EACCES, Landlock: EACCES, Ids: EACCES]
        "CVE-2025-31133: a runtime that trusts the name" |_| Ok(std::fs::remove_file("/dev/null")?);
    "make a device of the workspace" [Seccomp: EPERM, Kernel: EPERM]
        "a device node is the device" |s| {
            use creel_sys::attempt::{at, c};
            let path = super::c_path(s.workspace.join("device"));
            // The numbers of /dev/null.
            super::call(c::SYS_mknod, &[at(path.as_c_str()), c::S_IFCHR as usize | 0o666, 0x103])
        };
}
