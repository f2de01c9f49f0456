//! flatpak CVE-2024-42472, CVE-2024-32462: a directory that was replaced by a link between runs,
//! and names that a command line takes for options.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use super::{Flipper, refused};
use crate::support::{Run, Who, Workspace};

each!(a_workspace_replaced_by_a_link_is_refused);
fn a_workspace_replaced_by_a_link_is_refused(who: Who) {
    let base = Workspace::new(who);
    base.write("project/mine", "mine\n");
    base.write("victim/secret", "SECRET\n");
    let project = base.path().join("project");
    let run = || Run::new(who, &base).flags([OsStr::new("--workspace"), project.as_os_str()]);
    assert_eq!(run().sh("cat mine").ok().stdout, "mine\n");
    std::fs::rename(&project, base.path().join("moved")).expect("rename");
    std::os::unix::fs::symlink("victim", &project).expect("symlink");
    refused(&run().sh("cat secret"), "is a symbolic link");
}

each!(a_workspace_exchanged_during_the_start_is_the_right_one_or_a_refusal);
fn a_workspace_exchanged_during_the_start_is_the_right_one_or_a_refusal(who: Who) {
    let base = Workspace::new(who);
    base.write("project/mine", "mine\n");
    let victim = base.outside().join("victim");
    std::fs::create_dir(&victim).expect("mkdir");
    std::fs::write(victim.join("secret"), "SECRET\n").expect("write");
    std::os::unix::fs::symlink(&victim, base.path().join("link")).expect("symlink");
    let project = base.path().join("project");
    let flipper = Flipper::start(&project, &base.path().join("link"));
    for _ in 0..20 {
        let ran = Run::new(who, &base)
            .flags([OsStr::new("--workspace"), project.as_os_str()])
            .sh("cat mine secret; ls -a . ..");
        assert!(
            !ran.stdout.contains("SECRET") && !ran.stdout.contains("secret"),
            "{ran:#?}"
        );
        assert!(
            ran.status == 125 || ran.stdout.starts_with("mine\n"),
            "{ran:#?}"
        );
    }
    assert!(flipper.flips() > 1000);
}

each!(hostile_names_are_names);
fn hostile_names_are_names(who: Who) {
    let base = Workspace::new(who);
    let names: [&[u8]; 9] = [
        b"--policy",
        b"--read=etc",
        b"-t",
        b"new\nline",
        b"co:lon",
        b"x:ro:y",
        b"not-\xff\xfe-utf8",
        b"sp ace\ttab",
        b"$(touch pwned);`id`",
    ];
    for name in names {
        let name = OsStr::from_bytes(name);
        let dir = base.path().join(name);
        base.write("marker", "");
        std::fs::create_dir(&dir).expect("mkdir");
        let (uid, gid, _) = who.account();
        std::os::unix::fs::chown(&dir, Some(uid), Some(gid)).expect("chown");
        std::fs::write(dir.join("inside"), "inside\n").expect("write");

        // As a workspace, by path and by `--workspace=NAME`, and as the working directory.
        let flag = [OsStr::new("--workspace"), dir.as_os_str()];
        assert_eq!(
            Run::new(who, &base)
                .flags(flag)
                .sh("cat inside")
                .ok()
                .stdout,
            "inside\n",
            "{name:?}"
        );
        let mut joined = OsString::from("--workspace=");
        joined.push(name);
        assert_eq!(
            Run::new(who, &base)
                .flags([joined])
                .sh("cat inside")
                .ok()
                .stdout,
            "inside\n",
            "{name:?}"
        );
        assert_eq!(
            Run::new(who, &base).cwd(&dir).sh("cat inside").ok().stdout,
            "inside\n",
            "{name:?}"
        );

        // As a grant.
        let other = Workspace::new(who);
        let flags = [OsStr::new("--read"), dir.as_os_str()];
        let ran = Run::new(who, &other).flags(flags).argv([
            OsStr::new("/bin/cat"),
            OsStr::new("--"),
            dir.join("inside").as_os_str(),
        ]);
        assert_eq!(ran.ok().stdout, "inside\n", "{name:?}");

        // As the command and as its arguments: nothing after `--` is creel's.
        let script = dir.join("run");
        std::fs::write(&script, "#!/bin/sh\nprintf '%s|' \"$0\" \"$@\"\n").expect("write");
        std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .expect("chmod");
        let relative = std::path::Path::new(name).join("run");
        let ran = Run::new(who, &base).argv([
            relative.as_os_str(),
            OsStr::new("--policy"),
            name,
            OsStr::new("--"),
        ]);
        let expected = format!("|--policy|{}|--|", name.to_string_lossy());
        assert!(
            ran.status == 0 && ran.stdout.ends_with(&expected),
            "{name:?}: {ran:#?}"
        );
    }
    assert!(!base.path().join("pwned").exists());
    // A name that is not there is an error about that name.
    let ran = Run::new(who, &base).argv(["--version"]);
    assert_eq!((ran.status, ran.stdout.as_str()), (127, ""), "{ran:#?}");
}

each!(a_message_about_a_hostile_name_holds_no_control_character);
fn a_message_about_a_hostile_name_holds_no_control_character(who: Who) {
    let base = Workspace::new(who);
    let ran = Run::new(who, &base)
        .flags(["--workspace", "/no/\x1b]0;owned\x07\x1b[2J/such"])
        .sh(":");
    assert_eq!(ran.status, 125, "{ran:#?}");
    assert!(!ran.stderr.contains(['\x1b', '\x07']), "{ran:#?}");
}
