//! The digest that names a text in receipts and logs.

use sha2::{Digest as _, Sha256};

/// SHA-256, lower-case hex.
pub fn digest(bytes: &[u8]) -> String {
    let nibble = |n: u8| char::from_digit(u32::from(n), 16).unwrap_or_default();
    let digest = Sha256::digest(bytes);
    let pairs = digest.iter().map(|byte| [byte >> 4, byte & 15]);
    pairs.flatten().map(nibble).collect()
}
