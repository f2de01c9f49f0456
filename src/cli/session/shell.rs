//! `creel shell`, also as `creel-sh`: a shell for programs that run scripts one by one and take a single program
//! for it, such as Claude Code with `CLAUDE_CODE_SHELL_PREFIX`. All scripts of one key run in one session, and the
//! working directory of the next is where the last one left it.

use std::ffi::{OsStr, OsString};
use std::io::{Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::create::CreateArgs;
use super::{client, door, exec, failure, store};
use crate::cli::failure::Failure;
use crate::cli::hint::say;
use creel_session::keep::files::Files;
use creel_session::keep::store::Directory;
use creel_session::keep::wire::ExecAsk;
use creel_sys::{fd, pty};

const IDLE: &str = "1h";

/// Remembers where the script ended. The script comes as an argument, so that it needs no quoting.
const WRAPPER: &str = r#"creel_cwd=$2; trap 'pwd -P >"$creel_cwd" 2>/dev/null' EXIT; eval "$1""#;

/// Run scripts in one session, as a shell that a program calls for each
#[derive(clap::Args)]
#[command(
    after_help = "CREEL_SESSION is the key of the session [default: the workspace], CREEL_FLAGS more flags of \
    `creel create`, separated by spaces. The workspace is the repository around the current directory, or that \
    directory. As `creel-sh` (a link to creel) it takes the script as its only argument, too."
)]
pub struct ShellArgs {
    /// The script [default: an interactive shell]
    #[arg(short, value_name = "SCRIPT")]
    pub command: Option<OsString>,

    /// The key of the session, in place of CREEL_SESSION
    #[arg(long, value_name = "KEY")]
    pub session: Option<String>,
}

/// `creel-sh SCRIPT`, `creel-sh -c SCRIPT`, `creel-sh`.
pub fn called(arguments: &[OsString]) -> Result<u8, Failure> {
    let command = match arguments {
        [] => None,
        [flag, script] if flag == "-c" => Some(script.clone()),
        [script] if !script.as_bytes().starts_with(b"-") => Some(script.clone()),
        _ => {
            return Err(Failure::new(
                "creel-sh takes one script: `creel-sh SCRIPT` or `creel-sh -c SCRIPT`; CREEL_FLAGS has the flags of `creel create`",
            ));
        }
    };
    run(&ShellArgs {
        command,
        session: None,
    })
}

pub fn run(args: &ShellArgs) -> Result<u8, Failure> {
    let here = std::env::current_dir()?;
    let workspace = workspace(&here);
    let key = args
        .session
        .clone()
        .or_else(|| std::env::var(door::KEY).ok());
    let key = key.unwrap_or_else(|| "shell".into());
    let text = [key.as_bytes(), b"\0", workspace.as_os_str().as_bytes()].concat();
    let digest = creel_policy::digest(&text);
    let name = format!("sh-{}", digest.get(..24).unwrap_or(&digest));
    let first = door::open(&flags(&name, &workspace)?)?;
    let store = store()?;
    let place = Kept(store.of(&name).map_err(|e| failure(&e))?);
    let shell = door::shell();
    let left = format!("/tmp/.creel-cwd-{}", std::process::id());
    let mut words: Vec<&OsStr> = vec![shell.as_ref()];
    let wrapped;
    if let Some(script) = &args.command {
        wrapped = script.clone();
        words.extend(["-c", WRAPPER, shell].map(OsStr::new));
        words.extend([wrapped.as_os_str(), left.as_ref()]);
    }
    let both = pty::is_terminal(fd::fixed(0)) && pty::is_terminal(fd::fixed(1));
    let terminal = (both && args.command.is_none())
        .then(|| pty::size_of([fd::fixed(0), fd::fixed(1)]).unwrap_or([24, 80]));
    let mut workdir = place.next(&here);
    if workdir != here && !is_there(&client(&store, &name).map(Files), &workdir) {
        say(&format!(
            "{} is not there any more; the script begins in {}",
            workdir.display(),
            here.display()
        ));
        workdir.clone_from(&here);
    }
    let ask = ExecAsk {
        command: words.iter().map(|word| word.as_bytes().to_vec()).collect(),
        workdir: vec![workdir.as_os_str().as_bytes().to_vec()],
        terminal,
        offered: exec::offered(),
        ..ExecAsk::default()
    };
    let outcome = exec::attached(first, ask)?;
    outcome.lines.iter().for_each(|line| say(line));
    if let Some(script) = &args.command
        && let Ok(client) = client(&store, &name)
    {
        let files = Files(client);
        if let Some(directory) = said(&files, Path::new(&left)) {
            place.keep(&directory, [&here, &workspace]);
        }
        let _ = files.remove(Path::new(&left));
        tell_claude(script, &workspace);
    }
    Ok(outcome.exit_status)
}

