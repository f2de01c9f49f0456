//! The record of a session: how it was made, and what happened in it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use creel_policy::error::escaped_json;

/// How a session was made, as `creel inspect` shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The name.
    pub name: String,
    /// Sixteen hexadecimal digits; `CREEL_ID` in the jail.
    pub id: String,
    /// The version of creel.
    pub creel: String,
    /// Milliseconds since 1970.
    pub created: u64,
    /// SHA-256 of the plan: the same policy, workspace, flags and machine.
    pub digest: String,
    /// The name of the policy.
    pub policy: String,
    /// The flags that granted or limited beside it.
    pub flags: Vec<String>,
    /// The working directory of commands, in the jail.
    pub workdir: String,
    /// Labels of the caller's.
    pub labels: BTreeMap<String, String>,
    /// Milliseconds without a command after which the session ends.
    pub idle_timeout: Option<u64>,
    /// Milliseconds after which the session ends.
    pub max_age: Option<u64>,
}

/// One thing that happened. Every act in a session goes through [`Events::record`].
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event<'a> {
    /// The session was made.
    Created {
        /// The plan's digest.
        digest: &'a str,
    },
    /// A command was started.
    Exec {
        /// Its number.
        number: u32,
        /// Its arguments, with replacements for bytes that are no text.
        command: &'a [String],
        /// Whether it is detached.
        detached: bool,
    },
    /// A command has ended.
    End {
        /// Its number.
        number: u32,
        /// The exit status of `creel exec`.
        exit_status: u8,
    },
    /// A request was refused.
    Refused {
        /// A code of docs/errors.md.
        code: &'a str,
        /// One sentence.
        text: &'a str,
    },
    /// An act of the operator's: a stop, a pause, a signal.
    Act {
        /// The verb.
        verb: &'a str,
    },
    /// The operator changes the network; written before the change is made. A change that fails is followed by
    /// [`Refused`](Event::Refused).
    Net {
        /// `allow`, `deny`, `reset`, `publish` or `unpublish`.
        verb: &'a str,
        /// The destinations or ports.
        what: &'a [String],
        /// The user of the client.
        uid: u32,
        /// The client.
        pid: i32,
    },
    /// The session has ended.
    Ended {
        /// Why.
        cause: &'a str,
    },
}

/// Milliseconds since 1970.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis().try_into().unwrap_or(u64::MAX))
}

/// The events of a session, a line of JSON each.
#[derive(Debug)]
pub struct Events(RefCell<File>);

#[derive(Serialize)]
struct Line<'a> {
    time: u64,
    #[serde(flatten)]
    event: &'a Event<'a>,
}

impl Events {
    /// Appends to `file`.
    pub fn new(file: File) -> Events {
        Events(RefCell::new(file))
    }

    /// Writes one event. A full disk loses it: this is no audit yet.
    pub fn record(&self, event: &Event<'_>) {
        let line = Line { time: now(), event };
        // A command line may have any character, and people read the events on a terminal.
        let mut text = escaped_json(serde_json::to_string(&line).unwrap_or_default());
        text.push('\n');
        let _ = self.0.borrow_mut().write_all(text.as_bytes());
    }
}
