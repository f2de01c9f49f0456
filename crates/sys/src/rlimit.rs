//! Resource limits, `setrlimit(2)`.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{Errno, Result};

/// `RLIMIT_CORE`: bytes of a core dump.
pub const CORE: u32 = libc::RLIMIT_CORE;
/// `RLIMIT_NOFILE`: descriptors.
pub const OPEN_FILES: u32 = libc::RLIMIT_NOFILE;

/// Sets the soft and the hard limit of a resource, by its number, but no higher than the caller's own hard
/// limit, which may not be raised (`ulimit -c 0`): a stricter limit is no breach. Runs after clone.
pub fn set(resource: u32, soft: u64, hard: u64) -> Result<()> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: writes one rlimit, which outlives the call.
    if unsafe { libc::getrlimit(resource, &raw mut limit) } != 0 {
        return Err(last());
    }
    limit.rlim_cur = soft.min(limit.rlim_max);
    limit.rlim_max = hard.min(limit.rlim_max);
    // SAFETY: reads one rlimit, which outlives the call.
    match unsafe { libc::setrlimit(resource, &raw const limit) } {
        0 => Ok(()),
        _ => Err(last()),
    }
}

/// Raises this process's soft limit of descriptors to the hard one. The soft one protects programs that use
/// select(2), which creel does not.
pub fn raise_open_files() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    // The kernel refuses a hard limit above fs.nr_open, lowered since; the caller's soft limit stays.
    let _ = setrlimit(Resource::Nofile, raised);
}

fn last() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// The caller's hard limit of descriptors: a jail cannot have more.
pub fn open_files_ceiling() -> u64 {
    getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX)
}
