//! Canaries, which the outer half puts on the host and in the plan, for attempts to look for.
//!
//! On the host they are in one [`scratch`](super::scratch) directory and in this process: listeners, a
//! message queue, a key, a descriptor. In the plan they are mounts and files under [`PLACE`] that all layers
//! but one would let through.

use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};

use super::attempt::Site;
use super::error::SelftestError;
use super::scratch::{CONTENTS, Scratch};
use creel_jail::Pins;
use creel_jail::pins::Pin;
use creel_plan::{Access, Act, Code, DirOwner, LandlockRule, Node, Owner, Plan, Rights};
use creel_sys::attempt::{self, Queue, c};
use creel_sys::{fd, host, process};

/// The directory of the canaries in a plan.
pub const PLACE: &str = "/run/selftest";
/// A file on the root itself, readable by its mode, where Landlock allows no read.
pub const FILE: &str = "/run/selftest/file";
/// A writable, executable tmpfs that no Landlock rule covers.
pub const FREE: &str = "/run/selftest/free";
/// Writable by mode and by rule, on the sealed root.
pub const OPEN: &str = "/run/selftest/open";
/// Writable by mode and by rule, mounted read-only.
pub const READ_ONLY: &str = "/run/selftest/readonly";
/// Executable by mode and by rule, mounted noexec.
pub const NOEXEC: &str = "/run/selftest/noexec";
/// Sockets of the host in a granted tree, open by mode, that no rule names; the datagram socket too.
pub const SOCKET: &str = "/run/selftest/readonly/socket";
pub const DATAGRAM: &str = "/run/selftest/readonly/datagram";
/// A socket of the host that a rule names.
pub const NAMED_SOCKET: &str = "/run/selftest/readonly/named";
/// A variable that no policy passes.
pub const VARIABLE: &str = "SELFTEST_API_TOKEN";

/// A script whose interpreter every jail of the default policy has.
const PROGRAM: &str = "#!/bin/true\n";

/// A jail's own processes may have pids below this: such a number would find one of them in there.
const NUMBERS_OF_A_JAIL: i32 = 64;

/// A process of the host that stands in for the outer half if the outer half's pid is too low to tell it from
/// the jail's, as in a container that runs nothing else. Ends with its parent.
#[derive(Debug)]
struct Witness {
    pid: i32,
}

impl Witness {
    fn new() -> std::io::Result<Witness> {
        loop {
            let pid = attempt::fork(|| {
                if rustix::process::getpid().as_raw_nonzero().get() >= NUMBERS_OF_A_JAIL {
                    attempt::pause();
                }
                0
            })?;
            if pid >= NUMBERS_OF_A_JAIL {
                return Ok(Witness { pid });
            }
            process::reap(pid)?;
        }
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        let _ = attempt::call(c::SYS_kill, &[self.pid as usize, c::SIGKILL as usize]);
        let _ = process::reap(self.pid);
    }
}

/// The canaries, which exist as long as this value.
#[derive(Debug)]
pub struct Planted {
    pub site: Site,
    scratch: Scratch,
    _port: TcpListener,
    _sockets: [UnixListener; 3],
    _datagram: UnixDatagram,
    _abstract: UnixListener,
    _queue: Option<Queue>,
    _descriptor: OwnedFd,
    _witness: Option<Witness>,
}

impl Planted {
    /// Plants on the host, in a new directory beneath `base`.
    pub fn new(base: &Path) -> Result<Planted, SelftestError> {
        let id = host::random_id();
        let fault = |source| SelftestError::Scratch {
            path: base.into(),
            source,
        };
        let scratch = Scratch::new(base, &id).map_err(fault)?;
        Self::in_scratch(scratch, &id).map_err(fault)
    }

    fn in_scratch(scratch: Scratch, id: &str) -> std::io::Result<Planted> {
        fill(&scratch.path)?;
        let outside = scratch.path.join("outside");
        let port = TcpListener::bind("127.0.0.1:0")?;
        let granted = scratch.path.join("readonly");
        let open = |path: PathBuf| fs::set_permissions(path, Permissions::from_mode(0o666));
        let listen = |path: PathBuf| {
            let listener = UnixListener::bind(&path)?;
            open(path).map(|()| listener)
        };
        let sockets = [
            listen(outside.join("socket"))?,
            listen(granted.join("socket"))?,
            listen(granted.join("named"))?,
        ];
        let datagram = UnixDatagram::bind(granted.join("datagram"))?;
        open(granted.join("datagram"))?;
        let abstract_name = format!("creel-selftest-{id}");
        let address = SocketAddr::from_abstract_name(&abstract_name)?;
        let abstract_ = UnixListener::bind_addr(&address)?;
        // Kernels without System V queues have none to reach.
        let key = i32::from_str_radix(&id[..7], 16).unwrap_or(1) | 1;
        let queue = Queue::new(key).ok();
        let file = File::open(outside.join("file"))?;
        let descriptor = attempt::inheritable(file.as_fd())?;
        let key = format!("creel-selftest-{id}");
        // The caller's own session keyring is left as it is.
        if process::join_new_keyring().is_ok()
            && let Ok(description) = std::ffi::CString::new(key.clone())
        {
            let _ = attempt::add_key(&description);
        }
        let own = rustix::process::getpid().as_raw_nonzero().get();
        let witness = (own < NUMBERS_OF_A_JAIL).then(Witness::new).transpose()?;
        let (device, inode) = rustix::fs::stat("/").map(|s| (s.st_dev, s.st_ino))?;
        let hostname = rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned();
        let site = Site {
            outside: outside.join("file"),
            socket: outside.join("socket"),
            port: port.local_addr()?.port(),
            abstract_name,
            queue: queue.as_ref().map(|q| q.key),
            key,
            descriptor: descriptor.as_raw_fd(),
            pid: witness.as_ref().map_or(own, |w| w.pid),
            session: process::session_id(),
            hostname,
            host_root: (device, inode),
            ..Site::default()
        };
        Ok(Planted {
            site,
            scratch,
            _port: port,
            _sockets: sockets,
            _datagram: datagram,
            _abstract: abstract_,
            _queue: queue,
            _descriptor: descriptor,
            _witness: witness,
        })
    }

