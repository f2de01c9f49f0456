//! One call of ssh, from its arguments and its configuration file: the host, the command, and how it runs.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::options::{self, Value};
use super::settings::{self, Settings};
use crate::cli::failure::Failure;

/// The port where none is named, ssh(1).
const PORT: u16 = 22;

/// A call.
#[derive(Debug, PartialEq, Eq)]
pub struct Call {
    pub destination: Destination,
    /// The words behind the host, separated by spaces; `None` for a shell.
    pub remote: Option<Vec<u8>>,
    pub terminal: Terminal,
    /// Whether stdin is empty.
    pub no_stdin: bool,
    /// `SetEnv`.
    pub env: BTreeMap<String, String>,
}

/// The host of a command: the session's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    pub user: Option<String>,
    pub host: String,
    pub port: u16,
}

/// `RequestTTY`, ssh_config(5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Terminal {
    No,
    /// If there is no command and stdin is a terminal.
    Auto,
    /// If stdin is a terminal.
    Yes,
    Force,
}

impl Call {
    /// Reads the arguments, without the program's name, and the file of `-F`.
    pub fn read(arguments: &[OsString]) -> Result<Call, Failure> {
        let given = Given::read(arguments)?;
        let (alias, user, port) = destination(&given.host)?;
        let mut settings = given.settings;
        // As ssh: the destination after the options, then the file.
        for (name, value) in [("user", user), ("port", port)] {
            value
                .into_iter()
                .for_each(|value| settings.put(name, value));
        }
        if let Some(path) = given.file.filter(|path| path != "none") {
            settings.read_file(Path::new(&path), &alias)?;
        }
        let host = match settings.get("hostname") {
            Some(name) => expanded(name, &alias)?,
            None => alias,
        };
        let port = match settings.get("port") {
            Some(text) => port_of(text)?,
            None => PORT,
        };
        let asked = settings.get("requesttty").map(terminal);
        Ok(Call {
            destination: Destination {
                user: settings.get("user").map(str::to_owned),
                host: host.to_ascii_lowercase(),
                port,
            },
            remote: given.remote,
            terminal: match given.terminal {
                Some(terminal) => terminal,
                None => asked.transpose()?.unwrap_or(Terminal::Auto),
            },
            no_stdin: given.no_stdin || settings.get("stdinnull").is_some_and(|text| text == "yes"),
            env: settings
                .get("setenv")
                .map_or(Ok(BTreeMap::new()), settings::variables)?,
        })
    }
}

/// The arguments, parsed.
#[derive(Default)]
struct Given {
    host: String,
    remote: Option<Vec<u8>>,
    terminal: Option<Terminal>,
    no_stdin: bool,
    file: Option<String>,
    settings: Settings,
}

impl Given {
    /// As getopt(3) and ssh: options stand before and behind the host, and the first other word behind it begins
    /// the command.
    fn read(arguments: &[OsString]) -> Result<Given, Failure> {
        let mut given = Given::default();
        let mut rest = arguments.iter();
        while let Some(word) = rest.next() {
            let options = word
                .as_bytes()
                .strip_prefix(b"-")
                .filter(|rest| !rest.is_empty());
            match (options, given.host.is_empty()) {
                (Some(b"-"), true) => {
                    let host = rest.next().filter(|word| !word.is_empty());
                    given.host = text(host.ok_or_else(usage)?)?;
                }
                (Some(b"-"), false) => {
                    given.remote = joined(rest.as_slice());
                    break;
                }
                (Some(_), _) => given.options(&text(word)?[1..], &mut rest)?,
                (None, true) if word.is_empty() => return Err(usage()),
                (None, true) => given.host = text(word)?,
                (None, false) => {
                    let at = arguments.len() - rest.len() - 1;
                    given.remote = joined(&arguments[at..]);
                    break;
                }
            }
        }
        match given.host.is_empty() {
            true => Err(usage()),
            false => Ok(given),
        }
    }

    /// The letters of one argument.
    fn options<'a>(
        &mut self,
        letters: &str,
        rest: &mut impl Iterator<Item = &'a OsString>,
    ) -> Result<(), Failure> {
        for (at, letter) in letters.char_indices() {
            let Some(flag) = options::of_letter(letter) else {
                return Err(Failure::new(format!(
                    "creel-ssh does not know -{letter}; `creel-ssh --help` lists the options"
                )));
            };
            let value = match flag.value {
                Value::None => None,
                Value::Needed => {
                    let behind = &letters[at + letter.len_utf8()..];
                    let missing = || Failure::new(format!("-{letter} needs a value"));
                    Some(match behind.is_empty() {
                        false => behind.to_owned(),
                        true => text(rest.next().ok_or_else(missing)?)?,
                    })
                }
            };
            let value = value.as_deref();
            settings::check(
                &format!("-{letter}"),
                value.unwrap_or_default(),
                flag.then,
                flag.why,
            )?;
            match (letter, value) {
                ('F', Some(path)) => self.file = Some(path.into()),
                ('l', Some(user)) => self.settings.put("user", user.into()),
                ('p', Some(port)) => self.settings.put("port", port.into()),
                ('o', Some(line)) => self.settings.option(line)?,
                ('n', _) => self.no_stdin = true,
                ('T', _) => self.terminal = Some(Terminal::No),
                ('t', _) => {
                    self.terminal = Some(match self.terminal {
                        Some(Terminal::Yes | Terminal::Force) => Terminal::Force,
                        _ => Terminal::Yes,
                    });
                }
                _ => {}
            }
            if value.is_some() {
                break;
            }
        }
        Ok(())
    }
}

