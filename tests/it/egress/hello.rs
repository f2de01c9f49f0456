//! The reader of ClientHellos, with those of real clients and with what no client should send (E2, E6).

use creel_egress::client_hello::{ClientHello, Encrypted, Flaw, Reading, read};
use creel_egress::http::version::Version;
use creel_egress::protocol_detect::{self, Detected};
use proptest::prelude::*;

const CURL: &[u8] = include_bytes!("../../../fuzz/seeds/hello/curl.bin");
const NODE: &[u8] = include_bytes!("../../../fuzz/seeds/hello/node.bin");
const OPENSSL: &[u8] = include_bytes!("../../../fuzz/seeds/hello/openssl.bin");
const OPENSSL_1_2: &[u8] = include_bytes!("../../../fuzz/seeds/hello/openssl12.bin");
const NAMELESS: &[u8] = include_bytes!("../../../fuzz/seeds/hello/nosni.bin");
const PYTHON: &[u8] = include_bytes!("../../../fuzz/seeds/hello/python.bin");
const ALL: [&[u8]; 6] = [CURL, NODE, OPENSSL, OPENSSL_1_2, NAMELESS, PYTHON];

#[test]
fn real_clients_are_read() {
    let http: &[&[u8]] = &[b"h2", b"http/1.1"];
    /// A hello, its server name, the protocols that it offers.
    type Case<'a> = (&'a [u8], Option<&'a str>, &'a [&'a [u8]]);
    let cases: [Case; 6] = [
        (CURL, Some("api.example.org"), http),
        (NODE, Some("api.example.org"), &[]),
        (OPENSSL, Some("api.example.org"), &[]),
        (OPENSSL_1_2, Some("api.example.org"), http),
        (NAMELESS, None, &[]),
        (PYTHON, Some("api.example.org"), &[]),
    ];
    for (bytes, name, alpn) in cases {
        let hello = ClientHello {
            server_name: name.map(|name| name.as_bytes().to_vec()),
            encrypted: Encrypted::No,
            alpn: alpn.iter().map(|one| one.to_vec()).collect(),
        };
        assert_eq!(read(bytes), Reading::ClientHello(hello));
    }
}

/// However it is cut: a part needs more, and says how much at least.
#[test]
fn every_part_needs_more() {
    for hello in ALL {
        for at in 0..hello.len() {
            match read(&hello[..at]) {
                Reading::More(least) => {
                    assert!(at < least && least <= hello.len(), "{at}: {least}")
                }
                other => panic!("{at}: {other:?}"),
            }
        }
    }
}

#[test]
fn records_of_any_length_read_the_same() {
    for hello in ALL {
        for length in [1, 2, 3, 5, 17, 100, 300, 1 << 14] {
            let mut cut = records(&hello[5..], length);
            assert_eq!(read(&cut), read(hello), "{length}");
            cut.extend_from_slice(b"and what else a client sends");
            assert_eq!(read(&cut), read(hello), "{length}");
        }
    }
}

#[test]
fn an_encrypted_hello_is_told() {
    for kind in [0xfe0du16, 0xfe08, 0xffce] {
        for value in [&[][..], &[1], &[0; 200]] {
            let hello = with(&[(0, &named(b"a.example")), (kind, value)]);
            let Reading::ClientHello(hello) = read(&hello) else {
                panic!("{kind:x}")
            };
            assert_eq!(hello.encrypted, Encrypted::Maybe);
        }
    }
}

/// Each is a way for two readers to see two names. The control is the same hello without the flaw.
#[test]
fn what_could_be_read_twice_is_malformed() {
    let a = named(b"a.example");
    let control = with(&[(0, &a), (16, b"\0\x03\x02h2")]);
    assert!(matches!(read(&control), Reading::ClientHello(_)));

    let two_names: &[u8] = b"\0\x0a\0\0\x02aa\0\0\x02bb";
    let unknown_kind: &[u8] = b"\0\x05\x01\0\x02aa";
    let both_kinds: &[u8] = b"\0\x0a\0\0\x02aa\x01\0\x02bb";
    /// Extensions by number, and what is wrong with them.
    type Case<'a> = (&'a [(u16, &'a [u8])], Flaw);
    let extensions: [Case; 11] = [
        (&[(0, &a), (0, &named(b"b.example"))], Flaw::Twice),
        (&[(0, &a), (0, &a)], Flaw::Twice),
        (&[(0, &a), (0x0a0a, b""), (0x0a0a, b"")], Flaw::Twice),
        (&[(0, two_names)], Flaw::Name),
        (&[(0, unknown_kind)], Flaw::Name),
        (&[(0, both_kinds)], Flaw::Name),
        (&[(0, b"")], Flaw::Name),
        (&[(0, b"\0\0")], Flaw::Name),
        (&[(0, b"\0\x03\0\0\0")], Flaw::Name),
        (&[(0, b"\0\x05\0\0\x02aab")], Flaw::Name),
        (&[(16, b"\0\x01\0")], Flaw::Length),
    ];
    for (extensions, flaw) in extensions {
        assert_eq!(
            read(&with(extensions)),
            Reading::Malformed(flaw),
            "{extensions:?}"
        );
    }

    let message = &control[5..];
    let alert = [21, 3, 1, 0, 2, 1, 0];
    let mut trailing = message.to_vec();
    trailing.push(14);
    let mut shorter = message.to_vec();
    shorter[3] -= 1;
    let mut middle = records(&message[..20], 20);
    middle.extend(alert);
    middle.extend(records(&message[20..], 1 << 14));
    let mut empty = records(&message[..20], 20);
    empty.extend([22, 3, 1, 0, 0]);
    let mut server = message.to_vec();
    server[0] = 2;
    let mut long = message.to_vec();
    long[1] = 1;
    let bytes: [(&str, Vec<u8>, Flaw); 12] = [
        (
            "SSLv2",
            b"\x80\x2e\x01\x00\x02\x00\x15".to_vec(),
            Flaw::Sslv2,
        ),
        (
            "SSLv2 for TLS",
            b"\x80\x2e\x01\x03\x03\x00\x15".to_vec(),
            Flaw::Sslv2,
        ),
        (
            "an alert before",
            [&alert[..], &control].concat(),
            Flaw::Record,
        ),
        ("an alert within", middle, Flaw::Record),
        (
            "a version before 3",
            [&[22, 2], &control[2..]].concat(),
            Flaw::Record,
        ),
        ("data", [&[23], &control[1..]].concat(), Flaw::Record),
        ("an empty record", empty, Flaw::RecordLength),
        ("a long record", vec![22, 3, 1, 0x40, 1], Flaw::RecordLength),
        (
            "something behind it",
            records(&trailing, 1 << 14),
            Flaw::Trailing,
        ),
        (
            "its length less",
            records(&shorter, 1 << 14),
            Flaw::Trailing,
        ),
        ("another message", records(&server, 1 << 14), Flaw::NotFirst),
        ("16 MiB", records(&long, 1 << 14), Flaw::Long),
    ];
    for (what, bytes, flaw) in bytes {
        assert_eq!(read(&bytes), Reading::Malformed(flaw), "{what}");
    }
}

#[test]
fn too_many_records_are_refused() {
    let padding = vec![0; 12_000];
    let hello = with(&[(0, &named(b"a.example")), (21, &padding)]);
    assert!(matches!(read(&hello), Reading::ClientHello(_)));
    assert!(matches!(
        read(&records(&hello[5..], 100)),
        Reading::ClientHello(_)
    ));
    assert_eq!(
        read(&records(&hello[5..], 1)),
        Reading::Malformed(Flaw::Long)
    );
}

/// A method of a hundred letters.
const ODD: [u8; 120] = {
    let (mut line, end, mut at) = ([b'A'; 120], b" / HTTP/1.1\r\n", 0);
    while at < end.len() {
        line[at + 107] = end[at];
        at += 1;
    }
    line
};

#[test]
fn what_is_spoken_is_told() {
    let cases: [(&[u8], Detected); 47] = [
        (b"", Detected::More),
        (b"G", Detected::More),
        (b"PROXY", Detected::More),
        (b"PROXY TCP4 127.0.0.1", Detected::Flawed(Flaw::Proxy)),
        (b" \r\nproxy\tUNKNOWN", Detected::Flawed(Flaw::Proxy)),
        (b"PROXYING a\r\n", Detected::Other),
        (b"\r\n\r\n\0\r\nQUIT", Detected::More),
        (b"\r\n\r\n\0\r\nQUIT\n\x21", Detected::Flawed(Flaw::Proxy)),
        (b"\r\n\r\n\0\r\nQUITE", Detected::Other),
        (b"\r\n\x16", Detected::More),
        (b"\r\n\x16\x03", Detected::Flawed(Flaw::Blanks)),
        (b"\r\n\x16\x04", Detected::Other),
        (b"GET / HTTP/1.1", Detected::More),
        (b"GET / HTTP/1.1\r\n", Detected::Http(Version::One)),
        (b"\r\n\r\nGET / HTTP/1.1\r\n", Detected::Http(Version::One)),
        (b" get\t/\thttp/1.1\n", Detected::Http(Version::One)),
        (b"M-SEARCH * HTTP/1.1\r\n", Detected::Http(Version::One)),
        (b"GET /a b c HTTP/1.0\n", Detected::Http(Version::One)),
        (
            b"GET / HTTP/1.1\rHost: a\r\r\n",
            Detected::Http(Version::One),
        ),
        (
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            Detected::Http(Version::Two),
        ),
        (b"PRI * HTTP/2.0\r", Detected::More),
        (b"GET /\r\n", Detected::Http(Version::One)),
        (b"get key\r\n", Detected::Other),
        (b"GET\x0b/\x0bHTTP/1.1\r\n", Detected::Http(Version::One)),
        (b"GET\x0c/\x0cHTTP/1.1\r\n", Detected::Http(Version::One)),
        (b"GET\r/ HTTP/1.1\r\n", Detected::Http(Version::One)),
        (b"GET\x1f/\x1cHTTP/1.1\r\n", Detected::Http(Version::One)),
        (b"GET\x85/\xa0HTTP/1.1\r\n", Detected::Http(Version::One)),
        (b"\x0b\xa0GET / HTTP/1.1\r\n", Detected::Http(Version::One)),
        (&ODD, Detected::Http(Version::One)),
        (&ODD[..100], Detected::More),
        (
            b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef01\n",
            Detected::Other,
        ),
        (b"GET\x01", Detected::Other),
        (b"EHLO client.example\r\n", Detected::Other),
        (b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", Detected::Other),
        (b"QUIT\r\n", Detected::Other),
        (b"*1\r\n$4\r\nPING\r\n", Detected::Other),
        (b"\0\0\0\x08\x04\xd2\x16\x2f", Detected::Other),
        (b"\x80\0\0\x01", Detected::Other),
        (b"\x80\x2e\x01\x00", Detected::More),
        (b"\x16", Detected::More),
        (b"\x16\x03", Detected::More),
        (b"\x16\x10\x01", Detected::Other),
        (b"\x15\x03\x01\0\x02\x01\0", Detected::Flawed(Flaw::Record)),
        (b"\x16\x02\x01\0\x02", Detected::Flawed(Flaw::Record)),
        (b"\x80\x2e\x01\x03\x01", Detected::Flawed(Flaw::Sslv2)),
        (b"caf\xc3\xa9 x\n", Detected::Other),
    ];
    for (bytes, told) in cases {
        assert_eq!(
            protocol_detect::read(bytes),
            told,
            "{}",
            bytes.escape_ascii()
        );
    }
    let long = [b"GET /", &[b'a'; 9000][..]].concat();
    assert_eq!(protocol_detect::read(&long), Detected::Http(Version::One));
    let blank = [&[b'\r', b'\n'].repeat(4096)[..], b"GET /"].concat();
    assert_eq!(protocol_detect::read(&blank[..8000]), Detected::More);
    assert_eq!(
        protocol_detect::read(&blank[..8192]),
        Detected::Http(Version::One)
    );
    assert_eq!(
        protocol_detect::read(&[b'a'; 9000]),
        Detected::Http(Version::One)
    );
    assert_eq!(protocol_detect::read_all(b"GET / HTT"), Detected::Other);
    let whole = protocol_detect::read_all(b"GET / HTTP/1.1");
    assert_eq!(whole, Detected::Http(Version::One));
    assert_eq!(
        protocol_detect::read_all(b"\x16\x03"),
        Detected::Flawed(Flaw::Length)
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// A decision stays the same, whatever bytes follow.
    #[test]
    fn nothing_later_changes_what_was_told(bytes in proptest::collection::vec(any::<u8>(), 0..80), at in 0usize..80) {
        stays(&bytes, at)?;
    }

    /// The same near to a real hello: some bytes of it are others.
    #[test]
    fn nothing_later_changes_a_hello(
        which in 0usize..6,
        length in prop_oneof![Just(1usize), Just(40), Just(1 << 14)],
        changes in proptest::collection::vec((0usize..600, any::<u8>()), 0..4),
        at in 0usize..3000,
    ) {
        let mut bytes = records(&ALL[which][5..], length);
        for (place, byte) in changes {
            let place = place % bytes.len();
            bytes[place] = byte;
        }
        stays(&bytes, at)?;
    }
}

fn stays(bytes: &[u8], at: usize) -> Result<(), TestCaseError> {
    let part = &bytes[..at.min(bytes.len())];
    match protocol_detect::read(part) {
        Detected::More => {}
        told => prop_assert_eq!(told, protocol_detect::read(bytes)),
    }
    if let Reading::More(least) = read(part) {
        prop_assert!(least > part.len());
        let nearly = &bytes[..(least - 1).min(bytes.len())];
        prop_assert!(matches!(read(nearly), Reading::More(_)), "{nearly:?}");
    }
    Ok(())
}

/// A handshake message in records that hold at most so much.
pub fn records(message: &[u8], length: usize) -> Vec<u8> {
    let record = |part: &[u8]| {
        let length = u16::try_from(part.len()).expect("a record").to_be_bytes();
        [&[22, 3, 1], &length[..], part].concat()
    };
    message.chunks(length).flat_map(record).collect()
}

/// The server_name extension with one name.
pub fn named(name: &[u8]) -> Vec<u8> {
    let short = |length: usize| u16::try_from(length).expect("a length").to_be_bytes();
    [&short(name.len() + 3)[..], &[0], &short(name.len()), name].concat()
}

/// A hello with these extensions, in one record.
pub fn with(extensions: &[(u16, &[u8])]) -> Vec<u8> {
    let short = |length: usize| u16::try_from(length).expect("a length").to_be_bytes();
    let block: Vec<u8> = extensions
        .iter()
        .flat_map(|(kind, value)| [&kind.to_be_bytes()[..], &short(value.len()), value].concat())
        .collect();
    let body = [
        &[3, 3],
        &[7; 32][..],
        &[0, 0, 2, 0x13, 1, 1, 0],
        &short(block.len()),
        &block,
    ]
    .concat();
    let length = u32::try_from(body.len()).expect("a length").to_be_bytes();
    let message = [&[1], &length[1..], &body].concat();
    records(&message, 1 << 14)
}
