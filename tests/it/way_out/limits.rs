//! The limits of the network, as the jail meets them.

use std::process::{Child, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Jail;
use crate::support::outside::{Seen, Stream};
use crate::support::{
    Who, state_of,
    wait::{self, PATIENCE},
};

/// A jail with this table of limits, for which `web.test` speaks HTTP at 80 and bytes at 7 and 9.
fn jail(who: Who, limits: &str) -> Option<Jail> {
    let rules = "[\"web.test\", { host = \"web.test\", ports = [7, 9], protocol = \"tcp\" }]";
    let network = format!("mode = \"allowlist\"\nallow = {rules}\n[network.limits]\n{limits}");
    let jail = Jail::new(who, &network)?;
    jail.outside.serve(7, after_the_end);
    jail.outside.serve(9, endlessly);
    Some(jail)
}

/// Says how much came before the other side's end, and then as much again.
fn after_the_end(mut client: Box<dyn Stream>, _: &Mutex<Seen>) -> std::io::Result<()> {
    let mut all = vec![];
    client.read_to_end(&mut all)?;
    write!(client, "{} ", all.len())?;
    client.write_all(&all)
}

static WRITTEN: AtomicU64 = AtomicU64::new(0);

fn endlessly(mut client: Box<dyn Stream>, _: &Mutex<Seen>) -> std::io::Result<()> {
    let block = [b'x'; 16 << 10];
    loop {
        client.write_all(&block)?;
        WRITTEN.fetch_add(block.len() as u64, Ordering::Relaxed);
    }
}

const CLIENT: &str = "import socket, time, errno\n\
    def proxy(host=b'web.test', port=80):\n\
    \x20   s = socket.create_connection(('198.18.0.1', 3128)); s.settimeout(20)\n\
    \x20   s.sendall(b'CONNECT %s:%d HTTP/1.1\\r\\n\\r\\n' % (host, port))\n\
    \x20   said = s.recv(4096); return s, said.split()[1].decode(), said\n\
    def direct(port):\n\
    \x20   s = socket.create_connection(('web.test', port)); s.settimeout(20); return s\n\
    def get(s, path):\n\
    \x20   s.sendall(b'GET %s HTTP/1.1\\r\\nHost: web.test\\r\\n\\r\\n' % path)\n\
    def drain(s):\n\
    \x20   total = 0\n\
    \x20   try:\n\
    \x20       while True:\n\
    \x20           more = s.recv(65536)\n\
    \x20           if not more: return total, 'EOF'\n\
    \x20           total += len(more)\n\
    \x20   except OSError as e: return total, errno.errorcode.get(e.errno, str(e))\n";

fn python(jail: &Jail, script: &str) -> String {
    let ran = jail.python(&format!("{CLIENT}{script}"));
    assert_eq!(ran.status, 0, "{}{}", ran.stdout, ran.stderr);
    ran.stdout
}

#[test]
fn no_more_connections_are_open_at_once() {
    let Some(jail) = jail(Who::User, "connections = 2") else {
        return;
    };
    let said = python(
        &jail,
        "a, b = proxy(), proxy()\nc, status, said = proxy()\n\
         print(a[1], b[1], status, b'the limit network.limits.connections is reached' in said)\n\
         d = direct(80); print(drain(d))\n\
         a[0].close(); time.sleep(0.3)\nprint(proxy()[1])",
    );
    assert_eq!(said, "200 200 403 True\n(0, 'ECONNRESET')\n200\n");
}

#[test]
fn no_more_connections_are_begun_in_a_second() {
    let Some(jail) = jail(Who::User, "rate = 3") else {
        return;
    };
    let said = python(
        &jail,
        "print(*[proxy()[1] for _ in range(6)])\ntime.sleep(1.2)\nprint(proxy()[1])",
    );
    assert_eq!(said, "200 200 200 403 403 403\n200\n");
}

#[test]
fn no_more_bytes_come_or_go_in_all() {
    let Some(jail) = jail(Who::Root, "bytes_in = \"1MiB\"\nbytes_out = \"1MiB\"") else {
        return;
    };
    let jail = jail.logged();
    // Bytes in flight are lost with the reset, and few exceed the limit.
    let script = "s = direct(9); total, end = drain(s); print(total <= 1.25 * 2**20, end)\n\
                  s = direct(7)\n\
                  try:\n\
                  \x20   for i in range(64): s.sendall(bytes(65536)); time.sleep(0.01)\n\
                  \x20   print('all')\n\
                  except OSError as e: print(errno.errorcode[e.errno] in ('EPIPE', 'ECONNRESET'), 16 <= i < 32)";
    assert_eq!(python(&jail, script), "True ECONNRESET\nTrue True\n");
    for limit in ["bytes_in", "bytes_out"] {
        let why = format!("the limit network.limits.{limit} is reached");
        let closed = |line: &serde_json::Value| line["event"] == "close" && line["refused"] == *why;
        let log = jail.log();
        let line = log.iter().find(|line| closed(line));
        let reason = &line.unwrap_or_else(|| panic!("{limit}: {log:#?}"))["reason"];
        let code = format!("net-limit-{}", limit.replace('_', "-"));
        assert_eq!(reason["code"], code, "{reason}");
        let (file, line) = (&reason["rule"]["file"], &reason["rule"]["line"]);
        let own = file
            .as_str()
            .is_some_and(|file| file.ends_with("network.toml"));
        let expected = if limit == "bytes_in" { 7 } else { 8 };
        assert!(own && *line == expected, "{reason}");
    }
    // The control: less than that, both ways.
    let script = "s = direct(7); s.sendall(bytes(900000)); s.shutdown(1); print(drain(s))";
    assert_eq!(python(&jail, script), "(900007, 'EOF')\n");
}

#[test]
fn the_bandwidth_is_shared_and_kept() {
    let Some(jail) = jail(Who::User, "bandwidth = \"1MiB\"") else {
        return;
    };
    let script = "import threading\n\
        def down(i):\n\
        \x20   s = direct(9); end = time.time() + 3; total = 0\n\
        \x20   while time.time() < end: total += len(s.recv(65536))\n\
        \x20   got.append(total); s.close()\n\
        got = []\n\
        all = [threading.Thread(target=down, args=(i,)) for i in range(2)]\n\
        for t in all: t.start()\n\
        for t in all: t.join()\n\
        print(*got)";
    let said = python(&jail, script);
    let got: Vec<f64> = said
        .split_whitespace()
        .map(|n| n.parse::<f64>().expect("a number") / (1 << 20) as f64)
        .collect();
    let sum: f64 = got.iter().sum();
    // Three seconds, and the burst of a tenth; a loaded machine is slower.
    assert!((2.0..3.4).contains(&sum), "{got:?}");
    assert!(got.iter().all(|own| *own > 0.3 * sum), "{got:?}");
}

#[test]
fn a_silent_connection_is_closed_and_one_that_speaks_is_not() {
    let Some(jail) = jail(Who::User, "idle = \"600ms\"") else {
        return;
    };
    let script = "s = direct(7); start = time.time()\n\
                  for _ in range(6): s.sendall(b'x'); time.sleep(0.3)\n\
                  s.shutdown(1); print(drain(s))\n\
                  s = direct(7); s.sendall(b'x'); start = time.time()\n\
                  print(drain(s), 0.5 < time.time() - start < 3)\n\
                  s = direct(80); start = time.time(); get(s, b'/')\n\
                  print(s.recv(15), drain(s)[1] in ('EOF', 'ECONNRESET'), 0.5 < time.time() - start < 3)";
    let said = python(&jail, script);
    assert_eq!(
        said,
        "(8, 'EOF')\n(0, 'ECONNRESET') True\nb'HTTP/1.1 200 OK' True True\n"
    );
}

each!(the_end_of_one_direction_leaves_the_other_open);
fn the_end_of_one_direction_leaves_the_other_open(who: Who) {
    let Some(jail) = jail(who, "") else {
        return;
    };
    let script = "for n in (0, 5, 3000000):\n\
        \x20   s = direct(7); s.sendall(bytes(n)); s.shutdown(1); time.sleep(0.2); print(drain(s))\n\
        s, status, _ = proxy(port=7); s.sendall(b'hello'); s.shutdown(1); print(status, drain(s))";
    let said = python(&jail, script);
    assert_eq!(
        said,
        "(2, 'EOF')\n(7, 'EOF')\n(3000008, 'EOF')\n200 (7, 'EOF')\n"
    );
}

fn never(_: Box<dyn Stream>, _: &Mutex<Seen>) -> std::io::Result<()> {
    loop {
        std::thread::park();
    }
}

/// Bytes that lie unread and unsent in each socket of a network namespace whose two addresses are such (proc_net_tcp).
fn queues(net: &str, is: impl Fn(&str, &str) -> bool) -> Vec<(u64, u64)> {
    let table = |family| std::fs::read_to_string(format!("/proc/{net}/net/{family}"));
    let both = [table("tcp"), table("tcp6")].map(|text| text.expect("a table"));
    let bytes = |text: &str| u64::from_str_radix(text, 16).expect("a number");
    let one = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        // Not those who listen.
        let own = words[3] != "0A" && is(words[1], words[2]);
        let (sending, received) = words[4].split_once(':').expect("two numbers");
        own.then(|| (bytes(received), bytes(sending)))
    };
    both.iter()
        .flat_map(|text| text.lines().skip(1).filter_map(one))
        .collect()
}

