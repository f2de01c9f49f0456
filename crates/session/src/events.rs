//! Waiting for events that may not come, or cannot.

use std::os::fd::OwnedFd;
use std::pin::Pin;

use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

/// Returns then; without a deadline never.
pub async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// The end of what may not have begun.
pub async fn finished<T>(future: &mut Option<Pin<Box<dyn Future<Output = T> + '_>>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// Returns when there is something to read; where nothing can be, never.
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
