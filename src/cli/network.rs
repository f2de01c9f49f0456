//! What the command line says of the network: `--allow-net`, `--publish`, `--log-net`.
//!
//! Without a policy of a platform's or an operator's the caller is the operator, and a destination that is
//! named here is granted beside what the policy has. With one it must lie within, and adds nothing.

use std::fs::File;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::hint::Failure;
use super::status::Place;
use creel_plan::egress::Egress;
use creel_plan::request::Publish;
use creel_plan::{Access, Act, Plan};
use creel_policy::net::meet::Bounds;
use creel_policy::net::{List, Mode, OnMiss, Rule, RuleError, Secret, To};
use creel_policy::{Network, Origin};
use creel_sys::Errno;

/// The destinations that `--allow-net` names.
pub fn rules(texts: &[String]) -> Result<Vec<Rule>, Failure> {
    let origin = Origin {
        source: "command line".into(),
        line: 0,
    };
    let rule = |text: &String| {
        let rule = Rule::of_text(text, origin.clone());
        rule.and_then(|rule| match rule.to {
            To::Any => Err(RuleError::Any),
            // The variables of the proxies send a client there without creel.
            To::Range(range) if range.is_loopback() => Err(RuleError::OwnLoopback),
            _ => Ok(rule),
        })
        .map_err(|fault| Failure::new(format!("--allow-net {}: it {fault}", text.escape_debug())))
    };
    texts.iter().map(rule).collect()
}

/// Grants these too. Denials hold.
pub fn grant(network: &mut Network, rules: &[Rule]) {
    if rules.is_empty() {
        return;
    }
    if network.mode == Mode::None {
        network.mode = Mode::Allowlist;
        network.lists.clear();
    }
    let mut lists = std::mem::take(&mut network.lists);
    if lists.is_empty() {
        lists.insert(List {
            on_miss: OnMiss::Deny,
            rules: Default::default(),
        });
    }
    // A destination must be on each.
    network.lists = lists
        .into_iter()
        .map(|mut list| {
            list.rules.extend(rules.iter().cloned());
            list
        })
        .collect();
}

/// Refuses what goes beyond the rights of those who have a policy here.
pub fn check(rules: &[Rule], granted: &Bounds) -> Result<(), Failure> {
    let beyond = |rule: &&Rule| granted.mode() == Mode::None || !granted.covers(rule);
    match rules.iter().find(beyond) {
        Some(rule) => Err(Failure::new(format!(
            "--allow-net {}: the platform's or operator's policy does not grant it; add it to `network.allow` there",
            rule.destination()
        ))),
        None => Ok(()),
    }
}

/// `8080`, `8080:80`, `127.0.0.2:8080:80`, `[::1]:8080:80`.
pub fn publish(text: &str) -> Result<Publish, String> {
    let wrong = || format!("'{text}' is no [ADDR:]HOSTPORT[:PORT]; write for example 8080:80");
    let number = |text: &str| text.parse::<u16>().ok().filter(|port| *port != 0);
    let (address, ports) = match text.rsplit_once("]:") {
        Some((address, ports)) => (address.strip_prefix('[').ok_or_else(wrong)?, ports),
        None => match text.split_once(':') {
            Some((address, ports)) if address.contains('.') => (address, ports),
            _ => ("127.0.0.1", text),
        },
    };
    let (host, inside) = ports.split_once(':').unwrap_or((ports, ports));
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    Ok(Publish {
        address: SocketAddr::new(address, number(host).ok_or_else(wrong)?),
        port: number(inside).ok_or_else(wrong)?,
    })
}

/// Refuses what anybody could connect to.
pub fn only_loopback(published: &[Publish]) -> Result<(), Failure> {
    match published.iter().find(|p| !p.address.ip().is_loopback()) {
        Some(open) => Err(Failure::new(format!(
            "--publish {}: whoever reaches this address could connect; leave it out for the host's loopback, or say --publish-anyway",
            open.address
        ))),
        None => Ok(()),
    }
}

