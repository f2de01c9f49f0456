//! The caller's stdin is the one descriptor of the host in a jail: it is what it is, and no way to
//! more of the file behind it.

use std::os::unix::fs::PermissionsExt;

use crate::attacks::{answers, become_who, script};
use crate::support::{Run, Who, Workspace};

const WRITE: &str = r#"
import fcntl
say('write', py(os.write, 0, b'x'))
say('reopen', opened('/proc/self/fd/0', os.O_RDWR))
say('reopen_dev', opened('/dev/stdin', os.O_WRONLY | os.O_TRUNC))
say('truncate', py(os.ftruncate, 0, 0))
say('read', os.read(0, 8))
say('mode', py(os.fchmod, 0, 0o640))
"#;

#[test]
fn a_file_on_stdin_cannot_be_opened_again_for_more() {
    for who in Who::all() {
        let workspace = Workspace::new(who);
        let file = workspace.outside().join("input");
        std::fs::write(&file, "precious").expect("write");
        let (uid, gid, _) = who.account();
        std::os::unix::fs::chown(&file, Some(uid), Some(gid)).expect("chown");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).expect("chmod");
        let mut command =
            Run::new(who, &workspace).command(["/usr/bin/python3", "-c", &script(WRITE)]);
        let output = command
            .stdin(std::fs::File::open(&file).expect("open"))
            .output()
            .expect("creel starts");
        let got = answers(&String::from_utf8_lossy(&output.stdout));
        got.expect(&[
            ("write", "EBADF"),
            ("reopen", "EACCES"),
            ("reopen_dev", "EACCES"),
            ("truncate", "EINVAL"),
        ]);
        got.expect(&[("read", "b'precious'")]);
        // Known gap: in a rootless jail, whose id is the caller's, an owner's fchmod works through
        // any descriptor. Where the jail has ids of its own it does not.
        got.expect(&[("mode", if who == Who::Root { "EPERM" } else { "OK" })]);
        assert_eq!(
            std::fs::read_to_string(&file).expect("readable"),
            "precious"
        );

        let mut control = std::process::Command::new("/usr/bin/python3");
        control.args(["-c", &script(WRITE)]);
        become_who(&mut control, who);
        let output = control
            .stdin(std::fs::File::open(&file).expect("open"))
            .output()
            .expect("python3");
        answers(&String::from_utf8_lossy(&output.stdout)).expect(&[
            ("reopen", "OK"),
            ("reopen_dev", "OK"),
            ("mode", "OK"),
        ]);
    }
}
