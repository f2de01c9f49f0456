//! Which policies: the flags that every verb has which reads layers.

use std::path::PathBuf;

use clap::ValueHint;

use creel_session::layers::Named;

/// Which policy
#[derive(clap::Args, Debug, Clone, Default)]
pub struct PolicyArgs {
    /// The policy: a file, or the name of a shipped one; each further one narrows the first
    #[arg(long, value_name = "FILE|NAME", value_hint = ValueHint::FilePath)]
    pub policy: Vec<PathBuf>,

    /// Also the layer of this agent, from the operator's directory
    #[arg(long, value_name = "NAME")]
    pub agent: Option<String>,

    /// Also the layer of a renter, from this file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub renter: Option<PathBuf>,

    /// Leave the workspace's own `.creel/policy.*` aside
    #[arg(long)]
    pub no_project: bool,

    /// Read no layer at all: the default preset is the policy
    #[arg(skip)]
    pub none: bool,
}

impl PolicyArgs {
    pub fn named(&self) -> Named {
        Named {
            policies: self.policy.clone(),
            agent: self.agent.clone(),
            renter: self.renter.clone(),
            no_project: self.no_project,
            none: self.none,
        }
    }
}
