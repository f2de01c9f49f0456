//! Nothing outlives its jail, however it detached itself and however the jail ended.

use std::process::Stdio;

use crate::support::{Run, Who, Workspace, children_of, grouped, wait};

/// Daemons in every usual way, each a `sleep` with a number that nobody else has.
fn daemons(number: &str) -> String {
    format!(
        r#"import os, signal, time
def detach(depth):
    if os.fork(): return
    os.setsid()
    if depth: detach(depth - 1)
    for s in range(1, 32):
        try: signal.signal(s, signal.SIG_IGN)
        except (OSError, ValueError): pass
    for fd in range(3): os.close(fd)
    os.execv('/bin/sleep', ['sleep', '{number}'])
for depth in range(3): detach(depth)
if not os.fork():
    os.setpgid(0, 0); os.execv('/bin/sleep', ['sleep', '{number}'])
time.sleep(0.2)
open('ready', 'w').close()
"#
    )
}

fn alive(number: &str) -> usize {
    let wanted = format!("sleep\0{number}\0");
    std::fs::read_dir("/proc")
        .expect("/proc")
        .filter_map(|entry| std::fs::read(entry.ok()?.path().join("cmdline")).ok())
        .filter(|line| line == wanted.as_bytes())
        .count()
}

each!(daemons_end_with_the_command);
fn daemons_end_with_the_command(who: Who) {
    let workspace = Workspace::new(who);
    let number = format!("7001.{}{}", std::process::id(), who as u8);
    let ran = Run::new(who, &workspace).python(&format!("{}\nprint(1)", daemons(&number)));
    assert_eq!(ran.ok().stdout, "1\n");
    assert_eq!(alive(&number), 0, "creel ended before its jail");
}

each!(daemons_end_with_a_killed_supervisor);
fn daemons_end_with_a_killed_supervisor(who: Who) {
    for signal in [libc::SIGKILL, libc::SIGABRT] {
        let workspace = Workspace::new(who);
        let number = format!("7002.{}{}{signal}", std::process::id(), who as u8);
        let code = format!("{}\ntime.sleep(60)", daemons(&number));
        let mut command = Run::new(who, &workspace).command(["/usr/bin/python3", "-c", &code]);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("creel");
        // The control.
        wait::until("all of them", || alive(&number) >= 4);
        // SAFETY: a child that has not been waited for.
        unsafe { libc::kill(child.id() as i32, signal) };
        child.wait().expect("creel ends");
        wait::becomes(&0, || alive(&number));
    }
}

each!(no_group_is_left_by_a_killed_supervisor);
fn no_group_is_left_by_a_killed_supervisor(who: Who) {
    if !grouped(who) {
        return;
    }
    let workspace = Workspace::new(who);
    let mut command = Run::new(who, &workspace).command(["/bin/sleep", "60"]);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("creel");
    // In the jail a v2 group is the root of its namespace, and has no name.
    let slot = wait::some("a group", || slot_below(child.id()));
    let there = || {
        std::process::Command::new("find")
            .args([
                "/sys/fs/cgroup",
                "-maxdepth",
                "6",
                "-path",
                &format!("*/creel/{slot}"),
            ])
            .output()
            .map(|out| String::from_utf8_lossy(&out.stdout).into_owned())
            .expect("find")
    };
    assert_ne!(there(), "");
    child.kill().expect("kill");
    child.wait().expect("creel ends");
    wait::becomes(&String::new(), there);
}

/// The slot of the group that a child of creel's is in: the jail's first process.
fn slot_below(creel: u32) -> Option<String> {
    children_of(creel).into_iter().find_map(|pid| {
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let slot = |line: &str| line.rsplit_once("creel/").map(|(_, slot)| slot.to_owned());
        groups.lines().find_map(slot)
    })
}
