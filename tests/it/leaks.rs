//! Nothing stays behind: however creel ends, no process, cgroup, mount or file of it outlives it by
//! more than a moment.
//!
//! Other jails may run on the same machine meanwhile, those of other tests among them, so each trace
//! is told by what marks it as ours or nobody's: processes by a variable in their environment, which
//! creel's own processes inherit; cgroups by their slot's lease, which whoever lives in one holds;
//! mounts and files by a mount namespace of the test's own, with a `/tmp` of its own.

use std::collections::BTreeSet;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::drill::{self, Drill};
use crate::support::{
    Run, Who, Workspace, binary, child_named, delegated, has_cgroups, is_root, shell_status,
    state_dir, wait,
};

/// How long the janitor may take.
const PATIENCE: Duration = Duration::from_secs(5);
const MARK: &str = "IT_MARK";

/// Objects that existed before, and the mark of objects that came after.
struct Watch {
    mark: String,
    mounts: Vec<String>,
    files: BTreeSet<PathBuf>,
    /// Groups that a crash of somebody else's left long ago.
    groups: BTreeSet<PathBuf>,
}

impl Watch {
    fn start(workspace: &Workspace, name: &str) -> Watch {
        Watch {
            mark: format!("{name}-{}", std::process::id()),
            mounts: mounts(),
            files: files(workspace),
            groups: abandoned_groups(),
        }
    }

    /// `creel run FLAGS -- ARGV`, marked inside and outside.
    fn command(&self, who: Who, workspace: &Workspace, flags: &[&str], argv: &[&str]) -> Command {
        let run = Run::new(who, workspace)
            .outer_env(MARK, &self.mark)
            .flags(["-e", &format!("{MARK}={}", self.mark)]);
        let mut command = run.flags(flags).command(argv);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    /// Everything of ours that is still there.
    fn left(&self, workspace: &Workspace) -> Vec<String> {
        let mut left = marked_processes(&self.mark);
        left.extend(
            abandoned_groups()
                .difference(&self.groups)
                .map(|dir| format!("cgroup {}", dir.display())),
        );
        left.extend(
            files(workspace)
                .difference(&self.files)
                .map(|file| format!("file {}", file.display())),
        );
        let mounts = mounts();
        if mounts != self.mounts {
            left.push(format!("mounts {mounts:#?} instead of {:#?}", self.mounts));
        }
        left
    }

    #[track_caller]
    fn nothing_is_left(&self, workspace: &Workspace) {
        let mut left = vec![];
        wait::within(PATIENCE, || {
            left = self.left(workspace);
            left.is_empty()
        });
        assert!(left.is_empty(), "left behind: {left:#?}");
    }
}

/// Processes with the mark in their environment: creel, its janitor, the jail's first process and
/// the command. Who has ended and is only not yet waited for has none.
fn marked_processes(mark: &str) -> Vec<String> {
    let wanted = format!("{MARK}={mark}\0");
    let mut found = vec![];
    for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
        let dir = entry.path();
        let Ok(environment) = std::fs::read(dir.join("environ")) else {
            continue;
        };
        if environment
            .windows(wanted.len())
            .any(|part| part == wanted.as_bytes())
        {
            let name = std::fs::read_to_string(dir.join("comm")).unwrap_or_default();
            found.push(format!(
                "process {} {}",
                entry.file_name().display(),
                name.trim_end()
            ));
        }
    }
    found
}

/// Groups of jails whose slot nobody holds.
pub fn abandoned_groups() -> BTreeSet<PathBuf> {
    let mut groups = BTreeSet::new();
    let Ok(hierarchies) = std::fs::read_dir("/sys/fs/cgroup") else {
        return groups;
    };
    let roots = hierarchies
        .flatten()
        .map(|entry| entry.path())
        .chain(["/sys/fs/cgroup".into()])
        .chain(delegated());
    for dir in roots.map(|root| root.join("creel")) {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let slot = entry.file_name().to_string_lossy().parse().ok();
            if slot.is_some_and(|slot| !is_leased(slot)) && entry.path().is_dir() {
                groups.insert(entry.path());
            }
        }
    }
    groups
}

