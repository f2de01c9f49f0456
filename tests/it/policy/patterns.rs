//! Patterns in every verb: what they meet, what they miss, and what is said of it.

use std::path::Path;

use super::Desk;

const POLICY: &str = "\
extends = 'default'
[filesystem]
workspace = 'ro'
read = ['/usr/lib/o[s]-release', { path = '/opt/none-*', optional = true }]
deny = ['$WORKSPACE/**/.env*', '$WORKSPACE/**/*.pem']
[tests]
allow = ['read notes.txt', 'read /usr/lib/os-release']
deny = ['read .env', 'read a/b/.env.local', 'read x/y/z.pem', 'write notes.txt']
";

fn desk() -> Desk {
    let desk = Desk::new();
    for name in [".env", "src/.env", "a.pem", "[app]/k.pem", "notes.txt"] {
        desk.file(name, "");
    }
    desk.file("p.toml", POLICY);
    desk
}

#[test]
fn check_and_test_know_them() {
    let desk = desk();
    let said = desk.policy(["check", "p.toml"]).exits(0);
    assert_eq!(said.stdout, "p.toml: 0 errors, 0 warnings\n");
    // Cases hold whether or not the files are there.
    let said = desk.policy(["test", "p.toml"]).exits(0);
    assert!(said.stdout.ends_with("6 passed, 0 failed\n"), "{said:#?}");
    let words = ["test", "--kernel", "--allow-degraded", "cgroup", "p.toml"];
    let said = desk.policy(words).exits(0);
    for line in [
        "deny read a/b/.env.local: denied: denied at p.toml:5; the kernel: denied, EACCES",
        "deny read x/y/z.pem: denied: denied at p.toml:5; the kernel: denied, EACCES",
        "allow read notes.txt: allowed at preset:default:14; the kernel: allowed",
    ] {
        assert!(said.stdout.contains(line), "{line}: {said:#?}");
    }

    desk.file(
        "q.toml",
        &POLICY
            .replace("'ro'", "'rw'")
            .replace("{ path = '/opt/none-*', optional = true }", "'/opt/none-*'"),
    );
    let said = desk.policy(["check", "--strict", "q.toml"]).exits(1);
    for line in [
        "warning[pattern-unmet]: /opt/none-* matches no path here, so creel refuses every run\n --> q.toml:4\n",
        "warning[pattern-later]: $WORKSPACE/**/.env* is a pattern, and the jail could create a matching name in $WORKSPACE, so creel refuses every run\n --> q.toml:5\n",
    ] {
        assert!(said.stdout.contains(line), "{line}: {said:#?}");
    }
    let said = desk.policy(["explain", "--policy", "q.toml", "--", "true"]);
    let said = said.exits(2).stderr;
    assert_eq!(
        said,
        "creel: q.toml:4: /opt/none-* matches no path here; correct it, or mark it `optional = true`\n"
    );
}

#[test]
fn show_says_what_they_met_and_means_the_same_again() {
    let desk = desk();
    let shown = desk.policy(["show", "--policy", "p.toml"]).exits(0).stdout;
    for line in [
        "    \"$WORKSPACE/[[]app]/k.pem\", # p.toml:5\n",
        "    \"$WORKSPACE/src/.env\", # p.toml:5\n",
        "    \"$WORKSPACE/**/*.pem\", # p.toml:5\n",
        "# p.toml:4: /opt/none-*: matches no path here and grants nothing\n",
    ] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    desk.file("again.toml", &shown);
    let again = desk.policy(["show", "--policy", "again.toml"]).exits(0);
    let without_places = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let mut lines: Vec<String> = lines
            .map(|line| line.split(" # ").next().unwrap_or_default().to_owned())
            .collect();
        lines.dedup();
        lines
    };
    assert_eq!(without_places(&shown), without_places(&again.stdout));
}

