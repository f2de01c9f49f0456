//! Python: a venv, threads, processes, asyncio, and a server of its own on loopback.

use super::{belongs_to_its_owner, coding};
use crate::support::{Run, Who, Workspace, need};

/// Runs a script with Debian's Python.
#[track_caller]
fn python(who: Who, workspace: &Workspace, script: &str) -> String {
    need("python3");
    Run::new(who, workspace)
        .policy("coding")
        .python(script)
        .ok()
        .stdout
}

each!(python_makes_a_venv_with_pip_and_runs_it);
fn python_makes_a_venv_with_pip_and_runs_it(who: Who) {
    need("python3");
    let workspace = Workspace::new(who);
    let ran = coding(
        who,
        &workspace,
        "/usr/bin/python3 -m venv v; v/bin/python -c 'import sys; print(sys.prefix != sys.base_prefix)'
             v/bin/pip --version | cut -d' ' -f1; v/bin/pip list 2>/dev/null | grep -c '^pip '",
    );
    assert_eq!(ran.stdout, "True\npip\n1\n");
    belongs_to_its_owner(who, &workspace);
}

each!(python_makes_a_venv_in_tmp_and_in_home);
fn python_makes_a_venv_in_tmp_and_in_home(who: Who) {
    need("python3");
    let workspace = Workspace::new(who);
    for place in ["/tmp", "$HOME"] {
        let script = format!(
            "/usr/bin/python3 -m venv --without-pip {place}/v; {place}/v/bin/python -c 'print(6 * 7)'"
        );
        assert_eq!(coding(who, &workspace, &script).stdout, "42\n");
    }
}

each!(python_starts_threads);
fn python_starts_threads(who: Who) {
    let workspace = Workspace::new(who);
    let script = "
import threading
lock, total = threading.Lock(), 0
def add(n):
    global total
    with lock: total += n
threads = [threading.Thread(target=add, args=(n,)) for n in range(50)]
[t.start() for t in threads]; [t.join() for t in threads]
print(total)";
    assert_eq!(python(who, &workspace, script), "1225\n");
}

each!(python_multiprocessing_works_with_fork_and_with_spawn);
fn python_multiprocessing_works_with_fork_and_with_spawn(who: Who) {
    let workspace = Workspace::new(who);
    for method in ["fork", "spawn", "forkserver"] {
        workspace.write(
            "pool.py",
            &format!(
                "import multiprocessing as m
def square(n): return n * n
if __name__ == '__main__':
    m.set_start_method('{method}')
    with m.Pool(3) as pool: print(sum(pool.map(square, range(10))))
    queue = m.Queue(); process = m.Process(target=queue.put, args=('through a queue',))
    process.start(); print(queue.get()); process.join(); print(process.exitcode)"
            ),
        );
        let ran = Run::new(who, &workspace)
            .policy("coding")
            .argv(["/usr/bin/python3", "pool.py"])
            .ok();
        assert_eq!(ran.stdout, "285\nthrough a queue\n0\n", "{method}");
    }
}

each!(python_shares_memory_by_name);
fn python_shares_memory_by_name(who: Who) {
    let workspace = Workspace::new(who);
    let script = "
from multiprocessing import shared_memory
a = shared_memory.SharedMemory(create=True, size=1 << 20)
a.buf[:2] = b'hi'
b = shared_memory.SharedMemory(name=a.name); print(bytes(b.buf[:2])); b.close(); a.close(); a.unlink()";
    assert_eq!(python(who, &workspace, script), "b'hi'\n");
}

each!(python_serves_and_fetches_over_loopback);
fn python_serves_and_fetches_over_loopback(who: Who) {
    let workspace = Workspace::new(who);
    let script = "
import http.server, threading, urllib.request
class Hello(http.server.BaseHTTPRequestHandler):
    def do_GET(self): self.send_response(200); self.end_headers(); self.wfile.write(b'served')
    def log_message(self, *a): pass
for host in '127.0.0.1', 'localhost':
    server = http.server.HTTPServer((host, 0), Hello)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(urllib.request.urlopen(f'http://{host}:{server.server_port}/').read().decode())
    server.shutdown()";
    assert_eq!(python(who, &workspace, script), "served\nserved\n");
}

each!(python_asyncio_runs_subprocesses_with_pipes);
fn python_asyncio_runs_subprocesses_with_pipes(who: Who) {
    let workspace = Workspace::new(who);
    let script = "
import asyncio
async def main():
    p = await asyncio.create_subprocess_exec('/bin/cat', stdin=-1, stdout=-1)
    out, _ = await p.communicate(b'abc'); print(out, p.returncode)
    try: await asyncio.wait_for(asyncio.sleep(9), 0.01)
    except asyncio.TimeoutError: print('timed out')
asyncio.run(main())";
    assert_eq!(python(who, &workspace, script), "b'abc' 0\ntimed out\n");
}

each!(python_knows_its_user_its_home_and_its_temporary_directory);
fn python_knows_its_user_its_home_and_its_temporary_directory(who: Who) {
    let workspace = Workspace::new(who);
    let home = who.account().2;
    let script = "
import getpass, os, pwd, tempfile, platform
print(getpass.getuser(), pwd.getpwuid(os.getuid()).pw_dir == os.path.expanduser('~'), os.path.expanduser('~'))
with tempfile.NamedTemporaryFile() as f: print(os.path.dirname(f.name))
print(platform.node())";
    let expected = format!("agent True {}\n/tmp\ncreel\n", home.display());
    assert_eq!(python(who, &workspace, script), expected);
}
