//! The JSON of a [`Plan`], as `--dry-run --json` prints it and as input of the digest: one list of acts in
//! the order in which they happen, and one object with the watched limits.
//!
//! A [`JailPlan`] and a [`CommandPlan`] by themselves are serialised as their types are.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::order::{self, OrderError};
use super::{Act, CommandPlan, CommandWatch, JailPlan, JailWatch, Layer, Plan, PolicyRef};
use super::{Terminal, lossless};

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Form {
    policy: PolicyRef,
    acts: Vec<Act>,
    command: Command,
    watch: Watch,
    layers: Vec<Layer>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Command {
    #[serde(with = "lossless::list")]
    argv: Vec<Vec<u8>>,
    #[serde(with = "lossless::list")]
    candidates: Vec<Vec<u8>>,
    #[serde(with = "lossless::map")]
    environment: BTreeMap<Vec<u8>, Vec<u8>>,
    #[serde(with = "lossless")]
    workdir: PathBuf,
    terminal: Terminal,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Watch {
    timeout: u64,
    cpu_time: u64,
    output: u64,
    grace: u64,
    uncharged: u64,
    #[serde(with = "lossless::list")]
    disks: Vec<PathBuf>,
}

impl From<Plan> for Form {
    fn from(plan: Plan) -> Form {
        let acts = plan.acts().cloned().collect();
        let Plan {
            policy,
            jail,
            command,
            layers,
        } = plan;
        Form {
            policy,
            acts,
            watch: Watch {
                timeout: command.watch.timeout,
                cpu_time: jail.watch.cpu_time,
                output: command.watch.output,
                grace: command.watch.grace,
                uncharged: jail.watch.uncharged,
                disks: jail.watch.disks,
            },
            command: Command {
                argv: command.argv,
                candidates: command.candidates,
                environment: command.environment,
                workdir: command.workdir,
                terminal: command.terminal,
            },
            layers,
        }
    }
}

/// Refuses a list that the order table does not have: what was read is enforced as it stands.
impl TryFrom<Form> for Plan {
    type Error = OrderError;

    fn try_from(form: Form) -> Result<Plan, OrderError> {
        let Form {
            policy,
            acts,
            command,
            watch,
            layers,
        } = form;
        order::in_order(acts.iter())?;
        let [build, confine, acts] = order::split(acts);
        let plan = Plan {
            policy,
            jail: JailPlan {
                build,
                confine,
                watch: JailWatch {
                    cpu_time: watch.cpu_time,
                    uncharged: watch.uncharged,
                    disks: watch.disks,
                },
            },
            command: CommandPlan {
                argv: command.argv,
                candidates: command.candidates,
                environment: command.environment,
                workdir: command.workdir,
                terminal: command.terminal,
                acts,
                watch: CommandWatch {
                    timeout: watch.timeout,
                    output: watch.output,
                    grace: watch.grace,
                },
            },
            layers,
        };
        order::check(&plan)?;
        Ok(plan)
    }
}
