//! A filesystem without idmapped mounts below what is granted: FUSE, an overlay, a ramfs, a bind mount of a file
//! of one. It is mounted in a namespace of the test's.

use std::os::unix::fs::MetadataExt;
use std::process::{Command, Output};

use super::text;
use crate::attacks::in_own_mounts;
use crate::support::{Run, Who, Workspace, binary, is_root, need};

/// A FUSE server, fuse(4): a directory with a file `x`. Its arguments: where, and what runs meanwhile.
const SERVER: &str = include_str!("submounts/server.py");

/// A workspace of an ordinary owner with a directory `mnt` in it.
fn prepared() -> Option<Workspace> {
    need("unshare");
    need("python3");
    if !is_root() {
        eprintln!("skipped: only root mounts");
        return None;
    }
    let workspace = Workspace::new(Who::Root);
    let mnt = workspace.path().join("mnt");
    std::fs::create_dir_all(&mnt).expect("mkdir");
    for path in [workspace.path(), mnt] {
        std::os::unix::fs::chown(path, Some(4242), Some(4242)).expect("chown");
    }
    for name in ["low", "up", "more"] {
        std::fs::create_dir(workspace.outside().join(name)).expect("mkdir");
    }
    Some(workspace)
}

/// Does the host's part, `$1`, when the jail says that it is ready.
const BESIDE: &str = r#"
    host=$1; shift
    coproc jail { exec "$@" 2>&1; }
    exec 3<&${jail[0]} 4>&${jail[1]}
    read -r line <&3
    [ "$line" = ready ] || { echo "$line"; cat <&3; exit 9; }
    eval "$host"
    echo go >&4
    cat <&3
"#;

/// `creel run FLAGS -- sh -c SCRIPT` in the workspace, with what `kind` is mounted on `mnt`.
fn run(kind: &str, workspace: &Workspace, flags: &[&str], script: &str) -> Output {
    mounted(kind, workspace, &[], flags, script)
}

/// The same, while the host does `host` in the workspace; what is written on stderr is on stdout.
fn beside(kind: &str, workspace: &Workspace, host: &str, flags: &[&str], script: &str) -> String {
    let script = format!("echo ready; read go; {script}");
    let around = ["bash", "-c", BESIDE, "bash", host];
    let flags = [&["--timeout", "30s"], flags].concat();
    text(&mounted(kind, workspace, &around, &flags, &script).stdout)
}

fn mounted(
    kind: &str,
    workspace: &Workspace,
    around: &[&str],
    flags: &[&str],
    script: &str,
) -> Output {
    let mount = match kind {
        "overlay" => {
            "mount -t tmpfs none up; mkdir up/u up/w; \
             mount -t overlay none -o lowerdir=low,upperdir=up/u,workdir=up/w \"$1\"; echo in > \"$1/x\""
        }
        "ramfs" => "mount -t ramfs none \"$1\"; chmod 777 \"$1\"; echo in > \"$1/x\"",
        "covered" => {
            "mount -t ramfs none \"$1\"; mount -t tmpfs -o uid=4242,mode=777 none \"$1\"; echo in > \"$1/x\""
        }
        "twice" => {
            "mount -t tmpfs none \"$1\"; mkdir \"$1/in\"; mount -t tmpfs none \"$1/in\"; \
             mount -t tmpfs -o uid=4242 none \"$1\"; echo in > \"$1/x\"; chown 4242 \"$1/x\""
        }
        "tmpfs" => {
            "mount -t tmpfs -o uid=4242 none \"$1\"; echo in > \"$1/x\"; chown 4242 \"$1/x\""
        }
        "file" => {
            "mount -t ramfs none more; echo in > more/x; touch \"$1/x\"; mount --bind more/x \"$1/x\""
        }
        _ => "serve=(python3 -c \"$SERVER\" \"$1\" \"$2\")",
    };
    let words =
        format!("serve=(); cd \"$3\"; {mount}; cd \"$4\"; shift 4; exec \"${{serve[@]}}\" \"$@\"");
    let mnt = workspace.path().join("mnt");
    let mut shell = Command::new("unshare");
    shell.args([
        "-m",
        "--propagation",
        "private",
        "bash",
        "-ec",
        &words,
        "bash",
    ]);
    shell.arg(mnt).arg(match kind {
        "closed" => "user_id=4242",
        _ => "user_id=0,allow_other",
    });
    shell.args([workspace.outside(), &workspace.path()]);
    shell.args(around).arg(binary()).arg("run").args(flags);
    shell.args(["--", "/bin/sh", "-c", script]);
    shell.env("SERVER", SERVER).env("HOME", "/root");
    shell.output().expect("unshare runs")
}