/// Refuses what other machines could connect to, whoever says so: no policy of a platform's or an
/// operator's grants it.
pub fn check_published(published: &[Publish]) -> Result<(), Failure> {
    match published.iter().find(|p| !p.address.ip().is_loopback()) {
        Some(open) => Err(Failure::new(format!(
            "--publish {}: a platform's or operator's policy is in force, and none grants ways in from other addresses than loopback; leave the address out for the host's loopback",
            open.address
        ))),
        None => Ok(()),
    }
}

/// The log of decisions on the network: opened by the caller's rights, before anything runs. A regular
/// file must be out of the jail's reach: the jail could empty it, or put a link in its place, and what
/// the next run appends, names that the jail chooses, would be in a file of the jail's choice.
pub fn open_log(path: &Path, plan: &Plan) -> Result<File, Failure> {
    let fault =
        |why: &dyn std::fmt::Display| Failure::new(format!("--log-net {}: {why}", path.display()));
    let open = |path: &Path, flags: OFlags| {
        // Of a pipe that nobody reads open(2) would wait for a reader.
        let flags = flags | OFlags::NONBLOCK | OFlags::NOCTTY;
        let mut options = File::options();
        let options = options.append(true).create(true).mode(0o600);
        let file = options.custom_flags(flags.bits() as i32).open(path)?;
        // This open file is creel's own. A line waits for its reader, and what it tells of for the line.
        let flags = rustix::fs::fcntl_getfl(&file)?;
        rustix::fs::fcntl_setfl(&file, flags - OFlags::NONBLOCK)?;
        Ok(file)
    };
    let unopened = |e: std::io::Error| match Errno::from_io_error(&e) {
        Some(Errno::LOOP) => fault(&"it is a link; name the file itself"),
        Some(Errno::NXIO) => {
            fault(&"nobody reads it, or it is a socket; start the reader of a pipe first")
        }
        _ => fault(&e),
    };
    // What lies there is the kernel's: /dev/stderr, /dev/fd/9.
    if ["/dev", "/proc"].iter().any(|own| path.starts_with(own)) {
        return open(path, OFlags::empty()).map_err(unopened);
    }
    let absolute = std::path::absolute(path).map_err(|e| fault(&e))?;
    let (Some(directory), Some(name)) = (absolute.parent(), absolute.file_name()) else {
        return Err(fault(&"it is no file; name one"));
    };
    if let Some(link) = turned(directory, plan) {
        return Err(fault(&turned_words(&link)));
    }
    let place = directory.canonicalize().map_err(|e| fault(&e))?.join(name);
    if in_reach(&place, plan, |access| access.write) {
        return Err(fault(
            &"the jail could change it; name a file outside of what it may write",
        ));
    }
    let file = open(&place, OFlags::NOFOLLOW).map_err(unopened)?;
    let meta = file.metadata().map_err(|e| fault(&e))?;
    match meta.is_file() && meta.nlink() > 1 {
        true => Err(fault(
            &"it has another name as well, through which it could be changed; name a file of its own",
        )),
        false => Ok(file),
    }
}

/// Whether a path of the host lies in a tree that the jail has with such access. By inodes: a tree has as
/// many names as it has mounts.
fn in_reach(path: &Path, plan: &Plan, such: fn(&Access) -> bool) -> bool {
    let node = |path: &Path| path.metadata().ok().map(|meta| (meta.dev(), meta.ino()));
    let above: Vec<_> = path.ancestors().filter_map(node).collect();
    plan.acts().any(|act| match act {
        Act::Bind { source, access, .. } if such(access) => {
            node(source).is_some_and(|tree| above.contains(&tree))
        }
        _ => false,
    })
}

/// Refuses a file of the verdict's whose place an earlier run in the same trees could have chosen, or whose
/// directory this one could move: a file of the jail's would then be at the path that the caller reads. Says
/// whose the directory is.
pub fn check_status(path: &Path, plan: &Plan) -> Result<Place, Failure> {
    let fault = |why: &str| Failure::new(format!("--status-file {}: {why}", path.display()));
    let absolute = std::path::absolute(path).ok();
    let Some(directory) = absolute.as_deref().and_then(Path::parent) else {
        return Ok(Place::Callers);
    };
    if let Some(link) = turned(directory, plan) {
        return Err(fault(&turned_words(&link)));
    }
    // What cannot be found is an error where the file is made.
    let Ok(place) = directory.canonicalize() else {
        return Ok(Place::Callers);
    };
    let root = |act: &Act| matches!(act, Act::Bind { source, .. } if *source == place);
    match in_reach(&place, plan, |access| access.write) {
        false => Ok(Place::Callers),
        true if plan.acts().any(root) => Ok(Place::Jails),
        true => Err(fault(
            "the jail could move the directory and put another file there; name a file in the workspace itself, or outside of what the jail may write",
        )),
    }
}

