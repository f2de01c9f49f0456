//! The self-test: does a jail hold, on this kernel, for this user?
//!
//! ```text
//! outer: plant canaries on the host ─▶ resolve a plan ─▶ (weaken one layer) ─▶ jail ─▶ judge ─▶ report
//! inner:                                    one attempt after another, each in a process of its own
//! ```
//!
//! The [`rows`] are data: each names the attempt, the layers that stop it, their answers, and why it matters.
//! Every attempt is its own negative control: [`weaken`] takes one layer out of the plan, and an attempt that
//! only this layer stops must then get through. A suite that cannot fail proves nothing.
//!
//! Every attempt is harmless if it succeeds: it reads a canary, asks for nothing twice, or passes arguments
//! that the kernel refuses first for permission and then as invalid. Only this module can weaken a plan;
//! `creel run` cannot.

pub mod attempt;
pub mod error;
pub mod facts;
pub mod inside;
pub mod layer;
pub mod outer;
pub mod plant;
pub mod report;
pub mod rows;
pub mod score;
pub mod scratch;
pub mod spend;
pub mod weaken;

pub use error::SelftestError;
pub use layer::Layer;
pub use outer::{Options, run};
pub use report::Report;
