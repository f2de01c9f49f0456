//! Trees of the host at other paths in the jail: `SRC:DST`, `at` and `workspace_at`.

use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use crate::support::{Ran, Run, Who, Workspace};

/// A directory outside of the workspace, with a file.
fn tree(workspace: &Workspace, name: &str) -> PathBuf {
    let made = workspace.write(&format!("{name}/file"), name);
    let from = made.parent().expect("a directory");
    let to = workspace.outside().join(name);
    std::fs::rename(from, &to).expect("renamed");
    to
}

fn at(tree: &Path, place: &str) -> String {
    format!("{}:{place}", tree.display())
}

fn refused(ran: &Ran, words: &str) {
    assert_eq!(ran.status, 125, "{ran:#?}");
    assert!(ran.stderr.contains(words), "{words}: {ran:#?}");
}

each!(the_workspace_is_at_its_place_and_not_at_its_own_path);
fn the_workspace_is_at_its_place_and_not_at_its_own_path(who: Who) {
    let workspace = Workspace::new(who);
    workspace.write("file", "x");
    let named = at(&workspace.path(), "/workspace");
    for flag in [":/workspace", ":/workspace:rw", &named] {
        let script = format!(
            "pwd; cat file; echo y > made; cat /workspace/made; ls {} 2>&1; true",
            workspace.path().display()
        );
        let ran = Run::new(who, &workspace).flags(["--workspace", flag]);
        let ran = ran.sh(&script).ok();
        assert!(ran.stdout.starts_with("/workspace\nxy\n"), "{ran:#?}");
        assert!(ran.stdout.contains("No such file"), "{ran:#?}");
        let made = workspace.path().join("made");
        let meta = std::fs::metadata(&made).expect("it is on the host");
        assert_eq!((meta.uid(), meta.gid()), (who.account().0, who.account().1));
        std::fs::remove_file(made).expect("removed");
    }
    let ran = Run::new(who, &workspace).flags(["--workspace", ":/workspace:ro"]);
    let ran = ran.sh("cat file; touch file 2>&1; true").ok();
    assert!(ran.stdout.contains("Read-only file system"), "{ran:#?}");
}

each!(what_is_denied_and_protected_is_so_at_the_place);
fn what_is_denied_and_protected_is_so_at_the_place(who: Who) {
    let workspace = Workspace::new(who);
    for name in [".env", ".git/config", "plain"] {
        workspace.write(name, "s3cret");
    }
    workspace.write(".git/HEAD", "ref: refs/heads/main\n");
    let policy = "extends = \"default\"\n[filesystem]\nworkspace_at = \"/workspace\"\ndeny = [\"$WORKSPACE/.env\", \"$WORKSPACE/later\"]\n";
    let script = "
import errno, os
def attempt(what):
    try: what(); print('done')
    except OSError as e: print(errno.errorcode[e.errno])
attempt(lambda: open('/workspace/plain').read())
attempt(lambda: open('/workspace/.env').read())
attempt(lambda: open('later', 'w'))
attempt(lambda: open('/workspace/.git/config', 'a'))
attempt(lambda: os.mkdir('.vscode'))
attempt(lambda: os.rename('.git', 'g'))
attempt(lambda: os.rename('.env', 'e'))";
    let ran = Run::new(who, &workspace).policy_text(&workspace, "p", policy);
    let ran = ran.python(script).ok();
    assert_eq!(
        ran.stdout, "done\nEACCES\nEACCES\nEROFS\nEEXIST\nEBUSY\nEBUSY\n",
        "{ran:#?}"
    );
    // The placeholders are gone from the host.
    assert!(!workspace.path().join(".vscode").exists() && !workspace.path().join("later").exists());
    // The control: without the rule the file is read.
    let ran = Run::new(who, &workspace).flags(["--workspace", ":/workspace"]);
    assert_eq!(ran.sh("cat /workspace/.env").ok().stdout, "s3cret");
}

