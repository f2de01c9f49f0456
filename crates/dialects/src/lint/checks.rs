//! The table of checks: a row for each, with the consequence of ignoring it and the smallest fix.
//! `docs/lint.md` is generated from these rows.

use super::Severity::{self, Critical, Info, Warn};

/// A kind of finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Check {
    /// As `creel policy check` prints it: lower-case words with `-`. Never changed once published.
    pub id: &'static str,
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
        "a shell on an allowlist runs whatever text it is given: built-ins need no further program, and the list bounds only what the shell starts",
        "name the commands that the shell would run, or bind its arguments";
    EXEC_INTERPRETER = "exec-interpreter", Warn,
        "an interpreter on an allowlist runs any program that can be written in its language",
        "bind its arguments to the scripts that are meant, or take it out";
    EXEC_LANGUAGES = "exec-languages", Info,
        "a language stands for its interpreter, which runs any program in it; what bounds that program is the filesystem's grants, not the list",
        "keep it where running code is the purpose; else name commands";
    EXEC_LAUNCHER = "exec-launcher", Warn,
        "a program whose arguments are another command (env, xargs, timeout) starts any program of the list with any arguments, past patterns of arguments",
        "take it out and name what it would start";
    EXEC_ARGUMENTS = "exec-arguments", Warn,
        "programs such as find, tar, git, sed and awk execute or write by their options, so a pattern that ends in `...`, or none at all, allows that too",
        "end the pattern before the options: name each form that is needed";
    EXEC_NEVER = "exec-never", Warn,
        "an entry of an allowlist that no grant covers, or where no program is, never matches",
        "grant its directory under filesystem.exec, correct the name, or take the entry out";
    EXEC_ALLOWLIST_EMPTY = "exec-allowlist-empty", Warn,
        "security = \"allowlist\" without commands or languages allows nothing but the command that creel starts",
        "name commands, or write security = \"deny\" to say so";
    EXEC_FULL_LISTED = "exec-full-listed", Info,
        "security = \"full\" beside a list of commands reads as if everything ran; the list is what counts",
        "write security = \"allowlist\", or take the list out";
    EXEC_WRITES = "exec-writes", Warn,
        "without edit or apply_patch, but with write and exec, any program may still change the workspace",
        "deny write too, which makes the workspace read-only for every process";
    EXEC_WRITABLE = "exec-writable", Warn,
        "a tree of the host that is writable and executable lets the jail plant programs that outlive it, and run what no list names",
        "grant it for one of the two";
    EXEC_BY_OTHERS = "exec-by-others", Critical,
        "whoever may write to an executable tree decides what runs in the jail",
        "take the write permission of group and others from it (chmod go-w)";

    // Tools.
    TOOL_UNKNOWN = "tool-unknown", Warn,
        "a name that creel does not know grants and denies nothing that the kernel holds; a misspelt deny is no deny",
        "correct the name; creel knows read, write, edit, apply_patch, exec, process, browser, message and fetch";
    TOOL_WILDCARD = "tool-wildcard", Warn,
        "a wildcard also allows the tools that come with the next version of the runtime",
        "list the tools that are meant";
    TOOL_BOTH = "tool-both", Warn,
        "a tool that one layer allows and denies is denied, and one of the two lines misleads",
        "take out one of the two lines";
    TOOL_DENY_IDLE = "tool-deny-idle", Info,
        "a deny of a tool that no list allows changes nothing",
        "take it out, or keep it as a reminder";
    TOOL_EDIT_WITHOUT_WRITE = "tool-edit-without-write", Warn,
        "edit and apply_patch change files, so without write and read they are not there",
        "allow write and read as well, or take edit and apply_patch out";
    TOOL_PROCESS_WITHOUT_EXEC = "tool-process-without-exec", Warn,
        "process looks after what exec started, so without exec it is not there",
        "allow exec as well, or take process out";
    TOOL_OUTSIDE_PROFILE = "tool-outside-profile", Warn,
        "allow narrows a profile and never adds to it, so a tool that the profile lacks stays out",
        "choose a wider profile, or write allow alone";
    TOOL_ENABLED_IDLE = "tool-enabled-idle", Info,
        "enabled = true grants nothing where a list leaves the tool out",
        "add the tool to tools.allow, or take the line out";
    TOOL_SETTINGS_IDLE = "tool-settings-idle", Info,
        "settings of a tool that is not allowed bind nothing",
        "allow the tool, or take its section out";
    TOOL_NO_NETWORK = "tool-no-network", Info,
        "fetch, browser and message need a network, and this policy has none",
        "name the hosts under [network], or take the tool out";
    TOOL_ASK_NOBODY = "tool-ask-nobody", Warn,
        "ask = \"always\" is refused in `creel run`: there is nobody to ask, and silence is denial",
        "write ask = \"on-miss\" with rules for what is allowed, or deny the tool";
    TOOL_ELEVATED = "tool-elevated", Warn,
        "elevated = true lets the lower layers keep a way around the sandbox that the runtime offers",
        "write elevated = false";
    EMPTY_LIST = "empty-list", Warn,
        "an empty list allows nothing and takes away what the layers above allow; an absent key leaves it as it is",
        "take the key out, unless nothing is meant";

    // Files.
    GRANT_DANGEROUS = "grant-dangerous", Critical,
        "the path holds credentials, the host's settings, or a socket that commands the host",
        "grant the one file or directory that is needed, outside of it";
    GRANT_HOME = "grant-home", Critical,
        "a home granted whole brings its keys, tokens and shell start files with it",
        "grant the directories of it that are needed";
    WORKSPACE_HOME = "workspace-home", Critical,
        "a workspace that is the home, or holds it, gives its keys and start files to the jail",
        "start from the project's directory, or name it with --workspace";
    GRANT_TWICE = "grant-twice", Info,
        "of a grant within another grant of the same list, one says nothing",
        "take out the inner one, or the outer one if less is meant";
    GRANT_IDLE = "grant-idle", Warn,
        "a grant of which a tool that is not allowed, or the workspace's mode, leaves nothing",
        "allow the tool, or take the grant out";
    GRANT_OWN = "grant-own", Info,
        "the home, /tmp and /dev/shm are the jail's own and writable already; the host's are not brought in",
        "take it out, or name a directory of the host beneath it";
    GRANT_ABSENT = "grant-absent", Warn,
        "a grant of what does not exist refuses the run",
        "correct the path, or write { path = \"...\", optional = true }";
    PATTERN_UNMET = "pattern-unmet", Warn,
        "a pattern of grants that meets nothing grants nothing, and refuses the run",
        "correct it, or write { path = \"...\", optional = true }";
    PATTERN_LATER = "pattern-later", Warn,
        "a pattern in deny or protect covers the names that are there; in a tree that the jail may write to, a name that is created later is covered by nothing",
        "name the directory that they lie in, or the names; { path = \"...\", optional = true } says that what is there is enough";
    DENY_IDLE = "deny-idle", Warn,
        "a deny outside every grant takes nothing away: the path is not there anyway, and a misspelt one protects nothing",
        "correct the path, or take the line out";
    DENY_SHADOWED = "deny-shadowed", Info,
        "a deny within another deny says nothing",
        "take out the inner one";
    DENY_HIDES = "deny-hides", Warn,
        "a grant within a denied path goes: deny wins, whatever the order",
        "take out the grant, or deny less";
    UNPROTECT = "unprotect", Critical,
        "the host executes what lies at a trust path (a git hook, an editor's task, a shell's start file), so the jail would run code outside of itself",
        "take it out, and change such files by hand";
    UNPROTECT_BUILD = "unprotect-build", Info,
        "an agent has to edit such files (a Makefile, package.json), and what they run it runs in the jail; outside of it, you do",
        "look at them before running them outside of the jail";
    UNPROTECT_IDLE = "unprotect-idle", Info,
        "unprotect takes back the protection of one trust path by its very name; of anything else it takes nothing",
        "name the trust path itself, or take the line out";
    PROTECT_IDLE = "protect-idle", Info,
        "what no grant lets the jail change needs no protection, and a misspelt path protects nothing",
        "correct the path, or take the line out";
    WORKSPACE_IDLE = "workspace-idle", Warn,
        "workspace = \"rw\" without the tool write, or any workspace without read, is not what holds",
        "write the mode that holds, or allow the tool";
    SECRET_IN_WORKSPACE = "secret-in-workspace", Warn,
        "a file that looks like a credential lies where every process of the jail reads it",
        "move it out of the workspace, or deny it";

    // Environment.
    ENV_CREDENTIAL = "env-credential", Critical,
        "a variable that looks like a credential goes to every process of the jail, and into whatever they print",
        "take it out of environment.pass";
    ENV_SECRET = "env-secret", Critical,
        "a credential in a policy file is read by everybody who reads the file, and by every process of the jail",
        "take it out, and revoke it if the file was shared";
    ENV_LOADER = "env-loader", Critical,
        "the variable makes programs load or run code that they would not, so an allowlist of programs says little",
        "take it out";
    ENV_TWICE = "env-twice", Info,
        "of a variable that is set and passed, the caller's value is in doubt for whoever reads the policy",
        "keep one of the two";
    PATH_ABSENT = "path-absent", Info,
        "without PATH only commands with a slash are found",
        "set PATH = \"/usr/bin:/bin\"";
    PATH_RELATIVE = "path-relative", Warn,
        "an empty or relative entry of PATH finds programs in whatever directory a process is in, a checkout among them",
        "write absolute directories";
    PATH_WRITABLE = "path-writable", Warn,
        "in a directory on PATH that the jail may write to, it can put a program in place of another",
        "take the directory off PATH, or make it read-only";
    PATH_BY_OTHERS = "path-by-others", Critical,
        "in a directory on PATH that others on the host may write to, they can put a program in place of another",
        "take the directory off PATH, or run chmod go-w on it";

    // Limits.
    LIMIT_ABSENT = "limit-absent", Info,
        "a limit that no layer names is the default policy's, which may change with a version",
        "name it under [limits]";
    LIMIT_HUGE = "limit-huge", Warn,
        "a limit beyond what a host has bounds nothing",
        "name what the work needs";
    LIMIT_TINY = "limit-tiny", Warn,
        "below this hardly any program starts",
        "name what the work needs";
    LIMIT_IDLE = "limit-idle", Info,
        "the limit cannot be reached, because another ends the run or the write before",
        "make it smaller than the other, or take it out";

    // The network.
    NETWORK_IDLE = "network-idle", Warn,
        "hosts are allowed under mode \"none\", or under no mode at all, which is the same: nothing is reached",
        "write mode = \"allowlist\", or take network.allow out";
    NETWORK_NO_TOOL = "network-no-tool", Warn,
        "without any of the tools fetch, browser and message there is no network, whatever its rules say",
        "add \"fetch\" to tools.allow, or take the rules out";
    NETWORK_SETTINGS_IDLE = "network-settings-idle", Info,
        "limits, denials and resolvers grant no network; where there is none they bound nothing",
        "allow hosts, or take the settings out";
    NETWORK_CREDENTIAL_IDLE = "network-credential-idle", Warn,
        "a credential is put into requests to its host over TLS that creel ends; where the host is denied, or another layer does not allow it, nothing ever has it",
        "allow the host in every layer, or take the credential out";
    NETWORK_PUBLIC_SUFFIX = "network-public-suffix", Warn,
        "beneath a registry's or a hoster's name anybody may have one, and data may go to any of them",
        "name the hosts, or the owner's own suffix";
    NETWORK_ADDRESS = "network-address", Info,
        "an address has no name to be checked, and belongs to somebody else tomorrow",
        "name the host";
    NETWORK_HTTP_IDLE = "network-http-idle", Warn,
        "a rule about requests beside one that allows every request to the same host bounds nothing: what one rule of a list allows is allowed",
        "take the wider rule out";
    NETWORK_DENY_IDLE = "network-deny-idle", Info,
        "a denial of what no list has takes nothing away",
        "correct the name, or take it out";
    NETWORK_RANGE_DIRECT = "network-range-direct", Warn,
        "a range that names resolve to can be dialled by its numbers too, past the methods, the paths and the ended TLS of those names",
        "add protocol = \"none\" to the range: names may be there, and nobody dials it by number";
    NETWORK_UDP = "network-udp", Warn,
        "nobody looks into datagrams: over UDP the host is all that is checked, and QUIC's requests are not seen",
        "take it out where TCP would do, so that clients fall back to it";

    // Layers.
    LAYER_CLIPPED = "layer-clipped", Warn,
        "a layer asks for more than the layers above it have; what it asks for is left out",
        "take the line out, or grant it in a layer above";
    LAYER_EMPTY = "layer-empty", Info,
        "a layer that says nothing changes nothing",
        "take it away, or write what was meant";
    DEGRADED_BELOW = "degraded-below", Warn,
        "only the platform and the operator know whether a host may go without a layer of the jail",
        "move allow_degraded to the operator's file";
    DEGRADED_LANDLOCK = "degraded-landlock", Warn,
        "without Landlock the mounts hold alone: one fence around files, not two",
        "take \"landlock\" out, and run on a kernel that has it";
    POLICY_WRITABLE = "policy-writable", Critical,
        "whoever may write to a policy file decides what every run is allowed",
        "run chmod go-w on it";
    POLICY_FOREIGN = "policy-foreign", Critical,
        "a policy file of another user is that user's to change",
        "make it root's or your own (chown)";
    SESSION_OFF = "session-off", Warn,
        "mode = \"off\" asks the runtime to run its sessions outside of a jail",
        "write mode = \"all\"";
    SESSION_SHARED = "session-shared", Info,
        "one jail for all agents lets each read and change what another left in it",
        "write scope = \"agent\" or \"session\"";
}
