//! A word where a file is meant.

use super::{text, under};
use crate::support::{Who, Workspace};

each!(a_bare_word_that_is_a_file_is_told_with_its_slash);
fn a_bare_word_that_is_a_file_is_told_with_its_slash(who: Who) {
    let workspace = Workspace::new(who);
    workspace.write("pol", "extends = \"default\"\n");
    let run = |policy: &str| {
        let flags = ["--policy", policy];
        under(who, &workspace, "exec \"$@\"", &flags, &["/bin/true"])
    };
    assert!(run("./pol").status.success());
    let refused = run("pol");
    assert_eq!(refused.status.code(), Some(125), "{refused:?}");
    let said = text(&refused.stderr);
    assert!(said.contains("write './pol'"), "{said}");
    let absent = text(&run("pool").stderr);
    assert!(absent.contains("presets: "), "{absent}");
}