each!(grants_are_at_their_places);
fn grants_are_at_their_places(who: Who) {
    let workspace = Workspace::new(who);
    let [skills, cache] = ["skills", "cache"].map(|name| tree(&workspace, name));
    let script = "cat /skills/file; touch /skills/made 2>&1; echo x > /var/cache/a/made; cat /var/cache/a/file";
    let flags = [
        vec![
            "--read".into(),
            at(&skills, "/skills"),
            "--write".into(),
            at(&cache, "/var/cache/a"),
        ],
        vec![
            "--volume".into(),
            at(&skills, "/skills:ro"),
            "--volume".into(),
            at(&cache, "/var/cache/a"),
        ],
    ];
    let policy = format!(
        "extends = \"default\"\n[filesystem]\nread = [{{ path = {skills:?}, at = \"/skills\" }}]\n\
         write = [{{ path = {cache:?}, at = \"/var/cache/a\" }}]\n"
    );
    let runs = flags.map(|flags| Run::new(who, &workspace).flags(flags));
    let by_policy = Run::new(who, &workspace).policy_text(&workspace, "p", &policy);
    for run in runs.into_iter().chain([by_policy]) {
        let ran = run.sh(script).ok();
        assert!(ran.stdout.starts_with("skills"), "{ran:#?}");
        assert!(ran.stdout.contains("Read-only file system"), "{ran:#?}");
        assert!(ran.stdout.ends_with("cache"), "{ran:#?}");
        std::fs::remove_file(cache.join("made")).expect("it was written");
    }
}

each!(a_program_is_found_at_its_place);
fn a_program_is_found_at_its_place(who: Who) {
    let workspace = Workspace::new(who);
    workspace.write("tool", "#!/bin/sh\necho ran $0\n");
    let tools = tree(&workspace, "tools");
    std::fs::copy(workspace.path().join("tool"), tools.join("other")).expect("copied");
    let run = || {
        let exec = at(&tools, "/tools");
        Run::new(who, &workspace).flags(["--workspace", ":/workspace", "--exec", &exec])
    };
    assert_eq!(
        run().argv(["./tool"]).ok().stdout,
        "ran /workspace/./tool\n"
    );
    assert_eq!(run().argv(["other"]).ok().stdout, "ran /tools/other\n");
    assert_eq!(run().sh("other; tool").stdout, "ran /tools/other\n");
}

each!(a_place_in_another_tree_needs_a_mount_point);
fn a_place_in_another_tree_needs_a_mount_point(who: Who) {
    let workspace = Workspace::new(who);
    let skills = tree(&workspace, "skills");
    let run = || {
        let read = at(&skills, "/workspace/a/skills");
        Run::new(who, &workspace).flags(["--workspace", ":/workspace", "--read", &read])
    };
    refused(&run().argv(["true"]), "mount point");
    workspace.write("a/skills/hidden", "h");
    let script = "cat a/skills/file; ls a/skills; touch a/skills/x 2>&1; mv a/skills a/s 2>&1; mv a b 2>&1; true";
    let ran = run().sh(script).ok();
    assert!(ran.stdout.starts_with("skillsfile\n"), "{ran:#?}");
    assert!(ran.stdout.contains("Read-only file system"), "{ran:#?}");
    assert_eq!(ran.stdout.matches("busy").count(), 2, "{ran:#?}");
}

each!(the_working_directory_is_a_path_of_the_jail);
fn the_working_directory_is_a_path_of_the_jail(who: Who) {
    let workspace = Workspace::new(who);
    workspace.write("sub/file", "x");
    let run = |dir: &str| {
        let flags = ["--workspace", ":/workspace", "--workdir", dir];
        Run::new(who, &workspace).flags(flags).argv(["pwd"])
    };
    for dir in ["sub", "/workspace/sub"] {
        assert_eq!(run(dir).ok().stdout, "/workspace/sub\n");
    }
    // A path of the host is one of the mapped tree.
    let host = workspace.path().join("sub");
    let ran = run(host.to_str().expect("text")).ok();
    assert_eq!(ran.stdout, "/workspace/sub\n");
    let beside = workspace.outside().to_str().expect("text");
    assert_eq!(run(beside).status, 125);
}

