//! The certificate authority of one jail, and the roots that hosts are verified against.
//!
//! Its key is generated at start, exists only in the relay's memory, and is trusted by one jail. It signs
//! certificates for hosts whose TLS a rule terminates. Hosts' own certificates are verified against the
//! roots that were read before the relay was confined.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, ServerConfig};
use rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore};

use super::credential::Vault;
use super::http::version::Version;
use creel_policy::net::Host;

/// Validity of a certificate: long enough for any run, short enough that one left behind is worthless.
const VALID: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long before now a certificate is valid, since clocks differ.
const BEFORE: Duration = Duration::from_secs(3600);
/// Maximum cached certificates; a wildcard matches any number of hosts.
const KEPT: usize = 512;

/// Why there is no authority.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// A key or a certificate cannot be generated.
    #[error("a certificate cannot be made")]
    Make(#[from] rcgen::Error),
    /// The TLS library refuses the key or the configuration.
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
    /// The host has no root certificates.
    #[error("no root certificate to verify hosts is installed; install ca-certificates")]
    NoRoots,
}

creel_policy::codes!(AuthorityError {
    Self::Make(_) => "authority-make",
    Self::Tls(_) => "authority-tls",
    Self::NoRoots => "authority-no-roots",
});

/// Signs certificates for hosts, verifies hosts' own, and keeps the secrets for their requests.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// One key for all certificates.
    key: KeyPair,
    signer: Arc<dyn SigningKey>,
    leaves: RefCell<HashMap<Host, Arc<CertifiedKey>>>,
    outside: Arc<ClientConfig>,
    vault: Vault,
}

impl Authority {
    /// Creates the authority of the jail `id`. `roots`: PEM certificates that hosts are verified against.
    /// Also returns the authority's own certificate in PEM, for the jail's bundles.
    pub fn new(
        id: &str,
        roots: &[u8],
        vault: Vault,
    ) -> Result<(Authority, String), AuthorityError> {
        let mut params = params(&format!("creel jail {id}"))?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca_key = KeyPair::generate()?;
        let pem = params.self_signed(&ca_key)?.pem();
        let key = KeyPair::generate()?;
        let der = PrivateKeyDer::Pkcs8(key.serialized_der().to_vec().into());
        let signer = ring::sign::any_ecdsa_type(&der)?;
        let authority = Authority {
            issuer: Issuer::new(params, ca_key),
            key,
            signer,
            leaves: RefCell::default(),
            outside: Arc::new(outside(roots)?),
            vault,
        };
        Ok((authority, pem))
    }

    /// The secrets for requests to hosts.
    pub fn vault(&self) -> &Vault {
        &self.vault
    }

    /// TLS server configuration for a host's clients. `version`: `None` if the client offers no ALPN.
    pub fn inside(
        &self,
        host: &Host,
        version: Option<Version>,
    ) -> Result<Arc<ServerConfig>, AuthorityError> {
        let leaf = self.leaf(host)?;
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let mut config = config
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(leaf)));
        config.alpn_protocols = version.map(alpn).into_iter().collect();
        // No session resumption: connections share no state.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }

    /// TLS client configuration for hosts; offers these versions in this order.
    pub fn outside(&self, versions: &[Version]) -> Arc<ClientConfig> {
        let mut config = ClientConfig::clone(&self.outside);
        config.alpn_protocols = versions.iter().copied().map(alpn).collect();
        Arc::new(config)
    }

    fn leaf(&self, host: &Host) -> Result<Arc<CertifiedKey>, AuthorityError> {
        if let Some(leaf) = self.leaves.borrow().get(host) {
            return Ok(Arc::clone(leaf));
        }
        let name = host.to_string();
        // A common name has at most 64 characters (RFC 5280, ub-common-name); clients ignore it.
        let common: String = name.chars().take(64).collect();
        let mut params = params(&common)?;
        params.subject_alt_names = vec![match host {
            Host::Name(name) => SanType::DnsName(name.as_str().try_into()?),
            Host::Address(address) => SanType::IpAddress(IpAddr::clone(address)),
        }];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        // Strict clients (Python 3.13) require it.
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&self.key, &self.issuer)?;
        let chain = vec![certificate.der().clone()];
        let leaf = Arc::new(CertifiedKey::new(chain, Arc::clone(&self.signer)));
        let mut leaves = self.leaves.borrow_mut();
        if leaves.len() >= KEPT {
            leaves.clear();
        }
        leaves.insert(host.clone(), Arc::clone(&leaf));
        Ok(leaf)
    }
}

fn params(common: &str) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(vec![])?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common);
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let start = date_time_ymd(1970, 1, 1) + now.unwrap_or_default().saturating_sub(BEFORE);
    params.not_before = start;
    params.not_after = start + VALID;
    Ok(params)
}

fn outside(pem: &[u8]) -> Result<ClientConfig, AuthorityError> {
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_slice_iter(pem).filter_map(Result::ok);
    roots.add_parsable_certificates(certificates);
    if roots.is_empty() {
        return Err(AuthorityError::NoRoots);
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// The version's ALPN name (RFC 7301).
pub fn alpn(version: Version) -> Vec<u8> {
    match version {
        Version::One => b"http/1.1".to_vec(),
        Version::Two => b"h2".to_vec(),
    }
}
