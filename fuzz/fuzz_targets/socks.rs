//! The messages of SOCKS5: any bytes get an answer, no message needs more than 513 bytes, and what
//! follows one does not change it.

#![no_main]

use libfuzzer_sys::fuzz_target;

use creel_policy::net::Host;
use creel_egress::socks::wire::{self, Read};

/// A version, two lengths and two texts.
const LONGEST: usize = 3 + 255 + 255;

fuzz_target!(|bytes: &[u8]| {
    bounded(wire::greeting, bytes);
    bounded(wire::password, bytes);
    bounded(wire::request, bytes);
    if let Ok(Some((request, _))) = wire::request(bytes) {
        let written = request.host.to_string();
        assert_eq!(Host::parse(written.as_bytes()), Ok(request.host));
        assert_ne!(request.port, 0);
    }
});

fn bounded<T: PartialEq + std::fmt::Debug>(read: fn(&[u8]) -> Read<T>, bytes: &[u8]) {
    match read(bytes) {
        Ok(Some((message, length))) => {
            assert!(length <= bytes.len() && length <= LONGEST);
            assert_eq!(read(&bytes[..length]), Ok(Some((message, length))));
            for cut in 0..length {
                assert_eq!(read(&bytes[..cut]), Ok(None), "{cut} of {length}");
            }
        }
        Ok(None) => assert!(bytes.len() < LONGEST),
        Err(error) => {
            let answer = error.answer();
            assert!(answer.len() <= 10);
            assert!(!error.to_string().contains('\n'), "{error}");
        }
    }
}
