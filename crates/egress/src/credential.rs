//! Secrets that the jail uses but never has.
//!
//! The jail has a worthless placeholder. In requests over TLS that creel terminates, to the one host and in
//! the one header that the policy names, the secret replaces the placeholder; responses go through a
//! [`Mask`](super::mask::Mask). Secrets are read before the relay is confined, are never printed, and are
//! overwritten when they are dropped.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD as BASE64, URL_SAFE as BASE64_URL};
use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use zeroize::Zeroizing;

use super::mask::Mask;
use creel_policy::net::{Credential, Host, Name, Secret};

/// Minimum bytes of a secret; a shorter one would match unrelated text.
const SHORTEST: usize = 8;
/// Maximum bytes of a secret: a header must hold it, and the mask's window is as long.
const LONGEST: usize = 16 << 10;

/// Why a credential cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// The variable with the secret is not set.
    #[error(
        "the variable {name} for the secret of {host} is not set; set it, or remove the credential"
    )]
    NoVariable {
        /// The host of the credential.
        host: Name,
        /// The variable.
        name: String,
    },
    /// The file with the secret cannot be read.
    #[error("the secret of {host} cannot be read from {}", path.display())]
    File {
        /// The host of the credential.
        host: Name,
        /// The file with the secret.
        path: PathBuf,
        /// The error of open(2) or read(2).
        #[source]
        source: std::io::Error,
    },
    /// The secret is too short or too long.
    #[error("the secret of {host} has {length} bytes; it needs 8 to 16384")]
    Length {
        /// The host of the credential.
        host: Name,
        /// Bytes of the secret.
        length: usize,
    },
    /// The secret of this host has a byte that no header can carry.
    #[error("the secret of {0} has a byte that no header can carry, such as a line end")]
    Byte(Name),
    /// The header cannot be set.
    #[error("the credential of {host} names the header {header:?}, which creel cannot set")]
    Header {
        /// The host of the credential.
        host: Name,
        /// Its name.
        header: String,
    },
    /// getrandom(2) returned no bytes.
    #[error("no random bytes are available for a placeholder")]
    Random,
}

creel_policy::codes!(VaultError {
    Self::NoVariable { .. } => "secret-no-variable",
    Self::File { .. } => "secret-file",
    Self::Length { .. } => "secret-length",
    Self::Byte(_) => "secret-byte",
    Self::Header { .. } => "secret-header",
    Self::Random => "secret-random",
});

/// Bytes that are never printed.
pub struct Bytes(Zeroizing<Vec<u8>>);

/// The secrets of one jail.
#[derive(Debug, Default)]
pub struct Vault {
    kept: Vec<Kept>,
    /// By variable. A variable that serves several hosts has one placeholder.
    placeholders: BTreeMap<String, String>,
}

#[derive(Debug)]
struct Kept {
    host: Name,
    header: HeaderName,
    placeholder: String,
    secret: Bytes,
    /// The secret's forms within base64 text.
    encoded: Vec<Bytes>,
}

impl Vault {
    /// Reads each secret from the source in the policy, and creates the placeholders.
    pub fn load(credentials: &[Credential]) -> Result<Vault, VaultError> {
        let mut vault = Vault::default();
        for credential in credentials {
            let host = credential.host.clone();
            let secret = read(credential)?;
            let header = HeaderName::from_bytes(credential.header.as_bytes()).ok();
            let header = header.filter(|name| !FRAMING.contains(&name.as_str()));
            let header = header.ok_or_else(|| VaultError::Header {
                host: host.clone(),
                header: credential.header.clone(),
            })?;
            let placeholder = match vault.placeholders.get(&credential.variable) {
                Some(placeholder) => placeholder.clone(),
                None => {
                    let placeholder = placeholder()?;
                    let variable = credential.variable.clone();
                    vault.placeholders.insert(variable, placeholder.clone());
                    placeholder
                }
            };
            vault.kept.push(Kept {
                host,
                header,
                placeholder,
                encoded: in_base64(&secret.0),
                secret,
            });
        }
        Ok(vault)
    }