fn usage() -> Failure {
    Failure::new(
        "creel-ssh names no host: creel-ssh [OPTIONS] [USER@]HOST [COMMAND]; `creel-ssh --help` lists the options",
    )
}

fn text(word: &OsString) -> Result<String, Failure> {
    let no_text = || {
        Failure::new(format!(
            "{}: it is no text in UTF-8",
            word.to_string_lossy()
        ))
    };
    word.to_str().map(str::to_owned).ok_or_else(no_text)
}

fn joined(words: &[OsString]) -> Option<Vec<u8>> {
    let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
    (!words.is_empty()).then(|| words.join(&b' '))
}

/// `HOST`, `USER@HOST`, or `ssh://[USER@]HOST[:PORT]`: the host, the user and the port.
fn destination(text: &str) -> Result<(String, Option<String>, Option<String>), Failure> {
    let uri = text.strip_prefix("ssh://");
    let rest = uri.map_or(text, |rest| rest.strip_suffix('/').unwrap_or(rest));
    let (user, rest) = match rest.rsplit_once('@') {
        Some((user, rest)) => (Some(user.to_owned()), rest),
        None => (None, rest),
    };
    let (host, port) = match (uri, rest.rsplit_once(':')) {
        (Some(_), Some((host, port))) => (host, Some(port.to_owned())),
        _ => (rest, None),
    };
    let plain = |c: char| !c.is_control() && !c.is_whitespace();
    let good = |name: &str| !name.is_empty() && !name.starts_with('-') && name.chars().all(plain);
    match good(host) && user.as_deref().is_none_or(good) {
        true => Ok((host.to_owned(), user, port)),
        false => Err(Failure::new(format!("{text} names no host: [USER@]HOST"))),
    }
}

/// `%h` and `%%` in a `HostName`.
fn expanded(name: &str, alias: &str) -> Result<String, Failure> {
    let mut parts = name.split('%');
    let mut whole = parts.next().unwrap_or_default().to_owned();
    while let Some(part) = parts.next() {
        match part.strip_prefix('h') {
            Some(rest) => whole = whole + alias + rest,
            // Between the two signs of `%%` is an empty part.
            None if part.is_empty() => whole = whole + "%" + parts.next().unwrap_or_default(),
            None => {
                return Err(Failure::new(format!(
                    "HostName {name}: creel-ssh expands %h and %% alone"
                )));
            }
        }
    }
    Ok(whole)
}

fn port_of(text: &str) -> Result<u16, Failure> {
    let port = text.parse().ok().filter(|port| *port != 0);
    port.ok_or_else(|| Failure::new(format!("{text} is no port: 1 to 65535")))
}

