//! HTTP: judges each request, and forwards exactly what it judged.
//!
//! A server for the program and a client for the host, both in the program's HTTP version, so that framing
//! is never translated. Heads are written anew from what was parsed; bodies stream. An ambiguous request
//! gets 400 and one that is not granted 403; the host receives neither.

pub mod body;
mod denied;
mod destination;
pub mod fields;
mod upgrade;
mod upstream;
pub mod version;

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;
use hyper::header::{self, HeaderValue};
use hyper::http::request::Parts;
use hyper::http::uri::PathAndQuery;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use self::body::{Activity, Body, Meter};
use self::denied::{After, Denied};
use self::fields::Framing;
use self::upgrade::Change;
use self::upstream::{Behind, Upstream};
use self::version::{Duplex, Local, Scheme, Version};
use super::Way;
use super::admission::{self, SessionLimits};
use super::gate::{Direction, Gate, Pass};
use super::mask::Mask;
use super::refusal::Refusal;
use super::target::Target;
use creel_policy::net::Host;
use creel_policy::net::decide::{Carried, Spoken};
use creel_policy::net::http::ambiguous;

/// Maximum bytes of a method; the longest registered one has 17.
const METHOD: usize = 32;
/// Time limit for a request head, from its first byte or the end of the previous request.
const HEAD: Duration = Duration::from_secs(30);

/// Serves one client to its end. `client` first yields the bytes that were already read from it.
pub async fn serve<C>(pass: Pass, client: C, scheme: Scheme, version: Version)
where
    C: Duplex + 'static,
{
    let upstream = Upstream::new(Rc::new(pass), scheme, version, None);
    let gate = Rc::clone(upstream.pass.gate());
    let session = Session::new(gate, scheme, version, Front::One(Rc::new(upstream)));
    session.run(client).await;
}

/// As [`serve`], with a connection to the host or the reason why there is none.
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
    /// The destination is another.
    turned: Notify,
}

