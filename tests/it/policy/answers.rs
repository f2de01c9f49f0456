//! `diff`, `show`, `explain`, and what a run says of notes.

use super::Desk;
use crate::support::{Run, Who, Workspace};

#[test]
fn diff_says_what_widened_and_what_narrowed() {
    let desk = Desk::new();
    desk.file(
        "old.toml",
        "filesystem.exec = ['/usr']\nlimits.memory = '1GiB'\n[tools]\ndeny = ['fetch']\n",
    );
    desk.file(
        "new.toml",
        "filesystem.exec = ['/usr', '~/bin']\nlimits.memory = '512MiB'\n",
    );
    let said = desk.policy(["diff", "old.toml", "new.toml"]).exits(1);
    assert_eq!(
        said.stdout,
        "\
widened  filesystem.exec: ~/bin (new.toml:1)
widened  filesystem.read: ~/bin (new.toml:1)
widened  tools.allow: fetch
narrowed limits.memory: 1GiB (old.toml:2)
"
    );
    // Only narrower is no reason to look twice, and the same is nothing at all.
    desk.file(
        "less.toml",
        "filesystem.exec = []\nlimits.memory = '1GiB'\ntools.deny = ['fetch']\n",
    );
    let said = desk.policy(["diff", "old.toml", "less.toml"]).exits(0);
    assert!(said.stdout.starts_with("narrowed "), "{said:#?}");
    // A denial that is new is not one that is gone.
    desk.file(
        "denied.toml",
        "extends = 'default'\nfilesystem.deny = ['~/x']\n",
    );
    let said = desk.policy(["diff", "default", "denied.toml"]).exits(0);
    assert_eq!(said.stdout, "narrowed filesystem.deny: ~/x from now on\n");
    let said = desk.policy(["diff", "denied.toml", "default"]).exits(1);
    assert_eq!(said.stdout, "widened  filesystem.deny: ~/x no longer\n");
    let said = desk.policy(["diff", "default", "default"]).exits(0);
    assert_eq!(said.stdout, "");
    let json = desk
        .policy(["diff", "--json", "old.toml", "new.toml"])
        .exits(1)
        .json();
    assert_eq!(json["widened"][0]["key"], "filesystem.exec");
    assert_eq!(json["widened"][0]["origin"]["line"], 1);
    desk.policy(["diff", "old.toml", "nosuch.toml"]).exits(2);
}

/// More files than are searched for second names: known of the host, so told of another's too.
#[test]
fn a_protected_tree_that_is_too_large_is_refused_or_said() {
    let desk = Desk::new();
    desk.file("big/x", "");
    for (path, status, said) in [
        ("'$WORKSPACE/big'", 2, "p.toml:1: /"),
        (
            "{ path = '$WORKSPACE/big', optional = true }",
            0,
            "has too many files to search",
        ),
    ] {
        desk.file(
            "p.toml",
            &format!("filesystem.protect = [{path}]\nextends = 'default'\n"),
        );
        let explain = |words: &[&str]| {
            let base = [
                "explain",
                "--allow-degraded",
                "cgroup",
                "--policy",
                "p.toml",
            ];
            desk.policy(base.iter().chain(words).copied())
        };
        let host = explain(&["--print-host", "--", "true"]).exits(0);
        let mut host = host.json();
        let big = desk.work().canonicalize().expect("a path").join("big");
        desk.file("host.json", &host.to_string());
        // Control.
        explain(&["--host", "host.json", "--", "true"]).exits(0);
        host["found"]["too_many"] = serde_json::json!([big]);
        desk.file("host.json", &host.to_string());
        let answer = explain(&["--json", "--host", "host.json", "--", "true"]).exits(status);
        let all = answer.stdout.clone() + &answer.stderr;
        assert!(all.contains(said), "{said}: {answer:#?}");
        assert!(
            status == 0 || all.contains("protect the directories in it that matter"),
            "{all}"
        );
    }
}

#[test]
fn what_show_prints_is_a_policy_that_means_the_same() {
    let desk = Desk::new();
    desk.file(
        "p.toml",
        "extends = 'default'\n[tools]\ndeny = ['write']\n[limits]\npids = 7\n",
    );
    let said = desk.policy(["show", "--policy", "p.toml"]).exits(0);
    assert!(said.stdout.contains("pids = 7 # p.toml:5\n"), "{said:#?}");
    assert!(
        said.stdout.contains("workspace = \"ro\" # p.toml:3\n"),
        "{said:#?}"
    );
    desk.file("shown.toml", &said.stdout);
    desk.policy(["check", "--strict", "shown.toml"]).exits(0);
    let again = desk.policy(["diff", "p.toml", "shown.toml"]).exits(0);
    assert!(!again.stdout.contains("widened"), "{again:#?}");
}

