//! `creel-docker create`: the flags of docker as those of `creel create`.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path};

use super::container::{Container, LABEL, Mount};
use super::given::{self, Given};
use super::options::CREATE;
use crate::cli::answer;
use crate::cli::failure::Failure;
use crate::cli::hint::say;
use crate::cli::session::create::{self, CreateArgs};
use crate::cli::session::door;
use creel_policy::Count;
use creel_policy::net;
use creel_session::keep::now;
use creel_sys::host;

/// The label that says what becomes of the image.
const IMAGE_LABEL: &str = "creel-docker.image";
/// Commands of images whose only purpose is that the container stays.
const STAYS: [&[&str]; 4] = [
    &["sleep", "infinity"],
    &["tail", "-f", "/dev/null"],
    &["cat"],
    &["sleep", "inf"],
];
/// Places that a caller asks for as tmpfs by habit: a jail has no such directory, or it is not writable.
const NOT_WRITABLE: [&str; 2] = ["/run", "/var/tmp"];

/// `create FLAGS IMAGE [COMMAND]`: prints the id.
pub fn run(arguments: &[OsString]) -> Result<u8, Failure> {
    let given = Given::read(arguments, CREATE)?;
    let container = container(&given)?;
    // Refuses at once, not at the start, if the policy forbids something.
    let args = made_with(&container)?;
    network(&container, &args)?;
    container.keep()?;
    say(&format!(
        "the image {} is not used: a container runs the host's programs, as the policy grants them",
        container.image
    ));
    answer::print(&format!("{}\n", container.id))?;
    Ok(0)
}

/// The session of a container.
pub fn made_with(container: &Container) -> Result<CreateArgs, Failure> {
    let flags = container.flags.iter();
    let flags = flags.map(|flag| OsString::from_vec(flag.clone()));
    let args = door::create_args(flags.collect())?;
    match args.name.is_none() && args.named.as_ref() == Some(&container.name) {
        true => Ok(args),
        false => Err(Failure::new(format!(
            "{} names a session; the name of a container's is the container's",
            door::FLAGS
        ))),
    }
}

fn container(given: &Given<'_>) -> Result<Container, Failure> {
    let [image, command @ ..] = given.words else {
        return Err(Failure::new(
            "create names no image: creel-docker create [FLAGS] IMAGE [sleep infinity]",
        ));
    };
    let image = given::text(image)?;
    let is = |words: &&[&str]| {
        words
            .iter()
            .map(OsStr::new)
            .eq(command.iter().map(OsString::as_os_str))
    };
    if !command.is_empty() && !STAYS.iter().any(is) {
        return Err(Failure::new(
            "the command of a container is `sleep infinity`; `creel-docker exec` and `creel run` run others",
        ));
    }
    let name = match given.last("name") {
        Some(name) => name.to_owned(),
        None => format!("docker-{}", host::random_id()),
    };
    let mut container = Container {
        id: Container::new_id(&name),
        name,
        created: now(),
        image: image.into(),
        labels: labels(given, image)?,
        env: given
            .variables()?
            .into_iter()
            .map(|(name, value)| joined(&name, &value))
            .collect(),
        workdir: given.last("workdir").unwrap_or_default().into(),
        user: String::new(),
        network: given
            .last("network")
            .or(given.last("net"))
            .unwrap_or("none")
            .into(),
        mounts: given.all("volume").map(mount).collect::<Result<_, _>>()?,
        flags: vec![],
        directory: std::env::current_dir()?,
    };
    container.user = user(given.last("user"), &container)?;
    tmpfs(given)?;
    container.flags = flags(given, &container)?;
    Ok(container)
}

fn labels(given: &Given<'_>, image: &str) -> Result<BTreeMap<String, String>, Failure> {
    let mut all = BTreeMap::new();
    for label in given.all("label") {
        // Without a value it is empty, docker-create(1).
        let (name, value) = label.split_once('=').unwrap_or((label, ""));
        if name.is_empty() || name.starts_with("creel-docker.") {
            return Err(Failure::new(format!(
                "--label {label}: a label is NAME=VALUE, and creel-docker.* are creel's"
            )));
        }
        all.insert(name.to_owned(), value.to_owned());
    }
    all.insert(
        IMAGE_LABEL.into(),
        format!("{image} is not used; the host's programs are"),
    );
    Ok(all)
}