const KINDS: [(&str, &str); 5] = [
    ("fuse", "fuse.test"),
    ("overlay", "overlay"),
    ("ramfs", "ramfs"),
    ("file", "ramfs"),
    ("covered", "ramfs"),
];
const TRY: &str = "cat mnt/x; echo new > y || exit 3; echo > mnt/x";

#[test]
fn a_mount_that_cannot_be_mapped_is_refused_by_its_own_name() {
    let Some(workspace) = prepared() else { return };
    let sub = workspace.path().display().to_string();
    for (kind, named) in KINDS {
        for flags in [&[][..], &["--workspace", "none", "--write", &sub]] {
            let refused = run(kind, &workspace, flags, TRY);
            assert_eq!(refused.status.code(), Some(125), "{kind} {refused:?}");
            let said = text(&refused.stderr);
            let place = workspace
                .path()
                .join(if kind == "file" { "mnt/x" } else { "mnt" });
            for part in [
                format!(
                    "the {named} filesystem on {} does not have",
                    place.display()
                ),
                format!("--read {}", place.display()),
                "--allow-degraded idmap".into(),
            ] {
                assert!(said.contains(&part), "{kind} {flags:?}: {said}");
            }
        }
    }
}

/// The refusal's advice works: the rest is the owner's as ever, and nobody writes to that mount.
#[test]
fn the_rest_works_beside_it() {
    let Some(workspace) = prepared() else { return };
    for (kind, _) in KINDS {
        let place = workspace
            .path()
            .join(if kind == "file" { "mnt/x" } else { "mnt" });
        let place = place.display().to_string();
        for flags in [["--allow-degraded", "idmap"], ["--read", &place]] {
            let ran = run(kind, &workspace, &flags, TRY);
            let said = text(&ran.stderr);
            assert_eq!(text(&ran.stdout), "in\n", "{kind} {flags:?} {said}");
            assert!(
                said.contains("mnt/x: Read-only file system"),
                "{kind} {said}"
            );
            let made = workspace.path().join("y");
            let meta = made.metadata().expect("the workspace is writable");
            assert_eq!((meta.uid(), meta.gid()), (4242, 4242));
            std::fs::remove_file(made).expect("removed");
        }
    }
}

#[test]
fn to_be_read_nothing_is_asked_for() {
    let Some(workspace) = prepared() else { return };
    let own = workspace.path().display().to_string();
    for (kind, _) in KINDS {
        let whole = format!("{own}:ro");
        for flags in [
            &["--workspace", &whole][..],
            &["--workspace", "none", "--read", &own],
        ] {
            let script = format!("cd {own}; cat mnt/x; stat -c %u .; echo > mnt/x");
            let ran = run(kind, &workspace, flags, &script);
            let said = text(&ran.stderr);
            // As a granted tree the host's owners are strangers; as a workspace the owner is the jail's user.
            let owner = if flags.len() == 2 { "1000" } else { "65534" };
            assert_eq!(text(&ran.stdout), format!("in\n{owner}\n"), "{kind} {said}");
            assert!(
                said.contains("mnt/x: Read-only file system"),
                "{kind} {said}"
            );
        }
    }
}

#[test]
fn where_it_is_denied_it_hinders_nobody() {
    let Some(workspace) = prepared() else { return };
    let policy = workspace.outside().join("deny.toml");
    let deny = "extends = \"default\"\n[filesystem]\ndeny = [\"$WORKSPACE/mnt\"]\n";
    std::fs::write(&policy, deny).expect("write");
    let policy = policy.display().to_string();
    for kind in ["fuse", "overlay", "ramfs"] {
        let ran = run(kind, &workspace, &["--policy", &policy], TRY);
        let said = text(&ran.stderr);
        assert_eq!(text(&ran.stdout), "", "{kind} {said}");
        assert!(said.contains("mnt/x: Permission denied"), "{kind} {said}");
        std::fs::remove_file(workspace.path().join("y")).expect("the rest was writable");
    }
}

