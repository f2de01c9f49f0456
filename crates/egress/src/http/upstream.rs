//! The host's side of a client's connection, in the client's HTTP version. It is dialled when the first
//! request is allowed, and again if the host closes it between requests.

use std::cell::RefCell;
use std::rc::Rc;

use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Mutex;

use super::body::Body;
use super::version::{Duplex, Local, Scheme, Version};
use crate::admission::SessionLimits;
use crate::gate::Pass;
use crate::refusal::Refusal;
use crate::tls::client;

/// One destination of a client.
pub struct Upstream {
    pub pass: Rc<Pass>,
    scheme: Scheme,
    version: Version,
    sender: RefCell<Option<Sender>>,
    /// A connection dialled before the first request, or why it could not be.
    first: RefCell<Option<Result<Box<dyn Duplex>, Refusal>>>,
    /// Concurrent requests wait for one dial.
    dialling: Mutex<()>,
}

enum Sender {
    One(http1::SendRequest<Body>),
    Two(http2::SendRequest<Body>),
}

/// Whether the host's connection may carry more requests after this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behind {
    /// It may carry another.
    Another,
    /// It carries nothing more.
    Nothing,
}

/// Whether a connection has carried a request before.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Age {
    Fresh,
    Used,
}

impl Upstream {
    pub fn new(
        pass: Rc<Pass>,
        scheme: Scheme,
        version: Version,
        first: Option<Result<Box<dyn Duplex>, Refusal>>,
    ) -> Upstream {
        Upstream {
            pass,
            scheme,
            version,
            sender: RefCell::default(),
            first: RefCell::new(first),
            dialling: Mutex::default(),
        }
    }

    /// Sends a request. A request that was not sent because the host had closed a used connection is sent
    /// again on another; a failure on a new connection is an error.
    pub async fn send(
        &self,
        mut request: Request<Body>,
        behind: Behind,
    ) -> Result<Response<Incoming>, Refusal> {
        loop {
            let (mut sender, age) = self.sender().await?;
            let sent = match &mut sender {
                Sender::One(sender) => sender.try_send_request(request).await,
                Sender::Two(sender) => sender.try_send_request(request).await,
            };
            let mut error = match sent {
                Ok(response) => {
                    if let (Sender::One(_), Behind::Another) = (&sender, behind) {
                        *self.sender.borrow_mut() = Some(sender);
                    }
                    return Ok(response);
                }
                Err(error) => error,
            };
            match (error.take_message(), age) {
                (Some(back), Age::Used) => request = back,
                _ => return Err(Refusal::host_http(cause(&error.into_error()))),
            }
        }
    }

    async fn sender(&self) -> Result<(Sender, Age), Refusal> {
        let _alone = self.dialling.lock().await;
        let kept = match (self.sender.take(), self.version) {
            // An HTTP/1 connection has one request at a time, so no other request has the sender.
            (Some(Sender::One(mut sender)), _) => {
                sender.ready().await.is_ok().then_some(Sender::One(sender))
            }
            (Some(Sender::Two(mut sender)), _) => {
                let ready = sender.ready().await.is_ok();
                ready.then(|| {
                    *self.sender.borrow_mut() = Some(Sender::Two(sender.clone()));
                    Sender::Two(sender)
                })
            }
            (None, _) => None,
        };
        if let Some(sender) = kept {
            return Ok((sender, Age::Used));
        }
        let first = self.first.take();
        let stream = match first {
            Some(first) => first?,
            None => self.dial().await?,
        };
        let sender = self.begin(stream).await;
        let sender = sender.map_err(|error| Refusal::host_http(cause(&error)))?;
        if let Sender::Two(sender) = &sender {
            *self.sender.borrow_mut() = Some(Sender::Two(sender.clone()));
        }
        Ok((sender, Age::Fresh))
    }

    async fn dial(&self) -> Result<Box<dyn Duplex>, Refusal> {
        match self.scheme {
            Scheme::Http => Ok(Box::new(self.pass.dial().await?)),
            Scheme::Https => {
                let (stream, _) = client::begin(&self.pass, &[self.version]).await?;
                Ok(stream)
            }
        }
    }

    async fn begin(&self, stream: Box<dyn Duplex>) -> Result<Sender, hyper::Error> {
        let io = TokioIo::new(stream);
        let limits = SessionLimits::of(&self.pass.gate().meter.admission);
        Ok(match self.version {
            Version::One => {
                let (sender, connection) = http1::Builder::new()
                    .max_buf_size(limits.buffer)
                    .max_header_size(limits.buffer)
                    .preserve_header_case(true)
                    .handshake(io)
                    .await?;
                // The task ends when the sender is dropped and the last response was read.
                spawn(&self.pass, connection.with_upgrades());
                Sender::One(sender)
            }
            Version::Two => {
                let (sender, connection) = http2::Builder::new(Local)
                    .timer(TokioTimer::new())
                    .initial_stream_window_size(limits.stream)
                    .initial_connection_window_size(limits.connection)
                    .max_header_list_size(limits.buffer as u32)
                    .max_send_buf_size(limits.buffer)
                    .handshake(io)
                    .await?;
                spawn(&self.pass, connection);
                Sender::Two(sender)
            }
        })
    }
}

/// Drives a connection to its end, or to that of its permission.
fn spawn(pass: &Pass, connection: impl Future<Output = hyper::Result<()>> + 'static) {
    let grip = Rc::clone(pass.grip());
    tokio::task::spawn_local(async move {
        tokio::select! {
            _ = connection => {}
            _ = grip.ended() => {}
        }
    });
}

/// The text of a hyper error, with its causes.
pub fn cause(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