    /// The variables of the jail, each with its placeholder.
    pub fn placeholders(&self) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self.placeholders.iter();
        pairs.map(|(variable, value)| (variable.as_str(), value.as_str()))
    }

    /// Whether this host has a secret; its subdomains do not share it.
    pub fn has(&self, host: &Host) -> bool {
        self.of(host).next().is_some()
    }

    /// The mask for the host's responses; `None` if it has no secret.
    pub fn mask(&self, host: &Host) -> Option<Mask> {
        let secrets = self.secrets(host);
        (!secrets.is_empty()).then(|| Mask::new(secrets))
    }

    fn secrets(&self, host: &Host) -> Vec<(Zeroizing<Vec<u8>>, Vec<u8>)> {
        let of_one = |kept: &Kept| {
            let placeholder = kept.placeholder.as_bytes().to_vec();
            let encoded = kept
                .encoded
                .iter()
                .map(|form| (form.0.clone(), MASKED.to_vec()));
            let plain = [(kept.secret.0.clone(), placeholder)];
            plain.into_iter().chain(encoded).collect::<Vec<_>>()
        };
        self.of(host).flat_map(of_one).collect()
    }

    /// Replaces placeholders in `headers` by the host's secrets. Returns the mask for the response; `None`
    /// if the host has no secret.
    pub fn inject(&self, host: &Host, headers: &mut HeaderMap) -> Option<Mask> {
        let mut secrets = self.secrets(host);
        for kept in self.of(host) {
            let Some(values) = headers.contains_key(&kept.header).then(|| {
                let values = headers.get_all(&kept.header).iter();
                values.map(|value| kept.fill(value)).collect::<Vec<_>>()
            }) else {
                continue;
            };
            headers.remove(&kept.header);
            for filled in values {
                if let Some(encoded) = filled.encoded {
                    secrets.push((encoded, MASKED.to_vec()));
                }
                headers.append(&kept.header, filled.value);
            }
        }
        (!secrets.is_empty()).then(|| Mask::new(secrets))
    }

    fn of(&self, host: &Host) -> impl Iterator<Item = &Kept> {
        let name = match host {
            Host::Name(name) => Some(name.clone()),
            Host::Address(_) => None,
        };
        let kept = self.kept.iter();
        kept.filter(move |kept| Some(&kept.host) == name.as_ref())
    }
}

/// Replaces the encoded forms of a secret.
const MASKED: &[u8] = b"masked";

/// The forms of a secret in base64 (RFC 4648, both alphabets) of a longer text. They depend on the number of
/// bytes before the secret, modulo 3. Letters that also encode a neighbour's bits are left out.
fn in_base64(secret: &[u8]) -> Vec<Bytes> {
    let mut forms = vec![];
    for before in 0..3 {
        let text = Zeroizing::new([&b"\0\0"[..before], secret].concat());
        // Six bits per letter.
        let (first, end) = ((before * 8).div_ceil(6), text.len() * 8 / 6);
        let mut plain = Zeroizing::new(BASE64.encode(&*text).into_bytes());
        let mut safe = Zeroizing::new(BASE64_URL.encode(&*text).into_bytes());
        for form in [&mut plain, &mut safe] {
            form.truncate(end);
            form.drain(..first);
        }
        if safe != plain {
            forms.push(Bytes(safe));
        }
        forms.push(Bytes(plain));
    }
    forms
}

/// Fields that determine where a message ends or goes; a credential cannot set them.
const FRAMING: [&str; 7] = [
    "host",
    "connection",
    "content-length",
    "transfer-encoding",
    "te",
    "trailer",
    "upgrade",
];

/// A field's value with the secret in it.
struct Filled {
    value: HeaderValue,
    /// The secret in encoded form, which the response must not have either.
    encoded: Option<Zeroizing<Vec<u8>>>,
}

impl Kept {
    fn fill(&self, value: &HeaderValue) -> Filled {
        let (placeholder, secret) = (self.placeholder.as_bytes(), &self.secret.0);
        let (bytes, encoded) = match basic(value.as_bytes()) {
            // RFC 7617: a name and a password, in base64.
            Some(pair) if contains(&pair, placeholder) => {
                let pair = Zeroizing::new(replace(&pair, placeholder, secret));
                let encoded = Zeroizing::new(BASE64.encode(&*pair).into_bytes());
                let bytes = [b"Basic ", encoded.as_slice()].concat();
                (Zeroizing::new(bytes), Some(encoded))
            }
            _ => {
                let bytes = replace(value.as_bytes(), placeholder, secret);
                (Zeroizing::new(bytes), None)
            }
        };
        let mut filled = HeaderValue::from_bytes(&bytes).unwrap_or_else(|_| value.clone());
        filled.set_sensitive(true);
        Filled {
            value: filled,
            encoded,
        }
    }
}

