//! A flag's grants beside the policy are bound by the policy's denials and protections as the policy's grants are:
//! a mode of the workspace, a path to write, and the same through a link.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{chown, symlink};

use super::{attack, refused};
use crate::support::{Run, Who, Workspace};

/// A workspace with a file that is protected, one that is denied and one that git runs, and a link to it.
fn prepared(who: Who) -> Workspace {
    let workspace = Workspace::new(who);
    for name in ["kept", "secret", "free", ".git/hooks/post-commit"] {
        workspace.write(name, "as it was\n");
    }
    symlink(workspace.path(), workspace.outside().join("link")).expect("symlink");
    workspace
}

const BODY: &str = "
for name in ['kept', 'secret', 'free', '.git/hooks/post-commit']:
    say(name, opened('PLACE/' + name, os.O_WRONLY))
say('read', opened('PLACE/secret', os.O_RDONLY))
";

each!(a_flag_that_lets_write_lets_write_nothing_that_is_protected);
fn a_flag_that_lets_write_lets_write_nothing_that_is_protected(who: Who) {
    for (mode, more, flags) in [
        ("rw", "", &[][..]),
        ("ro", "", &["--workspace", ".:rw"]),
        ("none", "", &["--workspace", ".:rw"]),
        ("ro", "tools.deny = ['write']", &["--workspace", ".:rw"]),
        ("ro", "", &["--write", "PLACE"]),
        ("none", "", &["--write", "PLACE"]),
        ("none", "", &["--write", "LINK"]),
        ("ro", "filesystem.write = ['LINK']", &[]),
        ("rw", "", &["--workspace", "none", "--write", "PLACE"]),
    ] {
        let workspace = prepared(who);
        let place = workspace.path().display().to_string();
        let link = workspace.outside().join("link").display().to_string();
        let placed = |text: &str| text.replace("PLACE", &place).replace("LINK", &link);
        let policy = format!(
            "extends = ['default']\nfilesystem.workspace = '{mode}'\nfilesystem.protect = ['$WORKSPACE/kept']\nfilesystem.deny = ['{place}/secret']\n{}",
            placed(more)
        );
        let flags: Vec<String> = flags.iter().map(|flag| placed(flag)).collect();
        let run = Run::new(who, &workspace)
            .policy_text(&workspace, "operator", &policy)
            .flags(flags.iter());
        let got = attack(run, &placed(BODY));
        got.expect(&[
            ("free", "OK"),
            ("kept", "EROFS"),
            (".git/hooks/post-commit", "EROFS"),
            ("secret", "EACCES"),
            ("read", "EACCES"),
        ]);
    }
}

each!(a_denial_in_a_workspace_that_is_not_there_denies);
/// With `--workspace none` a path of the caller's directory is still that path, and not one of the fresh one.
fn a_denial_in_a_workspace_that_is_not_there_denies(who: Who) {
    let workspace = prepared(who);
    let (place, out) = (workspace.path(), workspace.outside());
    let policy = format!(
        "extends = ['default']\nfilesystem.read = ['{}']\nfilesystem.deny = ['{}/secret']",
        out.display(),
        place.display()
    );
    std::fs::write(out.join("beside"), "there\n").expect("write");
    let body = format!(
        "say('beside', opened('{}/beside', os.O_RDONLY))\n{}",
        out.display(),
        BODY.replace("PLACE", &place.display().to_string())
    );
    for (mode, free) in [("none", "EACCES"), (".:ro", "EROFS")] {
        let run = Run::new(who, &workspace)
            .policy_text(&workspace, "operator", &policy)
            .flags(["--workspace", mode]);
        let got = attack(run, &body);
        got.expect(&[
            ("beside", "OK"),
            ("secret", "EACCES"),
            ("read", "EACCES"),
            ("free", free),
        ]);
    }
    // A grant in there has no effect, and that is reported.
    let policy = format!(
        "extends = ['default']\nfilesystem.read = ['{}/fr*']",
        place.display()
    );
    let run = Run::new(who, &workspace)
        .policy_text(&workspace, "operator", &policy)
        .flags(["--workspace", "none"]);
    let ran = run.argv(["/usr/bin/true"]);
    assert!(
        ran.stderr
            .contains("free: not granted, because the workspace mode `none`"),
        "{}",
        ran.stderr
    );
}

