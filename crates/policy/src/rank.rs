//! The layers by their authority.

use super::words::words;

words! {
    /// The layers, from the most authority to the least.
    Rank {
        /// `/etc/creel`: the upper bound for the machine.
        Platform = "platform",
        /// `$XDG_CONFIG_HOME/creel`.
        Operator = "operator",
        Agent = "agent",
        Renter = "renter",
        /// A file found in the workspace, written by the author of the project.
        Project = "project",
        CommandLine = "command line",
    }
}
