//! The supervision of a jail and its command, below the command line: a plan, pipes and a limit go into
//! `creel_session::run`, and how the run ended comes out. Each run is in a process of its own with one thread.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Instant;

use creel_jail::Stdio;
use creel_plan::{CommandWatch, Plan, Request};
use creel_policy::{Degradable, preset};
use creel_session::declare::Place;
use creel_session::stream::Ours;
use creel_session::{Detail, Ended};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::drill::{Drill, say};
use crate::support::{Who, Workspace, has_cgroups, heap, is_root};

/// Runs a script in a jail: workspace, script, and its limits in milliseconds and bytes. The jail's stdout is
/// the drill's.
pub fn drill(arguments: &[String]) {
    let [workspace, script, watch] = arguments else {
        panic!("{arguments:?}");
    };
    let watch: CommandWatch = serde_json::from_str(watch).expect("limits");
    let (live, ours) = a_jail(Path::new(workspace), script, |plan| {
        plan.command.watch = watch
    });
    let exited = creel_session::run(live, None, ours, Instant::now(), Detail::Full);
    let exited = exited.expect("it is watched");
    let end = match exited.end {
        Ended::Command(change) => format!("{change:?}"),
        Ended::NotExecuted(errno) => format!("not executed: {}", errno.raw_os_error()),
        Ended::Silent => "Silent".to_owned(),
        other => panic!("{other:?}"),
    };
    say(&format!(
        "{end}, {:?}, {} bytes",
        exited.cause, exited.output
    ));
}

fn a_jail(
    workspace: &Path,
    script: &str,
    change: impl FnOnce(&mut Plan),
) -> (creel_jail::Live, Ours) {
    let roots = Place::here().roots(Some(workspace));
    let mut policy = preset::default(&roots).expect("the default policy");
    if !has_cgroups(own()) {
        policy.allow_degraded.insert(Degradable::Cgroup);
    }
    let request = Request {
        command: script.split('\t').map(Into::into).collect(),
        workspace: Some(workspace.into()),
        id: "supervised".into(),
        ..Request::default()
    };
    let (host, pins) = creel_jail::probe(&policy, &request).expect("a host");
    let mut plan = creel_plan::resolve(&policy, &request, &host).expect("a plan");
    change(&mut plan);
    // The plan that runs was written as JSON and read back.
    let text = serde_json::to_string(&plan).expect("it is written");
    let plan = serde_json::from_str(&text).expect("it is read");
    let (read, write) = std::io::pipe().expect("a pipe");
    let null = std::fs::File::open("/dev/null").expect("/dev/null");
    let stdio = Stdio([Some(null.into()), Some(write.into()), None]);
    let state = creel_jail::spawn::state_dir(host.uid, None);
    let ready = creel_jail::prepare(plan, &host, pins, stdio, None, None, &state);
    let ours = Ours {
        written: vec![(OwnedFd::from(read), 1)],
        typed: None,
    };
    let ready = ready.expect("ready");
    // Nothing between clone3 and execve may touch the heap.
    heap::mine_alone();
    (ready.spawn().expect("a jail"), ours)
}

fn own() -> Who {
    match is_root() {
        true => Who::Root,
        false => Who::User,
    }
}

/// The drill, far from every limit but those of `change`.
fn start(workspace: &Workspace, argv: &[&str], change: impl FnOnce(&mut CommandWatch)) -> Drill {
    let mut watch = CommandWatch {
        timeout: 60_000,
        output: 1 << 20,
        grace: 50_000,
    };
    change(&mut watch);
    let watch = serde_json::to_string(&watch).expect("limits");
    let workspace = workspace.path();
    let workspace = workspace.to_str().expect("text");
    Drill::start("supervised", &[workspace, &argv.join("\t"), &watch])
}

fn run(argv: &[&str], change: impl FnOnce(&mut CommandWatch)) -> Vec<String> {
    start(&Workspace::new(own()), argv, change).finish()
}

const SH: [&str; 2] = ["/bin/sh", "-c"];

#[test]
fn a_commands_own_end_and_what_it_wrote() {
    let said = run(&[SH[0], SH[1], "echo a word; exit 7"], |_| {});
    assert_eq!(said, ["a word", "Exited(7), None, 7 bytes"]);
    let said = run(&[SH[0], SH[1], "kill -9 $$"], |_| {});
    assert_eq!(said, ["Signaled(9), None, 0 bytes"]);
    let said = run(&["no-such-program"], |_| {});
    assert_eq!(said, ["not executed: 2, None, 0 bytes"]);
}

#[test]
fn a_timeout_asks_the_command_to_end() {
    let said = run(&["/bin/sleep", "60"], |watch| watch.timeout = 100);
    assert_eq!(said, ["Signaled(15), Some(Timeout), 0 bytes"]);
    // Control.
    let said = run(&["/bin/sleep", "0.2"], |_| {});
    assert_eq!(said, ["Exited(0), None, 0 bytes"]);
}

#[test]
fn output_beyond_its_limit_is_cut_and_ends_the_jail() {
    let script = [SH[0], SH[1], "while :; do echo 1234567; done"];
    let said = run(&script, |watch| watch.output = 24);
    assert_eq!(said[..3], ["1234567"; 3]);
    let end = is_killed(&said);
    assert!(end.ends_with("Some(Output), 24 bytes"), "{said:?}");
    // Control: as much as it may.
    let said = run(&[SH[0], SH[1], "echo 1234567"], |watch| watch.output = 8);
    assert_eq!(said, ["1234567", "Exited(0), None, 8 bytes"]);
}

#[test]
fn a_signal_to_the_supervisor_is_the_commands() {
    let script = "trap 'echo heard; exit 3' USR1; echo ready; while :; do sleep 0.02; done";
    let workspace = Workspace::new(own());
    let mut drill = start(&workspace, &[SH[0], SH[1], script], |_| {});
    drill.hear("ready");
    send(&drill, Signal::USR1);
    assert_eq!(
        drill.finish(),
        ["ready", "heard", "Exited(3), None, 12 bytes"]
    );
}

/// TERM is passed on; a command that does not end by it is killed after the grace, or by the second one.
#[test]
fn a_command_that_does_not_end_is_killed() {
    let script = "trap 'echo heard' TERM; echo ready; while :; do sleep 0.02; done";
    let workspace = Workspace::new(own());
    for grace in [50_000, 1] {
        let argv = [SH[0], SH[1], script];
        let mut drill = start(&workspace, &argv, |watch| watch.grace = grace);
        drill.hear("ready");
        send(&drill, Signal::TERM);
        if grace > 1 {
            drill.hear("heard");
            send(&drill, Signal::TERM);
        }
        let said = drill.finish();
        let end = is_killed(&said);
        assert!(end.contains("Some(Asked)"), "{said:?}");
    }
}

fn send(drill: &Drill, signal: Signal) {
    let pid = Pid::from_raw(drill.pid() as i32).expect("a pid");
    kill_process(pid, signal).expect("it lives");
}

/// The last line, of a jail whose first process was killed with it.
#[track_caller]
fn is_killed(said: &[String]) -> &str {
    let end = said.last().expect("a word");
    assert!(
        end.starts_with("Silent") || end.starts_with("Signaled(9)"),
        "{said:?}"
    );
    end
}