each!(what_nobody_reads_costs_the_host_little);
/// Kernel memory of the relay, which no limit of the jail counts, is little for each connection
/// but for eight: whether the jail does not read, or the server does not.
fn what_nobody_reads_costs_the_host_little(who: Who) {
    const CONNECTIONS: usize = 24;
    const WIDE: usize = 8;
    const BOUND: u64 = 600 << 10;
    let Some(jail) = Jail::new(
        who,
        "mode = \"allowlist\"\nallow = [{ host = \"web.test\", ports = [9, 11], protocol = \"tcp\" }]",
    ) else {
        return;
    };
    jail.outside.serve(9, endlessly);
    jail.outside.serve(11, never);
    // The jail reads first, so that the kernel lets buffers grow, and then no more.
    let unread = "s = [direct(9) for _ in range(24)]\n\
                  for c in s:\n\
                  \x20   n = 0\n\
                  \x20   while n < 3000000: n += len(c.recv(1 << 20))\n";
    let unsent = "s = [direct(11) for _ in range(24)]\n\
                  for c in s: c.setblocking(False)\n\
                  for _ in range(60):\n\
                  \x20   for c in s:\n\
                  \x20       try: c.send(bytes(1 << 20))\n\
                  \x20       except OSError: pass\n\
                  \x20   time.sleep(0.02)\n";
    for (port, script) in [("0009", unread), ("000B", unsent)] {
        let mut child = once_done(&jail, script);
        let first = super::first_of(child.id()).expect("a jail").to_string();
        let at = format!(":{port}");
        let outside = || queues("thread-self", |_, remote| remote.ends_with(&at));
        let inside = || queues(&first, |local, _| local.ends_with(&at));
        let last = std::cell::RefCell::new((vec![], vec![]));
        let settled = wait::within(PATIENCE, || {
            wait::still(Duration::from_millis(200), || {
                last.replace((outside(), inside()));
                last.borrow().clone()
            })
        });
        let _ = child.kill();
        let _ = child.wait();
        assert!(settled, "{last:?}");
        let (outside, inside) = last.into_inner();
        for (side, queues) in [("outside", outside), ("inside", inside)] {
            assert_eq!(queues.len(), CONNECTIONS, "{side} {port}");
            let held = |(received, sending): &(u64, u64)| received + sending;
            let mut held: Vec<u64> = queues.iter().map(held).collect();
            held.sort_unstable();
            assert!(
                held[..CONNECTIONS - WIDE].iter().all(|held| *held < BOUND),
                "{who:?} {side} {port}: {held:?}"
            );
        }
    }
}

