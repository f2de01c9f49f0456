//! The relay's death: every connection ends, no new one begins, and the verdict says so.

use super::{Jail, relay_of};
use crate::support::{Who, children_of, wait};

each!(the_relays_death_closes_every_connection_and_fails_closed);
fn the_relays_death_closes_every_connection_and_fails_closed(who: Who) {
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
        wait::until("the client is ready", || ready.exists());
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
        "creel: the relay ended before the command did, and the jail had no network from then on";
    assert!(ran.stderr.contains(said), "{ran:#?}");
    // The control: the same client, where nobody kills it, is told nothing of the kind.
    let ran = jail.python("print('well')").ok();
    assert_eq!(ran.verdict["network"]["relay_died"], false, "{ran:#?}");
    assert_eq!(ran.verdict["network"]["summary_lost"], false, "{ran:#?}");
    assert_eq!(ran.stderr, "");
}

/// A stopped relay that cannot send its summary is not reported as dead: it may have forwarded any allowed
/// traffic.
#[test]
fn a_relay_that_is_silent_at_the_end_is_not_taken_for_dead() {
    let Some(jail) = Jail::new(Who::User, "mode = \"allowlist\"\nallow = [\"web.test\"]") else {
        return;
    };
    let own = std::process::id();
    let before = children_of(own);
    let (ready, go) = (jail.file("ready"), jail.file("go"));
    let stopper = std::thread::spawn(move || {
        wait::until("the client is ready", || ready.exists());
        let mut children = children_of(own).into_iter();
        let creel = children.find(|pid| !before.contains(pid)).expect("creel");
        let relay = relay_of(creel).expect("a relay");
        // SAFETY: two integers; the relay is not reaped before creel ends, which waits for the jail.
        unsafe { libc::kill(relay as i32, libc::SIGSTOP) };
        std::fs::write(go, "").expect("write");
    });
    let script = "import os, time, urllib.request\n\
        print(urllib.request.urlopen('http://web.test/').status); open('ready', 'w').close()\n\
        for _ in range(1500): os.path.exists('go') or time.sleep(0.02)";
    let ran = jail.python(script);
    stopper.join().expect("the relay was stopped");
    assert_eq!(ran.stdout, "200\n", "{ran:#?}");
    let network = &ran.verdict["network"];
    assert_eq!(network["relay_died"], false, "{ran:#?}");
    assert_eq!(network["summary_lost"], true, "{ran:#?}");
    assert!(
        ran.stderr
            .contains("did not report its destinations in time"),
        "{ran:#?}"
    );
    assert!(
        !ran.stderr.contains("the jail had no network from then on"),
        "{ran:#?}"
    );
    // The control: one that is not stopped says it.
    let _ = std::fs::remove_file(jail.file("ready"));
    let ran = jail.python(script).ok();
    let network = &ran.verdict["network"];
    assert_eq!(network["summary_lost"], false, "{ran:#?}");
    assert_eq!(network["destinations"][0]["allowed"], 1, "{ran:#?}");
}

/// A jail that asks for more names than the summary has room for hides nothing that it reached.
#[test]
fn refused_names_hide_no_destination_that_was_reached() {
    let Some(jail) = Jail::new(Who::User, "mode = \"allowlist\"\nallow = [\"web.test\"]") else {
        return;
    };
    let script = "import socket, sys, urllib.request\n\
        for i in range(int(sys.argv[1])):\n\
        \x20   try: socket.getaddrinfo(('x' * 60 + '.') * 3 + 'bogus%d.test' % i, 80)\n\
        \x20   except OSError: pass\n\
        print(urllib.request.urlopen('http://web.test/', b'x' * 1000).status)";
    for (names, others) in [("0", false), ("230", true)] {
        let ran = jail.argv(&["/usr/bin/python3", "-c", script, names]).ok();
        let all = ran.verdict["network"]["destinations"].as_array();
        let all = all.expect("destinations");
        let find = |host: &str| all.iter().find(|one| one["host"] == host);
        let web = find("web.test").unwrap_or_else(|| panic!("{names}: {ran:#?}"));
        assert_eq!(web["allowed"], 1, "{web}");
        assert!(web["bytes_out"].as_u64().expect("a number") > 1000, "{web}");
        assert_eq!(find("others").is_some(), others, "{ran:#?}");
    }
}
