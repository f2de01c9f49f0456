//! The table of checks: a row for each, with the consequence of ignoring it and the smallest fix.
//! `docs/lint.md` is generated from these rows.

use super::Severity::{self, Critical, Info, Warn};

/// A kind of finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Check {
    /// As `creel policy check` prints it: lower-case words with `-`. Never changed once published.
    pub id: &'static str,
    /// The severity of its findings.
    pub severity: Severity,
    /// The consequence of ignoring it.
    pub why: &'static str,
    /// The general fix; a finding has the fix for its case.
    pub fix: &'static str,
}

macro_rules! checks {
    ($($name:ident = $id:literal, $severity:ident, $why:literal, $fix:literal;)+) => {
        $(pub const $name: Check = Check {
            id: $id,
            severity: $severity,
            why: $why,
            fix: $fix,
        };)+

        /// In the order of the documentation.
        pub const CHECKS: &[Check] = &[$($name),+];
    };
}

checks! {
    // Programs.
    EXEC_SHELL = "exec-shell", Warn,
        "a shell on an allowlist runs any text: built-ins need no further program, and the list bounds only the programs that the shell starts",
        "name the commands that the shell would run, or bind its arguments";
    EXEC_INTERPRETER = "exec-interpreter", Warn,
        "an interpreter on an allowlist runs any program that can be written in its language",
        "limit its arguments to the intended scripts, or remove it";
    EXEC_LANGUAGES = "exec-languages", Info,
        "a language allows its interpreter, which runs any program in it; only the filesystem grants bound that program, not the list",
        "keep it if the purpose is to run code; otherwise name commands";
    EXEC_LAUNCHER = "exec-launcher", Warn,
        "a program whose arguments are another command (env, xargs, timeout) starts any program of the list with any arguments, past patterns of arguments",
        "remove it and name the programs that it would start";
    EXEC_ARGUMENTS = "exec-arguments", Warn,
        "programs such as find, tar, git, sed and awk execute or write by their options, so a pattern that ends in `...`, or none at all, allows that too",
        "end the pattern before the options: name each form that is needed";
    EXEC_NEVER = "exec-never", Warn,
        "an entry of an allowlist never matches if no grant covers it or no program exists there",
        "grant its directory under filesystem.exec, correct the name, or remove the entry";
    EXEC_ALLOWLIST_EMPTY = "exec-allowlist-empty", Warn,
        "security = \"allowlist\" without commands or languages allows nothing but the command that creel starts",
        "name commands, or write security = \"deny\" to say so";
    EXEC_FULL_LISTED = "exec-full-listed", Info,
        "security = \"full\" with a list of commands looks as if every program could run; only the list applies",
        "write security = \"allowlist\", or remove the list";
    EXEC_WRITES = "exec-writes", Warn,
        "without edit or apply_patch, but with write and exec, any program may still change the workspace",
        "deny write too, which makes the workspace read-only for every process";
    EXEC_WRITABLE = "exec-writable", Warn,
        "a tree of the host that is writable and executable lets the jail leave programs behind, and run programs that no list names",
        "grant it for writing or for execution, not both";
    EXEC_BY_OTHERS = "exec-by-others", Critical,
        "every user who may write to an executable tree decides which code runs in the jail",
        "remove the write permission of group and others (chmod go-w)";

    // Tools.
    TOOL_UNKNOWN = "tool-unknown", Warn,
        "the kernel enforces nothing for a name that creel does not know; a misspelt deny denies nothing",
        "correct the name; creel knows read, write, edit, apply_patch, exec, process, browser, message and fetch";
    TOOL_WILDCARD = "tool-wildcard", Warn,
        "a wildcard also allows the tools that come with the next version of the runtime",
        "list the intended tools";
    TOOL_BOTH = "tool-both", Warn,
        "a tool that one layer allows and denies is denied, and one of the two lines misleads",
        "remove one of the two lines";
    TOOL_DENY_IDLE = "tool-deny-idle", Info,
        "a deny of a tool that no list allows changes nothing",
        "remove it, or keep it as a reminder";
    TOOL_EDIT_WITHOUT_WRITE = "tool-edit-without-write", Warn,
        "edit and apply_patch change files, so they are not available without write and read",
        "allow write and read as well, or remove edit and apply_patch";
    TOOL_PROCESS_WITHOUT_EXEC = "tool-process-without-exec", Warn,
        "process manages the programs that exec started, so it is not available without exec",
        "allow exec as well, or remove process";
    TOOL_OUTSIDE_PROFILE = "tool-outside-profile", Warn,
        "allow narrows a profile and never adds to it, so a tool that the profile lacks stays out",
        "choose a wider profile, or write allow alone";
    TOOL_ENABLED_IDLE = "tool-enabled-idle", Info,
        "enabled = true grants nothing if a list omits the tool",
        "add the tool to tools.allow, or remove the line";
    TOOL_SETTINGS_IDLE = "tool-settings-idle", Info,
        "settings of a tool that is not allowed have no effect",
        "allow the tool, or remove its section";
    TOOL_NO_NETWORK = "tool-no-network", Info,
        "fetch, browser and message need a network, and this policy has none",
        "name the hosts under [network], or remove the tool";
    TOOL_ASK_NOBODY = "tool-ask-nobody", Warn,
        "`creel run` cannot ask, so ask = \"always\" denies every use of the tool",
        "write ask = \"on-miss\" with rules for what is allowed, or deny the tool";
    TOOL_ELEVATED = "tool-elevated", Warn,
        "elevated = true lets the lower layers keep a way around the sandbox that the runtime offers",
        "write elevated = false";
    EMPTY_LIST = "empty-list", Warn,
        "an empty list allows nothing and removes everything that the layers above allow; an absent key changes nothing",
        "remove the key, unless the list is meant to allow nothing";

    // Files.
    GRANT_DANGEROUS = "grant-dangerous", Critical,
        "the path has credentials, settings of the host, or a socket that controls the host",
        "grant only the files or directories that are needed, outside of it";
    GRANT_HOME = "grant-home", Critical,
        "a grant of the whole home includes its keys, tokens and shell start files",
        "grant only the directories in it that are needed";
    WORKSPACE_HOME = "workspace-home", Critical,
        "a workspace that is the home, or contains it, gives its keys and start files to the jail",
        "start from the project's directory, or name it with --workspace";
    GRANT_TWICE = "grant-twice", Info,
        "one of two nested grants of the same list has no effect",
        "remove the inner one, or the outer one if less should be granted";
    GRANT_IDLE = "grant-idle", Warn,
        "a tool that is not allowed, or the workspace's mode, cancels the grant",
        "allow the tool, or remove the grant";
    GRANT_OWN = "grant-own", Info,
        "the jail has its own writable home, /tmp and /dev/shm; the grant does not add those of the host",
        "remove it, or name a directory of the host below it";
    GRANT_ABSENT = "grant-absent", Warn,
        "a grant of a missing path makes creel refuse the run",
        "correct the path, or write { path = \"...\", optional = true }";
    PATTERN_UNMET = "pattern-unmet", Warn,
        "a pattern in a grant that matches nothing makes creel refuse the run",
        "correct the pattern, or write { path = \"...\", optional = true }";
    PATTERN_LATER = "pattern-later", Warn,
        "a pattern in deny or protect covers the names that exist at the start; in a writable tree, it does not cover names that are created later",
        "name the directory that contains the files, or the files; or accept this with { path = \"...\", optional = true }";
    DENY_IDLE = "deny-idle", Warn,
        "a deny outside every grant has no effect: the path does not exist in the jail anyway, and a misspelt deny protects nothing",
        "correct the path, or remove the line";
    DENY_SHADOWED = "deny-shadowed", Info,
        "a deny within another deny has no effect",
        "remove the inner one";
    DENY_HIDES = "deny-hides", Warn,
        "a grant within a denied path has no effect: deny wins, in any order",
        "remove the grant, or deny less";
    UNPROTECT = "unprotect", Critical,
        "the host executes files at a trust path (a git hook, an editor's task, a shell's start file), so the jail could run code outside of itself",
        "remove it, and change such files by hand";
    UNPROTECT_BUILD = "unprotect-build", Info,
        "an agent has to edit such files (a Makefile, package.json); the agent runs their commands in the jail, and you run them outside of it",
        "review them before you run them outside of the jail";
    UNPROTECT_IDLE = "unprotect-idle", Info,
        "unprotect removes the protection of one trust path by its exact name and affects nothing else",
        "name the trust path itself, or remove the line";
    PROTECT_IDLE = "protect-idle", Info,
        "a path that the jail cannot change needs no protection, and a misspelt path protects nothing",
        "correct the path, or remove the line";
    WORKSPACE_IDLE = "workspace-idle", Warn,
        "workspace = \"rw\" does not apply without the tool write, and no mode applies without the tool read",
        "write the mode that applies, or allow the tool";
    SECRET_IN_WORKSPACE = "secret-in-workspace", Warn,
        "every process of the jail can read a file that looks like a credential",
        "move it out of the workspace, or deny it";

    // Environment.
    ENV_CREDENTIAL = "env-credential", Critical,
        "every process of the jail gets a variable that looks like a credential, and may print it",
        "remove it from environment.pass";
    ENV_SECRET = "env-secret", Critical,
        "every reader of a policy file and every process of the jail can read a credential in it",
        "remove it, and revoke it if the file was shared";
    ENV_LOADER = "env-loader", Critical,
        "the variable makes programs load or run other code, so an allowlist of programs protects little",
        "take it out";
    ENV_TWICE = "env-twice", Info,
        "if a variable is set and passed, a reader of the policy cannot tell which value applies",
        "remove it from set or from pass";
    PATH_ABSENT = "path-absent", Info,
        "without PATH only commands with a slash are found",
        "set PATH = \"/usr/bin:/bin\"";
    PATH_RELATIVE = "path-relative", Warn,
        "an empty or relative entry of PATH finds programs in the current directory of a process, which may be a checkout",
        "write absolute directories";
    PATH_WRITABLE = "path-writable", Warn,
        "the jail can replace programs in a directory on PATH that it may write to",
        "remove the directory from PATH, or make it read-only";
    PATH_BY_OTHERS = "path-by-others", Critical,
        "other users of the host can replace programs in a directory on PATH that they may write to",
        "remove the directory from PATH, or run chmod go-w on it";

    // Limits.
    LIMIT_ABSENT = "limit-absent", Info,
        "a limit that no layer sets comes from the default policy, which may change with a version",
        "set it under [limits]";
    LIMIT_HUGE = "limit-huge", Warn,
        "a limit above the host's resources has no effect",
        "set the amount that the work needs";
    LIMIT_TINY = "limit-tiny", Warn,
        "hardly any program starts below this limit",
        "set the amount that the work needs";
    LIMIT_IDLE = "limit-idle", Info,
        "the limit cannot be reached, because another limit ends the run or the write first",
        "make it smaller than the other, or remove it";

    // The network.
    NETWORK_IDLE = "network-idle", Warn,
        "hosts are allowed, but the mode is \"none\" or absent, which means the same: no host can be reached",
        "write mode = \"allowlist\", or remove network.allow";
    NETWORK_NO_TOOL = "network-no-tool", Warn,
        "without one of the tools fetch, browser and message the jail has no network, regardless of its rules",
        "add \"fetch\" to tools.allow, or remove the rules";
    NETWORK_SETTINGS_IDLE = "network-settings-idle", Info,
        "limits, denials and resolvers grant no network; without one they have no effect",
        "allow hosts, or remove the settings";
    NETWORK_CREDENTIAL_IDLE = "network-credential-idle", Warn,
        "creel adds a credential to requests to its host over TLS that it terminates; if the host is denied, or another layer does not allow it, no request gets it",
        "allow the host in every layer, or remove the credential";
    NETWORK_PUBLIC_SUFFIX = "network-public-suffix", Warn,
        "anyone can get a name below the domain of a registry or a hosting provider, and data may go to any of them",
        "name the hosts, or the owner's own suffix";
    NETWORK_ADDRESS = "network-address", Info,
        "an address has no name that creel could check, and may belong to another owner tomorrow",
        "name the host";
    NETWORK_HTTP_IDLE = "network-http-idle", Warn,
        "a rule about requests has no effect if another rule of the list allows every request to the same host: one matching rule is enough",
        "remove the wider rule";
    NETWORK_DENY_IDLE = "network-deny-idle", Info,
        "a denial of a host that no list allows has no effect",
        "correct the name, or remove it";
    NETWORK_RANGE_DIRECT = "network-range-direct", Warn,
        "the jail can also connect to a range by address, which bypasses the methods, paths and TLS termination of the names that resolve to it",
        "add protocol = \"none\" to the range: names may resolve to it, and connections by address are refused";
    NETWORK_UDP = "network-udp", Warn,
        "creel does not inspect datagrams: over UDP it checks only the host and does not see QUIC's requests",
        "remove it if TCP is enough, so that clients fall back to TCP";

    // Layers.
    LAYER_CLIPPED = "layer-clipped", Warn,
        "a layer asks for more than the layers above it grant; creel leaves the excess out",
        "remove the line, or grant it in a layer above";
    LAYER_EMPTY = "layer-empty", Info,
        "an empty layer changes nothing",
        "remove it, or write the intended rules";
    DEGRADED_BELOW = "degraded-below", Warn,
        "only the platform and the operator know whether a host may go without a layer of the jail",
        "move allow_degraded to the operator's file";
    DEGRADED_LANDLOCK = "degraded-landlock", Warn,
        "without Landlock only the mounts protect files: one layer instead of two",
        "remove \"landlock\", and run on a kernel that has it";
    POLICY_WRITABLE = "policy-writable", Critical,
        "every user who may write to a policy file decides the permissions of every run",
        "run chmod go-w on it";
    POLICY_FOREIGN = "policy-foreign", Critical,
        "another user owns the policy file and can change it",
        "give it to root or to yourself (chown)";
    SESSION_OFF = "session-off", Warn,
        "mode = \"off\" asks the runtime to run its sessions outside of a jail",
        "write mode = \"all\"";
    SESSION_SHARED = "session-shared", Info,
        "one jail for all agents lets each agent read and change the files of the others",
        "write scope = \"agent\" or \"session\"";
}
