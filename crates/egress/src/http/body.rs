//! Streams message bodies: counts each chunk, never keeps a whole body, and masks secrets in responses.

use std::cell::Cell;
use std::error::Error;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::HeaderMap;
use hyper::body::{Body as HyperBody, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep};

use crate::gate::{Direction, Pass};
use crate::mask::Mask;
use crate::refusal::Refusal;

/// Time of the last activity on a client's connection.
#[derive(Debug)]
pub struct Activity(Cell<Instant>);

impl Default for Activity {
    fn default() -> Activity {
        Activity(Cell::new(Instant::now()))
    }
}

impl Activity {
    /// Sets the time of the last activity to now.
    pub fn note(&self) {
        self.0.set(Instant::now());
    }

    /// The time of the last activity.
    pub fn last(&self) -> Instant {
        self.0.get()
    }
}

/// Counts the bytes of one direction of a connection.
#[derive(Clone)]
pub struct Meter {
    /// The connection that the bytes count for.
    pub pass: Rc<Pass>,
    /// The direction of the bytes.
    pub direction: Direction,
    /// The activity of the client's connection.
    pub activity: Rc<Activity>,
}

impl Meter {
    /// Counts bytes. An error closes the connection, and is on its record already.
    pub fn count(&self, bytes: u64) -> Result<(), Refusal> {
        self.activity.note();
        let counted = self.pass.count(self.direction, bytes);
        counted.inspect_err(|refusal| self.pass.refuse(refusal))
    }

    /// Charges moved bytes to the bandwidth limit that all connections share; returns the wait before the
    /// next ones may move.
    pub fn pause(&self, bytes: usize) -> Pause {
        let wait = self.pass.rate_limit(self.direction);
        let wait = wait.map_or(Duration::ZERO, |limit| limit.reserve(bytes));
        Pause((!wait.is_zero()).then(|| Box::pin(sleep(wait))))
    }
}

/// A wait before the next bytes.
#[derive(Default)]
pub struct Pause(Option<Pin<Box<Sleep>>>);

impl Pause {
    /// Ready when the wait is over.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Some(sleep) = &mut self.0 {
            ready!(sleep.as_mut().poll(context));
            self.0 = None;
        }
        Poll::Ready(())
    }
}

/// A body of either direction.
pub enum Body {
    /// A body of creel's own.
    Own(Option<Bytes>),
    /// A body from the client or the host.
    Passing(Box<Passing>),
}

/// A body that streams through.
pub struct Passing {
    inner: Incoming,
    meter: Meter,
    mask: Option<Mask>,
    pause: Pause,
    /// Trailers, which follow the held rest of a masked body.
    trailers: Option<HeaderMap>,
    ended: bool,
}

impl Body {
    /// Streams `inner`: counts it on `meter`, and masks secrets if there is a `mask`.
    pub fn passing(inner: Incoming, meter: Meter, mask: Option<Mask>) -> Body {
        Body::Passing(Box::new(Passing {
            inner,
            meter,
            mask,
            pause: Pause::default(),
            trailers: None,
            ended: false,
        }))
    }
}

type Failure = Box<dyn Error + Send + Sync>;

impl HyperBody for Body {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        match &mut *self {
            Body::Own(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Body::Passing(body) => body.poll(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Own(text) => text.is_none(),
            Body::Passing(body) => match body.mask {
                Some(_) => body.ended && body.trailers.is_none(),
                None => body.inner.is_end_stream(),
            },
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Own(text) => SizeHint::with_exact(text.as_ref().map_or(0, |t| t.len() as u64)),
            // Masking changes the length: a placeholder is not as long as its secret.
            Body::Passing(body) if body.mask.is_some() && !body.inner.is_end_stream() => {
                SizeHint::new()
            }
            Body::Passing(body) => body.inner.size_hint(),
        }
    }
}

impl Passing {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        loop {
            if let Some(trailers) = self.trailers.take() {
                return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
            }
            if self.ended {
                return Poll::Ready(None);
            }
            ready!(self.pause.poll(context));
            let frame = match Pin::new(&mut self.inner).poll_frame(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(frame) => frame,
            };
            let frame = match frame {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                None => {
                    self.ended = true;
                    match self.rest() {
                        Some(rest) => return Poll::Ready(Some(Ok(Frame::data(rest)))),
                        None => continue,
                    }
                }
            };
            match frame.into_data() {
                Ok(data) => {
                    if let Err(refusal) = self.meter.count(data.len() as u64) {
                        return Poll::Ready(Some(Err(refusal.into())));
                    }
                    self.pause = self.meter.pause(data.len());
                    let data = match &mut self.mask {
                        Some(mask) => Bytes::from(mask.next(&data)),
                        None => data,
                    };
                    if !data.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                }
                Err(frame) => {
                    let Ok(mut trailers) = frame.into_trailers() else {
                        continue;
                    };
                    if let Err(refusal) = self.meter.count(super::fields::length(&trailers)) {
                        return Poll::Ready(Some(Err(refusal.into())));
                    }
                    if let Some(mask) = &self.mask {
                        super::fields::mask(&mut trailers, mask);
                    }
                    self.trailers = Some(trailers);
                    self.ended = true;
                    if let Some(rest) = self.rest() {
                        return Poll::Ready(Some(Ok(Frame::data(rest))));
                    }
                }
            }
        }
    }

    fn rest(&mut self) -> Option<Bytes> {
        let rest = self.mask.as_mut().map(Mask::end).unwrap_or_default();
        (!rest.is_empty()).then(|| rest.into())
    }
}
