//! Process attributes inherited from the caller, beside arguments, variables and paths, and their treatment.
//!
//! [`ROWS`] is the one table of them. [`prepare`](super::startup::prepare) applies it when creel starts, and
//! the command's process applies it before its exec. An attribute without a function is kept or replaced by a
//! step of the plan; its row says which.

use std::sync::atomic::{AtomicU32, Ordering};

use super::{Result, process, rlimit, signal};

/// One attribute that is inherited over fork(2) or execve(2).
pub struct Row {
    /// Its name in the manual pages.
    pub what: &'static str,
    /// Its value in creel's own processes.
    pub creel: &'static str,
    /// Its value in the command's process.
    pub command: &'static str,
    /// The reason.
    pub why: &'static str,
    /// Runs when creel starts.
    at_start: Option<fn()>,
    /// Runs in the command's process, after vfork.
    before_exec: Option<fn() -> Result<()>>,
}

const NONE: Row = Row {
    what: "",
    creel: "",
    command: "",
    why: "",
    at_start: None,
    before_exec: None,
};

/// All inherited attributes, in the order in which they are handled.
pub const ROWS: &[Row] = &[
    Row {
        what: "file mode creation mask",
        creel: "022",
        command: "the caller's",
        why: "a mask of 077 would close the directories of the jail's tree to the jail's user",
        at_start: Some(take_mask),
        before_exec: Some(give_mask),
    },
    Row {
        what: "signal mask",
        creel: "empty once its handlers are set",
        command: "empty",
        why: "a blocked signal could end neither creel nor the command",
        ..NONE
    },
    Row {
        what: "SIGCHLD, ignored",
        creel: "default action",
        command: "default action",
        why: "the kernel would reap children itself, and nobody would learn how they ended",
        at_start: Some(signal::take_children),
        ..NONE
    },
    Row {
        what: "SIGPIPE, SIGXFSZ, SIGXCPU, SIGTTOU",
        creel: "ignored",
        command: "default action",
        why: "creel handles the errno. SIGTTOU would stop creel, and a stopped creel enforces no time limit. Many callers ignore SIGPIPE, and then `yes | head` would never end.",
        at_start: Some(signal::ignore_errors),
        before_exec: Some(signal::reset),
    },
    Row {
        what: "other signals, ignored",
        creel: "ignored",
        command: "ignored",
        why: "nohup(1) means the command",
        ..NONE
    },
    Row {
        what: "timer of alarm(2), ITIMER_REAL",
        creel: "kept; SIGALRM is passed on",
        command: "receives the SIGALRM",
        why: "a caller that sets it before execve(2) limits the command's time",
        ..NONE
    },
    Row {
        what: "ITIMER_VIRTUAL, ITIMER_PROF",
        creel: "off",
        command: "off",
        why: "they would count creel's own processor time",
        at_start: Some(process::stop_own_timers),
        ..NONE
    },
    Row {
        what: "real-time and deadline scheduling, real-time I/O class",
        creel: "SCHED_OTHER",
        command: "SCHED_OTHER",
        why: "cpu limits hold for ordinary scheduling alone; a deadline process may not fork",
        // Checked again in the jail's first process.
        at_start: Some(|| {
            let _ = process::schedule_as_others();
        }),
        ..NONE
    },
    Row {
        what: "niceness, SCHED_BATCH, SCHED_IDLE, CPU affinity",
        creel: "the caller's",
        command: "the caller's",
        why: "they only make it yield to others",
        ..NONE
    },
    Row {
        what: "not dumpable, after the exec of a file that may not be read",
        creel: "dumpable",
        command: "dumpable",
        why: "root would own creel's files in /proc, and without root creel could not write its id maps",
        at_start: Some(process::dumpable),
        ..NONE
    },
    Row {
        what: "child subreaper",
        creel: "off",
        command: "off",
        why: "creel waits only for children that it knows",
        at_start: Some(process::no_subreaper),
        ..NONE
    },
    Row {
        what: "parent-death signal",
        creel: "the caller's",
        command: "SIGKILL to the jail's first process",
        why: "the jail ends with its supervisor",
        ..NONE
    },
    Row {
        what: "soft limit of descriptors, RLIMIT_NOFILE",
        creel: "the caller's hard limit",
        command: "the policy's, or the caller's hard limit where that is lower",
        why: "creel keeps every path open that a policy names; how many those are is not the command's limit",
        at_start: Some(rlimit::raise_open_files),
        ..NONE
    },
    Row {
        what: "other resource limits",
        creel: "the caller's",
        command: "the policy's, or the caller's where those are lower",
        why: "a stricter limit is no breach",
        ..NONE
    },
    Row {
        what: "closed descriptors 0, 1 and 2",
        creel: "0: /dev/null; 1 or 2: the run is refused",
        command: "0: /dev/null",
        why: "another file would get the number",
        ..NONE
    },
    Row {
        what: "descriptors from 3 on",
        creel: "kept",
        command: "closed",
        why: "no descriptor of the host may come in",
        ..NONE
    },
    Row {
        what: "working directory, removed",
        creel: "/",
        command: "the workspace",
        why: "only a relative path needs it, and such a run is refused",
        ..NONE
    },
    Row {
        what: "session, process group, controlling terminal",
        creel: "the caller's",
        command: "its own",
        why: "a jail must not push input into the caller's terminal",
        ..NONE
    },
    Row {
        what: "capability sets, securebits, no_new_privs, session keyring",
        creel: "the caller's",
        command: "no capability, securebits locked, no_new_privs, an empty keyring",
        why: "steps of every plan",
        ..NONE
    },
    Row {
        what: "locale, time zone and every other variable",
        creel: "NO_COLOR, XDG_CONFIG_HOME and XDG_RUNTIME_DIR are read",
        command: "those that the policy passes or sets",
        why: "variables carry secrets",
        ..NONE
    },
];

/// The caller's umask.
static MASK: AtomicU32 = AtomicU32::new(0o022);

/// Sets the attributes of this process to what creel relies on.
pub(super) fn normalise() {
    ROWS.iter().filter_map(|row| row.at_start).for_each(|f| f());
}

/// Restores the caller's attributes that the command gets back. Runs after clone.
pub fn give_back() -> Result<()> {
    ROWS.iter()
        .filter_map(|row| row.before_exec)
        .try_for_each(|f| f())
}

fn take_mask() {
    MASK.store(process::set_mask(0o022), Ordering::Relaxed);
}

fn give_mask() -> Result<()> {
    process::set_mask(MASK.load(Ordering::Relaxed));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_says_what_and_why() {
        for row in ROWS {
            for text in [row.what, row.creel, row.command, row.why] {
                assert!(!text.is_empty(), "{}", row.what);
            }
        }
    }
}
