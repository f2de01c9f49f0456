//! Landlock (landlock(7)): a ruleset made before clone, completed and enforced after it.

use std::collections::BTreeSet;
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
    /// Handles every right of the ABI on files, connecting to socket files among them (ABI 9): only
    /// sockets that this very ruleset's processes made, or that a rule names, can be connected to.
    /// Scopes signals and abstract sockets where it can (ABI 6). Ports are not handled, TCP's (ABI 4) and
    /// UDP's (ABI 10): the jail's network namespace has nothing but loopback, where every port is the
    /// jail's own or the relay's. ABI 8 is about several threads, and a jail begins with one.
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

    /// For a process that only dials: no file and no socket file at all; from ABI 4 on no TCP port to
    /// bind and none but `dials` to connect to; from ABI 10 on no UDP port to bind but one that the kernel
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
            // Port 0: of the kernel's choice, as a socket has that asks or connects.
            (&mut created)
                .add_rule(NetPort::new(0, AccessNet::BindUdp))
                .map_err(errno)?;
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
        if access.is_empty() {
            // This ABI does not decide it; a rule without a right is an error (ENOMSG).
            return Ok(());
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

/// TCP ports that a process may connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dials {
    /// Somebody is asked, about whatever port comes.
    Any,
    Ports(BTreeSet<u16>),
}

/// What is decided of a relay's network. Not to which UDP ports it sends: its answers go to the ports that
/// the jail's programs ask from, which are any, and a rule names one.
fn dialling(abi: ABI) -> BitFlags<AccessNet> {
    AccessNet::from_all(abi) & !AccessNet::ConnectSendUdp
}

fn bits(rights: Rights, abi: ABI) -> BitFlags<AccessFs> {
    let all = AccessFs::from_all(abi);
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    // Nobody without CAP_MKNOD can make these; Landlock says so a second time.
    let devices = AccessFs::MakeChar | AccessFs::MakeBlock;
    // A tree that is granted grants no socket in it: those of the host's daemons lie in such trees.
    let sockets = AccessFs::ResolveUnix;
    let write = all & !devices & !sockets;
    let bits = match rights {
        Rights::List => AccessFs::ReadDir.into(),
        Rights::Read => read,
        Rights::Execute => read | AccessFs::Execute,
        Rights::Write => write & !AccessFs::Execute,
        Rights::WriteExecute => write,
        Rights::Use => read | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::IoctlDev,
        Rights::Connect => sockets.into(),
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

#[cfg(test)]
mod tests {
    use super::*;

    const TREES: [Rights; 6] = [
        Rights::List,
        Rights::Read,
        Rights::Execute,
        Rights::Write,
        Rights::WriteExecute,
        Rights::Use,
    ];

    #[test]
    fn no_grant_of_a_tree_grants_its_sockets() {
        for abi in 1..=10 {
            let abi = ABI::from(abi);
            for rights in TREES {
                assert!(!bits(rights, abi).contains(AccessFs::ResolveUnix));
            }
            let named = bits(Rights::Connect, abi);
            match abi >= ABI::V9 {
                true => assert_eq!(named, AccessFs::ResolveUnix),
                false => assert!(named.is_empty()),
            }
            // The control: all else that can be written is granted.
            let devices = AccessFs::MakeChar | AccessFs::MakeBlock;
            assert_eq!(
                bits(Rights::WriteExecute, abi) | devices | named,
                AccessFs::from_all(abi)
            );
        }
    }

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
        let newest = crate::plan::resolve::NEWEST_LANDLOCK_ABI as i32;
        assert_eq!(ABI::from(newest) as i32, newest);
        assert_ne!(ABI::from(newest), ABI::from(newest - 1));
    }
}
