//! A thousand connections at once, and what they cost the relay.

use super::Jail;
use super::running::kib;
use crate::support::Who;

const MANY: u64 = 1000;
/// A program that is not optimised has more code, whose pages it shares with its supervisor.
const RESIDENT: &str = match cfg!(debug_assertions) {
    true => "RssAnon",
    false => "VmRSS",
};

#[test]
fn a_thousand_connections_carry_bytes_both_ways_at_64_kib_each() {
    let network = "mode = \"allowlist\"\nallow = [\"web.test:7777\"]";
    let Some(jail) = Jail::new(Who::Root, network) else {
        return;
    };
    jail.outside.serve(7777, |mut client, _| {
        let mut bytes = [0; 4096];
        loop {
            match client.read(&mut bytes)? {
                0 => return Ok(()),
                length => client.write_all(&bytes[..length])?,
            }
        }
    });
    let mut run = jail.start(
        r#"
import os, socket, sys, time
def wait(name):
    print(name, flush=True)
    while not os.path.exists(name): time.sleep(0.02)
def carry(turn):
    for number, s in enumerate(all): s.sendall(b'%04d:%03d' % (number, turn) * 256)
    for number, s in enumerate(all):
        left, said = 2048, b''
        while len(said) < 2048: said += s.recv(2048) or sys.exit('closed')
        assert said == b'%04d:%03d' % (number, turn) * 256
wait('idle')
all = [socket.create_connection(('web.test', 7777), 20) for _ in range(1000)]
carry(1)
wait('open')
carry(2)
print('done')
"#,
    );
    assert_eq!(run.line(), "idle");
    let relay = run.relay();
    let idle = kib(relay, RESIDENT);
    jail.write("idle", "");
    assert_eq!(run.line(), "open");
    // A client may speak while its server is being dialled, and is one connection all the same.
    assert_eq!(jail.outside.connections().len() as u64, MANY);
    let open = kib(relay, RESIDENT);
    jail.write("open", "");
    assert_eq!(run.rest(), ["done"]);
    eprintln!("the relay: {idle} KiB idle, {open} KiB with {MANY} connections");
    assert!(idle <= 12 << 10, "{idle} KiB idle");
    assert!(
        open - idle <= 64 * MANY,
        "{open} KiB, {idle} KiB of them idle"
    );
}

/// Heads and hellos that are never said to their end: the relay's memory is not the jail's, and who has
/// something to say is heard all the same.
#[test]
fn what_is_half_said_costs_the_relay_little_and_keeps_nobody_out() {
    let network = "mode = \"allowlist\"\nallow = [\"web.test\", \"web.test:7777\"]";
    let Some(jail) = Jail::new(Who::Root, network) else {
        return;
    };
    jail.outside.serve(7777, |mut client, _| {
        let mut bytes = [0; 16];
        let length = client.read(&mut bytes)?;
        client.write_all(&bytes[..length])?;
        client.read(&mut bytes).map(drop)
    });
    let mut run = jail.start(
        r#"
import os, resource, socket, time
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
count = min(1500, (most - 100) // 2)
def wait(name):
    print(name, count, flush=True)
    while not os.path.exists(name): time.sleep(0.02)
def flood(to, bytes):
    s = socket.create_connection(to, 60); s.setblocking(False)
    try: s.send(bytes)
    except OSError: pass
    return s
def tunnel():
    s = socket.create_connection(('198.18.0.1', 3128), 60)
    s.sendall(b'CONNECT web.test:7777 HTTP/1.1\r\n\r\n')
    return s
def status(s): return s.recv(4096).split()[1].decode()
head = b'GET http://web.test/ HTTP/1.1\r\nHost: web.test\r\nX: ' + b'y' * 60000
hello = b'\x16\x03\x01\x40\x00\x01\x00\x7f\x00' + bytes(16380) + b'\x16\x03\x01\x3f\x00' + bytes(16000)
wait('idle')
web = socket.gethostbyname('web.test')
all = [flood(('198.18.0.1', 3128), head) for _ in range(count)]
all += [flood((web, 443), hello) for _ in range(count)]
time.sleep(1)
wait('half')
print('meanwhile', status(tunnel()), flush=True)
for s in all: s.close()
all = [tunnel() for _ in range(1000)]
print('then', {status(s) for s in all})
# No letter that a request could begin with.
for number, s in enumerate(all): s.sendall(b'\x01%04d' % number)
print('echoed', [s.recv(5) for s in all] == [b'\x01%04d' % n for n in range(1000)])
"#,
    );
    assert!(run.line().starts_with("idle"));
    let relay = run.relay();
    let idle = kib(relay, RESIDENT);
    jail.write("idle", "");
    let half = run.line();
    let held = kib(relay, RESIDENT);
    jail.write("half", "");
    assert_eq!(run.line(), "meanwhile 200");
    assert_eq!(run.rest(), ["then {'200'}", "echoed True"]);
    eprintln!("the relay: {idle} KiB idle, {held} KiB, {half}");
    assert!(
        held - idle <= 40 << 10,
        "{held} KiB, {idle} KiB of them idle; {half}"
    );
}
