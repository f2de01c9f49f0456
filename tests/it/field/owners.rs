//! Files of other owners in a granted tree, as root: the jail's user is a stranger to them, and the owner of
//! the tree to all else. No answer is EOVERFLOW.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

use crate::support::{Run, Who, Workspace};

/// A workspace of one account with a file of another, a file that all may write, and one of the owner in a
/// group that is not the owner's.
fn mixed() -> Option<Workspace> {
    let workspace = Workspace::new(Who::root()?);
    let at = |name: &str| workspace.path().join(name);
    for (name, uid, gid, mode) in [
        ("own", 4242, 4242, 0o644),
        ("strangers", 0, 0, 0o644),
        ("open", 4343, 4343, 0o666),
        ("shared", 4242, 4343, 0o664),
    ] {
        std::fs::write(at(name), "text").expect("write");
        std::fs::set_permissions(at(name), std::fs::Permissions::from_mode(mode)).expect("chmod");
        chown(at(name), Some(uid), Some(gid)).expect("chown");
    }
    chown(workspace.path(), Some(4242), Some(4242)).expect("chown");
    Some(workspace)
}

#[test]
fn copies_that_keep_owners_are_made_as_an_ordinary_user_makes_them() {
    let Some(workspace) = mixed() else { return };
    for copy in [
        "cp -a strangers a",
        "cp -p open b",
        "cp -a shared c",
        "cp -p /etc/passwd d",
        "cp -a . /tmp/all && cp -a /tmp/all e",
        "tar -cf t own strangers open && mkdir f && tar -xpf t -C f",
    ] {
        let ran = Run::new(Who::Root, &workspace).sh(copy).ok();
        assert_eq!(ran.stderr, "", "{copy}");
    }
    for name in ["a", "b", "c", "d", "e/strangers", "f/open"] {
        let meta = workspace.path().join(name).metadata().expect("the copy");
        assert_eq!((meta.uid(), meta.gid()), (4242, 4242), "{name}");
    }
}

/// Prints the errno of each act, 0 where it is done.
const ACTS: &str = "import os
def act(f, *a):
    try:
        f(*a); print(0, end=' ')
    except OSError as e:
        print(e.errno, end=' ')
for ids in [(1000, 1000), (0, -1), (-1, 0), (65534, 65534), (70000, -1)]:
    act(os.chown, 'own', *ids)
for name in ['own', 'strangers', 'open', 'shared']:
    act(os.chmod, name, 0o664 if name == 'shared' else 0o644)
    act(os.utime, name, (1, 1))
    act(os.truncate, name, 1)
    act(os.rename, name, name + '2')
    act(os.unlink, name + '2')
    print()
";

#[test]
fn a_strangers_file_answers_as_to_a_stranger() {
    let Some(workspace) = mixed() else { return };
    let ran = Run::new(Who::Root, &workspace).python(ACTS).ok();
    let lines: Vec<&str> = ran.stdout.lines().map(str::trim).collect();
    assert_eq!(
        lines,
        [
            // To itself, to others (EPERM), to an id that the jail does not have (EINVAL).
            "0 1 1 1 22 0 0 0 0 0",
            // Neither mode nor times nor content (EACCES), but the directory is the owner's.
            "1 1 13 0 0",
            "1 1 0 0 0",
            "0 0 0 0 0",
        ],
        "{ran:?}"
    );
}

/// Nothing of another owner can be made.
#[test]
fn what_the_jail_makes_is_the_owners() {
    let Some(workspace) = mixed() else { return };
    let made = "mkdir new; echo x > new/f; ln -s f new/l; install -m 755 own new/i";
    Run::new(Who::Root, &workspace).sh(made).ok();
    for name in ["new", "new/f", "new/l", "new/i"] {
        let meta = workspace
            .path()
            .join(name)
            .symlink_metadata()
            .expect("it was made");
        assert_eq!((meta.uid(), meta.gid()), (4242, 4242), "{name}");
    }
}
