//! Only what is declared gets in, and the caller's `PATH` decides nothing.

use std::collections::BTreeMap;

use crate::support::{Run, Who, Workspace};

fn environment(text: &str) -> BTreeMap<String, String> {
    let lines = text.split('\0').filter(|line| !line.is_empty());
    lines
        .map(|line| line.split_once('=').expect("NAME=VALUE"))
        .map(|(k, v)| (k.into(), v.into()))
        .collect()
}

each!(only_declared_variables_are_inside);
fn only_declared_variables_are_inside(who: Who) {
    let workspace = Workspace::new(who);
    let ran = Run::new(who, &workspace)
        .outer_env("AWS_SECRET_ACCESS_KEY", "secret")
        .outer_env("GITHUB_TOKEN", "secret")
        .outer_env("SSH_AUTH_SOCK", "/secret")
        .outer_env("LD_PRELOAD_NOT", "secret")
        .outer_env("CREEL_SOMETHING", "secret")
        .outer_env("TERM", "dumb")
        .argv(["/usr/bin/env", "-0"])
        .ok();
    assert!(!ran.stdout.contains("secret"), "{}", ran.stdout);
    let inside = environment(&ran.stdout);
    let names: Vec<&str> = inside.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "CREEL", "CREEL_ID", "HOME", "LANG", "LOGNAME", "PATH", "SHELL", "TERM", "USER"
        ]
    );
    assert_eq!(inside["CREEL"], "1");
    assert_eq!(
        inside["CREEL_ID"],
        ran.verdict["id"].as_str().expect("an id")
    );
    assert_eq!(
        (inside["USER"].as_str(), inside["TERM"].as_str()),
        ("agent", "dumb")
    );
    assert_eq!(inside["HOME"], who.account().2.to_str().expect("text"));
    assert!(inside["PATH"].starts_with("/usr/local/bin:/usr/bin:/bin"));
}

each!(env_sets_a_variable_and_passes_the_callers_value);
fn env_sets_a_variable_and_passes_the_callers_value(who: Who) {
    let workspace = Workspace::new(who);
    let ran = Run::new(who, &workspace)
        .outer_env("MINE", "of the caller")
        .flags([
            "-e",
            "A=b=c d",
            "-e",
            "EMPTY=",
            "--env",
            "MINE",
            "-e",
            "USER=somebody",
        ])
        .sh("echo \"$A|${EMPTY-unset}|$MINE|$USER\"")
        .ok();
    assert_eq!(ran.stdout, "b=c d||of the caller|somebody\n");
}

each!(env_refuses_what_is_not_set_has_no_name_or_is_creels_own);
fn env_refuses_what_is_not_set_has_no_name_or_is_creels_own(who: Who) {
    let workspace = Workspace::new(who);
    for (flag, words) in [
        ("NOT_SET_HERE", "--env NOT_SET_HERE=VALUE"),
        ("=value", "needs a name"),
        ("", "needs a name"),
        ("CREEL=0", "reserved"),
        ("CREEL_ID=0", "reserved"),
    ] {
        let ran = Run::new(who, &workspace).flags(["-e", flag]).sh("true");
        assert_eq!(ran.status, 125, "{flag}: {ran:#?}");
        assert!(
            ran.stderr.contains(words) && ran.stderr.lines().count() == 1,
            "{flag}: {ran:#?}"
        );
    }
}

each!(the_callers_path_and_directory_do_not_choose_the_command);
fn the_callers_path_and_directory_do_not_choose_the_command(who: Who) {
    let workspace = Workspace::new(who);
    let fake = workspace.write("ls", "#!/bin/sh\necho fake\n");
    let dir = fake.parent().expect("a parent");
    let path = format!(".:{}::/usr/bin", dir.display());
    let ran = Run::new(who, &workspace)
        .outer_env("PATH", &path)
        .argv(["ls"])
        .ok();
    assert_eq!(ran.stdout, "ls\n", "the real one lists the fake one");
    // Control: named by a path, the fake one runs.
    assert_eq!(
        Run::new(who, &workspace).argv(["./ls"]).ok().stdout,
        "fake\n"
    );
    // And the jail's own PATH decides.
    let inside = Run::new(who, &workspace)
        .flags(["-e", &format!("PATH={path}")])
        .argv(["ls"])
        .ok();
    assert_eq!(inside.stdout, "fake\n");
}

each!(arguments_arrive_as_they_were_written);
/// Everything but a slash-less word is a path, and none of it is a shell's business.
fn arguments_arrive_as_they_were_written(who: Who) {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let workspace = Workspace::new(who);
    let words: [&[u8]; 6] = [b"", b"two words", b"*", b"$HOME", b"new\nline", b"--flag"];
    let mut argv = vec![OsStr::new("/usr/bin/printf"), OsStr::new("[%s]")];
    argv.extend(words.iter().map(|word| OsStr::from_bytes(word)));
    let ran = Run::new(who, &workspace).argv(argv).ok();
    assert_eq!(ran.stdout, "[][two words][*][$HOME][new\nline][--flag]");
    let ran = Run::new(who, &workspace).argv([
        OsStr::new("/usr/bin/printf"),
        OsStr::new("%s"),
        OsStr::from_bytes(b"\xff"),
    ]);
    assert_eq!(ran.ok().stdout, "\u{fffd}");
}
