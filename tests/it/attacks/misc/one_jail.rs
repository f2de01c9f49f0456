//! Processes of one jail: what is promised between them, and what is not.

use std::os::unix::fs::PermissionsExt;

use crate::attacks::{answers, attack, outside};
use crate::support::{Run, Who, Workspace};

/// A process that waits, and what another of its user can do to it.
const NEIGHBOUR: &str = r#"
word = ctypes.create_string_buffer(b'before')
reader, writer = os.pipe()
child = os.fork()
if child == 0:
    os.close(writer)
    os.read(reader, 1)
    os._exit(0 if word.value == b'after!' else 7)
os.close(reader)
def rewrite(pid):
    def go():
        fd = os.open(f'/proc/{pid}/mem', os.O_RDWR)
        os.pwrite(fd, b'after!', ctypes.addressof(word))
    return py(go)
say('memory', rewrite(child))
say('trace', sc(101, 9999, child, 0, 0))
say('read', sc(310, child, 0, 0, 0, 0, 0))
os.close(writer)
say('ended', os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
say('pid1', opened('/proc/1/mem', os.O_RDWR))
"#;

each!(a_jail_is_no_wall_between_its_own_processes_and_its_first_one_stands_apart);
fn a_jail_is_no_wall_between_its_own_processes_and_its_first_one_stands_apart(who: Who) {
    let workspace = Workspace::new(who);
    let got = attack(Run::new(who, &workspace), NEIGHBOUR);
    got.expect(&[
        ("memory", "OK"),
        ("ended", "0"),
        ("trace", "EPERM"),
        ("read", "EPERM"),
    ]);
    assert!(["ENOENT", "EACCES"].contains(&got.of("pid1")), "{got:#?}");
    // The control of what is refused.
    outside(who, &workspace.path(), NEIGHBOUR).expect(&[("read", "OK"), ("trace", "ESRCH")]);
}

/// Files of a process by which it would be somebody else to quotas and to the audit.
const IDENTITY: &str = r#"
say('projects', wrote('/proc/self/projid_map', b'0 0 1\n'))
say('audit', wrote('/proc/self/loginuid', b'70000'))
"#;

each!(a_jail_has_no_other_identity_for_quotas_and_audit);
fn a_jail_has_no_other_identity_for_quotas_and_audit(who: Who) {
    // In a user namespace of its own anybody writes the map, once.
    let control = format!(
        "assert sc(272, 0x10000000) == 'OK'\n{IDENTITY}\nsay('again', wrote('/proc/self/projid_map', b'0 0 1\\n'))"
    );
    let workspace = Workspace::new(who);
    let got = attack(Run::new(who, &workspace), IDENTITY);
    got.expect(&[("projects", "EPERM")]);
    // If it is set already no id is taken, else none that is not the jail's.
    assert!(
        ["EPERM", "EINVAL", "ENOENT"].contains(&got.of("audit")),
        "{got:#?}"
    );
    let free = outside(who, &workspace.path(), &control);
    free.expect(&[("projects", "OK"), ("again", "EPERM")]);
}

/// Changes a file by a write and by a shared mapping; what becomes of its mode.
const SET_ID: &str = r#"
import mmap
for name in ('written', 'mapped'):
    fd = os.open(name, os.O_RDWR)
    if name == 'written':
        os.write(fd, b'#!')
    else:
        with mmap.mmap(fd, 4) as memory:
            memory[0:2] = b'#!'
    say(name, oct(os.stat(name).st_mode & 0o7777))
say('again', py(os.chmod, 'written', 0o4755))
"#;

each!(a_set_id_file_of_the_workspace_loses_its_bits_when_it_is_written_and_not_when_it_is_mapped);
/// Residual bits, in docs/security.md under "Residual risks": the kernel takes set-id bits off files that
/// write(2) changes, and leaves them on files that a shared mapping changes.
fn a_set_id_file_of_the_workspace_loses_its_bits_when_it_is_written_and_not_when_it_is_mapped(
    who: Who,
) {
    let workspace = Workspace::new(who);
    for name in ["written", "mapped"] {
        let path = workspace.write(name, "none");
        let set_id = std::fs::Permissions::from_mode(0o4755);
        std::fs::set_permissions(&path, set_id).expect("chmod");
    }
    let ran = Run::new(who, &workspace)
        .python(&crate::attacks::script(SET_ID))
        .ok();
    answers(&ran.stdout).expect(&[
        ("written", "0o755"),
        ("mapped", "0o4755"),
        ("again", "EPERM"),
    ]);
    // `protect` is the remedy.
    let held = crate::attacks::policy(
        &workspace,
        "workspace = \"rw\"\nprotect = [\"$WORKSPACE/mapped\"]",
    );
    let look = "say('open', opened('mapped', os.O_RDWR))";
    attack(Run::new(who, &workspace).policy(held), look).expect(&[("open", "EROFS")]);
}
