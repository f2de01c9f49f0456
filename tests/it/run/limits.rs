//! Each limit ends what exceeds it, says so by its name, and lets the same act pass when it is larger.

use serde_json::{Value, json};

use crate::support::{Ran, Run, Who, Workspace, grouped, has_cgroups, is_root, need};

/// The run was ended by, or failed at, the limit `name` of this value.
#[track_caller]
fn hit(ran: &Ran, kind: &str, name: &str, value: u64) {
    assert_eq!(ran.kind(), kind, "{ran:#?}");
    assert_eq!(ran.verdict["limit"]["name"], name, "{ran:#?}");
    assert_eq!(ran.verdict["limit"]["value"], value, "{ran:#?}");
    assert_ne!(ran.status, 0);
    assert_eq!(ran.verdict["exit_status"], ran.status);
    assert_eq!(
        ran.stderr
            .lines()
            .filter(|line| line.starts_with("creel:"))
            .count(),
        1,
        "{ran:#?}"
    );
}

/// The run failed and reached the limit `name` of this value, which did not end it.
#[track_caller]
fn reached(ran: &Ran, name: &str, value: u64) {
    assert_eq!(ran.kind(), "exited", "{ran:#?}");
    assert_eq!(ran.verdict["limit"], Value::Null, "{ran:#?}");
    assert_eq!(
        ran.verdict["limits_hit"],
        json!([{ "name": name, "value": value }])
    );
    assert_eq!(ran.verdict["code"], ran.status);
    let said = ran.stderr.lines().filter(|line| line.starts_with("creel:"));
    assert_eq!(said.count(), 1, "{ran:#?}");
}

/// A policy with what `/bin/sh` and python need, and these limits.
fn limits(who: Who, workspace: &Workspace, limits: &str) -> Run {
    let text = format!(
        "[filesystem]\nexec = [\"/usr\", {{ path = \"/bin\", optional = true }}, {{ path = \"/lib\", optional = true }}, {{ path = \"/lib64\", optional = true }}]\n[environment]\nset = {{ PATH = \"/usr/bin:/bin\" }}\n[limits]\n{limits}\n"
    );
    Run::new(who, workspace).policy_text(workspace, "limits", &text)
}

/// The run with the first timeout, in milliseconds, that lets the command begin: on an emulated or busy
/// machine that takes seconds.
fn once_begun(run: impl Fn(u64) -> Ran) -> (Ran, u64) {
    const LONGEST: u64 = 20_000;
    let times = [200, 2_000, LONGEST].into_iter();
    times
        .map(|time| (run(time), time))
        .find(|(ran, time)| ran.stdout.starts_with("begun") || *time == LONGEST)
        .expect("the last one counts")
}

each!(timeout_ends_a_run_with_124);
fn timeout_ends_a_run_with_124(who: Who) {
    let workspace = Workspace::new(who);
    let run = |time: &str, script| {
        Run::new(who, &workspace)
            .flags(["--timeout", time])
            .sh(script)
    };
    let (ran, time) = once_begun(|time| run(&format!("{time}ms"), "echo begun; sleep 60"));
    hit(&ran, "timeout", "timeout", time);
    assert_eq!((ran.status, ran.stdout.as_str()), (124, "begun\n"));
    assert!(ran.stderr.contains("--timeout"), "{ran:#?}");
    run("60s", "echo begun; sleep 1").ok();
}

each!(timeout_lets_the_command_end_by_itself_within_the_grace_period);
fn timeout_lets_the_command_end_by_itself_within_the_grace_period(who: Who) {
    let workspace = Workspace::new(who);
    let script = "trap 'echo cleaned; exit 7' TERM; echo begun; sleep 30 & wait";
    let (ran, time) = once_begun(|time| {
        let text = format!("timeout = \"{time}ms\"\ngrace = \"10s\"");
        limits(who, &workspace, &text).sh(script)
    });
    hit(&ran, "timeout", "timeout", time);
    assert_eq!((ran.status, ran.stdout.as_str()), (124, "begun\ncleaned\n"));
    assert_eq!(ran.verdict["code"], 7);
}

