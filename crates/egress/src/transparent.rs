//! Connections to an address, without a proxy.
//!
//! In the jail every address is local, so the accepted socket's own address is the one that the program
//! dialled. A synthetic address stands for a name, any other for itself. Loopback belongs to the jail, and
//! is never forwarded.

use std::net::SocketAddr;
use std::rc::Rc;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;

use super::Way;
use super::gate::Gate;
use super::refusal::Refusal;
use super::splice::reset;
use super::{accept, tunnel};
use creel_policy::net::Host;

/// Accepts connections on a port, forever.
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

/// The destination that a dialled address stands for. Loopback is refused.
pub fn destination(gate: &Gate, meant: SocketAddr) -> Result<Host, Refusal> {
    let host = gate.meant(meant.ip().into());
    match host {
        Host::Address(address) if address.is_loopback() => Err(Refusal::Loopback),
        host => Ok(host),
    }
}
