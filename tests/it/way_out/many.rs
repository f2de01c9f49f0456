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
    for number, s in enumerate(all): s.sendall(b'%04d%04d' % (number, turn) * 256)
    for number, s in enumerate(all):
        left, said = 2048, b''
        while len(said) < 2048: said += s.recv(2048) or sys.exit('closed')
        assert said == b'%04d%04d' % (number, turn) * 256
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
