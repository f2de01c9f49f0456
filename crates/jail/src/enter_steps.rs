//! Compiles the acts of a process that enters a jail into steps.

use std::os::fd::AsFd;

use super::cstrings::{absolute, bytes};
use super::error::JailError;
use super::pins::Pins;
use super::rights;
use super::step::{Enter, Program, Step};
use creel_plan::order::Stage;
use creel_plan::{Act, CommandPlan, JailPlan};
use creel_sys::Errno;
use creel_sys::landlock::Rules;
use creel_sys::process::CStrings;

/// Compiles the acts of a process that enters `jail` and becomes `command`. `egress`: the number of the act
/// that gives the relay its sockets, if this process waits for the relay.
pub fn prepare(
    jail: &JailPlan,
    command: &CommandPlan,
    pins: &Pins,
    mut egress: Option<u32>,
) -> Result<Vec<Step<Enter>>, JailError> {
    let first = jail.build.len() as u32;
    let mut steps = vec![];
    for (act, number) in jail.entry(command).zip(first..) {
        if act.stage() == Stage::Descriptors
            && let Some(act) = egress.take()
        {
            // As late as possible: the relay prepares meanwhile.
            steps.push(Step {
                act,
                work: Enter::Served,
            });
        }
        if *act != Act::Exec {
            steps.push(Step {
                act: number,
                work: compile(act, jail, pins)?,
            });
        }
    }
    Ok(steps)
}

fn compile(act: &Act, jail: &JailPlan, pins: &Pins) -> Result<Enter, JailError> {
    Ok(match act {
        Act::Keyring => Enter::Keyring,
        Act::ResourceLimit {
            limit, soft, hard, ..
        } => Enter::Limit {
            limit: *limit,
            soft: *soft,
            hard: *hard,
        },
        Act::Become { uid, gid } => Enter::Become {
            uid: *uid,
            gid: *gid,
        },
        Act::Capabilities => Enter::Capabilities,
        Act::NoNewPrivileges => Enter::NoNewPrivileges,
        Act::NotDumpable => Enter::NotDumpable,
        Act::Landlock { abi, rules } => {
            let mut set = Rules::new(*abi).map_err(|source| JailError::Landlock { source })?;
            let mut anchors = vec![];
            for rule in rules {
                // A host tree's inode is the same on both sides of the mount.
                let host = jail.on_host(&rule.path);
                match host.and_then(|path| pins.get(&path)) {
                    Some(pin) => {
                        let access = rights::access(rule.rights, rule.node, set.abi());
                        set.allow(pin.fd.as_fd(), access)
                            .map_err(|source| JailError::Landlock { source })?;
                    }
                    None => anchors.push((absolute(&rule.path), rule.rights, rule.node)),
                }
            }
            Enter::Landlock {
                rules: Some(set),
                anchors,
            }
        }
        Act::Terminal => Enter::Terminal,
        Act::Streams => Enter::Streams,
        Act::Descriptors => Enter::Descriptors,
        Act::Workdir { path } => Enter::Workdir {
            path: absolute(path),
        },
        Act::NoMemfd => Enter::NoMemfd,
        Act::Seccomp => Enter::Seccomp,
        Act::SeccompDebug => Enter::SeccompDebug,
        _ => {
            return Err(JailError::System {
                what: "compiling a plan",
                source: Errno::INVAL,
            });
        }
    })
}

/// The program that the process executes in the end.
pub fn program(command: &CommandPlan) -> Program {
    let environment = command.environment.iter().map(|(name, value)| {
        let mut line = name.clone();
        line.push(b'=');
        line.extend(value);
        bytes(line)
    });
    Program {
        candidates: command.candidates.iter().cloned().map(bytes).collect(),
        argv: CStrings::new(command.argv.iter().cloned().map(bytes).collect()),
        environment: CStrings::new(environment.collect()),
        terminal: command.terminal,
    }
}
