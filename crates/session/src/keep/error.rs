//! Errors of sessions and of their store.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use creel_plan::ResolveError;
use creel_policy::net::RuleError;
use creel_sys::Errno;

use crate::declare::DeclareError;
use crate::exit;

/// Why a session, or a command in one, cannot be had. `name` is that of the session.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(
    missing_docs,
    reason = "the enum's comment describes the fields that variants share"
)]
pub enum SessionError {
    /// A name has other characters than letters, digits, `.`, `_` and `-`, begins with another than a letter or a
    /// digit, or is longer than 64 characters.
    #[error(
        "{name:?} is no name of a session: letters, digits, `.`, `_` and `-`, 64 at most, a letter or a digit first"
    )]
    Name { name: String },
    /// No session has this name.
    #[error(
        "no session {name}; `creel ps` lists those that there are, `creel create --name {name}` makes it"
    )]
    None { name: String },
    /// The session has ended.
    #[error(
        "the session {name} has ended; `creel inspect {name}` says how, `creel create --name {name}` makes it anew"
    )]
    Ended { name: String },
    /// A session of this name exists, made with another policy, workspace or flags.
    #[error(
        "the session {name} exists with another policy, other flags or another workspace; `creel create --replace` ends it and makes this one, or choose another --name"
    )]
    Differs { name: String },
    /// The session is being made or removed by another process.
    #[error("the session {name} is being made or removed by another creel; try again")]
    Busy { name: String },
    /// A directory or file of the store cannot be used.
    #[error("{}: {source}", path.display())]
    Store {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The store belongs to another user, or others may write to it.
    #[error(
        "{} is not the caller's alone, so its sessions are not trusted; remove it, or set XDG_RUNTIME_DIR to a directory of the caller's",
        path.display()
    )]
    Foreign { path: PathBuf },
    /// The other end of a session's socket is another user's process, or one of a jail.
    #[error(
        "the process at the socket of session {name} is not the caller's keeper but {who}, and is not trusted; `creel rm {name}` removes what is there"
    )]
    Stranger { name: String, who: String },
    /// The keeper ended, or sent a message that this creel does not know.
    #[error(
        "the keeper of session {name} ended before it answered; `creel ps` says whether the session lives"
    )]
    Silent { name: String },
    /// A message cannot be sent or read.
    #[error("the socket of session {name}: {source}")]
    Socket {
        name: String,
        #[source]
        source: io::Error,
    },
    /// The keeper refused a request; its own text and code.
    #[error("{text}")]
    Refused {
        code: String,
        text: String,
        status: u8,
    },
    /// The session is paused.
    #[error("the session is paused; `creel resume NAME` continues it")]
    Paused,
    /// The session is ending.
    #[error("the session is ending")]
    Ending,
    /// As many commands run in the session as it can have.
    #[error(
        "{most} commands run in the session already, the most that it can have; wait for one, or kill it"
    )]
    TooMany { most: usize },
    /// The request does not have the streams that it needs, or one of them is a file.
    #[error("a stream of the command is no pipe, socket or device; redirect it")]
    Streams,
    /// The keeper has no descriptor left for the streams of a request.
    #[error(
        "the session's keeper has as many files open as it may; wait for one of its commands, or make it anew with a higher limit (`ulimit -n 4096`, then `creel create --replace`)"
    )]
    Descriptors,
    /// The command's own group cannot be made.
    #[error("the command's own limits: {source}")]
    Group {
        #[source]
        source: io::Error,
    },
    /// This machine has no group in which limits of one command hold.
    #[error(
        "--memory, --cpus and --pids for one command need cgroups v1 or controllers below the session's group, which this machine does not give; set them at `creel create`, for all commands together"
    )]
    NoOwnLimits,
    /// A limit of one command is wider than the session's.
    #[error(
        "{what} {asked}: the session has {most} for all of its commands; ask for no more, or make it with more (`creel create --replace {what} {asked}`)"
    )]
    Beyond {
        what: &'static str,
        asked: String,
        most: String,
    },
    /// Pid 1 does not take a request.
    #[error(
        "the session's first process does not take requests ({source}); `creel kill` ends the session"
    )]
    First {
        #[source]
        source: Errno,
    },
    /// The command has no plan in this session.
    #[error(transparent)]
    Resolve(Box<ResolveError>),
    /// A newer creel asks an older keeper.
    #[error(
        "this session was made by creel {creel}, which does not know this request; make it anew with `creel create --replace`"
    )]
    Unknown { creel: &'static str },
    /// The session has no relay, or one for published ports alone.
    #[error(
        "the session was made without a relay, and cannot get one while it lives, since the relay's routes and sockets are made with the jail; make it anew with `creel create --replace --name {name} {flag}`"
    )]
    NoRelay { name: String, flag: &'static str },
    /// The relay has ended.
    #[error(
        "the session's relay has ended, and its network with it; make the session anew with `creel create --replace`"
    )]
    RelayGone,
    /// The argument names no destination.
    #[error("{asked}: it {source}")]
    Destination {
        asked: String,
        #[source]
        source: RuleError,
    },
    /// A denial covers all of the destination.
    #[error(
        "{asked} stays denied: {denial} is denied by {place}; a denial of the policy always holds; `creel net reset NAME` takes back those of `creel net deny`, and so does an allowance that includes all of one"
    )]
    NetDenied {
        asked: String,
        denial: String,
        place: String,
    },
    /// A port cannot be served inside.
    #[error(
        "port {port} cannot be served in the session ({source}): a process in it has the port, or a rule has it for other names; end that process, or make the session anew with the rule"
    )]
    NetPort {
        port: u16,
        #[source]
        source: Errno,
    },
    /// A port of the host cannot be published.
    #[error("--publish {address}: {source}")]
    NetPublish {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    /// The port is not published.
    #[error("{address} is not published; `creel net show NAME` lists the ports")]
    NotPublished { address: SocketAddr },
    /// The rules are too many or too long.
    #[error(
        "the session has as many changes of its network as it can have ({most} rules, {most} ports); `creel net reset NAME` takes the rules back"
    )]
    TooManyChanges { most: usize },
    /// It is more than the platform's or operator's policy grants, or no loopback.
    #[error(transparent)]
    Declare(Box<DeclareError>),
    /// The session has no such job.
    #[error("the session has no job {number}; `creel jobs NAME` lists them")]
    NoJob { number: u32 },
}

