//! CVE-2021-30465: somebody who can write in a granted tree exchanges a directory and a symbolic
//! link while mounts are placed in it. And its slow form: the jail itself puts another directory
//! where the next run expects the denied one.

use std::path::Path;

use super::{Flipper, policy};
use crate::support::{Run, Who, Workspace};

/// A workspace in which `a/b/secret` must not be read, and something to exchange `a` for.
fn prepared(who: Who) -> Workspace {
    let workspace = Workspace::new(who);
    workspace.write("a/b/secret", "INNER-SECRET\n");
    workspace.write("a/b/c/file", "fine\n");
    workspace.write("decoy/b/secret", "DECOY-FILE\n");
    workspace.write("decoy/b/c/file", "decoy\n");
    let outside = workspace.outside().join("outside");
    std::fs::create_dir_all(outside.join("b/c")).expect("mkdir");
    std::fs::write(outside.join("b/secret"), "OUTER-SECRET\n").expect("write");
    std::fs::write(outside.join("b/c/file"), "OUTER-SECRET\n").expect("write");
    std::os::unix::fs::symlink(&outside, workspace.path().join("link")).expect("symlink");
    workspace
}

const LOOK: &str = "i=0; while [ $i -lt 15 ]; do i=$((i+1)); \
    for d in a link decoy; do while read -r l; do echo \"$l\"; done 2>/dev/null < $d/b/secret; done; done; \
    cat a/b/secret link/b/secret decoy/b/secret a/b/c/file; ls -R . ; :";

each!(mounts_land_where_they_were_meant_or_the_run_is_refused);
fn mounts_land_where_they_were_meant_or_the_run_is_refused(who: Who) {
    let mut flips = 0;
    let (mut ran_through, mut refused) = (0, 0);
    for other in ["link", "decoy"] {
        let workspace = prepared(who);
        let denying = policy(&workspace, "deny = [\"$WORKSPACE/a/b/secret\"]");
        let nested = workspace.path().join("a/b/c");
        let flipper = Flipper::start(&workspace.path().join("a"), &workspace.path().join(other));
        for _ in 0..12 {
            let flags = [std::ffi::OsStr::new("--read"), nested.as_os_str()];
            let ran = Run::new(who, &workspace)
                .policy(&denying)
                .flags(flags)
                .sh(LOOK);
            assert!(
                !ran.stdout.contains("OUTER-SECRET"),
                "a mount from outside: {ran:#?}"
            );
            match ran.status {
                0 => {
                    ran_through += 1;
                    // The plan was made for what had the name; with two directories that may be
                    // either, and that one stays covered wherever it goes.
                    let both =
                        ran.stdout.contains("INNER-SECRET") && ran.stdout.contains("DECOY-FILE");
                    assert!(
                        !ran.stdout.contains("INNER-SECRET") || other == "decoy" && !both,
                        "{ran:#?}"
                    );
                }
                125 => refused += 1,
                // Swapped while it ran, and not to be covered again.
                126 if ran.kind() == "denied" => refused += 1,
                _ => panic!("neither a run nor a refusal: {ran:#?}"),
            }
        }
        // Slow machines flip on until there were many.
        while flipper.flips() < 30_000 {
            std::thread::yield_now();
        }
        flips += flipper.flips();
    }
    eprintln!("{flips} flips, {ran_through} runs, {refused} refusals");
}

each!(without_a_race_the_denied_file_is_denied_and_only_it);
fn without_a_race_the_denied_file_is_denied_and_only_it(who: Who) {
    let workspace = prepared(who);
    let denying = policy(&workspace, "deny = [\"$WORKSPACE/a/b/secret\"]");
    let ran = Run::new(who, &workspace)
        .policy(&denying)
        .sh("cat a/b/secret; cat decoy/b/secret a/b/c/file");
    assert_eq!(ran.stdout, "DECOY-FILE\nfine\n", "{ran:#?}");
    assert!(ran.stderr.contains("Permission denied"), "{ran:#?}");
    let allowing = policy(&workspace, "deny = []");
    let ran = Run::new(who, &workspace)
        .policy(&allowing)
        .sh("cat a/b/secret")
        .ok();
    assert_eq!(ran.stdout, "INNER-SECRET\n");
}

