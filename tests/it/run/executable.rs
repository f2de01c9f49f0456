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

each!(exec_grants_a_program_and_a_directory_of_them);
fn exec_grants_a_program_and_a_directory_of_them(who: Who) {
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

each!(a_program_that_is_on_the_host_alone_is_told_with_what_grants_it);
fn a_program_that_is_on_the_host_alone_is_told_with_what_grants_it(who: Who) {
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
        "--exec {} --exec {} -- {}",
        bin.display(),
        share.display(),
        link.display()
    );
    for name in ["agent".as_ref(), link.as_os_str()] {
        let ran = run(&[], name);
        assert_eq!(ran.status, 127, "{ran:#?}");
        assert!(ran.stderr.contains(&told), "{told}\n{ran:#?}");
    }
    // The advised command grants it.
    let exec: &std::ffi::OsStr = "--exec".as_ref();
    let flags = [exec, bin.as_os_str(), exec, share.as_os_str()];
    assert_eq!(run(&flags, link.as_os_str()).ok().stdout, "agent\ndata\n");
    // Nor is what is granted already, and lacks its interpreter.
    std::fs::write(&program, "#!/nonexistent\n").expect("write");
    let lacking = run(&flags, link.as_os_str());
    assert_eq!(lacking.status, 127, "{lacking:#?}");
    assert!(!lacking.stderr.contains("on the host"), "{lacking:#?}");
    // A program that exists nowhere is not reported to be somewhere.
    let nowhere = run(&[], "no-such-agent".as_ref());
    assert_eq!(nowhere.status, 127, "{nowhere:#?}");
    assert!(!nowhere.stderr.contains("on the host"), "{nowhere:#?}");
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
        ran.stderr
            .contains("lists the programs that may be executed"),
        "{ran:#?}"
    );
}

each!(a_missing_loader_is_named_with_what_grants_it);
/// A program's missing file is reported, and the advised flag grants it.
fn a_missing_loader_is_named_with_what_grants_it(who: Who) {
    let workspace = Workspace::new(who);
    workspace.write("script", "#!/usr/bin/env sh\necho ran\n");
    let set = "environment.set = { PATH = '/usr/bin' }\n";
    let text = format!("{set}[filesystem]\nexec = ['/usr/bin', '$WORKSPACE']\n");
    for command in ["true", "/usr/bin/true", "./script"] {
        let run = || Run::new(who, &workspace).policy_text(&workspace, "bare", &text);
        let ran = run().argv([command]);
        assert_eq!((ran.status, ran.kind()), (127, "setup_failed"), "{ran:#?}");
        let error = ran.verdict["error"].as_str().expect("an error");
        assert!(
            error.contains("its loader /lib64/ld-linux-x86-64.so.2 is not"),
            "{error}"
        );
        let flags = error.split_once("grant ").expect("what is missing").1;
        let flags = flags.split(" grants that").next().expect("flags");
        let flags: Vec<&str> = flags
            .split_once("; ")
            .expect("flags")
            .1
            .split_whitespace()
            .collect();
        assert!(flags.contains(&"/lib64"), "{flags:?}");
        // The libraries lie beside the loader, in its own place.
        let ran = run()
            .flags(&flags)
            .flags(["--exec", "/lib"])
            .argv([command]);
        assert_eq!(ran.status, 0, "{ran:#?}");
    }
}

