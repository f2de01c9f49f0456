//! `creel doctor`: checks which kernel features this host has for jails, with a remedy for each missing one.

use serde::Serialize;

use super::answer;
use super::failure::Failure;
use super::flags::FlagArgs;
use super::policies::PolicyArgs;
use super::run;
use super::run::args::{JailArgs, RunArgs};
use creel_jail::{gitnames, obstacle, probe};
use creel_plan::resolve::NEWEST_LANDLOCK_ABI;
use creel_plan::{CgroupLayout, Host, IdMode};
use creel_policy::Degradable;
use creel_session::exit::{FOUND, OWN_FAILURE};
use creel_sys::around::Around;
use creel_sys::{clone, host, mount, seccomp};

/// Check whether this host can run jails, and how to fix what is missing
#[derive(clap::Args)]
pub struct DoctorArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,

    /// Create only the jail for the row `a jail`
    #[arg(long, hide = true)]
    jail: bool,
}

/// The result for one kernel feature.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    state: State,
    /// Property of the host, such as a version or a layout.
    found: String,
    /// The command or setting that fixes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Ok,
    /// Jails run, but without a protection that the newest kernel or another setting gives.
    Less,
    /// A run is refused without this, unless `--allow-degraded` waives it.
    Missing,
}

pub fn run(args: &DoctorArgs) -> Result<u8, Failure> {
    if args.jail {
        return run::run(&plain_jail());
    }
    let host = probe::facts()?;
    let checks = checks(&host);
    let healthy = checks.iter().all(|c| c.state != State::Missing);
    let text = match args.json {
        true => {
            serde_json::to_string_pretty(&serde_json::json!({
                "version": 1,
                "creel": env!("CARGO_PKG_VERSION"),
                "kernel": host.kernel,
                "healthy": healthy,
                "checks": checks,
            }))? + "\n"
        }
        false => render(&host, &checks, healthy),
    };
    answer::print(&text)?;
    Ok(if healthy { 0 } else { FOUND })
}

fn render(host: &Host, checks: &[Check], healthy: bool) -> String {
    let mut text = format!(
        "creel {} on Linux {}\n",
        env!("CARGO_PKG_VERSION"),
        host.kernel
    );
    for check in checks {
        let mark = match check.state {
            State::Ok => "ok  ",
            State::Less => "less",
            State::Missing => "MISS",
        };
        text += &format!("  {mark}  {:22} {}\n", check.name, check.found);
        if let Some(remedy) = &check.remedy {
            text += &format!("        {:22} -> {remedy}\n", "");
        }
    }
    text += match healthy {
        true => "This machine can make jails. Try: creel run -- ls\n",
        false => {
            "This machine lacks the items marked MISS; creel refuses a run until they are fixed.\n"
        }
    };
    text
}

fn checks(host: &Host) -> Vec<Check> {
    let around = Around::look();
    let mut checks = vec![
        kernel(host),
        privilege(host, &around),
        namespaces(&around),
        cgroups(host),
        landlock(host, &around),
        seccomp_filter(&around),
        idmap(host),
        proc_mount(),
        accounts(host),
        root_filesystem(),
    ];
    let missing = |check: &Check| check.state == State::Missing && check.name != "cgroups";
    if !checks.iter().any(missing) {
        checks.push(a_jail());
    }
    checks.push(git(host));
    checks
}

/// A jail without policy layers and without the caller's files, so a failure is the host's.
fn plain_jail() -> RunArgs {
    RunArgs {
        jail: JailArgs {
            policies: PolicyArgs {
                none: true,
                ..PolicyArgs::default()
            },
            flags: FlagArgs {
                workspace: Some("none".into()),
                allow_degraded: vec![Degradable::Cgroup],
                ..FlagArgs::default()
            },
            ..JailArgs::default()
        },
        no_tty: true,
        command: vec!["/bin/true".into()],
        ..RunArgs::default()
    }
}

