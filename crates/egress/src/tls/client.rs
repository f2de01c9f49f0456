//! TLS connections of the relay to a host, with verification of the host's certificate.

use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::gate::Pass;
use crate::http::version::{Duplex, Version};
use crate::refusal::{Failure, Refusal};
use creel_policy::net::Host;

/// Time limit of a TLS handshake.
pub const HANDSHAKE: Duration = Duration::from_secs(30);

/// Dials the host and performs the TLS handshake; the certificate must be valid for the granted name. Offers
/// `versions` with ALPN, and returns the version that the host chose.
pub async fn begin(
    pass: &Pass,
    versions: &[Version],
) -> Result<(Box<dyn Duplex>, Version), Refusal> {
    let Some(authority) = &pass.gate().authority else {
        return Err(Refusal::NoAuthority(
            "no certificate authority is available to open TLS",
        ));
    };
    let name = match &pass.host {
        Host::Name(name) => ServerName::try_from(name.as_str().to_owned())
            .map_err(|_| Refusal::NoHost("TLS cannot carry this name".into()))?,
        Host::Address(address) => ServerName::IpAddress((*address).into()),
    };
    let stream = pass.dial().await?;
    let connector = TlsConnector::from(authority.outside(versions));
    let stream = timeout(HANDSHAKE, connector.connect(name, stream)).await;
    let stream = stream.map_err(|_| Refusal::Dial {
        failure: Failure::Late,
        text: "the TLS handshake timed out".into(),
    })?;
    let stream = stream.map_err(|e| Refusal::host_tls(format!("TLS with the host: {e}")))?;
    let version = match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => Version::Two,
        _ => Version::One,
    };
    match versions.contains(&version) {
        true => Ok((Box::new(stream), version)),
        false => Err(Refusal::host_http(
            "the host now offers another version of HTTP",
        )),
    }
}