each!(what_cannot_start_is_told_for_its_own_reason);
fn what_cannot_start_is_told_for_its_own_reason(who: Who) {
    let workspace = Workspace::new(who);
    workspace.write("data", "x\n");
    workspace.write("lost", "#!/no/such/interpreter\n");
    let mode = |mode| PermissionsExt::from_mode(mode);
    std::fs::set_permissions(workspace.path().join("data"), mode(0o644)).expect("chmod");
    for (policy, command, status, told) in [
        (
            "",
            "true",
            127,
            "the policy grants no programs at all: `extends = \"default\"`",
        ),
        (
            "",
            "/usr/bin/true",
            127,
            "the policy grants no programs at all: `extends = \"default\"`",
        ),
        (
            "environment.set.PATH = ''",
            "true",
            127,
            "the policy gives the jail no PATH",
        ),
        (
            "extends = 'default'",
            "no-such",
            127,
            "no-such is in no directory of the jail's PATH",
        ),
        (
            "extends = 'default'",
            "./lost",
            127,
            "its interpreter /no/such/interpreter does not exist on this machine",
        ),
        (
            "extends = 'default'",
            "./data",
            126,
            "its file lacks the x bit",
        ),
        ("extends = 'default'", "/usr", 126, "/usr is a directory"),
        (
            "extends = 'default'\ntools.exec.commands = ['cat']",
            "true",
            126,
            "true may not be executed: the list of commands does not have it",
        ),
    ] {
        let run = Run::new(who, &workspace).policy_text(&workspace, "p", policy);
        let ran = run.argv([command]);
        assert_eq!(ran.status, status, "{ran:#?}");
        let error = ran.verdict["error"].as_str().expect("an error");
        assert!(error.contains(told), "{told}\n{error}");
    }
    // Control.
    let run = Run::new(who, &workspace).policy_text(&workspace, "p", "extends = 'default'");
    run.argv(["true"]).ok();
}

each!(the_first_policy_of_the_document_runs);
/// The first policy of the document is one to start from.
fn the_first_policy_of_the_document_runs(who: Who) {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/policy.md");
    let page = std::fs::read_to_string(page).expect("docs/policy.md");
    let (_, rest) = page.split_once("```toml\n").expect("a policy");
    let (text, _) = rest.split_once("```").expect("its end");
    let workspace = Workspace::new(who);
    workspace.write("made-before", "x\n");
    let run = || Run::new(who, &workspace).policy_text(&workspace, "first", text);
    let ran = run().sh("echo $GREETING; cat made-before; echo y >made; cat made");
    assert_eq!(ran.ok().stdout, "hello\nx\ny\n");
    // It denies what it says.
    let denied = run().sh("echo secret >.env");
    assert!(
        denied.status != 0 && denied.stderr.contains(".env"),
        "{denied:#?}"
    );
}

each!(the_hint_repeats_the_command_line);
/// The hint is a whole command line, and its own: only what goes into the environment is not repeated.
fn the_hint_repeats_the_command_line(who: Who) {
    let workspace = Workspace::new(who);
    let (program, _) = program(&workspace);
    let share = program.parent().expect("share");
    let run = Run::new(who, &workspace)
        .policy("coding")
        .flags(["-e", "TOKEN=hidden", "--env=OTHER=hidden", "-m", "512MiB"])
        .outer_env("PATH", format!("/usr/bin:/bin:{}", share.display()));
    let ran = run.argv(["agent", "two words", "--flag"]);
    assert_eq!(ran.status, 127, "{ran:#?}");
    for told in [
        "creel run ",
        " --policy coding -e TOKEN=... --env=OTHER=... -m 512MiB ",
        &format!(
            " --exec {} -- {} 'two words' --flag\n",
            share.display(),
            program.display()
        ),
    ] {
        assert!(ran.stderr.contains(told), "{told}\n{ran:#?}");
    }
    assert!(!ran.stderr.contains("hidden"), "{ran:#?}");
    // A long one is told without its arguments.
    let run =
        Run::new(who, &workspace).outer_env("PATH", format!("/usr/bin:/bin:{}", share.display()));
    let long = run.argv(["agent", &"x".repeat(4096)]);
    assert!(long.stderr.contains("agent ...\n"), "{long:#?}");
    assert!(!long.stderr.contains("xxx"), "{long:#?}");
}

each!(a_directory_of_exec_is_on_the_path_last);
/// Programs of one directory start each other by name.
fn a_directory_of_exec_is_on_the_path_last(who: Who) {
    let workspace = Workspace::new(who);
    let (program, _) = program(&workspace);
    let share = program.parent().expect("share");
    for (name, text) in [
        ("creel-shell", "#!/bin/sh\nexec /bin/sh \"$@\"\n"),
        ("starts", "#!/usr/bin/env creel-shell\nagent; ls data\n"),
        ("ls", "#!/bin/sh\necho not this one\n"),
    ] {
        std::fs::write(share.join(name), text).expect("write");
        let mode = PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(share.join(name), mode).expect("chmod");
    }
    let flags = || ["--exec".as_ref(), share.as_os_str()];
    let run = || Run::new(who, &workspace).flags(flags());
    workspace.write("data", "");
    let ran = run().argv(["starts"]);
    assert_eq!(ran.stdout, "agent\ndata\ndata\n", "{ran:#?}");
    // A PATH that the caller names is the caller's.
    let ran = run().flags(["-e", "PATH=/usr/bin:/bin"]).argv(["starts"]);
    assert_eq!((ran.status, ran.kind()), (127, "setup_failed"), "{ran:#?}");
    // So it is without the grant, and a single file is no directory to look in.
    for flags in [vec![], vec!["--exec".as_ref(), program.as_os_str()]] {
        let ran = Run::new(who, &workspace).flags(flags).sh("echo $PATH");
        assert!(!ran.ok().stdout.contains("share"));
    }
}

