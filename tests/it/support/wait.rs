//! Waiting for events: what another process does is asked for every few milliseconds, for as long as a busy
//! machine may take. An absence is no event and takes a time, which a caller gives.

use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Longer than anything takes, on a machine that has better things to do.
pub const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(2);

/// Whether `done` is so within this time.
pub fn within(time: Duration, mut done: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        // Before the look: this process may sleep through all of the time.
        let late = start.elapsed() >= time;
        match done() {
            true => return true,
            false if late => return false,
            false => std::thread::sleep(PAUSE),
        }
    }
}

/// Waits until `done`.
#[track_caller]
pub fn until(what: &str, done: impl FnMut() -> bool) {
    assert!(within(PATIENCE, done), "waited in vain: {what}");
}

/// Waits for a value.
#[track_caller]
pub fn some<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let mut found = None;
    until(what, || {
        found = look();
        found.is_some()
    });
    found.expect("it was found")
}

/// Waits until what is seen is `wanted`; panics with what it is instead.
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

/// Waits for the end of a child, and kills one that does not end.
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

/// Nothing else comes of it for this time.
#[track_caller]
pub fn stays(what: &str, time: Duration, so: impl Fn() -> bool) {
    assert!(!within(time, || !so()), "no longer: {what}");
}

/// Whether what is seen is the same after this time.
pub fn still<T: PartialEq>(time: Duration, look: impl Fn() -> T) -> bool {
    let before = look();
    std::thread::sleep(time);
    look() == before
}

/// Waits until files that are made now have a later time than those that were made before: the kernel's
/// clock of files goes in ticks.
pub fn for_a_tick() {
    let coarse = || {
        let now = clock_gettime(ClockId::RealtimeCoarse);
        (now.tv_sec, now.tv_nsec)
    };
    let before = coarse();
    until("the clock", || coarse() != before);
}

/// As [`until`], for what happens on this thread.
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
