//! Ordinary work, which must succeed: a jail that stops everything would pass all other tests.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

use super::{c_path, call, execute};
use crate::selftest::{Stopped, Tried, Work, plant};
use creel_sys::attempt::{self, at, c};

macro_rules! works {
    ($table:ident, $group:literal; $($name:literal $run:expr;)+) => {
        pub static $table: &[Work] = &[$(Work { group: $group, name: $name, run: $run }),+];
    };
}

works! { ROWS, "work";
    "list /usr" |_| Ok(fs::read_dir("/usr")?.next().transpose().map(drop)?);
    "read a program" |_| Ok(File::open("/bin/true").map(drop)?);
    "execute /bin/true" |_| execute("/bin/true");
    "execute a script in the workspace" |s| {
        use std::os::unix::fs::PermissionsExt;
        let path = s.workspace.join("script");
        fs::write(&path, "#!/bin/true\n")?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        execute(path)
    };
    "write and read in the workspace" |s| round(&s.workspace.join("file"));
    "write and read in /tmp" |_| round("/tmp/file".as_ref());
    "write and read in the home" |s| round(&s.home.join("file"));
    "write and read in /dev/shm" |_| round("/dev/shm/file".as_ref());
    "the home is $HOME" |s| same(std::env::var_os("HOME").as_deref() == Some(s.home.as_os_str()), "HOME");
    "the working directory is the workspace" |s| same(std::env::current_dir()? == s.workspace, "cwd");
    "make and remove a directory" |s| {
        let path = s.workspace.join("dir");
        fs::create_dir_all(path.join("deep/er"))?;
        Ok(fs::remove_dir_all(path)?)
    };
    "rename" |s| {
        fs::write(s.workspace.join("before"), "x")?;
        Ok(fs::rename(s.workspace.join("before"), s.workspace.join("after"))?)
    };
    "rename into another directory" |s| {
        fs::create_dir_all(s.workspace.join("sub"))?;
        fs::write(s.workspace.join("moving"), "x")?;
        Ok(fs::rename(s.workspace.join("moving"), s.workspace.join("sub/moved"))?)
    };
    "hard link" |s| {
        fs::write(s.workspace.join("one"), "x")?;
        Ok(fs::hard_link(s.workspace.join("one"), s.workspace.join("two"))?)
    };
    "symbolic link" |s| Ok(std::os::unix::fs::symlink("file", s.workspace.join("link"))?);
    "fifo" |s| {
        let path = c_path(s.workspace.join("fifo"));
        call(c::SYS_mknod, &[at(path.as_c_str()), c::S_IFIFO as usize | 0o600, 0])
    };
    "truncate" |s| {
        fs::write(s.workspace.join("long"), "long")?;
        Ok(File::options().write(true).open(s.workspace.join("long"))?.set_len(1)?)
    };
    "change a mode" |s| {
        use std::os::unix::fs::PermissionsExt;
        fs::write(s.workspace.join("mode"), "")?;
        Ok(fs::set_permissions(s.workspace.join("mode"), fs::Permissions::from_mode(0o640))?)
    };
    "lock a file" |s| {
        let file = File::create(s.workspace.join("lock"))?;
        call(c::SYS_flock, &[file.as_raw_fd() as usize, (c::LOCK_EX | c::LOCK_NB) as usize])
    };
    "map a file, shared" |s| {
        let file = File::options().read(true).write(true).create(true).truncate(true).open(s.workspace.join("mapped"))?;
        file.set_len(4096)?;
        Ok(attempt::map(file.as_raw_fd(), 4096, c::MAP_SHARED, c::PROT_READ | c::PROT_WRITE)?)
    };
    "map memory" |_| Ok(attempt::map(-1, 1 << 20, c::MAP_PRIVATE | c::MAP_ANONYMOUS, c::PROT_READ | c::PROT_WRITE)?);
    "map memory as code" |_| Ok(attempt::map(-1, 4096, c::MAP_PRIVATE | c::MAP_ANONYMOUS,
        c::PROT_READ | c::PROT_WRITE | c::PROT_EXEC)?);
    "a file in memory" |_| call(c::SYS_memfd_create, &[at(c"selftest"), 0]);
    "a temporary file without a name" |_| {
        let flags = (c::O_TMPFILE | c::O_RDWR) as usize;
        call(c::SYS_openat, &[c::AT_FDCWD as usize, at(c"/tmp"), flags, 0o600])
    };
    "/dev/null" |_| Ok(File::options().write(true).open("/dev/null")?.write_all(b"x")?);
    "/dev/zero" |_| { let mut b = [1; 4]; File::open("/dev/zero")?.read_exact(&mut b)?; same(b == [0; 4], "zeroes") };
    "/dev/urandom" |_| Ok(File::open("/dev/urandom")?.read_exact(&mut [0; 16])?);
    "/dev/full is full" |_| match File::options().write(true).open("/dev/full")?.write_all(b"x") {
        Err(e) if e.raw_os_error() == Some(c::ENOSPC) => Ok(()),
        other => Ok(other?),
    };
    "random numbers" |_| { let room = std::hint::black_box([0u8; 16]); call(c::SYS_getrandom, &[at(&room), 16, 0]) };
}