#[test]
fn explain_traces_every_line_to_the_kernel() {
    let desk = Desk::new();
    desk.file(
        "p.toml",
        "extends = 'default'\n[tools]\ndeny = ['write']\n[tools.exec]\nrate = 5\n[limits]\nfile_size = '1MiB'\n",
    );
    let said = desk
        .policy([
            "explain",
            "--allow-degraded",
            "cgroup",
            "--policy",
            "p.toml",
            "--",
            "true",
        ])
        .exits(0);
    for part in [
        "NO  write        denied by 'write' (operator, p.toml:3)",
        "-> the workspace and every write grant are read-only for every process",
        "filesystem.workspace ro (operator, p.toml:3)",
        "filesystem.exec /usr (preset:default:",
        "-> bind /usr ro",
        "-> landlock read+exec /usr",
        "limits.file_size 1MiB (operator, p.toml:7)",
        "-> rlimit file-size 1048576",
        "p.toml:5: tools.exec.rate: kept as data",
    ] {
        assert!(said.stdout.contains(part), "{part}\n{}", said.stdout);
    }
    let json = desk
        .policy([
            "explain",
            "--json",
            "--allow-degraded",
            "cgroup",
            "--policy",
            "p.toml",
            "--",
            "true",
        ])
        .exits(0)
        .json();
    assert_eq!(json["tools"][1]["allowed"], false);
    assert_eq!(json["tools"][1]["origin"]["layer"], "operator");
}

/// A flag is a line as any other: where it says so, and what it became.
#[test]
fn explain_traces_every_flag_to_the_kernel() {
    let desk = Desk::new();
    desk.file("data/x", "");
    let explain = |words: &[&str]| {
        let base = ["explain", "--allow-degraded", "cgroup"];
        desk.policy([&base, words, &["--", "true"]].concat())
            .exits(0)
    };
    let flags = [
        "--read",
        "data",
        "--env",
        "A=1",
        "--timeout",
        "7s",
        "--disk",
        "8MiB",
    ];
    let said = explain(&flags).stdout;
    let plain = explain(&[]).stdout;
    for (row, kernel) in [
        ("/data (command line, --read)", "-> bind "),
        ("environment.set A (command line, --env)", "-> A=1"),
        ("limits.timeout 7s (command line, --timeout)", "7000 ms"),
        ("limits.disk 8MiB (command line, --disk)", "-> tmpfs"),
    ] {
        let mut lines = said.lines().skip_while(|line| !line.contains(row));
        assert!(lines.next().is_some(), "{row}\n{said}");
        let became = lines.next().unwrap_or_default();
        assert!(became.contains(kernel), "{became}\n{said}");
        assert!(!plain.contains(row), "{plain}");
    }
    let json = explain(&[&["--json"], flags.as_slice()].concat()).json();
    let rules = json["rules"].as_array().expect("rules");
    let from_flags = rules
        .iter()
        .filter(|rule| rule["origin"]["layer"] == "command line");
    assert_eq!(from_flags.count(), 4, "{json:#}");
}

#[test]
fn explain_answers_for_another_machine() {
    let desk = Desk::new();
    let printed = desk
        .policy(["explain", "--print-host", "--", "true"])
        .exits(0);
    let mut host = printed.json();
    host["kernel"] = "9.9-elsewhere".into();
    host["landlock_abi"] = 3.into();
    host["cgroups"] = serde_json::json!({ "version": "v2", "parent": "/sys/fs/cgroup/x" });
    desk.file("host.json", &host.to_string());
    let json = desk
        .policy(["explain", "--json", "--host", "host.json", "--", "true"])
        .exits(0)
        .json();
    let layers = json["layers"].to_string();
    assert!(
        layers.contains("ABI 3") && layers.contains("ioctl on devices"),
        "{layers}"
    );
    // Control: without Landlock there, the answer has the refusal that a run there would meet.
    host["landlock_abi"] = 0.into();
    desk.file("host.json", &host.to_string());
    let said = desk
        .policy(["explain", "--host", "host.json", "--", "true"])
        .exits(1);
    assert!(
        said.stdout.starts_with("may run   NO: ")
            && said.stdout.contains("9.9-elsewhere has no Landlock")
            && said.stdout.contains("filesystem.exec /usr"),
        "{said:#?}"
    );
    desk.file("host.json", "{}");
    let said = desk
        .policy(["explain", "--host", "host.json", "--", "true"])
        .exits(2);
    assert!(said.stderr.contains("--print-host"), "{said:#?}");
}