    /// The workspace of the jails.
    pub fn workspace(&self) -> PathBuf {
        self.scratch.path.join("work")
    }

    /// Puts the canaries in a plan, and pins what they are mounted from.
    pub fn put(&self, plan: &mut Plan, pins: &mut Pins) -> Result<(), SelftestError> {
        for name in ["readonly", "noexec", "outside"] {
            let path = self.scratch.path.join(name);
            let fault = |e: creel_sys::Errno| SelftestError::Scratch {
                path: path.clone(),
                source: e.into(),
            };
            let fd = fd::pin_exact(&path).map_err(fault)?;
            let stat = fd::stat(fd.as_fd()).map_err(fault)?;
            pins.insert(path, Pin { fd, stat });
        }
        let all = Access {
            write: true,
            code: Code::Execute,
        };
        let read = Access {
            write: false,
            code: Code::Data,
        };
        let acts = [
            directory(PLACE, 0o755),
            file(FILE, 0o444, "canary\n"),
            directory(OPEN, 0o777),
            directory(FREE, 0o755),
            Act::Tmpfs {
                path: FREE.into(),
                bytes: 1 << 20,
                inodes: 64,
                mode: 0o777,
                access: all,
                rule: None,
            },
            directory("/run/selftest/free/dir", 0o777),
            file("/run/selftest/free/file", 0o666, "canary\n"),
            file("/run/selftest/free/program", 0o755, PROGRAM),
            directory(READ_ONLY, 0o755),
            bind(self.scratch.path.join("readonly"), READ_ONLY, read),
            directory(NOEXEC, 0o755),
            bind(self.scratch.path.join("noexec"), NOEXEC, read),
        ];
        insert(plan, acts);
        for (path, rights) in [
            (OPEN, Rights::Write),
            (READ_ONLY, Rights::Write),
            (NOEXEC, Rights::Execute),
        ] {
            rule(plan, path.as_ref(), Node::Directory, rights);
        }
        rule(plan, NAMED_SOCKET.as_ref(), Node::File, Rights::Connect);
        Ok(())
    }
}

/// Grants the canary outside, as a `read` grant would: the mount and its rule.
pub fn grant_outside(plan: &mut Plan, planted: &Planted) {
    let outside = planted.scratch.path.join("outside");
    let exists = |path: &Path| {
        plan.acts().any(|act| match act {
            Act::Directory { path: made, .. } | Act::Tmpfs { path: made, .. } => made == path,
            Act::Bind { target, .. } => target == path,
            _ => false,
        })
    };
    let mut acts: Vec<Act> = outside
        .ancestors()
        .filter(|path| path.parent().is_some() && !exists(path))
        .map(|path| Act::Directory {
            path: path.into(),
            mode: 0o755,
            owner: DirOwner::Root,
        })
        .collect();
    acts.reverse();
    let target = outside.to_string_lossy().into_owned();
    acts.push(bind(
        outside.clone(),
        &target,
        Access {
            write: false,
            code: Code::Data,
        },
    ));
    insert(plan, acts);
    rule(plan, &outside, Node::Directory, Rights::Read);
    // Only this layer keeps the socket away, so without it the socket is granted by its path too.
    rule(plan, &outside.join("socket"), Node::File, Rights::Connect);
}

fn fill(scratch: &Path) -> std::io::Result<()> {
    for name in CONTENTS {
        let path = scratch.join(name);
        let mode = if name == "readonly" { 0o777 } else { 0o755 };
        fs::create_dir(&path)?;
        fs::set_permissions(&path, Permissions::from_mode(mode))?;
    }
    let write = |name: &str, mode, text: &str| {
        let path = scratch.join(name);
        File::create_new(&path)?.write_all(text.as_bytes())?;
        fs::set_permissions(&path, Permissions::from_mode(mode))
    };
    write("outside/file", 0o644, "canary\n")?;
    write("readonly/file", 0o666, "canary\n")?;
    write("noexec/program", 0o755, PROGRAM)
}

fn directory(path: &str, mode: u32) -> Act {
    Act::Directory {
        path: path.into(),
        mode,
        owner: DirOwner::Root,
    }
}

fn file(path: &str, mode: u32, contents: &str) -> Act {
    Act::File {
        path: path.into(),
        mode,
        contents: contents.into(),
    }
}

fn bind(source: PathBuf, target: &str, access: Access) -> Act {
    Act::Bind {
        source,
        target: target.into(),
        node: Node::Directory,
        access,
        owner: Owner::Host,
        without: vec![],
        unnamed: false,
        overlay: None,
        rule: None,
    }
}

/// Inserts acts at the end of the granted tree, before those that cover parts of it.
fn insert(plan: &mut Plan, acts: impl IntoIterator<Item = Act>) {
    // After every mount, so that none covers what is put there.
    let build = &mut plan.jail.build;
    let place = build.iter().position(|act| matches!(act, Act::Pivot));
    let place = place.unwrap_or(build.len());
    build.splice(place..place, acts);
}

fn rule(plan: &mut Plan, path: &Path, node: Node, rights: Rights) {
    for act in plan.acts_mut() {
        if let Act::Landlock { rules, .. } = act {
            rules.push(LandlockRule {
                path: path.into(),
                node,
                rights,
                rule: None,
            });
        }
    }
}
