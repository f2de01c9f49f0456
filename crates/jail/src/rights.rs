//! Converts access to a tree into Landlock rights (landlock(7)) and mount attributes.

use creel_plan::{Access, Code, Node, Rights};
use creel_sys::landlock::{ABI, Access as _, AccessFs, BitFlags};
use creel_sys::mount;

/// The Landlock rights that the ABI has; for a file, those that apply to files. Also runs after clone.
pub fn access(rights: Rights, node: Node, abi: ABI) -> BitFlags<AccessFs> {
    match node {
        Node::Directory => bits(rights, abi),
        Node::File => bits(rights, abi) & AccessFs::from_file(abi),
    }
}

/// Mount attributes of a granted tree; set-user-ID never works in a jail.
pub fn attributes(access: Access) -> u64 {
    let write = if access.write { 0 } else { mount::RDONLY };
    let exec = match access.code {
        Code::Data => mount::NOEXEC,
        Code::Load | Code::Execute => 0,
    };
    mount::NOSUID | write | exec
}

fn bits(rights: Rights, abi: ABI) -> BitFlags<AccessFs> {
    let all = AccessFs::from_all(abi);
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    // Making these needs CAP_MKNOD; Landlock forbids it a second time.
    let devices = AccessFs::MakeChar | AccessFs::MakeBlock;
    // A granted tree grants no socket in it: sockets of the host's daemons lie in such trees.
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
    fn the_newest_abi_of_plans_is_the_one_that_is_known() {
        assert_eq!(
            creel_plan::resolve::NEWEST_LANDLOCK_ABI,
            creel_sys::landlock::NEWEST
        );
    }
}
