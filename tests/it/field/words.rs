//! Flags that were taken for something else than was meant.

use crate::support::{Run, Who, Workspace};

#[track_caller]
fn refused(who: Who, workspace: &Workspace, flags: &[&str]) -> String {
    let ran = Run::new(who, workspace).flags(flags).argv(["/bin/true"]);
    assert_eq!(ran.status, 125, "{flags:?}: {ran:?}");
    ran.stderr
}

each!(a_number_without_a_unit_is_no_size_and_no_time);
/// 512 bytes are nobody's limit.
fn a_number_without_a_unit_is_no_size_and_no_time(who: Who) {
    let workspace = Workspace::new(who);
    for flag in ["--memory", "--disk", "--output-limit"] {
        let said = refused(who, &workspace, &[flag, "512"]);
        assert!(said.contains("512MiB, or 512B for bytes"), "{said}");
    }
    assert!(refused(who, &workspace, &["--timeout", "30"]).contains("30s"));
    // The controls.
    let run = Run::new(who, &workspace).flags(["--disk", "64MiB", "--output-limit", "512B"]);
    run.argv(["/bin/true"]).ok();
    let policy = "[limits]\nmemory = \"512\"\n";
    let run = Run::new(who, &workspace).policy_text(&workspace, "bare", policy);
    let ran = run.argv(["/bin/true"]);
    assert!(ran.stderr.contains("512MiB, or 512B for bytes"), "{ran:?}");
}

each!(a_directory_of_the_jails_own_is_not_granted_by_a_flag);
/// Files that the jail writes there are gone at the end.
fn a_directory_of_the_jails_own_is_not_granted_by_a_flag(who: Who) {
    let workspace = Workspace::new(who);
    let (_, _, home) = who.account();
    let home = home.display().to_string();
    for own in ["/tmp", "/dev/shm", home.as_str()] {
        let said = refused(who, &workspace, &["--write", own]);
        assert!(said.contains("the jail has its own"), "{said}");
        assert!(said.contains("gone at the end"), "{said}");
    }
    let below = workspace.outside().join("below");
    std::fs::create_dir(&below).expect("mkdir");
    let (uid, gid, _) = who.account();
    std::os::unix::fs::chown(&below, Some(uid), Some(gid)).expect("chown");
    let below = below.display().to_string();
    Run::new(who, &workspace)
        .flags(["--write", &below])
        .sh(&format!("echo x > {below}/file"))
        .ok();
}

each!(an_absent_path_of_a_flag_is_told_in_words_of_flags);
/// A key of policies is no advice to who has flags.
fn an_absent_path_of_a_flag_is_told_in_words_of_flags(who: Who) {
    let workspace = Workspace::new(who);
    for flag in ["--read", "--write"] {
        let said = refused(who, &workspace, &[flag, "/nonexistent/x"]);
        assert!(said.contains("leave the flag out"), "{said}");
        assert!(!said.contains("optional"), "{said}");
    }
    let policy = "[filesystem]\nread = [\"/nonexistent/x\"]\n";
    let run = Run::new(who, &workspace).policy_text(&workspace, "absent", policy);
    let ran = run.argv(["/bin/true"]);
    assert!(ran.stderr.contains("optional = true"), "{ran:?}");
}

each!(a_misspelt_denial_is_said_before_the_run);
/// To the kernel it is no tool, so it denies nothing; somebody meant that it does.
fn a_misspelt_denial_is_said_before_the_run(who: Who) {
    let workspace = Workspace::new(who);
    let said = |name: &str, flags: &[&str]| {
        let policy = format!("extends = 'default'\n[tools]\ndeny = ['{name}']\n");
        let run = Run::new(who, &workspace).policy_text(&workspace, "denied", &policy);
        let ran = run
            .flags(flags)
            .sh("echo x 2>/dev/null >new; rm -f new; true");
        let ran = ran.ok();
        let lines = ran.stderr.lines();
        let lines = lines.filter(|line| line.contains("tools.deny"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    for (wrong, right) in [
        ("wriet", "write"),
        ("Exce", "exec"),
        ("aply_patch", "apply_patch"),
    ] {
        let lines = said(wrong, &[]);
        assert_eq!(lines.len(), 1, "{lines:?}");
        let meant = format!("did you mean '{right}'?");
        assert!(lines[0].ends_with(&meant), "{lines:?}");
        assert_eq!(said(wrong, &["--quiet"]).len(), 0);
    }
    // Names spelt right, names that match a wildcard, and a runtime's own tools.
    for name in ["fetch", "fe*", "sessions_list", "canvas"] {
        assert_eq!(said(name, &[]).len(), 0, "{name}");
    }
}