#[test]
fn explain_answers_for_another_machine_from_what_was_found_there() {
    let desk = desk();
    let explain = |words: &[&str]| {
        let base = ["explain", "--allow-degraded", "cgroup", "--policy"];
        desk.policy(base.iter().chain(words).copied())
    };
    let here = explain(&["p.toml", "--", "true"]).exits(0).stdout;
    let count = |dir: &Path| std::fs::read_dir(dir).expect("a directory").count();
    let own = ["", "src", "[app]"].map(|name| count(&desk.work().join(name)));
    let read = own.iter().sum::<usize>() + count(Path::new("/opt"));
    let looked = format!("looked at {read} files and directories, of at most 100000");
    for line in [
        "  filesystem.deny $WORKSPACE/[app]/k.pem (operator, p.toml:5)\n      -> mask file ",
        "/**/*.pem (operator, p.toml:5)\n      -> covers the matching names that exist now; matching names created later",
        "a matching name that the host creates later is not covered",
        // Those of the workspace once, for the two patterns that lead through it.
        &looked,
    ] {
        let all = here.clone() + &explain(&["p.toml", "--json", "--", "true"]).stdout;
        assert!(all.contains(line), "{line}: {here}");
    }
    let described = explain(&["p.toml", "--print-host", "--", "true"]).exits(0);
    desk.file("host.json", &described.stdout);
    // Files that exist here now are not looked up.
    desk.file("new.pem", "");
    let there = explain(&["p.toml", "--host", "host.json", "--", "true"]).exits(0);
    // But for the file of the program, of which nothing was written down.
    let rest = |text: &str| text.split_once('\n').map(|(_, rest)| rest.to_owned());
    assert_eq!(rest(&there.stdout), rest(&here));
    let here = explain(&["p.toml", "--", "true"]).exits(0).stdout;
    assert!(here.contains("$WORKSPACE/new.pem"), "{here}");
    desk.file("q.toml", &POLICY.replace("*.pem", "*.key"));
    let said = explain(&["q.toml", "--host", "host.json", "--", "true"]).exits(2);
    assert!(
        said.stderr
            .contains("q.toml:5: the file lacks the matches of $WORKSPACE/**/*.key"),
        "{said:#?}"
    );
}

#[test]
fn diff_compares_them_as_they_are_written() {
    let desk = desk();
    desk.file(
        "old.toml",
        "filesystem.read = ['~/data']\nfilesystem.deny = ['~/data/*.pem']\n",
    );
    desk.file("new.toml", "filesystem.read = ['~/data/*.csv', '/srv/*']\n");
    let said = desk.policy(["diff", "old.toml", "new.toml"]).exits(1);
    assert_eq!(
        said.stdout,
        "\
widened  filesystem.deny: ~/data/*.pem no longer
widened  filesystem.read: /srv/* (new.toml:1)
narrowed filesystem.read: ~/data (old.toml:1)
"
    );
}

/// A name with a wildcard in it is not a pattern in what check proposes.
#[test]
fn a_fix_names_what_it_means() {
    let desk = desk();
    desk.file("empty.toml", "");
    let said = desk.policy(["check", "empty.toml"]).exits(0).stdout;
    let fix = "add \"$WORKSPACE/[[]app]/k.pem\" to filesystem.deny";
    assert!(said.contains(fix), "{said}");
}

#[test]
fn too_much_is_refused_with_the_way_out() {
    let desk = Desk::new();
    for at in 0..257 {
        desk.file(&format!("many/{at}.k"), "");
    }
    desk.file("p.toml", "filesystem.deny = ['$WORKSPACE/many/*.k']\n");
    for words in [
        ["check", "p.toml"].as_slice(),
        &["show", "--policy", "p.toml"],
        &["explain", "--policy", "p.toml", "--", "true"],
        &["test", "--kernel", "--workspace", ".", "p.toml"],
    ] {
        let said = desk.policy(words.iter().copied()).exits(2);
        assert_eq!(
            said.stderr,
            "creel: p.toml:1: $WORKSPACE/many/*.k cannot be expanded: it matches more than 256 names; \
             name the directory that contains them\n",
            "{words:?}"
        );
    }
}
