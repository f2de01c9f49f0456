//! The canonical form of a host beside two readers that share nothing with it. To the C library's dialler,
//! getaddrinfo(3) with AI_NUMERICHOST, what [`Host::parse`] calls an address is the same address, and what
//! it calls a name is none. To the URL standard's reader in Node.js, which clients hold to, a text is the
//! same name or address, non-ASCII ones too, or nothing at all. 40,000 random texts; `CREEL_HOSTS=4000000`
//! (`scripts/long`) takes as many, from `CREEL_SEED`.

use std::io::Write as _;
use std::net::IpAddr;
use std::process::{Command, Stdio};

use crate::support::need;

use creel_policy::net::Host;
use creel_policy::net::range::canonical;

/// Answers for each line of hexadecimal: the address, or `-`.
const DIALLER: &str = "
import socket, sys
for line in sys.stdin:
    host = bytes.fromhex(line.strip())
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        print(found[0][4][0])
    except (socket.gaierror, ValueError):
        print('-')
";

/// Answers in the same way: the host of a URL as it is written again, or `-`.
const URL: &str = "
const lines = require('fs').readFileSync(0, 'latin1').trimEnd().split('\\n');
const said = lines.map((line) => {
  const host = Buffer.from(line, 'hex').toString();
  const url = host.includes(':') && !host.startsWith('[') ? `http://[${host}]/` : `http://${host}/`;
  try { return new URL(url).hostname; } catch { return '-'; }
});
require('fs').writeFileSync(1, said.join('\\n') + '\\n');
";

/// SplitMix64.
struct Numbers(u64);

impl Numbers {
    fn pick(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }

    fn of<'t>(&mut self, all: &[&'t str]) -> &'t str {
        all[self.pick(all.len())]
    }
}

/// Pieces of addresses and names, and near misses.
const PIECES: &[&str] = &[
    ".",
    ".",
    ".",
    ".",
    ":",
    ":",
    "::",
    "0",
    "0x",
    "0X",
    "x",
    "1",
    "7",
    "8",
    "9",
    "10",
    "127",
    "255",
    "256",
    "192.168",
    "169.254",
    "00",
    "010",
    "0177",
    "7f",
    "ff",
    "ffff",
    "::ffff:",
    "64:ff9b::",
    "2002:",
    "2001:db8::",
    "fe80::1",
    "65535",
    "65536",
    "4294967295",
    "4294967296",
    "2130706433",
    "a",
    "example",
    "EXAMPLE",
    "com",
    "-",
    "_",
    "xn--",
    "xn--bcher-kva",
    "[",
    "]",
    "%",
    "%lo",
    "%25",
    " ",
    "\t",
    "+",
    "/",
    "@",
    "e",
    "b",
    "18446744073709551616",
    "\u{fc}",
    "\u{ff11}",
    "\u{3002}",
    "\u{2024}",
    "\u{ff0e}",
    "\u{ff61}",
    "\u{df}",
    "\u{ad}",
    "\u{130}",
    "\u{212a}",
    "\u{fb01}",
    "e\u{301}",
    "\u{200d}",
    "\u{5d0}",
    "\u{6771}\u{4eac}",
];

fn text(numbers: &mut Numbers) -> String {
    let number = |n: &mut Numbers| {
        let value = [n.pick(256), n.pick(65536), n.pick(1 << 32), n.pick(300)][n.pick(4)];
        match n.pick(5) {
            0 => format!("0x{value:x}"),
            1 => format!("0{value:o}"),
            _ => value.to_string(),
        }
    };
    match numbers.pick(4) {
        // Nearly IPv4.
        0 => {
            let count = 1 + numbers.pick(5);
            let parts: Vec<String> = (0..count).map(|_| number(numbers)).collect();
            parts.join(".") + ["", "", "", ".", "x"][numbers.pick(5)]
        }
        // Nearly IPv6.
        1 => {
            let count = 1 + numbers.pick(9);
            let group = |n: &mut Numbers| match n.pick(4) {
                0 => String::new(),
                _ => {
                    let digits = 1 + n.pick(4);
                    format!("{:x}", n.pick(1 << (4 * digits)))
                }
            };
            let groups: Vec<String> = (0..count).map(|_| group(numbers)).collect();
            groups.join(":") + ["", "", "::1", ":1.2.3.4", ":127.1"][numbers.pick(5)]
        }
        _ => {
            let count = 1 + numbers.pick(8);
            (0..count).map(|_| numbers.of(PIECES)).collect()
        }
    }
}

