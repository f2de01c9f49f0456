//! CVE-2022-0492: a new user namespace, in it a cgroup mount, and a `release_agent` that the host's
//! root executes. And the small form: writing one's own limits, or seeing whose groups are beside.

use super::{attack, outside};
use crate::support::{Run, Who, Workspace, has_cgroups, need};

const CLONE_NEWUSER: u32 = 0x1000_0000;
const CLONE_NEWCGROUP: u32 = 0x0200_0000;

/// Prints what may be done to a group, given `views`: where this process's own groups are.
const WRITES: &str = r"
for view in views:
    say(f'procs {view}', opened(f'{view}/cgroup.procs', os.O_WRONLY))
    say(f'mkdir {view}', py(os.mkdir, f'{view}/mine'))
    if os.path.isdir(f'{view}/mine'):
        os.rmdir(f'{view}/mine')
";

each!(no_cgroup_can_be_mounted);
fn no_cgroup_can_be_mounted(who: Who) {
    let workspace = Workspace::new(who);
    let got = attack(
        Run::new(who, &workspace),
        &format!(
            r#"
say('unshare', sc(272, {CLONE_NEWUSER} | {CLONE_NEWCGROUP}))
say('unshare_cgroup', sc(272, {CLONE_NEWCGROUP}))
say('mount_v1', sc(165, b'cgroup', b'/tmp', b'cgroup', 0, b'memory'))
say('mount_v2', sc(165, b'cgroup2', b'/tmp', b'cgroup2', 0, 0))
say('remount', sc(165, b'none', b'/sys/fs/cgroup', b'none', 0x20, 0))
say('fsopen', sc(430, b'cgroup2', 0))
"#
        ),
    );
    got.expect(&[
        ("unshare", "EPERM"),
        ("unshare_cgroup", "EPERM"),
        ("mount_v1", "EPERM"),
        ("mount_v2", "EPERM"),
        ("remount", "EPERM"),
        ("fsopen", "EPERM"),
    ]);

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

each!(the_jails_own_groups_cannot_be_written_and_are_all_that_it_sees);
/// A jail that sees its groups can change nothing of them, and sees no other.
fn the_jails_own_groups_cannot_be_written_and_are_all_that_it_sees(who: Who) {
    let workspace = Workspace::new(who);
    let body = r#"
names = ['release_agent', 'cgroup.procs', 'tasks', 'memory.max', 'memory.limit_in_bytes', 'pids.max', 'cgroup.kill']
found = {d for d, _, files in os.walk('/') for f in files if f in names and not d.startswith('/usr')}
mounts = [line.split(' ') for line in open('/proc/self/mountinfo')]
views = [m[4] for m in mounts if m[m.index('-') + 1] in ('cgroup', 'cgroup2')]
say('views', len(views))
say('elsewhere', sorted(found - set(views)))
say('writable mounts', [m[4] for m in mounts if m[4] in views and 'ro' not in m[5].split(',')])
say('below', [name for view in views for name in os.listdir(view) if os.path.isdir(f'{view}/{name}')])
say('release agents', [view for view in views if os.path.exists(f'{view}/release_agent')])
say('own path', {line.strip().split(':', 2)[2] for line in open('/proc/self/cgroup')})
# Where the jail has none of its own it is in one with other jails, whose processes it does not see.
members = {view: open(f'{view}/cgroup.procs').read().split() for view in views}
say('strangers', [pid for pids in members.values() for pid in pids if pid == '0'])
say('members', {str(os.getpid()) in pids for pids in members.values()} or {True})
answers = set()
for view in views:
    for name in os.listdir(view):
        path = f'{view}/{name}'
        answers.add(opened(path, os.O_WRONLY))
        answers.add(opened(path, os.O_RDWR | os.O_TRUNC))
        answers.add(py(os.chmod, path, 0o666))
        answers.add(py(os.utime, path))
        answers.add(py(os.setxattr, path, 'user.a', b'1'))
        answers.add(py(os.unlink, path))
    answers.add(py(os.mkdir, f'{view}/mine'))
    answers.add(py(os.rmdir, view))
    above = os.stat(f'{view}/..')
    answers.add('EROFS' if (above.st_dev, above.st_ino) == (os.stat(os.path.dirname(view)).st_dev, os.stat(os.path.dirname(view)).st_ino) else 'led out')
say('answers', sorted(answers - {'EROFS', 'EACCES', 'EPERM', 'EBUSY'}))
"#;
    let got = attack(Run::new(who, &workspace), &format!("{body}{WRITES}"));
    got.expect(&[
        ("elsewhere", "[]"),
        ("writable mounts", "[]"),
        ("below", "[]"),
        ("release agents", "[]"),
        ("own path", "{'/'}"),
        ("strangers", "[]"),
        ("members", "{True}"),
        ("answers", "[]"),
    ]);
    let views = got.of("views");
    assert_eq!(views != "0", has_cgroups(who), "{got:#?}");
    for (name, answer) in &got.0 {
        if name.starts_with("procs ") || name.starts_with("mkdir ") {
            assert!(matches!(answer.as_str(), "EROFS" | "EACCES"), "{got:#?}");
        }
    }
    if !has_cgroups(who) {
        return;
    }
    // The same outside, in a group of the caller's: nothing is written to it.
    let own = r"
def of(line):
    _, controllers, path = line.strip().split(':', 2)
    return path, [f'/sys/fs/cgroup/{c}{path}' for c in controllers.split(',')] if controllers else [f'/sys/fs/cgroup{path}']
places = [place for line in open('/proc/self/cgroup') for place in of(line)[1]]
views = [p for p in places if os.path.exists(f'{p}/cgroup.procs') and os.access(f'{p}/cgroup.procs', os.W_OK)][:1]
say('views', len(views))
for view in views:
    say('procs', opened(f'{view}/cgroup.procs', os.O_WRONLY))
";
    outside(who, &workspace.path(), own).expect(&[("views", "1"), ("procs", "OK")]);
}
