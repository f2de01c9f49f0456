//! The answers of `creel-docker inspect` and `ps` about containers, in docker's names.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use super::container::{Container, Mount, State};
use crate::cli::failure::Failure;

/// The answer of `inspect`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Described<'a> {
    id: &'a str,
    created: String,
    path: &'static str,
    args: [&'static str; 1],
    state: StateOf,
    image: &'a str,
    name: String,
    platform: &'static str,
    driver: &'static str,
    host_config: HostConfig<'a>,
    mounts: Vec<MountPoint<'a>>,
    config: Config<'a>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct StateOf {
    status: &'static str,
    running: bool,
    paused: bool,
    pid: u64,
    exit_code: u8,
}

/// The limits that are in force, in docker's units. 0 while the container does not run.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct HostConfig<'a> {
    binds: Vec<String>,
    network_mode: &'a str,
    memory: u64,
    memory_swap: u64,
    nano_cpus: u64,
    pids_limit: u64,
    readonly_rootfs: bool,
    privileged: bool,
    cap_drop: [&'static str; 1],
    security_opt: [&'static str; 1],
    tmpfs: BTreeMap<&'static str, &'static str>,
    init: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct MountPoint<'a> {
    r#type: &'static str,
    source: &'a str,
    destination: &'a str,
    mode: &'static str,
    #[serde(rename = "RW")]
    rw: bool,
    propagation: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Config<'a> {
    user: &'a str,
    env: Vec<String>,
    cmd: [&'static str; 2],
    image: &'a str,
    working_dir: &'a str,
    labels: &'a BTreeMap<String, String>,
}

/// A container with its session's state.
pub fn described(container: &Container, state: &State) -> Result<Value, Failure> {
    let nothing = json!({});
    let (session, status) = match state {
        State::Created => (&nothing, "created"),
        State::Ended => (&nothing, "exited"),
        State::Alive(_, session) => (session, status_of(session)),
    };
    let limit = |name: &str| session["limits"][name].as_u64().unwrap_or(0);
    let memory = limit("memory");
    let env = container.env.iter();
    Ok(serde_json::to_value(Described {
        id: &container.id,
        created: time(container.created),
        path: "sleep",
        args: ["infinity"],
        state: StateOf {
            status,
            running: matches!(state, State::Alive(..)),
            paused: status == "paused",
            pid: session["pid"].as_u64().unwrap_or(0),
            exit_code: 0,
        },
        image: &container.image,
        name: format!("/{}", container.name),
        platform: "linux",
        driver: "creel",
        host_config: HostConfig {
            binds: container.mounts.iter().map(bind).collect(),
            network_mode: &container.network,
            memory,
            memory_swap: memory,
            nano_cpus: limit("cpu_milli") * 1_000_000,
            pids_limit: limit("pids"),
            readonly_rootfs: true,
            privileged: false,
            cap_drop: ["ALL"],
            security_opt: ["no-new-privileges"],
            tmpfs: [("/tmp", ""), ("/dev/shm", "")].into(),
            init: true,
        },
        mounts: container.mounts.iter().map(point).collect(),
        config: Config {
            user: &container.user,
            env: env
                .map(|pair| String::from_utf8_lossy(pair).into_owned())
                .collect(),
            cmd: ["sleep", "infinity"],
            image: &container.image,
            working_dir: &container.workdir,
            labels: &container.labels,
        },
    })?)
}

fn status_of(session: &Value) -> &'static str {
    match session["state"] == "paused" {
        true => "paused",
        false => "running",
    }
}

fn bind(mount: &Mount) -> String {
    let mode = if mount.write { "rw" } else { "ro" };
    format!("{}:{}:{mode}", mount.source, mount.destination)
}

fn point(mount: &Mount) -> MountPoint<'_> {
    MountPoint {
        r#type: "bind",
        source: &mount.source,
        destination: &mount.destination,
        mode: if mount.write { "" } else { "ro" },
        rw: mount.write,
        propagation: "rprivate",
    }
}

/// A row of `ps`, with the names of its templates.
pub fn row(container: &Container, state: &State, whole: bool) -> Value {
    let status = match state {
        State::Created => "created",
        State::Ended => "exited",
        State::Alive(_, session) => status_of(session),
    };
    let id = if whole {
        &container.id
    } else {
        container.id.get(..12).unwrap_or(&container.id)
    };
    let labels = container
        .labels
        .iter()
        .map(|(name, value)| format!("{name}={value}"));
    json!({
        "ID": id,
        "Image": container.image,
        "Command": "\"sleep infinity\"",
        "CreatedAt": time(container.created),
        "State": status,
        "Status": status,
        "Names": container.name,
        "Labels": labels.collect::<Vec<_>>().join(","),
    })
}

/// Milliseconds since 1970 as RFC 3339, in UTC. The day by the calendar's cycle of 400 years (146,097 days), which
/// begins on the first of March.
fn time(since: u64) -> String {
    let (days, second) = (since / 86_400_000 + 719_468, since / 1000 % 86_400);
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    format!(
        "{:04}-{month:02}-{date:02}T{:02}:{:02}:{:02}.{:03}Z",
        era * 400 + year + next,
        second / 3600,
        second / 60 % 60,
        second % 60,
        since % 1000,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_rfc_3339() {
        for (since, wanted) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_767_225_599_999, "2025-12-31T23:59:59.999Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(time(since), wanted);
        }
    }
}