/// The name and password of HTTP's Basic scheme.
fn basic(value: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (scheme, rest) = value.split_at_checked(6)?;
    let encoded = rest.trim_ascii();
    let pair = scheme
        .eq_ignore_ascii_case(b"basic ")
        .then(|| BASE64.decode(encoded));
    pair?.ok().map(Zeroizing::new)
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

fn replace(text: &[u8], part: &[u8], by: &[u8]) -> Vec<u8> {
    let mut replaced = Vec::with_capacity(text.len() + by.len());
    let mut rest = text;
    while !rest.is_empty() {
        match rest.strip_prefix(part) {
            Some(after) => {
                replaced.extend_from_slice(by);
                rest = after;
            }
            None => {
                replaced.push(rest[0]);
                rest = &rest[1..];
            }
        }
    }
    replaced
}

fn read(credential: &Credential) -> Result<Bytes, VaultError> {
    use std::os::unix::ffi::OsStringExt as _;

    let host = credential.host.clone();
    let bytes = match &credential.secret {
        Secret::Variable(name) => match std::env::var_os(name) {
            Some(value) => value.into_vec(),
            None => {
                let name = name.clone();
                return Err(VaultError::NoVariable { host, name });
            }
        },
        Secret::File(path) => match std::fs::read(path) {
            Ok(mut bytes) => {
                if bytes.ends_with(b"\n") {
                    bytes.pop();
                }
                bytes
            }
            Err(source) => {
                let path = path.into();
                return Err(VaultError::File { host, path, source });
            }
        },
    };
    let secret = Bytes(Zeroizing::new(bytes));
    let length = secret.0.len();
    if !(SHORTEST..=LONGEST).contains(&length) {
        return Err(VaultError::Length { host, length });
    }
    match secret.0.iter().all(|byte| matches!(byte, b' '..=b'~')) {
        true => Ok(secret),
        false => Err(VaultError::Byte(host)),
    }
}

/// `creel-secret-` and 32 random hexadecimal digits.
fn placeholder() -> Result<String, VaultError> {
    let mut random = [0; 16];
    let provider = rustls::crypto::ring::default_provider();
    let filled = provider.secure_random.fill(&mut random);
    filled.map_err(|_| VaultError::Random)?;
    let digits: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("creel-secret-{digits}"))
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use creel_policy::Origin;

    const SECRET: &str = "s3cr3t-token-of-the-host";

    fn vault(hosts: &[(&str, &str)]) -> (Vault, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("secret");
        std::fs::write(&file, format!("{SECRET}\n")).unwrap();
        let credentials: Vec<Credential> = hosts
            .iter()
            .map(|(host, header)| Credential {
                host: Name::parse(host.as_bytes()).unwrap(),
                header: (*header).into(),
                variable: "TOKEN".into(),
                secret: Secret::File(file.display().to_string()),
                origin: Origin::creel(),
            })
            .collect();
        (Vault::load(&credentials).unwrap(), directory)
    }

    fn host(name: &str) -> Host {
        Host::parse(name.as_bytes()).unwrap()
    }

    #[test]
    fn what_base64_makes_of_a_secret_is_masked_wherever_it_stands() {
        let (vault, _directory) = vault(&[("api.example", "authorization")]);
        let mask = vault.mask(&host("api.example")).unwrap();
        for engine in [BASE64, BASE64_URL] {
            for (before, after) in [("", ""), ("x", ""), ("x:", "y"), ("name:", " and more")] {
                let text = engine.encode(format!("{before}{SECRET}{after}"));
                let masked = mask.whole(text.as_bytes());
                let shown = masked.unwrap_or_else(|| text.clone().into_bytes());
                let shown = String::from_utf8(shown).unwrap();
                // At most one of the letters that it shares with its neighbours, on each side.
                let around = engine.encode(before).len() + engine.encode(after).len() + 4;
                assert!(shown.contains("masked"), "{text}: {shown}");
                assert!(shown.len() <= around + "masked".len(), "{text}: {shown}");
            }
        }
        assert!(vault.mask(&host("other.example")).is_none());
    }

    #[test]
    fn only_the_named_header_of_the_named_host_is_filled() {
        let (vault, _directory) = vault(&[("api.example", "authorization")]);
        let (variable, placeholder) = vault.placeholders().next().unwrap();
        assert_eq!(variable, "TOKEN");
        let digits = placeholder.strip_prefix("creel-secret-").unwrap();
        assert_eq!(digits.len(), 32);
        let sent = |to: &str, header: &'static str| {
            let mut headers = HeaderMap::new();
            let value = format!("Bearer {placeholder}");
            headers.insert(header, HeaderValue::from_str(&value).unwrap());
            let mask = vault.inject(&host(to), &mut headers);
            (
                headers.get(header).unwrap().to_str().unwrap().to_owned(),
                mask.is_some(),
            )
        };
        let filled = format!("Bearer {SECRET}");
        let left = format!("Bearer {placeholder}");
        assert_eq!(sent("api.example", "authorization"), (filled, true));
        assert_eq!(sent("api.example", "x-other"), (left.clone(), true));
        for other in ["example", "sub.api.example", "evilapi.example", "127.0.0.1"] {
            assert_eq!(
                sent(other, "authorization"),
                (left.clone(), false),
                "{other}"
            );
        }
    }

    #[test]
    fn a_password_in_base64_is_filled() {
        let (vault, _directory) = vault(&[("git.example", "authorization")]);
        let (_, placeholder) = vault.placeholders().next().unwrap();
        let mut headers = HeaderMap::new();
        let value = format!("basic {}", BASE64.encode(format!("me:{placeholder}")));
        headers.insert("authorization", HeaderValue::from_str(&value).unwrap());
        let mask = vault.inject(&host("git.example"), &mut headers).unwrap();
        let value = headers.get("authorization").unwrap();
        let encoded = BASE64.encode(format!("me:{SECRET}"));
        assert_eq!(value.as_bytes(), format!("Basic {encoded}").as_bytes());
        let text = format!("you are {encoded}, {SECRET}");
        let masked = mask.whole(text.as_bytes());
        let said = format!("you are masked, {placeholder}");
        assert_eq!(masked.as_deref(), Some(said.as_bytes()));
    }

    #[test]
    fn hosts_that_share_a_variable_share_its_placeholder() {
        let (vault, _directory) = vault(&[("a.example", "x-key"), ("b.example", "x-key")]);
        assert_eq!(vault.placeholders().count(), 1);
        assert!(vault.has(&host("a.example")) && vault.has(&host("b.example")));
    }

    #[test]
    fn a_secret_is_not_printed() {
        let (vault, _directory) = vault(&[("a.example", "x-key")]);
        assert!(!format!("{vault:?}").contains(SECRET));
    }

    #[test]
    fn what_no_header_carries_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("secret");
        let load = |header: &str, secret: &[u8]| {
            std::fs::write(&file, secret).unwrap();
            Vault::load(&[Credential {
                host: Name::parse(b"a.example").unwrap(),
                header: header.into(),
                variable: "TOKEN".into(),
                secret: Secret::File(file.display().to_string()),
                origin: Origin::creel(),
            }])
        };
        assert!(load("x-key", b"long enough").is_ok());
        let refused = load("x-key", b"two lines\nof it");
        assert!(matches!(refused, Err(VaultError::Byte(_))));
        let refused = load("x-key", b"short\n");
        assert!(matches!(refused, Err(VaultError::Length { length: 5, .. })));
        for header in ["host", "content-length", "a b", ""] {
            let refused = load(header, b"long enough");
            assert!(
                matches!(refused, Err(VaultError::Header { .. })),
                "{header}"
            );
        }
        std::fs::remove_file(&file).unwrap();
        let refused = Vault::load(&[Credential {
            host: Name::parse(b"a.example").unwrap(),
            header: "x-key".into(),
            variable: "TOKEN".into(),
            secret: Secret::Variable("CREEL_TEST_NO_SUCH_VARIABLE".into()),
            origin: Origin::creel(),
        }]);
        assert!(matches!(refused, Err(VaultError::NoVariable { .. })));
    }
}
