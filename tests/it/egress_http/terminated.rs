//! TLS that creel ends: by the host's own rule, with the host's certificate checked outside and creel's
//! own inside.

use std::sync::Arc;

use creel::egress::credential::Vault;
use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::server::{Local, Seen, Server};
use super::*;

/// Authorities outside, one of which is trusted.
pub struct Outside {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
}

impl Outside {
    pub fn new() -> Outside {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        Outside { issuer, pem }
    }

    /// What ends the TLS of a name.
    pub fn acceptor(&self, name: &str, alpn: &[&str]) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::Pkcs8(key.serialized_der().to_vec().into());
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }

    /// A server of HTTPS for a name.
    pub async fn https(&self, name: &str, alpn: &[&str]) -> Server {
        let acceptor = self.acceptor(name, alpn);
        let (listener, address) = listen().await;
        let seen = Rc::new(Seen::default());
        let server = Server {
            port: address.port(),
            seen: Rc::clone(&seen),
        };
        tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, seen) = (acceptor.clone(), Rc::clone(&seen));
                tokio::task::spawn_local(async move {
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    seen.connections.set(seen.connections.get() + 1);
                    match stream.get_ref().1.alpn_protocol() {
                        Some(b"h2") => server::two(stream, seen).await,
                        _ => server::one(stream, seen).await,
                    }
                });
            }
        });
        server
    }
}

/// A jail that ends TLS, and the certificate that is trusted in it.
pub async fn ending(outside: &Outside, vault: Vault, ports: &[u16]) -> (World, String) {
    let (authority, pem) = Authority::new("t", outside.pem.as_bytes(), vault).unwrap();
    let mut setup = Setup::at(ports);
    setup.authority = Some(authority);
    setup.tls = Tls::Terminate;
    (setup.start().await, pem)
}

/// TLS from the jail, by CONNECT, to `to`, saying `said`; what the client trusts is `pem`.
pub async fn tls(
    world: &World,
    pem: &str,
    (to, port): (&str, u16),
    said: &str,
    alpn: &[&str],
) -> Result<TlsStream<TcpStream>, String> {
    let mut client = dial(world.proxy).await;
    let connect = format!("CONNECT {to}:{port} HTTP/1.1\r\n\r\n");
    client.write_all(connect.as_bytes()).await.unwrap();
    assert_eq!(status(&answer(&mut client).await), 200);
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap())
        .unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let name = ServerName::try_from(said.to_owned()).unwrap();
    let connected = TlsConnector::from(Arc::new(config))
        .connect(name, client)
        .await;
    connected.map_err(|error| error.to_string())
}

#[test]
fn both_versions_go_through_and_both_sides_speak_the_same() {
    local(async {
        let outside = Outside::new();
        let both = outside.https("good.example", &["h2", "http/1.1"]).await;
        let old = outside.https("good.example", &["http/1.1"]).await;
        let none = outside.https("good.example", &[]).await;
        let ports = [both.port, old.port, none.port];
        let (world, pem) = ending(&outside, Vault::default(), &ports).await;
        for (server, offered, taken) in [
            (&both, &["h2", "http/1.1"][..], Some("h2")),
            (&both, &["http/1.1"], Some("http/1.1")),
            (&both, &["h2"], Some("h2")),
            (&both, &[], None),
            (&old, &["h2", "http/1.1"], Some("http/1.1")),
            (&none, &["h2", "http/1.1"], Some("http/1.1")),
        ] {
            let to = ("good.example", server.port);
            let stream = tls(&world, &pem, to, "good.example", offered)
                .await
                .unwrap();
            let spoken = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
            assert_eq!(spoken.as_deref(), taken.map(str::as_bytes), "{offered:?}");
            let uri = format!("https://good.example:{}/x", server.port);
            let seen = server.seen.count();
            let code = match taken {
                Some("h2") => get_two(stream, &uri).await.0,
                _ => {
                    get_one(stream, &format!("good.example:{}", server.port), "/x")
                        .await
                        .0
                }
            };
            assert_eq!(code, 200);
            assert_eq!(server.seen.count(), seen + 1);
        }
        let log = world.log();
        assert!(log.contains("\"path\":\"/x\"") && log.contains("\"method\":\"GET\""));
    });
}

/// One request over HTTP/2.
pub async fn get_two(stream: TlsStream<TcpStream>, uri: &str) -> (u16, String) {
    let request = Request::get(uri)
        .body(Empty::<bytes::Bytes>::new())
        .unwrap();
    send_two(stream, request).await
}

