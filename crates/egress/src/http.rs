//! HTTP, request by request: each is judged, and what was judged is what is sent.
//!
//! A server in front and a client behind it, both in the version that the program speaks, so that no
//! framing is ever translated; heads are written anew from what was read. Bodies stream. What can be
//! read in two ways is answered 400, what is not granted 403, and the host hears of neither.

pub mod body;
mod denied;
mod destination;
pub mod fields;
mod upgrade;
mod upstream;

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;
use hyper::header::{self, HeaderValue};
use hyper::http::request::Parts;
use hyper::http::uri::{PathAndQuery, Scheme as UriScheme};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;

use self::body::{Activity, Body, Meter};
use self::denied::{After, Denied};
use self::fields::Framing;
use self::upgrade::Change;
use self::upstream::{Behind, Upstream};
use super::Way;
use super::gate::{Direction, Gate, Pass, Refusal};
use super::lobby::{self, Room};
use super::mask::Mask;
use super::target::Target;
use creel_policy::net::Host;
use creel_policy::net::http::ambiguous;
use creel_policy::net::judge::{Carried, Spoken};

/// The scheme of a client's requests, and how they continue outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    Http,
    /// TLS was ended here; outside it is begun anew, with the host's certificate checked.
    Https,
}

/// The HTTP versions that the client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    One,
    Two,
}

/// A connection in both directions.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Bytes of a method; the longest that is registered has 17.
const METHOD: usize = 32;
/// For a request's head, from its first byte or from the end of the request before it.
const HEAD: Duration = Duration::from_secs(30);

/// Serves one client to its end. `client` yields the bytes that were looked at already first.
pub async fn serve<C>(pass: Pass, client: C, scheme: Scheme, version: Version)
where
    C: Duplex + 'static,
{
    let upstream = Upstream::new(Rc::new(pass), scheme, version, None);
    let gate = Rc::clone(upstream.pass.gate());
    let session = Session::new(gate, scheme, version, Front::One(Rc::new(upstream)));
    session.run(client).await;
}

/// As [`serve`], with the host dialled already, or not to be had.
pub(super) async fn serve_dialled<C>(
    pass: Rc<Pass>,
    client: C,
    scheme: Scheme,
    version: Version,
    dialled: Result<Box<dyn Duplex>, Refusal>,
) where
    C: Duplex + 'static,
{
    let gate = Rc::clone(pass.gate());
    let upstream = Upstream::new(pass, scheme, version, Some(dialled));
    let session = Session::new(gate, scheme, version, Front::One(Rc::new(upstream)));
    session.run(client).await;
}

/// Serves a client of the HTTP proxy: each request names its own destination, in absolute form.
pub(super) async fn serve_proxy<C>(gate: Rc<Gate>, client: C)
where
    C: Duplex + 'static,
{
    let front = Front::Any(RefCell::default());
    let session = Session::new(gate, Scheme::Http, Version::One, front);
    session.run(client).await;
}

/// One client's connection.
struct Session {
    gate: Rc<Gate>,
    scheme: Scheme,
    version: Version,
    front: Front,
    activity: Rc<Activity>,
    requests: Cell<u64>,
    changed: RefCell<Option<JoinHandle<()>>>,
}

/// The possible destinations of requests.
enum Front {
    /// To the one destination that was granted.
    One(Rc<Upstream>),
    /// To the destination of each request; the last one is kept.
    Any(RefCell<Option<Rc<Upstream>>>),
}

/// Spawns on the one thread that there is.
#[derive(Clone, Copy)]
struct Local;

impl<F: Future + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

impl Session {
    fn new(gate: Rc<Gate>, scheme: Scheme, version: Version, front: Front) -> Rc<Session> {
        Rc::new(Session {
            gate,
            scheme,
            version,
            front,
            activity: Rc::default(),
            requests: Cell::new(0),
            changed: RefCell::default(),
        })
    }

