//! Facts about the machine: what the kernel is, who runs this, what the caller's account says.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// Where distributions keep the certificates that they trust, as one PEM file: Debian, Fedora, Alpine.
pub const CERTIFICATES: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// The certificates that the host trusts, PEM; empty where there are none.
pub fn certificates() -> Vec<u8> {
    let mut read = CERTIFICATES
        .iter()
        .filter_map(|path| std::fs::read(path).ok());
    read.next().unwrap_or_default()
}

/// `uname -r`.
pub fn kernel_release() -> String {
    rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned()
}

/// This process's effective user and group.
pub fn ids() -> (u32, u32) {
    (
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    )
}

/// The home directory of `uid` as `/etc/passwd` has it. The environment is not asked: a project's
/// own tooling can set `HOME`.
pub fn home_of(uid: u32) -> Option<PathBuf> {
    let passwd = std::fs::read("/etc/passwd").ok()?;
    passwd.split(|b| *b == b'\n').find_map(|line| {
        let mut fields = line.split(|b| *b == b':');
        let id = fields.nth(2)?;
        let home = fields.nth(2)?;
        (std::str::from_utf8(id).ok()?.parse() == Ok(uid) && home.first() == Some(&b'/'))
            .then(|| PathBuf::from(OsString::from_vec(home.to_vec())))
    })
}

/// A number read from a file such as a sysctl.
pub fn sysctl(path: &str) -> Option<i64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Sixteen random hexadecimal digits.
pub fn random_id() -> String {
    let mut bytes = [0u8; 8];
    // getrandom(2) of 8 bytes neither blocks after boot nor fails.
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Four random letters of twenty, none of which a vowel: no word of any language. `None` where the kernel
/// gives no randomness.
pub fn random_word() -> Option<String> {
    const LETTERS: &[u8; 20] = b"bcdfghjkmnpqrstvwxyz";
    const EVEN: u8 = 240;
    let mut word = String::new();
    while word.len() < 4 {
        let mut byte = [0u8];
        rustix::rand::getrandom(&mut byte, rustix::rand::GetRandomFlags::empty()).ok()?;
        // Each letter as often as any other.
        if byte[0] < EVEN {
            word.push(char::from(LETTERS[usize::from(byte[0]) % LETTERS.len()]));
        }
    }
    Some(word)
}

/// Whether the running kernel is at least `major.minor`.
pub fn kernel_at_least(wanted: (u32, u32)) -> bool {
    let release = kernel_release();
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= wanted
}
