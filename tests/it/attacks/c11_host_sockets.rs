//! nono CVE-2026-47128, CVE-2020-15257: an AF_UNIX socket of the host is a way out, whether it has
//! a path, an abstract name or is a descriptor.
//!
//! No read-only mount stops connect(2) by path, so creel covers each socket that somebody of the host's
//! network namespace has bound beneath a grant when the jail starts. One that is bound there afterwards,
//! by somebody who may write there, is Landlock's to refuse, from ABI 9 (Linux 7.1) on; on older kernels
//! it is reachable. The last test here says on each kernel what holds there.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::path::Path;

use super::{attack, outside, refused};
use crate::support::{Run, Who, Workspace, wait};
use creel_sys::landlock;

const CONNECT: &str = r#"
import socket
def reach(address, kind=socket.SOCK_STREAM):
    def go():
        s = socket.socket(socket.AF_UNIX, kind)
        s.connect(address)
        s.close()
    return py(go)
"#;

each!(an_abstract_name_of_the_host_is_unknown);
fn an_abstract_name_of_the_host_is_unknown(who: Who) {
    let workspace = Workspace::new(who);
    let name = format!("creel-it-{}-{who:?}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a name");
    let _listener = UnixListener::bind_addr(&address).expect("bind");
    let body = format!(
        "{CONNECT}\nsay('abstract', reach('\\0{name}'))\nsay('listed', {name:?} in open('/proc/net/unix').read())"
    );
    attack(Run::new(who, &workspace), &body)
        .expect(&[("abstract", "ECONNREFUSED"), ("listed", "False")]);
    outside(who, &workspace.path(), &body).expect(&[("abstract", "OK"), ("listed", "True")]);
}

each!(the_hosts_sockets_have_no_path);
fn the_hosts_sockets_have_no_path(who: Who) {
    let workspace = Workspace::new(who);
    let path = workspace.outside().join("host.sock");
    let _listener = UnixListener::bind(&path).expect("bind");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).expect("chmod");
    let body = format!(
        r#"{CONNECT}
say('outside', reach({:?}))
known = ['/run/dbus/system_bus_socket', '/var/run/dbus/system_bus_socket', '/run/systemd/private',
    '/run/systemd/notify', '/run/systemd/journal/socket', '/run/systemd/journal/dev-log', '/dev/log',
    '/run/docker.sock', '/var/run/docker.sock', '/run/podman/podman.sock', '/run/containerd/containerd.sock',
    '/run/user/0/bus', f'/run/user/{{os.getuid()}}/bus', f'/run/user/{{os.getuid()}}/systemd/private',
    f'/run/user/{{os.getuid()}}/gnupg/S.gpg-agent', '/tmp/.X11-unix/X0', '/tmp/ssh-agent/agent.1',
    os.path.expanduser('~/.gnupg/S.gpg-agent'), '/run/snapd.socket', '/run/nscd/socket', '/run/lvm/lvmpolld.socket']
say('known', sorted({{reach(p) for p in known}} | {{reach(p, socket.SOCK_DGRAM) for p in known}}))
say('env', [v for v in os.environ if 'SOCK' in v or 'DBUS' in v or 'AGENT' in v])
"#,
        path.display().to_string()
    );
    let run = Run::new(who, &workspace)
        .outer_env("SSH_AUTH_SOCK", &path)
        .outer_env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/x")
        .outer_env("GPG_AGENT_INFO", "x");
    attack(run, &body).expect(&[
        ("outside", "ENOENT"),
        ("known", "['ENOENT']"),
        ("env", "[]"),
    ]);
    outside(
        who,
        &workspace.path(),
        &format!(
            "{CONNECT}\nsay('outside', reach({:?}))",
            path.display().to_string()
        ),
    )
    .expect(&[("outside", "OK")]);
}

each!(nothing_under_run_is_granted);
fn nothing_under_run_is_granted(who: Who) {
    let workspace = Workspace::new(who);
    for flag in ["--read", "--write", "--workspace"] {
        for path in [
            "/run",
            "/run/user",
            "/var/run",
            "/run/creel",
            "/usr/../run",
            "/proc/self/root/run",
        ] {
            if Path::new(path).exists() {
                let ran = Run::new(who, &workspace).flags([flag, path]).sh("ls");
                assert_eq!(
                    (ran.status, ran.stdout.as_str()),
                    (125, ""),
                    "{flag} {path}: {ran:#?}"
                );
            }
        }
    }
    let path = workspace.outside().join("own.sock");
    let _listener = UnixListener::bind(&path).expect("bind");
    let flags = [std::ffi::OsStr::new("--read"), path.as_os_str()];
    refused(
        &Run::new(who, &workspace).flags(flags).sh(":"),
        "is a socket",
    );
}

