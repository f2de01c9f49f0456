//! A program on a terminal, with the keys that a person presses and the text that they see.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};

use super::wait::{self, PATIENCE};

/// A terminal and the session on it.
pub struct Screen {
    master: File,
    pub child: Child,
    shown: Arc<Mutex<Vec<u8>>>,
}

impl Screen {
    /// Starts `command` as the session leader on a terminal of 24 rows and 80 columns.
    pub fn start(mut command: Command) -> Screen {
        let (master, slave) = pair();
        let copy = || slave.try_clone().expect("dup");
        command.stdin(copy()).stdout(copy()).stderr(copy());
        // SAFETY: setsid and ioctl are async-signal-safe.
        unsafe {
            command.pre_exec(|| {
                if libc::setsid() == -1 || libc::ioctl(0, libc::TIOCSCTTY, 0) == -1 {
                    return Err(std::io::Error::last_os_error());
                }
                Ok(())
            });
        }
        let child = command.spawn().expect("it starts");
        drop((command, slave));
        let master = File::from(master);
        let shown = Arc::new(Mutex::new(vec![]));
        let (mut reader, sink) = (master.try_clone().expect("dup"), shown.clone());
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // The loop ends at EIO: no process has the terminal open any more.
            loop {
                let _ = poll(&mut [PollFd::new(&reader, PollFlags::IN)], None);
                // Read under the lock: text that has left the terminal is in `shown` once the lock is free.
                let mut shown = sink.lock().expect("no panic");
                match reader.read(&mut buffer) {
                    Ok(length @ 1..) => shown.extend_from_slice(&buffer[..length]),
                    _ => break,
                }
            }
        });
        Screen {
            master,
            child,
            shown,
        }
    }

    /// The text that was shown so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().expect("no panic")).into_owned()
    }

    /// Waits until `wanted` is on the screen.
    #[track_caller]
    pub fn wait_for(&self, wanted: &str) {
        self.wait_until(wanted, || self.text().contains(wanted));
    }

    /// As [`wait_for`](Screen::wait_for), for text that may take `patience` longer.
    #[track_caller]
    pub fn wait_for_long(&self, wanted: &str, patience: Duration) {
        wait::within(patience, || self.text().contains(wanted));
        self.wait_for(wanted);
    }

    #[track_caller]
    pub fn wait_until(&self, what: &str, done: impl Fn() -> bool) {
        assert!(
            wait::within(PATIENCE, done),
            "waiting for {what:?}; the screen shows {:?}",
            self.text()
        );
    }

    pub fn press(&mut self, keys: &str) {
        self.master
            .write_all(keys.as_bytes())
            .expect("the terminal takes input");
    }

    pub fn resize(&self, rows: u16, columns: u16) {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&self.master, size).expect("TIOCSWINSZ");
    }

    /// The terminal's modes; Linux shows the slave's on the master.
    pub fn modes(&self) -> Termios {
        tcgetattr(&self.master).expect("TCGETS")
    }

    pub fn signal(&self, number: i32) {
        // SAFETY: two integers; the child is not reaped yet.
        unsafe { libc::kill(self.child.id() as i32, number) };
    }

    /// Whether a job of the shell has the terminal; the shell is the session leader.
    pub fn has_job(&self) -> bool {
        let shell = self.child.id() as i32;
        rustix::termios::tcgetpgrp(&self.master)
            .is_ok_and(|group| group.as_raw_nonzero().get() != shell)
    }

    /// Whether the session leader is stopped.
    pub fn is_stopped(&self) -> bool {
        super::state_of(self.child.id()) == Some('T')
    }

    /// Waits for the leader's end; returns the modes that it leaves.
    #[track_caller]
    pub fn left(self) -> Termios {
        let child = self.child.id();
        self.wait_until("its end", || {
            matches!(super::state_of(child), None | Some('Z'))
        });
        self.modes()
    }

    /// Waits for the leader's end; returns its exit status as a shell shows it, and the whole text.
    #[track_caller]
    pub fn end(mut self) -> (i32, String) {
        let child = self.child.id();
        self.wait_until("its end", || {
            matches!(super::state_of(child), None | Some('Z'))
        });
        let status = self.child.wait().expect("wait");
        // All output of the leader is readable by now; other processes may still have the terminal open.
        wait::until("the reader", || {
            let _shown = self.shown.lock().expect("no panic");
            !can_be_read(&self.master)
        });
        (super::shell_status(status), self.text())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether the terminal holds unread text. poll(2) first flushes text that is still in the kernel's buffers.
fn can_be_read(master: &File) -> bool {
    let mut asked = [PollFd::new(master, PollFlags::IN)];
    poll(&mut asked, Some(&Timespec::default())).expect("poll");
    asked[0].revents().contains(PollFlags::IN)
}

fn pair() -> (OwnedFd, OwnedFd) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = rustix::pty::openpt(flags).expect("a pseudoterminal");
    rustix::pty::grantpt(&master).expect("grantpt");
    rustix::pty::unlockpt(&master).expect("unlockpt");
    let name = rustix::pty::ptsname(&master, vec![]).expect("ptsname");
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let slave = rustix::fs::open(name.as_c_str(), flags, Mode::empty()).expect("the slave");
    let size = Winsize {
        ws_row: 24,
        ws_col: 80,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&master, size).expect("TIOCSWINSZ");
    assert!(master.as_raw_fd() > 2);
    (master, slave)
}
