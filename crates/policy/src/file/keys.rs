//! The keys of a policy file, and what to say of one that is none of them.

use super::walk::File;
use crate::error::{PolicyError, Remedy};
use crate::tools::Tool;
use crate::tree::{Format, Table};

pub const TOP: Keys = Keys {
    place: "at the top level",
    section: "",
    known: &[
        "filesystem",
        "tools",
        "network",
        "environment",
        "limits",
        "process",
        "session",
        "tests",
        "extends",
        "allow_degraded",
    ],
};
pub const FILESYSTEM: Keys = Keys {
    place: "in [filesystem]",
    section: "filesystem",
    known: &[
        "read",
        "write",
        "load",
        "exec",
        "deny",
        "protect",
        "unprotect",
        "workspace",
    ],
};
pub const NETWORK: Keys = Keys {
    place: "in [network]",
    section: "network",
    known: &[
        "mode",
        "allow",
        "deny",
        "limits",
        "credentials",
        "resolvers",
    ],
};
pub const DESTINATION: Keys = Keys {
    place: "in a destination",
    section: "",
    known: &["host", "ports", "protocol", "tls", "methods", "paths"],
};
pub const NETWORK_LIMITS: Keys = Keys {
    place: "in [network.limits]",
    section: "network.limits",
    known: &[
        "connections",
        "rate",
        "bytes_in",
        "bytes_out",
        "bandwidth",
        "idle",
    ],
};
pub const CREDENTIAL: Keys = Keys {
    place: "in [[network.credentials]]",
    section: "",
    known: &["host", "header", "variable", "secret"],
};
pub const SECRET: Keys = Keys {
    place: "in a secret",
    section: "",
    known: &["env", "file"],
};
pub const ENVIRONMENT: Keys = Keys {
    place: "in [environment]",
    section: "environment",
    known: &["set", "pass", "git_identity"],
};
pub const LIMITS: Keys = Keys {
    place: "in [limits]",
    section: "limits",
    known: &[
        "memory",
        "memory_high",
        "cpus",
        "pids",
        "timeout",
        "cpu_time",
        "disk",
        "inodes",
        "file_size",
        "open_files",
        "output",
        "grace",
    ],
};
pub const TOOLS: Keys = Keys {
    place: "in [tools]",
    section: "tools",
    known: &[
        "profile",
        "allow",
        "deny",
        "elevated",
        "max_iterations",
        "read",
        "write",
        "edit",
        "apply_patch",
        "exec",
        "process",
        "browser",
        "message",
        "fetch",
    ],
};
pub const PROCESS: Keys = Keys {
    place: "in [process]",
    section: "process",
    known: &["debug"],
};
pub const SESSION: Keys = Keys {
    place: "in [session]",
    section: "session",
    known: &["mode", "scope"],
};
pub const TESTS: Keys = Keys {
    place: "in [tests]",
    section: "tests",
    known: &["allow", "deny"],
};
const TOOL: Keys = Keys {
    place: "for a tool",
    section: "",
    known: &["enabled", "ask", "rate", "max_iterations", "timeout"],
};
const FILE_TOOL: Keys = Keys {
    place: "for a tool of files",
    section: "",
    known: &[
        "enabled",
        "ask",
        "allowed_paths",
        "denied_paths",
        "rate",
        "max_iterations",
        "timeout",
    ],
};
const EXEC_TOOL: Keys = Keys {
    place: "in [tools.exec]",
    section: "tools.exec",
    known: &[
        "enabled",
        "security",
        "ask",
        "elevated",
        "commands",
        "languages",
        "allowed_paths",
        "denied_paths",
        "timeout",
        "rate",
        "max_iterations",
    ],
};
const MESSAGE_TOOL: Keys = Keys {
    place: "in [tools.message]",
    section: "tools.message",
    known: &[
        "enabled",
        "ask",
        "channels",
        "rate",
        "max_iterations",
        "timeout",
    ],
};
const BROWSER_TOOL: Keys = Keys {
    place: "in [tools.browser]",
    section: "tools.browser",
    known: &[
        "enabled",
        "ask",
        "target",
        "rate",
        "max_iterations",
        "timeout",
    ],
};
pub const COMMAND: Keys = Keys {
    place: "in a command",
    section: "",
    known: &["command", "args"],
};
pub const GRANT: Keys = Keys {
    place: "in a grant",
    section: "",
    known: &["path", "optional"],
};

/// What a table may hold.
pub struct Keys {
    /// Reads on from a key's name.
    pub place: &'static str,
    /// Its header, without brackets; empty for a table that has none.
    pub section: &'static str,
    pub known: &'static [&'static str],
}

/// What may be said of a tool.
pub fn of_tool(tool: Tool) -> &'static Keys {
    match tool {
        Tool::Read | Tool::Write | Tool::Edit | Tool::ApplyPatch => &FILE_TOOL,
        Tool::Exec => &EXEC_TOOL,
        Tool::Message => &MESSAGE_TOOL,
        Tool::Browser => &BROWSER_TOOL,
        Tool::Process | Tool::Fetch => &TOOL,
    }
}

/// Keys that more than one section has, so that none is the one that was meant.
const EVERYWHERE: [&str; 3] = ["allow", "limits", "ports"];

impl File<'_> {
    /// The first unknown key, in the order of the file, is an error.
    pub fn check_keys(&self, table: &Table, keys: &Keys) -> Result<(), PolicyError> {
        let unknown = table
            .keys()
            .find(|key| !keys.known.contains(&key.name.as_str()));
        let Some(key) = unknown else {
            return Ok(());
        };
        let name = key.name.as_str();
        let elsewhere = [
            &FILESYSTEM,
            &NETWORK,
            &ENVIRONMENT,
            &LIMITS,
            &PROCESS,
            &EXEC_TOOL,
            &MESSAGE_TOOL,
        ]
        .into_iter()
        .find(|other| other.known.contains(&name) && !EVERYWHERE.contains(&name));
        let remedy = match elsewhere {
            Some(other) => Remedy::Section(other.section),
            None if TOP.known.contains(&name) => match self.format {
                Format::Toml => Remedy::TopLevel,
                Format::Yaml | Format::Json5 => Remedy::Outermost,
            },
            None => Remedy::among(name, keys.known),
        };
        Err(PolicyError::UnknownKey {
            at: self.text.place(key.span.start),
            key: name.to_owned(),
            section: keys.place,
            remedy,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::refused;

    #[test]
    fn unknown_keys() {
        // The first in the order of the file, not of the alphabet.
        refused(
            r#"
            [filesystem]|read = []|raed = []
            3:1: unknown key 'raed' in [filesystem]; did you mean 'read'?
            [filesytem]|read = 3
            1:2: unknown key 'filesytem' at the top level; did you mean 'filesystem'?
            memory = '1GiB'
            1:1: unknown key 'memory' at the top level; it belongs in [limits]
            [limits]|allow_degraded = []
            2:1: unknown key 'allow_degraded' in [limits]; move it above the first [section]
            [network]|  "é".ports = [443]
            2:3: unknown key 'é' in [network]; known: mode, allow, deny, limits, credentials, resolvers
            [filesystem]|read = ['/ä', { path = '/a', optoinal = true }]
            2:30: unknown key 'optoinal' in a grant; did you mean 'optional'?
            [network]|zz = 1|aa = 1
            2:1: unknown key 'zz' in [network]; known: mode, allow, deny, limits, credentials, resolvers
            '' = 1
            1:1: unknown key '' at the top level; known: filesystem, tools, network, environment, limits, process, session, tests, extends, allow_degraded
            "#,
        );
    }
}