each!(a_rule_that_refuses_the_command_is_named);
/// If a rule refuses a command, the message names that rule and nothing that could not help.
fn a_rule_that_refuses_the_command_is_named(who: Who) {
    let workspace = Workspace::new(who);
    let text = "extends = 'default'\n[tools.exec]\nask = 'on-miss'\n\
        commands = ['ls', { command = 'cat', args = ['data'] }]\n";
    let run = || Run::new(who, &workspace).policy_text(&workspace, "rules", text);
    workspace.write("data", "x\n");
    for (argv, told) in [
        (
            &["cat", "other"][..],
            "cat may not be executed: other arguments are allowed at",
        ),
        (
            &["env"],
            "env may not be executed: the list of commands does not have it",
        ),
        (
            &["/usr/bin/sh", "-c", "true"],
            "sh may not be executed: the list of commands",
        ),
    ] {
        let ran = run().argv(argv);
        assert_eq!((ran.status, ran.kind()), (126, "denied"), "{ran:#?}");
        let lines: Vec<&str> = ran.stderr.lines().collect();
        assert!(lines.len() == 1 && lines[0].contains(told), "{ran:#?}");
        assert!(!ran.stderr.contains("--exec"), "{ran:#?}");
    }
    assert_eq!(run().argv(["cat", "data"]).ok().stdout, "x\n");
    // One that runs and fails may fail of what it starts: one line says so.
    let ran = run().argv(["ls", "/nonexistent"]);
    let notes = ran.stderr.lines().filter(|line| line.contains("note: "));
    assert_eq!(notes.count(), 1, "{ran:#?}");
    assert!(ran.stderr.contains("-v says 1 more"), "{ran:#?}");
    let ran = run().flags(["-v"]).argv(["ls", "/nonexistent"]);
    let notes = ran.stderr.lines().filter(|line| line.contains("note: "));
    assert!(notes.count() >= 2, "{ran:#?}");
}

each!(a_client_that_fails_without_a_network_is_told_of_the_flag);
/// A client that failed for want of a network gets the hint that the policy has none.
fn a_client_that_fails_without_a_network_is_told_of_the_flag(who: Who) {
    let told = "--allow-net HOST";
    let workspace = Workspace::new(who);
    let run = || Run::new(who, &workspace);
    let url = "http://name.example/";
    assert!(run().argv(["curl", "-sS", url]).stderr.contains(told));
    let ran = run().argv(["git", "ls-remote", url]);
    assert!(ran.stderr.contains(told), "{ran:#?}");
    // With a network, or without a sign of one in the command, the hint is absent.
    for ran in [
        run().argv(["git", "log"]),
        run()
            .flags(["--allow-net", "other.example"])
            .argv(["curl", "-sS", url]),
        run().argv(["curl", "--version"]),
    ] {
        assert!(!ran.stderr.contains(told), "{ran:#?}");
    }
}

each!(a_debugger_that_fails_is_told_of_the_key);
/// A debugger that could not trace is told what lets it.
fn a_debugger_that_fails_is_told_of_the_key(who: Who) {
    let told = "`debug = true` in [process]";
    let workspace = Workspace::new(who);
    let run = |policy: &str, argv: &[&str]| {
        let run = Run::new(who, &workspace).policy(policy);
        run.argv(argv.iter().copied())
    };
    for name in ["gdb", "lldb"] {
        // Neither need be installed: what has the name and fails will do.
        let program = workspace.write(name, "#!/bin/sh\nexit 1\n");
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).expect("chmod");
        let path = format!("./{name}");
        let ran = run("default", &[&path]);
        assert!(ran.stderr.contains(told), "{ran:#?}");
        // If it may, or did not fail, or is another program, the hint is absent.
        assert!(!run("coding", &[&path]).stderr.contains(told));
    }
    assert!(!run("default", &["/bin/false"]).stderr.contains(told));
    // A program that works under no policy gets its own hint.
    let program = workspace.write("strace", "#!/bin/sh\nexit 1\n");
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).expect("chmod");
    for policy in ["default", "coding"] {
        let said = run(policy, &["./strace"]).stderr;
        assert!(said.contains("strace does not work in a jail"), "{said}");
    }
}

