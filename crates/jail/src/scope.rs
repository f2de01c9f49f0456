//! A cgroup from systemd's user manager, for an ordinary user who has none: a transient scope with
//! this process in it, delegated (systemd.scope(5), org.freedesktop.systemd1(5)).
//!
//! It asks once, on one bus, waits for a short time, and starts no process. systemd removes the scope after
//! its last process has ended for any reason, so the janitor need not.

use std::io;
use std::time::Duration;

use zbus::message::{Message, Type};
use zbus::zvariant::{OwnedObjectPath, Value};

use super::cgroup::CgroupError;
use super::hierarchy;
use creel_plan::host::Lacks;
use creel_plan::{CgroupLayout, Host};
use creel_sys::bus::Bus;

/// Time limit for all of it. An emulated, overloaded machine has needed more than two seconds.
pub const PATIENCE: Duration = Duration::from_secs(5);

const SYSTEMD: &str = "org.freedesktop.systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
const DBUS: &str = "org.freedesktop.DBus";
const DBUS_PATH: &str = "/org/freedesktop/DBus";
const SIGNAL: &str = "type='signal',sender='org.freedesktop.systemd1',\
    interface='org.freedesktop.systemd1.Manager',member='JobRemoved'";

/// Why there is no scope.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScopeError {
    /// creel cannot connect to the bus of the user, or the connection failed later.
    #[error("the user's bus cannot be reached: {0}")]
    Unreachable(#[source] io::Error),
    /// The bus or the manager did not answer within [`PATIENCE`].
    #[error("systemd's user manager did not answer within {} seconds", PATIENCE.as_secs())]
    Silent,
    /// An answer was not a valid D-Bus message, or had other types than expected.
    #[error("the user's bus did not answer in the D-Bus protocol")]
    Garbage,
    /// The bus refused the authentication of this user (SASL EXTERNAL).
    #[error("the user's bus refused to authenticate this user")]
    Rejected,
    /// The manager answered with an error; its text, or its name if it has none.
    #[error("systemd's user manager refused a scope: {0}")]
    Refused(String),
    /// The manager's job for the scope did not end as `done`; its result, as in org.freedesktop.systemd1(5).
    #[error("systemd's user manager could not make the scope: its job ended as {0:?}")]
    Job(String),
    /// A file or directory of the scope's cgroup cannot be used.
    #[error("the scope of systemd's user manager cannot be used: {0}")]
    Unusable(#[from] CgroupError),
    /// The scope exists, and its cgroup lacks one of the controllers memory, pids and cpu.
    #[error(
        "the scope of systemd's user manager lacks controllers; the user manager needs Delegate=cpu memory pids"
    )]
    Controllers,
}

creel_policy::codes!(ScopeError {
    Self::Unreachable(_) => "scope-unreachable",
    Self::Silent => "scope-silent",
    Self::Garbage => "scope-garbage",
    Self::Rejected => "scope-rejected",
    Self::Refused(_) => "scope-refused",
    Self::Job(_) => "scope-job",
    Self::Unusable(_) => "scope-unusable",
    Self::Controllers => "scope-controllers",
});

/// Whether the host's facts changed after the plan was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// They are unchanged.
    Already,
    /// They changed: resolve the plan again.
    Anew,
}

/// Asks for a cgroup if the layout is on request; this process is then in it. `host.cgroups` becomes the new
/// layout, or the reason for the failure. `id`: the jail's.
pub fn settle(host: &mut Host, id: &str) -> Settled {
    let CgroupLayout::OnRequest { bus } = &host.cgroups else {
        return Settled::Already;
    };
    host.cgroups = match obtain(bus, id) {
        Ok(layout) => layout,
        Err(error) => CgroupLayout::Unusable {
            why: error.to_string(),
            lacks: Lacks::Manager,
        },
    };
    Settled::Anew
}

fn obtain(address: &str, id: &str) -> Result<CgroupLayout, ScopeError> {
    let name = format!("creel-{id}.scope");
    let mut bus = Bus::connect(address, PATIENCE).map_err(ScopeError::Unreachable)?;
    ask(&mut bus, &name, std::process::id())?;
    hierarchy::make_room(&name)?;
    // The request was made: what is lacking now stays lacking.
    match hierarchy::layout(false, None) {
        CgroupLayout::Unusable { .. } => Err(ScopeError::Controllers),
        layout => Ok(layout),
    }
}

