//! Why the rules refuse a destination, a protocol or a request. The texts are for people, the codes and
//! the rules are for programs.

use crate::origin::Origin;

/// Why a destination is denied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// The mode is `none`.
    #[error("there is no network")]
    NoNetwork,
    /// The denial at this place covers it.
    #[error("denied by {0}")]
    Denied(Origin),
    /// A list does not contain it.
    #[error("no rule allows it")]
    Unlisted,
    /// The address is of this special kind, and a list has no range of that kind.
    #[error("the address is {0}, and {UNNAMED}")]
    Special(&'static str),
    /// The host's own loopback, which a list does not name.
    #[error("it is the host's loopback; only a rule with exactly this name and port allows it")]
    Host,
}

/// Why a special address is refused, and what grants it.
pub const UNNAMED: &str = "no rule names its range; name the address or a range of it under `network.allow`, or with --allow-net ADDRESS[:PORT]";

crate::codes!(Why {
    Self::NoNetwork => "net-no-network",
    Self::Denied(_) => "net-denied",
    Self::Unlisted => "net-unlisted",
    Self::Special(_) => "net-special-address",
    Self::Host => "net-host-loopback",
});

impl Why {
    /// The rule that denies it; `None` if no rule is about it.
    pub fn rule(&self) -> Option<&Origin> {
        match self {
            Why::Denied(rule) => Some(rule),
            Why::NoNetwork | Why::Unlisted | Why::Special(_) | Why::Host => None,
        }
    }
}

/// Why a protocol or a request is denied at a destination.
///
/// `rule` is the most specific rule of a list that does not grant it, which a change would have to widen;
/// `None` if the list has no rule for the destination.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WhySpoken {
    /// The destination itself is denied.
    #[error("{0}")]
    Destination(Why),
    /// The rule grants paths, and servers may read this one in different ways.
    #[error("the path {flaw}, which servers read in different ways")]
    AmbiguousPath {
        /// The part of the path that servers read differently; continues the sentence after `the path`.
        flaw: &'static str,
        /// The rule that grants paths.
        rule: Origin,
    },
    /// The rules of the destination grant HTTP requests, or plain connections of another kind.
    #[error("no rule allows TLS there")]
    Tls {
        /// See the enum.
        rule: Option<Origin>,
    },
    /// The rules of the destination grant other methods or paths.
    #[error("no rule allows this {} there", short(method))]
    Request {
        /// The method of the request, as sent.
        method: String,
        /// See the enum.
        rule: Option<Origin>,
    },
    /// Neither TLS nor HTTP.
    #[error("no rule allows anything but TLS or HTTP there")]
    Protocol {
        /// See the enum.
        rule: Option<Origin>,
    },
}

crate::codes!(WhySpoken {
    Self::AmbiguousPath { .. } => "net-ambiguous-path",
    Self::Tls { .. } => "net-tls",
    Self::Request { .. } => "net-request",
    Self::Protocol { .. } => "net-protocol",
} else {
    Self::Destination(why) => why.code(),
});

impl WhySpoken {
    /// The rule that denies it, or that a change would have to widen; `None` if no rule is about it.
    pub fn rule(&self) -> Option<&Origin> {
        match self {
            WhySpoken::Destination(why) => why.rule(),
            WhySpoken::AmbiguousPath { rule, .. } => Some(rule),
            WhySpoken::Tls { rule }
            | WhySpoken::Request { rule, .. }
            | WhySpoken::Protocol { rule } => rule.as_ref(),
        }
    }
}

fn short(method: &str) -> &str {
    if method.len() > 16 { "request" } else { method }
}