/// A user's sshfs shows itself to that user alone, and root may not even ask what it is.
#[test]
fn one_that_root_may_not_look_at_is_closed_in_the_jail_too() {
    let Some(workspace) = prepared() else { return };
    let script = "echo new > y; ls mnt";
    let refused = run("closed", &workspace, &[], script);
    assert!(
        text(&refused.stderr).contains("the fuse.test filesystem"),
        "{refused:?}"
    );
    let ran = run("closed", &workspace, &["--allow-degraded", "idmap"], script);
    let said = text(&ran.stderr);
    assert!(said.contains("'mnt': Permission denied"), "{said}");
    std::fs::remove_file(workspace.path().join("y")).expect("the rest was writable");
}

/// The control: a mount that can be mapped is the owner's.
#[test]
fn one_that_can_be_mapped_is_writable() {
    let Some(workspace) = prepared() else { return };
    for kind in ["tmpfs", "twice"] {
        let script = "cat mnt/x; echo > mnt/x && stat -c %u mnt";
        let ran = run(kind, &workspace, &[], script);
        match creel_sys::host::kernel_at_least((6, 3)) {
            true => assert_eq!(text(&ran.stdout), "in\n1000\n", "{ran:?}"),
            false => assert!(
                text(&ran.stderr).contains("the tmpfs filesystem"),
                "{ran:?}"
            ),
        }
    }
}

/// A policy of the default's with these lines.
fn policy(workspace: &Workspace, lines: &str) -> String {
    let path = workspace.outside().join("p.toml");
    let text = format!("extends = \"default\"\n[filesystem]\n{lines}\n");
    std::fs::write(&path, text).expect("write");
    path.display().to_string()
}

/// The owner of a mount may unmount it while the jail runs, and put a directory there. The control is a mount that no
/// policy names: what comes in its place is the workspace's.
#[test]
fn a_protected_one_is_read_only_when_its_owner_has_unmounted_it() {
    let Some(workspace) = prepared() else { return };
    let host = "umount -l mnt; rmdir mnt; mkdir -m 777 mnt";
    let protect = policy(&workspace, "protect = ['$WORKSPACE/mnt']");
    for kind in ["fuse", "overlay", "ramfs"] {
        // Until the janitor has seen it: docs/security.md has the window. A jail that has a file open in it then
        // is ended, so this one only asks.
        let script = "while [ -w mnt ]; do :; done; echo > mnt/new";
        let said = beside(kind, &workspace, host, &["--policy", &protect], script);
        assert!(
            said.contains("mnt/new: Read-only file system"),
            "{kind} {said}"
        );
        let script = "echo > mnt/new && echo written";
        let flags = ["--allow-degraded", "idmap"];
        let _ = std::fs::remove_file(workspace.path().join("mnt/new"));
        let said = beside(kind, &workspace, host, &flags, script);
        assert!(said.contains("written"), "{kind} {said}");
        let _ = std::fs::remove_file(workspace.path().join("mnt/new"));
    }
}

/// A protected file of such a mount, and one that is a mount. A jail that cannot be kept from it is ended.
#[test]
fn what_is_protected_in_one_stays_so_too() {
    let Some(workspace) = prepared() else { return };
    let replaced =
        "mkdir -m 777 new; echo > new/x; chmod 666 new/x; umount -l mnt; rmdir mnt; mv new mnt";
    let file = "umount -l mnt/x; echo > new; chmod 666 new; mv new mnt/x";
    let protect = policy(&workspace, "protect = ['$WORKSPACE/mnt/x']");
    for (kind, host) in [("fuse", replaced), ("ramfs", replaced), ("file", file)] {
        let script = "while echo new > mnt/x; do :; done";
        let flags = ["--policy", &protect, "--allow-degraded", "idmap"];
        let said = beside(kind, &workspace, host, &flags, script);
        let kept = said.contains("mnt/x: Read-only file system");
        assert!(kept || said.contains("the jail was ended"), "{kind} {said}");
        let _ = std::fs::remove_file(workspace.path().join("mnt/x"));
    }
}

