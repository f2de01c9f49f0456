//! Connections to an address, as if there were no relay.
//!
//! In the jail every address is local, so the address that the program dialled is the accepted socket's
//! own: a synthetic one stands for a name, any other for itself. Loopback is the jail's own, and never
//! leads out.

use std::net::SocketAddr;
use std::rc::Rc;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;

use super::Way;
use super::gate::{Gate, Refusal};
use super::splice::reset;
use super::{accept, tunnel};
use creel_policy::net::Host;

/// Accepts on a port for good. The address that the program dialled is the accepted socket's own.
pub async fn serve(gate: Rc<Gate>, listener: TcpListener) {
    loop {
        let (client, _) = accept::client(&listener).await;
        let gate = Rc::clone(&gate);
        spawn_local(async move { one(gate, client).await });
    }
}

async fn one(gate: Rc<Gate>, client: TcpStream) {
    let Ok(meant) = client.local_addr() else {
        return;
    };
    let admitted = match destination(&gate, meant) {
        Ok(host) => gate.admit(Way::Transparent, host, meant.port()).await,
        Err(refusal) => {
            let said = Host::from(meant.ip()).to_string();
            gate.refuse(Way::Transparent, &said, meant.port(), &refusal);
            Err(refusal)
        }
    };
    match admitted {
        Ok(pass) => tunnel::carry(pass, client, vec![]).await,
        Err(_) => reset(client),
    }
}

/// The destination that the program meant by an address.
pub fn destination(gate: &Gate, meant: SocketAddr) -> Result<Host, Refusal> {
    let host = gate.meant(meant.ip().into());
    match host {
        Host::Address(address) if address.is_loopback() => Err(Refusal::Closed(
            "loopback is the jail's own; a server of the host's is at host.creel.internal, where a rule grants it",
        )),
        host => Ok(host),
    }
}
