//! Landlock (landlock(7)): a ruleset made before clone, completed and enforced after it.

use std::collections::BTreeSet;
use std::os::fd::BorrowedFd;

pub use landlock::{ABI, Access, AccessFs, BitFlags};
use landlock::{
    AccessNet, CompatLevel, Compatible, NetPort, PathBeneath, Ruleset, RulesetAttr, RulesetCreated,
    RulesetCreatedAttr, RulesetStatus, Scope,
};

use super::{Errno, Result};

/// The newest ABI whose rights are known here.
pub const NEWEST: u32 = 10;

/// The ABI of the running kernel; 0 where there is no Landlock, whatever the reason
/// (landlock_create_ruleset(2), `LANDLOCK_CREATE_RULESET_VERSION`).
pub fn abi() -> u32 {
    // SAFETY: the version query takes no pointer.
    let version = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, 0usize, 0usize, 1u32) };
    u32::try_from(version).unwrap_or(0)
}

/// A ruleset under construction.
pub struct Rules {
    created: RulesetCreated,
    abi: ABI,
}

impl Rules {
    /// Handles every right of the ABI on files, including connecting to socket files (ABI 9): only sockets
    /// that processes under this ruleset made, or that a rule names, can be connected to. Scopes signals and
    /// abstract sockets if possible (ABI 6). TCP ports (ABI 4) and UDP ports (ABI 10) are not handled: the
    /// jail's network namespace has only loopback, where every port is the jail's own or the relay's. ABI 8
    /// is about several threads, and a jail begins with one.
    pub fn new(abi: u32) -> Result<Rules> {
        let abi = ABI::from(abi as i32);
        let ruleset = Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::from_all(abi))
            .map_err(errno)?;
        let scopes = Scope::from_all(abi);
        let ruleset = if scopes.is_empty() {
            ruleset
        } else {
            ruleset.scope(scopes).map_err(errno)?
        };
        Ok(Rules {
            created: ruleset.create().map_err(errno)?,
            abi,
        })
    }

    /// For a process that only connects: no access to files or socket files; from ABI 4 on no TCP port to
    /// bind, and only `dials` to connect to; from ABI 10 on no UDP port to bind except one that the kernel
    /// picks.
    pub fn dial_only(abi: u32, dials: &Dials) -> Result<Rules> {
        let abi = ABI::from(abi as i32);
        let mut ruleset = Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::from_all(abi))
            .map_err(errno)?;
        let net = match dials {
            Dials::Any => dialling(abi) & !AccessNet::ConnectTcp,
            Dials::Ports(_) => dialling(abi),
        };
        if !net.is_empty() {
            ruleset = ruleset.handle_access(net).map_err(errno)?;
        }
        let scopes = Scope::from_all(abi);
        if !scopes.is_empty() {
            ruleset = ruleset.scope(scopes).map_err(errno)?;
        }
        let mut created = ruleset.create().map_err(errno)?;
        if let (Dials::Ports(ports), true) = (dials, net.contains(AccessNet::ConnectTcp)) {
            for port in ports {
                (&mut created)
                    .add_rule(NetPort::new(*port, AccessNet::ConnectTcp))
                    .map_err(errno)?;
            }
        }
        if net.contains(AccessNet::BindUdp) {
            // Port 0 is the kernel's choice, which a socket gets that sends or connects without a bind.
            (&mut created)
                .add_rule(NetPort::new(0, AccessNet::BindUdp))
                .map_err(errno)?;
        }
        Ok(Rules { created, abi })
    }

    /// The ABI that the ruleset was made for, which determines the rights that it handles.
    pub fn abi(&self) -> ABI {
        self.abi
    }

    /// Grants `access` beneath the open file or directory. Empty access adds no rule, because the kernel
    /// refuses one (ENOMSG). Runs after clone too.
    pub fn allow(&mut self, beneath: BorrowedFd<'_>, access: BitFlags<AccessFs>) -> Result<()> {
        if access.is_empty() {
            return Ok(());
        }
        (&mut self.created)
            .add_rule(PathBeneath::new(beneath, access))
            .map(drop)
            .map_err(errno)
    }

    /// Enforces the ruleset on this thread, for good. Runs after clone.
    pub fn restrict_self(self) -> Result<()> {
        // no_new_privs is set already; setting it again would only cost a call.
        let status = self
            .created
            .no_new_privs(false)
            .restrict_self()
            .map_err(errno)?;
        match status.ruleset {
            RulesetStatus::FullyEnforced => Ok(()),
            // Cannot happen under HardRequirement, and must never be taken for enforced.
            _ => Err(Errno::OPNOTSUPP),
        }
    }
}

/// TCP ports that a process may connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dials {
    /// Any port, because the policy asks about those that no list has.
    Any,
    /// These ports only.
    Ports(BTreeSet<u16>),
}

/// The network rights that a relay's ruleset handles. Sending to UDP ports is not among them: replies go to
/// the ports that the jail's programs send from, which are any, and a rule names one.
fn dialling(abi: ABI) -> BitFlags<AccessNet> {
    AccessNet::from_all(abi) & !AccessNet::ConnectSendUdp
}

/// The crate's errors wrap the errno; without one, the kernel lacks what was requested.
fn errno(error: landlock::RulesetError) -> Errno {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(e) = source {
        if let Some(io) = e.downcast_ref::<std::io::Error>() {
            return Errno::from_io_error(io).unwrap_or(Errno::IO);
        }
        source = e.source();
    }
    Errno::OPNOTSUPP
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_answers_at_any_udp_port_and_binds_none() {
        let tcp = AccessNet::BindTcp | AccessNet::ConnectTcp;
        for (abi, decided) in [
            (3, BitFlags::EMPTY),
            (4, tcp),
            (9, tcp),
            (10, tcp | AccessNet::BindUdp),
        ] {
            assert_eq!(dialling(ABI::from(abi)), decided, "ABI {abi}");
        }
    }

    #[test]
    fn the_crate_knows_the_newest_abi() {
        let newest = NEWEST as i32;
        assert_eq!(ABI::from(newest) as i32, newest);
        assert_ne!(ABI::from(newest), ABI::from(newest - 1));
    }
}
