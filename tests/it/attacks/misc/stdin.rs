//! The caller's stdin is the one descriptor of the host in a jail: it is what it is, and no way to
//! more of the file behind it.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use crate::attacks::{Answers, answers, become_who, script};
use crate::support::{Run, Who, Workspace};

const WRITE: &str = r#"
import fcntl
say('write', py(os.write, 0, b'x'))
say('reopen', opened('/proc/self/fd/0', os.O_RDWR))
say('reopen_dev', opened('/dev/stdin', os.O_WRONLY | os.O_TRUNC))
say('truncate', py(os.ftruncate, 0, 0))
say('read', os.read(0, 8))
say('mode', py(os.fchmod, 0, 0o640))
say('times', py(os.utime, 0, (1, 1)))
say('touch', py(os.utime, 0))
say('attribute', py(os.setxattr, 0, 'user.creel', b'x'))
"#;

/// A file outside of the workspace that belongs to `who` and that everybody may write.
fn precious(workspace: &Workspace, who: Who) -> PathBuf {
    let file = workspace.outside().join("input");
    std::fs::write(&file, "precious").expect("write");
    let (uid, gid, _) = who.account();
    std::os::unix::fs::chown(&file, Some(uid), Some(gid)).expect("chown");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).expect("chmod");
    file
}

/// The answers of `script` in a jail with `stdin`.
fn jailed(run: &Run, stdin: File) -> Answers {
    let mut command = run.command(["/usr/bin/python3", "-c", &script(WRITE)]);
    let output = command.stdin(stdin).output().expect("creel starts");
    assert!(output.status.success(), "{output:#?}");
    answers(&String::from_utf8_lossy(&output.stdout))
}

each!(a_file_on_stdin_is_there_to_be_read_alone);
fn a_file_on_stdin_is_there_to_be_read_alone(who: Who) {
    let workspace = Workspace::new(who);
    let file = precious(&workspace, who);
    let before = std::fs::metadata(&file).expect("there");
    let got = jailed(&Run::new(who, &workspace), File::open(&file).expect("open"));
    got.expect(&[
        ("write", "EBADF"),
        ("reopen", "EROFS"),
        ("reopen_dev", "EROFS"),
        ("truncate", "EINVAL"),
        ("read", "b'precious'"),
        ("mode", "EROFS"),
        ("times", "EROFS"),
        ("touch", "EROFS"),
        ("attribute", "EROFS"),
    ]);
    let after = std::fs::metadata(&file).expect("there");
    assert_eq!(
        std::fs::read_to_string(&file).expect("readable"),
        "precious"
    );
    assert_eq!(
        (before.mode(), before.modified().ok(), before.ctime_nsec()),
        (after.mode(), after.modified().ok(), after.ctime_nsec())
    );

    // Open for writing, it is given for writing.
    let both = File::options().read(true).write(true).open(&file);
    let got = jailed(&Run::new(who, &workspace), both.expect("open"));
    got.expect(&[("write", "OK"), ("truncate", "OK"), ("touch", "OK")]);

    std::fs::write(&file, "precious").expect("write");
    let mut control = std::process::Command::new("/usr/bin/python3");
    control.args(["-c", &script(WRITE)]);
    become_who(&mut control, who);
    let output = control
        .stdin(File::open(&file).expect("open"))
        .output()
        .expect("python3");
    answers(&String::from_utf8_lossy(&output.stdout)).expect(&[
        ("reopen", "OK"),
        ("reopen_dev", "OK"),
        ("mode", "OK"),
        ("times", "OK"),
        ("touch", "OK"),
        ("attribute", "OK"),
    ]);
}

each!(a_granted_file_on_stdin_has_the_rights_of_its_grant);
fn a_granted_file_on_stdin_has_the_rights_of_its_grant(who: Who) {
    let workspace = Workspace::new(who);
    let file = workspace.write("input", "precious");
    let open = || File::open(&file).expect("open");
    let read_only = crate::attacks::policy(&workspace, "workspace = \"ro\"");
    let read = Run::new(who, &workspace).policy(read_only);
    jailed(&read, open()).expect(&[
        ("read", "b'precious'"),
        ("reopen", "EROFS"),
        ("mode", "EROFS"),
        ("times", "EROFS"),
        ("attribute", "EROFS"),
    ]);
    // The control.
    jailed(&Run::new(who, &workspace), open()).expect(&[
        ("reopen", "OK"),
        ("mode", "OK"),
        ("times", "OK"),
        ("attribute", "OK"),
    ]);
}

each!(a_file_on_stdin_is_read_from_where_the_caller_is);
fn a_file_on_stdin_is_read_from_where_the_caller_is(who: Who) {
    let workspace = Workspace::new(who);
    let file = precious(&workspace, who);
    let mut open = File::open(&file).expect("open");
    open.seek(SeekFrom::Start(3)).expect("seek");
    let kept = open.try_clone().expect("dup");
    let cat = |stdin: File| {
        let mut command = Run::new(who, &workspace).command(["/bin/cat"]);
        let output = command.stdin(stdin).output().expect("creel starts");
        assert!(output.status.success(), "{output:#?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert_eq!(cat(open), "cious");
    // Bytes that were read are gone.
    assert_eq!((&kept).stream_position().expect("a position"), 8);
    (&kept).seek(SeekFrom::Start(3)).expect("seek");
    // A here-document of some shells: a file without a name.
    std::fs::remove_file(&file).expect("rm");
    assert_eq!(cat(kept), "cious");
}

each!(the_callers_position_goes_on_and_not_back);
/// The caller reads on from where the jail stopped. A shell that reads its script from there must not be
/// taken back, nor beyond the end.
fn the_callers_position_goes_on_and_not_back(who: Who) {
    let workspace = Workspace::new(who);
    let path = precious(&workspace, who);
    for (act, after) in [
        ("os.lseek(0, 0, 0)", 4),
        ("os.lseek(0, 1 << 40, 0)", 8),
        // The control.
        ("os.read(0, 2)", 6),
    ] {
        let mut file = File::open(&path).expect("open");
        file.seek(SeekFrom::Start(4)).expect("seek");
        let body = format!("import os; {act}");
        let mut command = Run::new(who, &workspace).command(["/usr/bin/python3", "-c", &body]);
        let stdin = file.try_clone().expect("a copy");
        assert!(
            command
                .stdin(stdin)
                .status()
                .expect("creel starts")
                .success()
        );
        assert_eq!(
            file.stream_position().expect("tell"),
            after,
            "{who:?}: {act}"
        );
    }
}