each!(a_denial_within_a_denial_is_one_denial);
fn a_denial_within_a_denial_is_one_denial(who: Who) {
    let workspace = Workspace::new(who);
    workspace.write("dir/in/secret", "");
    workspace.write("free", "");
    let policy = "extends = ['default']\nfilesystem.deny = ['$WORKSPACE/dir/in/secret', '$WORKSPACE/dir', '$WORKSPACE/dir/in']";
    let run = Run::new(who, &workspace).policy_text(&workspace, "operator", policy);
    let got = attack(
        run,
        "say('dir', opened('dir/in/secret', os.O_RDONLY))\nsay('free', opened('free', os.O_RDONLY))",
    );
    got.expect(&[("dir", "EACCES"), ("free", "OK")]);
}

each!(trust_paths_are_held_where_the_workspace_is_none);
/// Which policy is in force, and whether that takes a file to read, is nothing to the directory that is granted: its
/// trust paths stay as they are. What is held only where it is there can be made, as in a workspace.
fn trust_paths_are_held_where_the_workspace_is_none(who: Who) {
    for policy in [&[][..], &["--policy", "default"], &["--policy", "coding"]] {
        for none in ["none", "PLACE:none"] {
            let workspace = prepared(who);
            workspace.write(".vimrc", "as it was\n");
            let place = workspace.path().display().to_string();
            let none = none.replace("PLACE", &place);
            let flags = ["--workspace", &none, "--write", &place];
            let run = Run::new(who, &workspace).flags(policy).flags(flags);
            let got = attack(
                run,
                &"
for name in ['free', '.git/hooks/post-commit', '.vimrc']:
    say(name, opened('PLACE/' + name, os.O_WRONLY))
for name in ['.claude', '.gdbinit']:
    say(name, py(lambda: os.mkdir('PLACE/' + name)))
"
                .replace("PLACE", &place),
            );
            got.expect(&[
                ("free", "OK"),
                (".git/hooks/post-commit", "EROFS"),
                (".vimrc", "EROFS"),
                (".claude", "EEXIST"),
                (".gdbinit", "OK"),
            ]);
        }
    }
}

/// A run below an operator's own policy, in which `OUT` is the directory beside the workspace.
fn below(who: Who, workspace: &Workspace, more: &str) -> Run {
    let out = workspace.outside().to_str().expect("text");
    let text = format!(
        "allow_degraded = ['cgroup']\nextends = ['default']\nfilesystem.read = ['OUT/data']\nfilesystem.write = ['OUT/free']\n{more}\n"
    );
    let config = workspace.outside().join("config");
    std::fs::create_dir_all(config.join("creel")).expect("mkdir -p");
    std::fs::write(config.join("creel/policy.toml"), text.replace("OUT", out)).expect("write");
    Run::new(who, workspace).outer_env("XDG_CONFIG_HOME", config)
}

/// Beside the workspace: what the operator grants, with a link that stays in it and two that lead out, one
/// of them by a name that no policy can have.
fn granted(who: Who) -> Workspace {
    let workspace = Workspace::new(who);
    let out = workspace.outside();
    for dir in ["private", "data/a", "data/b", "free"] {
        std::fs::create_dir_all(out.join(dir)).expect("mkdir -p");
        std::fs::write(out.join(dir).join("key"), "secret").expect("write");
    }
    let (uid, gid, _) = who.account();
    for path in [out.join("free"), out.join("free/key")] {
        chown(path, Some(uid), Some(gid)).expect("chown");
    }
    symlink("a", out.join("data/in")).expect("symlink");
    symlink(out.join("private"), out.join("data/out")).expect("symlink");
    let raw = out.join("data").join(OsStr::from_bytes(b"out\xff"));
    symlink(out.join("private"), raw).expect("symlink");
    let raw = out.join("data").join(OsStr::from_bytes(b"in\xff"));
    std::fs::create_dir(&raw).expect("mkdir");
    std::fs::write(raw.join("key"), "secret").expect("write");
    workspace
}