/// Whether anybody holds byte `slot` of this user's lock file (`F_OFD_GETLK`).
fn is_leased(slot: i64) -> bool {
    let Ok(file) = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(state_dir().join("slots"))
    else {
        return false;
    };
    // SAFETY: flock is plain data for which all zeroes is a value; fcntl fills it in.
    unsafe {
        let mut lock: libc::flock = std::mem::zeroed();
        lock.l_type = libc::F_WRLCK as libc::c_short;
        lock.l_whence = libc::SEEK_SET as libc::c_short;
        lock.l_start = slot;
        lock.l_len = 1;
        libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &raw mut lock) == 0
            && lock.l_type != libc::F_UNLCK as libc::c_short
    }
}

/// The mounts that this thread, and what it starts, sees.
fn mounts() -> Vec<String> {
    let text = std::fs::read_to_string("/proc/thread-self/mountinfo").expect("mountinfo");
    text.lines().map(str::to_owned).collect()
}

/// Entries of the places where a program leaves files: `/tmp` where it is the test's own, the state
/// directories, and the workspace.
fn files(workspace: &Workspace) -> BTreeSet<PathBuf> {
    let mut places = vec![workspace.path(), state_dir(), Who::User.account().2];
    if is_root() {
        places.push("/tmp".into());
    }
    let list = |dir: PathBuf| {
        std::fs::read_dir(dir)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
    };
    // The lock file is fixed: all jails of a user share it.
    places
        .into_iter()
        .flat_map(list)
        .filter(|path| *path != state_dir().join("slots"))
        .collect()
}

/// Gives this thread, and all that it starts, a mount namespace with an empty `/tmp`.
fn private_tmp() {
    if !is_root() {
        eprintln!("skipped: without root the files in /tmp cannot be told from those of others");
        return;
    }
    use rustix::mount::{
        self as rx, MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
    };
    // SAFETY: unshare changes this thread only (CLONE_NEWNS implies CLONE_FS).
    assert_eq!(
        unsafe { libc::unshare(libc::CLONE_NEWNS) },
        0,
        "{}",
        std::io::Error::last_os_error()
    );
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rx::mount_change("/", private).expect("private");
    let build = binary().parent().expect("a directory");
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = rx::open_tree(rustix::fs::CWD, build, flags).expect("open_tree");
    rx::mount(
        "creel-it",
        "/tmp",
        "tmpfs",
        MountFlags::empty(),
        Some(c"mode=1777"),
    )
    .expect("tmpfs");
    if !build.exists() {
        std::fs::create_dir_all(build).expect("mkdir");
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        rx::move_mount(&tree, "", rustix::fs::CWD, build, flags).expect("move_mount");
    }
}

/// Numbers that look random and are the same each time (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// A command that leaves as much behind as it can: sessions of their own, deaf to signals.
const STUBBORN: [&str; 3] = [
    "/bin/sh",
    "-c",
    "trap '' TERM HUP INT; setsid sleep 60 & (sleep 60 &) & echo x > /tmp/x; sleep 60",
];

fn killed_at_random(who: Who, times: u64, name: &str) {
    private_tmp();
    let workspace = Workspace::new(who);
    let watch = Watch::start(&workspace, name);
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for time in 0..times {
        let flags: &[&str] = if time % 4 == 3 { &["-t"] } else { &[] };
        let mut child = watch
            .command(who, &workspace, flags, &STUBBORN)
            .spawn()
            .expect("creel starts");
        // Three of four while the jail is being made, the others in the midst of their run.
        let most = if time % 4 == 0 { 60_000 } else { 15_000 };
        std::thread::sleep(Duration::from_micros(dice.below(most)));
        child.kill().expect("kill");
        child.wait().expect("wait");
        if time % 20 == 19 {
            watch.nothing_is_left(&workspace);
        }
    }
    watch.nothing_is_left(&workspace);
}

#[test]
fn two_hundred_kills_at_random_instants_leave_nothing() {
    match is_root() {
        true => killed_at_random(Who::Root, 200, "kills"),
        false => eprintln!("skipped: needs root"),
    }
}

#[test]
fn two_hundred_kills_of_rootless_runs_leave_nothing() {
    killed_at_random(Who::User, 200, "rootless-kills");
}

