//! The HTTP proxy: CONNECT and requests in absolute form.

use std::rc::Rc;

use tokio::net::TcpListener;

use super::gate::Gate;

/// Accepts for good.
pub async fn serve(_gate: Rc<Gate>, _listener: TcpListener) {}