each!(places_that_no_tree_can_have);
/// Each has its control: the same tree at a place that is free.
fn places_that_no_tree_can_have(who: Who) {
    let workspace = Workspace::new(who);
    let [skills, other] = ["skills", "other"].map(|name| tree(&workspace, name));
    let home = who.account().2;
    let home = home.to_str().expect("text");
    let run = |place: &str| {
        let flags = [
            "--read".into(),
            at(&skills, place),
            "--write".into(),
            at(&other, "/other"),
        ];
        Run::new(who, &workspace).flags(flags).argv(["true"])
    };
    for place in ["/skills", "/tmp/skills", "/var/tmp/skills", "/srv/a/b"] {
        run(place).ok();
    }
    run(&format!("{home}/skills")).ok();
    for (place, words) in [
        ("/", "directory of its own"),
        ("/proc/skills", "/proc of its own"),
        ("/sys", "the host's kernel"),
        ("/dev/skills", "devices of its own"),
        ("/run/creel", "sockets"),
        ("/etc/skills", "files of the system"),
        ("/usr/share/skills", "files of the system"),
        ("/bin", "files of the system"),
        ("/tmp", "directory of its own"),
        (home, "directory of its own"),
        ("/a/../b", "without `..`"),
        ("/a\nb", "control character"),
        ("/other", "is there"),
        ("/other/skills", "mount point"),
    ] {
        refused(&run(place), words);
    }
    let twice = |more: [&str; 2]| {
        let first = at(&skills, "/skills");
        let run = Run::new(who, &workspace).flags(["--read", &first]);
        run.flags(more).argv(["true"])
    };
    twice(["--read", &at(&skills, "/skills")]).ok();
    refused(&twice(["--read", &at(&skills, "/other")]), "both at");
    let around = workspace.outside().to_str().expect("text");
    refused(&twice(["--read", around]), "both at");
}

each!(rules_at_a_place_are_refused_since_they_name_the_host);
fn rules_at_a_place_are_refused_since_they_name_the_host(who: Who) {
    let workspace = Workspace::new(who);
    workspace.write("file", "x");
    for (rule, allowed) in [
        ("deny = [\"/workspace/file\"]", false),
        ("protect = [\"/workspace/file\"]", false),
        (
            "deny = [{ path = \"/workspace/*.pem\", optional = true }]",
            false,
        ),
        ("deny = [\"$WORKSPACE/file\"]", true),
        ("deny = [\"/elsewhere/file\"]", true),
    ] {
        let text = format!("extends = \"default\"\n[filesystem]\n{rule}\n");
        let run = Run::new(who, &workspace).policy_text(&workspace, "p", &text);
        let ran = run.flags(["--workspace", ":/workspace"]).argv(["true"]);
        match allowed {
            true => assert_eq!(ran.status, 0, "{rule}: {ran:#?}"),
            false => refused(&ran, "name it as on the host"),
        }
    }
}

each!(a_name_with_a_colon_is_a_name);
fn a_name_with_a_colon_is_a_name(who: Who) {
    let workspace = Workspace::new(who);
    let odd = workspace.write("a:/b/file", "odd");
    let odd = odd.parent().expect("a directory");
    let script = format!("cat '{}/file'", odd.display());
    let run = || {
        Run::new(who, &workspace)
            .cwd("/")
            .flags(["--workspace", "none"])
    };
    let flag = odd.to_str().expect("text");
    assert_eq!(run().flags(["--read", flag]).sh(&script).ok().stdout, "odd");
    // Both readings are possible.
    workspace.write("a/file", "plain");
    refused(&run().flags(["--read", flag]).sh(&script), "whole name");
    let (dir, _) = flag.split_once(":/").expect("a colon");
    let mapped = format!("{dir}/:/b");
    let ran = run().flags(["--read", &mapped]).sh("cat /b/file");
    assert_eq!(ran.ok().stdout, "plain");
    for bad in [
        "--workspace=.:here",
        "--volume=/srv",
        "--read=:/b",
        "--workspace=.:/w:none",
    ] {
        let ran = Run::new(who, &workspace).flags([bad]).argv(["true"]);
        assert_eq!(ran.status, 125, "{bad}: {ran:#?}");
    }
}

