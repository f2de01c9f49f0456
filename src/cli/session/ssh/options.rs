//! The options of ssh(1) and ssh_config(5), and what each means where the host is a session: one row each, with the
//! reason. An option that is not in a table is refused.

use std::fmt::Write as _;

/// The treatment of an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// It is honoured.
    Honoured,
    /// It says how a connection is made, and none is made.
    Unneeded,
    /// It is accepted with these values, which ask for nothing that a session lacks.
    Only(&'static [&'static str]),
    /// It would change what the command does, and creel cannot do it.
    Refused,
}

use Then::{Honoured, Only, Refused, Unneeded};

/// A flag of the command line.
pub struct Flag {
    pub letter: char,
    pub value: Value,
    pub then: Then,
    pub why: &'static str,
}

/// Whether a flag has a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    None,
    Needed,
}

const fn flag(letter: char, then: Then, why: &'static str) -> Flag {
    Flag {
        letter,
        value: Value::None,
        then,
        why,
    }
}

const fn with(letter: char, then: Then, why: &'static str) -> Flag {
    Flag {
        value: Value::Needed,
        ..flag(letter, then, why)
    }
}

/// Every flag of OpenSSH 10's ssh(1).
pub const FLAGS: &[Flag] = &[
    with('F', Honoured, "the only configuration file that is read"),
    with('l', Honoured, "the user, a part of the session's key"),
    with(
        'o',
        Honoured,
        "as a line of the configuration, before all of the file",
    ),
    with('p', Honoured, "the port, a part of the session's key"),
    flag('T', Honoured, "no terminal"),
    flag('n', Honoured, "stdin is empty"),
    flag('t', Honoured, "a terminal; twice: also if stdin is none"),
    flag('4', Unneeded, "no address is looked up"),
    flag('6', Unneeded, "no address is looked up"),
    flag('C', Unneeded, "nothing is sent that could be compressed"),
    flag('a', Unneeded, "no agent is forwarded"),
    flag('k', Unneeded, "no credentials are forwarded"),
    flag('q', Unneeded, "there are no warnings of a connection"),
    flag('v', Unneeded, "there is no connection to describe"),
    flag('x', Unneeded, "no X11 is forwarded"),
    with('c', Unneeded, "nothing is encrypted"),
    with('e', Only(&["none"]), "a session has no escape character"),
    with(
        'i',
        Unneeded,
        "nobody is authenticated; the key is not read",
    ),
    with('m', Unneeded, "nothing is encrypted"),
    flag('A', Refused, "a session gets no agent of the caller's"),
    flag('G', Refused, "the configuration is not printed"),
    flag(
        'K',
        Refused,
        "a session gets no credentials of the caller's",
    ),
    flag('M', Refused, "no connection is shared"),
    flag('N', Refused, "a session forwards no ports"),
    flag('X', Refused, "a session gets no X11"),
    flag('Y', Refused, "a session gets no X11"),
    flag(
        'f',
        Refused,
        "`creel exec --detach` runs a command in the background",
    ),
    flag('g', Refused, "a session forwards no ports"),
    flag(
        's',
        Refused,
        "a session has no subsystems such as sftp; `creel cp` copies files",
    ),
    flag('y', Refused, "messages go to stderr"),
    with('B', Refused, "no connection is made from an interface"),
    with('D', Refused, "a session forwards no ports"),
    with('E', Refused, "messages go to stderr"),
    with('I', Refused, "nobody is authenticated"),
    with(
        'J',
        Refused,
        "a session is on this machine, behind no other",
    ),
    with(
        'L',
        Refused,
        "a session forwards no ports; `creel create --publish` opens one",
    ),
    with('O', Refused, "no connection is shared"),
    with('P', Refused, "no tag is matched"),
    with('Q', Refused, "there are no algorithms"),
    with(
        'R',
        Refused,
        "a session forwards no ports; a policy grants hosts",
    ),
    with('S', Refused, "no connection is shared"),
    with('W', Refused, "a session forwards no ports"),
    with('b', Refused, "no connection is made from an address"),
    with('w', Refused, "a session has no tunnels"),
];

