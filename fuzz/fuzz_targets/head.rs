//! The first head that a client says to the HTTP proxy: any bytes get an answer, the same however they
//! are cut, and a destination is read as it is written again.

#![no_main]

use libfuzzer_sys::fuzz_target;

use creel_egress::request_head::{self, Head, LONGEST};
use creel_egress::target::Target;

fuzz_target!(|bytes: &[u8]| {
    let read = request_head::read(bytes);
    if let Ok(Some(Head::Connect {
        target,
        port,
        length,
    })) = &read
    {
        assert!(*length <= bytes.len() && *length <= LONGEST);
        assert_eq!(target.port, Some(*port));
        let written = target.to_string();
        assert_eq!(Target::parse(written.as_bytes()).as_ref(), Ok(target));
        // What follows the head does not change it, and without its last byte it is not whole.
        assert_eq!(request_head::read(&bytes[..*length]), read);
        assert_eq!(request_head::read(&bytes[..*length - 1]), Ok(None));
        assert!(!written.contains(|c: char| c.is_control() || c == ' ' || c == '%'));
    }
    if let Err(error) = &read {
        assert!(!error.to_string().contains('\n'), "{error}");
    }
    let _ = Target::parse(bytes);
});
