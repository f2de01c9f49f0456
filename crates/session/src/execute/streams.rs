//! Checks of the caller's streams, which the command gets.

use super::error::ExecuteError;
use creel_sys::{fd, startup};

/// Refuses a closed stdout or stderr, and a directory as stdin. Landlock restricts neither fchdir(2) nor
/// chmod(2) nor stat(2), so a directory's descriptor would lead the command over the host.
pub fn check() -> Result<(), ExecuteError> {
    for (number, name) in [(1, "stdout"), (2, "stderr")] {
        if startup::was_closed(number) {
            return Err(ExecuteError::ClosedStream { name });
        }
    }
    let is_directory =
        |stat: fd::Stat| matches!(stat.kind, fd::Kind::Directory | fd::Kind::Placeholder);
    match !startup::was_closed(0) && fd::stat(fd::fixed(0)).is_ok_and(is_directory) {
        true => Err(ExecuteError::DirectoryOnStdin),
        false => Ok(()),
    }
}