/// One of signals that end a program, at an instant spread over the start: it ends the run with 128 + its
/// number, whatever is being made, and nothing of it is left.
fn ended_at_random(who: Who, times: u32, name: &str) {
    private_tmp();
    let workspace = Workspace::new(who);
    let watch = Watch::start(&workspace, name);
    let command = |seconds| watch.command(who, &workspace, &[], &["/bin/sleep", seconds]);
    // Control: not ended, it takes its time.
    let start = Instant::now();
    assert!(command("0.2").status().expect("creel runs").success());
    let whole = start.elapsed();
    assert!(whole >= Duration::from_millis(200));
    let whole = whole - Duration::from_millis(150);
    for time in 0..times {
        for number in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT] {
            let mut child = command("60").spawn().expect("creel starts");
            let start = Instant::now();
            std::thread::sleep(whole * time / times);
            let at = start.elapsed();
            // SAFETY: two integers; the child is not reaped yet.
            unsafe { libc::kill(child.id() as i32, number) };
            let status = shell_status(child.wait().expect("wait"));
            let took = start.elapsed();
            assert_eq!(status, 128 + number, "at {at:?}, after {took:?}");
            assert!(took < Duration::from_secs(30), "at {at:?}: {took:?}");
        }
    }
    watch.nothing_is_left(&workspace);
}

#[test]
fn ended_by_a_signal_at_any_instant_of_the_start_nothing_is_left() {
    match is_root() {
        true => ended_at_random(Who::Root, 60, "signals"),
        false => eprintln!("skipped: needs root"),
    }
}

#[test]
fn rootless_runs_ended_by_a_signal_at_any_instant_of_the_start_leave_nothing() {
    ended_at_random(Who::User, 60, "rootless-signals");
}

fn many_at_once(who: Who, name: &str) {
    private_tmp();
    let workspace = Workspace::new(who);
    let watch = Watch::start(&workspace, name);
    let next = std::sync::atomic::AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if number >= 500 {
                        break;
                    }
                    let code = (number % 100).to_string();
                    let script = format!("(sleep 60 &); echo x > /tmp/x; exit {code}");
                    let mut command =
                        watch.command(who, &workspace, &[], &["/bin/sh", "-c", &script]);
                    let output = command.stderr(Stdio::piped()).output().expect("creel runs");
                    assert_eq!(
                        output.status.code(),
                        Some((number % 100) as i32),
                        "{output:?}"
                    );
                }
            });
        }
    });
    watch.nothing_is_left(&workspace);
}

#[test]
fn five_hundred_runs_sixteen_at_a_time_leave_nothing() {
    match is_root() {
        true => many_at_once(Who::Root, "many"),
        false => eprintln!("skipped: needs root"),
    }
}

#[test]
fn five_hundred_rootless_runs_sixteen_at_a_time_leave_nothing() {
    many_at_once(Who::User, "rootless-many");
}

each!(a_killed_janitor_ends_the_run_and_leaves_nothing);
/// While it makes names, while the jail is built, and while the command runs: the run ends, and says why.
fn a_killed_janitor_ends_the_run_and_leaves_nothing(who: Who) {
    private_tmp();
    let workspace = Workspace::new(who);
    for round in 0..24u32 {
        let watch = Watch::start(&workspace, "janitor");
        let script = ["/bin/sh", "-c", "touch started; sleep 60"];
        let mut child = watch.command(who, &workspace, &[], &script);
        let child = child.stderr(Stdio::piped()).spawn().expect("creel starts");
        let started = workspace.path().join("started");
        let mut victim = wait::some("the janitor", || child_named(child.id(), "creel-janitor"));
        match round % 3 {
            0 => std::thread::sleep(Duration::from_micros(u64::from(round) * 100)),
            1 => wait::until("it starts", || started.exists()),
            // Its own child, which watches covers: as root the janitor does that itself.
            _ => {
                wait::until("it starts", || started.exists());
                if matches!(who, Who::User) {
                    victim = wait::some("its child", || child_named(victim, "creel-janitor"));
                }
            }
        }
        let victim = rustix::process::Pid::from_raw(victim as i32).expect("a pid");
        rustix::process::kill_process(victim, rustix::process::Signal::KILL).expect("killed");
        let output = child.wait_with_output().expect("it ends");
        let why = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(125), "{round}: {why}");
        assert!(why.contains("janitor"), "{round}: {why}");
        let _ = std::fs::remove_file(&started);
        watch.nothing_is_left(&workspace);
    }
}