    async fn run<C: Duplex + 'static>(self: Rc<Self>, client: C) {
        let session = Rc::clone(&self);
        let service = service_fn(move |request| {
            let session = Rc::clone(&session);
            async move { Ok::<_, Infallible>(session.answer(request).await) }
        });
        let io = TokioIo::new(client);
        let _counted = lobby::Session::begin(&self.gate);
        let room = Room::of(&self.gate);
        let served = async {
            match self.version {
                Version::One => {
                    let mut server = http1::Builder::new();
                    server
                        .timer(TokioTimer::new())
                        .header_read_timeout(HEAD)
                        .max_buf_size(room.buffer)
                        .max_header_size(room.buffer)
                        .half_close(true)
                        .auto_date_header(false)
                        .preserve_header_case(true);
                    server.serve_connection(io, service).with_upgrades().await
                }
                Version::Two => {
                    let mut server = http2::Builder::new(Local);
                    server
                        .timer(TokioTimer::new())
                        .initial_stream_window_size(room.stream)
                        .initial_connection_window_size(room.connection)
                        .max_concurrent_streams(room.streams)
                        .max_header_list_size(room.buffer as u32)
                        .max_send_buf_size(room.buffer)
                        .auto_date_header(false);
                    server.serve_connection(io, service).await
                }
            }
        };
        let whole = async {
            let served = served.await;
            let changed = self.changed.take();
            if let Some(changed) = changed {
                let abort = Abort(changed);
                abort.finished().await;
            }
            served
        };
        tokio::select! {
            served = whole => {
                if let Err(error) = served
                    && (error.is_parse() || self.requests.get() == 0)
                {
                    let why = upstream::cause(&error);
                    self.note(&Refusal::Spoken(format!("what was said is no HTTP: {why}")));
                }
            }
            () = self.silence() => self.note(&Refusal::Closed("nothing moved for too long")),
        }
    }

    /// Ends when nothing moved for as long as the policy allows.
    async fn silence(&self) {
        let idle = self.gate.idle();
        loop {
            let until = self.activity.last() + idle;
            tokio::time::sleep_until(until).await;
            if self.activity.last() + idle <= until {
                return;
            }
        }
    }

    /// Puts a refusal that concerns the connection on its record.
    fn note(&self, refusal: &Refusal) {
        match &self.front {
            Front::One(upstream) => upstream.pass.refuse(refusal),
            Front::Any(last) => match &*last.borrow() {
                Some(upstream) => upstream.pass.refuse(refusal),
                None => self.gate.refuse(Way::Absolute, "", 0, refusal),
            },
        }
    }

    async fn answer(self: Rc<Self>, request: Request<Incoming>) -> Response<Body> {
        self.activity.note();
        self.requests.set(self.requests.get() + 1);
        match self.forward(request).await {
            Ok(response) => response,
            Err(denied) => denied.answer(self.version),
        }
    }

    async fn forward(&self, mut request: Request<Incoming>) -> Result<Response<Body>, Denied> {
        let client = hyper::upgrade::on(&mut request);
        let (mut parts, incoming) = request.into_parts();
        let (upstream, authority) = self.destination(&parts).await?;
        let pass = Rc::clone(&upstream.pass);
        let judged = self.judge(&pass, &parts);
        let path = path_of(&parts.uri);
        let refusal = judged.as_ref().err().map(|denied| &denied.refusal);
        let recorded = pass.request(parts.method.as_str(), path, refusal);
        let framing = judged?;
        recorded
            .inspect_err(|refusal| pass.refuse(refusal))
            .map_err(Denied::closing)?;

        let bare = incoming.is_end();
        let change = self.version == Version::One
            && parts.method == Method::GET
            && fields::websocket(&parts.headers)
            && bare;
        let head = pass.count(Direction::Out, head_length(&parts));
        head.inspect_err(|refusal| pass.refuse(refusal))
            .map_err(Denied::closing)?;
        self.rewrite(&mut parts, &authority, framing)?;
        if change {
            fields::set_websocket(&mut parts.headers);
        }
        let behind = match bare {
            true => Behind::Another,
            false => self.behind(&pass, &parts.method),
        };
        if behind == Behind::Nothing {
            let close = HeaderValue::from_static("close");
            parts.headers.insert(header::CONNECTION, close);
        }
        let mask = self.inject(&pass, &mut parts);
        let meter = |direction| Meter {
            pass: Rc::clone(&pass),
            direction,
            activity: Rc::clone(&self.activity),
        };
        let body = Body::passing(incoming, meter(Direction::Out), None);
        let sent = upstream
            .send(Request::from_parts(parts, body), behind)
            .await;
        let mut response = sent.map_err(|refusal| {
            pass.refuse(&refusal);
            Denied::from(refusal)
        })?;
        self.activity.note();

        let host = hyper::upgrade::on(&mut response);
        let (mut parts, incoming) = response.into_parts();
        let head = fields::length(&parts.headers) + 16;
        let counted = meter(Direction::In).count(head);
        counted.map_err(Denied::closing)?;
        let changed = parts.status == StatusCode::SWITCHING_PROTOCOLS;
        if changed && !(change && fields::websocket(&parts.headers)) {
            let why = "the host changes to a protocol that nobody asked for";
            return Err(Denied::gateway(why));
        }
        if mask.is_some() && !fields::is_plain(&parts.headers) && !incoming.is_end() {
            let why = "the host compresses its answer, and has a credential that could be in it";
            pass.refuse(&Refusal::Spoken(why.into()));
            return Err(Denied::gateway(why));
        }
        if mask.is_some() && parts.status == StatusCode::PARTIAL_CONTENT {
            let why = "the host sends a part that nobody asked for, and has a credential that could be cut \
                       by it";
            pass.refuse(&Refusal::Spoken(why.into()));
            return Err(Denied::gateway(why));
        }
        if fields::strip(&mut parts.headers).is_err() {
            return Err(Denied::gateway("the host's answer has an odd Connection"));
        }
        // Nobody reads it, and it could have anything in it.
        parts.extensions.remove::<ReasonPhrase>();
        if let Some(mask) = &mask {
            fields::mask(&mut parts.headers, mask);
            // It would tell how long the answer is with the secret in it, to HEAD too.
            parts.headers.remove(header::CONTENT_LENGTH);
        }
        if changed {
            fields::set_websocket(&mut parts.headers);
            let change = Change {
                client,
                host,
                pass,
                activity: Rc::clone(&self.activity),
                mask,
            };
            let copying = tokio::task::spawn_local(change.copy());
            *self.changed.borrow_mut() = Some(copying);
            return Ok(Response::from_parts(parts, Body::Own(None)));
        }
        let mask = mask.filter(|_| !incoming.is_end());
        let body = Body::passing(incoming, meter(Direction::In), mask);
        Ok(Response::from_parts(parts, body))
    }

    /// Whether what a request says is granted. What of it has two readings is refused first.
    fn judge(&self, pass: &Pass, parts: &Parts) -> Result<Framing, Denied> {
        let path = path_of(&parts.uri);
        let asterisk = path == "*" && parts.method == Method::OPTIONS;
        if !path.starts_with('/') && !asterisk {
            return Err(Denied::unread("its target is no path".into()));
        }
        let framing = fields::framing(&parts.headers).map_err(Denied::unread)?;
        let method = parts.method.as_str();
        if method.len() > METHOD {
            return Err(Denied::unread(format!(
                "its method has more than {METHOD} bytes"
            )));
        }
        if self.vault_has(&pass.host) && matches!(method, "TRACE" | "TRACK") {
            let why = format!("{method} would give a credential back");
            return Err(Denied::from(Refusal::Spoken(why)));
        }
        let carried = match self.scheme {
            Scheme::Http => Carried::Plain,
            Scheme::Https => Carried::Tls,
        };
        let request = Spoken::Request {
            method,
            path,
            carried,
        };
        match pass.judge(&request) {
            Ok(()) => Ok(framing),
            Err(refusal) if !asterisk && ambiguous(path).is_some() => Err(Denied {
                status: StatusCode::BAD_REQUEST,
                refusal,
                after: After::Close,
            }),
            Err(refusal) => Err(refusal.into()),
        }
    }

    /// The head as it is sent on: its target and authority as they were judged, and none of the fields
    /// that are this connection's own.
    fn rewrite(
        &self,
        parts: &mut Parts,
        authority: &Target,
        framing: Framing,
    ) -> Result<(), Denied> {
        let headers = &mut parts.headers;
        fields::strip(headers).map_err(Denied::unread)?;
        // It was or will be answered here, by reading the body.
        headers.remove(header::EXPECT);
        let path = match parts.uri.query() {
            Some(query) => format!("{}?{query}", path_of(&parts.uri)),
            None => path_of(&parts.uri).to_owned(),
        };
        let unread = |_| Denied::unread("its target cannot be written again".into());
        let path = PathAndQuery::try_from(path).map_err(|e| unread(e.into()))?;
        let mut uri = Uri::builder().path_and_query(path);
        match self.version {
            Version::One => {
                let host = HeaderValue::try_from(authority.to_string());
                headers.insert(header::HOST, host.map_err(|e| unread(e.into()))?);
                parts.version = hyper::Version::HTTP_11;
                if framing == Framing::Chunked {
                    let chunked = HeaderValue::from_static("chunked");
                    headers.insert(header::TRANSFER_ENCODING, chunked);
                }
            }
            Version::Two => {
                headers.remove(header::HOST);
                uri = uri
                    .scheme(self.scheme.name())
                    .authority(authority.to_string());
            }
        }
        parts.uri = uri.build().map_err(unread)?;
        Ok(())
    }

    /// Whether a request may follow one with a body. A host that expects no body takes it for the next
    /// request, which nobody judged, so there is no next one: not where one request is granted and
    /// another is not, and not behind a method that has no body of its own. HTTP/2 cuts every body off.
    fn behind(&self, pass: &Pass, method: &Method) -> Behind {
        let expected = matches!(*method, Method::POST | Method::PUT | Method::PATCH);
        let alike = !pass
            .gate()
            .policy
            .tells_requests_apart(&pass.host, pass.port);
        match self.version == Version::Two || expected && alike {
            true => Behind::Another,
            false => Behind::Nothing,
        }
    }

    /// Puts the host's secrets in, over TLS alone. It may say them back on any connection.
    fn inject(&self, pass: &Pass, parts: &mut Parts) -> Option<Mask> {
        let vault = self.gate.authority.as_ref()?.vault();
        if !vault.has(&pass.host) {
            return None;
        }
        fields::ask_for_plain(&mut parts.headers);
        match self.scheme {
            Scheme::Http => vault.mask(&pass.host),
            Scheme::Https => vault.inject(&pass.host, &mut parts.headers),
        }
    }

    fn vault_has(&self, host: &Host) -> bool {
        let authority = self.gate.authority.as_ref();
        authority.is_some_and(|authority| authority.vault().has(host))
    }
}

impl Scheme {
    fn port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }

    fn name(self) -> UriScheme {
        match self {
            Scheme::Http => UriScheme::HTTP,
            Scheme::Https => UriScheme::HTTPS,
        }
    }
}

/// The path as it was sent, without the query.
fn path_of(uri: &Uri) -> &str {
    uri.path_and_query().map_or("", PathAndQuery::path)
}

fn head_length(parts: &Parts) -> u64 {
    let target = parts.uri.path_and_query().map_or(0, |p| p.as_str().len());
    let line = parts.method.as_str().len() + target;
    fields::length(&parts.headers) + line as u64 + 16
}

/// A task that ends with whoever waits for it.
struct Abort(JoinHandle<()>);

impl Abort {
    async fn finished(mut self) {
        let _ = (&mut self.0).await;
    }
}

impl Drop for Abort {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Whether a body is known to be empty.
trait Ends {
    fn is_end(&self) -> bool;
}

impl Ends for Incoming {
    fn is_end(&self) -> bool {
        hyper::body::Body::is_end_stream(self)
    }
}