/// The repository around a directory, or the directory itself.
fn workspace(here: &Path) -> PathBuf {
    let mut above = here.ancestors();
    let repository = above.find(|path| path.join(".git").exists() && *path != Path::new("/"));
    repository.unwrap_or(here).into()
}

fn flags(name: &str, workspace: &Path) -> Result<CreateArgs, Failure> {
    let mut words: Vec<OsString> = ["--replace", "--quiet", "--idle-timeout", IDLE]
        .map(OsString::from)
        .to_vec();
    words.extend([
        "--name".into(),
        name.into(),
        "--workspace".into(),
        workspace.into(),
    ]);
    words.extend(door::flags());
    door::create_args(words)
}

/// The directory in which the last script has ended, and the directories from which the next one may be called to begin
/// there: a caller that changes its own directory means that one.
struct Kept(Directory);

impl Kept {
    fn next(&self, here: &Path) -> PathBuf {
        let text = self.0.read("shell").unwrap_or_default();
        let mut parts = text.split(|byte| *byte == 0).map(OsStr::from_bytes);
        match parts.next() {
            Some(left) if parts.any(|called| Path::new(called) == here) => left.into(),
            _ => here.into(),
        }
    }

    fn keep(&self, left: &Path, called: [&Path; 2]) {
        let [one, other] = called.map(|path| path.as_os_str().as_bytes());
        let text = [left.as_os_str().as_bytes(), one, other].join(&0);
        // Without it the next script starts where the caller is.
        let _ = self.0.write("shell", &text);
    }
}

/// Whether a directory is there in the session.
fn is_there(files: &Result<Files, Failure>, path: &Path) -> bool {
    let stat = files.as_ref().ok().and_then(|files| files.stat(path).ok());
    stat.is_some_and(|stat| stat.kind == "directory")
}

/// The absolute path in a file of the session. The jail may have written anything.
fn said(files: &Files, path: &Path) -> Option<PathBuf> {
    let mut text = String::new();
    files
        .read(path)
        .ok()?
        .take(8192)
        .read_to_string(&mut text)
        .ok()?;
    let path = PathBuf::from(text.trim_end_matches('\n'));
    let plain = !text.trim_end_matches('\n').contains(char::is_control);
    (plain && path.is_absolute()).then_some(path)
}

/// Claude Code's scripts end with the writing of their directory to a file in /tmp, which it reads, and where it starts
/// the next script. In the jail that is another file, and the name of a directory that the jail chose must not lead the
/// caller: the jail could put a link there. So Claude Code stays in the workspace, which the jail cannot move, and the
/// next script begins where the last one ended ([`Kept`]).
fn tell_claude(script: &OsStr, workspace: &Path) {
    let text = script.to_string_lossy();
    let last = text.split_whitespace().next_back().unwrap_or_default();
    let middle = last
        .strip_prefix("/tmp/claude-")
        .and_then(|word| word.strip_suffix("-cwd"));
    if !middle.is_some_and(|m| !m.is_empty() && m.chars().all(|c| c.is_ascii_alphanumeric())) {
        return;
    }
    let mut options = std::fs::File::options();
    options.write(true).create(true).truncate(true).mode(0o600);
    let opened = options
        .custom_flags(OFlags::NOFOLLOW.bits() as i32)
        .open(last);
    let _ = opened.and_then(|mut file| writeln!(file, "{}", workspace.display()));
}
