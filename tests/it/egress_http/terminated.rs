//! TLS that creel ends: by the host's own rule, with the host's certificate checked outside and creel's
//! own inside.

use std::sync::Arc;

use creel_egress::credential::Vault;
use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::server::{Local, Server};
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

    /// An acceptor that ends the TLS of a name.
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
        Server::start(move |stream, seen| {
            let acceptor = acceptor.clone();
            async move {
                let Ok(stream) = acceptor.accept(stream).await else {
                    return;
                };
                match stream.get_ref().1.alpn_protocol() {
                    Some(b"h2") => server::two(stream, seen).await,
                    _ => server::one(stream, seen).await,
                }
            }
        })
        .await
    }
}

/// A jail that ends TLS, and the certificate that is trusted in it.
pub struct Ending {
    pub world: World,
    pub pem: String,
}

impl Ending {
    pub async fn new(outside: &Outside, vault: Vault, mut setup: Setup) -> Ending {
        let (authority, pem) = Authority::new("t", outside.pem.as_bytes(), vault).unwrap();
        setup.authority = Some(authority);
        setup.tls = Tls::Terminate;
        let world = setup.start().await;
        Ending { world, pem }
    }

    /// With the ports of these servers.
    pub async fn at(outside: &Outside, servers: &[&Server]) -> Ending {
        let ports: Vec<u16> = servers.iter().map(|server| server.port).collect();
        Ending::new(outside, Vault::default(), Setup::at(&ports)).await
    }

    /// To a host by its own name, speaking `alpn`.
    pub async fn tls(&self, to: (&str, u16), alpn: &str) -> TlsStream<TcpStream> {
        self.offer(to, to.0, &[alpn]).await.unwrap()
    }

    /// TLS from the jail, by CONNECT, to `to`, saying `said`.
    async fn offer(
        &self,
        (to, port): (&str, u16),
        said: &str,
        alpn: &[&str],
    ) -> Result<TlsStream<TcpStream>, String> {
        let mut client = dial(self.world.proxy).await;
        let connect = format!("CONNECT {to}:{port} HTTP/1.1\r\n\r\n");
        client.write_all(connect.as_bytes()).await.unwrap();
        assert_eq!(status(&answer(&mut client).await), 200);
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap())
            .unwrap();
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let name = ServerName::try_from(said.to_owned()).unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        let connected = connector.connect(name, client).await;
        connected.map_err(|error| error.to_string())
    }
}

#[test]
fn both_versions_go_through_and_both_sides_speak_the_same() {
    local(async {
        let outside = Outside::new();
        let both = outside.https("good.example", &["h2", "http/1.1"]).await;
        let old = outside.https("good.example", &["http/1.1"]).await;
        let none = outside.https("good.example", &[]).await;
        let ending = Ending::at(&outside, &[&both, &old, &none]).await;
        for (server, offered, taken) in [
            (&both, &["h2", "http/1.1"][..], Some("h2")),
            (&both, &["http/1.1"], Some("http/1.1")),
            (&both, &["h2"], Some("h2")),
            (&both, &[], None),
            (&old, &["h2", "http/1.1"], Some("http/1.1")),
            (&none, &["h2", "http/1.1"], Some("http/1.1")),
        ] {
            let to = ("good.example", server.port);
            let stream = ending.offer(to, "good.example", offered).await.unwrap();
            let spoken = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
            assert_eq!(spoken.as_deref(), taken.map(str::as_bytes), "{offered:?}");
            let uri = format!("https://good.example:{}/x", server.port);
            let seen = server.seen.count();
            let code = match taken {
                Some("h2") => get_two(stream, &uri).await.0,
                _ => get_one(stream, &own(server), "/x").await.0,
            };
            assert_eq!(code, 200);
            assert_eq!(server.seen.count(), seen + 1);
        }
        let log = ending.world.log();
        assert!(log.contains("\"path\":\"/x\"") && log.contains("\"method\":\"GET\""));
    });
}

/// The server's authority as a request writes it.
fn own(server: &Server) -> String {
    format!("good.example:{}", server.port)
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
        let ending = Ending::at(&outside, &[&server]).await;
        let to = ("good.example", server.port);
        for host in [
            "evil.example",
            "sub.good.example",
            "127.0.0.1",
            "good.example:1",
        ] {
            let one = get_one(ending.tls(to, "http/1.1").await, host, "/").await;
            let uri = format!("https://{host}/");
            let two = get_two(ending.tls(to, "h2").await, &uri).await;
            assert_eq!((one.0, two.0), (403, 403), "{host}");
        }
        // An http:// target in a connection that is https is another request.
        let plain = format!("http://{}/", own(&server));
        assert_eq!(get_two(ending.tls(to, "h2").await, &plain).await.0, 400);
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
        let mut ending = Ending::at(&outside, &[&good, &wrong_name, &untrusted]).await;
        let to = ("good.example", good.port);
        for (said, alpn) in [("evil.example", "http/1.1"), ("good.example", "postgresql")] {
            assert!(
                ending.offer(to, said, &[alpn]).await.is_err(),
                "{said} {alpn}"
            );
        }
        // The jail's certificate is worth something there alone.
        let pem = std::mem::replace(&mut ending.pem, outside.pem.clone());
        assert!(
            ending
                .offer(to, "good.example", &["http/1.1"])
                .await
                .is_err()
        );
        ending.pem = pem;
        assert_eq!(good.seen.count(), 0);
        for server in [&wrong_name, &untrusted] {
            let to = ("good.example", server.port);
            let stream = ending.tls(to, "http/1.1").await;
            let (code, answer) = get_one(stream, &own(server), "/").await;
            assert_eq!(code, 502);
            assert!(answer.contains("TLS with the host"), "{answer}");
            assert!(ending.world.coded("net-host-tls"));
            assert_eq!(server.seen.connections.get(), 0);
        }
    });
}

#[test]
fn what_is_not_http_inside_tls_is_refused() {
    local(async {
        let outside = Outside::new();
        let server = outside.https("good.example", &[]).await;
        let ending = Ending::at(&outside, &[&server]).await;
        let to = ("good.example", server.port);
        let mut stream = ending.offer(to, "good.example", &[]).await.unwrap();
        stream
            .write_all(b"\0\0\0\x08\x04\xd2\x16\x2f")
            .await
            .unwrap();
        let answer = rest(&mut stream).await;
        assert!(answer.is_empty() || status(&answer) == 400, "{answer}");
        assert_eq!(server.seen.count(), 0);
        assert!(ending.world.said("not HTTP") && ending.world.coded("net-http-request"));
    });
}