/// A keyword of the configuration, in small letters.
pub struct Keyword {
    pub name: &'static str,
    pub then: Then,
    pub why: &'static str,
}

const fn row(name: &'static str, then: Then, why: &'static str) -> Keyword {
    Keyword { name, then, why }
}

const NO: Then = Only(&["no"]);
const NONE: Then = Only(&["none"]);
const TO_CONNECT: &str = "no connection is made";
const TO_AUTHENTICATE: &str = "nobody is authenticated; no key is read";
const TO_KNOW: &str = "the host is this machine, by the kernel's word";
const TO_FORWARD: &str = "a session forwards no ports";

/// The keywords of ssh_config(5) that are known.
pub const KEYWORDS: &[Keyword] = &[
    row(
        "hostname",
        Honoured,
        "the host, a part of the session's key",
    ),
    row("port", Honoured, "a part of the session's key"),
    row(
        "requesttty",
        Honoured,
        "whether the command gets a terminal",
    ),
    row("setenv", Honoured, "variables of the command"),
    row("stdinnull", Honoured, "stdin is empty"),
    row(
        "user",
        Honoured,
        "a part of the session's key; in the jail, the user is `agent`",
    ),
    row("addressfamily", Unneeded, TO_CONNECT),
    row("batchmode", Unneeded, "nothing is asked"),
    row("bindaddress", Unneeded, TO_CONNECT),
    row("certificatefile", Unneeded, TO_AUTHENTICATE),
    row("checkhostip", Unneeded, TO_KNOW),
    row("ciphers", Unneeded, TO_CONNECT),
    row("clearallforwardings", Unneeded, TO_FORWARD),
    row("compression", Unneeded, TO_CONNECT),
    row("connectionattempts", Unneeded, TO_CONNECT),
    row("connecttimeout", Unneeded, TO_CONNECT),
    row("exitonforwardfailure", Unneeded, TO_FORWARD),
    row("fingerprinthash", Unneeded, TO_KNOW),
    row("globalknownhostsfile", Unneeded, TO_KNOW),
    row("gssapiauthentication", Unneeded, TO_AUTHENTICATE),
    row("hashknownhosts", Unneeded, TO_KNOW),
    row("hostbasedauthentication", Unneeded, TO_AUTHENTICATE),
    row("hostkeyalgorithms", Unneeded, TO_KNOW),
    row("hostkeyalias", Unneeded, TO_KNOW),
    row("identitiesonly", Unneeded, TO_AUTHENTICATE),
    row("identityagent", Unneeded, TO_AUTHENTICATE),
    row("identityfile", Unneeded, TO_AUTHENTICATE),
    row("ipqos", Unneeded, TO_CONNECT),
    row("kbdinteractiveauthentication", Unneeded, TO_AUTHENTICATE),
    row("kexalgorithms", Unneeded, TO_CONNECT),
    row("loglevel", Unneeded, "there is no connection to describe"),
    row("macs", Unneeded, TO_CONNECT),
    row("nohostauthenticationforlocalhost", Unneeded, TO_KNOW),
    row("numberofpasswordprompts", Unneeded, TO_AUTHENTICATE),
    row("passwordauthentication", Unneeded, TO_AUTHENTICATE),
    row("preferredauthentications", Unneeded, TO_AUTHENTICATE),
    row("pubkeyacceptedalgorithms", Unneeded, TO_AUTHENTICATE),
    row("pubkeyauthentication", Unneeded, TO_AUTHENTICATE),
    row("rekeylimit", Unneeded, TO_CONNECT),
    row("serveralivecountmax", Unneeded, TO_CONNECT),
    row("serveraliveinterval", Unneeded, TO_CONNECT),
    row("stricthostkeychecking", Unneeded, TO_KNOW),
    row("tcpkeepalive", Unneeded, TO_CONNECT),
    row("updatehostkeys", Unneeded, TO_KNOW),
    row("userknownhostsfile", Unneeded, TO_KNOW),
    row("verifyhostkeydns", Unneeded, TO_KNOW),
    row("visualhostkey", Unneeded, TO_KNOW),
    row("addkeystoagent", NO, TO_AUTHENTICATE),
    row("canonicalizehostname", NO, "no name is looked up"),
    row("controlmaster", NO, "no connection is shared"),
    row("controlpath", NONE, "no connection is shared"),
    row("controlpersist", NO, "no connection is shared"),
    row("escapechar", NONE, "a session has no escape character"),
    row(
        "forkafterauthentication",
        NO,
        "`creel exec --detach` runs a command in the background",
    ),
    row(
        "forwardagent",
        NO,
        "a session gets no agent of the caller's",
    ),
    row("forwardx11", NO, "a session gets no X11"),
    row("forwardx11trusted", NO, "a session gets no X11"),
    row("gatewayports", NO, TO_FORWARD),
    row(
        "gssapidelegatecredentials",
        NO,
        "a session gets no credentials of the caller's",
    ),
    row(
        "permitlocalcommand",
        NO,
        "nothing is executed outside of the jail",
    ),
    row(
        "proxycommand",
        NONE,
        "nothing is executed outside of the jail",
    ),
    row(
        "proxyjump",
        NONE,
        "a session is on this machine, behind no other",
    ),
    row("remotecommand", NONE, "name the command behind the host"),
    row(
        "sessiontype",
        Only(&["default"]),
        "a session has no subsystems such as sftp",
    ),
    row("tunnel", NO, "a session has no tunnels"),
    row("dynamicforward", Refused, TO_FORWARD),
    row(
        "include",
        Refused,
        "the file of -F is the only one that is read",
    ),
    row(
        "knownhostscommand",
        Refused,
        "nothing is executed outside of the jail",
    ),
    row(
        "localcommand",
        Refused,
        "nothing is executed outside of the jail",
    ),
    row(
        "localforward",
        Refused,
        "a session forwards no ports; `creel create --publish` opens one",
    ),
    row("match", Refused, "only `Host` begins a section"),
    row(
        "remoteforward",
        Refused,
        "a session forwards no ports; a policy grants hosts",
    ),
    row(
        "sendenv",
        Refused,
        "variables carry secrets; name them with their values: SetEnv",
    ),
];