#[test]
fn what_is_judged_is_what_is_dialled() {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .map(|n| n.parse().expect("a number"))
    };
    let (count, seed) = (
        number("CREEL_HOSTS").unwrap_or(40_000),
        number("CREEL_SEED").unwrap_or(1),
    );
    let mut numbers = Numbers(seed);
    // Hosts that were read, each with the text that the dialler and the reader of URLs would get.
    let mut asked: Vec<(String, Host)> = vec![];
    let mut written: Vec<(String, Host)> = vec![];
    for _ in 0..count {
        let text = text(&mut numbers);
        let Ok(host) = Host::parse(text.as_bytes()) else {
            continue;
        };
        let bare = text.trim_start_matches('[').trim_end_matches(']');
        let bare = bare.strip_suffix('.').unwrap_or(bare).to_owned();
        if text.is_ascii() {
            asked.push((bare, host.clone()));
        }
        // The form itself is dialled.
        assert_eq!(
            Host::parse(host.to_string().as_bytes()),
            Ok(host.clone()),
            "{text:?}"
        );
        asked.push((host.to_string(), host.clone()));
        written.push((text, host));
    }
    let answers = ask("python3", ["-c", DIALLER], &asked);
    let (mut addresses, mut names) = (0, 0);
    for ((text, host), answer) in asked.iter().zip(&answers) {
        let dialled: Option<IpAddr> = answer.parse().ok();
        match host {
            Host::Address(address) => {
                addresses += 1;
                assert_eq!(dialled.map(canonical), Some(*address), "{text:?}: {answer}");
            }
            Host::Name(_) => {
                names += 1;
                assert_eq!(answer, "-", "{text:?} is no name to the dialler");
            }
        }
    }
    println!("{count} texts: {addresses} addresses and {names} names agree");
    assert!(addresses * 20 > asked.len() && names * 20 > asked.len());

    let answers = ask("node", ["-e", URL], &written);
    let (mut same, mut beyond_ascii) = (0, 0);
    for ((text, host), answer) in written.iter().zip(&answers) {
        if answer == "-" {
            continue;
        }
        let bare = answer.trim_start_matches('[').trim_end_matches(']');
        let read = match bare.parse() {
            Ok(address) => canonical(address).to_string(),
            Err(_) => bare.strip_suffix('.').unwrap_or(bare).to_owned(),
        };
        assert_eq!(read, host.to_string(), "{text:?}");
        same += 1;
        beyond_ascii += usize::from(!text.is_ascii());
    }
    println!(
        "{same} of {} read in a URL agree, {beyond_ascii} beyond ASCII",
        written.len()
    );
    assert!(same * 10 > written.len() * 9 && beyond_ascii * 20 > same);
}

/// Answer of a program to each text, a line each.
fn ask(program: &str, argv: [&str; 2], texts: &[(String, Host)]) -> Vec<String> {
    let mut child = Command::new(need(program))
        .args(argv)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdin = child.stdin.take().expect("piped");
    let hex = |text: &str| text.bytes().map(|b| format!("{b:02x}")).collect::<String>();
    let lines: String = texts.iter().map(|(text, _)| hex(text) + "\n").collect();
    let writer = std::thread::spawn(move || stdin.write_all(lines.as_bytes()));
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("no panic").expect("it reads");
    let said = String::from_utf8(output.stdout).expect("text");
    let said: Vec<String> = said.lines().map(str::to_owned).collect();
    assert_eq!(said.len(), texts.len(), "{program}");
    said
}