/// The first link on the way that lies where the jail may write.
fn turned(path: &Path, plan: &Plan) -> Option<PathBuf> {
    let is_link = |path: &&Path| path.symlink_metadata().is_ok_and(|meta| meta.is_symlink());
    let writable = |path: &&Path| {
        let directory = path.parent().and_then(|parent| parent.canonicalize().ok());
        directory.is_some_and(|directory| in_reach(&directory, plan, |access| access.write))
    };
    let link = path.ancestors().filter(is_link).find(writable);
    link.map(Path::to_path_buf)
}

fn turned_words(link: &Path) -> String {
    let link = link.display();
    format!("{link} is a link where the jail may write; name the directory that it leads to")
}

/// Refuses a secret that the jail could read in its file, or is handed in its variable.
pub fn check_secrets(plan: &Plan) -> Result<(), Failure> {
    let egress = plan.acts().find_map(|act| match act {
        Act::Egress(egress) => Some(egress),
        _ => None,
    });
    let credentials = egress.map(|egress| egress.network.credentials.as_slice());
    let handed_on = |name: &String| {
        let inside = plan.command.environment.get(name.as_bytes());
        let secret = std::env::var_os(name);
        inside.is_some_and(|value| secret.is_some_and(|secret| secret.as_bytes() == value))
    };
    for credential in credentials.unwrap_or_default() {
        let file = match &credential.secret {
            Secret::File(file) => file,
            Secret::Variable(name) if handed_on(name) => {
                return Err(Failure::new(format!(
                    "{name}: the secret of {} is in a variable that the jail gets; take it out of `environment` and --env",
                    credential.host
                )));
            }
            Secret::Variable(_) => continue,
        };
        // What is not there is the relay's to tell.
        let Ok(real) = Path::new(file).canonicalize() else {
            continue;
        };
        let masked = plan.acts().any(|act| match act {
            Act::Mask { path, .. } => real.starts_with(path),
            _ => false,
        });
        if !masked && in_reach(&real, plan, |_| true) {
            return Err(Failure::new(format!(
                "{file}: the secret of {} lies where the jail reads it; move it out of what is granted, or deny it",
                credential.host
            )));
        }
    }
    Ok(())
}

/// The caller's variables that hold the secrets of credentials.
pub fn secret_variables(egress: &Egress) -> Vec<String> {
    let credentials = egress.network.credentials.iter();
    let named = credentials.filter_map(|credential| match &credential.secret {
        Secret::Variable(name) => Some(name.clone()),
        Secret::File(_) => None,
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use creel_policy::net::judge::Transport;
    use creel_policy::net::{Answer, Host};

    fn allows(network: &Network, text: &str) -> bool {
        let (host, port) = Host::parse_with_port(text.as_bytes(), 443).unwrap();
        matches!(network.judge(&host, port, Transport::Tcp), Answer::Allow(_))
    }

    #[test]
    fn what_is_named_is_granted_and_nothing_else() {
        let mut network = Network::default();
        grant(
            &mut network,
            &rules(&["a.example".into(), "b.example:22".into()]).unwrap(),
        );
        assert!(allows(&network, "a.example") && allows(&network, "b.example:22"));
        assert!(!allows(&network, "b.example") && !allows(&network, "c.example"));
        network.deny =
            std::iter::once(Rule::denial("a.example", Origin::creel()).unwrap()).collect();
        grant(
            &mut network,
            &rules(&["a.example".into(), "c.example".into()]).unwrap(),
        );
        assert!(!allows(&network, "a.example") && allows(&network, "c.example"));
        grant(&mut network, &[]);
        assert!(rules(&["*:443".into()]).is_err() && rules(&["".into()]).is_err());
    }
}
