//! TLS termination: the client gets a certificate of the jail's own authority, and the relay opens its own
//! TLS connection to the host, with certificate verification.
//!
//! Both sides use the same HTTP version: the relay dials the host first, offers what the client offers, and
//! gives the client the version that the host chose. So no request is translated between versions. Protocols
//! other than HTTP are refused.

pub mod client;

use std::rc::Rc;

use rustls::server::Acceptor;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::LazyConfigAcceptor;

use self::client::HANDSHAKE;
use super::gate::Pass;
use super::http;
use super::http::version::{Scheme, Version};
use super::refusal::Refusal;
use super::rewind::Rewind;
use creel_policy::net::Host;

/// Terminates the client's TLS and serves its requests. `early`: bytes already read from the client. A
/// returned refusal is on record already.
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
        let why = "no certificate authority is available to terminate TLS";
        return Err(refuse(Refusal::NoAuthority(why)));
    };
    let broken = |what: &str, error: &dyn std::fmt::Display| {
        refuse(Refusal::ClientTls(format!("{what}: {error}")))
    };
    let late = |_| refuse(Refusal::ClientTlsLate);

    let client = Rewind::new(early, client);
    let start = LazyConfigAcceptor::new(Acceptor::default(), client);
    let start = timeout(HANDSHAKE, start).await.map_err(late)?;
    let start = start.map_err(|e| broken("the client's TLS cannot be terminated", &e))?;
    let hello = start.client_hello();
    if let Err(said) = names(&pass.host, hello.server_name()) {
        let why = format!("its TLS names {said}, and {} was granted", pass.host);
        return Err(refuse(match hello.server_name() {
            Some(_) => Refusal::OtherName(why),
            None => Refusal::NoName(why),
        }));
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
        return Err(refuse(Refusal::NoHttp));
    }
    let versions = offered.clone().unwrap_or_else(|| vec![Version::One]);
    let dialled = client::begin(&pass, &versions).await;
    // If the host cannot be dialled, the client still gets the reason, in HTTP.
    let version = match &dialled {
        Ok((_, version)) => *version,
        Err(_) => versions.first().copied().unwrap_or(Version::One),
    };
    let config = authority.inside(&pass.host, offered.map(|_| version));
    let config = config.map_err(|e| refuse(Refusal::Certificate(e.to_string())))?;
    let client = timeout(HANDSHAKE, start.into_stream(config)).await;
    let client = client.map_err(late)?;
    let client =
        client.map_err(|e| broken("the client does not accept creel's certificate", &e))?;
    let outside = dialled.map(|(stream, _)| stream);
    http::serve_dialled(Rc::clone(&pass), client, Scheme::Https, version, outside).await;
    Ok(())
}

/// Checks that the server name is the granted host; the error is the name sent. An address is never a server
/// name (RFC 6066).
fn names(host: &Host, said: Option<&str>) -> Result<(), String> {
    match (host, said) {
        (Host::Address(_), None) => Ok(()),
        (Host::Name(_), Some(said)) if Host::parse(said.as_bytes()).as_ref() == Ok(host) => Ok(()),
        (_, Some(said)) => Err(format!("{said:?}")),
        (_, None) => Err("nobody".into()),
    }
}
