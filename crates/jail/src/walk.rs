//! The child's walk through its steps, from `clone3` to being pid 1 of a finished jail.
//!
//! Runs after clone in a copy of the parent's memory: system calls only, no allocation, no lock, no
//! panic, no unwinding. It decides nothing; it reports the step and the errno and ends.

use std::ffi::{CStr, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{self as rx, CWD, Mode, OFlags, ResolveFlags};

use super::freeze::Stdio;
use super::step::{Options, Place, Program, Step, Tree, Work};
use super::wire::Message;
use super::{init, netns, rights};
use creel_plan::{IfAbsent, Later, Node, Rights, Terminal};
use creel_policy::trust::{self, StandIn};
use creel_sys::socket::{self, Wait};
use creel_sys::{
    Errno, Result, caps, clone, fd, mount, placeholder, process, pty, rlimit, seccomp, timens,
};

/// The supervisor's socket in the finished jail; everything above it is closed.
pub const SOCKET: i32 = 3;

/// What is masked is covered by one of the first two, which nobody may open, and what is withheld by one of the
/// others. procfs comes over them, so no path leads there.
const COVER_FILE: &CStr = c"proc/file";
const COVER_DIRECTORY: &CStr = c"proc/directory";
const COVER_ABSENT: &CStr = c"proc/absent";
const COVER_EMPTY: &CStr = c"proc/empty";
const COVER_IGNORED: &CStr = c"proc/ignored";
/// In the last of them, for git and for whoever looks.
const IGNORE: &CStr = c"proc/ignored/.gitignore";
const IGNORE_SAYS: &[u8] =
    b"# creel: absent on the host and protected by the policy, hence not the jail's to make.\n*\n";

/// What the child knows.
pub struct Child<'a> {
    pub steps: &'a mut [Step],
    pub program: &'a Program,
    pub stdio: &'a Stdio,
    /// The `tasks` files of the v1 groups.
    pub tasks: &'a [OwnedFd],
    pub socket: OwnedFd,
    /// This process's copy of the supervisor's end, which must go: as long as it is open, the end of
    /// the supervisor would be no end of file here.
    pub supervisors: OwnedFd,
    pub ids: Start,
    pub terminal: Terminal,
    /// For the helper that makes the network namespace, where the jail was not born in its own.
    pub room: Option<&'static mut [u128]>,
    /// Where the relay awaits its sockets.
    pub relay: Option<OwnedFd>,
}

/// The ids with which building starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// The jail's root user, who ends when building does.
    JailRoot,
    /// The jail's user, where the jail has no other id; the capabilities stay for building.
    JailUser(u32),
    /// The caller's own, which is all that there is.
    Caller,
}

/// Builds the jail around this process and becomes its pid 1. Never returns.
pub fn walk(child: Child<'_>) -> ! {
    let Child {
        steps,
        program,
        stdio,
        tasks,
        socket,
        supervisors,
        ids,
        terminal,
        room,
        relay,
    } = child;
    drop(supervisors);
    let begin = |()| room.map(netns::begin).transpose();
    let network = match start(&socket, ids).and_then(begin) {
        Ok(network) => network,
        Err(errno) => fail(socket.as_fd(), u32::MAX, errno),
    };
    let mut state = State {
        root: None,
        old: None,
        pair: None,
        stdin: None,
        socket: &socket,
        settled: false,
        stdio,
        tasks,
        terminal,
        network,
        relay,
        covers: None,
        directory: None,
        spare: [None, None],
    };
    for step in steps {
        if let Err(errno) = state.perform(&mut step.work) {
            fail(state.speaker(), step.act, errno);
        }
    }
    init::run(program, terminal)
}

fn fail(socket: BorrowedFd<'_>, step: u32, errno: Errno) -> ! {
    let message = Message::Failed {
        step,
        errno: errno.raw_os_error(),
    };
    // If the supervisor is gone there is nobody to tell.
    let _ = socket::send(socket, &message.encode(), &[]);
    process::exit(1)
}

/// Waits for the word that the id maps are written, and takes on the ids to build with.
fn start(socket: &OwnedFd, ids: Start) -> Result<()> {
    // Every signal is blocked since before the clone (`signal::Held`).
    process::die_with_parent()?;
    process::schedule_as_others()?;
    wait_for_parent(socket.as_fd())?;
    let id = match ids {
        Start::JailRoot => Some(0),
        Start::JailUser(id) => {
            caps::keep_over_setuid()?;
            Some(id)
        }
        Start::Caller => None,
    };
    if let Some(id) = id {
        process::become_ids(id, id, process::Groups::Clear)?;
        process::die_with_parent()?;
    }
    mount::make_private()
}

