//! Promises beside the decision: no record no act, a ceiling clips, datagrams by name.

use super::Jail;
use crate::support::Who;
use crate::support::outside::PUBLIC;

const WEB: &str = "mode = \"allowlist\"\nallow = [\"web.test\"]";

each!(without_a_record_nothing_leaves);
/// Nothing is admitted where its record cannot be written.
fn without_a_record_nothing_leaves(who: Who) {
    let Some(jail) = Jail::new(who, WEB) else {
        return;
    };
    let script = "import socket\n\
        def ask(port, bytes):\n\
        \x20   s = socket.create_connection(('198.18.0.1', port), 5); s.sendall(bytes); return s.recv(4096)\n\
        why = b'its record cannot be written'\n\
        said = ask(3128, b'CONNECT web.test:443 HTTP/1.1\\r\\n\\r\\n'); print(said.split()[1], why in said)\n\
        said = ask(3128, b'GET http://web.test/ HTTP/1.1\\r\\nHost: web.test\\r\\n\\r\\n'); print(said.split()[1], why in said)\n\
        s = socket.create_connection(('198.18.0.1', 1080), 5); s.sendall(b'\\5\\1\\0'); s.recv(2)\n\
        s.sendall(b'\\5\\1\\0\\3\\x08web.test\\1\\xbb'); print(s.recv(10)[1])\n\
        try: s = socket.create_connection(('web.test', 80), 5); s.sendall(b'GET / HTTP/1.1\\r\\nHost: web.test\\r\\n\\r\\n'); print(s.recv(1))\n\
        except OSError as e: print(e.errno)";
    let before = jail.outside.packets();
    let full = ["--log-net", "/dev/full"];
    let jail = jail.flags(&full);
    let ran = jail.python(script).ok();
    assert_eq!(
        ran.stdout, "b'403' True\nb'403' True\n2\n104\n",
        "{who:?}: {ran:#?}"
    );
    assert_eq!(jail.outside.packets() - before, 0, "{who:?}");
    // The control: where it can be written.
    let Some(jail) = Jail::new(who, WEB) else {
        return;
    };
    let ran = jail.flags(&["--log-net", "/dev/null"]).python(script).ok();
    assert!(
        ran.stdout.starts_with("b'200' False\nb'200' False\n0\n"),
        "{ran:#?}"
    );
}

each!(an_operators_list_is_the_most_that_anybody_has);
/// A flag goes no further than an operator's policy; a further layer's list is narrowed by it.
fn an_operators_list_is_the_most_that_anybody_has(who: Who) {
    let script = "import socket\n\
        for host in (b'web.test', b'other.test'):\n\
        \x20   s = socket.create_connection(('198.18.0.1', 3128), 5)\n\
        \x20   s.sendall(b'CONNECT %s:443 HTTP/1.1\\r\\n\\r\\n' % host); print(s.recv(4096).split()[1].decode())";
    // Requirements of the layer beneath.
    let Some(jail) = Jail::new(
        who,
        "mode = \"allowlist\"\nallow = [\"web.test\", \"other.test\"]",
    ) else {
        return;
    };
    let operator = |mode: &str| {
        format!(
            "extends = [\"default\"]\nallow_degraded = [\"cgroup\"]\n[network]\nresolvers = [\"127.0.0.53:53\"]\n{mode}\n"
        )
    };
    let jail = jail.operator(&operator(WEB));
    let ran = jail.python(script).ok();
    assert_eq!(ran.stdout, "200\n403\n", "{who:?}: {ran:#?}");
    assert_eq!(
        jail.outside.questions(),
        ["web.test", "web.test"],
        "{who:?}"
    );
    let jail = jail.flags(&["--allow-net", "other.test"]);
    let ran = jail.python(script);
    assert_eq!(ran.status, 125, "{who:?}: {ran:#?}");
    let why =
        "--allow-net other.test:80,443: the platform's or operator's policy does not grant it";
    assert!(ran.stderr.contains(why), "{who:?}: {ran:#?}");
    // The control: the operator grants it.
    let jail = jail.operator(&operator(
        "mode = \"allowlist\"\nallow = [\"web.test\", \"other.test\"]",
    ));
    let ran = jail.python(script).ok();
    assert_eq!(ran.stdout, "200\n200\n", "{who:?}: {ran:#?}");
}

