//! Performs the steps that make a jail: the tree, the pivot, the network, the groups.
//!
//! Runs after clone, as [`walk`](super::walk) does: system calls only.

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{self as rx, CWD, Mode, OFlags, ResolveFlags};

use super::client;
use super::netns;
use super::protocol::{HELD, Message};
use super::step::{Build, Options, Place, Tree};
use creel_plan::{IfAbsent, Later, Node};
use creel_policy::protected_defaults::{self, StandIn};
use creel_sys::socket::{self, Wait};
use creel_sys::{Errno, Result, clone, fd, mount, overlay, placeholder, process, timens};

/// Sources of covers. The first two, which nobody may open, cover masked paths; the others cover withheld
/// names. procfs is mounted over them, so no path leads there.
const COVER_FILE: &CStr = c"proc/file";
const COVER_DIRECTORY: &CStr = c"proc/directory";
const COVER_ABSENT: &CStr = c"proc/absent";
const COVER_EMPTY: &CStr = c"proc/empty";
const COVER_IGNORED: &CStr = c"proc/ignored";
/// In the last of these directories, for git and for readers.
const IGNORE: &CStr = c"proc/ignored/.gitignore";
const IGNORE_SAYS: &[u8] =
    b"# creel: absent on the host and protected by the policy, hence not the jail's to make.\n*\n";

/// Waits for the parent's next message, which must be this one (`EPROTO`); exits if the parent is gone.
pub fn wait_for(socket: BorrowedFd<'_>, expected: u8) -> Result<()> {
    let mut byte = [0];
    match socket::receive(socket, &mut byte, Wait::Yes)? {
        (0, _) => process::exit(1),
        _ if byte == [expected] => Ok(()),
        _ => Err(Errno::PROTO),
    }
}

/// A jail under construction.
pub struct Building<'a> {
    /// The root under construction.
    root: Option<OwnedFd>,
    /// The root after the pivot, to seal it.
    old: Option<OwnedFd>,
    /// Replaces the caller's stdin.
    pub stdin: Option<OwnedFd>,
    socket: &'a OwnedFd,
    network: Option<netns::Making>,
    relay: Option<&'a OwnedFd>,
    covers: Option<Covers>,
    /// The directory of the last withheld name.
    directory: Option<(&'a CStr, OwnedFd)>,
    /// Unused copies of covers, for paths that did not exist: a directory, a file.
    spare: [Option<OwnedFd>; 2],
    /// The `tasks` files of the v1 groups.
    tasks: &'a [OwnedFd],
}

/// The mounts from which covers are copied.
struct Covers {
    file: OwnedFd,
    directory: OwnedFd,
    /// Marks a name as absent.
    absent: OwnedFd,
    empty: OwnedFd,
    ignored: OwnedFd,
}

