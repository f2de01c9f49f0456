//! `creel-docker`: docker(1) for programs that keep a container and run commands in it. A container is a session;
//! there is no daemon and no image, and commands run the host's programs as the policy grants them.

mod about;
mod container;
mod create;
mod describe;
mod given;
mod options;
mod points;
mod template;

use std::ffi::OsString;
use std::fmt::Write as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use serde_json::Value;

use self::container::{Container, State};
use self::given::{Given, text};
use super::exec::{self, Done};
use super::{create as sessions, ends, failure, store};
use crate::cli::answer;
use crate::cli::failure::Failure;
use crate::cli::hint::say;
use creel_policy::error::escaped;
use creel_session::SessionError;
use creel_session::keep::client::Client;
use creel_session::keep::store::Store;
use creel_session::keep::wire::{Ask, ExecAsk};
use creel_sys::{fd, pty};

const VERSION: &str = env!("CARGO_PKG_VERSION");

const HELP: &str = "\
Keep sessions as docker keeps containers

Usage: creel-docker COMMAND

Commands:
  create [FLAGS] IMAGE [sleep infinity]   start, stop, kill, pause, unpause NAME...   rm [-f] NAME...
  exec [FLAGS] NAME COMMAND...            inspect [-f TEMPLATE] NAME...               ps [-a] [-q] [--filter F]
  image inspect NAME                      pull NAME                                   version, info

NAME is the container's name, its id, or 12 or more of the first digits of that; the session has the same name.
CREEL_FLAGS has further flags of `creel create`, separated by spaces: policies, grants, limits. Images are not used:
commands run the host's programs, as the policy grants them. A flag that creel cannot honour is refused. Templates are
fields, `json .FIELD`, `index .FIELD \"KEY\"`, and `range .FIELD` with `println .`.
";

/// `creel-docker ARGUMENTS`.
pub fn called(arguments: &[OsString]) -> Result<u8, Failure> {
    let mut words = arguments
        .iter()
        .map(|word| word.to_str().unwrap_or_default());
    let command = words.next().unwrap_or("--help");
    let rest = arguments.get(1..).unwrap_or_default();
    let behind = rest.get(1..).unwrap_or_default();
    match (command, words.next()) {
        ("--help" | "-h" | "help", _) => {
            answer::print(&format!("{HELP}{}", options::listed())).map(|()| 0)
        }
        ("--version" | "-v", _) => answer::print(&format!("creel-docker {VERSION}\n")).map(|()| 0),
        ("container", Some("inspect")) => inspect(behind),
        ("container", Some("ls" | "list" | "ps")) => ps(behind),
        ("container", Some(_)) => one(rest),
        ("image", Some("inspect")) => about::image(behind),
        _ => one(arguments),
    }
}

/// A command that is the same behind `container`.
fn one(arguments: &[OsString]) -> Result<u8, Failure> {
    let (command, rest) = arguments
        .split_first()
        .map_or(("", arguments), |(first, rest)| {
            (first.to_str().unwrap_or_default(), rest)
        });
    match command {
        "create" => create::run(rest),
        "start" => each(rest, options::NOTHING, |_, _, container| start(container)),
        "stop" => each(rest, options::STOP, stop),
        "kill" => each(rest, options::NOTHING, |_, store, container| {
            end(store, container, &Ask::Kill)
        }),
        "pause" => each(rest, options::NOTHING, |_, store, container| {
            ask(store, container, &Ask::Pause)
        }),
        "unpause" => each(rest, options::NOTHING, |_, store, container| {
            ask(store, container, &Ask::Resume)
        }),
        "rm" => rm(rest),
        "exec" => run(rest),
        "inspect" => inspect(rest),
        "ps" => ps(rest),
        "pull" => about::pull(rest),
        "version" => about::about(rest, &about::version()),
        "info" => about::about(rest, &about::info()?),
        _ => Err(Failure::new(format!(
            "creel-docker has no command {command:?}; {}",
            instead(command)
        ))),
    }
}

/// The equivalent in creel.
fn instead(command: &str) -> &'static str {
    match command {
        "run" => {
            "`creel run -- CMD` runs a command in a jail, and `create`, `start` and `exec` one in a container"
        }
        "cp" => "`creel cp NAME:PATH FILE` copies, by the container's name",
        "logs" => "`creel logs NAME` prints what detached commands have written",
        "restart" => "`stop` and `start` do the same",
        "top" => "`exec NAME ps -ef` shows its processes",
        "wait" => "`creel wait NAME` waits for its end",
        "images" | "image" | "build" | "push" | "tag" | "rmi" | "load" | "save" => {
            "it has no images: containers run the host's programs"
        }
        "volume" | "network" => "`-v` and `--network` of `create` grant paths and hosts",
        flag if flag.starts_with('-') => {
            "it has no flags before the command: there is no daemon to name"
        }
        _ => "`creel-docker --help` lists those that it has",
    }
}

