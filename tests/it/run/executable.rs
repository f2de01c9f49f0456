//! Programs of the user's own: `--exec` lets them be executed, and who lacks it is told where they are.

use std::os::unix::fs::{PermissionsExt, symlink};

use crate::support::{Run, Who, Workspace};

/// An executable script beside the workspace, as an agent in `~/.local/bin` is; and a link to it elsewhere.
fn program(workspace: &Workspace) -> (std::path::PathBuf, std::path::PathBuf) {
    let place = |name: &str| {
        let place = workspace.outside().join(name);
        std::fs::create_dir(&place).expect("mkdir");
        std::fs::set_permissions(&place, PermissionsExt::from_mode(0o755)).expect("chmod");
        place
    };
    let (share, bin) = (place("share"), place("bin"));
    let program = share.join("agent");
    std::fs::write(
        &program,
        "#!/bin/sh\necho agent; cat \"$(dirname \"$(readlink -f \"$0\")\")/data\"\n",
    )
    .expect("write");
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).expect("chmod");
    std::fs::write(share.join("data"), "data\n").expect("write");
    let link = bin.join("agent");
    symlink(&program, &link).expect("symlink");
    (program, link)
}

#[test]
fn exec_grants_a_program_and_a_directory_of_them() {
    for who in Who::all() {
        let workspace = Workspace::new(who);
        let (program, _) = program(&workspace);
        let directory = program.parent().expect("a directory");
        let run =
            |flags: [&std::ffi::OsStr; 2]| Run::new(who, &workspace).flags(flags).argv([&program]);
        let whole = run(["--exec".as_ref(), directory.as_os_str()]).ok();
        assert_eq!(whole.stdout, "agent\ndata\n", "{who:?}");
        // A program alone brings nothing that lies beside it.
        let alone = run(["--exec".as_ref(), program.as_os_str()]);
        assert_eq!(
            (alone.status, alone.stdout.as_str()),
            (1, "agent\n"),
            "{alone:#?}"
        );
        // The control: what is granted to be read is not executed.
        let read = run(["--read".as_ref(), directory.as_os_str()]);
        assert_eq!((read.status, read.kind()), (126, "denied"), "{read:#?}");
        assert!(
            read.stderr.contains("--exec PATH or `filesystem.exec`"),
            "{read:#?}"
        );
        // Nor is anything written there.
        let script = format!("echo x >{}", directory.join("new").display());
        let flags = ["--exec".as_ref(), directory.as_os_str()];
        let written = Run::new(who, &workspace).flags(flags).sh(&script);
        assert!(
            written.status != 0 && written.stderr.contains("Read-only file system"),
            "{written:#?}"
        );
    }
}

#[test]
fn a_program_that_is_on_the_host_alone_is_told_with_what_grants_it() {
    for who in Who::all() {
        let workspace = Workspace::new(who);
        let (program, link) = program(&workspace);
        let (bin, share) = (
            link.parent().expect("bin"),
            program.parent().expect("share"),
        );
        let path = format!("/usr/bin:/bin:{}", bin.display());
        let run = |flags: &[&std::ffi::OsStr], name: &std::ffi::OsStr| {
            let run = Run::new(who, &workspace).outer_env("PATH", &path);
            run.flags(flags).argv([name])
        };
        let told = format!(
            "creel run --exec {} --exec {} -- {}",
            bin.display(),
            share.display(),
            link.display()
        );
        for name in ["agent".as_ref(), link.as_os_str()] {
            let ran = run(&[], name);
            assert_eq!(ran.status, 127, "{ran:#?}");
            assert!(ran.stderr.contains(&told), "{told}\n{ran:#?}");
        }
        // What it says is what grants it.
        let exec: &std::ffi::OsStr = "--exec".as_ref();
        let flags = [exec, bin.as_os_str(), exec, share.as_os_str()];
        assert_eq!(run(&flags, link.as_os_str()).ok().stdout, "agent\ndata\n");
        // Nor is what is granted already, and lacks its interpreter.
        std::fs::write(&program, "#!/nonexistent\n").expect("write");
        let lacking = run(&flags, link.as_os_str());
        assert_eq!(lacking.status, 127, "{lacking:#?}");
        assert!(!lacking.stderr.contains("on the host"), "{lacking:#?}");
        // What is nowhere is not said to be somewhere.
        let nowhere = run(&[], "no-such-agent".as_ref());
        assert_eq!(nowhere.status, 127, "{nowhere:#?}");
        assert!(!nowhere.stderr.contains("on the host"), "{nowhere:#?}");
    }
}

#[test]
fn a_policy_that_names_its_programs_keeps_them() {
    let workspace = Workspace::new(Who::Root);
    let (program, _) = program(&workspace);
    let run = Run::new(Who::Root, &workspace).policy("browser");
    let ran = run
        .flags(["--exec".as_ref(), program.as_os_str()])
        .argv([&program]);
    assert_eq!(ran.status, 125, "{ran:#?}");
    assert!(
        ran.stderr.contains("names one by one what may be executed"),
        "{ran:#?}"
    );
}