works! { MORE, "work";
    "pipes" |_| {
        let (mut reader, mut writer) = std::io::pipe()?;
        writer.write_all(b"x")?;
        Ok(reader.read_exact(&mut [0])?)
    };
    "a pair of unix sockets" |_| {
        let (mut a, mut b) = UnixStream::pair()?;
        a.write_all(b"x")?;
        Ok(b.read_exact(&mut [0])?)
    };
    "a unix socket in the workspace" |s| {
        let path = s.workspace.join("socket");
        let listener = UnixListener::bind(&path)?;
        let _client = UnixStream::connect(&path)?;
        Ok(listener.accept().map(drop)?)
    };
    "a socket of the host that is granted by its path" |_| Ok(UnixStream::connect(plant::NAMED_SOCKET).map(drop)?);
    "datagrams on unix sockets in the workspace" |s| {
        let (a, b) = (s.workspace.join("datagram-a"), s.workspace.join("datagram-b"));
        let (a, there) = (UnixDatagram::bind(a)?, UnixDatagram::bind(&b)?);
        a.send_to(b"x", b)?;
        Ok(there.recv(&mut [0]).map(drop)?)
    };
    "TCP on 127.0.0.1" |_| loopback("127.0.0.1:0");
    "TCP on ::1" |_| loopback("[::1]:0");
    "UDP on 127.0.0.1" |_| {
        let (a, b) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
        a.send_to(b"x", b.local_addr()?)?;
        Ok(b.recv_from(&mut [0]).map(drop)?)
    };
    "threads" |_| {
        let thread = std::thread::Builder::new().spawn(|| 7)?;
        same(thread.join().is_ok_and(|n| n == 7), "the thread's answer")
    };
    "fork and wait" |_| {
        let pid = attempt::fork(|| 3)?;
        same(matches!(creel_sys::process::reap(pid), Ok((creel_sys::process::Change::Exited(3), _))), "the status")
    };
    "a process group of its own" |_| Ok(rustix::process::setpgid(None, None)?);
    "a session of its own" |_| Ok(rustix::process::setsid().map(drop)?);
    "a signal to itself" |_| Ok(attempt::catch(c::SIGUSR1)?);
    "a signal to a child" |_| {
        let pid = attempt::fork(|| { std::thread::sleep(std::time::Duration::from_secs(5)); 0 })?;
        creel_sys::signal::send(pid, c::SIGTERM)?;
        let ended = matches!(creel_sys::process::reap(pid), Ok((creel_sys::process::Change::Signaled(c::SIGTERM), _)));
        same(ended, "its end by that signal")
    };
    "poll" |_| call(c::SYS_poll, &[0, 0, 1]);
    "epoll" |_| call(c::SYS_epoll_create1, &[0]);
    "eventfd" |_| call(c::SYS_eventfd2, &[0, 0]);
    "timerfd" |_| call(c::SYS_timerfd_create, &[c::CLOCK_MONOTONIC as usize, 0]);
    "signalfd" |_| call(c::SYS_signalfd4, &[usize::MAX, at(&0u64), 8, 0]);
    "inotify" |_| {
        let watcher = attempt::call(c::SYS_inotify_init1, &[0])?;
        call(c::SYS_inotify_add_watch, &[watcher, at(c"/tmp"), c::IN_CREATE as usize])
    };
    "System V shared memory" |_| {
        let id = attempt::call(c::SYS_shmget, &[0, 4096, 0o600])?;
        call(c::SYS_shmctl, &[id, 0, 0])
    };
    "a pseudoterminal" |_| {
        let (master, slave) = creel_sys::pty::open()?;
        rustix::io::write(&slave, b"x")?;
        Ok(rustix::io::read(&master, &mut [0u8; 1]).map(drop)?)
    };
    "own limits" |_| Ok(attempt::limit(c::RLIMIT_NOFILE).map(drop)?);
    "lower an own limit" |_| Ok(attempt::set_limit(c::RLIMIT_NOFILE, 64, 64)?);
    "the clock" |_| { let time = std::hint::black_box([0u64; 2]); call(c::SYS_clock_gettime, &[c::CLOCK_REALTIME as usize, at(&time)]) };
    "sleep" |_| { std::thread::sleep(std::time::Duration::from_millis(1)); Ok(()) };
    "processors" |_| Ok(std::thread::available_parallelism().map(drop)?);
    "the user's own name in /etc/passwd" |s| {
        let passwd = fs::read_to_string("/etc/passwd")?;
        let own = format!(":{}", s.uid);
        same(passwd.lines().any(|l| l.starts_with("agent:") && l.contains(&own)), "agent")
    };
    "the user's id" |s| same(rustix::process::getuid().as_raw() == s.uid, "uid");
    "localhost in /etc/hosts" |_| same(fs::read_to_string("/etc/hosts")?.contains("127.0.0.1 localhost"), "localhost");
    "stdout reaches the caller" |_| Ok(rustix::io::write(rustix::stdio::stdout(), b"").map(drop)?);
    "a filter of its own" |_| {
        // SECCOMP_GET_ACTION_AVAIL, SECCOMP_RET_ALLOW
        call(c::SYS_seccomp, &[2, 0, at(&0x7fff_0000u32)])
    };
}

works! { PROC, "proc";
    "own status in /proc" |_| Ok(fs::read_to_string("/proc/self/status").map(drop)?);
    "own executable in /proc" |s| same(fs::read_link("/proc/self/exe")? == s.creel, "creel");
    "memory figures" |_| Ok(File::open("/proc/meminfo").map(drop)?);
    "own descriptors in /proc" |_| Ok(fs::read_dir("/proc/self/fd").map(drop)?);
    "own name in /proc" |_| Ok(File::options().write(true).open("/proc/self/comm")?.write_all(b"selftest")?);
}

fn round(path: &std::path::Path) -> Tried {
    fs::write(path, "contents")?;
    same(fs::read(path)? == b"contents", "what was written")
}

fn loopback(address: &str) -> Tried {
    let listener = TcpListener::bind(address)?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let (mut server, _) = listener.accept()?;
    client.write_all(b"x")?;
    Ok(server.read_exact(&mut [0])?)
}

fn same(is: bool, what: &str) -> Tried {
    if is {
        Ok(())
    } else {
        Err(Stopped::CouldNotRun(format!("{what}: not as it should be")))
    }
}
