//! Performs the child's steps, from `clone3` until it is pid 1 of a finished jail.
//!
//! Runs after clone in a copy of the parent's memory: system calls only, no allocation, no lock, no panic, no
//! unwinding. It decides nothing: if a step fails, it reports the step and the errno, and exits.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::build::{Building, wait_for};
use super::enter::Entering;
use super::protocol::{MAPPED, Message};
use super::step::{Build, Enter, Household, Program, Step};
use super::streams::Stdio;
use super::{init, netns};
use creel_sys::socket;
use creel_sys::{Errno, Result, caps, mount, process};

/// The parent's input for the child.
pub struct Child<'a> {
    /// The steps that make the jail, in order.
    pub build: &'a mut [Step<Build>],
    /// The steps by which this process enters the jail as its pid 1, in order.
    pub enter: &'a mut [Step<Enter>],
    /// The facts that pid 1 needs after the last step.
    pub household: &'a Household,
    /// The first command.
    pub program: &'a Program,
    /// The stdin, stdout and stderr of the command.
    pub stdio: &'a Stdio,
    /// The `tasks` files of the v1 groups.
    pub tasks: &'a [OwnedFd],
    /// Leads to the supervisor; carries the messages of [`protocol`](super::protocol).
    pub socket: OwnedFd,
    /// This process's copy of the supervisor's end. While this copy is open, this process gets no end of file
    /// when the supervisor dies.
    pub supervisors: OwnedFd,
    /// The ids to take before the first step.
    pub ids: Start,
    /// The stack of the helper that makes the network namespace, if the jail was not cloned in its own.
    pub room: Option<&'static mut [u128]>,
    /// The relay receives its sockets here.
    pub relay: Option<OwnedFd>,
}

/// The ids with which building starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// The jail's root user, only for building.
    JailRoot,
    /// The jail's user, if the jail has no other id; the capabilities stay for building.
    JailUser(u32),
    /// The caller's own, if there are no others.
    Caller,
}

/// Builds the jail around this process and becomes its pid 1. Never returns.
pub fn walk(child: Child<'_>) -> ! {
    let Child {
        build,
        enter,
        household,
        program,
        stdio,
        tasks,
        socket,
        supervisors,
        ids,
        room,
        relay,
    } = child;
    drop(supervisors);
    let begin = |()| room.map(netns::begin).transpose();
    let network = match start(&socket, ids).and_then(begin) {
        Ok(network) => network,
        Err(errno) => fail(socket.as_fd(), u32::MAX, errno),
    };
    // Never dropped: the sweep closes all that it holds at once.
    let mut building = Building::new(&socket, tasks, network, relay.as_ref());
    for step in build {
        if let Err(errno) = building.perform(&mut step.work) {
            fail(socket.as_fd(), step.act, errno);
        }
    }
    let stdin = building.stdin.take();
    let mut entering = Entering {
        socket: &socket,
        stdio,
        terminal: program.terminal,
        stdin,
        relay: relay.as_ref(),
        pair: None,
        settled: false,
    };
    for step in enter {
        if let Err(errno) = entering.perform(&mut step.work) {
            fail(entering.speaker(), step.act, errno);
        }
    }
    init::run(household, program)
}

fn fail(socket: BorrowedFd<'_>, step: u32, errno: Errno) -> ! {
    let message = Message::Failed {
        step,
        errno: errno.raw_os_error(),
    };
    // If the supervisor is gone, no report is needed.
    let _ = socket::send(socket, &message.encode(), &[]);
    process::exit(1)
}

/// Waits for the message that the id maps are written, and switches to the ids for building.
fn start(socket: &OwnedFd, ids: Start) -> Result<()> {
    // Every signal has been blocked since before the clone (`signal::Held`).
    process::die_with_parent()?;
    process::schedule_as_others()?;
    wait_for(socket.as_fd(), MAPPED)?;
    let id = match ids {
        Start::JailRoot => Some(0),
        Start::JailUser(id) => {
            caps::keep_over_setuid()?;
            Some(id)
        }
        Start::Caller => None,
    };
    if let Some(id) = id {
        process::become_ids(id, id, process::Groups::Clear)?;
        process::die_with_parent()?;
    }
    mount::make_private()
}
