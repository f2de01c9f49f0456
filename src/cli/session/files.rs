//! `creel file`: files in a session, without a program in it.

use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use rustix::fs::OFlags;
use serde_json::json;

use super::{client, store};
use crate::cli::answer;
use crate::cli::failure::Failure;
use crate::cli::hint;
use creel_policy::error::escaped;
use creel_session::keep::files::{FileError, Files, Stat};
use creel_sys::{fd, startup};

/// Bytes of a text that `edit` changes.
/// Bytes of stdin for which room is reserved before a file is replaced.
const RESERVED: u64 = 16 << 20;
const LONGEST: u64 = 64 << 20;

/// Read and change files in a session, without a program in it
#[derive(clap::Args)]
#[command(
    after_help = "A relative path starts at the session's working directory. The session's rights decide, and links \
    are followed as its programs follow them."
)]
pub struct FileArgs {
    #[command(subcommand)]
    act: Act,
}

#[derive(Subcommand)]
enum Act {
    /// Print a file
    Read(PathArgs),
    /// Write stdin to a file
    Write(WriteArgs),
    /// Replace a text that occurs once in a file
    Edit(EditArgs),
    /// List a directory
    List(ShownArgs),
    /// Print what a name is
    Stat(ShownArgs),
    /// Make a directory
    Mkdir(MakeArgs),
    /// Rename a file or a directory
    Rename(RenameArgs),
    /// Remove a file or an empty directory
    Remove(RemoveArgs),
}

#[derive(clap::Args)]
struct PathArgs {
    /// The session
    #[arg(value_name = "NAME")]
    name: String,

    /// The path in the session
    #[arg(value_name = "PATH")]
    path: PathBuf,
}

#[derive(clap::Args)]
struct ShownArgs {
    #[command(flatten)]
    at: PathArgs,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct WriteArgs {
    #[command(flatten)]
    at: PathArgs,

    /// Add to the end
    #[arg(long, conflicts_with = "exclusive")]
    append: bool,

    /// Fail if the file exists
    #[arg(long)]
    exclusive: bool,

    /// Permission bits of a new file, octal
    #[arg(long, value_name = "MODE", default_value = "644", value_parser = octal)]
    mode: u32,
}

#[derive(clap::Args)]
struct EditArgs {
    #[command(flatten)]
    at: PathArgs,

    /// The text to replace
    #[arg(long, value_name = "TEXT")]
    old: String,

    /// The text in its place
    #[arg(long, value_name = "TEXT")]
    new: String,

    /// Replace every occurrence
    #[arg(long)]
    all: bool,
}

#[derive(clap::Args)]
struct MakeArgs {
    #[command(flatten)]
    at: PathArgs,

    /// Also make the directories above, and accept one that exists
    #[arg(short, long)]
    parents: bool,
}

#[derive(clap::Args)]
struct RenameArgs {
    #[command(flatten)]
    at: PathArgs,

    /// The new path
    #[arg(value_name = "TO")]
    to: PathBuf,
}

#[derive(clap::Args)]
struct RemoveArgs {
    #[command(flatten)]
    at: PathArgs,

    /// Also remove all that is in a directory
    #[arg(short, long)]
    recursive: bool,

    /// Accept a name that does not exist
    #[arg(short, long)]
    force: bool,
}

fn octal(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o777 => Ok(mode),
        _ => Err("permission bits are octal, at most 777".into()),
    }
}

pub(super) fn files(name: &str) -> Result<Files, Failure> {
    Ok(Files(client(&store()?, name)?))
}

pub fn file(args: &FileArgs) -> Result<u8, Failure> {
    done(args).map_err(|mut failure| {
        let name = match &args.act {
            Act::Read(at) => &at.name,
            Act::Write(args) => &args.at.name,
            Act::Edit(args) => &args.at.name,
            Act::List(args) | Act::Stat(args) => &args.at.name,
            Act::Mkdir(args) => &args.at.name,
            Act::Rename(args) => &args.at.name,
            Act::Remove(args) => &args.at.name,
        };
        let remedies = [
            (
                "os error 30",
                "the session's policy lets it only be read".to_owned(),
            ),
            (
                "os error 13",
                "the session's policy does not give it; `creel inspect` lists what it has"
                    .to_owned(),
            ),
            (
                "it is no regular file",
                format!("`creel file list {name} PATH` shows a directory"),
            ),
            (
                "os error 39",
                "--recursive removes what is in it".to_owned(),
            ),
        ];
        let remedy = remedies
            .iter()
            .find(|(text, _)| failure.text.contains(text));
        if let Some((_, remedy)) = remedy {
            failure.text = format!("{}; {remedy}", failure.text);
        } else if matches!(args.act, Act::Write(_)) && failure.text.contains("os error 2)") {
            failure.text +=
                &format!("; `creel file mkdir --parents {name} DIR` makes its directory");
        }
        failure
    })
}

