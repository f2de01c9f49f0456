//! Somebody's chroot below `/tmp`, with a `proc` of its own. It is mounted in a namespace of the test's.

use std::path::Path;
use std::process::Command;

use super::text;
use crate::support::{Who, Workspace, binary, has_cgroups, is_root, need};

each!(a_proc_below_the_jails_own_tmp_refuses_nothing);
fn a_proc_below_the_jails_own_tmp_refuses_nothing(who: Who) {
    need("unshare");
    need("setpriv");
    if !is_root() {
        eprintln!("skipped: only root mounts a proc");
        return;
    }
    let (uid, gid, home) = who.account();
    let workspace = Workspace::new(who);
    let (work, chroot) = (workspace.path(), workspace.outside().join("root"));
    workspace.write("sub/proc/x", "");
    std::fs::create_dir_all(chroot.join("proc")).expect("mkdir");
    assert!(chroot.starts_with("/tmp"), "{chroot:?}");
    let run = |mounted: &Path, flags: &[&str]| {
        let words = "mount -t proc none \"$1\"; uid=$2 gid=$3; shift 3; \
                     exec setpriv --reuid $uid --regid $gid --clear-groups \"$@\"";
        let mut shell = Command::new("unshare");
        shell.args(["-m", "--propagation", "private", "bash", "-ec", words]);
        shell.arg("bash").arg(mounted);
        shell.args([uid.to_string(), gid.to_string()]);
        shell.arg(binary()).arg("run").args(flags);
        if !has_cgroups(who) {
            shell.args(["--allow-degraded", "cgroup"]);
        }
        shell.args(["--", "/bin/sh", "-c", "echo ran"]);
        shell.env("HOME", &home).current_dir(&work);
        shell.output().expect("unshare runs")
    };
    let below_tmp = chroot.join("proc");
    for preset in ["coding", "python", "node"] {
        let output = run(&below_tmp, &["--policy", preset]);
        assert_eq!(text(&output.stdout), "ran\n", "{who:?} {output:?}");
    }
    // A tree of the host comes with the mounts in it.
    let path = chroot.display().to_string();
    let whole = ["--workspace", "/tmp:ro"];
    for refused in [
        run(&work.join("sub/proc"), &["--policy", "default"]),
        run(&below_tmp, &["--read", &path]),
        run(&below_tmp, &["--policy", "coding", "--read", &path]),
        run(&below_tmp, &whole),
    ] {
        assert_eq!(refused.status.code(), Some(125), "{who:?} {refused:?}");
        let said = text(&refused.stderr);
        assert!(said.contains("is a proc filesystem of the host"), "{said}");
    }
}
