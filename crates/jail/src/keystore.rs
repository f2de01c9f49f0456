//! Encodes trusted certificates as a Java key store (JKS). Pure.
//!
//! The format is that of `sun.security.provider.JavaKeyStore`, which every Java reads and which Debian's and
//! Fedora's own `cacerts` use or used. It contains no secret: the digest at its end is of the password that
//! all of these have, for programs that pass it.

use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

const MAGIC: u32 = 0xfeed_feed;
const VERSION: u32 = 2;
const TRUSTED: u32 = 2;
const PASSWORD: &str = "changeit";

/// Returns a key store of all certificates in a PEM text.
pub fn of_pem(pem: &[u8]) -> Vec<u8> {
    let certificates: Vec<CertificateDer<'_>> = CertificateDer::pem_slice_iter(pem)
        .filter_map(Result::ok)
        .collect();
    let mut store = vec![];
    for word in [MAGIC, VERSION, certificates.len() as u32] {
        store.extend(word.to_be_bytes());
    }
    for (number, certificate) in certificates.iter().enumerate() {
        store.extend(TRUSTED.to_be_bytes());
        put_text(&mut store, &format!("creel-{number}"));
        // The entry's date, in milliseconds since 1970, is not used.
        store.extend(0u64.to_be_bytes());
        put_text(&mut store, "X.509");
        store.extend((certificate.len() as u32).to_be_bytes());
        store.extend_from_slice(certificate);
    }
    let mut digest = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    for unit in PASSWORD.encode_utf16() {
        digest.update(&unit.to_be_bytes());
    }
    digest.update(b"Mighty Aphrodite");
    digest.update(&store);
    store.extend_from_slice(digest.finish().as_ref());
    store
}

/// Writes ASCII as `DataOutput.writeUTF` does.
fn put_text(store: &mut Vec<u8>, text: &str) {
    store.extend((text.len() as u16).to_be_bytes());
    store.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_has_every_certificate_and_says_how_many() {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec![]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let pem = format!("# a comment\n{0}{0}", certificate.pem());
        let store = of_pem(pem.as_bytes());
        assert_eq!(
            store[..12],
            [0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2, 0, 0, 0, 2]
        );
        let der = certificate.der().to_vec();
        let found = store.windows(der.len()).filter(|w| *w == der).count();
        assert_eq!(found, 2);
        // keytool's output for an empty store of its own making.
        assert_eq!(of_pem(b"").len(), 12 + 20);
    }
}
