//! The limits on a jail's connections: a row for each key of `[network.limits]`.

use crate::file::form::section;
use crate::limits::bounds;
use crate::origin::Sourced;
use crate::units::{Bytes, Count, Span};

section! {
    /// Limits on all connections of a jail together; `None` means no limit but the machine's.
    pub struct Limits: plain "network.limits", "in [network.limits]" {
        /// Open connections.
        connections: Option<Sourced<Count>> = Count,
        /// New connections per second.
        rate: Option<Sourced<Count>> = Count,
        /// From the network to the jail, in the whole run.
        bytes_in: Option<Sourced<Bytes>> = Bytes,
        /// From the jail to the network.
        bytes_out: Option<Sourced<Bytes>> = Bytes,
        /// Bytes per second, for each direction separately.
        bandwidth: Option<Sourced<Bytes>> = Bytes,
        /// A connection without traffic is closed after this time; creel's own default is 10 min.
        idle: Option<Sourced<Span>> = Span,
    }
}

bounds!(Limits, "network.limits.", connections rate bytes_in bytes_out bandwidth idle);