each!(a_script_whose_interpreter_is_not_allowed_is_left_out_and_stops_nothing);
/// A bare name stands for what this machine has under it: one that cannot start stops no other program.
fn a_script_whose_interpreter_is_not_allowed_is_left_out_and_stops_nothing(who: Who) {
    let rules = |more: &str| {
        format!(
            "prefix_rule(pattern = [\"ls\"])\nprefix_rule(pattern = [\"egrep\"])\nprefix_rule(pattern = [\"cat\", \"data\"])\n{more}"
        )
    };
    let shell = "prefix_rule(pattern = [[\"sh\", \"grep\"]])\n";
    let claude = |more: &str| {
        format!(
            "{{\"permissions\": {{\"allow\": [\"Bash(ls *)\", \"Bash(cat data)\", \"Bash(egrep *)\"{more}]}}}}"
        )
    };
    let native = |more: &str| {
        format!(
            "extends = 'default'\ntools.exec.commands = ['ls', {{ command = 'cat', args = ['data'] }}, 'egrep'{more}]\n"
        )
    };
    let workspace = Workspace::new(who);
    workspace.write("data", "x\n");
    for (file, less, more) in [
        ("p.rules", rules(""), rules(shell)),
        ("p.toml", native(""), native(", 'sh', 'grep'")),
        (
            "settings.json",
            claude(""),
            claude(", \"Bash(sh *)\", \"Bash(grep *)\""),
        ),
    ] {
        let run = |text: &str| {
            let path = workspace.outside().join(file);
            std::fs::write(&path, text).expect("write");
            let run = Run::new(who, &workspace);
            match file {
                "p.toml" => run.policy(path),
                // A layer that says which programs execute, in the system's trees.
                _ => run.policy("default").policy(path),
            }
        };
        let ran = run(&less).argv(["ls", "data"]).ok();
        assert_eq!(ran.stdout, "data\n", "{file} {ran:#?}");
        let said = "egrep does not execute: its interpreter /bin/sh may not be executed";
        let receipt = ran.verdict["receipt"].to_string();
        assert!(receipt.contains(said), "{file} {receipt}");
        // One with arguments is admitted alone, and others go without it.
        assert_eq!(run(&less).argv(["cat", "data"]).ok().stdout, "x\n");
        let ran = run(&less).argv(["egrep", "x", "data"]);
        assert_eq!((ran.status, ran.kind()), (126, "denied"), "{file} {ran:#?}");
        let told = "a script needs its interpreter /bin/sh on that list";
        assert!(ran.stderr.contains(told), "{file} {ran:#?}");
        // With its interpreter it executes.
        let ran = run(&more).argv(["egrep", "x", "data"]).ok();
        assert_eq!(ran.stdout, "x\n", "{file} {ran:#?}");
    }
}

each!(a_name_that_is_no_program_is_left_out);
/// A file with an allowed name that is no program stops no other either; by its path it is refused.
fn a_name_that_is_no_program_is_left_out(who: Who) {
    let workspace = Workspace::new(who);
    workspace.write("text", "plain\n");
    workspace.write("data", "");
    let run = |commands: &str| {
        let text = format!("extends = 'default'\ntools.exec.commands = [{commands}]\n");
        Run::new(who, &workspace)
            .policy_text(&workspace, "p", &text)
            .argv(["ls", "data"])
    };
    // A directory among the programs: X11 in Debian's.
    assert_eq!(run("'ls', 'no-such-program'").ok().stdout, "data\n");
    for refused in [
        "'$WORKSPACE/text'",
        "'/usr/bin'",
        "'/usr/bin/no-such-program'",
    ] {
        let ran = run(&format!("'ls', {refused}"));
        assert_eq!(ran.status, 125, "{ran:#?}");
    }
}