each!(a_jail_cannot_move_a_denied_file_out_of_the_way_of_the_next_run);
fn a_jail_cannot_move_a_denied_file_out_of_the_way_of_the_next_run(who: Who) {
    let workspace = prepared(who);
    let denying = policy(&workspace, "deny = [\"$WORKSPACE/a/b/secret\"]");
    let moves = "mv a c 2>&1; mv a/b a/c2 2>&1; mv a/b/secret a/b/s 2>&1; rm -f a/b/secret 2>&1; mv -T decoy a 2>&1; \
        python3 -c 'import os; os.rename(\"a\", \"c\")' 2>&1; \
        python3 -c 'import ctypes; l = ctypes.CDLL(None, use_errno=True); print(l.renameat2(-100, b\"a\", -100, b\"decoy\", 2), ctypes.get_errno())'";
    let ran = Run::new(who, &workspace).policy(&denying).sh(moves);
    assert!(ran.stdout.contains("Device or resource busy"), "{ran:#?}");
    assert!(
        ran.stdout.contains("-1 16\n"),
        "EBUSY for an exchange: {ran:#?}"
    );
    let ran = Run::new(who, &workspace)
        .policy(&denying)
        .sh("cat a/b/secret c/b/secret; touch a/new a/b/new && rm a/new a/b/new");
    assert_eq!((ran.status, ran.stdout.as_str()), (0, ""), "{ran:#?}");
    // A directory that is not above a denied file moves as ever, and without the rule so does this.
    Run::new(who, &workspace)
        .policy(&denying)
        .sh("mv decoy d && mv d decoy")
        .ok();
    let allowing = policy(&workspace, "deny = []");
    Run::new(who, &workspace)
        .policy(&allowing)
        .sh("mv a c && mv c a")
        .ok();
}

each!(a_denial_through_a_link_that_the_jail_can_turn_is_refused);
fn a_denial_through_a_link_that_the_jail_can_turn_is_refused(who: Who) {
    let workspace = prepared(who);
    std::os::unix::fs::symlink("a", workspace.path().join("to")).expect("symlink");
    for (path, status) in [
        ("$WORKSPACE/to/b/secret", 125),
        ("$WORKSPACE/link/b/secret", 125),
        ("$WORKSPACE/a/b/secret", 0),
    ] {
        let denying = policy(&workspace, &format!("deny = [{path:?}]"));
        let ran = Run::new(who, &workspace)
            .policy(&denying)
            .sh("cat to/b/secret a/b/secret; :");
        assert_eq!(
            (ran.status, ran.stdout.as_str()),
            (status, ""),
            "{path}: {ran:#?}"
        );
    }
}

each!(the_working_directory_is_the_one_that_the_caller_is_in);
fn the_working_directory_is_the_one_that_the_caller_is_in(who: Who) {
    use std::os::unix::fs::MetadataExt;
    let workspace = Workspace::new(who);
    workspace.write("proj/sub/mine", "");
    let victim = workspace.outside().join("victim");
    std::fs::create_dir_all(victim.join("sub")).expect("mkdir");
    std::fs::write(victim.join("sub/OUTER-SECRET"), "").expect("write");
    std::os::unix::fs::symlink(&victim, workspace.path().join("link")).expect("symlink");
    let here = workspace.path().join("proj/sub");
    let (uid, gid, _) = who.account();
    for dir in [&victim, &victim.join("sub")] {
        std::os::unix::fs::chown(dir, Some(uid), Some(gid)).expect("chown");
    }
    let inode = std::fs::metadata(&here).expect("stat").ino();
    let flipper = Flipper::start(
        &workspace.path().join("proj"),
        &workspace.path().join("link"),
    );
    for _ in 0..15 {
        // The shell enters the true directory, whatever its name is at the moment.
        let inner = Run::new(who, &workspace).command(["/bin/sh", "-c", "ls -id .; ls"]);
        let mut command = std::process::Command::new(inner.get_program());
        command
            .args(inner.get_args())
            .env_clear()
            .env("PATH", "/usr/bin:/bin");
        let directory = loop {
            let opened = std::fs::File::open(&here);
            match opened {
                Ok(dir) if dir.metadata().expect("stat").ino() == inode => break dir,
                _ => continue,
            }
        };
        use std::os::fd::AsRawFd;
        use std::os::unix::process::CommandExt;
        let number = directory.as_raw_fd();
        // SAFETY: fchdir is async-signal-safe and the descriptor outlives the spawn.
        unsafe {
            command.pre_exec(move || match libc::fchdir(number) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            });
        }
        super::become_who(&mut command, who);
        let output = command
            .stdin(std::process::Stdio::null())
            .output()
            .expect("creel starts");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(!text.contains("OUTER-SECRET"), "{output:#?}");
        match output.status.code() {
            Some(0) => assert!(text.starts_with(&format!("{inode} ")), "{output:#?}"),
            Some(125) => {}
            _ => panic!("{output:#?}"),
        }
    }
    drop(flipper);
    assert!(Path::new(&victim).join("sub/OUTER-SECRET").exists());
}