/// The flags of `creel create`, those of `CREEL_FLAGS` last.
fn flags(given: &Given<'_>, container: &Container) -> Result<Vec<Vec<u8>>, Failure> {
    let mut all: Vec<OsString> = vec![
        "--quiet".into(),
        "--name".into(),
        container.name.clone().into(),
    ];
    let mut add = |flag: &str, value: OsString| all.extend([flag.into(), value]);
    for (name, value) in &container.labels {
        add("--label", format!("{name}={value}").into());
    }
    add("--label", format!("{LABEL}={}", container.id).into());
    let workspace = workspace(container);
    for mount in &container.mounts {
        let (flag, value) = granted(mount, workspace == Some(mount));
        add(flag, value.into());
    }
    if workspace.is_none() {
        add("--workspace", "none".into());
    }
    if !container.workdir.is_empty() {
        add("--workdir", container.workdir.clone().into());
    }
    for pair in &container.env {
        add("--env", OsString::from_vec(pair.clone()));
    }
    for (flag, value) in limits(given)? {
        add(flag, value.into());
    }
    all.extend(door::flags());
    Ok(all.into_iter().map(OsString::into_vec).collect())
}

fn limits(given: &Given<'_>) -> Result<Vec<(&'static str, String)>, Failure> {
    let mut all = vec![];
    let memory = given.last("memory").map(bytes).transpose()?;
    if let Some(memory) = memory {
        all.push(("--memory", format!("{memory}B")));
    }
    if let Some(swap) = given.last("memory-swap") {
        let swap = bytes(swap)?;
        if memory != Some(swap) {
            return Err(Failure::new(
                "a jail has no swap: --memory-swap is the same as --memory",
            ));
        }
    }
    if let Some(cpus) = given.last("cpus") {
        all.push(("--cpus", cpus.into()));
    }
    let mut pids: Option<u64> = None;
    let mut least = |number: u64| pids = Some(pids.map_or(number, |other| other.min(number)));
    if let Some(limit) = given.last("pids-limit") {
        least(number("--pids-limit", limit)?);
    }
    for limit in given.all("ulimit") {
        let wrong = || Failure::new(format!("--ulimit {limit}: it is NAME=SOFT[:HARD]"));
        let (name, values) = limit.split_once('=').ok_or_else(wrong)?;
        // The hard limit is the one that holds; creel sets both to it.
        let hard = values.split_once(':').map_or(values, |(_, hard)| hard);
        match name {
            "nproc" => least(number("--ulimit nproc", hard)?),
            "nofile" => all.push(("--open-files", number("--ulimit nofile", hard)?.to_string())),
            // A jail writes no core file in any case.
            "core" if hard == "0" => {}
            _ => {
                return Err(Failure::new(format!(
                    "creel-docker refuses --ulimit {limit}: it takes nofile, nproc and core=0; `limits` of a policy has others"
                )));
            }
        }
    }
    all.extend(pids.map(|pids| ("--pids", pids.to_string())));
    Ok(all)
}

/// The mount that holds the working directory.
fn workspace(container: &Container) -> Option<&Mount> {
    let workdir = Path::new(&container.workdir);
    let holds = container.mounts.iter();
    let holds = holds.filter(|mount| workdir.starts_with(&mount.destination));
    holds.max_by_key(|mount| mount.destination.len())
}

/// The flag of a mount. A path that is the same in the jail needs no mapping.
fn granted(mount: &Mount, is_workspace: bool) -> (&'static str, String) {
    let Mount {
        source,
        destination,
        write,
    } = mount;
    let place = match source == destination {
        true => source.clone(),
        false => format!("{source}:{destination}"),
    };
    match (is_workspace, write) {
        (true, true) => ("--workspace", format!("{place}:rw")),
        (true, false) => ("--workspace", format!("{place}:ro")),
        (false, true) => ("--write", place),
        (false, false) => ("--read", place),
    }
}

/// `SRC:DST[:OPTIONS]`. Nothing needs a label of SELinux (`z`), since no container has one of its own.
fn mount(text: &str) -> Result<Mount, Failure> {
    let wrong = |why: &str| Failure::new(format!("-v {text}: {why}"));
    let mut parts = text.split(':');
    let (source, destination) = match (parts.next(), parts.next()) {
        (Some(source), Some(destination)) => (source, destination),
        _ => return Err(wrong("it is SRC:DST[:ro]; creel has no volumes")),
    };
    let mut write = true;
    for option in parts
        .next()
        .unwrap_or_default()
        .split(',')
        .filter(|option| !option.is_empty())
    {
        match option {
            "rw" | "z" | "Z" | "rprivate" => {}
            "ro" => write = false,
            _ => return Err(wrong("its options are ro, rw, z and Z")),
        }
    }
    let plain = |path: &str| {
        let path = Path::new(path);
        path.is_absolute() && !path.components().any(|part| part == Component::ParentDir)
    };
    match parts.next().is_none() && plain(source) && plain(destination) {
        true => Ok(Mount {
            source: trimmed(source),
            destination: trimmed(destination),
            write,
        }),
        false => Err(wrong("SRC and DST are absolute paths without `..`")),
    }
}

/// Without slashes at the end.
fn trimmed(path: &str) -> String {
    match path.trim_end_matches('/') {
        "" => "/".into(),
        path => path.into(),
    }
}

