//! A client that is one static binary, as those of other languages are: it asks a resolver itself, knows
//! neither a proxy nor the system's configuration, and speaks HTTP by hand. It prints the answer.
//!
//!     fetch NAME PORT RESOLVER [ROOTS]    RESOLVER: `IP:PORT`; ROOTS: certificates in PEM, for TLS

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RData, RecordType};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const PATIENCE: Duration = Duration::from_secs(5);

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (name, port, resolver, roots) = match words.as_slice() {
        [name, port, resolver] => (*name, *port, *resolver, None),
        [name, port, resolver, roots] => (*name, *port, *resolver, Some(*roots)),
        _ => return Err("fetch NAME PORT RESOLVER [ROOTS]".into()),
    };
    let address = SocketAddr::new(resolve(name, resolver)?, port.parse()?);
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    match roots {
        None => get(stream, name),
        Some(roots) => {
            let mut trusted = RootCertStore::empty();
            for certificate in CertificateDer::pem_file_iter(roots)? {
                trusted.add(certificate?)?;
            }
            let config = ClientConfig::builder_with_provider(
                rustls::crypto::ring::default_provider().into(),
            )
            .with_safe_default_protocol_versions()?
            .with_root_certificates(trusted)
            .with_no_client_auth();
            let server = ServerName::try_from(name.to_owned())?;
            let session = ClientConnection::new(Arc::new(config), server)?;
            get(StreamOwned::new(session, stream), name)
        }
    }
}

/// The name's first IPv4 address.
fn resolve(name: &str, resolver: &str) -> Outcome<IpAddr> {
    let mut question = Message::new(4711, MessageType::Query, OpCode::Query);
    question.metadata.recursion_desired = true;
    question.add_query(Query::query(Name::from_ascii(name)?, RecordType::A));
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(resolver)?;
    socket.send(&question.to_vec()?)?;
    let mut bytes = [0; 4096];
    let length = socket.recv(&mut bytes)?;
    let answer = Message::from_vec(&bytes[..length])?;
    let found = answer.answers.iter().find_map(|record| match &record.data {
        RData::A(address) => Some(IpAddr::from(address.0)),
        _ => None,
    });
    found.ok_or_else(|| format!("{name} does not exist").into())
}

fn get(mut stream: impl Read + Write, name: &str) -> Outcome<()> {
    write!(
        stream,
        "GET /static HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        answer.read_line(&mut line)?;
        print!("{line}");
        match line.trim_end().split_once(": ") {
            Some(("content-length", value)) => length = value.parse()?,
            None if line.trim().is_empty() => break,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    answer.read_exact(&mut body)?;
    println!("{}", String::from_utf8_lossy(&body));
    Ok(())
}