each!(a_refusal_for_want_of_an_answer_reaches_the_user);
/// A command that fails because nobody can be asked says so; the receipt does in any case.
fn a_refusal_for_want_of_an_answer_reaches_the_user(who: Who) {
    let workspace = Workspace::new(who);
    let run = |ask: &str| {
        let text = format!("extends = 'default'\n[tools.exec]\nask = '{ask}'\n");
        Run::new(who, &workspace).policy_text(&workspace, "asks", &text)
    };
    let note = "tools.exec.ask: refused: there is nobody to ask";
    let ran = run("always").sh("/bin/ls; exit 3");
    assert_eq!(ran.status, 3, "{ran:#?}");
    assert!(ran.stderr.contains(note), "{ran:#?}");
    let notes = ran.verdict["receipt"]["policy"]["notes"].to_string();
    assert!(notes.contains(note), "{notes}");
    let plan = run("always").flags(["--dry-run"]).sh("true").ok();
    assert!(plan.stdout.contains(note), "{plan:#?}");
    // Control: where nobody need be asked, nothing is said.
    let ran = run("off").sh("exit 3");
    assert!(ran.status == 3 && !ran.stderr.contains("note:"), "{ran:#?}");
    assert!(ran.verdict["receipt"]["policy"]["notes"].is_null());
}

#[test]
fn explain_says_first_whether_the_command_may_run() {
    let desk = Desk::new();
    desk.file(
        "p.toml",
        "extends = 'default'\n[tools.exec]\ncommands = ['cat', { command = 'head', args = ['-n ...'] }]\n",
    );
    desk.file(
        "alone.toml",
        "extends = 'default'\n[tools]\ndeny = ['exec']\n",
    );
    desk.file("bare.toml", "[filesystem]\nexec = ['/usr/bin']\n");
    desk.file("data", "x\n");
    let explain = |policy: &str, words: &[&str]| {
        let base = ["explain", "--allow-degraded", "cgroup", "--policy", policy];
        desk.policy(base.iter().chain(words).copied())
    };
    for (policy, command, status, first) in [
        (
            "p.toml",
            &["cat"][..],
            0,
            "may run   yes: /usr/bin/cat (operator, p.toml:3)",
        ),
        (
            "p.toml",
            &["head", "-n", "1"],
            0,
            "may run   yes: /usr/bin/head (operator, p.toml:3)",
        ),
        (
            "p.toml",
            &["head", "-c", "1"],
            1,
            "may run   NO: other arguments are allowed at p.toml:3",
        ),
        (
            "p.toml",
            &["env"],
            1,
            "may run   NO: the list of commands does not have it",
        ),
        (
            "p.toml",
            &["nosuchthing"],
            1,
            "may run   NO: nosuchthing is in no directory of the jail's PATH",
        ),
        (
            "default",
            &["/nosuch/thing"],
            1,
            "may run   NO: /nosuch/thing is not in the jail",
        ),
        ("default", &["./data"], 1, "lacks the x bit"),
        ("default", &["/usr/bin"], 1, "is a directory"),
        (
            "alone.toml",
            &["cat"],
            0,
            "may run   yes: /usr/bin/cat, and it can execute nothing else",
        ),
        (
            "bare.toml",
            &["cat"],
            1,
            "its loader /lib64/ld-linux-x86-64.so.2 is not",
        ),
        (
            "bare.toml",
            &["/usr/bin/cat"],
            1,
            "its loader /lib64/ld-linux-x86-64.so.2 is not",
        ),
    ] {
        let words = [&["--"], command].concat();
        let said = explain(policy, &words).exits(status);
        let line = said.stdout.lines().next().expect("a line");
        assert!(line.contains(first), "{first}\n{line}");
        let json = explain(policy, &[&["--json"], words.as_slice()].concat()).exits(status);
        assert_eq!(json.json()["command"]["may_run"], status == 0, "{json:#?}");
    }
}