pub async fn send_two(
    stream: TlsStream<TcpStream>,
    request: Request<Empty<bytes::Bytes>>,
) -> (u16, String) {
    let handshake = hyper::client::conn::http2::handshake(Local, TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.unwrap();
    tokio::task::spawn_local(connection);
    let answer = sender.send_request(request).await.unwrap();
    let code = answer.status().as_u16();
    let head = format!("{:?}\n", answer.headers());
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (code, head + &String::from_utf8_lossy(&body))
}

/// One request over HTTP/1.
pub async fn get_one(mut stream: TlsStream<TcpStream>, host: &str, path: &str) -> (u16, String) {
    let get = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(get.as_bytes()).await.unwrap();
    let answer = rest(&mut stream).await;
    (status(&answer), answer)
}

#[test]
fn a_request_to_another_host_is_refused_inside_tls() {
    local(async {
        let outside = Outside::new();
        let server = outside.https("good.example", &["h2", "http/1.1"]).await;
        let port = server.port;
        let (world, pem) = ending(&outside, Vault::default(), &[port]).await;
        let to = ("good.example", port);
        for host in [
            "evil.example",
            "sub.good.example",
            "127.0.0.1",
            "good.example:1",
        ] {
            let stream = tls(&world, &pem, to, "good.example", &["http/1.1"])
                .await
                .unwrap();
            assert_eq!(get_one(stream, host, "/").await.0, 403, "{host}");
            let stream = tls(&world, &pem, to, "good.example", &["h2"])
                .await
                .unwrap();
            assert_eq!(
                get_two(stream, &format!("https://{host}/")).await.0,
                403,
                "{host}"
            );
        }
        // An http:// target in a connection that is https is another request.
        let stream = tls(&world, &pem, to, "good.example", &["h2"])
            .await
            .unwrap();
        let plain = format!("http://good.example:{port}/");
        assert_eq!(get_two(stream, &plain).await.0, 400);
        assert_eq!(server.seen.count(), 0);
    });
}

#[test]
fn another_server_name_is_refused_and_a_host_that_is_not_itself_is_told() {
    local(async {
        let (outside, other) = (Outside::new(), Outside::new());
        let good = outside.https("good.example", &["h2", "http/1.1"]).await;
        let wrong_name = outside.https("evil.example", &["h2", "http/1.1"]).await;
        let untrusted = other.https("good.example", &["h2", "http/1.1"]).await;
        let ports = [good.port, wrong_name.port, untrusted.port];
        let (world, pem) = ending(&outside, Vault::default(), &ports).await;
        let to = ("good.example", good.port);
        assert!(
            tls(&world, &pem, to, "evil.example", &["http/1.1"])
                .await
                .is_err()
        );
        assert!(
            tls(&world, &pem, to, "good.example", &["postgresql"])
                .await
                .is_err()
        );
        // The jail's certificate is worth something there alone.
        assert!(
            tls(&world, &outside.pem, to, "good.example", &["http/1.1"])
                .await
                .is_err()
        );
        assert_eq!(good.seen.count(), 0);
        for server in [&wrong_name, &untrusted] {
            let to = ("good.example", server.port);
            let stream = tls(&world, &pem, to, "good.example", &["http/1.1"])
                .await
                .unwrap();
            let host = format!("good.example:{}", server.port);
            let (code, answer) = get_one(stream, &host, "/").await;
            assert_eq!(code, 502);
            assert!(answer.contains("TLS with the host"), "{answer}");
            assert_eq!(server.seen.connections.get(), 0);
        }
    });
}

#[test]
fn what_is_not_http_inside_tls_is_refused() {
    local(async {
        let outside = Outside::new();
        let server = outside.https("good.example", &[]).await;
        let (world, pem) = ending(&outside, Vault::default(), &[server.port]).await;
        let to = ("good.example", server.port);
        let mut stream = tls(&world, &pem, to, "good.example", &[]).await.unwrap();
        stream
            .write_all(b"\0\0\0\x08\x04\xd2\x16\x2f")
            .await
            .unwrap();
        let answer = rest(&mut stream).await;
        assert!(answer.is_empty() || status(&answer) == 400, "{answer}");
        assert_eq!(server.seen.count(), 0);
        assert!(world.said("no HTTP"));
    });
}
