//! A plan as text, for `--dry-run`: one act per line, in order.

use std::fmt::{self, Write as _};

use super::{Access, Act, Code, GroupView, Ids, Node, Owner, Plan, Rights, Terminal};

impl Plan {
    /// The plan for people; `serde_json` of the plan is the form for programs.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        writeln!(
            out,
            "policy    {} (sha256 {})",
            self.policy.name, self.policy.digest
        )?;
        writeln!(out, "plan      sha256 {}", self.digest())?;
        writeln!(out, "command   {}", words(&self.command.argv))?;
        writeln!(out, "workdir   {}", self.command.workdir.display())?;
        let terminal = match self.command.terminal {
            Terminal::Pipes => "none; stdout and stderr through counted pipes",
            Terminal::Pty => "a pseudoterminal of the jail's own",
        };
        writeln!(out, "terminal  {terminal}")?;
        let watch = &self.command.watch;
        writeln!(
            out,
            "watched   wall {} ms, cpu {} ms, output {} bytes, grace {} ms",
            watch.timeout, self.jail.watch.cpu_time, watch.output, watch.grace
        )?;
        for flag in &self.policy.flags {
            writeln!(out, "flag      {}", flag.escape_debug())?;
        }
        for note in &self.policy.notes {
            writeln!(out, "note      {}", note.escape_debug())?;
        }
        writeln!(out, "\nlayers")?;
        for layer in &self.layers {
            let mark = if layer.in_force { "on " } else { "OFF" };
            writeln!(out, "  {mark} {:18} {}", kebab(&layer.name), layer.detail)?;
        }
        writeln!(out, "\nacts")?;
        for (number, act) in self.acts().enumerate() {
            writeln!(out, "  {number:3}  {act}")?;
        }
        writeln!(out, "\nenvironment")?;
        for (name, value) in &self.command.environment {
            let (name, value) = (
                String::from_utf8_lossy(name),
                String::from_utf8_lossy(value),
            );
            writeln!(out, "  {name}={}", value.escape_debug())?;
        }
        Ok(())
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Act::Namespaces { which } => {
                let names: Vec<String> = which.iter().map(kebab).collect();
                write!(f, "clone into new namespaces: {}", names.join(", "))
            }
            Act::MapIds(Ids::Range { count }) => write!(f, "map {count} ids to a range of its own"),
            Act::MapIds(Ids::Caller { uid, gid }) => {
                write!(f, "map the caller's own ids, {uid}:{gid}")
            }
            Act::MapIds(Ids::Shared { uid, gid }) => {
                write!(f, "map the owner of the workspace, {uid}:{gid}")
            }
            Act::Cgroup(l) => {
                write!(f, "cgroup: memory {} (high {})", l.memory, l.memory_high)?;
                if let Some(sockets) = l.sockets {
                    write!(f, " and {sockets} for socket buffers")?;
                }
                write!(
                    f,
                    ", cpu {}.{:03}, pids {}",
                    l.cpu_milli / 1000,
                    l.cpu_milli % 1000,
                    l.pids
                )
            }
            Act::Root { bytes, inodes } => {
                write!(f, "root: tmpfs of {bytes} bytes, {inodes} inodes")
            }
            Act::Directory { path, mode, .. } => write!(f, "mkdir {} {mode:04o}", path.display()),
            Act::Link { path, target } => {
                write!(f, "symlink {} -> {}", path.display(), target.display())
            }
            Act::File {
                path,
                mode,
                contents,
            } => {
                write!(
                    f,
                    "write {} {mode:04o}, {} bytes",
                    path.display(),
                    contents.len()
                )
            }
            Act::Bind {
                source,
                target,
                access,
                owner,
                without,
                overlay,
                ..
            } => {
                let how = match overlay {
                    Some(_) => "overlay",
                    None => "bind",
                };
                write!(f, "{how} {}", source.display())?;
                if source != target {
                    write!(f, " on {}", target.display())?;
                }
                write!(f, " {}", flags(*access))?;
                if let Owner::Mapped { uid, gid } = owner {
                    write!(f, ", owner {uid}:{gid} is the jail's user")?;
                }
                let hidden = overlay.iter().flat_map(|overlay| &overlay.hidden);
                for place in without.iter().chain(hidden) {
                    write!(f, ", without {}", place.display())?;
                }
                if let Some(overlay) = overlay {
                    match overlay.changes.as_os_str().is_empty() {
                        true => write!(f, ", changes in a layer of the jail's own")?,
                        false => write!(f, ", changes in {}", overlay.changes.display())?,
                    }
                }
                Ok(())
            }
            Act::Device { path, major, minor } => {
                write!(f, "device {} {major}:{minor}", path.display())
            }
            Act::Tmpfs {
                path,
                bytes,
                inodes,
                mode,
                access,
                ..
            } => write!(
                f,
                "tmpfs {} {} {mode:04o}, {bytes} bytes, {inodes} inodes",
                path.display(),
                flags(*access)
            ),
            Act::Devpts => write!(f, "devpts /dev/pts, an instance of its own"),
            Act::Proc => write!(f, "proc /proc, of the jail's pid namespace"),
            Act::UserCounts {
                inotify_instances,
                inotify_watches,
            } => write!(
                f,
                "user namespace: {inotify_instances} inotify instances, {inotify_watches} watches"
            ),
            Act::ReadOnly { path } => write!(f, "read-only {}", path.display()),
            Act::Mask { path, node, .. } => {
                let what = match node {
                    Node::Directory => "directory",
                    Node::File => "file",
                };
                write!(f, "mask {what} {}", path.display())
            }
            Act::Withhold { path, .. } => {
                write!(f, "withhold {}, which is absent", path.display())
            }
            Act::Hold { path, .. } => write!(f, "hold {} in its place", path.display()),
            Act::Pivot => write!(f, "pivot into the root, detach the host's tree"),
            Act::Seal => write!(f, "make the root read-only"),
            Act::Hostname { name } => write!(f, "hostname {name}"),
            Act::Client { program, socket } => write!(
                f,
                "{}, which asks the session at {}",
                program.display(),
                socket.display()
            ),
            Act::Authority { bundle, .. } => write!(
                f,
                "an authority of the jail's own, trusted by {}",
                bundle.display()
            ),
            Act::Trust { path, by } => {
                write!(f, "cover {} by {}", path.display(), by.display())
            }
            Act::Loopback => write!(f, "loopback up"),
            Act::Egress(egress) => {
                write!(
                    f,
                    "the relay listens on {} sockets; network {}, {} published",
                    egress.listeners.len(),
                    egress.mode.name(),
                    egress.publish.len()
                )?;
                let mut credentials = egress.credentials.iter();
                credentials.try_for_each(|text| write!(f, "\n         credential {text}"))
            }
            Act::Clocks => write!(f, "time namespace, monotonic and boot clock from zero"),
            Act::GroupView { path, group } => {
                let what = match group {
                    GroupView::V2 | GroupView::V1 { .. } => "the jail's own group",
                    GroupView::Shared { .. } => "a group of all jails",
                };
                write!(f, "cgroup {}, {what}, ro", path.display())
            }
            Act::JoinCgroup => write!(f, "join the v1 groups"),
            Act::CgroupNamespace => write!(f, "cgroup namespace, its root the jail's own group"),
            Act::Keyring => write!(f, "new session keyring"),
            Act::ResourceLimit {
                limit, soft, hard, ..
            } => {
                write!(f, "rlimit {} {soft}, hard {hard}", kebab(limit))
            }
            Act::Become { uid, gid } => write!(f, "become {uid}:{gid}"),
            Act::Capabilities => write!(f, "empty all capability sets, lock the securebits"),
            Act::NoNewPrivileges => write!(f, "no_new_privs"),
            Act::NotDumpable => write!(f, "not dumpable"),
            Act::Landlock { abi, rules } => {
                write!(f, "landlock ABI {abi}, {} rules", rules.len())?;
                for rule in rules {
                    write!(
                        f,
                        "\n         {:13} {}",
                        rights(rule.rights),
                        rule.path.display()
                    )?;
                }
                Ok(())
            }
            Act::Terminal => write!(f, "open a pseudoterminal"),
            Act::Streams => write!(f, "set up 0, 1 and 2, leave every other descriptor open"),
            Act::Descriptors => write!(f, "close every descriptor but 0, 1, 2"),
            Act::Workdir { path } => write!(f, "chdir {}", path.display()),
            Act::NoMemfd => write!(f, "refuse memfd_create"),
            Act::Seccomp => write!(f, "install the seccomp filter"),
            Act::SeccompDebug => write!(f, "install the seccomp filter that lets debuggers trace"),
            Act::Exec => write!(f, "execute the command"),
        }
    }
}

fn flags(access: Access) -> &'static str {
    match (access.write, access.code) {
        (false, Code::Data) => "ro,noexec",
        (false, Code::Load) => "ro,load",
        (false, Code::Execute) => "ro",
        (true, Code::Data) => "rw,noexec",
        (true, Code::Load) => "rw,load",
        (true, Code::Execute) => "rw",
    }
}

pub(super) fn rights(rights: Rights) -> &'static str {
    match rights {
        Rights::List => "list",
        Rights::Read => "read",
        Rights::Execute => "read+exec",
        Rights::Write => "read+write",
        Rights::WriteExecute => "all",
        Rights::Use => "use",
        Rights::Connect => "connect",
    }
}

/// The name that the JSON form uses.
fn kebab<T: serde::Serialize>(name: &T) -> String {
    serde_json::to_value(name)
        .ok()
        .and_then(|v| v.as_str().map(str::to_owned))
        .unwrap_or_default()
}

fn words(argv: &[Vec<u8>]) -> String {
    let words: Vec<String> = argv
        .iter()
        .map(|arg| format!("{:?}", String::from_utf8_lossy(arg)))
        .collect();
    words.join(" ")
}
