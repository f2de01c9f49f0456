//! Servers outside: one of HTTP that says what it was asked, and one that keeps bytes.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, combinators::BoxBody};
use hyper::body::{Body, Frame, Incoming};
use hyper::header::HeaderMap;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::listen;

/// Requests that a server saw.
#[derive(Default)]
pub struct Seen {
    pub connections: Cell<u64>,
    /// Heads as they came: first line and fields, lower case.
    pub requests: RefCell<Vec<String>>,
    /// Every byte, of the server that keeps them.
    pub bytes: RefCell<Vec<u8>>,
}

impl Seen {
    fn connect(&self) {
        self.connections.set(self.connections.get() + 1);
    }

    pub fn count(&self) -> usize {
        self.requests.borrow().len()
    }

    pub fn last(&self) -> String {
        self.requests.borrow().last().cloned().unwrap_or_default()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.borrow()).into_owned()
    }
}

#[derive(Clone)]
pub struct Server {
    pub port: u16,
    pub seen: Rc<Seen>,
}

#[derive(Clone, Copy)]
pub struct Local;

impl<F: Future + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

impl Server {
    /// Serves each connection in this way.
    pub async fn start<F: Future<Output = ()> + 'static>(
        serve: impl Fn(TcpStream, Rc<Seen>) -> F + 'static,
    ) -> Server {
        let (listener, port) = listen().await;
        let seen = Rc::new(Seen::default());
        let server = Server {
            port,
            seen: Rc::clone(&seen),
        };
        tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::task::spawn_local(serve(stream, Rc::clone(&seen)));
            }
        });
        server
    }
}

/// Serves HTTP/1 in plain text.
pub async fn http() -> Server {
    Server::start(one).await
}

/// Serves HTTP/2 with prior knowledge.
pub async fn http2() -> Server {
    Server::start(two).await
}

/// Answers one head after the other with 200, whatever it says, and keeps every byte.
pub async fn keeper() -> Server {
    Server::start(keep).await
}

pub async fn one<S>(stream: S, seen: Rc<Seen>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    seen.connect();
    let service = service_fn(move |request| reply(request, Rc::clone(&seen)));
    let _ = hyper::server::conn::http1::Builder::new()
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
}

pub async fn two<S>(stream: S, seen: Rc<Seen>)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    seen.connect();
    let service = service_fn(move |request| reply(request, Rc::clone(&seen)));
    let _ = hyper::server::conn::http2::Builder::new(Local)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn keep(mut stream: TcpStream, seen: Rc<Seen>) {
    seen.connect();
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        let new = &buffer[..length];
        seen.bytes.borrow_mut().extend_from_slice(new);
        if new.windows(4).any(|w| w == b"\r\n\r\n") {
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
            if stream.write_all(answer).await.is_err() {
                return;
            }
        }
    }
}

/// Answers one head after the other whatever body one says that it has, and closes where it is asked to:
/// as Python's own server does, for methods that it expects no body of.
pub async fn deaf_to_bodies(mut stream: impl AsyncRead + AsyncWrite + Unpin, seen: Rc<Seen>) {
    let mut bytes = vec![];
    loop {
        while let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            let rest = bytes.split_off(end + 4);
            let head = String::from_utf8_lossy(&bytes).to_lowercase();
            bytes = rest;
            seen.requests.borrow_mut().push(head.clone());
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
            if stream.write_all(answer).await.is_err() || head.contains("connection: close") {
                let _ = stream.shutdown().await;
                return;
            }
        }
        if !matches!(stream.read_buf(&mut bytes).await, Ok(1..)) {
            return;
        }
    }
}

/// Serves each connection like this, over TLS where there is some to end.
pub async fn each<S, F>(acceptor: Option<tokio_rustls::TlsAcceptor>, serve: S) -> Server
where
    S: Fn(Box<dyn creel_egress::http::version::Duplex>, Rc<Seen>) -> F + Copy + 'static,
    F: Future<Output = ()> + 'static,
{
    Server::start(move |stream, seen| {
        let acceptor = acceptor.clone();
        async move {
            let stream: Box<dyn creel_egress::http::version::Duplex> = match acceptor {
                None => Box::new(stream),
                Some(acceptor) => match acceptor.accept(stream).await {
                    Ok(stream) => Box::new(stream),
                    Err(_) => return,
                },
            };
            seen.connect();
            serve(stream, seen).await;
        }
    })
    .await
}

type Answer = Response<BoxBody<Bytes, Infallible>>;