each!(a_flag_leads_out_of_nothing_by_a_link_below_an_operators_policy);
fn a_flag_leads_out_of_nothing_by_a_link_below_an_operators_policy(who: Who) {
    let workspace = granted(who);
    let data = workspace.outside().join("data");
    for (name, leads_out) in [
        (&b"in"[..], false),
        (b"in/key", false),
        (b"in\xff", false),
        (b"out", true),
        (b"out/key", true),
        (b"out\xff", true),
        (b"out\xff/key", true),
    ] {
        let path = data.join(OsStr::from_bytes(name));
        let file = match path.is_dir() {
            true => path.join("key"),
            false => path.clone(),
        };
        let flags = [OsStr::new("--read"), path.as_os_str()];
        let argv = [OsStr::new("/usr/bin/cat"), file.as_os_str()];
        let ran = below(who, &workspace, "").flags(flags).argv(argv);
        match leads_out {
            true => refused(&ran, "is a symbolic link out of"),
            false => assert_eq!(ran.ok().stdout, "secret"),
        }
        // Without a policy of theirs the caller is the operator, and grants it.
        let ran = Run::new(who, &workspace).flags(flags).argv(argv);
        assert_eq!(ran.ok().stdout, "secret");
    }
}

each!(a_flag_gives_nothing_back_that_a_tools_rule_took);
/// A tool's rule can leave less than the grants say. Below an operator's policy a flag is bound by what is left.
fn a_flag_gives_nothing_back_that_a_tools_rule_took(who: Who) {
    const READ: &str = "[tools.read]\nallowed_paths = ['OUT/data/a', '/usr', '/bin', '/lib', '/lib64', '$WORKSPACE']";
    for (rule, flags, within) in [
        (READ, ["--read", "OUT/data/b"], ["--read", "OUT/data/a"]),
        (READ, ["--write", "OUT/free"], ["--read", "OUT/data/a/key"]),
        (
            "tools.deny = ['write']",
            ["--write", "OUT/free"],
            ["--read", "OUT/free"],
        ),
        (
            "[tools.exec]\ntimeout = '5s'",
            ["--timeout", "6s"],
            ["--timeout", "5s"],
        ),
        (
            "network.mode = 'allowlist'\nnetwork.allow = ['a.test']\ntools.deny = ['fetch', 'browser', 'message']",
            ["--allow-net", "a.test"],
            ["--timeout", "1m"],
        ),
    ] {
        let workspace = granted(who);
        let out = workspace.outside().to_str().expect("text").to_owned();
        let run = |rule: &str, flags: [&str; 2]| {
            let flags = flags.map(|word| word.replace("OUT", &out));
            let run = below(who, &workspace, rule);
            run.flags(flags).argv(["/usr/bin/true"])
        };
        refused(&run(rule, flags), flags[0]);
        run(rule, within).ok();
        // The control: without the rule the flag lies within the policy.
        let control = match flags[0] {
            "--allow-net" => "network.mode = 'allowlist'\nnetwork.allow = ['a.test']",
            _ => "",
        };
        run(control, flags).ok();
    }
}

