//! CVE-2025-52881, CVE-2019-19921: a write that was meant for the kernel goes to a file, because
//! `/proc` is not procfs. creel checks the filesystem's magic and that nothing lies over a file.

use super::in_own_mounts;
use crate::support::{Run, Who, Workspace};

/// Answers creel's questions as far as files can.
const FAKE: &str = r#"
mount -t tmpfs -o mode=755 none /mnt
mkdir -p /mnt/self/task/1 /mnt/self/fd /mnt/net
cp /proc/self/mounts /mnt/self/mounts
for p in $(seq $$ $(($$ + 200))); do mkdir -p /mnt/$p/ns; for f in uid_map gid_map setgroups; do echo > /mnt/$p/$f; chmod 666 /mnt/$p/$f; done; done
"#;

each!(a_false_proc_is_refused);
fn a_false_proc_is_refused(who: Who) {
    let workspace = Workspace::new(who);
    for (setup, status) in [("", 0), ("mount --move /mnt /proc", 125)] {
        let setup = format!("{FAKE}{setup}");
        let run = Run::new(who, &workspace);
        let Some(output) = in_own_mounts(who, &run, &setup, &["/bin/echo", "ran"]) else {
            return;
        };
        assert_eq!(output.status.code(), Some(status), "{output:#?}");
        assert_eq!(output.stdout.is_empty(), status != 0, "{output:#?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(
            said.contains("not the kernel's procfs"),
            status != 0,
            "{output:#?}"
        );
    }
}

each!(a_file_of_proc_that_something_lies_over_is_refused);
fn a_file_of_proc_that_something_lies_over_is_refused(who: Who) {
    let workspace = Workspace::new(who);
    // A link makes creel ask /proc/self/fd where it leads.
    std::os::unix::fs::symlink("/usr/share", workspace.outside().join("link")).expect("symlink");
    let link = workspace.outside().join("link");
    for (setup, status) in [(":", 0), ("mount -t tmpfs none /proc/$$/fd", 125)] {
        let run =
            Run::new(who, &workspace).flags([std::ffi::OsStr::new("--read"), link.as_os_str()]);
        let Some(output) = in_own_mounts(who, &run, setup, &["/bin/echo", "ran"]) else {
            return;
        };
        assert_eq!(output.status.code(), Some(status), "{output:#?}");
    }
}
