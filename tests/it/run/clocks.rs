//! `--time-ns`: the jail's clocks start with it, and only then.

use crate::support::{Run, Who, Workspace};

const SCRIPT: &str = "
import os, time
print(os.readlink('/proc/self/ns/time'))
print(open('/proc/uptime').read().split()[0])
print(time.clock_gettime(time.CLOCK_MONOTONIC))
print(time.clock_gettime(time.CLOCK_BOOTTIME))
print(abs(time.time() - float(os.environ['NOW'])))
time.sleep(0.05)";

each!(time_ns_hides_since_when_the_host_is_up);
fn time_ns_hides_since_when_the_host_is_up(who: Who) {
    let host = std::fs::read_link("/proc/self/ns/time").expect("a namespace");
    let uptime = std::fs::read_to_string("/proc/uptime").expect("uptime");
    let uptime: f64 = uptime
        .split(' ')
        .next()
        .and_then(|s| s.parse().ok())
        .expect("seconds");
    assert!(
        uptime > 60.0,
        "this host is up for too short a time to tell"
    );
    let workspace = Workspace::new(who);
    let run = |flags: &[&str]| {
        let now = std::time::SystemTime::UNIX_EPOCH
            .elapsed()
            .expect("now")
            .as_secs_f64();
        let ran = Run::new(who, &workspace)
            .flags(flags)
            .flags(["-e", &format!("NOW={now}")])
            .python(SCRIPT)
            .ok();
        let mut lines = ran.stdout.lines().map(str::to_owned);
        let namespace = lines.next().expect("a namespace");
        let clocks: Vec<f64> = lines.map(|line| line.parse().expect("seconds")).collect();
        let receipt = ran.verdict["receipt"]["layers"][0]["detail"].to_string();
        (namespace, clocks, receipt)
    };
    // The control.
    let (namespace, clocks, receipt) = run(&[]);
    assert_eq!(namespace, host.to_string_lossy());
    assert!(
        clocks[..3].iter().all(|clock| *clock >= uptime),
        "{clocks:?}"
    );
    assert!(!receipt.contains("time"), "{receipt}");

    let (namespace, clocks, receipt) = run(&["--time-ns"]);
    assert_ne!(namespace, host.to_string_lossy());
    assert!(clocks[..3].iter().all(|clock| *clock < 30.0), "{clocks:?}");
    assert!(receipt.contains("time"), "{receipt}");
    // The time of day is everybody's.
    assert!(clocks[3] < 30.0, "{clocks:?}");
}