/// Takes memory until the supervisor has ended.
const HOG: &str = r#"
import time
taken = []
while open('/proc/PID/stat').read().rsplit(')', 1)[1].split()[0] not in 'ZX':
    taken.append(b'x' * (1 << 20))
    # If the supervisor is not gone by then, this process is next, which does not matter.
    time.sleep(0.01)
    assert len(taken) < 200
"#;

each!(a_supervisor_that_the_kernel_ends_for_want_of_memory_leaves_nothing);
/// The kernel ends every process that shares the memory of one that it ends for want of memory, whatever group
/// it is in. In a small group of the test's own it ends the supervisor, which has the worst score.
fn a_supervisor_that_the_kernel_ends_for_want_of_memory_leaves_nothing(who: Who) {
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    if !is_root() {
        eprintln!("skipped: a cgroup of the test's own needs root");
        return;
    }
    private_tmp();
    let parent = Path::new("/sys/fs/cgroup/memory/creel");
    std::fs::create_dir_all(parent).expect("cgroup v1's memory controller");
    let group = parent.join(format!("it-{}", std::process::id()));
    std::fs::create_dir(&group).expect("a group");
    let tasks = group.join("tasks");
    let workspace = Workspace::new(who);
    let watch = Watch::start(&workspace, "oom");
    let script = ["/bin/sh", "-c", "touch started; sleep 60"];
    let mut child = watch.command(who, &workspace, &[], &script);
    let mut child = child.spawn().expect("creel starts");
    wait::until("it starts", || workspace.path().join("started").exists());
    // The janitor stays outside. The supervisor's pages are charged where they were made, so its end makes no
    // room here, and the kernel may end everything in this group.
    std::fs::write(&tasks, child.id().to_string()).expect("moved");
    std::fs::write(format!("/proc/{}/oom_score_adj", child.id()), "1000").expect("its score");
    std::fs::write(group.join("memory.limit_in_bytes"), "32M").expect("a limit");
    let mut hog = Command::new("/usr/bin/python3");
    hog.args(["-c", &HOG.replace("PID", &child.id().to_string())]);
    let into = std::ffi::CString::new(tasks.to_str().expect("text")).expect("no NUL");
    // SAFETY: open, write and close are async-signal-safe.
    unsafe {
        hog.pre_exec(move || {
            let file = libc::open(into.as_ptr(), libc::O_WRONLY);
            let moved = libc::write(file, c"0".as_ptr().cast(), 1) == 1;
            libc::close(file);
            moved
                .then_some(())
                .ok_or_else(std::io::Error::last_os_error)
        });
    }
    let _ = hog.status().expect("python3 starts");
    let ended = child.wait().expect("it ends");
    assert_eq!(ended.signal(), Some(9), "{ended:?}");
    std::fs::remove_file(workspace.path().join("started")).expect("the jail's own");
    watch.nothing_is_left(&workspace);
    std::fs::write(group.join("memory.limit_in_bytes"), "-1").expect("no limit");
    wait::until("the test's own group goes", || {
        std::fs::remove_dir(&group).is_ok()
    });
}

each!(failed_and_ended_runs_leave_nothing);
fn failed_and_ended_runs_leave_nothing(who: Who) {
    private_tmp();
    let workspace = Workspace::new(who);
    let policy = workspace.outside().join("hole.toml");
    std::fs::write(&policy, "[filesystem]\nexec = [\"/usr\", \"/bin\", \"/lib\", \"/lib64\"]\n[limits]\ngrace = \"0s\"\n").expect("write");
    let policy = policy.to_str().expect("text");
    let watch = Watch::start(&workspace, "failures");
    for (flags, argv, expected) in [
        // Before there is a jail, while one is made, at its last step, and at the end of its run.
        (&["--read", "/no/such"][..], &["true"][..], 125),
        (&["--workdir", "absent"], &["true"], 125),
        (&["--status-file", "/no/such/status"], &["true"], 125),
        (&[], &["no-such-command"], 127),
        (&[], &["/etc"], 126),
        (&["--policy", policy, "--timeout", "50ms"], &STUBBORN, 124),
        (&["--output-limit", "10B"], &["yes"], 137),
        (
            &[],
            &["/bin/sh", "-c", "setsid sleep 60 & kill -KILL $$"],
            137,
        ),
    ] {
        let output = watch
            .command(who, &workspace, flags, argv)
            .output()
            .expect("creel runs");
        assert_eq!(output.status.code(), Some(expected), "{flags:?} {argv:?}");
        watch.nothing_is_left(&workspace);
    }
}