each!(a_socket_in_a_granted_tree_is_covered);
fn a_socket_in_a_granted_tree_is_covered(who: Who) {
    let workspace = Workspace::new(who);
    let tree = workspace.outside().join("tree");
    std::fs::create_dir_all(tree.join("deep")).expect("mkdir");
    let sockets = [
        workspace.path().join("in-workspace.sock"),
        tree.join("deep/in-tree.sock"),
    ];
    let listeners: Vec<_> = sockets
        .iter()
        .map(|path| {
            let listener = UnixListener::bind(path).expect("bind");
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).expect("chmod");
            listener
        })
        .collect();
    let body = format!(
        "{CONNECT}\nfor n, p in enumerate({:?}):\n    say(f'stream{{n}}', reach(p))\n    say(f'link{{n}}', py(os.link, p, f'l{{n}}'))\n    say(f'through{{n}}', reach(f'/proc/self/root{{p}}'))\n    say(f'unlink{{n}}', py(os.unlink, p))\n    say(f'rename{{n}}', py(os.rename, p, p + '2'))",
        sockets.each_ref().map(|p| p.display().to_string())
    );
    for flag in ["--read", "--write"] {
        let run = Run::new(who, &workspace).flags([std::ffi::OsStr::new(flag), tree.as_os_str()]);
        let got = attack(run, &body);
        got.expect(&[
            ("stream0", "EACCES"),
            ("stream1", "EACCES"),
            ("through0", "EACCES"),
            ("through1", "EACCES"),
        ]);
        got.expect(&[("unlink0", "EBUSY"), ("rename0", "EBUSY")]);
        assert_ne!(got.of("link0"), "OK");
    }
    outside(
        who,
        &workspace.path(),
        &format!(
            "{CONNECT}\nsay('open', [reach(p) for p in {:?}])",
            sockets.each_ref().map(|p| p.display().to_string())
        ),
    )
    .expect(&[("open", "['OK', 'OK']")]);
    drop(listeners);
    // The jail's own are its own.
    let own = format!(
        "{CONNECT}\ns = socket.socket(socket.AF_UNIX)\ns.bind('mine')\ns.listen()\nsay('own', reach('mine'))\nos.unlink('mine')"
    );
    attack(Run::new(who, &workspace), &own).expect(&[("own", "OK")]);
}

each!(a_socket_bound_after_the_start_is_refused_from_abi_9_on_and_reachable_before);
fn a_socket_bound_after_the_start_is_refused_from_abi_9_on_and_reachable_before(who: Who) {
    let expected = match landlock::abi() {
        0..9 => "OK",
        _ => "EACCES",
    };
    let workspace = Workspace::new(who);
    let path = workspace.path().join("late.sock");
    let late = path.clone();
    let ready = workspace.path().join("ready");
    let binder = std::thread::spawn(move || {
        wait::until("the jail is ready", || ready.exists());
        let listener = UnixListener::bind(&late).expect("bind");
        std::fs::set_permissions(&late, std::fs::Permissions::from_mode(0o777)).expect("chmod");
        std::fs::write(late.with_extension("ok"), "").expect("write");
        listener
    });
    let body = format!(
        "{CONNECT}\nopen('ready', 'w').close()\nfor _ in range(1000):\n    if os.path.exists('late.ok'): break\n    time.sleep(0.005)\nsay('late', reach({:?}))\nsay('through', reach({:?}))\nos.symlink('late.sock', 'link')\nsay('link', reach('link'))",
        path.display().to_string(),
        format!("/proc/self/root{}", path.display()),
    );
    let got = attack(Run::new(who, &workspace), &body);
    binder.join().expect("bound");
    got.expect(&[
        ("late", expected),
        ("through", expected),
        ("link", expected),
    ]);
}

each!(a_server_of_datagrams_is_covered_in_each_state);
/// As /dev/log has clients. The state of such a server changes with the first one, and stays when that has gone.
fn a_server_of_datagrams_is_covered_in_each_state(who: Who) {
    let workspace = Workspace::new(who);
    let tree = workspace.outside().join("tree");
    std::fs::create_dir(&tree).expect("mkdir");
    let names = ["alone", "with", "had"].map(|name| tree.join(name));
    let servers = names.each_ref().map(|name| {
        let server = UnixDatagram::bind(name).expect("bind");
        std::fs::set_permissions(name, std::fs::Permissions::from_mode(0o777)).expect("chmod");
        server.set_nonblocking(true).expect("nonblocking");
        server
    });
    let clients = [1, 2].map(|number| {
        let client = UnixDatagram::unbound().expect("a socket");
        client.connect(&names[number]).expect("connect");
        client
    });
    let [_with, had] = clients;
    drop(had);
    let body = format!(
        "{CONNECT}\ndef letter(p):\n    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n    return py(s.sendto, b'letter', p)\nsay('letters', [letter(p) for p in {:?}])",
        names.each_ref().map(|name| name.display().to_string())
    );
    let flags = [std::ffi::OsStr::new("--read"), tree.as_os_str()];
    attack(Run::new(who, &workspace).flags(flags), &body)
        .expect(&[("letters", "['EACCES', 'EACCES', 'EACCES']")]);
    let came = || {
        let mut letter = [0; 8];
        servers
            .each_ref()
            .map(|server| server.recv(&mut letter).is_ok())
    };
    assert_eq!(came(), [false; 3]);
    outside(who, &workspace.path(), &body).expect(&[("letters", "['OK', 'OK', 'OK']")]);
    assert_eq!(came(), [true; 3]);
}
