//! The flags of docker(1) for the commands that creel-docker has, and what each means for a session: one row each, with
//! the reason. A flag that is not in a table is refused.

use std::fmt::Write as _;

/// The treatment of a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// It is honoured.
    Honoured,
    /// A session is this way in any case.
    Always,
    /// It is accepted with these values alone.
    Only(&'static [&'static str]),
    /// It would change what the container is, and creel cannot do it.
    Refused,
}

use Then::{Always, Honoured, Only, Refused};

/// Whether a flag has a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    None,
    Needed,
}

/// A flag, by its long name and its letter.
pub struct Flag {
    pub long: &'static str,
    pub short: Option<char>,
    pub value: Value,
    pub then: Then,
    pub why: &'static str,
}

const fn plain(long: &'static str, then: Then, why: &'static str) -> Flag {
    Flag {
        long,
        short: None,
        value: Value::None,
        then,
        why,
    }
}

const fn with(long: &'static str, then: Then, why: &'static str) -> Flag {
    Flag {
        value: Value::Needed,
        ..plain(long, then, why)
    }
}

const fn short(letter: char, flag: Flag) -> Flag {
    Flag {
        short: Some(letter),
        ..flag
    }
}

/// Flags of `create`.
pub const CREATE: &[Flag] = &[
    with("name", Honoured, "the session's name"),
    short('l', with("label", Honoured, "shown by `inspect`")),
    short(
        'v',
        with(
            "volume",
            Honoured,
            "SRC:DST[:ro]; the one that holds the working directory is the workspace",
        ),
    ),
    short(
        'w',
        with("workdir", Honoured, "the commands' working directory"),
    ),
    short('e', with("env", Honoured, "a variable of every command")),
    with("env-file", Honoured, "variables of every command"),
    short(
        'm',
        with("memory", Honoured, "for the whole jail; without swap"),
    ),
    with(
        "memory-swap",
        Honoured,
        "the same as --memory, since a jail has no swap",
    ),
    with("cpus", Honoured, "for the whole jail"),
    with("pids-limit", Honoured, "for the whole jail"),
    with(
        "ulimit",
        Honoured,
        "nofile, as a limit of each process; nproc, as --pids-limit; core=0",
    ),
    with(
        "network",
        Honoured,
        "none; bridge if the policy grants hosts, which are then all that can be reached",
    ),
    with("net", Honoured, "as --network"),
    short(
        'u',
        with(
            "user",
            Honoured,
            "the owner of the workspace, to whom the files belong that a jail writes; in the jail it is `agent`",
        ),
    ),
    with(
        "tmpfs",
        Honoured,
        "/tmp and /dev/shm are tmpfs in any case; /run and /var/tmp are said not to be writable",
    ),
    with("cgroupns", Only(&["private"]), "a jail has its own"),
    with("cap-drop", Always, "a jail has no capability"),
    with(
        "security-opt",
        Only(&[
            "no-new-privileges",
            "no-new-privileges=true",
            "no-new-privileges:true",
        ]),
        "creel's own filter, Landlock and no_new_privs hold in any case",
    ),
    with("ipc", Only(&["private", "none"]), "a jail has its own"),
    with("pull", Only(&["missing", "never"]), "creel has no images"),
    with(
        "restart",
        Only(&["no"]),
        "nothing but `start` starts a container again",
    ),
    plain("init", Always, "the jail's first process reaps"),
    plain("read-only", Always, "the root of a jail is read-only"),
    short('i', plain("interactive", Always, "`exec -i` opens stdin")),
    short('t', plain("tty", Always, "`exec -t` makes a terminal")),
    short('q', plain("quiet", Always, "no image is pulled")),
    with("add-host", Refused, "name hosts in the policy ([network])"),
    with("cap-add", Refused, "a jail has no capability"),
    with("cgroup-parent", Refused, "creel chooses the control group"),
    with("cpuset-cpus", Refused, "use --cpus"),
    with("cpu-shares", Refused, "use --cpus"),
    with("device", Refused, "a jail has no device of the host"),
    with(
        "dns",
        Refused,
        "the relay answers DNS; name resolvers in the policy ([network])",
    ),
    with("dns-option", Refused, "the relay answers DNS"),
    with("dns-search", Refused, "the relay answers DNS"),
    with(
        "entrypoint",
        Refused,
        "the command of a container is `sleep infinity`; `exec` runs others",
    ),
    with("gpus", Refused, "a jail has no device of the host"),
    with("group-add", Refused, "a jail has no further groups"),
    short(
        'h',
        with("hostname", Refused, "creel chooses the host name"),
    ),
    with("mount", Refused, "use -v SRC:DST[:ro]"),
    with("pid", Refused, "a jail has its own processes"),
    with("platform", Refused, "the host's programs are used"),
    short(
        'p',
        with(
            "publish",
            Refused,
            "CREEL_FLAGS=\"--publish ...\" opens a port",
        ),
    ),
    with(
        "shm-size",
        Refused,
        "`limits.disk` of a policy is the size of each tmpfs",
    ),
    with("stop-signal", Refused, "`stop` sends SIGTERM"),
    with(
        "stop-timeout",
        Refused,
        "`limits.grace` of a policy is the time between SIGTERM and SIGKILL",
    ),
    with("sysctl", Refused, "a jail changes no kernel parameter"),
    with("runtime", Refused, "creel is the runtime"),
    with("userns", Refused, "a jail has its own"),
    with("uts", Refused, "a jail has its own"),
    with("volumes-from", Refused, "name each directory with -v"),
    with("volume-driver", Refused, "creel has no volumes"),
    plain("oom-kill-disable", Refused, "`memory` is a limit"),
    plain("privileged", Refused, "a jail is never privileged"),
    plain("rm", Refused, "use `rm -f`"),
];