/// An error of creel's own, while a jail lives: its status, one sentence, and nothing left.
#[test]
fn a_panic_ends_with_125_and_one_sentence_and_leaves_nothing() {
    private_tmp();
    let workspace = Workspace::new(Who::of_this_process());
    let watch = Watch::start(&workspace, "panic");
    let said = workspace.outside().join("stderr");
    let stderr = std::fs::File::create(&said).expect("a file");
    let place = workspace.path();
    let place = place.to_str().expect("text");
    let mut drill = Drill::of(drill::command("panic", &[place, &watch.mark]).stderr(stderr));
    drill.hear(LIVES);
    // The control: what must go was there.
    wait::until("it begins", || !marked_processes(&watch.mark).is_empty());
    let (words, ended) = drill.end();
    let text = std::fs::read_to_string(said).expect("what it said");
    assert_eq!(words, [LIVES], "{text}");
    assert_eq!(ended.code(), Some(125), "{ended} {text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.starts_with("creel: internal error at "), "{text}");
    for part in ["tests/it/leaks.rs", "purpose", "please report it"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains('\x1b'), "{text}");
    watch.nothing_is_left(&workspace);
}

const LIVES: &str = "it lives";

/// Makes a jail and panics: its last word is the panic's.
pub fn panic_drill(arguments: &[String]) {
    creel::cli::hint::end_on_panic();
    let live = a_jail(Path::new(&arguments[0]), &arguments[1]);
    assert_eq!(live.group.is_some(), own_groups());
    drill::say(LIVES);
    let _ = std::io::Read::read(&mut std::io::stdin(), &mut [0]);
    // The line break and the colour must not reach a terminal.
    panic!("on\npurpose \x1b[31m");
}

/// Whether jails of this process itself have groups.
fn own_groups() -> bool {
    is_root() || delegated().is_some()
}

/// A jail of this process itself, in which a marked command sleeps.
fn a_jail(workspace: &Path, mark: &str) -> creel_jail::Live {
    use creel_plan::Request;
    use creel_policy::{Degradable, preset};
    let roots = creel_session::declare::Place::here().roots(Some(workspace));
    let mut policy = preset::default(&roots).expect("the default policy");
    if !own_groups() {
        policy.allow_degraded.insert(Degradable::Cgroup);
    }
    let request = Request {
        command: vec!["/bin/sleep".into(), "60".into()],
        workspace: Some(workspace.into()),
        env: vec![(MARK.into(), mark.into())],
        id: "panic".into(),
        ..Request::default()
    };
    let (host, pins) = creel_jail::probe(&policy, &request).expect("a host");
    let plan = creel_plan::resolve(&policy, &request, &host).expect("a plan");
    let state = creel_jail::spawn::state_dir(host.uid, None);
    let ready = creel_jail::prepare(plan, &host, pins, Default::default(), None, None, &state);
    ready.expect("ready").spawn().expect("a jail")
}

each!(a_run_that_goes_on_is_seen);
/// The watch sees what is there: otherwise none of the above would mean anything.
fn a_run_that_goes_on_is_seen(who: Who) {
    private_tmp();
    let workspace = Workspace::new(who);
    let watch = Watch::start(&workspace, "control");
    let argv = ["/bin/sh", "-c", "touch begun; sleep 60"];
    let mut child = watch
        .command(who, &workspace, &[], &argv)
        .spawn()
        .expect("creel starts");
    let begun = workspace.path().join("begun");
    wait::until("it begins", || begun.exists());
    let seen = watch.left(&workspace).join("\n");
    // creel, the jail's first process and the command at least.
    assert!(
        seen.matches("process ").count() >= 3 && seen.contains(" creel"),
        "{seen}"
    );
    assert!(
        seen.contains("begun") && (!has_cgroups(who) || seen.contains("creel-janitor")),
        "{seen}"
    );
    child.kill().expect("kill");
    child.wait().expect("wait");
    std::fs::remove_file(begun).expect("rm");
    watch.nothing_is_left(&workspace);
}
