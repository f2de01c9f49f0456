//! All exit statuses: those of a run in its verdict, and those of the verbs of `creel`.
//!
//! | status | verb | meaning |
//! |---|---|---|
//! | the command's own | `run` | it exited with this status |
//! | 128+N | `run` | signal N ended it, as in a shell |
//! | 124 | `run` | a time limit ended it, as in timeout(1) |
//! | 125 | `run`, `doctor`, `selftest` | creel itself failed, as in env(1) and docker(1) |
//! | 126 | `run` | the command was found and may not be executed, or its action was denied |
//! | 127 | `run` | the command was not found |
//! | 1 | every other verb | it found what it was asked to look for; `create`: --mode leaves the key on the host |
//! | 2 | `policy` | a policy or the command line is wrong |

/// A time limit ended the command.
pub const TIME_LIMIT: u8 = 124;
/// creel itself failed.
pub const OWN_FAILURE: u8 = 125;
/// The command was found and may not be executed, or its action was denied.
pub const NOT_EXECUTABLE: u8 = 126;
/// The command was not found.
pub const NOT_FOUND: u8 = 127;
/// A verb found what it looks for: a warning under `--strict`, a widened rule, a case that fails, a layer
/// that does not hold.
pub const FOUND: u8 = 1;
/// A policy that cannot be read, or a wrong command line, of a verb of `creel policy`: a review must not
/// mistake it for [`FOUND`].
pub const WRONG: u8 = 2;

/// Signal `number` ended the command.
pub fn of_signal(number: i32) -> u8 {
    128u8.saturating_add(number as u8)
}
