//! CVE-2017-5226, CVE-2019-10063: typing into the caller's terminal with TIOCSTI or TIOCLINUX, with
//! garbage above the 32 bits that the kernel reads.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Stdio;

use super::{answers, outside, script};
use crate::support::{Run, Who, Workspace};

const PUSH: &str = r#"
TIOCSTI, TIOCLINUX, TIOCSETD, TIOCCONS = 0x5412, 0x541c, 0x5423, 0x541d
byte = ctypes.create_string_buffer(b'X')
paste = ctypes.create_string_buffer(b'\x03X')
for fd in (0, 1, 2):
    for high in (0, 1, 0xdeadbeef, 0x80000000):
        say(f'sti_{fd}_{high:x}', sc(16, fd, TIOCSTI | high << 32, byte))
        say(f'linux_{fd}_{high:x}', sc(16, fd, TIOCLINUX | high << 32, paste))
        say(f'setd_{fd}_{high:x}', sc(16, fd, TIOCSETD | high << 32, byte))
        say(f'cons_{fd}_{high:x}', sc(16, fd, TIOCCONS | high << 32, 0))
say('is_terminal', os.isatty(0))
say('winsize', sc(16, 0, 0x5413, ctypes.create_string_buffer(8)))
"#;

/// A pseudoterminal of the test's own in the place of the caller's.
fn terminal() -> (File, OwnedFd) {
    let (mut master, mut slave) = (0, 0);
    let null = std::ptr::null_mut();
    // SAFETY: openpty writes two integers; the rest may be null. Both are new descriptors.
    unsafe {
        assert_eq!(
            libc::openpty(
                &raw mut master,
                &raw mut slave,
                null,
                null.cast(),
                null.cast()
            ),
            0
        );
        let mut raw: libc::termios = std::mem::zeroed();
        libc::tcgetattr(slave, &raw mut raw);
        libc::cfmakeraw(&raw mut raw);
        libc::tcsetattr(slave, libc::TCSANOW, &raw const raw);
        libc::fcntl(master, libc::F_SETFD, libc::FD_CLOEXEC);
        libc::fcntl(slave, libc::F_SETFD, libc::FD_CLOEXEC);
        (File::from_raw_fd(master), OwnedFd::from_raw_fd(slave))
    }
}

fn waiting(terminal: &OwnedFd) -> i32 {
    let mut count = 0;
    // SAFETY: FIONREAD writes one int.
    let done = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::FIONREAD, &raw mut count) };
    assert_eq!(done, 0);
    count
}

each!(nothing_is_typed_into_the_callers_terminal);
fn nothing_is_typed_into_the_callers_terminal(who: Who) {
    let workspace = Workspace::new(who);
    // Without a terminal of its own the jail has none at all, so that nothing can be typed there.
    for (flag, is_terminal, winsize) in [("-T", "False", "ENOTTY"), ("-t", "True", "OK")] {
        let (mut master, slave) = terminal();
        let code = script(PUSH);
        let mut command =
            Run::new(who, &workspace)
                .flags([flag])
                .command(["/usr/bin/python3", "-c", &code]);
        command
            .stdin(slave.try_clone().expect("dup"))
            .stderr(Stdio::piped());
        // With -t the jail's output comes through creel to stdout, which may be a pipe.
        command.stdout(Stdio::piped());
        // SAFETY: setsid and the ioctl are async-signal-safe; stdin is the slave by now.
        unsafe {
            command.pre_exec(|| {
                libc::setsid();
                match libc::ioctl(0, libc::TIOCSCTTY, 0) {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                }
            });
        }
        let child = command.spawn().expect("creel starts");
        let output = child.wait_with_output().expect("creel ends");
        assert!(output.status.success(), "{output:#?}");
        let got = answers(&String::from_utf8_lossy(&output.stdout).replace('\r', ""));
        got.expect(&[("is_terminal", is_terminal), ("winsize", winsize)]);
        let mut tried = 0;
        for (name, answer) in &got.0 {
            if ["sti_", "linux_", "setd_", "cons_"]
                .iter()
                .any(|p| name.starts_with(p))
            {
                assert_eq!(answer, "EPERM", "{flag} {name}");
                tried += 1;
            }
        }
        assert_eq!(tried, 48);
        assert_eq!(waiting(&slave), 0, "{flag}: something was typed");
        // Keys that a person types do arrive there: the inspected place is the right one.
        master.write_all(b"k").expect("write");
        let mut byte = [0];
        File::from(slave).read_exact(&mut byte).expect("read");
        assert_eq!(byte, *b"k");
    }
}

#[test]
fn outside_a_jail_the_byte_arrives() {
    let who = Who::of_this_process();
    if who != Who::Root {
        eprintln!("skipped: dev.tty.legacy_tiocsti may forbid the control without root");
        return;
    }
    let workspace = Workspace::new(who);
    outside(
        who,
        &workspace.path(),
        r#"
import pty, fcntl, tty
master, slave = pty.openpty()
tty.setraw(slave)
os.setsid()
fcntl.ioctl(slave, 0x540e, 0)
say('sti', sc(16, slave, 0x5412 | 1 << 32, ctypes.create_string_buffer(b'X')))
say('read', os.read(slave, 1))
"#,
    )
    .expect(&[("sti", "OK"), ("read", "b'X'")]);
}
