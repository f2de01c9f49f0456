//! The readers of a client's first bytes: any bytes get an answer, and what was once told stays so when
//! more bytes come.

#![no_main]

use libfuzzer_sys::fuzz_target;

use creel_egress::protocol_detect::{self, Detected};
use creel_egress::client_hello::{self, Reading};

fuzz_target!(|bytes: &[u8]| {
    let told = protocol_detect::read(bytes);
    // A cut that the input chooses, and the one that hides the last byte.
    let chosen = bytes.first().map_or(0, |byte| usize::from(*byte) * bytes.len() / 256);
    for at in [chosen, bytes.len().saturating_sub(1)] {
        let part = &bytes[..at];
        match protocol_detect::read(part) {
            Detected::More => {}
            early => assert_eq!(early, told),
        }
        if let Reading::More(least) = client_hello::read(part) {
            assert!(least > at && least <= client_hello::MOST);
            let nearly = &bytes[..(least - 1).min(bytes.len())];
            assert!(matches!(client_hello::read(nearly), Reading::More(_)));
        }
    }
    assert_ne!(protocol_detect::read_all(bytes), Detected::More);
    if let Reading::ClientHello(hello) = client_hello::read(bytes) {
        // The name is in these bytes, in one piece or over records.
        let name = hello.server_name.unwrap_or_default();
        let mut rest = bytes.iter();
        assert!(name.iter().all(|byte| rest.any(|other| other == byte)));
        assert!(bytes.len() >= 5 + 4 + 2 + 32);
    }
});
