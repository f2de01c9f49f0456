//! CVE-2022-0492: a new user namespace, in it a cgroup mount, and a `release_agent` that the host's
//! root executes. And the small form: writing one's own limits.

use super::{attack, outside};
use crate::support::{Run, Who, Workspace, need};

const CLONE_NEWUSER: u32 = 0x1000_0000;
const CLONE_NEWCGROUP: u32 = 0x0200_0000;

#[test]
fn no_cgroup_can_be_mounted_or_written() {
    for who in Who::all() {
        let workspace = Workspace::new(who);
        let got = attack(
            Run::new(who, &workspace),
            &format!(
                r#"
say('unshare', sc(272, {CLONE_NEWUSER} | {CLONE_NEWCGROUP}))
say('unshare_cgroup', sc(272, {CLONE_NEWCGROUP}))
say('mount_v1', sc(165, b'cgroup', b'/tmp', b'cgroup', 0, b'memory'))
say('mount_v2', sc(165, b'cgroup2', b'/tmp', b'cgroup2', 0, 0))
say('fsopen', sc(430, b'cgroup2', 0))
files = ['release_agent', 'cgroup.procs', 'tasks', 'memory.max', 'memory.limit_in_bytes', 'pids.max', 'cgroup.kill']
found = [os.path.join(d, f) for d, _, names in os.walk('/') for f in names if f in files and not d.startswith('/usr')]
say('files', found)
for base in ['/sys/fs/cgroup', '/sys/fs/cgroup/memory', '/sys/fs/cgroup/unified']:
    for f in files:
        answer = opened(f'{{base}}/{{f}}', os.O_WRONLY)
        if answer != 'ENOENT':
            say('bad', f'{{base}}/{{f}} {{answer}}')
say('walked', 'OK')
"#
            ),
        );
        got.expect(&[
            ("unshare", "EPERM"),
            ("unshare_cgroup", "EPERM"),
            ("mount_v1", "EPERM"),
            ("mount_v2", "EPERM"),
            ("fsopen", "EPERM"),
            ("files", "[]"),
            ("walked", "OK"),
        ]);
        assert!(!got.0.contains_key("bad"), "{got:#?}");

        let ran = Run::new(who, &workspace).argv(["/usr/bin/unshare", "-UrC", "/bin/true"]);
        assert_ne!(ran.status, 0);
        assert!(ran.stderr.contains("Operation not permitted"), "{ran:#?}");
        // The same without a jail, in a child that has namespaces to itself.
        need("unshare");
        outside(
            who,
            &workspace.path(),
            &format!("say('unshare', sc(272, {CLONE_NEWUSER} | {CLONE_NEWCGROUP}))"),
        )
        .expect(&[("unshare", "OK")]);
    }
}