/// Does it for each container, prints the names, and goes on after a failure, which is the last one's status.
fn each(
    arguments: &[OsString],
    table: &'static [options::Flag],
    act: impl Fn(&Given<'_>, &Store, &Container) -> Result<(), Failure>,
) -> Result<u8, Failure> {
    let given = Given::read(arguments, table)?;
    let store = store()?;
    let mut status = 0;
    for word in named(&given)? {
        match Container::find(word).and_then(|container| act(&given, &store, &container)) {
            Ok(()) => answer::print(&format!("{word}\n"))?,
            Err(failure) => status = failure.report(),
        }
    }
    Ok(status)
}

fn named<'a>(given: &Given<'a>) -> Result<Vec<&'a str>, Failure> {
    match given.words {
        [] => Err(Failure::new("it names no container")),
        words => words.iter().map(text).collect(),
    }
}

fn start(container: &Container) -> Result<(), Failure> {
    // Relative paths of CREEL_FLAGS are those of the caller of `create`.
    let shown = container.directory.display();
    let entered = std::env::set_current_dir(&container.directory);
    entered
        .map_err(|error| Failure::new(format!("{shown}: {error}; create the container again")))?;
    points::make(container)?;
    sessions::make(&create::made_with(container)?).map(drop)
}

fn stop(given: &Given<'_>, store: &Store, container: &Container) -> Result<(), Failure> {
    let seconds = given.last("time").or(given.last("timeout"));
    let grace = |text: &str| {
        let seconds: Option<u64> = text.parse().ok();
        seconds
            .map(|s| s.saturating_mul(1000))
            .ok_or_else(|| Failure::new(format!("--time {text}: it is a number of seconds")))
    };
    let grace = seconds.map(grace).transpose()?;
    end(store, container, &Ask::Stop { grace })
}

/// Ends the session of a container, if it runs.
fn end(store: &Store, container: &Container, with: &Ask) -> Result<(), Failure> {
    let State::Alive(client, _) = container.state(store)? else {
        return Ok(());
    };
    match client.ask(with) {
        Ok(_) | Err(SessionError::Silent { .. }) => ends::until_over(store, &container.name),
        Err(error) => return Err(failure(&error)),
    }
    Ok(())
}

fn ask(store: &Store, container: &Container, ask: &Ask) -> Result<(), Failure> {
    alive(store, container)?
        .ask(ask)
        .map(drop)
        .map_err(|e| failure(&e))
}

/// The keeper of a container that runs.
fn alive(store: &Store, container: &Container) -> Result<Client, Failure> {
    match container.state(store)? {
        State::Alive(client, _) => Ok(client),
        _ => Err(Failure::new(format!(
            "container {0} is not running; `creel-docker start {0}` starts it",
            container.name
        ))
        .with_status(1)),
    }
}

/// With `-f` a container that is not there needs no removal, and the status is 0, as docker's.
fn rm(arguments: &[OsString]) -> Result<u8, Failure> {
    let given = Given::read(arguments, options::REMOVE)?;
    let (store, mut status) = (store()?, 0);
    for word in named(&given)? {
        let force = given.has("force");
        let found = match Container::lookup(word)? {
            None if force => {
                let _ = container::none(word).report();
                continue;
            }
            None => Err(container::none(word)),
            Some(container) => Ok(container),
        };
        match found.and_then(|container| remove(&store, &container, force)) {
            Ok(()) => answer::print(&format!("{word}\n"))?,
            Err(failure) => status = failure.report(),
        }
    }
    Ok(status)
}

fn remove(store: &Store, container: &Container, force: bool) -> Result<(), Failure> {
    let name = &container.name;
    if force {
        end(store, container, &Ask::Kill)?;
    } else if matches!(container.state(store)?, State::Alive(..)) {
        return Err(Failure::new(format!(
            "container {name} runs; `creel-docker rm -f {name}` ends it first"
        )));
    }
    store.remove(name).map_err(|e| failure(&e))?;
    container.forget()
}

