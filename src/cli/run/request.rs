//! Converts the flags of `creel run` to a session's request. Ambiguous flags are errors, for example a
//! workspace without a name or a variable without a value.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use super::args::RunArgs;
use super::mapped;
use crate::cli::failure::Failure;
use crate::cli::network;
use creel_plan::{Clocks, Terminal};
use creel_policy::WorkspaceMode;
use creel_session::Asked;
use creel_session::declare::{AskedPath, PublishOn};
use creel_sys::{fd, pty};

/// The requests of the flags, in addition to the policy.
pub fn asked(args: &RunArgs) -> Result<Asked, Failure> {
    let flags = &args.jail.flags;
    let (workspace, workspace_at, workspace_mode) = match &flags.workspace {
        Some(text) => workspace(text)?,
        None => (None, None, None),
    };
    let [mut read, mut write] = mapped::volumes(&flags.volume)?;
    read.splice(0..0, mapped::all("--read", &flags.read)?);
    write.splice(0..0, mapped::all("--write", &flags.write)?);
    let env = flags.env.iter().map(variable).collect::<Result<_, _>>()?;
    Ok(Asked {
        command: args.command.clone(),
        stays: false,
        workspace: workspace.map(|named| without_parents(&named)),
        workspace_at,
        workspace_mode,
        read,
        write,
        exec: mapped::all("--exec", &flags.exec)?,
        allow_net: network::rules(&flags.allow_net)?,
        env,
        workdir: args.jail.workdir.clone(),
        limits: flags.limits(),
        allow_degraded: flags.allow_degraded.clone(),
        terminal: terminal(args),
        clocks: match args.jail.time_ns {
            true => Clocks::Jail,
            false => Clocks::Host,
        },
        publish: args.jail.publish.clone(),
        publish_on: match args.jail.publish_anyway {
            true => PublishOn::Any,
            false => PublishOn::Loopback,
        },
    })
}

/// Resolves the path up to its last `..`, because only the kernel knows where `..` leads behind a link. The
/// rest stays unresolved; a path that cannot be resolved stays as it is.
fn without_parents(path: &Path) -> PathBuf {
    let parts: Vec<Component> = path.components().collect();
    let Some(last) = parts.iter().rposition(|c| *c == Component::ParentDir) else {
        return path.to_owned();
    };
    let (above, below) = parts.split_at(last + 1);
    match above.iter().collect::<PathBuf>().canonicalize() {
        Ok(real) => real.join(below.iter().collect::<PathBuf>()),
        Err(_) => path.to_owned(),
    }
}

/// The workspace, its path in the jail, and its mode.
type Workspace = (Option<PathBuf>, Option<PathBuf>, Option<WorkspaceMode>);

/// Parses `DIR`, `DIR:DST`, either with `:MODE`, or `none`. A colon without a mode or a path after it belongs to
/// the name, if that exists.
fn workspace(text: &OsString) -> Result<Workspace, Failure> {
    let bytes = text.as_bytes();
    if bytes.is_empty() {
        // Probably an unset variable in a script; the current directory must not be granted for it.
        return Err(Failure::new(
            "--workspace names no directory; write --workspace DIR, or leave it out for the current one",
        ));
    }
    if bytes == b"none" || bytes == b":none" {
        return Ok((None, None, Some(WorkspaceMode::None)));
    }
    if let Some(colon) = bytes.iter().rposition(|b| *b == b':') {
        let mode = String::from_utf8_lossy(&bytes[colon + 1..]);
        if let Some(mode) = WorkspaceMode::parse(&mode) {
            if Path::new(text).exists() {
                let name = text.to_string_lossy();
                return Err(Failure::new(format!(
                    "--workspace {name}: a directory has this whole name; write the mode after it, {name}:rw, or, for the directory without the ending, {}/:{}",
                    String::from_utf8_lossy(&bytes[..colon]),
                    String::from_utf8_lossy(&bytes[colon + 1..]),
                )));
            }
            let dir = OsStr::from_bytes(&bytes[..colon]);
            return located(dir, Some(mode));
        }
        if bytes.get(colon + 1) != Some(&b'/') && !Path::new(text).exists() {
            return Err(Failure::new(format!(
                "--workspace {}: the mode is none, ro, overlay or rw, and a path in the jail is absolute",
                text.to_string_lossy()
            )));
        }
    }
    located(text, None)
}

/// Parses `DIR` or `DIR:DST`; without DIR it is the current directory.
fn located(text: &OsStr, mode: Option<WorkspaceMode>) -> Result<Workspace, Failure> {
    let AskedPath { path, at } = mapped::divided("--workspace", text)?;
    let named = !path.as_os_str().is_empty();
    match (&at, mode) {
        (Some(at), Some(WorkspaceMode::None)) => Err(Failure::new(format!(
            "--workspace {}: a fresh workspace has no place at {}; it is /workspace",
            text.to_string_lossy(),
            at.display()
        ))),
        _ => Ok((named.then_some(path), at, mode)),
    }
}

/// Parses `K=V`, or `K` for the caller's value.
pub fn variable(text: &OsString) -> Result<(OsString, OsString), Failure> {
    let bytes = text.as_bytes();
    let (name, value) = match bytes.iter().position(|b| *b == b'=') {
        Some(at) => (
            OsStr::from_bytes(&bytes[..at]),
            Some(OsStr::from_bytes(&bytes[at + 1..]).to_owned()),
        ),
        None => (text.as_os_str(), std::env::var_os(text)),
    };
    if name.is_empty() {
        return Err(Failure::new("--env needs a name: --env NAME=VALUE"));
    }
    match value {
        Some(value) => Ok((name.to_owned(), value)),
        None => Err(Failure::new(format!(
            "--env {0}: the variable is not set here; write --env {0}=VALUE",
            name.to_string_lossy()
        ))),
    }
}

fn terminal(args: &RunArgs) -> Terminal {
    let both = pty::is_terminal(fd::fixed(0)) && pty::is_terminal(fd::fixed(1));
    match (args.tty, args.no_tty) {
        (true, _) => Terminal::Pty,
        (_, true) => Terminal::Pipes,
        _ if both => Terminal::Pty,
        _ => Terminal::Pipes,
    }
}
