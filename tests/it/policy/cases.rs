//! `test`: the cases inside a policy, against the evaluator and against the kernel.

use super::Desk;

/// Fails by design: what the evaluator refuses here, and what it allows.
const WRONG: &str = "extends = 'default'\n[tests]\nallow = ['read /opt/x']\ndeny = ['exec ls']\n";

#[test]
fn cases_are_held_against_the_evaluator() {
    let desk = Desk::new();
    desk.file("wrong.toml", WRONG);
    let said = desk.policy(["test", "wrong.toml"]).exits(1);
    assert!(
        said.stdout.starts_with(
            "FAIL  wrong.toml:3: allow read /opt/x: denied: nothing grants it\n\
             FAIL  wrong.toml:4: deny exec ls: allowed at preset:default:"
        ),
        "{said:#?}"
    );
    assert!(said.stdout.ends_with("0 passed, 2 failed\n"), "{said:#?}");
    let json = desk
        .policy(["test", "--json", "wrong.toml"])
        .exits(1)
        .json();
    assert_eq!(
        (&json["failed"], &json["cases"][0]["holds"]),
        (&2.into(), &false.into())
    );
    // Control: the same cases the other way round.
    let right = WRONG.replace("allow", "ALLOW").replace("deny", "allow");
    desk.file("right.toml", &right.replace("ALLOW", "deny"));
    desk.policy(["test", "right.toml"]).exits(0);
    desk.policy(["test", "nosuch.toml"]).exits(2);
    desk.policy(["test"]).exits(2);
}

/// Evaluator and kernel agree, and where the kernel refuses it names its errno.
#[test]
fn cases_are_held_against_the_kernel() {
    let desk = Desk::new();
    for (name, tools, cases, answers) in [
        (
            "open",
            "extends = 'default'\n",
            "allow = ['read a', 'write b/c', 'exec ls']\n\
             deny = ['write /usr/x', 'exec /opt/none', 'fetch https://x']",
            [
                ("allow read a", "allowed"),
                ("allow write b/c", "allowed"),
                ("allow exec ls", "allowed"),
                ("deny write /usr/x", "denied, EROFS"),
                ("deny fetch https://x", "denied, ENETUNREACH"),
            ]
            .as_slice(),
        ),
        (
            "listed",
            "extends = 'default'\n[tools]\ndeny = ['write']\n[tools.exec]\nsecurity = 'allowlist'\ncommands = ['ls']\n",
            "allow = ['read a', 'exec ls']\ndeny = ['write a', 'exec cat']",
            &[
                ("allow read a", "allowed"),
                ("allow exec ls", "allowed"),
                ("deny write a", "denied, EROFS"),
                ("deny exec cat", "denied, EACCES"),
            ],
        ),
        (
            "bare",
            "filesystem.exec = ['/usr']\n[tools]\nallow = []\n",
            "deny = ['read a', 'write a', 'exec ls']",
            &[
                ("deny read a", "denied, ENOENT"),
                ("deny write a", "denied, ENOENT"),
                ("deny exec ls", "denied, EACCES"),
            ],
        ),
    ] {
        desk.file(
            &format!("{name}.toml"),
            &format!("{tools}[tests]\n{cases}\n"),
        );
        let file = format!("{name}.toml");
        let words = [
            "test",
            "--kernel",
            "--json",
            "--allow-degraded",
            "cgroup",
            &file,
        ];
        let json = desk.policy(words).exits(0).json();
        for (case, answer) in answers {
            let found = json["cases"]
                .as_array()
                .expect("cases")
                .iter()
                .find(|found| {
                    let text = |key: &str| found[key].as_str().expect("text").to_owned();
                    format!("{} {}", text("expected"), text("case")) == *case
                });
            let found = found.unwrap_or_else(|| panic!("{case}: {json:#}"));
            assert_eq!(found["kernel"], *answer, "{name}: {case}");
        }
        let left = std::fs::read_dir(desk.work()).expect("a directory").count();
        assert!(left <= 3, "nothing is left but the policies");
    }
}

/// Destinations are the relay's to decide; the files of such a policy are tried as of any other.
#[test]
fn cases_of_a_policy_with_a_network_are_held_against_the_kernel() {
    let desk = Desk::new();
    for network in [
        "mode = 'allowlist'\nallow = ['example.org']",
        "mode = 'ask'\nallow = ['example.org']",
        "mode = 'open'",
    ] {
        let policy = format!(
            "extends = 'default'\n[network]\n{network}\n[tests]\n\
             allow = ['read a', 'fetch https://example.org']\ndeny = ['write /usr/x']\n"
        );
        desk.file("network.toml", &policy);
        let words = [
            "test",
            "--kernel",
            "--allow-degraded",
            "cgroup",
            "network.toml",
        ];
        let said = desk.policy(words).exits(0);
        assert!(
            said.stdout
                .ends_with("3 passed, 0 failed; the kernel was asked about 2\n"),
            "{network}: {said:#?}"
        );
    }
}

#[test]
fn a_file_without_cases_says_so_and_fails() {
    let desk = Desk::new();
    for text in ["", "extends = 'coding'\n", "[tests]\nallow = []\n"] {
        desk.file("p.toml", text);
        for flags in [
            &["test", "p.toml"][..],
            &["test", "--kernel", "--allow-degraded", "cgroup", "p.toml"],
        ] {
            // An empty file grants no program, and a jail of it is asked nothing.
            let said = desk.policy(flags.iter().copied()).exits(1);
            assert_eq!(
                said.stdout,
                "FAIL  p.toml: no cases; write what the policy must allow and deny into [tests]: allow = [...], deny = [...]\n0 passed, 0 failed\n",
                "{said:#?}"
            );
        }
    }
    // Each of several files has some, whichever comes first.
    desk.file("q.toml", "[tests]\ndeny = ['read /etc/shadow']\n");
    for files in [["p.toml", "q.toml"], ["q.toml", "p.toml"]] {
        let said = desk.policy(["test"].into_iter().chain(files)).exits(1);
        assert!(said.stdout.contains("p.toml: no cases"), "{said:#?}");
        let json = desk
            .policy(["test", "--json"].into_iter().chain(files))
            .exits(1);
        let json: serde_json::Value = serde_json::from_str(&json.stdout).expect("JSON");
        assert_eq!(json["without_cases"], serde_json::json!(["p.toml"]));
    }
    // Control: one case is enough.
    desk.file("p.toml", "[tests]\ndeny = ['read /etc/shadow']\n");
    let said = desk.policy(["test", "p.toml"]).exits(0);
    assert!(said.stdout.ends_with("1 passed, 0 failed\n"), "{said:#?}");
}