/// Asks over `bus` for the scope `name` around the process `pid`, and waits until it exists.
pub fn ask(bus: &mut Bus, name: &str, pid: u32) -> Result<(), ScopeError> {
    bus.authenticate().map_err(fault)?;
    let mut talk = Talk { bus, ended: vec![] };
    talk.call(DBUS, DBUS_PATH, DBUS, "Hello", &())?;
    talk.call(DBUS, DBUS_PATH, DBUS, "AddMatch", &SIGNAL)?;
    let description = format!("creel {name}");
    let properties = vec![
        ("Description", Value::from(description.as_str())),
        ("Delegate", Value::from(true)),
        ("PIDs", Value::from(vec![pid])),
        // Removes the unit even if it failed.
        ("CollectMode", Value::from("inactive-or-failed")),
    ];
    let auxiliary: Vec<(&str, Vec<(&str, Value<'_>)>)> = vec![];
    let arguments = (name, "fail", properties, auxiliary);
    let answer = talk.call(
        SYSTEMD,
        MANAGER_PATH,
        MANAGER,
        "StartTransientUnit",
        &arguments,
    )?;
    let job: OwnedObjectPath = answer
        .body()
        .deserialize()
        .map_err(|_| ScopeError::Garbage)?;
    match talk.end_of(&job)?.as_str() {
        "done" => Ok(()),
        other => Err(ScopeError::Job(other.into())),
    }
}

/// A bus, and the manager's jobs that have ended, each with its result.
struct Talk<'a> {
    bus: &'a mut Bus,
    ended: Vec<(OwnedObjectPath, String)>,
}

impl Talk<'_> {
    fn call<B>(
        &mut self,
        whom: &str,
        path: &str,
        interface: &str,
        method: &str,
        arguments: &B,
    ) -> Result<Message, ScopeError>
    where
        B: serde::Serialize + zbus::zvariant::DynamicType,
    {
        let build = || {
            Message::method_call(path, method)?
                .destination(whom)?
                .interface(interface)?
                .build(arguments)
        };
        // All names are constants; only an invalid id can fail here.
        let call = build().map_err(|e| ScopeError::Refused(e.to_string()))?;
        self.bus.send(&call).map_err(fault)?;
        loop {
            let message = self.hear()?;
            let header = message.header();
            if header.reply_serial() != Some(call.primary_header().serial_num()) {
                continue;
            }
            match message.message_type() {
                Type::MethodReturn => return Ok(message),
                Type::Error => return Err(ScopeError::Refused(reason(&message))),
                Type::MethodCall | Type::Signal => {}
            }
        }
    }

    fn end_of(&mut self, job: &OwnedObjectPath) -> Result<String, ScopeError> {
        loop {
            if let Some((_, result)) = self.ended.iter().find(|(ended, _)| ended == job) {
                return Ok(result.clone());
            }
            self.hear()?;
        }
    }

    fn hear(&mut self) -> Result<Message, ScopeError> {
        let message = self.bus.receive().map_err(fault)?;
        let header = message.header();
        let removed = message.message_type() == Type::Signal
            && header.interface().is_some_and(|name| name == MANAGER)
            && header.member().is_some_and(|name| name == "JobRemoved");
        if removed
            && let Ok((_, job, _, result)) = message
                .body()
                .deserialize::<(u32, OwnedObjectPath, String, String)>()
        {
            self.ended.push((job, result));
        }
        Ok(message)
    }
}

/// The text of an error, or its name.
fn reason(error: &Message) -> String {
    let words: Result<String, _> = error.body().deserialize();
    let name = || error.header().error_name().map(ToString::to_string);
    words.ok().or_else(name).unwrap_or_default()
}

fn fault(error: io::Error) -> ScopeError {
    match error.kind() {
        // SO_RCVTIMEO returns EAGAIN (socket(7)).
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => ScopeError::Silent,
        io::ErrorKind::InvalidData => ScopeError::Garbage,
        io::ErrorKind::PermissionDenied => ScopeError::Rejected,
        _ => ScopeError::Unreachable(error),
    }
}