/// The parent's one message; its end is the end of this process.
fn wait_for_parent(socket: BorrowedFd<'_>) -> Result<()> {
    let mut byte = [0];
    match socket::receive(socket, &mut byte, Wait::Yes)? {
        (0, _) => process::exit(1),
        _ => Ok(()),
    }
}

struct State<'a> {
    /// The root under construction.
    root: Option<OwnedFd>,
    /// The root after the pivot, to seal it.
    old: Option<OwnedFd>,
    /// Of the jail's own terminal: master, slave.
    pair: Option<(OwnedFd, OwnedFd)>,
    /// What becomes stdin in the place of the caller's own.
    stdin: Option<OwnedFd>,
    socket: &'a OwnedFd,
    /// The socket has become [`SOCKET`], and its old number is closed.
    settled: bool,
    stdio: &'a Stdio,
    terminal: Terminal,
    network: Option<netns::Making>,
    relay: Option<OwnedFd>,
    covers: Option<Covers>,
    /// The directory of the name that was withheld last.
    directory: Option<(&'a CStr, OwnedFd)>,
    /// Copies of the covers for which there was no path: a directory, a file.
    spare: [Option<OwnedFd>; 2],
    /// The `tasks` files of the v1 groups.
    tasks: &'a [OwnedFd],
}

/// What mounts over names are copied from.
struct Covers {
    file: OwnedFd,
    directory: OwnedFd,
    /// What stands for nothing.
    absent: OwnedFd,
    empty: OwnedFd,
    ignored: OwnedFd,
}

