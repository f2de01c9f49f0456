//! Exit statuses, all of them: what a verdict says of a run and what a verb of `creel` ends with.
//!
//! | status | of | means |
//! |---|---|---|
//! | the command's own | `run` | it exited so |
//! | 128+N | `run` | signal N ended it, as in a shell |
//! | 124 | `run` | a limit of time ended it, as timeout(1) says |
//! | 125 | `run`, `doctor`, `selftest` | creel itself failed, as env(1) and docker(1) say |
//! | 126 | `run` | the command was found and may not be executed, or what it did was denied |
//! | 127 | `run` | the command was not found |
//! | 1 | every other verb | it found what it was asked to look for |
//! | 2 | `policy` | a policy or the command line is wrong |

/// A limit of time ended the command.
pub const TIME_LIMIT: u8 = 124;
/// creel itself failed.
pub const OWN_FAILURE: u8 = 125;
/// The command was found and may not be executed, or what it did was denied.
pub const NOT_EXECUTABLE: u8 = 126;
/// The command was not found.
pub const NOT_FOUND: u8 = 127;
/// What was looked for was found: a warning under `--strict`, something widened, a case that fails, a layer that
/// does not hold.
pub const FOUND: u8 = 1;
/// A policy that cannot be read, or a wrong command line, of a verb of `creel policy`: a review must not take
/// it for [`FOUND`].
pub const WRONG: u8 = 2;

/// Signal `number` ended the command.
pub fn of_signal(number: i32) -> u8 {
    128u8.saturating_add(number as u8)
}