each!(timeout_kills_what_ignores_it_when_the_grace_period_is_over);
fn timeout_kills_what_ignores_it_when_the_grace_period_is_over(who: Who) {
    let workspace = Workspace::new(who);
    let started = std::time::Instant::now();
    let script = "trap '' TERM; while :; do sleep 0.1; done";
    let ran = limits(who, &workspace, "timeout = \"200ms\"\ngrace = \"300ms\"").sh(script);
    hit(&ran, "timeout", "timeout", 200);
    assert_eq!(ran.status, 124);
    assert!(started.elapsed().as_millis() >= 500 && started.elapsed().as_secs() < 10);
}

each!(timeout_ends_a_command_that_stopped_itself);
/// A jail that stops itself must not stop the clock.
fn timeout_ends_a_command_that_stopped_itself(who: Who) {
    let workspace = Workspace::new(who);
    let script = "sleep 30 & kill -STOP $$; echo woken; sleep 30";
    let ran = limits(who, &workspace, "timeout = \"300ms\"\ngrace = \"300ms\"").sh(script);
    hit(&ran, "timeout", "timeout", 300);
    assert_eq!(ran.status, 124);
}

each!(cpu_time_ends_one_busy_process);
fn cpu_time_ends_one_busy_process(who: Who) {
    let workspace = Workspace::new(who);
    let run = |time, script| {
        Run::new(who, &workspace)
            .flags(["--cpu-time", time])
            .sh(script)
    };
    let ran = run("1s", "while :; do :; done");
    hit(&ran, "cpu_time", "cpu_time", 1000);
    assert_eq!(ran.status, 124);
    assert!(ran.stderr.contains("--cpu-time"), "{ran:#?}");
    run("60s", "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done").ok();
    // Sleeping is not processor time.
    run("1s", "sleep 1.3").ok();
}

each!(cpu_time_counts_a_group_of_processes_each_below_it);
fn cpu_time_counts_a_group_of_processes_each_below_it(who: Who) {
    if !grouped(who) {
        return;
    }
    let workspace = Workspace::new(who);
    let script = "
import os, time
for n in range(6):
    if os.fork() == 0:
        while time.process_time() < 0.5: pass
        os._exit(0)
for n in range(6): assert os.wait()[1] == 0
print('done')";
    let run = |time| {
        Run::new(who, &workspace)
            .flags(["--cpu-time", time])
            .python(script)
    };
    let ran = run("1s");
    hit(&ran, "cpu_time", "cpu_time", 1000);
    assert_eq!((ran.status, ran.stdout.as_str()), (124, ""));
    assert_eq!(run("60s").ok().stdout, "done\n");
}

each!(cpus_slows_a_run_down);
fn cpus_slows_a_run_down(who: Who) {
    if !grouped(who) {
        return;
    }
    let workspace = Workspace::new(who);
    // Half a second of processor time within this many seconds.
    let run = |cpus, seconds| {
        let script = format!(
            "
import time
begin, end = time.process_time(), time.monotonic() + {seconds}
while time.monotonic() < end and time.process_time() - begin < 0.5: pass
print(time.process_time() - begin >= 0.5)"
        );
        Run::new(who, &workspace)
            .flags(["--cpus", cpus])
            .python(&script)
            .ok()
            .stdout
    };
    assert_eq!(run("0.1", 2), "False\n");
    assert_eq!(run("2", 60), "True\n");
}

each!(memory_kills_what_needs_more);
fn memory_kills_what_needs_more(who: Who) {
    if !grouped(who) {
        return;
    }
    let workspace = Workspace::new(who);
    let run = |size| {
        Run::new(who, &workspace)
            .flags(["--memory", size])
            .python("b = bytearray(100 << 20); print(len(b))")
    };
    let ran = run("64MiB");
    hit(&ran, "oom", "memory", 64 << 20);
    assert_eq!((ran.status, ran.stdout.as_str()), (137, ""));
    assert!(ran.stderr.contains("--memory"), "{ran:#?}");
    assert_eq!(run("512MiB").ok().stdout, "104857600\n");
}

