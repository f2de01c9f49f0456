//! Limits and accounts of callers on a machine: how many files open, and which account.

use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::{text, under};
use crate::support::{Who, Workspace, binary, is_root, need};

/// Five directories of so many names, beside the workspace; the policy has a pattern for each.
fn patterns(workspace: &Workspace, names: u32, key: &str, more: &str) {
    let mut list = vec![];
    let out = workspace.outside().display();
    for at in 0..5 {
        let dir = workspace.outside().join(format!("many/d{at}"));
        std::fs::create_dir_all(&dir).expect("mkdir -p");
        std::fs::set_permissions(&dir, PermissionsExt::from_mode(0o777)).expect("chmod");
        for name in 0..names {
            let file = dir.join(format!("{name}.k"));
            std::fs::write(&file, "there\n").expect("write");
            std::fs::set_permissions(&file, PermissionsExt::from_mode(0o666)).expect("chmod");
        }
        list.push(format!(
            "{{ path = \"{out}/many/d{at}/*.k\", optional = true }}"
        ));
    }
    let more = more.replace("OUT", &out.to_string());
    let list = list.join(", ");
    workspace.write(
        "p.toml",
        &format!("extends = \"default\"\n[filesystem]\n{more}\n{key} = [{list}]\n"),
    );
}

each!(a_small_soft_limit_of_descriptors_is_not_creels);
/// How many names creel may have open is between it and the hard limit, and each kind of pattern does what it says
/// in full.
fn a_small_soft_limit_of_descriptors_is_not_creels(who: Who) {
    for (names, key, more, answer) in [
        (250, "read", "", "there 1"),
        (20, "write", "", "there 0"),
        (20, "deny", "read = [\"OUT/many\"]", "1"),
        (20, "protect", "write = [\"OUT/many\"]", "there 1"),
    ] {
        let workspace = Workspace::new(who);
        patterns(&workspace, names, key, more);
        let many = workspace.outside().join("many").display().to_string();
        let flags = ["--workspace", "none", "--policy", "./p.toml"];
        let script = format!(
            "cd {many}; set -- d0/*; echo $#; set -- d4/*; echo $#; cat d4/19.k; (: >> d4/19.k); echo $(($? != 0)); ulimit -Sn; ulimit -Hn"
        );
        let argv = ["/bin/sh", "-c", &script];
        let limited = |words: &str| {
            let words = format!("{words}; exec \"$@\"");
            under(who, &workspace, &words, &flags, &argv)
        };
        let plenty = limited("ulimit -n 8192");
        let said = text(&plenty.stdout)
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        assert_eq!(
            said,
            format!("{names} {names} {answer} 4096 4096"),
            "{key}: {plenty:?}"
        );
        let small = limited("ulimit -Sn 64");
        assert_eq!(
            text(&small.stdout),
            text(&plenty.stdout),
            "{key}: {small:?}"
        );
        if key != "read" {
            continue;
        }
        // A refusal by the caller's own ceiling alone is reported.
        let hard = limited("ulimit -n 256");
        assert_eq!(hard.status.code(), Some(125), "{key}: {hard:?}");
        let said = text(&hard.stderr);
        assert!(said.contains("hard limit of descriptors is 256"), "{said}");
        assert!(said.contains("LimitNOFILE="), "{said}");
    }
}

/// An account of which /etc/passwd has no line.
const STRANGER: u32 = 771_923;

/// `creel run` of the policy `p.toml` as `uid`, of whom /etc/passwd has no line: in mounts of its own with another
/// `/etc`, which `setup` may fill.
fn as_stranger(workspace: &Workspace, uid: u32, setup: &str, home: &Path, argv: &[&str]) -> Output {
    let words = format!(
        "mount -t tmpfs -o mode=755 none /etc\n{setup}\ncd /usr; uid=$1; shift\nexec setpriv --reuid $uid --regid $uid --clear-groups \"$@\""
    );
    let out = workspace.outside();
    let mut command = Command::new(need("unshare"));
    command
        .args([
            "-m",
            "--propagation",
            "private",
            "/bin/bash",
            "-ec",
            &words,
            "bash",
        ])
        .arg(uid.to_string())
        .arg(binary())
        .args(argv)
        .env_clear()
        .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
        .env("XDG_RUNTIME_DIR", out.join("run"))
        .stdin(Stdio::null());
    if home != Path::new("") {
        command.env("HOME", home);
    }
    command.output().expect("unshare runs")
}

