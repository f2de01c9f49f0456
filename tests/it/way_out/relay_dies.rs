//! The relay's death: every connection ends, no new one begins, and the verdict says so.

use super::{Jail, children_of, relay_of, until};
use crate::support::Who;

#[test]
fn the_relays_death_closes_every_connection_and_fails_closed() {
    for who in Who::all() {
        let Some(jail) = Jail::new(who, "mode = \"allowlist\"\nallow = [\"web.test\"]") else {
            return;
        };
        // A transfer that does not end by itself, and then every way anew.
        let script = "import errno, socket, time\n\
            def name(e): return errno.errorcode.get(e.errno, str(e.errno))\n\
            at = socket.getaddrinfo('web.test', 80)[0][4][0]\n\
            s = socket.create_connection((at, 80)); s.settimeout(20)\n\
            s.sendall(b'GET /big/100000000000 HTTP/1.1\\r\\nHost: web.test\\r\\n\\r\\n')\n\
            idle = socket.create_connection(('198.18.0.1', 3128)); idle.settimeout(20)\n\
            idle.sendall(b'CONNECT web.test:443 HTTP/1.1\\r\\n\\r\\n'); print(idle.recv(12).decode())\n\
            idle.recv(4096); total = len(s.recv(65536)); open('ready', 'w').close()\n\
            try:\n\
            \x20   while more := s.recv(65536): total += len(more)\n\
            \x20   print('transfer EOF', total > 0)\n\
            except OSError as e: print('transfer', name(e), total > 0)\n\
            try: print('tunnel', idle.recv(1))\n\
            except OSError as e: print('tunnel', name(e))\n\
            for way, to in (('transparent', (at, 80)), ('tls', (at, 443)), ('connect', ('198.18.0.1', 3128)), ('socks', ('198.18.0.1', 1080))):\n\
            \x20   try: socket.create_connection(to, 5); print(way, 'REACHED')\n\
            \x20   except OSError as e: print(way, name(e))\n\
            d = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); d.settimeout(5); d.connect(('9.9.9.9', 53))\n\
            try: d.send(b'x' * 20); d.recv(1); print('dns REACHED')\n\
            except OSError as e: print('dns', name(e))\n";
        let ready = jail.file("ready");
        let own = std::process::id();
        let before = children_of(own);
        let killer = std::thread::spawn(move || {
            assert!(until(|| ready.exists()), "the client is ready");
            let creel = children_of(own)
                .into_iter()
                .find(|pid| !before.contains(pid));
            let relay = relay_of(creel.expect("creel")).expect("a relay");
            // SAFETY: two integers; the relay is not reaped before creel ends, which waits for the jail.
            unsafe { libc::kill(relay as i32, libc::SIGKILL) };
        });
        let ran = jail.python(script);
        killer.join().expect("the relay was killed");
        let said: Vec<&str> = ran.stdout.lines().collect();
        assert_eq!(said[0], "HTTP/1.1 200", "{who:?}: {ran:#?}");
        assert!(
            ["transfer ECONNRESET True", "transfer EOF True"].contains(&said[1]),
            "{who:?}: {ran:#?}"
        );
        assert!(
            ["tunnel ECONNRESET", "tunnel b''"].contains(&said[2]),
            "{who:?}: {ran:#?}"
        );
        let refused = ["transparent", "tls", "connect", "socks", "dns"];
        let refused = refused.map(|way| format!("{way} ECONNREFUSED"));
        assert_eq!(said[3..], refused, "{who:?}: {ran:#?}");
        assert_eq!(ran.verdict["network"]["relay_died"], true, "{ran:#?}");
        let said =
            "creel: the relay ended before the command did, and nothing left the jail from then on";
        assert!(ran.stderr.contains(said), "{ran:#?}");
        // The control: the same client, where nobody kills it, is told nothing of the kind.
        let ran = jail.python("print('well')").ok();
        assert_eq!(ran.verdict["network"]["relay_died"], false, "{ran:#?}");
        assert_eq!(ran.stderr, "");
    }
}