/// A jail that has done this and stays.
fn once_done(jail: &Jail, script: &str) -> Child {
    let script = format!("{CLIENT}{script}print('ready', flush=True); time.sleep(60)");
    let mut command = jail.run().command(["/usr/bin/python3", "-c", &script]);
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .expect("creel starts");
    let out = child.stdout.as_mut().expect("a pipe");
    std::io::Read::read_exact(out, &mut [0; 6]).expect("ready");
    child
}

/// A reader that takes nothing slows its writer, and the relay holds next to nothing of it.
#[test]
fn a_slow_reader_costs_the_relay_no_memory() {
    let Some(jail) = jail(Who::Root, "") else {
        return;
    };
    let mut child = once_done(&jail, "s = [direct(9) for _ in range(20)]\n");
    let relay = super::relay_of(child.id()).expect("a relay");
    let written = || WRITTEN.load(Ordering::Relaxed);
    let settled = wait::within(PATIENCE, || {
        wait::still(Duration::from_millis(300), written) && written() > 0
    });
    let status = std::fs::read_to_string(format!("/proc/{relay}/status")).expect("the relay lives");
    let _ = child.kill();
    let _ = child.wait();
    let written = written();
    assert!(settled, "{written} bytes and counting");
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let resident: u64 = resident
        .and_then(|text| text.trim().strip_suffix(" kB")?.parse().ok())
        .expect("a size");
    // An unoptimised relay has its own size; twenty connections' sockets and pipes are the kernel's.
    assert!(
        resident < 48 << 10,
        "{resident} KiB, {written} bytes written"
    );
    wait::until("the relay ends with creel", || state_of(relay).is_none());
}