/// A directory with a file, in `above`.
fn directory(above: &Path, name: &str, mode: u32, owner: u32) -> PathBuf {
    let path = above.join(name);
    std::fs::DirBuilder::new().create(&path).expect("mkdir");
    for (name, what) in [("file", "seen\n"), ("secret", "told\n")] {
        let file = path.join(name);
        std::fs::write(&file, what).expect("write");
        chown(file, Some(owner), Some(owner)).expect("chown");
    }
    chown(&path, Some(owner), Some(owner)).expect("chown");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("chmod");
    path
}

#[test]
fn an_account_that_is_not_in_the_database_has_the_home_that_is_its_own() {
    if !is_root() {
        eprintln!("skipped: only root becomes an account that nobody has");
        return;
    }
    let workspace = Workspace::new(Who::Root);
    let out = workspace.outside().to_path_buf();
    let policy = "extends = \"default\"\nallow_degraded = [\"cgroup\"]\n[filesystem]\nworkspace = \"none\"\nread = [\"~/file\", \"~/secret\"]\ndeny = [\"~/secret\"]\n";
    std::fs::write(out.join("p.toml"), policy).expect("write");
    let denial = policy.replace("read = [\"~/file\", \"~/secret\"]\n", "");
    std::fs::write(out.join("denial.toml"), denial).expect("write");
    directory(&out, "run", 0o700, STRANGER);
    let own = directory(&out, "own", 0o755, STRANGER);
    let run = |home: &Path, uid: u32, setup: &str, policy: &str| {
        let policy = out.join(policy).display().to_string();
        let argv = [
            "run",
            "--policy",
            &policy,
            "--",
            "/bin/sh",
            "-c",
            "pwd -P; cd ~ && pwd -P; cat ~/file; cat ~/secret; true",
        ];
        as_stranger(&workspace, uid, setup, home, &argv)
    };
    let seen = |output: &Output| {
        assert_eq!(
            text(&output.stdout),
            format!("/workspace\n{}\nseen\n", own.display()),
            "{output:?}"
        );
        assert!(text(&output.stderr).contains("secret"), "{output:?}");
    };
    seen(&run(&own, STRANGER, "", "p.toml"));
    // Through a link it is where that leads, which nobody can turn later.
    symlink(&own, out.join("link")).expect("symlink");
    seen(&run(&out.join("link"), STRANGER, "", "p.toml"));
    let open = directory(&out, "open", 0o777, STRANGER);
    let theirs = directory(&out, "theirs", 0o755, 1);
    let common = directory(&out, "common", 0o777, 0);
    let within = directory(&common, "within", 0o755, STRANGER);
    symlink(&theirs, out.join("lure")).expect("symlink");
    let plain = [
        open,
        theirs,
        within,
        out.join("lure"),
        out.join("absent"),
        own.join("file"),
        own.join("../own"),
        "own".into(),
        "/".into(),
        "".into(),
    ];
    let refused = |output: &Output, place: &str| {
        assert_eq!(output.status.code(), Some(125), "{output:?}");
        let said = text(&output.stderr);
        assert!(said.contains("`~` cannot be expanded"), "{place}: {said}");
    };
    for home in &plain {
        for policy in ["p.toml", "denial.toml"] {
            refused(
                &run(home, STRANGER, "", policy),
                &home.display().to_string(),
            );
        }
    }
    // Sticky as /tmp is: others cannot exchange what is in it.
    std::fs::set_permissions(&common, PermissionsExt::from_mode(0o1777)).expect("chmod");
    let within = common.join("within");
    let output = run(&within, STRANGER, "", "p.toml");
    assert!(text(&output.stdout).ends_with("seen\n"), "{output:?}");
    // Root without a line has none, and neither has who is bound by the platform's word.
    let roots = directory(&out, "roots", 0o755, 0);
    refused(&run(&roots, 0, "", "denial.toml"), "root");
    let setup = "mkdir /etc/creel; printf 'extends = \"default\"\\n[filesystem]\\ndeny = [\"~/secret\"]\\n' > /etc/creel/policy.toml; chmod -R a+rX /etc/creel";
    refused(&run(&own, STRANGER, setup, "p.toml"), "the platform");
    // Whom the database has, it has.
    let setup = format!(
        "echo x:x:{STRANGER}:{STRANGER}::{}: > /etc/passwd",
        own.display()
    );
    seen(&run(&plain[1], STRANGER, &setup, "p.toml"));
    for (home, said) in [
        (&own, own.display().to_string()),
        (&plain[1], "set HOME to".into()),
    ] {
        let doctor = as_stranger(&workspace, STRANGER, "", home, &["doctor"]);
        assert!(text(&doctor.stdout).contains(&said), "{doctor:?}");
    }
}
