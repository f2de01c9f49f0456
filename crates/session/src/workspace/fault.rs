//! Points at which a test kills this process: debug builds only.

/// Ends the process at the N-th point, if `CREEL_COMMIT_DIES_AT` says N.
pub fn point() {
    #[cfg(debug_assertions)]
    {
        use std::sync::atomic::{AtomicU32, Ordering};
        static PASSED: AtomicU32 = AtomicU32::new(0);
        let at = std::env::var("CREEL_COMMIT_DIES_AT").ok();
        let passed = PASSED.fetch_add(1, Ordering::Relaxed);
        if at.and_then(|at| at.parse().ok()) == Some(passed) {
            let pid = rustix::process::getpid();
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}
