//! The layers of a jail that may be missing, if the policy allows it.

use super::words::words;

words! {
    /// Layers that a policy or `--allow-degraded` may allow to be missing. All others are mandatory.
    Degradable {
        /// Memory, cpu and pids limits by cgroup.
        Cgroup = "cgroup",
        /// A kernel without Landlock.
        Landlock = "landlock",
        /// A filesystem without idmapped mounts (privileged runs only).
        Idmap = "idmap",
    }
}
