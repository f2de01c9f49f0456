//! Facts about the machine: what the kernel is, who runs this, what the caller's account says.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// The files in which distributions keep trusted certificates, as one PEM file: Debian, Fedora, Alpine.
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

/// The platform's directory. A policy there is somebody else's word on what the caller may do.
pub const PLATFORM: &str = "/etc/creel";

/// The home directory of `uid`, the caller, as `/etc/passwd` has it: a project's own tooling can set `HOME`.
/// That is asked where there is no line for the caller (an account of LDAP, a container's arbitrary uid), and
/// never where another account would be bound by it: for root, or where the platform has a policy, whose denial
/// of `~/.ssh` is not for the caller to move.
pub fn home_of(uid: u32) -> Option<PathBuf> {
    let passwd = std::fs::read("/etc/passwd").unwrap_or_default();
    let line = passwd.split(|b| *b == b'\n').find_map(|line| {
        let mut fields = line.split(|b| *b == b':');
        let id = std::str::from_utf8(fields.nth(2)?).ok()?;
        (id.parse() == Ok(uid)).then(|| fields.nth(2).unwrap_or_default())
    });
    match line {
        Some(home) => {
            (home.first() == Some(&b'/')).then(|| PathBuf::from(OsString::from_vec(home.to_vec())))
        }
        None if uid == 0 || platform_speaks() => None,
        None => own_home(Path::new(&std::env::var_os("HOME")?), uid),
    }
}

/// Whether the platform has a policy, or may have one that cannot be seen.
fn platform_speaks() -> bool {
    match std::fs::read_dir(PLATFORM) {
        Ok(mut entries) => entries.any(|entry| {
            let name = entry.map(|entry| entry.file_name()).unwrap_or_default();
            let name = name.as_bytes().to_ascii_lowercase();
            name.is_empty() || name.starts_with(b"policy")
        }),
        Err(error) => !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory),
    }
}

/// `home` without links, where it is a directory of the caller's own that nobody else can exchange or fill: not
/// everybody's to write, and beneath no directory that is, unless others' names in that one are safe (sticky).
fn own_home(home: &Path, uid: u32) -> Option<PathBuf> {
    let plain = home.is_absolute() && !home.components().any(|c| c == Component::ParentDir);
    let real = home.canonicalize().ok().filter(|_| plain)?;
    let found = real.metadata().ok()?;
    let own = found.is_dir() && found.uid() == uid && found.mode() & 0o002 == 0;
    let safe = |above: &Path| {
        above.metadata().is_ok_and(|meta| {
            let theirs = meta.uid() == 0 || meta.uid() == uid;
            theirs && (meta.mode() & 0o002 == 0 || meta.mode() & 0o1000 != 0)
        })
    };
    (own && real.ancestors().skip(1).all(safe)).then_some(real)
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