/// fanotify(7) tells nothing of names on a ramfs or of a FUSE server's; of the others it does.
#[test]
fn a_denied_name_in_one_leaves_the_others_guarded() {
    let Some(workspace) = prepared() else { return };
    let lines = "deny = ['$WORKSPACE/mnt/x', '$WORKSPACE/secret']";
    let deny = policy(&workspace, lines);
    let host = "for name in secret free; do \
        echo new > new; chmod 644 new; mv new $name; ln $name other-$name; done";
    let script = "cat other-secret; cat other-free; cat mnt/x";
    for kind in ["fuse", "overlay", "ramfs"] {
        for name in ["secret", "free"] {
            workspace.write(name, "old\n");
            let _ = std::fs::remove_file(workspace.path().join(format!("other-{name}")));
        }
        let flags = ["--policy", &deny, "--allow-degraded", "idmap"];
        let said = beside(kind, &workspace, host, &flags, script);
        for part in [
            "other-secret: Operation not permitted\nnew\n",
            "mnt/x: Permission denied\n",
        ] {
            assert!(said.contains(part), "{kind} {part} {said}");
        }
        let place = workspace.path().join("mnt");
        let told = format!(
            "opens of denied names are not blocked in {}: ",
            place.display()
        );
        // Newer kernels have handles for an overlay.
        let others = said.replace(&told, "");
        assert!(!others.contains("are not blocked"), "{kind} {said}");
        assert!(kind == "overlay" || said.contains(&told), "{kind} {said}");
    }
}

each!(a_dead_file_server_is_named_and_is_in_nobodys_way);
/// The server of a FUSE mount has ended: every look at the mount is ENOTCONN.
fn a_dead_file_server_is_named_and_is_in_nobodys_way(who: Who) {
    need("python3");
    if !std::path::Path::new("/dev/fuse").exists() {
        eprintln!("skipped: no /dev/fuse here");
        return;
    }
    let workspace = Workspace::new(who);
    let tree = workspace.outside().join("tree");
    let dead = tree.join("dead");
    std::fs::create_dir_all(&dead).expect("mkdir");
    std::fs::write(tree.join("file"), "text\n").expect("write");
    let [tree, dead] = [tree, dead].map(|path| path.display().to_string());
    let ends = format!(
        "python3 -c '
import ctypes, os
told = \"fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other\" % os.open(\"/dev/fuse\", os.O_RDWR)
assert ctypes.CDLL(None).mount(b\"x\", b\"{dead}\", b\"fuse\", 0, told.encode()) == 0'"
    );
    let read = |setup: &str, granted: &str, script: &str| {
        let run = Run::new(who, &workspace).flags(["--read", granted]);
        in_own_mounts(who, &run, setup, &["/bin/sh", "-c", script])
    };
    const NOT_CONNECTED: &str = "Transport endpoint is not connected";
    let Some(refused) = read(&ends, &dead, "echo it runs") else {
        return;
    };
    let said = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(125), "{refused:?}");
    assert!(
        said.contains(&dead) && said.contains(NOT_CONNECTED),
        "{said}"
    );
    let beside = format!("cat {tree}/file; ls {dead}");
    let beside = read(&ends, &tree, &beside).expect("root");
    assert_eq!(text(&beside.stdout), "text\n", "{beside:?}");
    assert!(text(&beside.stderr).contains(NOT_CONNECTED), "{beside:?}");
    // The control: a directory.
    let lives = read("", &dead, &format!("ls {dead}")).expect("root");
    assert!(lives.status.success(), "{lives:?}");
}

/// Placeholders that the kernel frees after the run would keep the mount busy.
#[test]
fn a_mount_can_be_taken_off_as_soon_as_the_run_has_ended() {
    let Some(workspace) = prepared() else { return };
    for mount in ["mount -t tmpfs none mnt", "mount --bind \"$1\" mnt"] {
        let once = format!("{mount}; (cd mnt; \"$0\" run -- test -d .claude); umount mnt");
        let words = format!("for i in 1 2 3 4 5 6 7 8; do {once}; done");
        let mut shell = Command::new("unshare");
        shell.args(["-m", "--propagation", "private", "bash", "-ec", &words]);
        shell.arg(binary()).arg(workspace.outside().join("low"));
        shell.current_dir(workspace.path()).env("HOME", "/root");
        let done = shell.output().expect("unshare runs");
        assert!(done.status.success(), "{mount}: {done:?}");
    }
}