/// Each removed path is reported with the act that holds it, or as not held.
#[test]
fn explain_says_what_holds_a_denial_or_a_protection() {
    let desk = Desk::new();
    for name in ["secret", "config", "kept/x", "ro/x", "ro/kept/y"] {
        desk.file(name, "");
    }
    desk.file(
        "../p.toml",
        "extends = 'default'\n[filesystem]\nread = ['$WORKSPACE/ro']\n\
         deny = ['$WORKSPACE/secret', '$WORKSPACE/later', '$WORKSPACE/kept', '$WORKSPACE/kept/x',\n\
         { path = '$WORKSPACE/ro/absent', optional = true }, '/opt/none']\n\
         protect = ['$WORKSPACE/config', '$WORKSPACE/new', '$WORKSPACE/gone/deep', '$WORKSPACE/ro/x',\n\
         { path = '$WORKSPACE/no/such', optional = true }]\n",
    );
    let base = [
        "explain",
        "--allow-degraded",
        "cgroup",
        "--policy",
        "../p.toml",
    ];
    let words = [&base[..], &["--json", "--", "true"]].concat();
    let said = desk.policy(words).exits(0).json();
    let rules = said["rules"].as_array().expect("rules");
    let kernel = |key: &str, item: &str| {
        let item = match item.starts_with('/') {
            true => item.to_owned(),
            false => format!("$WORKSPACE/{item}"),
        };
        let mut found = rules
            .iter()
            .filter(|r| r["key"] == key && r["item"] == *item);
        let found = found.next().unwrap_or_else(|| panic!("{item}: {said:#}"));
        found["kernel"].to_string()
    };
    for (key, item, by) in [
        ("deny", "secret", "mask file /"),
        ("deny", "later", "/later, which is absent"),
        ("deny", "kept", "mask directory /"),
        ("deny", "kept/x", "mask directory /"),
        (
            "deny",
            "ro/absent",
            "not covered: it is absent, and the jail cannot create it",
        ),
        ("deny", "/opt/none", "no grant covers it"),
        ("protect", "config", "/config ro"),
        ("protect", "new", "/new, which is absent"),
        ("protect", "gone/deep", "/gone, which is absent"),
        ("protect", "ro/x", "/ro ro"),
        (
            "protect",
            "no/such",
            "not protected: it is absent, and the jail can create it",
        ),
        // creel's own: one that is held everywhere, and one that is held where it is.
        ("protect", ".claude", "/.claude, which is absent"),
        (
            "protect",
            ".exrc",
            "if it exists when a run starts, it is read-only",
        ),
    ] {
        let found = kernel(&format!("filesystem.{key}"), item);
        assert!(found.contains(by), "{item}: {by}\n{found}");
    }
}

each!(explain_and_the_plan_have_credentials_and_no_secret);
/// A credential is a rule as others are; the jail's variable has a placeholder, also where the caller has
/// one of this name.
fn explain_and_the_plan_have_credentials_and_no_secret(who: Who) {
    let text = "extends = 'coding'\n[environment]\npass = ['API_TOKEN']\n[network]\n\
        mode = 'allowlist'\nallow = [{ host = 'a.example', tls = 'terminate' }]\n\
        [[network.credentials]]\nhost = 'a.example'\nheader = 'authorization'\n\
        variable = 'API_TOKEN'\nsecret = { env = 'REAL' }\n";
    let desk = Desk::new();
    desk.file("p.toml", text);
    let said = desk
        .policy([
            "explain",
            "--allow-degraded",
            "cgroup",
            "--policy",
            "p.toml",
            "--",
            "true",
        ])
        .exits(0);
    for line in [
        "network.credentials authorization for a.example: API_TOKEN stands for the variable REAL",
        "-> API_TOKEN holds a placeholder in the jail",
    ] {
        assert!(said.stdout.contains(line), "{line}\n{said:#?}");
    }
    // A variable with only a placeholder is no credential in the jail; without the rule it is one.
    let checked = desk.policy(["check", "p.toml"]).exits(0);
    assert!(!checked.stdout.contains("env-credential"), "{checked:#?}");
    desk.file(
        "bare.toml",
        "extends = 'coding'\nenvironment.pass = ['API_TOKEN']\n",
    );
    let checked = desk.policy(["check", "bare.toml"]);
    assert!(checked.stdout.contains("env-credential"), "{checked:#?}");
    let workspace = Workspace::new(who);
    let run = |flags: &[&str]| {
        let run = Run::new(who, &workspace).policy_text(&workspace, "p", text);
        let run = run
            .outer_env("API_TOKEN", "mine")
            .outer_env("REAL", "secret-value");
        run.flags(flags).argv(["true"]).ok().stdout
    };
    let plan = run(&["--dry-run"]);
    let line = "credential authorization for a.example: API_TOKEN stands for the variable REAL";
    assert!(plan.contains(line), "{plan}");
    assert!(plan.contains("API_TOKEN=(a placeholder"), "{plan}");
    let json = run(&["--dry-run", "--json"]);
    assert!(json.contains("authorization for a.example"), "{json}");
    for plan in [plan, json] {
        assert!(
            !plan.contains("mine") && !plan.contains("secret-value"),
            "{plan}"
        );
    }
}