/// The flag of a letter.
pub fn of_letter(letter: char) -> Option<&'static Flag> {
    FLAGS.iter().find(|flag| flag.letter == letter)
}

/// The row of a keyword, in any letters.
pub fn of_keyword(name: &str) -> Option<&'static Keyword> {
    let name = name.to_ascii_lowercase();
    KEYWORDS.iter().find(|row| row.name == name)
}

/// The tables, for people.
pub fn listed() -> String {
    let mut text = String::new();
    let mut line = |option: String, then: Then, why: &str| {
        let then = match then {
            Honoured => "honoured".into(),
            Unneeded => "no effect".into(),
            Only(values) => format!("only `{}`", values.join("` or `")),
            Refused => "refused".into(),
        };
        let _ = writeln!(text, "  {option:33} {then:15} {why}");
    };
    for flag in FLAGS {
        line(format!("-{}", flag.letter), flag.then, flag.why);
    }
    for row in KEYWORDS {
        line(format!("-o {}", row.name), row.then, row.why);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_has_one_row() {
        for flag in FLAGS {
            let same = FLAGS.iter().filter(|other| other.letter == flag.letter);
            assert_eq!(same.count(), 1, "{}", flag.letter);
        }
        for row in KEYWORDS {
            let same = KEYWORDS.iter().filter(|other| other.name == row.name);
            assert_eq!(same.count(), 1, "{}", row.name);
            assert_eq!(row.name, row.name.to_ascii_lowercase());
        }
    }
}
