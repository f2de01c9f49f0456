//! A command that ends itself as a limit would have ended it is not told as ended by that limit: each kind
//! has its measure (docs/verdict.md).

use serde_json::{Value, json};

use crate::support::{Ran, Run, Who, Workspace};

/// Ended by this signal and by no limit.
#[track_caller]
fn signaled(ran: &Ran, name: &str, number: i32) {
    assert_eq!(
        (ran.kind(), ran.status),
        ("signaled", 128 + number),
        "{ran:#?}"
    );
    assert_eq!(ran.verdict["signal"], name, "{ran:#?}");
    assert_eq!(ran.verdict["limit"], Value::Null, "{ran:#?}");
}

each!(no_signal_alone_is_told_as_a_limit);
fn no_signal_alone_is_told_as_a_limit(who: Who) {
    let workspace = Workspace::new(who);
    for (name, number) in [
        ("SIGXCPU", libc::SIGXCPU),
        ("SIGXFSZ", libc::SIGXFSZ),
        ("SIGKILL", libc::SIGKILL),
        ("SIGTERM", libc::SIGTERM),
        ("SIGALRM", libc::SIGALRM),
    ] {
        for flags in [&[][..], &["--cpu-time", "100ms", "--timeout", "1m"]] {
            let run = Run::new(who, &workspace).flags(flags);
            signaled(&run.sh(&format!("kill -{number} $$")), name, number);
        }
    }
}

each!(processor_time_is_measured);
/// Control: the same signal where the time was used up.
fn processor_time_is_measured(who: Who) {
    let workspace = Workspace::new(who);
    let run = |script: &str| {
        let run = Run::new(who, &workspace).flags(["--cpu-time", "2s"]);
        run.python(&format!("import os, signal, time\n{script}"))
    };
    let after = |seconds: &str| {
        format!("while time.process_time() < {seconds}: pass\nos.kill(os.getpid(), signal.SIGXCPU)")
    };
    signaled(&run(&after("0.3")), "SIGXCPU", libc::SIGXCPU);
    let whole = run(&after("60"));
    assert_eq!(
        (whole.kind(), whole.status),
        ("cpu_time", 124),
        "{whole:#?}"
    );
    // A process that does not listen to the signal is killed for it.
    let deaf = run("signal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass");
    assert_eq!((deaf.kind(), deaf.status), ("cpu_time", 124), "{deaf:#?}");
}

/// A process was refused, and the command did well without it: how it ends later is its own.
#[test]
fn a_refused_process_is_no_reason_for_an_end() {
    let Some(who) = Who::root() else {
        return;
    };
    let workspace = Workspace::new(who);
    let run = |count: &str, end: &str| {
        let script = format!(
            "
import os, signal, sys, time
for n in range(20):
    try:
        if os.fork() == 0: time.sleep(60); os._exit(0)
    except OSError: pass
{end}"
        );
        Run::new(who, &workspace)
            .flags(["--pids", count])
            .python(&script)
    };
    let hit = json!([{ "name": "pids", "value": 10 }]);
    let failed = run("10", "sys.exit(1)");
    assert_eq!((failed.kind(), failed.status), ("exited", 1), "{failed:#?}");
    assert_eq!(failed.verdict["limits_hit"], hit);
    assert!(failed.stderr.contains("--pids"), "{failed:#?}");
    let crashed = run("10", "os.kill(os.getpid(), signal.SIGSEGV)");
    signaled(&crashed, "SIGSEGV", libc::SIGSEGV);
    assert_eq!(crashed.verdict["limits_hit"], hit);
    let well = run("10", "sys.exit(0)").ok();
    assert_eq!((well.kind(), well.stderr.as_str()), ("exited", ""));
    assert_eq!(run("60", "sys.exit(1)").verdict["limits_hit"], json!([]));
}

each!(a_full_disk_is_no_reason_for_an_end);
fn a_full_disk_is_no_reason_for_an_end(who: Who) {
    let workspace = Workspace::new(who);
    let run = |size: &str, end: &str| {
        let script = format!("head -c 2M /dev/zero > /tmp/f 2>/dev/null; {end}");
        Run::new(who, &workspace)
            .flags(["--disk", size])
            .sh(&script)
    };
    let hit = json!([{ "name": "disk", "value": 1 << 20 }]);
    let failed = run("1MiB", "exit 1");
    assert_eq!((failed.kind(), failed.status), ("exited", 1), "{failed:#?}");
    assert_eq!(failed.verdict["limits_hit"], hit);
    let crashed = run("1MiB", "kill -SEGV $$");
    signaled(&crashed, "SIGSEGV", libc::SIGSEGV);
    assert_eq!(crashed.verdict["limits_hit"], hit);
    assert_eq!(run("8MiB", "exit 1").verdict["limits_hit"], json!([]));
}