each!(a_workspace_that_is_none_grants_no_directory_of_the_callers_choice);
/// Below an operator's policy, `$WORKSPACE` of its grants would otherwise be whatever directory the caller names.
fn a_workspace_that_is_none_grants_no_directory_of_the_callers_choice(who: Who) {
    let workspace = granted(who);
    let out = workspace.outside().to_str().expect("text").to_owned();
    let private = format!("{out}/private");
    let whole = format!("{private}:none");
    const NONE: &str = "filesystem.workspace = 'none'";
    const EXEC: &str = "filesystem.exec = ['/usr', '/bin', '/lib', '/lib64', '$WORKSPACE']";
    for (rule, named, flags) in [
        ("", &*whole, ["--read", "OUT/private"]),
        ("", &whole, ["--exec", "OUT/private"]),
        ("", &whole, ["--write", "OUT/private"]),
        ("", "/:none", ["--read", "OUT/private"]),
        ("", "/:none", ["--exec", "OUT/private"]),
        ("", "/:none", ["--write", "OUT/private"]),
        ("", "/var:none", ["--read", "/var/lib"]),
        (EXEC, &whole, ["--read", "OUT/private"]),
        (EXEC, "/:none", ["--read", "/var/lib"]),
        (NONE, "/", ["--read", "OUT/private"]),
    ] {
        let flags = flags.map(|word| word.replace("OUT", &out));
        let run = || below(who, &workspace, rule).flags(["--workspace", named]);
        let ran = run().flags(&flags).argv(["/usr/bin/true"]);
        refused(&ran, &flags[0]);
        assert_eq!(
            ran.verdict["reason"]["code"], "ask-beyond-policy",
            "{ran:?}"
        );
    }
    // A policy of the caller's own that names the path does not make it the operator's grant.
    let own = workspace.outside().join("own.toml");
    let wide = "filesystem.workspace = 'rw'\nfilesystem.exec = ['/usr', '/bin', '/lib', '/lib64', '$WORKSPACE']";
    for list in ["read", "exec"] {
        let text = format!(
            "filesystem.exec = ['/usr', '/bin', '/lib', '/lib64', '{private}']\nfilesystem.read = ['{private}', '/usr']"
        );
        std::fs::write(&own, text).expect("write");
        let (own, flag) = (own.to_str().expect("text"), format!("--{list}"));
        for named in [&*whole, &format!("{out}:none"), "/var:none"] {
            let flags = ["--workspace", named, "--policy", own, &flag, &private];
            let ran = below(who, &workspace, wide)
                .flags(flags)
                .argv(["/usr/bin/true"]);
            refused(&ran, &flag);
            assert_eq!(
                ran.verdict["reason"]["code"], "ask-beyond-policy",
                "{ran:?}"
            );
        }
    }
    // The controls: what the operator grants by its own path, in the workspace or not, and the same flag without
    // an operator's policy.
    let whole_data = format!("{out}/data:none");
    let flags = [
        "--workspace",
        &whole_data,
        "--read",
        &format!("{out}/data/a"),
    ];
    let ran = below(who, &workspace, wide)
        .flags(flags)
        .argv(["/usr/bin/cat", &format!("{out}/data/a/key")]);
    assert_eq!(ran.ok().stdout, "secret");
    let data = format!("{out}/data/a");
    let ran = below(who, &workspace, "")
        .flags(["--workspace", "none", "--read", &data])
        .argv(["/usr/bin/cat", &format!("{data}/key")]);
    assert_eq!(ran.ok().stdout, "secret");
    let ran = Run::new(who, &workspace)
        .flags(["--workspace", &whole, "--read", &private])
        .argv(["/usr/bin/cat", &format!("{private}/key")]);
    assert_eq!(ran.ok().stdout, "secret");
}