each!(datagrams_to_what_a_wildcard_does_not_grant_get_no_answer);
/// A rule for more than a name listens on every address: what it does not grant gets no answer there.
fn datagrams_to_what_a_wildcard_does_not_grant_get_no_answer(who: Who) {
    let network = "mode = \"allowlist\"\nallow = [\"web.test\", \
        { host = \"*.wild.test\", ports = 4433, protocol = \"udp\" }, \
        { host = \"10.20.0.0/16\", ports = 4433, protocol = \"udp\" }]";
    let Some(jail) = Jail::new(who, network) else {
        return;
    };
    jail.outside.echo(4433);
    let script = "import socket, errno, sys\n\
        for host in sys.argv[1:]:\n\
        \x20   try:\n\
        \x20       f, t, _, _, to = socket.getaddrinfo(host, 4433, 0, socket.SOCK_DGRAM)[0]\n\
        \x20       s = socket.socket(f, t); s.settimeout(1); s.connect(to); s.send(b'x'); s.recv(1)\n\
        \x20       print(host, 'echoed')\n\
        \x20   except socket.timeout: print(host, 'silence')\n\
        \x20   except OSError as e: print(host, errno.errorcode.get(e.errno, str(e)))";
    let ask = |hosts: &[&str]| jail.argv(&[&["/usr/bin/python3", "-c", script], hosts].concat());
    let before = jail.outside.packets();
    let ran = ask(&["web.test", "93.184.216.34", "10.21.0.1", "8.8.8.8"]).ok();
    let silence = "web.test silence\n93.184.216.34 silence\n10.21.0.1 silence\n8.8.8.8 silence\n";
    assert_eq!(ran.stdout, silence, "{who:?}: {ran:#?}");
    assert_eq!(jail.outside.packets() - before, 0, "{who:?}");
    // The name is granted, and not the address that it leads to.
    jail.outside.lead("a.wild.test", &[[10, 21, 0, 1].into()]);
    let ran = ask(&["a.wild.test"]).ok();
    assert_eq!(ran.stdout, "a.wild.test silence\n", "{who:?}: {ran:#?}");
    let why = &ran.verdict["network"]["destinations"][0]["why"];
    assert!(why.to_string().contains("10.21.0.1 is private"), "{ran:#?}");
    // The control.
    jail.outside.lead("a.wild.test", &[PUBLIC.into()]);
    let ran = ask(&["a.wild.test", "10.20.0.1"]).ok();
    assert_eq!(
        ran.stdout, "a.wild.test echoed\n10.20.0.1 echoed\n",
        "{who:?}: {ran:#?}"
    );
}

each!(datagrams_reach_the_named_host_alone);
/// Datagrams reach a named host, and nothing else; what nobody serves is refused at once.
fn datagrams_reach_the_named_host_alone(who: Who) {
    let network = "mode = \"allowlist\"\nallow = [\"other.test\", \
        { host = \"web.test\", ports = [443, 4433], protocol = \"udp\" }]";
    let Some(jail) = Jail::new(who, network) else {
        return;
    };
    for port in [443, 4433, 5000] {
        jail.outside.echo(port);
    }
    let script = "import socket, errno, time\n\
        def udp(what, host, port):\n\
        \x20   start = time.time()\n\
        \x20   try:\n\
        \x20       f, t, _, _, to = socket.getaddrinfo(host, port, 0, socket.SOCK_DGRAM)[0]\n\
        \x20       s = socket.socket(f, t); s.settimeout(5); s.connect(to)\n\
        \x20       for size in (5, 1400): s.send(b'x' * size); assert len(s.recv(2000)) == size\n\
        \x20       said = 'echoed'\n\
        \x20   except OSError as e: said = errno.errorcode.get(e.errno, str(e))\n\
        \x20   print(what + ':', said + (' SLOW' if time.time() - start > 2 else ''))\n\
        udp('granted', 'web.test', 4433)\n\
        udp('granted QUIC', 'web.test', 443)\n\
        udp('another port', 'web.test', 5000)\n\
        udp('QUIC to another name', 'other.test', 443)\n\
        udp('another name', 'other.test', 4433)\n\
        udp('by number', '93.184.216.34', 4433)\n\
        udp('QUIC by number', '93.184.216.34', 443)\n\
        udp('NTP', '93.184.216.34', 123)";
    let ran = jail.python(script).ok();
    let other = [
        "another port",
        "QUIC to another name",
        "another name",
        "by number",
        "QUIC by number",
        "NTP",
    ];
    let other: String = other.map(|what| format!("{what}: ECONNREFUSED\n")).concat();
    assert_eq!(
        ran.stdout,
        format!("granted: echoed\ngranted QUIC: echoed\n{other}"),
        "{who:?}: {ran:#?}"
    );
}