each!(a_limit_that_nothing_holds_is_said);
fn a_limit_that_nothing_holds_is_said(who: Who) {
    let workspace = Workspace::new(who);
    let said = |run: Run| {
        let ran = run.argv(["/bin/true"]).ok();
        let lines = ran.stderr.lines();
        let lines = lines.filter(|line| line.contains("is not enforced: no cgroup is available"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let run = || Run::new(who, &workspace);
    let limits = ["--memory", "64MiB", "--cpus", "0.5"];
    let policy = "extends = 'default'\n[limits]\nmemory = '64MiB'\n";
    let lines = said(run().flags(limits));
    let written = said(run().policy_text(&workspace, "limits", policy));
    if has_cgroups(who) {
        assert_eq!(
            (lines.len(), written.len()),
            (0, 0),
            "{lines:?} {written:?}"
        );
        return;
    }
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].starts_with("creel: --memory 64MiB"), "{lines:?}");
    assert!(lines[1].starts_with("creel: --cpus 0.5"), "{lines:?}");
    assert!(
        written.len() == 1 && written[0].starts_with("creel: memory = 64MiB at "),
        "{written:?}"
    );
    // Nobody asked for those of creel's own, and `--quiet` is asked for.
    assert_eq!(said(run()).len(), 0);
    assert_eq!(said(run().flags(limits).flags(["--quiet"])).len(), 0);
}

each!(memory_kills_the_jail_as_one);
fn memory_kills_the_jail_as_one(who: Who) {
    if !grouped(who) {
        return;
    }
    let workspace = Workspace::new(who);
    // A child is the one that grows; its parent, which waits for it, must not outlive it either.
    let script = "
import os, time
if os.fork() == 0:
    b = bytearray(150 << 20); os._exit(0)
print('begun', flush=True); print(os.wait()[1]); time.sleep(1); print('went on', flush=True)";
    let run = |size| {
        Run::new(who, &workspace)
            .flags(["--memory", size])
            .python(script)
    };
    let ran = run("64MiB");
    hit(&ran, "oom", "memory", 64 << 20);
    assert_eq!((ran.status, ran.stdout.as_str()), (137, "begun\n"));
    assert_eq!(run("512MiB").ok().stdout, "begun\n0\nwent on\n");
}

each!(memory_counts_what_is_written_to_tmpfs);
fn memory_counts_what_is_written_to_tmpfs(who: Who) {
    if !grouped(who) {
        return;
    }
    let workspace = Workspace::new(who);
    let run = |size| {
        Run::new(who, &workspace)
            .flags(["--memory", size])
            .sh("head -c 100M /dev/zero > /tmp/f && stat -c %s /tmp/f")
    };
    hit(&run("64MiB"), "oom", "memory", 64 << 20);
    assert_eq!(run("512MiB").ok().stdout, "104857600\n");
    // By steps of a page too, each of which the mark beneath the limit would throttle (cgroup v2).
    let pages = Run::new(who, &workspace).flags(["--memory", "64MiB"]);
    let pages =
        pages.python("f = open('/tmp/f', 'wb', 0)\nfor _ in range(25600): f.write(b'x' * 4096)");
    hit(&pages, "oom", "memory", 64 << 20);
}

each!(pids_refuses_one_process_too_many);
fn pids_refuses_one_process_too_many(who: Who) {
    if !grouped(who) {
        return;
    }
    let workspace = Workspace::new(who);
    let script = "
import errno, os, sys, time
made = 0
for n in range(30):
    try:
        if os.fork() == 0: time.sleep(60)
        made += 1
    except OSError as e: print(made, errno.errorcode[e.errno]); sys.exit(1)
print(made)";
    let run = |count| {
        Run::new(who, &workspace)
            .flags(["--pids", count])
            .python(script)
    };
    let ran = run("10");
    reached(&ran, "pids", 10);
    // The command itself is one of the ten.
    assert_eq!((ran.status, ran.stdout.as_str()), (1, "9 EAGAIN\n"));
    assert_eq!(run("31").ok().stdout, "30\n");
}

each!(pids_bounds_a_fork_bomb);
fn pids_bounds_a_fork_bomb(who: Who) {
    if !grouped(who) {
        return;
    }
    let workspace = Workspace::new(who);
    let ran = limits(
        who,
        &workspace,
        "pids = 40\ntimeout = \"1s\"\ngrace = \"0s\"",
    )
    .sh("bomb() { bomb | bomb & }; bomb & exec sleep 30");
    assert_eq!(ran.status, 124, "{ran:#?}");
    let peak = ran.verdict["usage"]["pids_peak"].as_u64();
    // With creel's own pid 1.
    assert!(peak.is_none_or(|peak| peak <= 41), "{ran:#?}");
}

each!(threads_count_as_pids);
fn threads_count_as_pids(who: Who) {
    if !grouped(who) {
        return;
    }
    let workspace = Workspace::new(who);
    let script = "
import threading, time
for n in range(20): threading.Thread(target=time.sleep, args=(0.2,)).start()
print('started')";
    let run = |count| {
        Run::new(who, &workspace)
            .flags(["--pids", count])
            .python(script)
    };
    let ran = run("10");
    reached(&ran, "pids", 10);
    assert!(ran.stderr.contains("can't start new thread"), "{ran:#?}");
    assert_eq!(run("30").ok().stdout, "started\n");
}

each!(disk_bytes_bound_each_tmpfs);
fn disk_bytes_bound_each_tmpfs(who: Who) {
    let workspace = Workspace::new(who);
    for place in ["/tmp", "$HOME", "/dev/shm"] {
        let run = |size| {
            let script = format!("head -c 2M /dev/zero > {place}/f && echo whole");
            Run::new(who, &workspace)
                .flags(["--disk", size])
                .sh(&script)
        };
        let ran = run("1MiB");
        reached(&ran, "disk", 1 << 20);
        assert!(
            ran.stderr.contains("No space left on device") && ran.stderr.contains("--disk"),
            "{ran:#?}"
        );
        assert_eq!(run("8MiB").ok().stdout, "whole\n");
    }
}

each!(disk_bounds_a_fresh_workspace_too);
fn disk_bounds_a_fresh_workspace_too(who: Who) {
    let workspace = Workspace::new(who);
    let run = |size| {
        Run::new(who, &workspace)
            .flags(["--workspace", "none", "--disk", size])
            .sh("head -c 2M /dev/zero > f && echo whole")
    };
    reached(&run("1MiB"), "disk", 1 << 20);
    assert_eq!(run("8MiB").ok().stdout, "whole\n");
}

each!(disk_inodes_bound_each_tmpfs);
fn disk_inodes_bound_each_tmpfs(who: Who) {
    let workspace = Workspace::new(who);
    let script = "cd /tmp; for i in $(seq 100); do : > $i || exit 1; done; echo whole";
    let ran = limits(who, &workspace, "inodes = 50").sh(script);
    reached(&ran, "inodes", 50);
    assert!(
        ran.stderr.contains("No space left on device") && ran.stderr.contains("raise inodes"),
        "{ran:#?}"
    );
    assert_eq!(
        limits(who, &workspace, "inodes = 200")
            .sh(script)
            .ok()
            .stdout,
        "whole\n"
    );
}

each!(a_full_disk_does_not_spoil_a_run_that_succeeds);
fn a_full_disk_does_not_spoil_a_run_that_succeeds(who: Who) {
    let workspace = Workspace::new(who);
    let ran = Run::new(who, &workspace)
        .flags(["--disk", "1MiB"])
        .sh("head -c 2M /dev/zero > /tmp/f; exit 0")
        .ok();
    assert_eq!(ran.kind(), "exited");
    assert_eq!(ran.verdict["usage"]["disks"]["/tmp"][0], 1000);
}

each!(file_size_ends_what_writes_a_larger_file);
fn file_size_ends_what_writes_a_larger_file(who: Who) {
    let workspace = Workspace::new(who);
    let script = "exec head -c 2M /dev/zero > f";
    let ran = limits(who, &workspace, "file_size = \"1MiB\"").sh(script);
    // The signal is all that there is to see, and any program may send it.
    assert_eq!((ran.kind(), ran.status), ("signaled", 128 + 25), "{ran:#?}");
    assert_eq!(ran.verdict["signal"], "SIGXFSZ");
    assert!(ran.stderr.contains("`file_size` (1MiB"), "{ran:#?}");
    assert_eq!(
        std::fs::metadata(workspace.path().join("f"))
            .expect("stat")
            .len(),
        1 << 20
    );
    limits(who, &workspace, "file_size = \"4MiB\"")
        .sh(script)
        .ok();
}

each!(output_is_cut_at_exactly_the_limit);
fn output_is_cut_at_exactly_the_limit(who: Who) {
    let workspace = Workspace::new(who);
    let run = |limit, script| {
        Run::new(who, &workspace)
            .flags(["--output-limit", limit])
            .sh(script)
    };
    let ran = run("10000B", "yes");
    hit(&ran, "output", "output", 10_000);
    assert_eq!((ran.stdout.len(), ran.status), (10_000, 137));
    assert_eq!(ran.verdict["usage"]["output"], 10_000);
    // Both streams count together.
    let ran = run(
        "10000B",
        "(head -c 9000 /dev/zero; sleep 0.3; head -c 9000 /dev/zero >&2; sleep 30) | cat",
    );
    assert_eq!(ran.kind(), "output", "{:?}", ran.stderr.len());
    let ran = run(
        "18000B",
        "head -c 9000 /dev/zero; head -c 9000 /dev/zero >&2",
    )
    .ok();
    assert_eq!((ran.stdout.len(), ran.stderr.len()), (9000, 9000));
}

each!(output_of_a_command_that_ended_already_is_cut_too);
/// A command may have ended well before the excess is noticed: its output is cut all the same, and
/// what lost a part is no success.
fn output_of_a_command_that_ended_already_is_cut_too(who: Who) {
    let workspace = Workspace::new(who);
    for _ in 0..20 {
        let ran = Run::new(who, &workspace)
            .flags(["--output-limit", "1000B"])
            .sh("head -c 1001 /dev/zero");
        hit(&ran, "output", "output", 1000);
        assert_eq!(ran.stdout.len(), 1000);
    }
    let ran = Run::new(who, &workspace)
        .flags(["--output-limit", "1000B"])
        .sh("head -c 1000 /dev/zero")
        .ok();
    assert_eq!(ran.stdout.len(), 1000);
}

each!(open_files_refuses_one_descriptor_too_many);
fn open_files_refuses_one_descriptor_too_many(who: Who) {
    let workspace = Workspace::new(who);
    let script = "
import errno, os
try:
    for n in range(100): os.open('/dev/null', os.O_RDONLY)
    print('all')
except OSError as e: print(errno.errorcode[e.errno], n + 3)";
    let ran = limits(who, &workspace, "open_files = 64")
        .python(script)
        .ok();
    assert_eq!(ran.stdout, "EMFILE 64\n");
    assert_eq!(
        limits(who, &workspace, "open_files = 256")
            .python(script)
            .ok()
            .stdout,
        "all\n"
    );
}

each!(a_crash_leaves_no_core);
fn a_crash_leaves_no_core(who: Who) {
    let workspace = Workspace::new(who);
    let script = "
import os, resource
# 1, not 0: a piped core_pattern ignores 0.
print(resource.getrlimit(resource.RLIMIT_CORE)[1] <= 1)
try: resource.setrlimit(resource.RLIMIT_CORE, (1 << 20, 1 << 20))
except ValueError as e: print(e)
import ctypes; print(flush=True); ctypes.string_at(0)";
    let ran = Run::new(who, &workspace).python(script);
    assert_eq!(ran.status, 139, "{ran:#?}");
    assert_eq!(ran.stdout, "True\nnot allowed to raise maximum limit\n\n");
    assert_eq!(
        std::fs::read_dir(workspace.path())
            .expect("readdir")
            .count(),
        0
    );
}

each!(a_policy_that_names_no_limits_has_those_of_the_default_policy);
fn a_policy_that_names_no_limits_has_those_of_the_default_policy(who: Who) {
    let workspace = Workspace::new(who);
    let acts = |run: Run| {
        let ran = run.flags(["--dry-run", "--json"]).sh("true").ok();
        let plan: serde_json::Value = serde_json::from_str(&ran.stdout).expect("JSON");
        let acts = plan["acts"].as_array().expect("acts").clone();
        let limits: Vec<_> = acts
            .into_iter()
            .filter(|act| {
                ["cgroup", "resource-limit", "tmpfs"]
                    .contains(&act["act"].as_str().expect("a name"))
            })
            .map(|mut act| {
                act.as_object_mut().expect("an object").remove("access");
                act
            })
            .collect();
        (limits, plan["watch"].clone())
    };
    let default = acts(Run::new(who, &workspace));
    assert!(default.0.len() > 5);
    let bare = Run::new(who, &workspace).policy_text(
        &workspace,
        "bare",
        "[filesystem]\nexec = [\"/usr\"]\n",
    );
    assert_eq!(acts(bare), default);
    let coding = acts(Run::new(who, &workspace).policy("coding"));
    assert_ne!(coding, default);
}

each!(lower_limits_of_the_callers_own_stay_in_force);
/// setrlimit(2) does not raise a hard limit: the caller's own stays where it is the lower one.
fn lower_limits_of_the_callers_own_stay_in_force(who: Who) {
    need("bash");
    let workspace = Workspace::new(who);
    let creel = Run::new(who, &workspace).command([
        "/bin/bash",
        "-c",
        "ulimit -c; ulimit -f; ulimit -n; ulimit -l; ulimit -t",
    ]);
    let mut shell = std::process::Command::new("/bin/bash");
    shell.args([
        "-c",
        "ulimit -c 0; ulimit -f 4096; ulimit -n 100; ulimit -l 8; ulimit -t 50; exec \"$@\"",
        "bash",
    ]);
    shell
        .arg(creel.get_program())
        .args(creel.get_args())
        .current_dir(workspace.path());
    if is_root() && who == Who::User {
        use std::os::unix::process::CommandExt;
        let (uid, gid, _) = who.account();
        shell.uid(uid).gid(gid);
    }
    let output = shell.output().expect("bash runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(text, "0\n4096\n100\n8\n50\n", "{output:?}");
}

/// Steps of a runtime to find its limits: the mounts of mountinfo, and its groups' paths below them.
const FIND: &str = r"
import os
mounts = [line.split() for line in open('/proc/self/mountinfo')]
groups = {}
for line in open('/proc/self/cgroup'):
    _, names, path = line.strip().split(':', 2)
    groups.update({name: path for name in names.split(',')})
def directory(controller):
    for mount in mounts:
        at = mount.index('-')
        kind, options = mount[at + 1], mount[at + 3].split(',')
        if kind == 'cgroup' and controller in options or kind == 'cgroup2':
            path = groups[controller if kind == 'cgroup' else '']
            assert mount[3] == path == '/', (mount, path)
            return mount[4]
    return None
def first(controller, *names):
    base = directory(controller)
    paths = [f'{base}/{name}' for name in names if base and os.path.exists(f'{base}/{name}')]
    return ' '.join(open(path).read().strip() for path in paths) or 'none'
print(first('memory', 'memory.max', 'memory.limit_in_bytes'))
print(first('cpu', 'cpu.max', 'cpu.cfs_quota_us', 'cpu.cfs_period_us'))
print(first('pids', 'pids.max'))
";

each!(a_program_finds_its_limits_where_a_host_has_them);
fn a_program_finds_its_limits_where_a_host_has_them(who: Who) {
    if !grouped(who) {
        return;
    }
    let workspace = Workspace::new(who);
    for (memory, cpus, pids, want) in [
        ("300MiB", "0.5", "100", "314572800\n50000 100000\n101\n"),
        ("1GiB", "2", "64", "1073741824\n200000 100000\n65\n"),
    ] {
        let flags = ["--memory", memory, "--cpus", cpus, "--pids", pids];
        let ran = Run::new(who, &workspace).flags(flags).python(FIND).ok();
        assert_eq!(ran.stdout, want, "{who:?} {ran:#?}");
    }
}

each!(a_policy_that_denies_the_groups_shows_none);
fn a_policy_that_denies_the_groups_shows_none(who: Who) {
    if !grouped(who) {
        return;
    }
    let workspace = Workspace::new(who);
    for denied in ["/sys", "/sys/fs/cgroup"] {
        let text = format!("extends = \"default\"\n[filesystem]\ndeny = [\"{denied}\"]\n");
        let run = Run::new(who, &workspace).policy_text(&workspace, "hidden", &text);
        let ran = run.sh("grep cgroup /proc/self/mountinfo; ls /sys");
        assert_eq!(ran.stdout, "", "{denied} {ran:#?}");
        assert!(ran.stderr.contains("No such file"), "{denied} {ran:#?}");
    }
    // The control.
    let ran = Run::new(who, &workspace)
        .sh("grep -c cgroup /proc/self/mountinfo; ls /sys")
        .ok();
    assert!(ran.stdout.ends_with("fs\n"), "{ran:#?}");
}

#[test]
fn a_jail_without_a_group_sees_none() {
    let who = Who::User;
    if has_cgroups(who) {
        eprintln!("skipped: {who:?} has a cgroup here");
        return;
    }
    let workspace = Workspace::new(who);
    let ran = Run::new(who, &workspace).python(FIND).ok();
    assert_eq!(ran.stdout, "none\nnone\nnone\n", "{ran:#?}");
}
