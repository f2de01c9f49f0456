//! Egress: decides on a jail's connections by host name, dials them and relays them, outside of the jail.
//!
//! Inside the jail every address is local (one local default route). The relay, one process outside, serves
//! the jail's listening sockets: DNS on port 53, each granted port, the explicit proxies. It has no
//! filesystem, no capability, and only the system calls that it needs.
//!
//! ```text
//! dns ────── names (one synthetic address per name)
//!                │
//! transparent ───┤                        ┌── splice (bytes)
//! connect ───────┼── gate (decide, ask, ──┼── http (requests judged one by one)
//! socks ─────────┤    count, record)      └── tls (terminated, if a rule says so)
//! absolute ──────┘        │
//!                     resolve, dial (outside)
//! ```
//!
//! Every [`Way`] uses the same [`gate`], which uses the same [`policy::net`](creel_policy::net). A name is
//! made canonical once, where it enters. The relay forwards exactly what it judged.

#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::dbg_macro
    )
)]

pub mod accept;
pub mod admission;
pub mod authority;
pub mod beyond;
pub mod change;
pub mod client_hello;
pub mod connect;
pub mod credential;
pub mod dial;
pub mod dns;
pub mod gate;
pub mod http;
pub mod log;
pub mod mask;
pub mod names;
pub mod open;
pub mod protocol;
pub mod protocol_detect;
pub mod publish;
pub mod rate_limit;
pub mod reason;
pub mod record;
pub mod refusal;
pub mod relay;
pub mod reply;
pub mod request_head;
pub mod resolve;
pub mod rewind;
pub mod socks;
pub mod splice;
pub mod summary;
pub mod target;
pub mod tls;
pub mod transparent;
pub mod tunnel;
pub mod udp;
pub mod udp_queue;
pub mod windows;

use serde::{Deserialize, Serialize};

use creel_policy::net::decide::Transport;

/// How a destination was requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// A DNS query.
    Dns,
    /// A connection to an address, without a proxy.
    Transparent,
    /// HTTP CONNECT.
    Connect,
    /// A request to an HTTP proxy with the whole URL in its first line.
    Absolute,
    /// The SOCKS5 proxy.
    Socks5,
    /// A datagram, without a proxy.
    Udp,
    /// A connection into the jail, through a published port.
    Published,
}

impl Way {
    /// The transport protocol of the destination. DNS queries and published ports count as TCP.
    pub fn transport(self) -> Transport {
        match self {
            Way::Udp => Transport::Udp,
            _ => Transport::Tcp,
        }
    }
}

#[cfg(test)]
mod outside;
#[cfg(test)]
mod pinning;
