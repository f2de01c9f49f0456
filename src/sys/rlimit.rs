//! Resource limits, `setrlimit(2)`.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::Result;
use crate::plan::Resource as Kind;

/// Sets the soft and the hard limit, or the caller's own hard limit where that is lower already and
/// may not be raised (`ulimit -c 0`): a stricter limit is no breach. Runs after clone.
pub fn set(kind: Kind, soft: u64, hard: u64) -> Result<()> {
    let resource = match kind {
        Kind::Cpu => Resource::Cpu,
        Kind::FileSize => Resource::Fsize,
        Kind::OpenFiles => Resource::Nofile,
        Kind::Core => Resource::Core,
        Kind::MemLock => Resource::Memlock,
        Kind::Processes => Resource::Nproc,
        Kind::Nice => Resource::Nice,
        Kind::RealTime => Resource::Rtprio,
        Kind::MessageQueue => return set_unnamed(libc::RLIMIT_MSGQUEUE, soft, hard),
        Kind::PendingSignals => return set_unnamed(libc::RLIMIT_SIGPENDING, soft, hard),
    };
    let (soft, hard) = match getrlimit(resource).maximum {
        Some(ceiling) => (soft.min(ceiling), hard.min(ceiling)),
        None => (soft, hard),
    };
    setrlimit(
        resource,
        Rlimit {
            current: Some(soft),
            maximum: Some(hard),
        },
    )
}

/// As [`set`], for those that rustix has no name for.
fn set_unnamed(resource: libc::__rlimit_resource_t, soft: u64, hard: u64) -> Result<()> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: writes one rlimit, which outlives the call.
    if unsafe { libc::getrlimit(resource, &raw mut limit) } != 0 {
        return Err(super::Errno::INVAL);
    }
    limit.rlim_cur = soft.min(limit.rlim_max);
    limit.rlim_max = hard.min(limit.rlim_max);
    // SAFETY: reads one rlimit, which outlives the call.
    match unsafe { libc::setrlimit(resource, &raw const limit) } {
        0 => Ok(()),
        _ => Err(super::Errno::PERM),
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
    // A hard limit above fs.nr_open, which was lowered since, is refused; the caller's soft limit stays.
    let _ = setrlimit(Resource::Nofile, raised);
}

/// The caller's hard limit of descriptors: a jail cannot have more.
pub fn open_files_ceiling() -> u64 {
    rustix::process::getrlimit(Resource::Nofile)
        .maximum
        .unwrap_or(u64::MAX)
}
