//! The client of a session: the program `creel` in its jail, which `client/main.rs` is the source of.

/// The program: static, and of few kilobytes.
pub static PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/client"));

/// Bytes of a request, and of a message of an answer: `MOST` of `client/main.rs`.
pub const MOST: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_small_and_static() {
        assert!(PROGRAM.starts_with(b"\x7fELF"));
        assert!(PROGRAM.len() < 8192, "{}", PROGRAM.len());
        assert!(!PROGRAM.windows(6).any(|bytes| bytes == b"ld-lin"));
    }
}