fn run(arguments: &[OsString]) -> Result<u8, Failure> {
    let given = Given::read(arguments, options::EXEC)?;
    let [name, command @ ..] = given.words else {
        return Err(Failure::new("exec names no container"));
    };
    if command.is_empty() {
        return Err(Failure::new("exec names no command"));
    }
    let container = Container::find(text(name)?)?;
    create::user(given.last("user"), &container)?;
    let client = alive(&store()?, &container)?;
    let (detach, tty) = (given.has("detach"), given.has("tty"));
    let size = || pty::size_of([fd::fixed(0), fd::fixed(1)]).unwrap_or([24, 80]);
    let workdir = given.last("workdir");
    let ask = ExecAsk {
        command: command
            .iter()
            .map(|word| word.as_bytes().to_vec())
            .collect(),
        env: given
            .variables()?
            .into_iter()
            .map(|(name, value)| (name.into_vec(), value.into_vec()))
            .collect(),
        offered: exec::offered(),
        workdir: workdir
            .iter()
            .map(|path| path.as_bytes().to_vec())
            .collect(),
        terminal: (tty && !detach).then(size),
        detach,
        ..ExecAsk::default()
    };
    if !given.has("interactive") {
        fd::no_stdin()?;
    }
    let done = match detach {
        true => exec::detached(&client, ask)?,
        false => exec::attached(client, ask).map(Done::Ended)?,
    };
    match done {
        Done::Job(_) => Ok(0),
        Done::Ended(outcome) => {
            outcome.lines.iter().for_each(|line| say(line));
            Ok(outcome.exit_status)
        }
    }
}

fn inspect(arguments: &[OsString]) -> Result<u8, Failure> {
    let given = Given::read(arguments, options::INSPECT)?;
    let store = store()?;
    let (mut all, mut status) = (vec![], 0);
    for word in named(&given)? {
        let described = Container::find(word)
            .and_then(|container| describe::described(&container, &container.state(&store)?));
        match described {
            Ok(described) => all.push(described),
            Err(failure) => status = failure.report(),
        }
    }
    shown(&given, all)?;
    Ok(status)
}

/// Prints descriptions as JSON, or by the template.
fn shown(given: &Given<'_>, all: Vec<Value>) -> Result<(), Failure> {
    let Some(template) = given.last("format") else {
        return answer::print_json(&Value::Array(all));
    };
    let mut text = String::new();
    for one in &all {
        text += &template::render(template, one)?;
        text.push('\n');
    }
    answer::print(&text)
}

fn ps(arguments: &[OsString]) -> Result<u8, Failure> {
    let given = Given::read(arguments, options::PS)?;
    let store = store()?;
    let mut rows = vec![];
    for container in container::all()? {
        let state = container.state(&store)?;
        let row = describe::row(&container, &state, given.has("no-trunc"));
        let shown = given.has("all")
            || given.all("filter").any(|f| f.starts_with("status="))
            || matches!(state, State::Alive(..));
        if shown && passes(&given, &container, &row)? {
            rows.push(row);
        }
    }
    let mut text = String::new();
    match given.last("format") {
        _ if given.has("quiet") => rows
            .iter()
            .for_each(|row| text += &(word(row, "ID") + "\n")),
        Some("json") => rows.iter().for_each(|row| text += &format!("{row}\n")),
        Some(template) => {
            for row in &rows {
                text += &(template::render(template, row)? + "\n");
            }
        }
        None => {
            let _ = writeln!(
                text,
                "{:14} {:32} {:10} NAMES",
                "CONTAINER ID", "IMAGE", "STATUS"
            );
            for row in &rows {
                let of = |name| word(row, name);
                let _ = writeln!(
                    text,
                    "{:14} {:32} {:10} {}",
                    of("ID"),
                    of("Image"),
                    of("Status"),
                    of("Names")
                );
            }
        }
    }
    answer::print(&text)?;
    Ok(0)
}

fn word(row: &Value, name: &str) -> String {
    escaped(row[name].as_str().unwrap_or_default().chars())
}

/// Whether a container passes every filter.
fn passes(given: &Given<'_>, container: &Container, row: &Value) -> Result<bool, Failure> {
    for filter in given.all("filter") {
        let wrong = || {
            Failure::new(format!(
                "--filter {filter}: creel-docker has name=, id=, label= and status="
            ))
        };
        let (kind, value) = filter.split_once('=').ok_or_else(wrong)?;
        let passes = match kind {
            "name" => container.name.contains(value.trim_start_matches('/')),
            "id" => container.id.starts_with(value),
            "status" => row["State"] == value,
            "label" => match value.split_once('=') {
                Some((name, value)) => container
                    .labels
                    .get(name)
                    .is_some_and(|found| found == value),
                None => container.labels.contains_key(value),
            },
            _ => return Err(wrong()),
        };
        if !passes {
            return Ok(false);
        }
    }
    Ok(true)
}
