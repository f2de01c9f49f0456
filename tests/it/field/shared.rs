//! Directories that a group shares, by the set-group-id bit. The filter sees a mode and not what it is for, so
//! the bit is refused for directories too; what the kernel hands down itself stays.

use std::os::unix::fs::PermissionsExt;

use super::{text, under};
use crate::support::{Run, Who, Workspace, need};

/// Prints the errno of each act, 0 where it is done.
const ACTS: &str = "import os
def act(f, *a):
    try:
        f(*a); print(0, end=' ')
    except OSError as e:
        print(e.errno, end=' ')
act(os.chmod, 'file', 0o2755)
act(os.chmod, 'file', 0o4755)
act(os.chmod, 'file', 0o755)
act(os.chmod, '.', 0o2775)
act(os.chmod, '.', 0o775)
act(os.mkdir, 'sub')
";

fn group_shared(who: Who) -> Workspace {
    let workspace = Workspace::new(who);
    let mode = std::fs::Permissions::from_mode(0o2775);
    std::fs::set_permissions(workspace.path(), mode).expect("chmod");
    workspace
}

fn mode_of(workspace: &Workspace, name: &str) -> u32 {
    let meta = workspace.path().join(name).metadata().expect("it is there");
    meta.permissions().mode() & 0o7777
}

each!(a_set_id_bit_is_refused_and_handed_down);
fn a_set_id_bit_is_refused_and_handed_down(who: Who) {
    let workspace = group_shared(who);
    workspace.write("file", "");
    // `write` has made it the directory's owner's, which keeps the bit.
    assert_eq!(mode_of(&workspace, "") & 0o2000, 0o2000);
    let sub = "import os; os.umask(0o002); os.mkdir('first')";
    Run::new(who, &workspace).python(sub).ok();
    assert_eq!(mode_of(&workspace, "first"), 0o2775);
    let ran = Run::new(who, &workspace).python(ACTS).ok();
    assert_eq!(ran.stdout.trim(), "1 1 0 1 0 0", "{ran:?}");
    assert_eq!(mode_of(&workspace, "file"), 0o755);
}

each!(a_repository_that_a_group_shares_is_written_to_under_its_mask);
/// The recipe of docs/policy.md: under the group's mask git leaves the modes to the kernel.
fn a_repository_that_a_group_shares_is_written_to_under_its_mask(who: Who) {
    need("git");
    let workspace = Workspace::new(who);
    let made = "umask 002; git init -q --shared=group .";
    assert!(under(who, &workspace, made, &[], &[]).status.success());
    let act =
        "echo text > file && git add file && git -c user.name=n -c user.email=e commit -qm text";
    let argv = ["/bin/sh", "-c", act];
    let output = under(who, &workspace, "umask 022; exec \"$@\"", &[], &argv);
    let said = text(&output.stderr);
    assert!(
        said.contains("Operation not permitted"),
        "the control: {said}"
    );
    let output = under(who, &workspace, "umask 002; exec \"$@\"", &[], &argv);
    assert!(output.status.success(), "{output:?}");
    for entry in std::fs::read_dir(workspace.path().join(".git/objects")).expect("objects") {
        let entry = entry.expect("an entry");
        let mode = entry.metadata().expect("stat").permissions().mode() & 0o7777;
        // Files that the control left are as it made them.
        assert_eq!(mode & 0o2000, 0o2000, "{entry:?}");
    }
}
