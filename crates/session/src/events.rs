//! Waiting for events that may never come.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;

use tokio::io::unix::AsyncFd;
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

/// Returns at the deadline; never without one.
pub async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Awaits the future; never returns if there is no future.
pub async fn finished<T>(future: &mut Option<Pin<Box<dyn Future<Output = T> + '_>>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// Returns when the descriptor is readable; never if there is no descriptor.
pub async fn ready_or_never(event: Option<&AsyncFd<OwnedFd>>) {
    match event {
        Some(event) => {
            if let Ok(mut guard) = event.readable().await {
                guard.clear_ready();
            }
        }
        None => std::future::pending().await,
    }
}

/// Descriptors of an event loop with signals: epoll, its waker, and a pair with a copy for the signals.
const OF_A_LOOP: usize = 6;

/// Makes the event loop of this thread. tokio panics if no descriptor is left for its signals, so they are counted
/// before: `EMFILE`.
pub fn runtime() -> io::Result<Runtime> {
    let (one, other) = creel_sys::socket::pair()?;
    let spare = (2..OF_A_LOOP).map(|_| one.try_clone());
    drop(spare.collect::<io::Result<Vec<OwnedFd>>>()?);
    drop((one, other));
    Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
}
