//! The verb itself, and policies of other programs given to `creel run`.

use std::process::{Command, Output};

use super::folder;
use crate::support::binary;

fn import(args: &[&str]) -> Output {
    Command::new(binary())
        .args(["policy", "import"])
        .args(args)
        .current_dir(folder("samples"))
        .output()
        .expect("creel starts")
}

fn status(args: &[&str]) -> Option<i32> {
    import(args).status.code()
}

#[test]
fn the_exit_status_says_whether_all_was_honoured() {
    assert_eq!(status(&["shape2.json", "--strict"]), Some(0));
    assert_eq!(status(&["openclaw.json"]), Some(0));
    assert_eq!(status(&["openclaw.json", "--strict"]), Some(1));
    assert_eq!(status(&["openclaw.json", "--agent", "nobody"]), Some(2));
    assert_eq!(status(&["absent.json"]), Some(2));
    assert_eq!(status(&["openclaw.json", "--from", "codex-rules"]), Some(0));
}

#[test]
fn the_report_is_lines_or_json() {
    let lines = import(&["openclaw.json"]);
    let text = String::from_utf8_lossy(&lines.stderr);
    assert!(
        text.contains("creel: openclaw.json:3: gateway: not honoured: "),
        "{text}"
    );
    assert!(
        text.contains("agents, each a layer by --agent: public, main"),
        "{text}"
    );
    let json = import(&["openclaw.json", "--json"]);
    assert_eq!(json.stdout, lines.stdout);
    let report: serde_json::Value = serde_json::from_slice(&json.stderr).expect("JSON");
    assert_eq!(report["dialect"], "openclaw");
    assert_eq!(report["report"][0]["fate"], "not honoured");
    assert_eq!(report["report"][0]["line"], 3);
}

#[test]
fn approvals_are_met_with_the_config() {
    let with = |more: &[&str]| {
        let args = [
            &["openclaw.json", "-q", "--approvals", "exec-approvals.json"],
            more,
        ]
        .concat();
        String::from_utf8_lossy(&import(&args).stdout).into_owned()
    };
    assert!(with(&[]).contains("security = \"deny\""));
    let main = with(&["--agent", "main"]);
    assert!(
        main.contains("security = \"allowlist\"") && main.contains("\"status ...\""),
        "{main}"
    );
}

#[test]
fn another_programs_policy_runs_as_it_stands() {
    let run = |policy: &str, quiet: &[&str], command: &[&str]| {
        let work = tempfile::tempdir().expect("a directory");
        let output = Command::new(binary())
            .args(["run", "--no-project", "--timeout", "20s"])
            .args(quiet)
            .arg("--policy")
            .arg(folder("samples").join(policy))
            .arg("--")
            .args(command)
            .current_dir(work.path())
            .output()
            .expect("creel starts");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), stderr)
    };
    // The control: what the policy grants, happens.
    let (code, stderr) = run("codex.toml", &[], &["/usr/bin/touch", "x"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.contains("model: not honoured"), "{stderr}");
    let (code, stderr) = run("codex.toml", &["-q"], &["/usr/bin/touch", "x"]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    // EROFS: what it denies, does not.
    let read_only = "codex-read-only.toml";
    let (code, stderr) = run(read_only, &["-q"], &["/usr/bin/touch", "x"]);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("Read-only file system"), "{stderr}");
    // `git status` is allowed by the rules and `rm` is not.
    let (code, stderr) = run("default.rules", &["-q"], &["/usr/bin/rm", "--version"]);
    assert_eq!(code, Some(126), "{stderr}");
}

/// `x` is the control: it lies beside what is denied. EACCES: the name is covered.
#[test]
fn what_other_programs_deny_is_denied_in_a_run() {
    let claude = r#"{"permissions": {"deny": ["Read(.env)", "Read(./secrets/**)", "Edit(*.lock)"]},
        "sandbox": {"enabled": true, "filesystem": {"denyRead": ["**/*.pem"]}}}"#;
    let srt = r#"{"filesystem": {"denyRead": ["**/.env", "*.pem", "secrets"], "allowRead": ["/tmp/**"],
        "allowWrite": ["."], "denyWrite": ["*.lock"]}, "network": {"allowedDomains": []}}"#;
    for text in [claude, srt] {
        let (work, policy) = (tempfile::tempdir(), tempfile::tempdir());
        let (work, policy) = (work.expect("a directory"), policy.expect("a directory"));
        std::fs::create_dir(work.path().join("secrets")).expect("a directory");
        for name in ["x", ".env", "a.pem", "secrets/y", "a.lock"] {
            std::fs::write(work.path().join(name), "text").expect("a file");
        }
        let policy = policy.path().join("s.json");
        std::fs::write(&policy, text).expect("a file");
        let cat = |name: &str| {
            let output = Command::new(binary())
                .args(["run", "-q", "--no-project", "--timeout", "20s", "--policy"])
                .arg(&policy)
                .args(["--", "/usr/bin/cat", name])
                .current_dir(work.path())
                .output()
                .expect("creel starts");
            String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
        };
        for name in ["x", "a.lock"] {
            assert_eq!(cat(name), "text", "{text}");
        }
        for name in [".env", "a.pem", "secrets/y"] {
            let said = cat(name);
            assert!(said.contains("Permission denied"), "{name}: {said}\n{text}");
        }
    }
}