creel_policy::codes!(SessionError {
    Self::Name { .. } => "session-name",
    Self::None { .. } => "session-none",
    Self::Ended { .. } => "session-ended",
    Self::Differs { .. } => "session-differs",
    Self::Busy { .. } => "session-busy",
    Self::Store { .. } => "session-store",
    Self::Foreign { .. } => "session-foreign",
    Self::Stranger { .. } => "session-stranger",
    Self::Silent { .. } => "session-silent",
    Self::Socket { .. } => "session-socket",
    Self::Refused { .. } => "session-refused",
    Self::Paused => "session-paused",
    Self::Ending => "session-ending",
    Self::TooMany { .. } => "session-too-many",
    Self::Streams => "session-streams",
    Self::Descriptors => "session-descriptors",
    Self::Group { .. } => "session-group",
    Self::NoOwnLimits => "session-no-own-limits",
    Self::Beyond { .. } => "session-beyond",
    Self::First { .. } => "session-first",
    Self::Unknown { .. } => "session-unknown",
    Self::NoRelay { .. } => "session-no-relay",
    Self::RelayGone => "session-relay-gone",
    Self::Destination { .. } => "session-destination",
    Self::NetDenied { .. } => "session-net-denied",
    Self::NetPort { .. } => "session-net-port",
    Self::NetPublish { .. } => "session-net-publish",
    Self::NotPublished { .. } => "session-not-published",
    Self::TooManyChanges { .. } => "session-net-changes",
    Self::NoJob { .. } => "session-no-job",
} else {
    Self::Resolve(error) => error.code(),
    Self::Declare(error) => error.code(),
});

impl From<ResolveError> for SessionError {
    fn from(error: ResolveError) -> SessionError {
        SessionError::Resolve(Box::new(error))
    }
}

impl From<DeclareError> for SessionError {
    fn from(error: DeclareError) -> SessionError {
        SessionError::Declare(Box::new(error))
    }
}

impl SessionError {
    /// The exit status of a verb that fails with this error.
    pub fn status(&self) -> u8 {
        match self {
            SessionError::Refused { status, .. } => *status,
            _ => exit::OWN_FAILURE,
        }
    }
}
