//! The suite as data: attempts that must fail, with the layers that stop them, and work that must succeed.
//!
//! A row reads: name, `[LAYER: ANSWER, LAYER SINCE: ANSWER ...]`, why, how. The first layer answers; the
//! others answer when it is taken out. A row with one layer must get through without that layer.

mod exec;
mod exploits;
mod files;
mod host;
mod kernel;
mod landlock;
mod network;
mod proc;
mod syscalls;
mod work;

use std::fs::{File, OpenOptions};
use std::path::Path;

use super::attempt::{Answer, Attempt, Stopped, Tried, Work};
use creel_sys::Errno;

/// Every attempt; those that look for processes first, while the jail's pids are small.
pub fn all() -> impl Iterator<Item = &'static Attempt> {
    let tables = [
        host::PROCESSES,
        host::ROWS,
        files::ROWS,
        landlock::ROWS,
        exec::ROWS,
        proc::ROWS,
        kernel::ROWS,
        syscalls::ROWS,
        network::ROWS,
        exploits::ROWS,
    ];
    tables.into_iter().flatten()
}

/// All ordinary work.
pub fn works() -> impl Iterator<Item = &'static Work> {
    work::ROWS.iter().chain(work::MORE).chain(work::PROC)
}

/// Attempts of one group as a table.
macro_rules! attempts {
    ($table:ident, $group:literal; $(
        $name:literal
        [$( $layer:ident $($since:literal)? : $($answer:ident)|+ ),+]
        $(needs $needs:literal)?
        $why:literal
        $run:expr;
    )+) => {
        pub static $table: &[crate::selftest::attempt::Attempt] = &[$(
            crate::selftest::attempt::Attempt {
                group: $group,
                name: $name,
                stops: &[$(
                    crate::selftest::attempt::Stop {
                        layer: crate::selftest::layer::Layer::$layer,
                        since: 0 $(+ $since)?,
                        answers: &[$($crate::selftest::rows::$answer),+],
                    }
                ),+],
                why: $why,
                needs: attempts!(@needs $($needs)?),
                run: $run,
            }
        ),+];
    };
    (@needs) => { None };
    (@needs $needs:literal) => { Some($needs) };
}
pub(super) use attempts;

const EPERM: Answer = Answer::Errno(Errno::PERM);
const ENOENT: Answer = Answer::Errno(Errno::NOENT);
const ESRCH: Answer = Answer::Errno(Errno::SRCH);
const ENOTTY: Answer = Answer::Errno(Errno::NOTTY);
const EFAULT: Answer = Answer::Errno(Errno::FAULT);
const EOPNOTSUPP: Answer = Answer::Errno(Errno::OPNOTSUPP);
const ENXIO: Answer = Answer::Errno(Errno::NXIO);
const EBADF: Answer = Answer::Errno(Errno::BADF);
const ENOMEM: Answer = Answer::Errno(Errno::NOMEM);
const EACCES: Answer = Answer::Errno(Errno::ACCESS);
const ETXTBSY: Answer = Answer::Errno(Errno::TXTBSY);
const EROFS: Answer = Answer::Errno(Errno::ROFS);
const EINVAL: Answer = Answer::Errno(Errno::INVAL);
const EMFILE: Answer = Answer::Errno(Errno::MFILE);
const ENOSYS: Answer = Answer::Errno(Errno::NOSYS);
const ENOKEY: Answer = Answer::Errno(Errno::NOKEY);
const EIO: Answer = Answer::Errno(Errno::IO);
const ENETUNREACH: Answer = Answer::Errno(Errno::NETUNREACH);
const ECONNREFUSED: Answer = Answer::Errno(Errno::CONNREFUSED);
const EAFNOSUPPORT: Answer = Answer::Errno(Errno::AFNOSUPPORT);
const ABSENT: Answer = Answer::Absent;
const SIGSYS: Answer = Answer::Signal(creel_sys::attempt::c::SIGSYS);
const SIGSEGV: Answer = Answer::Signal(creel_sys::attempt::c::SIGSEGV);
const EFBIG: Answer = Answer::Errno(Errno::FBIG);

/// Opens for reading and reads nothing.
fn read(path: impl AsRef<Path>) -> Tried {
    Ok(File::open(path).map(drop)?)
}

/// Opens for writing and writes nothing.
fn write(path: impl AsRef<Path>) -> Tried {
    Ok(OpenOptions::new().write(true).open(path).map(drop)?)
}

fn list(path: impl AsRef<Path>) -> Tried {
    Ok(std::fs::read_dir(path).map(drop)?)
}

/// Makes a file; the jail's tmpfs and the scratch directory go with the test.
fn create(path: impl AsRef<Path>) -> Tried {
    Ok(File::create_new(path).map(drop)?)
}

/// Starts a program and waits for it.
fn execute(path: impl AsRef<Path>) -> Tried {
    let mut child = std::process::Command::new(path.as_ref()).spawn()?;
    child.wait()?;
    Ok(())
}

/// Got through if `found`, otherwise absent.
fn unless_absent(found: bool) -> Tried {
    if found { Ok(()) } else { Err(Stopped::Absent) }
}

/// A system call that must be refused, with arguments that harm nobody.
fn call(number: i64, arguments: &[usize]) -> Tried {
    Ok(creel_sys::attempt::call(number, arguments).map(drop)?)
}

fn c_path(path: impl AsRef<Path>) -> std::ffi::CString {
    use std::os::unix::ffi::OsStrExt;
    std::ffi::CString::new(path.as_ref().as_os_str().as_bytes()).unwrap_or_default()
}
