//! The flags that choose policies, shared by all verbs that read layers.

use std::path::PathBuf;

use clap::ValueHint;

use creel_session::layers::Named;

/// The policies of a run
#[derive(clap::Args, Debug, Clone, Default)]
pub struct PolicyArgs {
    /// Policy file, or name of a shipped policy; further ones narrow the first
    #[arg(long, value_name = "FILE|NAME", value_hint = ValueHint::FilePath)]
    pub policy: Vec<PathBuf>,

    /// Also apply this agent's layer, from the operator's directory
    #[arg(long, value_name = "NAME")]
    pub agent: Option<String>,

    /// Also apply a renter's layer, from this file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub renter: Option<PathBuf>,

    /// Ignore the workspace's own `.creel/policy.*`
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
