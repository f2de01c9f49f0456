//! The keys of tables that are not sections: a grant, a destination, the settings of a tool.

use crate::tools::Tool;
use crate::words::NameList;

/// The keys that a table may have.
pub struct Keys {
    /// Continues the sentence after a key's name.
    pub place: &'static str,
    words: NameList,
}

impl Keys {
    const fn new(place: &'static str, words: &'static str) -> Keys {
        Keys {
            place,
            words: NameList(words),
        }
    }

    pub fn known(&self) -> Vec<&'static str> {
        self.words.iter().collect()
    }
}

pub const GRANT: Keys = Keys::new("in a grant", "path optional at");
pub const COMMAND: Keys = Keys::new("in a command", "command args");
pub const SECRET: Keys = Keys::new("in a secret", "env file");
pub const CREDENTIAL: Keys = Keys::new("in [[network.credentials]]", "host header variable secret");
pub const DESTINATION: Keys =
    Keys::new("in a destination", "host ports protocol tls methods paths");

const TOOL: Keys = Keys::new("for a tool", "enabled ask rate max_iterations timeout");
const FILE_TOOL: Keys = Keys::new(
    "for a tool of files",
    "enabled ask allowed_paths denied_paths rate max_iterations timeout",
);
pub const EXEC_TOOL: Keys = Keys::new(
    "in [tools.exec]",
    "enabled security ask elevated commands languages allowed_paths denied_paths timeout rate max_iterations",
);
pub const MESSAGE_TOOL: Keys = Keys::new(
    "in [tools.message]",
    "enabled ask channels rate max_iterations timeout",
);
const BROWSER_TOOL: Keys = Keys::new(
    "in [tools.browser]",
    "enabled ask target rate max_iterations timeout",
);

/// The keys of a tool's settings.
pub fn of_tool(tool: Tool) -> &'static Keys {
    match tool {
        Tool::Read | Tool::Write | Tool::Edit | Tool::ApplyPatch => &FILE_TOOL,
        Tool::Exec => &EXEC_TOOL,
        Tool::Message => &MESSAGE_TOOL,
        Tool::Browser => &BROWSER_TOOL,
        Tool::Process | Tool::Fetch => &TOOL,
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
