//! Fault points: the places of the making, the commands and the end of a session at which a test stops a process, to
//! kill one there. `CREEL_STOP_AT` names one.
//!
//! Only builds with debug assertions have them. In a release [`reach`] is empty; `tests/it/house.rs` checks that.

macro_rules! points {
    ($($(#[doc = $doc:literal])* $point:ident $name:literal)*) => {
        /// A place at which a process can be stopped.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Point {
            $($(#[doc = $doc])* $point,)*
        }

        impl Point {
            /// Every point, in the order in which a session reaches them.
            pub const ALL: &[Point] = &[$(Point::$point),*];

            /// The name, for `CREEL_STOP_AT`: the verb, the process, the step.
            pub fn name(self) -> &'static str {
                match self {
                    $(Point::$point => $name,)*
                }
            }
        }
    };
}

points! {
    /// `create` has started the keeper, and waits for it.
    MakerWaits "create-client-waits"
    /// The keeper is a process, and has claimed nothing.
    KeeperBorn "create-keeper-born"
    /// The keeper has the name.
    KeeperClaimed "create-keeper-claimed"
    /// The host was looked at, and the plan is settled.
    KeeperPlanned "create-keeper-planned"
    /// The record is written; nothing of the jail is made.
    KeeperRecorded "create-keeper-recorded"
    /// The jail's control group has its limits.
    GroupMade "create-keeper-group"
    /// The jail's first process exists and waits.
    FirstCloned "create-keeper-cloned"
    /// The janitor has the jail.
    JanitorHolds "create-keeper-handed-over"
    /// The jail's first process has its ids and builds the jail.
    IdsMapped "create-keeper-mapped"
    /// The jail's first process can go on alone.
    JailSpawned "create-keeper-spawned"
    /// The first process takes requests.
    FirstStarted "create-keeper-started"
    /// The keeper takes connections.
    KeeperListens "create-keeper-listens"
    /// The client was told that the session is made.
    MakerTold "create-keeper-told"
    /// `create` has heard that the session is made.
    MakerHeard "create-client-heard"
    /// `exec` is connected.
    ExecConnected "exec-client-connected"
    /// `exec` has sent its request.
    ExecAsked "exec-client-asked"
    /// The keeper has the request.
    ExecTaken "exec-keeper-taken"
    /// The command has a number and a place.
    ExecAdmitted "exec-keeper-admitted"
    /// The command has a group.
    ExecGrouped "exec-keeper-grouped"
    /// All that the first process needs is laid out.
    ExecLaidOut "exec-keeper-laid-out"
    /// The first process was asked to start the command.
    ExecRequested "exec-keeper-requested"
    /// The client was told that the command runs.
    ExecTold "exec-keeper-told"
    /// `exec` has heard that the command runs.
    ExecHeard "exec-client-heard"
    /// The command has ended.
    ExecEnded "exec-keeper-ended"
    /// Every process of the command is killed.
    ExecSwept "exec-keeper-swept"
    /// `exec` has delivered the output.
    ExecDrained "exec-client-drained"
    /// The verdict is made, and not sent.
    ExecJudged "exec-keeper-judged"
    /// The command's group is removed.
    ExecLeft "exec-keeper-left"
    /// `rm` is connected.
    RemoveConnected "remove-client-connected"
    /// The keeper was asked to end its session.
    EndAsked "remove-keeper-asked"
    /// The jail has ended, and the socket is removed.
    EndClosed "remove-keeper-closed"
    /// The first process is reaped; its groups exist.
    EndReaped "remove-keeper-reaped"
    /// The groups are removed.
    EndCleaned "remove-keeper-cleaned"
    /// The verdict of the session is written.
    EndWritten "remove-keeper-written"
    /// `rm` has seen the end of the session.
    RemoveOver "remove-client-over"
    /// `rm` has the name.
    RemoveClaimed "remove-client-claimed"
    /// The session's files are removed, its directory is not.
    RemoveCleared "remove-client-cleared"
}

/// Stops this process if the caller's environment asks for it here; returns after SIGCONT. Once for each process.
#[cfg(debug_assertions)]
pub fn reach(point: Point) {
    use std::sync::atomic::{AtomicBool, Ordering};
    static STOPPED: AtomicBool = AtomicBool::new(false);
    let is_here = std::env::var_os("CREEL_STOP_AT").is_some_and(|name| name == point.name());
    if is_here && !STOPPED.swap(true, Ordering::Relaxed) {
        let _ = creel_sys::signal::stop_self();
    }
}

/// Nothing: a release has no fault points.
#[cfg(not(debug_assertions))]
#[inline]
pub fn reach(_: Point) {}
