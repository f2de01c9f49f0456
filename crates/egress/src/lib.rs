//! Egress: the relay decides, dials and forwards a jail's connections by host name, outside the jail.
//!
//! Inside the jail every address is local (one local default route), and this side has the listening
//! sockets: DNS on 53, each granted port, the explicit proxies. One process, the relay, serves them;
//! it has no filesystem, no capability, and only the system calls that it needs.
//!
//! ```text
//! dns ────── names (one synthetic address a name)
//!                │
//! transparent ───┤                        ┌── splice (bytes)
//! connect ───────┼── gate (decide, ask, ──┼── http (requests judged one by one)
//! socks ─────────┤    count, record)      └── tls (ended, where a rule says so)
//! absolute ──────┘        │
//!                     resolve, dial (outside)
//! ```
//!
//! Every protocol asks the same [`gate`], which asks the same [`policy::net`](creel_policy::net). A name becomes
//! canonical once, when it arrives. The relay forwards exactly the bytes that it checked.

#![forbid(unsafe_code)]
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
pub mod authority;
pub mod connect;
pub mod credential;
pub mod dial;
pub mod dns;
pub mod first;
pub mod gate;
pub mod head;
pub mod hello;
pub mod http;
pub mod lobby;
pub mod log;
pub mod mask;
pub mod names;
pub mod pace;
pub mod prefixed;
pub mod publish;
pub mod queue;
pub mod record;
pub mod relay;
pub mod reply;
pub mod resolve;
pub mod socks;
pub mod splice;
pub mod target;
pub mod tls;
pub mod transparent;
pub mod tunnel;
pub mod udp;
pub mod windows;
pub mod wire;

use serde::Serialize;

use creel_policy::net::judge::Transport;

/// How a destination was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// A question to the resolver.
    Dns,
    /// A connection to an address, as if there were no relay.
    Transparent,
    /// HTTP CONNECT.
    Connect,
    /// A request to an HTTP proxy with the whole URL in its first line.
    Absolute,
    Socks5,
    Udp,
    /// Into the jail, by a published port.
    Published,
}

impl Way {
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