/// Flags of `exec`.
pub const EXEC: &[Flag] = &[
    short(
        'i',
        plain(
            "interactive",
            Honoured,
            "stdin is the caller's; without it, stdin is empty",
        ),
    ),
    short('t', plain("tty", Honoured, "a terminal")),
    short(
        'd',
        plain(
            "detach",
            Honoured,
            "the command outlives its caller; `creel logs` has its output",
        ),
    ),
    short(
        'w',
        with("workdir", Honoured, "the command's working directory"),
    ),
    short('e', with("env", Honoured, "a variable of the command")),
    with("env-file", Honoured, "variables of the command"),
    short('u', with("user", Honoured, "as in `create`")),
    with(
        "detach-keys",
        Refused,
        "a command cannot be detached from later",
    ),
    plain("privileged", Refused, "a command has no more than the jail"),
];

pub const INSPECT: &[Flag] = &[
    short('f', with("format", Honoured, "a template")),
    with(
        "type",
        Only(&["container"]),
        "creel has containers alone; `image inspect` answers for every name",
    ),
];
pub const IMAGE: &[Flag] = &[short('f', with("format", Honoured, "a template"))];
pub const VERSION: &[Flag] = &[short('f', with("format", Honoured, "a template"))];
pub const PS: &[Flag] = &[
    short('a', plain("all", Honoured, "also those that do not run")),
    short('q', plain("quiet", Honoured, "ids alone")),
    plain("no-trunc", Honoured, "whole ids"),
    short('f', with("filter", Honoured, "name=, id=, label=, status=")),
    with("format", Honoured, "a template"),
];
pub const REMOVE: &[Flag] = &[
    short('f', plain("force", Honoured, "ends it first")),
    short('v', plain("volumes", Always, "creel has no volumes")),
];
pub const STOP: &[Flag] = &[
    short(
        't',
        with("time", Honoured, "seconds between SIGTERM and SIGKILL"),
    ),
    with("timeout", Honoured, "as --time"),
];
pub const PULL: &[Flag] = &[short('q', plain("quiet", Always, "no image is pulled"))];
/// For `start`, `kill`, `pause` and `unpause`.
pub const NOTHING: &[Flag] = &[];

/// The flags of the commands, for people.
pub fn listed() -> String {
    let mut all = String::new();
    for (command, table) in [
        ("create", CREATE),
        ("exec", EXEC),
        ("ps", PS),
        ("rm", REMOVE),
        ("stop", STOP),
    ] {
        let _ = writeln!(all, "\nFlags of {command}:");
        for flag in table {
            let then = match flag.then {
                Honoured => "honoured".into(),
                Always => "always so".into(),
                Only(values) => format!("only `{}`", values[0]),
                Refused => "refused".into(),
            };
            let letter = flag
                .short
                .map_or(String::new(), |letter| format!("-{letter}, "));
            let name = format!("{letter}--{}", flag.long);
            let _ = writeln!(all, "  {name:20} {then:24} {}", flag.why);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_has_one_row() {
        for table in [CREATE, EXEC, PS, REMOVE, STOP] {
            for flag in table {
                let same = table.iter().filter(|other| other.long == flag.long);
                assert_eq!(same.count(), 1, "{}", flag.long);
                let same = table.iter().filter(|other| other.short == flag.short);
                assert!(flag.short.is_none() || same.count() == 1, "{}", flag.long);
            }
        }
    }
}