async fn reply(mut request: Request<Incoming>, seen: Rc<Seen>) -> Result<Answer, hyper::Error> {
    let mut said = format!(
        "{} {} {:?}\n",
        request.method(),
        request.uri(),
        request.version()
    );
    for (name, value) in request.headers() {
        said += &format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes()));
    }
    seen.requests.borrow_mut().push(said.clone());
    let text = |text: String| Response::new(Full::new(Bytes::from(text)).boxed());
    let path = request.uri().path().to_owned();
    Ok(match path.as_str() {
        // The received body, as a checksum, and its length.
        "/sum" => {
            let (mut hash, mut length, mut trailers) = (Sha256::new(), 0, String::new());
            let body = request.body_mut();
            while let Some(frame) = body.frame().await {
                match frame?.into_data() {
                    Ok(data) => {
                        length += data.len();
                        hash.update(&data);
                    }
                    Err(frame) => {
                        let fields = frame.into_trailers().unwrap_or_default();
                        for (name, value) in &fields {
                            trailers += &format!(" {name}={}", value.to_str().unwrap_or("?"));
                        }
                    }
                }
            }
            text(format!("{length} {}{trailers}", hex(&hash.finalize())))
        }
        // So many bytes.
        "/bytes" => {
            let many = request
                .uri()
                .query()
                .and_then(|q| q.parse().ok())
                .unwrap_or(0);
            Response::new(BoxBody::new(Bytes0 { left: many }))
        }
        // Events, the next only when the one before was taken.
        "/events" => {
            let (send, receive) = mpsc::channel(1);
            tokio::task::spawn_local(async move {
                for number in 0..3 {
                    if send.send(format!("data: {number}\n\n")).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
            });
            let mut answer = Response::new(BoxBody::new(Channel { receive }));
            let kind = hyper::header::HeaderValue::from_static("text/event-stream");
            answer.headers_mut().insert("content-type", kind);
            answer
        }
        "/trailers" => {
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", "42".parse().expect("a value"));
            let frames = [
                Ok::<_, Infallible>(Frame::data(Bytes::from("body"))),
                Ok(Frame::trailers(trailers)),
            ];
            let body = Frames(frames.into_iter().collect());
            let mut answer = Response::new(BoxBody::new(body));
            let names = "x-sum".parse().expect("a value");
            answer.headers_mut().insert("trailer", names);
            answer
        }
        // Changes to a protocol that says everything back.
        "/socket" => {
            let changed = hyper::upgrade::on(&mut request);
            tokio::task::spawn_local(async move {
                if let Ok(stream) = changed.await {
                    let (mut read, mut write) = tokio::io::split(TokioIo::new(stream));
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                    let _ = write.shutdown().await;
                }
            });
            let mut answer = text(String::new());
            *answer.status_mut() = hyper::StatusCode::SWITCHING_PROTOCOLS;
            let protocol = request.headers().get("upgrade").cloned();
            let protocol = protocol.unwrap_or_else(|| "websocket".parse().expect("a value"));
            answer.headers_mut().insert("upgrade", protocol);
            let upgrade = "upgrade".parse().expect("a value");
            answer.headers_mut().insert("connection", upgrade);
            answer
        }
        "/compressed" => {
            let mut answer = text("not really".into());
            let gzip = "gzip".parse().expect("a value");
            answer.headers_mut().insert("content-encoding", gzip);
            answer
        }
        // Everything that was in the head, in the head and in the body.
        "/reflect" => {
            let mut answer = text(said.clone());
            for (name, value) in request.headers() {
                let own = format!("x-was-{name}");
                let own: hyper::header::HeaderName = own.parse().expect("a name");
                answer.headers_mut().append(own, value.clone());
            }
            answer
        }
        // The same a byte at a time.
        "/drip" => {
            let bytes = said.into_bytes().into_iter();
            let frames = bytes.map(|byte| Ok(Frame::data(Bytes::from(vec![byte]))));
            Response::new(BoxBody::new(Frames(frames.collect())))
        }
        // The received body, in pieces of so many bytes.
        "/echo" => {
            let many = request.uri().query().and_then(|q| q.parse().ok());
            let body = request.body_mut().collect().await?.to_bytes();
            let pieces = body.chunks(many.unwrap_or(usize::MAX));
            let frames = pieces.map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece))));
            Response::new(BoxBody::new(Frames(frames.collect())))
        }
        // A token where a name and a reason are, and a part that nobody asked for.
        "/named" | "/part" => {
            let token = request.headers().get("authorization").expect("a token");
            let token = token.to_str().expect("text").replace("Bearer ", "");
            let mut answer = text("body".into());
            let name: hyper::header::HeaderName = format!("x-{token}").parse().expect("a name");
            answer
                .headers_mut()
                .insert(name, "1".parse().expect("a value"));
            if path == "/part" {
                *answer.status_mut() = hyper::StatusCode::PARTIAL_CONTENT;
            }
            let reason = hyper::ext::ReasonPhrase::try_from(token.into_bytes());
            answer.extensions_mut().insert(reason.expect("a reason"));
            answer
        }
        "/away" => {
            let mut answer = text(String::new());
            *answer.status_mut() = hyper::StatusCode::FOUND;
            let to = "http://evil.example/".parse().expect("a value");
            answer.headers_mut().insert("location", to);
            answer
        }
        _ => text(said),
    })
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Body of `/bytes`, for comparison: one byte a kilobyte's number.
pub fn expected(many: u64) -> String {
    let mut hash = Sha256::new();
    let mut body = Bytes0 { left: many };
    while let Some(chunk) = body.next() {
        hash.update(&chunk);
    }
    hex(&hash.finalize())
}

struct Bytes0 {
    left: u64,
}

impl Bytes0 {
    fn next(&mut self) -> Option<Bytes> {
        let length = self.left.min(16 << 10);
        let byte = (self.left >> 10) as u8;
        self.left -= length;
        (length > 0).then(|| Bytes::from(vec![byte; length as usize]))
    }
}

impl Body for Bytes0 {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.next().map(|chunk| Ok(Frame::data(chunk))))
    }
}

struct Channel {
    receive: mpsc::Receiver<String>,
}

impl Body for Channel {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let received = self.receive.poll_recv(context);
        received.map(|text| text.map(|text| Ok(Frame::data(Bytes::from(text)))))
    }
}

/// Frames made before.
struct Frames(std::collections::VecDeque<Result<Frame<Bytes>, Infallible>>);

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front())
    }
}
