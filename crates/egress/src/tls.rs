//! TLS that creel ends: the client's with a certificate of the jail's own authority, begun anew outside
//! with the host's certificate checked.
//!
//! Both sides speak the same version of HTTP: outside is dialled first, with what the client offers,
//! and the client is given what the host took. So no request is ever translated from one version to
//! the other. What is not HTTP is refused.

use std::rc::Rc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::server::Acceptor;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::{LazyConfigAcceptor, TlsConnector};

pub use super::authority::{Authority, AuthorityError};
use super::gate::{Pass, Refusal};
use super::http::{self, Duplex, Scheme, Version};
use super::prefixed::Prefixed;
use creel_policy::net::Host;

/// For a whole handshake.
const HANDSHAKE: Duration = Duration::from_secs(30);

/// Ends the client's TLS, whose first bytes are `early`, and carries its requests.
pub async fn serve(pass: Pass, client: TcpStream, early: Vec<u8>) -> Result<(), Refusal> {
    let served = end(Rc::new(pass), client, early).await;
    if let Err((pass, refusal)) = served {
        pass.refuse(&refusal);
        return Err(refusal);
    }
    Ok(())
}

async fn end(pass: Rc<Pass>, client: TcpStream, early: Vec<u8>) -> Result<(), (Rc<Pass>, Refusal)> {
    let refuse = |refusal| (Rc::clone(&pass), refusal);
    let gate = Rc::clone(pass.gate());
    let Some(authority) = &gate.authority else {
        return Err(refuse(Refusal::Closed(
            "there is no authority to end TLS with",
        )));
    };
    let spoken = |what: &str, error: &dyn std::fmt::Display| {
        refuse(Refusal::Spoken(format!("{what}: {error}")))
    };
    let late = |_| refuse(Refusal::Closed("the TLS handshake took more than 30 s"));

    let client = Prefixed::new(early, client);
    let start = LazyConfigAcceptor::new(Acceptor::default(), client);
    let start = timeout(HANDSHAKE, start).await.map_err(late)?;
    let start = start.map_err(|e| spoken("the client's TLS cannot be ended", &e))?;
    let hello = start.client_hello();
    if let Err(said) = names(&pass.host, hello.server_name()) {
        let refusal = format!("its TLS names {said}, and {} was granted", pass.host);
        return Err(refuse(Refusal::Spoken(refusal)));
    }
    let offered: Option<Vec<Version>> = hello.alpn().map(|offered| {
        let known = |name: &[u8]| match name {
            b"h2" => Some(Version::Two),
            b"http/1.1" => Some(Version::One),
            _ => None,
        };
        offered.filter_map(known).collect()
    });
    if offered.as_ref().is_some_and(Vec::is_empty) {
        let why = "inside its TLS is no HTTP, by what it offers, and a rule ends this host's TLS";
        return Err(refuse(Refusal::Spoken(why.into())));
    }
    let versions = offered.clone().unwrap_or_else(|| vec![Version::One]);
    let dialled = begin(&pass, &versions).await;
    // If the host is unreachable, the client still gets the reason, in HTTP.
    let version = match &dialled {
        Ok((_, version)) => *version,
        Err(_) => versions.first().copied().unwrap_or(Version::One),
    };
    let config = authority.inside(&pass.host, offered.map(|_| version));
    let config = config.map_err(|e| spoken("no certificate can be made", &e))?;
    let client = timeout(HANDSHAKE, start.into_stream(config)).await;
    let client = client.map_err(late)?;
    let client = client.map_err(|e| spoken("the client does not take creel's certificate", &e))?;
    let outside = dialled.map(|(stream, _)| stream);
    http::serve_dialled(Rc::clone(&pass), client, Scheme::Https, version, outside).await;
    Ok(())
}

/// Dials and begins TLS with the host, whose certificate is checked for the name that was granted.
pub(super) async fn begin(
    pass: &Pass,
    versions: &[Version],
) -> Result<(Box<dyn Duplex>, Version), Refusal> {
    let Some(authority) = &pass.gate().authority else {
        return Err(Refusal::Closed("there is no authority to begin TLS with"));
    };
    let name = match &pass.host {
        Host::Name(name) => ServerName::try_from(name.as_str().to_owned())
            .map_err(|_| Refusal::NoHost("TLS has no form of this name".into()))?,
        Host::Address(address) => ServerName::IpAddress((*address).into()),
    };
    let stream = pass.dial().await?;
    let connector = TlsConnector::from(authority.outside(versions));
    let stream = timeout(HANDSHAKE, connector.connect(name, stream)).await;
    let stream = stream.map_err(|_| Refusal::Dial("the TLS handshake timed out".into()))?;
    let stream = stream.map_err(|e| Refusal::Dial(format!("TLS with the host: {e}")))?;
    let version = match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => Version::Two,
        _ => Version::One,
    };
    match versions.contains(&version) {
        true => Ok((Box::new(stream), version)),
        false => Err(Refusal::Dial("the host now speaks another HTTP".into())),
    }
}

/// Whether the server name is the host's; what it was where not. An address is never a server name
/// (RFC 6066).
fn names(host: &Host, said: Option<&str>) -> Result<(), String> {
    match (host, said) {
        (Host::Address(_), None) => Ok(()),
        (Host::Name(_), Some(said)) if Host::parse(said.as_bytes()).as_ref() == Ok(host) => Ok(()),
        (_, Some(said)) => Err(format!("{said:?}")),
        (_, None) => Err("nobody".into()),
    }
}
