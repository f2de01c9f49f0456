//! Layers, and a plan with one of them taken out: the suite's negative controls.
//!
//! The plan is edited as data and goes the usual way afterwards. A weakened plan may break
//! `plan::check_order` (without seccomp it does not end in the filter): that check is for plans that
//! `resolve` makes, and passes on those before they are weakened.

use std::path::Path;

use super::layer::Layer;
use super::layer::Layer as L;
use super::plant::{self, Planted};
use creel_plan::{Act, Code, Namespace, Node, Owner, Plan};

/// Takes `layer` out of `plan`.
pub fn weaken(plan: &mut Plan, layer: Layer, planted: &Planted) {
    match layer {
        L::PidNamespace => {
            drop_namespace(plan, Namespace::Pid);
            let proc = Path::new("/proc");
            plan.retain(|act| match act {
                Act::Proc | Act::UserCounts { .. } => false,
                Act::Mask { path, .. } | Act::ReadOnly { path } => !path.starts_with(proc),
                _ => true,
            });
        }
        L::Network => {
            drop_namespace(plan, Namespace::Net);
            plan.retain(|act| *act != Act::Loopback);
        }
        L::IpcNamespace => drop_namespace(plan, Namespace::Ipc),
        L::UtsNamespace => {
            drop_namespace(plan, Namespace::Uts);
            plan.retain(|act| !matches!(act, Act::Hostname { .. }));
        }
        L::CgroupNamespace => plan.retain(|act| *act != Act::CgroupNamespace),
        L::Root => plant::grant_outside(plan, planted),
        L::ReadOnly => regrant(plan, plant::READ_ONLY, |access| access.write = true),
        L::Noexec => regrant(plan, plant::NOEXEC, |access| access.code = Code::Execute),
        L::Seal => plan.retain(|act| *act != Act::Seal),
        L::Masks => plan.retain(|act| !matches!(act, Act::Mask { .. } | Act::ReadOnly { .. })),
        L::Environment => {
            plan.command
                .environment
                .insert(plant::VARIABLE.into(), b"canary".into());
        }
        L::Descriptors => {
            for act in plan.acts_mut().filter(|act| **act == Act::Descriptors) {
                *act = Act::Streams;
            }
        }
        L::Keyring => {
            plan.retain(|act| !matches!(act, Act::Keyring | Act::Seccomp | Act::SeccompDebug))
        }
        L::Rlimits => plan.retain(|act| !matches!(act, Act::ResourceLimit { .. })),
        L::Cgroup => plan.retain(|act| {
            !matches!(
                act,
                Act::Cgroup(_) | Act::JoinCgroup | Act::GroupView { .. }
            )
        }),
        L::Disk => {
            for act in plan.acts_mut() {
                if let Act::Tmpfs { bytes, inodes, .. } = act {
                    (*bytes, *inodes) = (512 << 20, 65_536);
                }
            }
        }
        L::Supervisor => {
            plan.command.watch.timeout = 3_600_000;
            plan.command.watch.output = 1 << 30;
        }
        L::Capabilities => plan.retain(|act| *act != Act::Capabilities),
        L::NoNewPrivileges => {
            plan.retain(|act| !matches!(act, Act::NoNewPrivileges | Act::Capabilities));
        }
        L::Landlock => plan.retain(|act| !matches!(act, Act::Landlock { .. })),
        L::Seccomp => plan.retain(|act| !matches!(act, Act::Seccomp | Act::SeccompDebug)),
        L::Ids | L::NotDumpable | L::Session | L::Kernel => {}
    }
}

fn drop_namespace(plan: &mut Plan, gone: Namespace) {
    for act in plan.acts_mut() {
        if let Act::Namespaces { which } = act {
            which.retain(|namespace| *namespace != gone);
        }
    }
}

fn regrant(plan: &mut Plan, place: &str, change: impl Fn(&mut creel_plan::Access)) {
    for act in plan.acts_mut() {
        if let Act::Bind {
            target,
            access,
            node: Node::Directory,
            owner: Owner::Host,
            ..
        } = act
            && target == Path::new(place)
        {
            change(access);
        }
    }
}
