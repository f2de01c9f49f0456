//! Workspaces as transactions: a session in the mode `overlay` writes to a layer over the workspace, and its user
//! looks at the changes, commits them or discards them.
//!
//! ```text
//! STATE/creel/workspaces/NAME/upper     the changes: overlayfs's upper layer
//!                            /work      the kernel's
//!                            /denied    a whiteout for each denied name, made anew at each start
//!                            /record    the workspace, its state at the start, what was committed
//!                            /journal   a commit that has begun: it is finished by whoever comes next
//!                            /live      locked while a jail uses the layers (flock(2))
//!                            /lock      locked by a commit or a discard
//!                            /snapshots copies of upper and record, by name
//! ```
//!
//! `upper` holds what a jail wrote, so it is hostile input: every name in it is opened beneath a descriptor, no link in
//! it is followed, and only regular files, directories and links leave it. The state directory outlives a reboot.
//! `diff` and `held` decide, `stage`, `apply` and `sweep` act.

mod apply;
pub mod commit;
mod copy;
pub mod diff;
pub mod error;
mod fault;
mod files;
pub mod held;
mod record;
mod renames;
pub mod snapshot;
mod stage;
mod start;
mod sweep;
pub mod text;
mod tree;
pub mod upper;

pub use commit::{Committed, Conflicts, Protected, commit, discard};
pub use diff::{Change, Entry, Kind};
pub use error::WorkspaceError;
pub use held::Why;
pub use snapshot::Still;
pub use upper::{Changes, Live, Store};
