//! Code that executes although nothing grants it.
//!
//! A program that may run an interpreter can have it run anything: the interpreter's own code is
//! what executes. What is tested here is that no *inode* without a grant is executed or mapped.

use crate::attacks::attack;
use crate::support::{Run, Who, Workspace};

each!(a_copy_on_a_noexec_tmpfs_does_not_execute_by_any_door);
fn a_copy_on_a_noexec_tmpfs_does_not_execute_by_any_door(who: Who) {
    let workspace = Workspace::new(who);
    let body = r#"
import shutil, mmap, subprocess
def run(*argv, **k):
    def go():
        subprocess.run(argv, check=False, **k)
    return py(go)
loader = next(p for p in ['/lib64/ld-linux-x86-64.so.2', '/lib/ld-linux-x86-64.so.2'] if os.path.exists(p))
for name, d in [('tmp', '/tmp'), ('home', os.path.expanduser('~')), ('shm', '/dev/shm')]:
    p = d + '/true'
    shutil.copy('/bin/true', p); os.chmod(p, 0o755)
    say(name, run(p))
    say(name + '_loader', subprocess.run([loader, p], capture_output=True).returncode)
    with open(p, 'rb') as f:
        say(name + '_map', py(lambda: mmap.mmap(f.fileno(), 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC, flags=mmap.MAP_PRIVATE)))
        def fexec():
            pid = os.fork()
            if pid == 0:
                try: os.execve(f.fileno(), ['true'], {})
                except OSError as e: os._exit(e.errno)
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            if code: raise OSError(code, '')
        say(name + '_fd', py(fexec))
    open(d + '/script', 'w').write('#!/bin/true\n'); os.chmod(d + '/script', 0o755)
    say(name + '_script', run(d + '/script'))
shutil.copy('/bin/true', 'true'); os.chmod('true', 0o755)
say('workspace', run('./true'))
say('workspace_loader', subprocess.run([loader, './true'], capture_output=True).returncode)
"#;
    let got = attack(Run::new(who, &workspace), body);
    for place in ["tmp", "home", "shm"] {
        got.expect(&[
            (place, "EACCES"),
            (&format!("{place}_loader"), "127"),
            (&format!("{place}_map"), "EPERM"),
            (&format!("{place}_fd"), "EACCES"),
            (&format!("{place}_script"), "EACCES"),
        ]);
    }
    got.expect(&[("workspace", "OK"), ("workspace_loader", "0")]);
}

each!(known_gap_a_memfd_executes);
/// Landlock lets what has no path be executed, and `vm.memfd_noexec` of the jail's pid namespace is
/// 0. Turns red on the day that creel raises it.
fn known_gap_a_memfd_executes(who: Who) {
    let workspace = Workspace::new(who);
    let body = r#"
fd = os.memfd_create('x', 0)
os.write(fd, open('/bin/true', 'rb').read())
pid = os.fork()
if pid == 0:
    try: os.execve(fd, ['true'], {})
    except OSError as e: os._exit(e.errno)
say('memfd', os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"#;
    attack(Run::new(who, &workspace), body).expect(&[("memfd", "0")]);
}