/// Files that the jail writes belong to the owner of the workspace, or to the caller: another user is refused.
pub fn user(asked: Option<&str>, container: &Container) -> Result<String, Failure> {
    let (uid, gid) = match workspace(container) {
        Some(mount) => {
            let fault = |error| Failure::new(format!("-v {}: {error}", mount.source));
            let meta = std::fs::metadata(&mount.source).map_err(fault)?;
            (meta.uid(), meta.gid())
        }
        None => host::ids(),
    };
    let own = format!("{uid}:{gid}");
    match asked {
        None => Ok(own),
        Some(asked) if asked == own || asked == uid.to_string() => Ok(own),
        Some(asked) => Err(Failure::new(format!(
            "creel-docker refuses --user {asked}: the files that a jail writes belong to {own}, and in the jail the user is `agent`"
        ))),
    }
}

/// `/tmp` and `/dev/shm` are there; what else is asked for by habit is said not to be.
fn tmpfs(given: &Given<'_>) -> Result<(), Failure> {
    for asked in given.all("tmpfs") {
        let (path, options) = asked.split_once(':').unwrap_or((asked, ""));
        if NOT_WRITABLE.contains(&path) {
            say(&format!("--tmpfs {path}: not writable in a jail; /tmp is"));
        } else if !["/tmp", "/dev/shm"].contains(&path) {
            return Err(Failure::new(format!(
                "creel-docker refuses --tmpfs {path}: the tmpfs of a jail are /tmp, /dev/shm and the home"
            )));
        }
        if options.split(',').any(|option| option == "exec") {
            return Err(Failure::new(format!(
                "creel-docker refuses --tmpfs {asked}: programs in {path} may not be executed; a policy grants it (`exec = [\"{path}\"]`)"
            )));
        }
    }
    Ok(())
}

/// `none` where the policy grants no host; another network where it grants some, which are then all.
fn network(container: &Container, args: &CreateArgs) -> Result<(), Failure> {
    let policy = create::declare(args)?.policy;
    let grants = policy.network.mode != net::Mode::None;
    match (container.network.as_str(), grants) {
        ("none", false) | ("bridge" | "default", true) => Ok(()),
        ("none", true) => Err(Failure::new(format!(
            "--network none: the policy {} grants hosts; use one that grants none, or `--network bridge`",
            policy.name
        ))),
        ("bridge" | "default", false) => Err(Failure::new(format!(
            "creel-docker refuses --network {}: the policy {} grants no host; `--network none`, or hosts: CREEL_FLAGS=\"--allow-net HOST\"",
            container.network, policy.name
        ))),
        (other, _) => Err(Failure::new(format!(
            "creel-docker refuses --network {other}: a jail has a network of its own, and reaches the hosts that the policy grants; it takes none and bridge"
        ))),
    }
}

fn joined(name: &OsStr, value: &OsStr) -> Vec<u8> {
    [name.as_bytes(), b"=", value.as_bytes()].concat()
}

fn number(flag: &str, text: &str) -> Result<u64, Failure> {
    let wrong = |why: String| Failure::new(format!("{flag} {text}: {why}"));
    let count = Count::parse(text).map_err(|error| wrong(error.to_string()))?;
    Ok(count.0)
}

/// A size of docker's: bytes, or with `b`, `k`, `m` or `g` in powers of 1024.
fn bytes(text: &str) -> Result<u64, Failure> {
    let wrong = || Failure::new(format!("{text} is no size: a number with b, k, m or g"));
    let lower = text.to_ascii_lowercase();
    let lower = lower.strip_suffix('b').unwrap_or(&lower);
    let (digits, shift) = match lower.char_indices().last() {
        Some((at, 'k')) => (&lower[..at], 10),
        Some((at, 'm')) => (&lower[..at], 20),
        Some((at, 'g')) => (&lower[..at], 30),
        _ => (lower, 0),
    };
    let digits = digits.strip_suffix('i').unwrap_or(digits);
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    number
        .checked_mul(1 << shift)
        .filter(|bytes| *bytes > 0)
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_dockers() {
        for (text, wanted) in [
            ("5", 5),
            ("5b", 5),
            ("2k", 2048),
            ("1M", 1 << 20),
            ("1g", 1 << 30),
            ("3GB", 3 << 30),
        ] {
            assert_eq!(bytes(text).unwrap(), wanted, "{text}");
        }
        for text in ["", "g", "-1", "1.5g", "0", "1t", "99999999999g"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_mount_has_two_plain_paths() {
        let of = |text: &str| mount(text).map(|m| (m.source, m.destination, m.write)).ok();
        let both = |write| Some(("/a".to_owned(), "/b".to_owned(), write));
        assert_eq!(of("/a:/b"), both(true));
        assert_eq!(of("/a/:/b/:ro,z"), both(false));
        for wrong in [
            "/a",
            "data:/b",
            "/a:b",
            "/a:/b:rslave",
            "/a/../b:/c",
            "/a:/b:ro:x",
        ] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }
}
