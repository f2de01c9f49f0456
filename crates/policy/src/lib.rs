//! The declared policy: what an operator grants, as types.
//!
//! Owns the vocabulary (grants, environment, limits, degradations), its file form ([`file`](mod@file)), its units
//! ([`units`]) and the policies that ship with creel ([`preset`]). Pure: it never looks at the machine;
//! `plan` decides what a path means there. It refuses unknown keys, wrong units and numbers that
//! overflow.
//!
//! Every value keeps its [`Origin`], so that an error, `--dry-run` and `explain` can name the file and line
//! that set it.
//!
//! ```
//! use creel_policy::{Roots, file, preset};
//!
//! let roots = Roots { home: "/home/u".into(), workspace: "/home/u/work".into() };
//! let limits = preset::limits()?;
//! let policy = file::parse("agent.toml", "[filesystem]\nread = ['~/data']\n", &limits, &roots)?;
//! assert_eq!(policy.filesystem.read[0].path, "/home/u/data");
//! let error = file::parse("agent.toml", "[filesystem]\nraed = []\n", &limits, &roots).unwrap_err();
//! assert!(error.to_string().starts_with("agent.toml:2:1: "), "{error}");
//! # Ok::<(), creel_policy::PolicyError>(())
//! ```

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

pub mod cases;
mod codes;
mod command;
pub mod compare;
mod compiled;
mod constraints;
pub mod containment;
pub mod decide;
mod degradable;
mod digest;
pub mod effective;
pub mod effective_access;
pub mod error;
mod escape;
pub mod expand;
mod fault;
pub mod file;
pub mod gitconfig;
pub mod glob;
mod grant;
mod implied_protection;
mod lattice;
pub mod layer;
mod limits;
mod lists;
mod mapping;
pub mod matcher;
pub mod native;
pub mod net;
mod origin;
pub mod path_set;
mod place;
mod policy;
pub mod preset;
mod printer;
pub mod protected_defaults;
mod quantity;
mod rank;
pub mod rights;
mod roots;
mod span;
mod spelling;
pub mod stack;
pub mod tools;
pub mod tree;
pub mod units;
mod values;
pub mod words;
pub mod write;

pub use degradable::Degradable;
pub use digest::digest;
pub use error::PolicyError;
pub use grant::{Absent, Grant, WorkspaceMode};
pub use limits::Limits;
pub use mapping::{Mapping, SYSTEM_TREES, is_place};
pub use net::host::Name;
pub use net::network::Network;
pub use origin::{Origin, Sourced};
pub use path_set::{AbsPath, PathRule};
pub use policy::{Environment, Execution, Filesystem, Policy};
pub use rights::Roots;
pub use units::{Bytes, Count, CpuShare, Percent, Span, UnitError};