/// The destinations that requests may go to.
enum Front {
    /// To the one destination that was granted.
    One(Rc<Upstream>),
    /// To the destination that each request names; the last one is kept.
    Any(RefCell<Option<Rc<Upstream>>>),
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
            turned: Notify::new(),
        })
    }

    async fn run<C: Duplex + 'static>(self: Rc<Self>, client: C) {
        let session = Rc::clone(&self);
        let service = service_fn(move |request| {
            let session = Rc::clone(&session);
            async move { Ok::<_, Infallible>(session.answer(request).await) }
        });
        let io = TokioIo::new(client);
        let _counted = admission::Session::begin(&self.gate.meter.admission);
        let limits = SessionLimits::of(&self.gate.meter.admission);
        let served = async {
            match self.version {
                Version::One => {
                    let mut server = http1::Builder::new();
                    server
                        .timer(TokioTimer::new())
                        .header_read_timeout(HEAD)
                        .max_buf_size(limits.buffer)
                        .max_header_size(limits.buffer)
                        .half_close(true)
                        .auto_date_header(false)
                        .preserve_header_case(true);
                    server.serve_connection(io, service).with_upgrades().await
                }
                Version::Two => {
                    let mut server = http2::Builder::new(Local);
                    server
                        .timer(TokioTimer::new())
                        .initial_stream_window_size(limits.stream)
                        .initial_connection_window_size(limits.connection)
                        .max_concurrent_streams(limits.streams)
                        .max_header_list_size(limits.buffer as u32)
                        .max_send_buf_size(limits.buffer)
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
                    self.note(&Refusal::Request(format!("the bytes are not HTTP: {why}")));
                }
            }
            refusal = self.ended() => self.note(&refusal),
            () = self.silence() => {
                self.note(&self.gate.idle_refusal("no bytes moved for too long"));
            }
        }
    }

    /// Completes when a change of the rules ends the connection to the present destination.
    async fn ended(&self) -> Refusal {
        loop {
            let grip = match &self.front {
                Front::One(upstream) => Some(Rc::clone(upstream.pass.grip())),
                Front::Any(last) => {
                    let last = last.borrow();
                    last.as_ref()
                        .map(|upstream| Rc::clone(upstream.pass.grip()))
                }
            };
            let ended = async {
                match grip {
                    Some(grip) => grip.ended().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                refusal = ended => return refusal,
                () = self.turned.notified() => {}
            }
        }
    }

    /// Completes when nothing moved for the idle time limit.
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

    /// Records a refusal that concerns the whole connection.
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
        let gateway = |refusal: Refusal| {
            pass.refuse(&refusal);
            Denied::gateway(refusal)
        };
        let changed = parts.status == StatusCode::SWITCHING_PROTOCOLS;
        if changed && !(change && fields::websocket(&parts.headers)) {
            let why = "the host switches to a protocol that the client did not request";
            return Err(gateway(Refusal::Answer(why)));
        }
        if mask.is_some() && !fields::is_plain(&parts.headers) && !incoming.is_end() {
            let why = "the host compresses its answer, which could hide the credential that it got";
            return Err(gateway(Refusal::Credential(why.into())));
        }
        if mask.is_some() && parts.status == StatusCode::PARTIAL_CONTENT {
            let why = "the host sends a range that the client did not request, which could cut the credential that it got";
            return Err(gateway(Refusal::Credential(why.into())));
        }
        if fields::strip(&mut parts.headers).is_err() {
            let why = "the host's answer has an unexpected Connection header";
            return Err(gateway(Refusal::Answer(why)));
        }
        // Clients ignore the reason phrase, and it may hold anything, such as a secret.
        parts.extensions.remove::<ReasonPhrase>();
        if let Some(mask) = &mask {
            fields::mask(&mut parts.headers, mask);
            // It would reveal the length of the unmasked response, even to HEAD.
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

    /// Judges a request, and refuses ambiguous ones first. Returns its framing.
    fn judge(&self, pass: &Pass, parts: &Parts) -> Result<Framing, Denied> {
        let path = path_of(&parts.uri);
        let asterisk = path == "*" && parts.method == Method::OPTIONS;
        if !path.starts_with('/') && !asterisk {
            return Err(Denied::unread("its target is not a path".into()));
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
            return Err(Denied::from(Refusal::Credential(why)));
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

    /// Rewrites the head for the host: with the target and authority as judged, and without hop-by-hop
    /// fields.
    fn rewrite(
        &self,
        parts: &mut Parts,
        authority: &Target,
        framing: Framing,
    ) -> Result<(), Denied> {
        let headers = &mut parts.headers;
        fields::strip(headers).map_err(Denied::unread)?;
        // creel's server answers `Expect` itself when it reads the body.
        headers.remove(header::EXPECT);
        let path = match parts.uri.query() {
            Some(query) => format!("{}?{query}", path_of(&parts.uri)),
            None => path_of(&parts.uri).to_owned(),
        };
        let unread = |_| Denied::unread("its target cannot be rewritten".into());
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

    /// Whether the connection is reused after a request with a body. A host that does not expect the body
    /// may parse it as a next request, which was not judged. So it is not reused if the rules grant one
    /// request and not another, or after a method that has no body of its own. HTTP/2 delimits every body.
    fn behind(&self, pass: &Pass, method: &Method) -> Behind {
        let expected = matches!(*method, Method::POST | Method::PUT | Method::PATCH);
        let alike = !pass
            .gate()
            .policy
            .now()
            .tells_requests_apart(&pass.host, pass.port);
        match self.version == Version::Two || expected && alike {
            true => Behind::Another,
            false => Behind::Nothing,
        }
    }

    /// Puts the host's secrets into the request, over TLS only. Returns the response's mask, also without
    /// TLS: the host may echo secrets on any connection.
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

/// The path as it was sent, without the query.
fn path_of(uri: &Uri) -> &str {
    uri.path_and_query().map_or("", PathAndQuery::path)
}

fn head_length(parts: &Parts) -> u64 {
    let target = parts.uri.path_and_query().map_or(0, |p| p.as_str().len());
    let line = parts.method.as_str().len() + target;
    fields::length(&parts.headers) + line as u64 + 16
}

/// A task that is aborted when its waiter is dropped.
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
