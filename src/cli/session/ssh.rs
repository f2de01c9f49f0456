//! `creel-ssh`: ssh(1) for programs that run commands on a host by calling it. The host is a session on this machine,
//! made at its first use; no connection is made and nothing is encrypted.
//!
//! The session's key is user, host and port, after the configuration. Its workspace is a directory that stays when the
//! session ends, as a host's files do.

mod call;
mod options;
mod settings;

use std::ffi::OsString;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use self::call::{Call, Destination, Terminal};
use super::create::CreateArgs;
use super::{door, exec};
use crate::cli::answer;
use crate::cli::failure::Failure;
use crate::cli::hint::say;
use creel_session::keep::wire::ExecAsk;
use creel_sys::{fd, host, pty};

/// The exit status of a failure that is not the command's own, ssh(1).
const OWN_FAILURE: u8 = 255;
/// The session ends after this time without a command. Its workspace stays.
const IDLE: &str = "24h";

/// The workspace in the jail: a name that callers know beforehand, for `workspaceRoot` of OpenClaw.
const WORKSPACE: &str = "/workspace";

const HELP: &str = "\
Run a command in a session, as ssh runs it on a host

Usage: creel-ssh [OPTIONS] [USER@]HOST [COMMAND]

The session is chosen by user, host and port, and made at its first use. CREEL_FLAGS has flags of `creel create`,
separated by spaces; CREEL_SESSION is a further part of the key. Its workspace is a directory that stays,
$XDG_DATA_HOME/creel/hosts/NAME [default: ~/.local/share], unless CREEL_FLAGS has --workspace; commands see it as
/workspace and begin there. They run in /bin/sh; without a command, a shell does. The exit status is the command's, and
255 if a signal or a limit ended it, or creel failed. No configuration is read but that of -F.

Options:
";

/// `creel-ssh ARGUMENTS`.
pub fn called(arguments: &[OsString]) -> Result<u8, Failure> {
    match arguments {
        [word] if word == "--help" => answer::print(&format!("{HELP}{}", options::listed()))?,
        [word] if word == "-V" => {
            answer::print_beside(&format!("creel-ssh {}\n", env!("CARGO_PKG_VERSION")))?;
        }
        _ => return run(arguments).map_err(|failure| failure.with_status(OWN_FAILURE)),
    }
    Ok(0)
}

fn run(arguments: &[OsString]) -> Result<u8, Failure> {
    let call = Call::read(arguments)?;
    let client = door::open(&session(&call.destination)?)?;
    if call.no_stdin {
        fd::no_stdin()?;
    }
    let outcome = exec::attached(client, asked(call))?;
    outcome.lines.iter().for_each(|line| say(line));
    Ok(match outcome.exited {
        true => outcome.exit_status,
        false => OWN_FAILURE,
    })
}

fn asked(call: Call) -> ExecAsk {
    let typed = pty::is_terminal(fd::fixed(0));
    let wanted = match call.terminal {
        Terminal::No => false,
        Terminal::Auto => typed && call.remote.is_none(),
        Terminal::Yes => typed,
        Terminal::Force => true,
    };
    let size = || pty::size_of([fd::fixed(0), fd::fixed(1)]).unwrap_or([24, 80]);
    let command = match call.remote {
        Some(remote) => vec![b"/bin/sh".to_vec(), b"-c".to_vec(), remote],
        None => vec![door::shell().into()],
    };
    let env = call.env.into_iter();
    ExecAsk {
        command,
        env: env
            .map(|(name, value)| (name.into(), value.into()))
            .collect(),
        offered: exec::offered(),
        terminal: (wanted && !call.no_stdin).then(size),
        ..ExecAsk::default()
    }
}

/// The flags of the session of a destination.
fn session(destination: &Destination) -> Result<CreateArgs, Failure> {
    let Destination { user, host, port } = destination;
    let user = user.as_deref().unwrap_or_default();
    let key = std::env::var(door::KEY).unwrap_or_else(|_| "ssh".into());
    let digest = creel_policy::digest(format!("{key}\0{user}\0{host}\0{port}").as_bytes());
    // For people, who see it in `creel ps`.
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let shown: String = host.chars().take(32).map(plain).collect();
    let name = format!("ssh-{shown}-{}", digest.get(..16).unwrap_or(&digest));
    let mut words: Vec<OsString> = ["--replace", "--quiet", "--idle-timeout", IDLE, "--name"]
        .map(OsString::from)
        .to_vec();
    let at = match user {
        "" => format!("{host}:{port}"),
        user => format!("{user}@{host}:{port}"),
    };
    words.extend([
        name.clone().into(),
        "--label".into(),
        format!("ssh={at}").into(),
    ]);
    let flags = door::flags();
    let named = |word: &OsString| {
        let word = word.to_string_lossy();
        word == "--workspace" || word.starts_with("--workspace=")
    };
    if !flags.iter().any(named) {
        let mut place = workspace(&name)?.into_os_string();
        place.push(format!(":{WORKSPACE}:rw"));
        words.extend(["--workspace".into(), place]);
    }
    words.extend(flags);
    door::create_args(words)
}

/// The directory of a host's files; made if it is not there.
fn workspace(name: &str) -> Result<PathBuf, Failure> {
    let data = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from);
    let data = data.filter(|path| path.is_absolute());
    let data = data.or_else(|| Some(host::home_of(host::ids().0)?.join(".local/share")));
    let Some(data) = data else {
        return Err(Failure::new(
            "the account has no home for the files of the host; name a directory: CREEL_FLAGS=\"--workspace DIR\", or none",
        ));
    };
    let path = data.join("creel/hosts").join(name);
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&path);
    made.map_err(|error| failed(&path, &error))?;
    Ok(path)
}

fn failed(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!(
        "the files of the host cannot be in {}: {error}; CREEL_FLAGS=\"--workspace DIR\" names another directory",
        path.display()
    ))
}