fn done(args: &FileArgs) -> Result<u8, Failure> {
    match &args.act {
        Act::Read(at) => read(at),
        Act::Write(args) => write(args),
        Act::Edit(args) => edit(args),
        Act::List(args) => list(args),
        Act::Stat(args) => {
            let stat = files(&args.at.name)?.stat(&args.at.path)?;
            match args.json {
                true => answer::print_json(&shown(&args.at.path, stat))?,
                false => answer::print(&line(&args.at.path, stat))?,
            }
            Ok(0)
        }
        Act::Mkdir(args) => {
            let files = files(&args.at.name)?;
            match args.parents {
                true => make_all(&files, &args.at.path)?,
                false => files.make_directory(&args.at.path, 0o755)?,
            }
            Ok(0)
        }
        Act::Rename(args) => {
            files(&args.at.name)?.rename(&args.at.path, &args.to)?;
            Ok(0)
        }
        Act::Remove(args) => {
            let (files, path) = (files(&args.at.name)?, &args.at.path);
            let done = match args.recursive {
                true => files.remove_all(path),
                false => files.remove(path),
            };
            match done {
                Err(error) if args.force && is_absent(&error) => {}
                done => done?,
            }
            Ok(0)
        }
    }
}

fn is_absent(error: &FileError) -> bool {
    matches!(error, FileError::Act { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
}

pub(super) fn make_all(files: &Files, path: &Path) -> Result<(), FileError> {
    let above: Vec<&Path> = path.ancestors().collect();
    for path in above
        .into_iter()
        .rev()
        .filter(|p| !p.as_os_str().is_empty())
    {
        match files.make_directory(path, 0o755) {
            Err(error) if files.stat(path).is_ok_and(|stat| stat.kind == "directory") => {
                drop(error)
            }
            made => made?,
        }
    }
    Ok(())
}

fn read(at: &PathArgs) -> Result<u8, Failure> {
    if startup::was_closed(1) {
        return Err(Failure::new(
            "stdout is closed, and the file's contents would be lost; redirect it",
        ));
    }
    let mut file = files(&at.name)?.read(&at.path)?;
    let mut buffer = vec![0; 64 << 10];
    loop {
        let length = file.read(&mut buffer)?;
        if length == 0 {
            return Ok(0);
        }
        hint::deliver(fd::fixed(1), &buffer[..length], hint::LONGEST)?;
    }
}

fn write(args: &WriteArgs) -> Result<u8, Failure> {
    if startup::was_closed(0) {
        return Err(Failure::new(
            "stdin is closed, and the file would be emptied; redirect it, for example from /dev/null",
        ));
    }
    let (files, path) = (files(&args.at.name)?, &args.at.path);
    let mut stdin = std::io::stdin().lock();
    let more = match (args.append, args.exclusive) {
        (true, _) => OFlags::APPEND,
        (_, true) => OFlags::EXCL,
        _ => {
            let mut first = vec![];
            stdin.by_ref().take(RESERVED).read_to_end(&mut first)?;
            let mut all = first.as_slice().chain(stdin);
            files.replace(path, args.mode, (&mut all, first.len() as u64))?;
            return Ok(0);
        }
    };
    let mut file = files.write(path, OFlags::CREATE | more, args.mode)?;
    std::io::copy(&mut stdin, &mut file)?;
    Ok(0)
}

fn edit(args: &EditArgs) -> Result<u8, Failure> {
    let (files, path) = (files(&args.at.name)?, &args.at.path);
    let shown = path.display();
    let mut text = vec![];
    files.read(path)?.take(LONGEST).read_to_end(&mut text)?;
    let Ok(text) = String::from_utf8(text) else {
        return Err(Failure::new(format!(
            "{shown} is no UTF-8 text, and `edit` changes text"
        )));
    };
    let found = match args.old.is_empty() {
        true => return Err(Failure::new("--old is empty; name the text to replace")),
        false => text.matches(&args.old).count(),
    };
    match found {
        0 => {
            return Err(Failure::new(format!(
                "{shown} does not have the text of --old; `creel file read` shows it"
            )));
        }
        1 => {}
        _ if args.all => {}
        many => {
            return Err(Failure::new(format!(
                "{shown} has the text of --old {many} times; name more of it, or --all"
            )));
        }
    }
    let text = text.replace(&args.old, &args.new);
    files.replace(path, 0o644, (&mut text.as_bytes(), text.len() as u64))?;
    Ok(0)
}

fn list(args: &ShownArgs) -> Result<u8, Failure> {
    let entries = files(&args.at.name)?.list(&args.at.path)?;
    if args.json {
        let all: Vec<_> = entries
            .iter()
            .map(|e| shown(Path::new(&e.name), e.stat))
            .collect();
        answer::print_json(&json!({ "version": 1, "entries": all }))?;
    } else {
        let lines = entries.iter().map(|e| line(Path::new(&e.name), e.stat));
        answer::print(&lines.collect::<String>())?;
    }
    Ok(0)
}

fn shown(path: &Path, stat: Stat) -> serde_json::Value {
    let mut shown = json!({
        "name": path.to_string_lossy(),
        "kind": stat.kind,
        "size": stat.size,
        "mode": format!("{:o}", stat.mode),
        "modified": stat.modified,
    });
    if path.to_str().is_none() {
        // The name above has replacements, and names nothing.
        shown["name_bytes"] = json!(path.as_os_str().as_bytes());
    }
    shown
}

fn line(path: &Path, stat: Stat) -> String {
    let (mode, kind, size) = (stat.mode, stat.kind, stat.size);
    // A byte that is no UTF-8 is shown as `\\xNN`, and not as a character that another name has.
    let chunks = path.as_os_str().as_bytes().utf8_chunks().map(|chunk| {
        let rest = chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}"));
        format!(
            "{}{}",
            escaped(chunk.valid().chars()),
            rest.collect::<String>()
        )
    });
    format!(
        "{mode:04o} {kind:9} {size:>12} {}\n",
        chunks.collect::<String>()
    )
}
