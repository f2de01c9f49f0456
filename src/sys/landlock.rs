//! Landlock (landlock(7)): a ruleset made before clone, completed and enforced after it.

use std::os::fd::BorrowedFd;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath,
    Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetStatus, Scope,
};

use super::{Errno, Result};
use crate::plan::{Node, Rights};

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
    /// Handles every right of the ABI; scopes signals and abstract sockets where it can (ABI 6).
    /// TCP ports are not handled: the jail's network namespace has nothing but loopback, where every
    /// port is the jail's own.
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

    /// For a process that only dials: no file at all, no TCP port to bind, and, from ABI 4 on, those ports
    /// alone to connect to.
    pub fn dial_only(abi: u32, ports: impl Iterator<Item = u16>) -> Result<Rules> {
        let abi = ABI::from(abi as i32);
        let mut ruleset = Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::from_all(abi))
            .map_err(errno)?;
        let net = AccessNet::from_all(abi);
        if !net.is_empty() {
            ruleset = ruleset.handle_access(net).map_err(errno)?;
        }
        let scopes = Scope::from_all(abi);
        if !scopes.is_empty() {
            ruleset = ruleset.scope(scopes).map_err(errno)?;
        }
        let mut created = ruleset.create().map_err(errno)?;
        if !net.is_empty() {
            for port in ports {
                (&mut created)
                    .add_rule(NetPort::new(port, AccessNet::ConnectTcp))
                    .map_err(errno)?;
            }
        }
        Ok(Rules { created, abi })
    }

    /// Grants `rights` beneath the open file or directory; on a file, those rights that make sense
    /// on files. Runs after clone too.
    pub fn allow(&mut self, beneath: BorrowedFd<'_>, rights: Rights, node: Node) -> Result<()> {
        let mut access = bits(rights, self.abi);
        if node == Node::File {
            access &= AccessFs::from_file(self.abi);
        }
        (&mut self.created)
            .add_rule(PathBeneath::new(beneath, access))
            .map(drop)
            .map_err(errno)
    }

    /// Enforces the ruleset on this thread, for good. Runs after clone.
    pub fn restrict_self(self) -> Result<()> {
        // Set already; asking the crate again would only cost a call.
        let status = self
            .created
            .no_new_privs(false)
            .restrict_self()
            .map_err(errno)?;
        match status.ruleset {
            RulesetStatus::FullyEnforced => Ok(()),
            // Cannot be under HardRequirement; never go on as if it were.
            _ => Err(Errno::OPNOTSUPP),
        }
    }
}

fn bits(rights: Rights, abi: ABI) -> BitFlags<AccessFs> {
    let all = AccessFs::from_all(abi);
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    // Nobody without CAP_MKNOD can make these; Landlock says so a second time.
    let devices = AccessFs::MakeChar | AccessFs::MakeBlock;
    let bits = match rights {
        Rights::List => AccessFs::ReadDir.into(),
        Rights::Read => read,
        Rights::Execute => read | AccessFs::Execute,
        Rights::Write => all & !AccessFs::Execute & !devices,
        Rights::WriteExecute => all & !devices,
        Rights::Use => read | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::IoctlDev,
    };
    bits & all
}

/// The crate's errors wrap the errno; without one, the kernel lacks what was asked.
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
