//! A jail's network: the canonical form of a host, the rules for destinations, and the single decision
//! that every egress uses. Pure: it neither resolves nor dials.
//!
//! Layers only narrow. Each layer that sets destinations adds a [`List`], and a destination must be on
//! every list; denials of every layer apply. So the meet of two layers is the union of their lists and of
//! their denials, and never wider than either.

pub mod changes;
pub mod credential;
pub mod decide;
pub mod fault;
pub mod host;
pub mod http;
pub mod limits;
pub mod meet;
pub mod network;
pub mod range;
pub mod rule;
mod spoken;
pub mod why;

pub use changes::{Changes, Wish};
pub use credential::{Credential, Secret};
pub use decide::Answer;
pub use fault::{NetworkFault, RuleError};
pub use host::{HOST, Host, HostError, Name};
pub use http::Http;
pub use limits::Limits;
pub use meet::{Bounds, Said};
pub use network::{List, Mode, Network, OnMiss};
pub use range::{Range, special};
pub use rule::{Protocol, Rule, Tls, To};
pub use why::{Why, WhySpoken};
