//! Files that the mounts allow and no Landlock rule does: a writable, executable tmpfs without a rule, and a
//! readable file on the root.

use std::os::unix::net::{UnixDatagram, UnixStream};

use super::{attempts, c_path, call, create, execute, read, write};
use crate::selftest::plant;
use creel_sys::attempt::{at, c};

/// A path in the tmpfs without a rule.
fn free(name: &str) -> String {
    format!("{}/{name}", plant::FREE)
}

attempts! { ROWS, "landlock";
    "read a file on the root" [Landlock: EACCES]
        "the root may be listed, not read" |_| read(plant::FILE);
    "read outside of every rule" [Landlock: EACCES] "a mount is not a grant" |_| read(free("file"));
    "write outside of every rule" [Landlock: EACCES] "a mount is not a grant" |_| write(free("file"));
    "execute outside of every rule" [Landlock: EACCES] "a mount is not a grant" |_| execute(free("program"));
    "truncate outside of every rule" [Landlock 3: EACCES]
        "loss of data that may not be written" |_| {
            let path = c_path(free("file"));
            call(c::SYS_truncate, &[at(path.as_c_str()), 7])
        };
    "make a file outside of every rule" [Landlock: EACCES] "a place to hide" |_| create(free("new"));
    "make a directory outside of every rule" [Landlock: EACCES] "a place to hide"
        |_| Ok(std::fs::create_dir(free("new-dir"))?);
    "make a link outside of every rule" [Landlock: EACCES] "a name that leads elsewhere"
        |_| Ok(std::os::unix::fs::symlink("/", free("new-link"))?);
    "make a fifo outside of every rule" [Landlock: EACCES] "a channel" |_| {
        let path = c_path(free("new-fifo"));
        call(c::SYS_mknod, &[at(path.as_c_str()), c::S_IFIFO as usize | 0o600, 0])
    };
    "make a socket outside of every rule" [Landlock: EACCES] "a channel"
        |_| Ok(std::os::unix::net::UnixListener::bind(free("new-socket")).map(drop)?);
    "remove a directory outside of every rule" [Landlock: EACCES] "loss"
        |_| { let path = c_path(free("dir")); call(c::SYS_rmdir, &[at(path.as_c_str())]) };
    "rename outside of every rule" [Landlock: EACCES] "a trusted name for other contents"
        |_| Ok(std::fs::rename(free("file"), free("file"))?);
    "hard link outside of every rule" [Landlock: EACCES]
        "a second name that a rule covers" |_| Ok(std::fs::hard_link(free("file"), free("file2"))?);
    "connect to a socket of the host in a granted tree" [Landlock 9: EACCES]
        "a socket obeys every client, and no mount flag stops connect(2)"
        |_| Ok(UnixStream::connect(plant::SOCKET).map(drop)?);
    "send to a socket of the host in a granted tree" [Landlock 9: EACCES]
        "a socket obeys every sender, and no mount flag stops sendto(2)"
        |_| Ok(UnixDatagram::unbound()?.send_to(b"", plant::DATAGRAM).map(drop)?);
    "execute what was written to /tmp" [Noexec: EACCES, Landlock: EACCES]
        "a dropped program" |_| {
            use std::os::unix::fs::PermissionsExt;
            std::fs::write("/tmp/dropped", "#!/bin/true\n")?;
            std::fs::set_permissions("/tmp/dropped", std::fs::Permissions::from_mode(0o755))?;
            execute("/tmp/dropped")
        };
}