each!(a_flag_vouches_for_no_link_that_another_layer_names);
/// A caller's own policy may name a link in a granted tree. Neither it nor a flag of the same name makes its target
/// the operator's grant, however the workspace is spelled.
fn a_flag_vouches_for_no_link_that_another_layer_names(who: Who) {
    let workspace = granted(who);
    let out = workspace.outside().to_str().expect("text").to_owned();
    let own = workspace.outside().join("own.toml");
    symlink(
        workspace.outside().join("private/key"),
        workspace.path().join("evil"),
    )
    .expect("symlink");
    symlink(workspace.outside(), workspace.outside().join("link")).expect("symlink");
    let linked = format!("{out}/link/work");
    workspace.write("inside", "secret");
    symlink("inside", workspace.path().join("good")).expect("symlink");
    let rule = "filesystem.workspace = 'ro'\nfilesystem.exec = ['/usr', '/bin', '/lib', '/lib64', '$WORKSPACE', 'OUT/data']";
    let real = workspace.path().display().to_string();
    for (named, path) in [
        (linked.clone(), format!("{linked}/evil")),
        (real.clone(), format!("{real}/evil")),
        (real.clone(), format!("{out}/data/out")),
    ] {
        for list in ["read", "exec"] {
            let text = format!("filesystem.{list} = ['/usr', '/bin', '/lib', '/lib64', '{path}']");
            std::fs::write(&own, text).expect("write");
            let own = own.to_str().expect("text");
            let flag = format!("--{list}");
            let flags = ["--workspace", &named, "--policy", own, &flag, &path];
            let ran = below(who, &workspace, rule)
                .flags(flags)
                .argv(["/usr/bin/true"]);
            refused(&ran, "is a symbolic link out of");
        }
    }
    // The control: a link that stays in the workspace.
    let flags = ["--workspace", &linked, "--read", &format!("{linked}/good")];
    let ran = below(who, &workspace, rule)
        .flags(flags)
        .argv(["/usr/bin/cat", "good"]);
    assert_eq!(ran.ok().stdout, "secret");
}

each!(a_flag_shows_a_workspace_that_a_rule_hides);
/// Without a ceiling the caller is the operator: `--workspace` shows what `tools.deny` would hide, and programs
/// in it execute where the policy says so.
fn a_flag_shows_a_workspace_that_a_rule_hides(who: Who) {
    let workspace = Workspace::new(who);
    workspace.write("tool", "#!/bin/sh\necho ran\n");
    let policy = "extends = ['default']\ntools.deny = ['read']\nfilesystem.exec = ['/usr', '/bin', '/lib', '/lib64', '$WORKSPACE']";
    let run = || Run::new(who, &workspace).policy_text(&workspace, "operator", policy);
    let place = workspace.path().display().to_string();
    for mode in ["ro", "rw"] {
        let ran = run()
            .flags(["--workspace", &format!("{place}:{mode}")])
            .argv([format!("{place}/tool")]);
        assert_eq!(ran.ok().stdout, "ran\n");
    }
    // The control: without the flag there is none.
    let ran = run().argv(["/usr/bin/ls", "-A", &place]);
    assert_ne!(ran.status, 0, "{ran:?}");
}

each!(a_link_in_the_workspace_leads_no_writable_grant_out);
/// An operator grants one directory of a read-only workspace for writing, and the workspace has a link of that name.
fn a_link_in_the_workspace_leads_no_writable_grant_out(who: Who) {
    let workspace = granted(who);
    let rule = |write: &str| {
        let text = format!(
            "allow_degraded = ['cgroup']\nextends = ['default']\nfilesystem.workspace = 'ro'\nfilesystem.write = ['{write}']\n"
        );
        let config = workspace.outside().join("config");
        std::fs::create_dir_all(config.join("creel")).expect("mkdir -p");
        std::fs::write(config.join("creel/policy.toml"), text).expect("write");
        Run::new(who, &workspace).outer_env("XDG_CONFIG_HOME", config)
    };
    symlink(
        workspace.outside().join("free"),
        workspace.path().join("data"),
    )
    .expect("symlink");
    let ran = rule("$WORKSPACE/data").argv(["/usr/bin/true"]);
    refused(&ran, "is a symbolic link out of");
    // The control: a directory.
    workspace.write("kept/file", "");
    rule("$WORKSPACE/kept")
        .argv(["/usr/bin/touch", "kept/new"])
        .ok();
    assert!(workspace.path().join("kept/new").exists());
}
