//! What callers are allowed and have on a machine: how many files open, and which account.

use std::os::unix::fs::PermissionsExt;

use super::{text, under};
use crate::support::{Who, Workspace};

/// Five directories of so many names, beside the workspace; the policy has a pattern for each.
fn patterns(workspace: &Workspace, names: u32, key: &str, more: &str) {
    let mut list = vec![];
    let out = workspace.outside().display();
    for at in 0..5 {
        let dir = workspace.outside().join(format!("many/d{at}"));
        std::fs::create_dir_all(&dir).expect("mkdir -p");
        std::fs::set_permissions(&dir, PermissionsExt::from_mode(0o777)).expect("chmod");
        for name in 0..names {
            let file = dir.join(format!("{name}.k"));
            std::fs::write(&file, "there\n").expect("write");
            std::fs::set_permissions(&file, PermissionsExt::from_mode(0o666)).expect("chmod");
        }
        list.push(format!(
            "{{ path = \"{out}/many/d{at}/*.k\", optional = true }}"
        ));
    }
    let more = more.replace("OUT", &out.to_string());
    let list = list.join(", ");
    workspace.write(
        "p.toml",
        &format!("extends = \"default\"\n[filesystem]\n{more}\n{key} = [{list}]\n"),
    );
}

/// How many names creel may have open is between it and the hard limit, and each kind of pattern does what it says
/// in full.
#[test]
fn a_small_soft_limit_of_descriptors_is_not_creels() {
    for who in Who::all() {
        for (names, key, more, answer) in [
            (250, "read", "", "there 1"),
            (60, "write", "", "there 0"),
            (60, "deny", "read = [\"OUT/many\"]", "1"),
            (60, "protect", "write = [\"OUT/many\"]", "there 1"),
        ] {
            let workspace = Workspace::new(who);
            patterns(&workspace, names, key, more);
            let many = workspace.outside().join("many").display().to_string();
            let flags = ["--workspace", "none", "--policy", "./p.toml"];
            let script = format!(
                "cd {many}; set -- d0/*; echo $#; set -- d4/*; echo $#; cat d4/59.k; (: >> d4/59.k); echo $(($? != 0)); ulimit -Sn; ulimit -Hn"
            );
            let argv = ["/bin/sh", "-c", &script];
            let limited = |words: &str| {
                let words = format!("{words}; exec \"$@\"");
                under(who, &workspace, &words, &flags, &argv)
            };
            let plenty = limited("ulimit -n 8192");
            let said = text(&plenty.stdout)
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ");
            assert_eq!(
                said,
                format!("{names} {names} {answer} 4096 4096"),
                "{key}: {plenty:?}"
            );
            let small = limited("ulimit -Sn 64");
            assert_eq!(
                text(&small.stdout),
                text(&plenty.stdout),
                "{key}: {small:?}"
            );
            // What only the caller's own ceiling forbids is told.
            let hard = limited("ulimit -n 256");
            assert_eq!(hard.status.code(), Some(125), "{key}: {hard:?}");
            let said = text(&hard.stderr);
            assert!(said.contains("hard limit of descriptors is 256"), "{said}");
            assert!(said.contains("LimitNOFILE="), "{said}");
        }
    }
}
