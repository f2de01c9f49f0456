//! Sessions: jails that stay, each with a keeper, the process that owns it.
//!
//! ```text
//! creel create ── fork ──▶ keeper ── clone3 ──▶ pid 1 of the jail
//!                            ▲                      │ vfork, one for each command
//! creel exec ── socket ──────┘                      ▼
//!   its own streams, terminal, signals           the command
//! ```
//!
//! No central process exists: a keeper that dies takes its own session along and nothing else. A session is found
//! by its name in the [`store`], a directory of the caller's alone; that it lives is a lock that its keeper holds.

pub mod client;
mod error;
pub mod files;
mod inside;
mod keeper;
mod net;
mod one;
mod record;
mod serve;
mod session;
pub mod store;
pub mod wire;

pub use error::SessionError;
pub use keeper::{KeepError, Settings, keep};
pub use record::{Record, now};
pub use session::Lines;
