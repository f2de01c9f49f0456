//! WebSocket: copies and counts bytes in both directions after the upgrade.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional};

use super::body::{Activity, Meter, Pause};
use crate::gate::{Direction, Pass};
use crate::mask::Mask;
use crate::refusal::Refusal;

/// A client and a host that switch to WebSocket.
pub struct Change {
    pub client: OnUpgrade,
    pub host: OnUpgrade,
    pub pass: Rc<Pass>,
    pub activity: Rc<Activity>,
    /// Set if the host has a secret.
    pub mask: Option<Mask>,
}

impl Change {
    /// Copies until both sides are done, or a limit is reached.
    pub async fn copy(self) {
        let Ok(client) = self.client.await else {
            return;
        };
        let host = match self.host.await {
            Ok(host) => host,
            Err(error) => return self.pass.refuse(&Refusal::host_http(error.to_string())),
        };
        let meter = |direction| Meter {
            pass: Rc::clone(&self.pass),
            direction,
            activity: Rc::clone(&self.activity),
        };
        let mut host = Counted {
            inner: TokioIo::new(host),
            read: meter(Direction::In),
            written: meter(Direction::Out),
            before_read: Pause::default(),
            before_write: Pause::default(),
            mask: self.mask,
        };
        // An unclean end is no refusal, and limits are on record already.
        let _ = copy_bidirectional(&mut TokioIo::new(client), &mut host).await;
    }
}

/// The host's side; counts its bytes.
struct Counted {
    inner: TokioIo<Upgraded>,
    read: Meter,
    written: Meter,
    before_read: Pause,
    before_write: Pause,
    mask: Option<Mask>,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.before_read.poll(context));
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(context, buffer);
        let Poll::Ready(Ok(())) = polled else {
            return polled;
        };
        let new = &buffer.filled()[before..];
        self.read
            .count(new.len() as u64)
            .map_err(io::Error::other)?;
        self.before_read = self.read.pause(new.len());
        // Frames carry their length, and a placeholder's length differs from the secret's, so the secret
        // cannot be replaced.
        if let Some(mask) = &mut self.mask
            && !mask.is_clean(new)
        {
            let refusal = Refusal::Credential("the host sent a secret back over WebSocket".into());
            self.read.pass.refuse(&refusal);
            buffer.set_filled(before);
            return Poll::Ready(Err(io::Error::other(refusal)));
        }
        polled
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.before_write.poll(context));
        let polled = Pin::new(&mut self.inner).poll_write(context, bytes);
        if let Poll::Ready(Ok(written)) = polled {
            let counted = self.written.count(written as u64);
            counted.map_err(io::Error::other)?;
            self.before_write = self.written.pause(written);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