impl<'a> Building<'a> {
    /// `socket` leads to the supervisor. On `relay` the relay receives its sockets.
    pub fn new(
        socket: &'a OwnedFd,
        tasks: &'a [OwnedFd],
        network: Option<netns::Making>,
        relay: Option<&'a OwnedFd>,
    ) -> Building<'a> {
        Building {
            root: None,
            old: None,
            stdin: None,
            socket,
            network,
            relay,
            covers: None,
            directory: None,
            spare: [None, None],
            tasks,
        }
    }

    pub fn perform(&mut self, work: &'a mut Build) -> Result<()> {
        match work {
            Build::Root { options } => {
                let attributes = mount::NOSUID | mount::NODEV | mount::NOEXEC;
                let root = instance(c"tmpfs", options, attributes)?;
                mount::attach_on_root(root.as_fd())?;
                self.root = Some(root);
                Ok(())
            }
            Build::Directory { path, mode, owner } => {
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
            Build::Link { path, target } => {
                rx::symlinkat(target.as_c_str(), self.root()?, path.as_c_str())
            }
            Build::File {
                path,
                mode,
                contents,
            } => self.file(path, *mode, contents),
            Build::Client { program, socket } => self.client(program, socket),
            Build::Tree {
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
            Build::Overlay {
                path,
                at,
                lower,
                layers,
                attributes,
                over,
            } => {
                let [lower, layers] = [named(lower)?, named(layers)?];
                let made = overlay::mount(lower.as_fd(), layers.as_fd(), *attributes)?;
                self.settle(made, path, *at, *over)
            }
            Build::Device {
                path,
                source,
                number,
            } => {
                let device = mount::copy_one(CWD, source)?;
                let stat = fd::stat(device.as_fd())?;
                if stat.kind != fd::Kind::CharDevice || stat.rdev != *number {
                    // CVE-2025-31133: the path does not lead to the device.
                    return Err(Errno::NODEV);
                }
                let attributes = mount::NOSUID | mount::NOEXEC | mount::RDONLY;
                mount::set(device.as_fd(), attributes, mount::Reach::This)?;
                self.file(path, 0o666, b"")?;
                self.settle(device, path, Place::Own, None)
            }
            Build::Instance {
                path,
                at,
                kind,
                options,
                attributes,
            } => self.settle(instance(kind, options, *attributes)?, path, *at, None),
            Build::Proc {
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
            Build::UserCounts { files } => {
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
            Build::ReadOnly { path } => {
                let place = self.at(path)?;
                let copy = mount::copy_tree(place.as_fd(), c"")?;
                mount::set(copy.as_fd(), mount::INERT, mount::Reach::Below)?;
                mount::attach(copy.as_fd(), place.as_fd(), c"")
            }
            Build::Mask {
                path,
                at,
                node,
                absent,
                over,
            } => self.mask(path, *at, *node, *absent, *over),
            Build::Trust { path, at, by } => {
                let copy = mount::copy_one(self.root()?, by)?;
                mount::set(copy.as_fd(), mount::INERT, mount::Reach::This)?;
                self.settle(copy, path, *at, None)
            }
            Build::AwaitNames => wait_for(self.socket.as_fd(), HELD),
            Build::Withhold {
                path,
                directory,
                name,
                by,
                later,
            } => self.withhold(path, (directory, name), *by, *later),
            Build::Hold { path } => {
                let place = self.at(path)?;
                let copy = mount::copy_tree(place.as_fd(), c"")?;
                mount::attach(copy.as_fd(), place.as_fd(), c"")
            }
            Build::Stdin(stdin) => {
                let granted = stdin.granted.as_deref();
                let granted = granted.and_then(|path| self.at_same(path, Some(stdin.stat)).ok());
                let file = stdin.open(granted)?;
                let position = stdin.position;
                let message = Message::Stdin { position }.encode();
                socket::send(self.socket.as_fd(), &message, &[file.as_fd()])?;
                self.stdin = Some(file);
                Ok(())
            }
            Build::StdinDevice { path, flags } => {
                let device = rx::openat(self.root()?, path.as_c_str(), *flags, Mode::empty())?;
                self.stdin = Some(device);
                Ok(())
            }
            Build::Pivot => {
                let root = self.root.take().ok_or(Errno::BADF)?;
                mount::pivot(root.as_fd())?;
                self.old = Some(root);
                Ok(())
            }
            Build::Seal => {
                let root = self.old.take().ok_or(Errno::BADF)?;
                mount::seal(root.as_fd())
            }
            Build::Hostname { name } => process::set_hostname(name),
            Build::Loopback => netns::join(self.network.as_ref().ok_or(Errno::BADF)?),
            Build::Egress(sockets) => netns::give(self.relay.ok_or(Errno::BADF)?, sockets),
            Build::Clocks => timens::start_anew(),
            Build::JoinCgroup => {
                for tasks in self.tasks {
                    rustix::io::write(tasks, b"0")?;
                }
                Ok(())
            }
            Build::CgroupNamespace => clone::unshare_cgroup(),
        }
    }

    fn root(&self) -> Result<BorrowedFd<'_>> {
        self.root.as_ref().map(AsFd::as_fd).ok_or(Errno::BADF)
    }

    /// Opens a path under construction and refuses symbolic links: a process that can write in a granted tree
    /// could replace a directory with a link after the plan was made (CVE-2021-30465).
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

    /// Like [`at`](Self::at); `ESTALE` if the place is not the inode for which the plan was made.
    fn at_same(&self, path: &CStr, over: Option<fd::Stat>) -> Result<OwnedFd> {
        let place = self.at(path)?;
        let Some(wanted) = over else { return Ok(place) };
        let found = fd::stat(place.as_fd())?;
        match (found.dev, found.ino) == (wanted.dev, wanted.ino) {
            true => Ok(place),
            false => Err(Errno::STALE),
        }
    }

    /// Attaches and leaves the descriptor open: the sweep closes all descriptors at once.
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

    /// The root is not executable: the client's file alone is on a mount that is.
    fn client(&self, program: &CStr, path: &CStr) -> Result<()> {
        self.file(program, 0o555, creel_sys::client::PROGRAM)?;
        let copy = mount::copy_one(self.root()?, program)?;
        mount::make_executable(copy.as_fd())?;
        self.settle(copy, program, Place::Own, None)?;
        let socket = socket::listen_beneath(self.root()?, path, client::BACKLOG)?;
        let message = Message::Listens.encode();
        socket::send(self.socket.as_fd(), &message, &[socket.as_fd()])
    }

    /// Makes the sources of covers: read-only mounts of an empty file, empty directories and a socket.
    fn make_covers(&mut self) -> Result<()> {
        let root = self.root()?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        rx::openat(root, COVER_FILE, flags, Mode::empty())?;
        rx::mkdirat(root, COVER_DIRECTORY, Mode::empty())?;
        // git, tar and find skip it.
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

    /// Covers a placeholder with a mount of a fitting type: a directory accepts no socket, and other files
    /// accept no directory. The plan does not know the type: not every filesystem can create sockets, and
    /// placeholders are shared with other runs. Only a placeholder file whose contents mean the same as its
    /// absence stays readable.
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
        let listed = match (readable, protected_defaults::stand_in_directory(path)) {
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
            // Closed at once: many names may be withheld, and `open_files` may be low.
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
                // Kept for the next mask.
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
}

/// A directory of the host by its name; `ESTALE` if that leads to another inode than the pinned one.
fn named((path, stat): &(CString, fd::Stat)) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let found = rx::openat2(
        CWD,
        path.as_c_str(),
        flags,
        Mode::empty(),
        ResolveFlags::NO_SYMLINKS,
    )?;
    let now = fd::stat(found.as_fd())?;
    match (now.dev, now.ino) == (stat.dev, stat.ino) {
        true => Ok(found),
        false => Err(Errno::STALE),
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
