//! Waiting for events in other processes: a condition is polled every few milliseconds, with a time limit that
//! suits a busy machine. To show that nothing happens, the caller passes a time.

use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Time limit for an event; no event takes this long, even on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(2);

/// Whether `done` becomes true within this time.
pub fn within(time: Duration, mut done: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        // The clock is read before the check: this process may be off the CPU for the whole time.
        let late = start.elapsed() >= time;
        match done() {
            true => return true,
            false if late => return false,
            false => std::thread::sleep(PAUSE),
        }
    }
}

/// Waits until `done` is true; panics after [`PATIENCE`].
#[track_caller]
pub fn until(what: &str, done: impl FnMut() -> bool) {
    assert!(within(PATIENCE, done), "waited in vain: {what}");
}

/// Waits until `look` returns a value; panics after [`PATIENCE`].
#[track_caller]
pub fn some<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let mut found = None;
    until(what, || {
        found = look();
        found.is_some()
    });
    found.expect("it was found")
}

/// Waits until `look` returns `wanted`; panics with the last value after [`PATIENCE`].
#[track_caller]
pub fn becomes<T: PartialEq + std::fmt::Debug>(wanted: &T, mut look: impl FnMut() -> T) {
    let mut seen = None;
    within(PATIENCE, || {
        let now = look();
        let same = now == *wanted;
        seen = Some(now);
        same
    });
    assert_eq!(seen.as_ref(), Some(wanted), "waited in vain");
}

/// Waits for the end of a child; kills it and panics if it does not end.
#[track_caller]
pub fn end(child: &mut Child) -> ExitStatus {
    let mut status = None;
    within(PATIENCE, || {
        status = child.try_wait().expect("wait");
        status.is_some()
    });
    status.unwrap_or_else(|| {
        let _ = child.kill();
        let _ = child.wait();
        panic!("it did not end")
    })
}

/// Panics if `so` becomes false within this time.
#[track_caller]
pub fn stays(what: &str, time: Duration, so: impl Fn() -> bool) {
    assert!(!within(time, || !so()), "no longer: {what}");
}

/// Whether `look` returns the same value after this time.
pub fn still<T: PartialEq>(time: Duration, look: impl Fn() -> T) -> bool {
    let before = look();
    std::thread::sleep(time);
    look() == before
}

/// Waits until new files have a later timestamp than files from before: file timestamps advance in ticks of
/// the kernel's clock.
pub fn for_a_tick() {
    let coarse = || {
        let now = clock_gettime(ClockId::RealtimeCoarse);
        (now.tv_sec, now.tv_nsec)
    };
    let before = coarse();
    until("the clock", || coarse() != before);
}

/// As [`until`], for a condition that another task of this thread fulfils.
#[track_caller]
pub fn soon(what: &str, mut done: impl FnMut() -> bool) -> impl Future<Output = ()> {
    let place = std::panic::Location::caller();
    async move {
        let start = Instant::now();
        while !done() {
            assert!(
                start.elapsed() < PATIENCE,
                "{place}: waited in vain: {what}"
            );
            tokio::time::sleep(PAUSE).await;
        }
    }
}
