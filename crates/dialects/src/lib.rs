//! Tools for policies: [`import`] converts policies of other programs, [`lint`] warns of lines that are
//! dangerous, useless or misleading.
//!
//! ```
//! use creel_dialects::import::{Dialect, detect};
//!
//! let text = r#"{"permissions": {"deny": ["Read(/srv/keys/**)"]}}"#;
//! assert_eq!(detect("settings.json", text), Some(Dialect::Claude));
//! ```
//!
//! Pure: a file's text and values in, values out.

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

pub mod import;
pub mod lint;