each!(a_layer_that_narrows_places_only_what_is_granted);
fn a_layer_that_narrows_places_only_what_is_granted(who: Who) {
    let workspace = Workspace::new(who);
    let [skills, other] = ["skills", "other"].map(|name| tree(&workspace, name));
    let operator = format!("extends = \"default\"\n[filesystem]\nread = [{skills:?}]\n");
    let project = format!(
        "[filesystem]\nread = [{{ path = {skills:?}, at = \"/skills\" }}, {{ path = {other:?}, at = \"/other\" }}]\n"
    );
    let ran = Run::new(who, &workspace)
        .policy_text(&workspace, "operator", &operator)
        .policy_text(&workspace, "project", &project)
        .sh("cat /skills/file; ls /other 2>&1; true")
        .ok();
    assert!(ran.stdout.starts_with("skills"), "{ran:#?}");
    assert!(ran.stdout.contains("No such file"), "{ran:#?}");
}

each!(a_link_leads_to_the_tree_and_has_no_name_in_the_jail);
fn a_link_leads_to_the_tree_and_has_no_name_in_the_jail(who: Who) {
    let workspace = Workspace::new(who);
    let skills = tree(&workspace, "skills");
    let link = workspace.outside().join("link");
    symlink(&skills, &link).expect("a link");
    let script = format!(
        "cat /skills/file; ls -d {} {} 2>&1; true",
        link.display(),
        skills.display()
    );
    let ran = Run::new(who, &workspace).flags(["--read", &at(&link, "/skills")]);
    let ran = ran.sh(&script).ok();
    assert!(ran.stdout.starts_with("skills"), "{ran:#?}");
    assert_eq!(ran.stdout.matches("No such file").count(), 2, "{ran:#?}");
    // Links above both trees, one of which is in the other.
    let above = workspace.outside().join("above");
    symlink(workspace.outside(), &above).expect("a link");
    workspace.write("mount/point", "");
    let flags = ["work:/w", "skills:/w/mount"].map(|name| format!("{}/{name}", above.display()));
    let [own, read] = &flags;
    let ran = Run::new(who, &workspace).flags(["--workspace", own, "--read", read]);
    assert_eq!(ran.sh("pwd; cat mount/file").ok().stdout, "/w\nskills");
}

each!(a_source_may_begin_above_and_a_place_has_no_mode);
fn a_source_may_begin_above_and_a_place_has_no_mode(who: Who) {
    let workspace = Workspace::new(who);
    let other = tree(&workspace, "other");
    let run = |flag: &str| Run::new(who, &workspace).flags(["--read", flag]);
    let ran = run("../other:/data").sh("cat /data/file").ok();
    assert_eq!(ran.stdout, "other");
    let ran = run("../other")
        .sh(&format!("cat {}/file", other.display()))
        .ok();
    assert_eq!(ran.stdout, "other");
    // Behind a link `..` is the kernel's to resolve.
    symlink(&other, workspace.path().join("link")).expect("a link");
    refused(&run("link/../other:/data").sh("true"), "contains `..`");
    refused(&run("../other:/data:ro").sh("true"), "--volume SRC:DST:ro");
    refused(&run("../other:data").sh("true"), "begins with a slash");
    let docker = Run::new(who, &workspace).flags(["-v", "../other:/v:ro"]);
    refused(&docker.sh("true"), "--volume ../other:/v:ro");
}