fn terminal(text: &str) -> Result<Terminal, Failure> {
    match text.to_ascii_lowercase().as_str() {
        "no" | "false" => Ok(Terminal::No),
        "auto" => Ok(Terminal::Auto),
        "yes" | "true" => Ok(Terminal::Yes),
        "force" => Ok(Terminal::Force),
        _ => Err(Failure::new(format!(
            "RequestTTY {text}: it is no, yes, force or auto"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<Call, Failure> {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        Call::read(&words)
    }

    fn file(text: &str) -> (tempfile::TempDir, String) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config");
        std::fs::write(&path, text).unwrap();
        let path = path.to_str().unwrap().to_owned();
        (directory, path)
    }

    /// As OpenClaw 2026.9.6 writes it.
    const CONFIG: &str = "Host openclaw-sandbox\n  HostName Jail.example\n  Port 2022\n  BatchMode yes\n  ConnectTimeout 5\n  ServerAliveInterval 15\n  ServerAliveCountMax 3\n  StrictHostKeyChecking yes\n  UpdateHostKeys yes\n  User agent1\n  UserKnownHostsFile /dev/null\n  IdentityFile \"/a b/id\"\n  CertificateFile /c\n  IdentitiesOnly yes\n";

    #[test]
    fn openclaws_calls_are_read() {
        let (_kept, path) = file(CONFIG);
        let remote = "'/bin/sh' '-c' 'echo \"$1\"' 'x' 'a b'";
        let arguments = [
            "-F",
            &path,
            "-T",
            "-o",
            "RequestTTY=no",
            "openclaw-sandbox",
            remote,
        ];
        let call = read(&arguments).unwrap();
        let destination = Destination {
            user: Some("agent1".into()),
            host: "jail.example".into(),
            port: 2022,
        };
        assert_eq!(call.destination, destination);
        assert_eq!(call.remote.as_deref(), Some(remote.as_bytes()));
        assert_eq!(call.terminal, Terminal::No);
        let arguments = [
            "-F",
            &path,
            "-tt",
            "-o",
            "RequestTTY=force",
            "-o",
            "SetEnv=A=1 B=\"x y\" C=",
            "openclaw-sandbox",
            "id",
        ];
        let call = read(&arguments).unwrap();
        assert_eq!(call.terminal, Terminal::Force);
        let env = [("A", "1"), ("B", "x y"), ("C", "")].map(|(n, v)| (n.into(), v.into()));
        assert_eq!(call.env, env.into());
    }

    #[test]
    fn words_are_read_as_ssh_reads_them() {
        let of = |words: &[&str]| read(words).unwrap();
        assert_eq!(of(&["h", "a", "-x", "b"]).remote.unwrap(), b"a -x b");
        assert_eq!(of(&["h", "-T", "a"]).terminal, Terminal::No);
        assert_eq!(of(&["-Tn", "h"]).remote, None);
        assert!(of(&["-nT", "h"]).no_stdin);
        assert_eq!(of(&["-p2", "--", "h", "--", "-a"]).remote.unwrap(), b"-a");
        let call = of(&["-p", "3", "-oPort=4", "-o", "user = u", "ssh://v@H:5/"]);
        assert_eq!(call.destination.port, 3);
        assert_eq!(call.destination.user.as_deref(), Some("u"));
        assert_eq!(call.destination.host, "h");
        assert_eq!(of(&["a@b@c"]).destination.user.as_deref(), Some("a@b"));
        assert_eq!(of(&["-t", "h"]).terminal, Terminal::Yes);
        assert_eq!(of(&["-t", "-t", "h"]).terminal, Terminal::Force);
        assert_eq!(of(&["-oRequestTTY=yes", "h"]).terminal, Terminal::Yes);
        assert_eq!(of(&["-oHostName=%h.x%%", "h"]).destination.host, "h.x%");
    }

    #[test]
    fn what_a_session_cannot_do_is_refused() {
        let cases: &[(&[&str], &str)] = &[
            (&["-L", "1:h:2", "h"], "-L"),
            (&["-A", "h"], "-A"),
            (&["-TA", "h"], "-A"),
            (&["-N", "h"], "-N"),
            (&["-Z", "h"], "does not know -Z"),
            (&["-o", "ProxyCommand=nc %h", "h"], "ProxyCommand"),
            (&["-oLocalForward=1 h:2", "h"], "LocalForward"),
            (&["-o", "ForwardAgent yes", "h"], "ForwardAgent"),
            (&["-o", "Dream=1", "h"], "does not know Dream"),
            (&["-o", "BatchMode=", "h"], "needs a value"),
            (&["-o", "SetEnv=A", "h"], "SetEnv"),
            (&["-o", "RequestTTY=maybe", "h"], "RequestTTY"),
            (&["-o", "HostName=%n", "h"], "%h"),
            (&["-p", "0", "h"], "no port"),
            (&["-F", "/nonexistent", "h"], "/nonexistent"),
            (&["-F"], "-F needs a value"),
            (&["-T"], "names no host"),
            (&["", "id"], "names no host"),
            (&["--", "", "id"], "names no host"),
            (&["u@"], "names no host"),
            (&["--", "-x"], "names no host"),
        ];
        for (words, wanted) in cases {
            let text = read(words).unwrap_err().text;
            assert!(text.contains(wanted), "{words:?}: {text}");
        }
        // The same options with the value that asks for nothing.
        let harmless = [
            "-oProxyCommand=none",
            "-oForwardAgent=no",
            "-oControlMaster=No",
            "h",
        ];
        assert!(read(&harmless).is_ok());
    }

    #[test]
    fn only_the_sections_of_the_host_hold() {
        let text = "# a comment\nHost other !h\n ProxyCommand x\nHost h* !hx\n Port=7\nHost *\n Port 8\n User \"u\"\n";
        let (_kept, path) = file(text);
        let of = |host: &str| read(&["-F", &path, host]).unwrap().destination;
        assert_eq!((of("h1").port, of("hx").port), (7, 8));
        assert_eq!(of("h1").user.as_deref(), Some("u"));
        let refused = read(&["-F", &path, "other"]).unwrap_err().text;
        assert!(refused.contains("config:3: "), "{refused}");
        let (_kept, path) = file("Match exec \"touch /tmp/x\"\n User u\n");
        let refused = read(&["-F", &path, "h"]).unwrap_err().text;
        assert!(refused.contains("Match"), "{refused}");
    }
}
