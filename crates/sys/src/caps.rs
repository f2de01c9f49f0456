//! Capabilities (capabilities(7)): empty in every set, and the securebits that keep them empty.

use caps::{CapSet, Capability};
use rustix::thread::{CapabilitiesSecureBits as Bits, CapabilitySet, CapabilitySets};

use super::{Errno, Result};

/// Empties ambient, bounding, inheritable, effective and permitted, and locks the securebits, in
/// the only order that works: the bounding set needs `CAP_SETPCAP`, which goes last. Runs after
/// clone, in the jail's user namespace.
pub fn drop_all() -> Result<()> {
    rustix::thread::clear_ambient_capability_set()?;
    // By number, until the kernel has no such capability: a newer kernel than this crate may have more.
    for capability in 0..64 {
        // SAFETY: prctl with integer arguments only.
        match unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) } {
            0 => {}
            _ => match Errno::from_io_error(&std::io::Error::last_os_error()) {
                Some(Errno::INVAL) => break,
                other => return Err(other.unwrap_or(Errno::IO)),
            },
        }
    }
    rustix::thread::set_capabilities_secure_bits(
        Bits::NO_ROOT
            | Bits::NO_ROOT_LOCKED
            | Bits::NO_SETUID_FIXUP
            | Bits::NO_SETUID_FIXUP_LOCKED
            | Bits::KEEP_CAPS_LOCKED
            | Bits::NO_CAP_AMBIENT_RAISE
            | Bits::NO_CAP_AMBIENT_RAISE_LOCKED,
    )?;
    rustix::thread::set_capabilities(
        None,
        CapabilitySets {
            effective: CapabilitySet::empty(),
            permitted: CapabilitySet::empty(),
            inheritable: CapabilitySet::empty(),
        },
    )
}

/// Keeps the capabilities over the next change of ids, so that [`drop_all`] can still empty the bounding set
/// and lock the securebits after it. Runs after clone.
pub fn keep_over_setuid() -> Result<()> {
    rustix::thread::set_capabilities_secure_bits(Bits::NO_SETUID_FIXUP)
}

/// Whether this process may act on the whole host: mount, map any id, make cgroups. Root of another user
/// namespace has the same capabilities and none of these rights: it is an ordinary user of the host.
pub fn privileged() -> bool {
    let all = [
        Capability::CAP_SYS_ADMIN,
        Capability::CAP_SETUID,
        Capability::CAP_SETGID,
    ]
    .into_iter()
    .all(|cap| caps::has_cap(None, CapSet::Effective, cap).unwrap_or(false));
    all && super::userns::is_initial()
}

/// Whether this process may bring up interfaces in a network namespace that it makes: a container's root with
/// CAP_SYS_ADMIN alone may not.
pub fn may_network() -> bool {
    caps::has_cap(None, CapSet::Effective, Capability::CAP_NET_ADMIN).unwrap_or(false)
}

/// The sizes of the five sets of this process: effective, permitted, inheritable, bounding,
/// ambient. For the self-test.
pub fn counts() -> Option<[usize; 5]> {
    let mut counts = [0; 5];
    let sets = [
        CapSet::Effective,
        CapSet::Permitted,
        CapSet::Inheritable,
        CapSet::Bounding,
        CapSet::Ambient,
    ];
    for (count, set) in counts.iter_mut().zip(sets) {
        *count = caps::read(None, set).ok()?.len();
    }
    Some(counts)
}
