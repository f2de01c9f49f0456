//! `check` and `list`: what is wrong, where, and with which status.

use super::Desk;

#[test]
fn every_fault_is_shown_in_its_line() {
    let desk = Desk::new();
    desk.file(
        "bad.toml",
        "[filesystem]\nraed = []\n[limits]\nmemory = \"2GX\"\n[tools]\nprofile = 'codng'\n",
    );
    let said = desk.policy(["check", "bad.toml", "default"]).exits(2);
    let expected = "\
error[unknown-key]: unknown key 'raed' in [filesystem]; did you mean 'read'?
 --> bad.toml:2:1
  2 | raed = []
    | ^^^^

error[bad-unit]: 'limits.memory' is '2GX': a size has an unknown unit; use B, KiB, MiB, GiB, TiB, KB, MB, GB or TB
 --> bad.toml:4:10
  4 | memory = \"2GX\"
    |          ^^^^^

error[unknown-word]: 'tools.profile' does not have the value 'codng'; did you mean 'coding'?
 --> bad.toml:6:11
  6 | profile = 'codng'
    |           ^^^^^^^

bad.toml, default: 3 errors, 0 warnings
";
    assert_eq!(said.stdout, expected);
    let json = desk.policy(["check", "--json", "bad.toml"]).exits(2).json();
    assert_eq!(json["errors"], 3);
    assert_eq!(json["findings"][0]["id"], "unknown-key");
    assert_eq!(json["findings"][0]["line"], 2);
    // Control.
    let said = desk.policy(["check", "default", "coding"]).exits(0);
    assert_eq!(said.stdout, "default, coding: 0 errors, 0 warnings\n");
}

#[test]
fn a_fault_is_shown_in_the_file_that_was_reused() {
    let desk = Desk::new();
    desk.file("base.toml", "[network]\nmode = 3\n");
    desk.file("top.toml", "extends = 'base.toml'\n");
    let said = desk.policy(["check", "top.toml"]).exits(2);
    assert!(said.stdout.contains("base.toml:2:8"), "{said:#?}");
    assert!(said.stdout.contains("2 | mode = 3\n"), "{said:#?}");
}

#[test]
fn what_cannot_be_read_is_an_error_of_its_own() {
    let desk = Desk::new();
    for (name, id) in [
        ("nosuch.toml", "error[unreadable]"),
        ("nosuch", "error[missing-preset]"),
        ("./", "error[is-directory]"),
    ] {
        let said = desk.policy(["check", name]).exits(2);
        assert!(said.stdout.starts_with(id), "{said:#?}");
    }
    let said = desk.policy(["chek"]).exits(2);
    assert!(
        said.stderr.contains("did you mean") || said.stderr.contains("check"),
        "{said:#?}"
    );
}

#[test]
fn a_layer_that_asks_for_more_is_a_warning_and_under_strict_a_failure() {
    let desk = Desk::new();
    desk.operator("filesystem.exec = ['/usr']\nlimits.memory = '1GiB'\n");
    desk.file(".creel/policy.toml", "filesystem.exec = ['/usr', '/opt']\n");
    let said = desk.policy(["check"]).exits(0);
    assert!(
        said.stdout
            .contains("warning[clipped]: 'filesystem.exec' asks for /opt"),
        "{said:#?}"
    );
    assert!(said.stdout.ends_with("0 errors, 1 warning\n"), "{said:#?}");
    desk.policy(["check", "--strict"]).exits(1);
    // Control: without the project's file there is nothing to warn of.
    desk.policy(["check", "--strict", "--no-project"]).exits(0);
}

/// An error must not quote a file of the caller's to whoever wrote the project.
#[test]
fn a_projects_link_is_not_followed_into_an_excerpt() {
    let desk = Desk::new();
    let secret = desk.file("../secret", "hunter2 = oops\n");
    std::fs::create_dir(desk.work().join(".creel")).expect("mkdir");
    std::os::unix::fs::symlink(&secret, desk.work().join(".creel/policy.toml")).expect("symlink");
    let said = desk.policy(["check"]).exits(2);
    assert!(!format!("{said:?}").contains("hunter2"), "{said:#?}");
    // Control: a plain file is quoted.
    std::fs::remove_file(desk.work().join(".creel/policy.toml")).expect("rm");
    desk.file(".creel/policy.toml", "hunter2 = 3\n");
    let said = desk.policy(["check"]).exits(2);
    assert!(said.stdout.contains("1 | hunter2 = 3"), "{said:#?}");
}

#[test]
fn list_names_presets_and_the_layers_of_the_place() {
    let desk = Desk::new();
    let said = desk.policy(["list"]).exits(0);
    assert!(said.stdout.contains("  coding ") && said.stdout.contains("operator         default"));
    desk.operator("");
    desk.file(".creel/policy.toml", "");
    let json = desk.policy(["list", "--json"]).exits(0).json();
    let ranks: Vec<&str> = json["layers"]
        .as_array()
        .expect("layers")
        .iter()
        .map(|layer| layer["rank"].as_str().expect("a rank"))
        .collect();
    assert_eq!(ranks, ["operator", "project"]);
}

/// The policy in the README has no finding, and its cases are answered as shown there.
#[test]
fn the_policy_of_the_readme_is_clean_and_answers_as_shown() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let page = std::fs::read_to_string(page).expect("it is there");
    let (_, rest) = page.split_once("# cat agent.toml\n").expect("an example");
    let (text, rest) = rest
        .split_once("# creel policy test agent.toml\n...\n")
        .expect("its test");
    let (shown, _) = rest.split_once("\n# ").expect("a further command");
    let desk = Desk::new();
    desk.file("agent.toml", text);
    let said = desk.policy(["check", "--strict", "agent.toml"]).exits(0);
    assert_eq!(said.stdout, "agent.toml: 0 errors, 0 warnings\n");
    let said = desk.policy(["test", "agent.toml"]).exits(0);
    assert!(said.stdout.ends_with(&format!("{shown}\n")), "{said:#?}");
    // The control: without its list of options the same policy has a finding.
    desk.file("wide.toml", &text.replace("\"status\"", "\"status ...\""));
    let said = desk.policy(["check", "wide.toml"]).exits(0);
    assert!(said.stdout.contains("warning[exec-arguments]"), "{said:#?}");
}