/// Creates the jail in a separate process; if that fails, `creel run` would fail too.
fn a_jail() -> Check {
    const NAME: &str = "a jail";
    let mut run = std::process::Command::new("/proc/self/exe");
    // The caller's directory may have been removed.
    run.args(["doctor", "--jail"]).current_dir("/");
    let said = match run.stdin(std::process::Stdio::null()).output() {
        // Any other status comes from /bin/true, so the jail was made.
        Ok(output) if output.status.code() != Some(i32::from(OWN_FAILURE)) => {
            return ok(NAME, "made and removed");
        }
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    let line = said.lines().last().unwrap_or_default();
    let line = line.strip_prefix("creel: ").unwrap_or(line);
    let (found, remedy) = line
        .split_once("; ")
        .unwrap_or((line, "see creel run -- true"));
    lacking(NAME, State::Missing, found, remedy)
}

fn ok(name: &'static str, found: impl Into<String>) -> Check {
    Check {
        name,
        state: State::Ok,
        found: found.into(),
        remedy: None,
    }
}

fn lacking(
    name: &'static str,
    state: State,
    found: impl Into<String>,
    remedy: impl Into<String>,
) -> Check {
    Check {
        name,
        state,
        found: found.into(),
        remedy: Some(remedy.into()),
    }
}

fn kernel(host: &Host) -> Check {
    // mount_setattr and close_range's CLOEXEC flag are the newest calls without a substitute.
    match host::kernel_at_least((5, 14)) {
        true => ok("kernel", host.kernel.clone()),
        false => lacking(
            "kernel",
            State::Missing,
            host.kernel.clone(),
            "boot Linux 5.14 or newer (cgroup.kill)",
        ),
    }
}

fn privilege(host: &Host, around: &Around) -> Check {
    match host.id_mode {
        IdMode::Privileged => ok("privilege", "privileged: every jail has ids of its own"),
        IdMode::Rootless if host.uid == 0 && around.user_namespace => ok(
            "privilege",
            "rootless: root of a user namespace, with no right over the host; jails have its id",
        ),
        IdMode::Rootless => ok(
            "privilege",
            format!("rootless: jails have your own id, {}", host.uid),
        ),
    }
}

fn namespaces(around: &Around) -> Check {
    let all = clone::NEWUSER
        | clone::NEWNS
        | clone::NEWPID
        | clone::NEWNET
        | clone::NEWIPC
        | clone::NEWUTS
        | clone::NEWCGROUP;
    match clone::try_namespaces(all) {
        Ok(()) => ok("namespaces", "user, mount, pid, net, ipc, uts, cgroup"),
        Err(errno) => lacking(
            "namespaces",
            State::Missing,
            format!("clone3: {errno}"),
            obstacle::namespaces(around, Some(errno)),
        ),
    }
}

fn cgroups(host: &Host) -> Check {
    match &host.cgroups {
        CgroupLayout::V2 { parent } => {
            ok("cgroups", format!("v2, groups below {}", parent.display()))
        }
        CgroupLayout::OnRequest { .. } => ok(
            "cgroups",
            "v2; each run asks systemd's user manager for a scope",
        ),
        CgroupLayout::V1 {
            unified: Some(_), ..
        } => ok(
            "cgroups",
            "v1 controllers with v2 beside them; v1 has no memory.high",
        ),
        CgroupLayout::V1 { unified: None, .. } => lacking(
            "cgroups",
            State::Less,
            "v1 only: no memory.high, no cgroup.kill",
            "boot with systemd.unified_cgroup_hierarchy=1",
        ),
        CgroupLayout::Unusable { why, lacks } => {
            let remedy = lacks.remedy(host.id_mode);
            let remedy = match host.id_mode {
                IdMode::Privileged => remedy.to_owned(),
                IdMode::Rootless => {
                    format!("{remedy}, or --allow-degraded cgroup")
                }
            };
            lacking("cgroups", State::Missing, why.clone(), remedy)
        }
    }
}

fn landlock(host: &Host, around: &Around) -> Check {
    match host.landlock_abi {
        0 => lacking(
            "landlock",
            State::Missing,
            "not in this kernel, or not enabled",
            match obstacle::hidden(around) {
                Some(way) => format!("{way}, or --allow-degraded landlock"),
                None => "boot with lsm=landlock,... (CONFIG_SECURITY_LANDLOCK), or --allow-degraded landlock".into(),
            },
        ),
        abi if abi < NEWEST_LANDLOCK_ABI => lacking(
            "landlock",
            State::Less,
            format!("ABI {abi}"),
            format!(
                "a newer kernel has ABI {NEWEST_LANDLOCK_ABI} (Linux 7.2); the receipt says what is missing"
            ),
        ),
        abi => ok("landlock", format!("ABI {abi}")),
    }
}

fn seccomp_filter(around: &Around) -> Check {
    match seccomp::available() {
        true => ok(
            "seccomp",
            format!("filter of {} instructions", seccomp::length()),
        ),
        false => lacking(
            "seccomp",
            State::Missing,
            "no filters",
            obstacle::hidden(around)
                .unwrap_or_else(|| "boot a kernel with CONFIG_SECCOMP_FILTER".into()),
        ),
    }
}

fn idmap(host: &Host) -> Check {
    if host.id_mode == IdMode::Rootless {
        return ok("idmapped mounts", "not needed without privilege");
    }
    let here = creel_sys::fd::pin(&host.cwd);
    match here.is_ok_and(|fd| mount::can_idmap(std::os::fd::AsFd::as_fd(&fd))) {
        true => ok("idmapped mounts", "in this directory's filesystem"),
        false => lacking(
            "idmapped mounts",
            State::Less,
            "not in this directory's filesystem",
            "keep workspaces on ext4, xfs or btrfs (tmpfs from Linux 6.3)",
        ),
    }
}

fn proc_mount() -> Check {
    match std::path::Path::new("/proc/self/ns/mnt").exists() {
        true => ok("/proc", "mounted"),
        false => lacking(
            "/proc",
            State::Missing,
            "not mounted",
            "mount -t proc proc /proc",
        ),
    }
}

fn accounts(host: &Host) -> Check {
    match &host.home {
        Some(home) => ok("account", format!("home {}", home.display())),
        None => lacking(
            "account",
            State::Less,
            format!(
                "user {} is not in /etc/passwd{}, so `~` in a policy cannot be expanded",
                host.uid,
                match host.uid {
                    0 => "",
                    _ =>
                        ", and HOME is ignored (/etc/creel has a policy) or is not a directory that this user owns",
                }
            ),
            match host.uid {
                0 => "add the account, or write such paths in full",
                _ => {
                    "add the account, set HOME to a directory that this user owns, or write such paths in full"
                }
            },
        ),
    }
}

/// Checks `safe.bareRepository`: a jail can leave a directory that git takes for a repository.
fn git(host: &Host) -> Check {
    let said = gitnames::setting(host.home.as_deref(), "safe.barerepository");
    match said.as_deref() {
        Some(b"explicit") => ok("git", "safe.bareRepository = explicit"),
        _ => lacking(
            "git",
            State::Less,
            "safe.bareRepository = all: git obeys any directory that looks like a repository, and a jail can leave one in its workspace",
            "git config --global safe.bareRepository explicit",
        ),
    }
}

fn root_filesystem() -> Check {
    match mount::root_is_rootfs() {
        false => ok("root filesystem", "can be pivoted from"),
        true => lacking(
            "root filesystem",
            State::Missing,
            "the kernel's initial ramfs, from which pivot_root(2) does not work",
            "switch_root into a real root first",
        ),
    }
}