impl<'a> State<'a> {
    /// The socket, wherever it is now.
    fn speaker(&self) -> BorrowedFd<'_> {
        match self.settled {
            true => fd::fixed(SOCKET),
            false => self.socket.as_fd(),
        }
    }

    fn root(&self) -> Result<BorrowedFd<'_>> {
        self.root.as_ref().map(AsFd::as_fd).ok_or(Errno::BADF)
    }

    /// A path under construction, with no symbolic link in it: whoever can write in a granted tree
    /// could turn a directory into a link between the plan and this moment (CVE-2021-30465).
    fn at(&self, path: &CStr) -> Result<OwnedFd> {
        let how = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        rx::openat2(
            self.root()?,
            path,
            OFlags::PATH | OFlags::CLOEXEC,
            Mode::empty(),
            how,
        )
    }

    /// As [`at`](Self::at), for a place that must be the inode that the plan was made for.
    fn at_same(&self, path: &CStr, over: Option<fd::Stat>) -> Result<OwnedFd> {
        let place = self.at(path)?;
        let Some(wanted) = over else { return Ok(place) };
        let found = fd::stat(place.as_fd())?;
        match (found.dev, found.ino) == (wanted.dev, wanted.ino) {
            true => Ok(place),
            false => Err(Errno::STALE),
        }
    }

    /// Attaches for good: the descriptor stays open until the sweep, which closes all at once.
    fn settle(&self, mount: OwnedFd, path: &CStr, at: Place, over: Option<fd::Stat>) -> Result<()> {
        self.attach(&mount, path, at, over)?;
        std::mem::forget(mount);
        Ok(())
    }

    fn attach(
        &self,
        mount: &OwnedFd,
        path: &CStr,
        at: Place,
        over: Option<fd::Stat>,
    ) -> Result<()> {
        match at {
            Place::Own => mount::attach(mount.as_fd(), self.root()?, path),
            Place::Granted => mount::attach(mount.as_fd(), self.at_same(path, over)?.as_fd(), c""),
        }
    }

    fn perform(&mut self, work: &'a mut Work) -> Result<()> {
        match work {
            Work::Root { options } => {
                let attributes = mount::NOSUID | mount::NODEV | mount::NOEXEC;
                let root = instance(c"tmpfs", options, attributes)?;
                mount::attach_on_root(root.as_fd())?;
                self.root = Some(root);
                Ok(())
            }
            Work::Directory { path, mode, owner } => {
                rx::mkdirat(self.root()?, path.as_c_str(), Mode::from_raw_mode(*mode))?;
                let Some((uid, gid)) = *owner else {
                    return Ok(());
                };
                let (uid, gid) = (rx::Uid::from_raw(uid), rx::Gid::from_raw(gid));
                rx::chownat(
                    self.root()?,
                    path.as_c_str(),
                    Some(uid),
                    Some(gid),
                    rx::AtFlags::SYMLINK_NOFOLLOW,
                )
            }
            Work::Link { path, target } => {
                rx::symlinkat(target.as_c_str(), self.root()?, path.as_c_str())
            }
            Work::File {
                path,
                mode,
                contents,
            } => self.file(path, *mode, contents),
            Work::Tree {
                path,
                at,
                tree,
                attributes,
                over,
            } => {
                let (source, stat) = match tree {
                    Tree::Held(tree) => return self.attach(tree, path, *at, *over),
                    Tree::Named { source, stat } => (source, stat),
                    Tree::Group(_) => return Err(Errno::BADF),
                };
                let tree = mount::copy_tree(CWD, source)?;
                let now = fd::stat(tree.as_fd())?;
                if (now.dev, now.ino) != (stat.dev, stat.ino) {
                    return Err(Errno::STALE);
                }
                mount::set(tree.as_fd(), *attributes, mount::Reach::Below)?;
                self.settle(tree, path, *at, *over)
            }
            Work::Device {
                path,
                source,
                number,
            } => {
                let device = mount::copy_one(CWD, source)?;
                let stat = fd::stat(device.as_fd())?;
                if stat.kind != fd::Kind::CharDevice || stat.rdev != *number {
                    // CVE-2025-31133: what was named is not the device.
                    return Err(Errno::NODEV);
                }
                let attributes = mount::NOSUID | mount::NOEXEC | mount::RDONLY;
                mount::set(device.as_fd(), attributes, mount::Reach::This)?;
                self.file(path, 0o666, b"")?;
                self.settle(device, path, Place::Own, None)
            }
            Work::Instance {
                path,
                at,
                kind,
                options,
                attributes,
            } => self.settle(instance(kind, options, *attributes)?, path, *at, None),
            Work::Proc {
                options,
                attributes,
            } => {
                self.make_covers()?;
                self.settle(
                    instance(c"proc", options, *attributes)?,
                    c"proc",
                    Place::Own,
                    None,
                )
            }
            Work::UserCounts { files } => {
                for (path, count) in files {
                    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
                    match rx::openat(self.root()?, *path, flags, Mode::empty()) {
                        Ok(file) => rustix::io::write(&file, count).map(drop)?,
                        // A kernel without inotify.
                        Err(Errno::NOENT) => {}
                        Err(errno) => return Err(errno),
                    }
                }
                Ok(())
            }
            Work::ReadOnly { path } => {
                let place = self.at(path)?;
                let copy = mount::copy_tree(place.as_fd(), c"")?;
                mount::set(copy.as_fd(), mount::INERT, mount::Reach::Below)?;
                mount::attach(copy.as_fd(), place.as_fd(), c"")
            }
            Work::Mask {
                path,
                at,
                node,
                absent,
                over,
            } => self.mask(path, *at, *node, *absent, *over),
            Work::Trust { path, at, by } => {
                let copy = mount::copy_one(self.root()?, by)?;
                mount::set(copy.as_fd(), mount::INERT, mount::Reach::This)?;
                self.settle(copy, path, *at, None)
            }
            Work::Withhold {
                path,
                directory,
                name,
                by,
                later,
            } => self.withhold(path, (directory, name), *by, *later),
            Work::Hold { path } => {
                let place = self.at(path)?;
                let copy = mount::copy_tree(place.as_fd(), c"")?;
                mount::attach(copy.as_fd(), place.as_fd(), c"")
            }
            Work::Stdin(stdin) => {
                let granted = stdin.granted.as_deref();
                let granted = granted.and_then(|path| self.at_same(path, Some(stdin.stat)).ok());
                let file = stdin.open(granted)?;
                let position = stdin.position;
                let message = Message::Stdin { position }.encode();
                socket::send(self.speaker(), &message, &[file.as_fd()])?;
                self.stdin = Some(file);
                Ok(())
            }
            Work::StdinDevice { path, flags } => {
                let device = rx::openat(self.root()?, path.as_c_str(), *flags, Mode::empty())?;
                self.stdin = Some(device);
                Ok(())
            }
            Work::Pivot => {
                let root = self.root.take().ok_or(Errno::BADF)?;
                mount::pivot(root.as_fd())?;
                self.old = Some(root);
                Ok(())
            }
            Work::Seal => {
                let root = self.old.take().ok_or(Errno::BADF)?;
                mount::seal(root.as_fd())
            }
            Work::Hostname { name } => process::set_hostname(name),
            Work::Loopback => netns::join(self.network.as_ref().ok_or(Errno::BADF)?),
            Work::Egress(sockets) => netns::give(self.relay.as_ref().ok_or(Errno::BADF)?, sockets),
            Work::Served => netns::wait_for(self.relay.take().ok_or(Errno::BADF)?),
            Work::Clocks => timens::start_anew(),
            Work::JoinCgroup => {
                for tasks in self.tasks {
                    rustix::io::write(tasks, b"0")?;
                }
                Ok(())
            }
            Work::CgroupNamespace => clone::unshare_cgroup(),
            Work::Keyring => process::join_new_keyring(),
            Work::Limit { limit, soft, hard } => rlimit::set(*limit as u32, *soft, *hard),
            Work::Become { uid, gid } => {
                caps::keep_over_setuid()?;
                process::become_ids(*uid, *gid, process::Groups::Clear)?;
                process::die_with_parent()
            }
            Work::Capabilities => caps::drop_all(),
            Work::NoNewPrivileges => process::no_new_privs(),
            Work::NotDumpable => process::not_dumpable(),
            Work::Landlock { rules, anchors } => {
                let mut rules = rules.take().ok_or(Errno::BADF)?;
                for (path, rights, node) in anchors {
                    let access = rights::access(*rights, *node, rules.abi());
                    rules.allow(fd::pin_c(path)?.as_fd(), access)?;
                }
                if let Some(stdin) = &self.stdin {
                    // What can be read from its descriptor can be read from /dev/stdin too.
                    let access = rights::access(Rights::Read, Node::File, rules.abi());
                    rules.allow(stdin.as_fd(), access)?;
                }
                rules.restrict_self()
            }
            Work::Terminal => {
                let (master, slave) = pty::open()?;
                // While 0 and 1 are the caller's still: the command must not start on a terminal of
                // no size, nor hear of a change that was none.
                if pty::copy_size(fd::fixed(0), slave.as_fd()).is_err() {
                    let _ = pty::copy_size(fd::fixed(1), slave.as_fd());
                }
                self.pair = Some((master, slave));
                Ok(())
            }
            Work::Streams => self.streams(),
            Work::Descriptors => {
                self.streams()?;
                fd::close_between(SOCKET as u32 + 1, u32::MAX)
            }
            Work::Workdir { path } => {
                let directory = fd::open_dir_plain(path)?;
                rustix::process::fchdir(directory)
            }
            Work::NoMemfd => seccomp::refuse_memfd(),
            Work::Seccomp => seccomp::install(),
            Work::SeccompDebug => seccomp::install_for_debuggers(),
        }
    }

    fn file(&self, path: &CStr, mode: u32, contents: &[u8]) -> Result<()> {
        let mode = Mode::from_raw_mode(mode);
        if contents.is_empty() {
            return rx::mknodat(self.root()?, path, rx::FileType::RegularFile, mode, 0);
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rx::openat(self.root()?, path, flags, mode)?;
        match rustix::io::write(&file, contents)? {
            n if n == contents.len() => Ok(()),
            _ => Err(Errno::NOSPC),
        }
    }

    /// Makes what masks are copied from: read-only mounts of an empty file, empty directories and a socket.
    fn make_covers(&mut self) -> Result<()> {
        let root = self.root()?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        rx::openat(root, COVER_FILE, flags, Mode::empty())?;
        rx::mkdirat(root, COVER_DIRECTORY, Mode::empty())?;
        // git, tar and find pass over it.
        rx::mknodat(root, COVER_ABSENT, rx::FileType::Socket, Mode::empty(), 0)?;
        let listed = Mode::from_raw_mode(0o555);
        rx::mkdirat(root, COVER_EMPTY, listed)?;
        rx::mkdirat(root, COVER_IGNORED, listed)?;
        let ignore = rx::openat(root, IGNORE, flags, Mode::from_raw_mode(0o444))?;
        if rustix::io::write(&ignore, IGNORE_SAYS)? != IGNORE_SAYS.len() {
            return Err(Errno::NOSPC);
        }
        let cover = |path| {
            let copy = mount::copy_one(root, path)?;
            mount::set(copy.as_fd(), mount::INERT, mount::Reach::This)?;
            mount::attach(copy.as_fd(), root, path)?;
            Ok(copy)
        };
        self.covers = Some(Covers {
            file: cover(COVER_FILE)?,
            directory: cover(COVER_DIRECTORY)?,
            absent: cover(COVER_ABSENT)?,
            empty: cover(COVER_EMPTY)?,
            ignored: cover(COVER_IGNORED)?,
        });
        Ok(())
    }

    /// Covers a placeholder, by what its place takes: no directory takes a socket, and nothing else a
    /// directory. Which one it is the plan does not know: not every filesystem makes sockets, and what another
    /// run made is shared. Of the host's own nothing is seen but a file that says what is meant without it.
    fn withhold(
        &mut self,
        path: &'a CStr,
        (directory, name): (&'a CStr, &CStr),
        by: StandIn,
        later: Later,
    ) -> Result<()> {
        let readable = later == Later::ReadOnly;
        if readable && matches!(by, StandIn::File(_)) {
            let place = self.at(path)?;
            let stat = rx::fstat(&place)?;
            if !placeholder::marked(&stat) {
                return Err(Errno::STALE);
            }
            if rx::FileType::from_raw_mode(stat.st_mode) == rx::FileType::RegularFile {
                let copy = mount::copy_one(place.as_fd(), c"")?;
                mount::set(copy.as_fd(), mount::INERT, mount::Reach::This)?;
                return mount::attach(copy.as_fd(), place.as_fd(), c"");
            }
        }
        let covers = self.covers.as_ref().ok_or(Errno::BADF)?;
        let path = Path::new(OsStr::from_bytes(path.to_bytes()));
        let listed = match (readable, trust::stand_in_directory(path)) {
            (false, _) => &covers.directory,
            (true, StandIn::Ignored) => &covers.ignored,
            (true, _) => &covers.empty,
        };
        let (first, second) = match by {
            StandIn::Socket | StandIn::File(_) => (&covers.absent, listed),
            StandIn::Directory => (&covers.empty, &covers.absent),
            StandIn::Ignored => (&covers.ignored, &covers.absent),
        };
        let known = self
            .directory
            .as_ref()
            .is_some_and(|(at, _)| *at == directory);
        if !known {
            self.directory = Some((directory, self.at(directory)?));
        }
        let (_, place) = self.directory.as_ref().ok_or(Errno::BADF)?;
        let cover = |by: &OwnedFd| {
            // Closed at once: there are many, and `open_files` may be few.
            let copy = mount::copy_one(by.as_fd(), c"")?;
            mount::attach(copy.as_fd(), place.as_fd(), name)
        };
        match cover(first) {
            Err(Errno::INVAL | Errno::NOTDIR) => cover(second),
            other => other,
        }
    }

    fn mask(
        &mut self,
        path: &CStr,
        at: Place,
        node: Node,
        absent: IfAbsent,
        over: Option<fd::Stat>,
    ) -> Result<()> {
        let covers = self.covers.as_ref().ok_or(Errno::BADF)?;
        let cover = match node {
            Node::File => &covers.file,
            Node::Directory => &covers.directory,
        };
        let copy = match self.spare[node as usize].take() {
            Some(spare) => spare,
            None => mount::copy_one(cover.as_fd(), c"")?,
        };
        match (self.attach(&copy, path, at, over), absent) {
            (Err(Errno::NOENT), IfAbsent::Skip) => {
                // Good for the next.
                self.spare[node as usize] = Some(copy);
                Ok(())
            }
            (Ok(()), _) => {
                std::mem::forget(copy);
                Ok(())
            }
            (Err(errno), _) => Err(errno),
        }
    }

    /// 0, 1 and 2 are what the plan says, the supervisor's socket is 3.
    fn streams(&mut self) -> Result<()> {
        process::own_session()?;
        if let Some((master, slave)) = &self.pair {
            pty::take_control(slave.as_fd())?;
            // Not before: what is typed at a terminal that has no foreground interrupts nobody.
            let said = Message::Terminal.encode();
            socket::send(self.speaker(), &said, &[master.as_fd()])?;
        }
        for (number, fd) in self.stdio.0.iter().enumerate() {
            let source = match self.terminal {
                Terminal::Pty => self.pair.as_ref().map(|(_, slave)| slave),
                Terminal::Pipes if number == 0 => self.stdin.as_ref().or(fd.as_ref()),
                Terminal::Pipes => fd.as_ref(),
            };
            if let Some(source) = source {
                fd::dup_to(source.as_fd(), number as i32)?;
            }
        }
        fd::move_to(self.socket.as_fd(), SOCKET)?;
        self.settled = true;
        Ok(())
    }
}

/// A new filesystem instance from options that were made before clone.
fn instance(kind: &CStr, options: &Options, attributes: u64) -> Result<OwnedFd> {
    mount::new(
        kind,
        options.iter().map(|(k, v)| (k.as_c_str(), v.as_c_str())),
        attributes,
    )
}
