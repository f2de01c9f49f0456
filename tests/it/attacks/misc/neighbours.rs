//! Two jails at once: neither sees, reaches or signals the other.

use std::process::Stdio;

use crate::attacks::{answers, attack, script};
use crate::support::{Run, Who, Workspace, wait};

const REACH: &str = r#"
import socket, mmap
def reach(address):
    def go():
        socket.socket(socket.AF_UNIX).connect(address)
    return py(go)
def tcp(port):
    def go():
        socket.create_connection(('127.0.0.1', port), 1).close()
    return py(go)
def probe():
    say('abstract', reach('\0creel-neighbour'))
    say('tcp', tcp(43210))
    say('shm', sc(29, 0x43524c, 0, 0))
    say('msg', sc(68, 0x43524c, 0))
    say('posix_shm', opened('/dev/shm/neighbour', os.O_RDONLY))
    say('tmp', opened('/tmp/neighbour', os.O_RDONLY))
    say('home', opened(os.path.expanduser('~/neighbour'), os.O_RDONLY))
"#;

const HOST: &str = r#"
s = socket.socket(socket.AF_UNIX); s.bind('\0creel-neighbour'); s.listen(5)
t = socket.socket(); t.bind(('127.0.0.1', 43210)); t.listen(5)
assert raw(29, 0x43524c, 4096, 0o1666) >= 0 and raw(68, 0x43524c, 0o1666) >= 0
for p in ('/dev/shm/neighbour', '/tmp/neighbour', os.path.expanduser('~/neighbour')):
    open(p, 'w').close(); os.chmod(p, 0o666)
probe()
say('uid_map', open('/proc/self/uid_map').read().split())
sys.stdout.flush()
open('ready', 'w').close()
for _ in range(3000):
    if os.path.exists('done'): break
    time.sleep(0.01)
say('survived', 'OK')
"#;

each!(jails_do_not_reach_each_other);
fn jails_do_not_reach_each_other(who: Who) {
    let (one, other) = (Workspace::new(who), Workspace::new(who));
    let code = script(&format!("{REACH}\n{HOST}"));
    let mut command = Run::new(who, &one).command(["/usr/bin/python3", "-c", &code]);
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("creel");
    let ready = one.path().join("ready");
    wait::until("it is ready", || ready.exists());
    let body = format!(
        r#"{REACH}
probe()
say('visible', len([p for p in os.listdir('/proc') if p.isdigit()]))
pids = [p for p in range(2, 400) if p != os.getpid()]
say('signalled', [p for p in pids if py(os.kill, p, 15) == 'OK'])
say('all', py(os.kill, -1, 15))
say('uid_map', open('/proc/self/uid_map').read().split())
"#
    );
    // kill(-1) spares its sender and pid 1; nobody else is there.
    let got = attack(Run::new(who, &other), &body);
    std::fs::write(one.path().join("done"), "").expect("write");
    let output = child.wait_with_output().expect("creel ends");
    let control = answers(&String::from_utf8_lossy(&output.stdout));
    got.expect(&[
        ("abstract", "ECONNREFUSED"),
        ("tcp", "ECONNREFUSED"),
        ("shm", "ENOENT"),
        ("msg", "ENOENT"),
        ("posix_shm", "ENOENT"),
        ("tmp", "ENOENT"),
        ("home", "ENOENT"),
        ("visible", "1"),
        ("signalled", "[]"),
    ]);
    control.expect(&[
        ("abstract", "OK"),
        ("tcp", "OK"),
        ("shm", "OK"),
        ("msg", "OK"),
        ("posix_shm", "OK"),
        ("tmp", "OK"),
        ("home", "OK"),
        ("survived", "OK"),
    ]);
    if who == Who::Root {
        assert_ne!(
            got.of("uid_map"),
            control.of("uid_map"),
            "two jails share their ids"
        );
    }
}
