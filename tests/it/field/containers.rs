//! creel inside of what people run agents in: containers, chroots, hardened units, another jail. Each is imitated
//! in namespaces of the test's, and asked twice: `creel doctor` must find what a run would be refused for.

use std::process::{Command, Output};

use super::text;
use crate::support::{Run, Who, Workspace, binary, has_cgroups, is_root, need};

const FILTER: &str = include_str!("containers/filter.py");

/// `creel ARGV` after `setup` in a mount namespace; in both, `"$@"` is what is to be executed. `around`: a program
/// with its arguments that executes creel.
struct Inside<'a> {
    who: Who,
    workspace: &'a Workspace,
    setup: &'a str,
    around: &'a [&'a str],
    env: &'a [(&'a str, &'a str)],
}

impl Inside<'_> {
    fn creel(&self, argv: &[&str]) -> Output {
        let (uid, gid, home) = self.who.account();
        let words = format!(
            "{}; uid=$1 gid=$2; shift 2; exec setpriv --reuid $uid --regid $gid --clear-groups \"$@\"",
            self.setup
        );
        let mut shell = Command::new("unshare");
        shell.args([
            "-m",
            "--propagation",
            "private",
            "bash",
            "-ec",
            &words,
            "bash",
        ]);
        shell.args([uid.to_string(), gid.to_string()]);
        shell.args(self.around).arg(binary()).args(argv);
        shell
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        shell.env("HOME", home).env("XDG_CONFIG_HOME", "/dev/null");
        shell.envs(self.env.iter().copied());
        shell.current_dir(self.workspace.path());
        shell.output().expect("unshare runs")
    }

    fn run(&self, flags: &[&str]) -> Output {
        let argv = [&["run"], flags, &["--", "/bin/echo", "in"]].concat();
        self.creel(&argv)
    }

    /// Both find the same, and say each of `words`.
    #[track_caller]
    fn refused(&self, flags: &[&str], words: &[&str]) {
        let (doctor, run) = (self.creel(&["doctor"]), self.run(flags));
        assert_eq!(doctor.status.code(), Some(1), "{doctor:?}");
        assert_eq!(run.status.code(), Some(125), "{run:?}");
        for word in words {
            for said in [text(&doctor.stdout), text(&run.stderr)] {
                assert!(said.contains(word), "{:?} {word:?}: {said}", self.who);
            }
        }
    }

    #[track_caller]
    fn works(&self, flags: &[&str]) {
        let run = self.run(flags);
        assert_eq!(text(&run.stdout), "in\n", "{:?} {run:?}", self.who);
    }
}

fn inside<'a>(who: Who, workspace: &'a Workspace, setup: &'a str) -> Inside<'a> {
    Inside {
        who,
        workspace,
        setup,
        around: &[],
        env: &[],
    }
}

/// Whether it can be tried at all.
fn can() -> bool {
    for program in ["unshare", "setpriv", "python3", "bash"] {
        need(program);
    }
    if !is_root() {
        eprintln!("skipped: only root imitates a container");
    }
    is_root()
}

/// Layers that an account lacks here in any case.
fn without(who: Who) -> &'static [&'static str] {
    match has_cgroups(who) {
        true => &[],
        false => &["--allow-degraded", "cgroup"],
    }
}

const DEGRADED: &[&str] = &["--allow-degraded", "cgroup"];

each!(root_of_a_user_namespace_has_a_jail_as_an_ordinary_user);
/// It has every capability, and none over the host: it is an ordinary user.
fn root_of_a_user_namespace_has_a_jail_as_an_ordinary_user(who: Who) {
    if !can() {
        return;
    }
    let workspace = Workspace::new(who);
    for around in [
        &["unshare", "-Ur"][..],
        &["unshare", "-Urm"],
        &["unshare", "-Urmpf", "--mount-proc"],
    ] {
        let mut inside = inside(who, &workspace, ":");
        inside.around = around;
        inside.works(DEGRADED);
        let doctor = text(&inside.creel(&["doctor"]).stdout);
        assert!(doctor.contains("root of a user namespace"), "{doctor}");
        assert!(!doctor.contains("run creel as root"), "{doctor}");
        assert!(doctor.contains("made and removed"), "{doctor}");
    }
}

/// A container's root with CAP_SYS_ADMIN alone may not bring an interface up; without it, it is an ordinary user.
#[test]
fn a_container_that_was_given_less_than_all_capabilities_has_a_jail() {
    if !can() {
        return;
    }
    let workspace = Workspace::new(Who::Root);
    for bounding in [
        "-net_admin",
        "-sys_admin",
        "-net_admin,-sys_resource,-sys_ptrace",
    ] {
        let mut inside = inside(Who::Root, &workspace, ":");
        let bounding = format!("--bounding-set={bounding}");
        let around = ["setpriv", &bounding];
        inside.around = &around;
        inside.works(DEGRADED);
    }
}

each!(a_chroot_is_named);
/// From a chroot nobody gets a user namespace, clone(2).
fn a_chroot_is_named(who: Who) {
    if !can() {
        return;
    }
    let setup = "mount -t tmpfs none /mnt; mkdir /mnt/root; for d in /*; do \
                 if [ -L $d ]; then cp -a $d /mnt/root; elif [ -d $d ] && [ $d != /mnt ]; then \
                 mkdir /mnt/root$d; mount --rbind $d /mnt/root$d; fi; done; here=$PWD; \
                 exec 3</; cd /mnt/root; set -- \"$@\"";
    let workspace = Workspace::new(who);
    let here = workspace.path().display().to_string();
    let mut inside = inside(who, &workspace, setup);
    // As that account, which may not call chroot(2): root does before.
    let words = format!("cd {here} && exec \"$@\"");
    let (uid, gid, _) = who.account();
    let account = format!("{uid}:{gid}");
    let around = [
        "chroot",
        "--userspec",
        &account,
        "/mnt/root",
        "bash",
        "-c",
        &words,
        "bash",
    ];
    inside.around = &around;
    inside.who = Who::Root;
    inside.refused(DEGRADED, &["this process is in a chroot", "pivot_root(2)"]);
}

#[test]
fn a_state_directory_that_cannot_be_written_is_found_before_a_run() {
    if !can() {
        return;
    }
    let workspace = Workspace::new(Who::Root);
    let read_only = "mount -t tmpfs -o ro none /run";
    let names = ["/run/creel", "--tmpfs /run", "Read-only file system"];
    inside(Who::Root, &workspace, read_only).refused(&[], &names);
    // The advised option works.
    inside(Who::Root, &workspace, "mount -t tmpfs none /run").works(&[]);
}

#[test]
fn cgroups_that_cannot_be_written_are_found_before_a_run() {
    if !can() {
        return;
    }
    let workspace = Workspace::new(Who::Root);
    let setup = "for m in $(cut -d' ' -f5 /proc/self/mountinfo | grep ^/sys/fs/cgroup); do \
                 mount -o remount,bind,ro $m; done";
    let inside = inside(Who::Root, &workspace, setup);
    let names = ["/sys/fs/cgroup", "is read-only", "mount it writable"];
    inside.refused(&[], &names);
    inside.works(DEGRADED);
}

each!(a_masked_proc_is_found_before_a_run);
/// As Docker and Podman mask it. The kernel gives a user namespace no new /proc then.
fn a_masked_proc_is_found_before_a_run(who: Who) {
    if !can() {
        return;
    }
    let workspace = Workspace::new(who);
    for setup in [
        "mount --bind /dev/null /proc/keys",
        "mount --bind /proc/sys /proc/sys; mount -o remount,bind,ro /proc/sys",
        "mount -t tmpfs -o ro none /proc/irq",
    ] {
        for (env, words) in [
            (
                ("container", "podman"),
                "podman run --security-opt unmask=ALL",
            ),
            (("KUBERNETES_SERVICE_HOST", "::1"), "procMount: Unmasked"),
            (("INVOCATION_ID", "7"), "ProtectKernelTunables="),
        ] {
            let mut inside = inside(who, &workspace, setup);
            let env = [env];
            inside.env = &env;
            inside.refused(
                without(who),
                &["a part of /proc around creel is masked", words],
            );
        }
    }
    inside(who, &workspace, ":").works(without(who));
}

/// A call by its number on x86_64, and what a filter answers.
const FILTERS: [(&str, &[&str], &str); 8] = [
    ("clone3, as docker and systemd hide it", &[], "435:38"),
    ("new user namespaces", &["435:38"], "56&0x10000000:1"),
    (
        "new namespaces, as RestrictNamespaces=",
        &["435:38", "272:1"],
        "56&0x7e020000:1",
    ),
    ("mount_setattr", &[], "442:38"),
    ("open_tree", &[], "428:1"),
    ("fsopen", &[], "430:1"),
    ("move_mount", &[], "429:38"),
    ("openat2", &[], "437:38"),
];

each!(a_filter_is_named_in_the_words_of_who_made_it);
fn a_filter_is_named_in_the_words_of_who_made_it(who: Who) {
    if !can() {
        return;
    }
    let workspace = Workspace::new(who);
    for (what, more, last) in FILTERS {
        let rules = [more, &[last]].concat().join(" ");
        let around = ["python3", "-c", FILTER, &rules];
        for (env, words) in [
            (
                ("container", "podman"),
                "podman run --security-opt seccomp=unconfined",
            ),
            (("INVOCATION_ID", "7"), "RestrictNamespaces="),
        ] {
            let mut inside = inside(who, &workspace, ":");
            let env = [env];
            (inside.around, inside.env) = (&around, &env);
            let (doctor, run) = (inside.creel(&["doctor"]), inside.run(without(who)));
            assert_ne!(doctor.status.code(), Some(0), "{what} {who:?}: {doctor:?}");
            assert_eq!(run.status.code(), Some(125), "{what} {who:?}: {run:?}");
            let doctor = text(&doctor.stdout) + &text(&doctor.stderr);
            for said in [doctor, text(&run.stderr)] {
                for part in ["a seccomp filter around creel", words] {
                    assert!(said.contains(part), "{what} {who:?} {part}: {said}");
                }
            }
        }
    }
    let mut inside = inside(who, &workspace, ":");
    let around = ["python3", "-c", FILTER, ""];
    inside.around = &around;
    inside.works(without(who));
}

each!(a_landlock_that_a_filter_hides_is_no_old_kernel);
/// landlock_create_ruleset, where a filter hides it: that layer can be gone without.
fn a_landlock_that_a_filter_hides_is_no_old_kernel(who: Who) {
    if !can() {
        return;
    }
    let workspace = Workspace::new(who);
    let mut inside = inside(who, &workspace, ":");
    let around = ["python3", "-c", FILTER, "444:38"];
    inside.around = &around;
    inside.refused(without(who), &["a seccomp filter around creel", "landlock"]);
    let degraded = [without(who), &["--allow-degraded", "landlock"]].concat();
    inside.works(&degraded);
}

/// Numbers of processes mean others there: root would write to those.
#[test]
fn a_proc_of_another_pid_namespace_is_told_as_one() {
    if !can() {
        return;
    }
    for (option, told) in [("--fork", true), ("--mount-proc", false)] {
        let mut run = std::process::Command::new("unshare");
        run.args(["--pid", "--fork", option]).arg(binary());
        let ran = run.args(["run", "--", "true"]).output().expect("unshare");
        assert_eq!(
            ran.status.code(),
            Some(if told { 125 } else { 0 }),
            "{ran:?}"
        );
        let says = text(&ran.stderr).contains("unshare --mount-proc");
        assert_eq!(says, told, "{ran:?}");
    }
}

each!(a_jail_in_a_jail_is_told_so);
fn a_jail_in_a_jail_is_told_so(who: Who) {
    let workspace = Workspace::new(who);
    let copy = workspace.path().join("creel");
    std::fs::copy(binary(), &copy).expect("copy");
    for policy in ["default", "coding", "python"] {
        for inner in ["./creel doctor", "./creel run -- true"] {
            let flags = ["--policy", policy, "--exec", "."];
            let ran = Run::new(who, &workspace).flags(flags).sh(inner);
            assert_eq!(ran.status, 125, "{policy} {inner}: {ran:?}");
            let told = "creel runs in a jail here";
            assert!(ran.stderr.contains(told), "{policy} {inner}: {ran:?}");
        }
    }
}

/// `docker run --cap-drop ALL`, and a namespace in which nobody is anybody.
#[test]
fn what_capabilities_and_maps_forbid_is_told_as_that() {
    if !can() {
        return;
    }
    let workspace = Workspace::new(Who::Root);
    let mut dropped = inside(Who::Root, &workspace, ":");
    let around = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"];
    dropped.around = &around;
    dropped.refused(DEGRADED, &["CAP_SETFCAP"]);
    // The control: with it there is a jail.
    let around = ["setpriv", "--bounding-set=-sys_admin"];
    dropped.around = &around;
    dropped.works(DEGRADED);
    let workspace = Workspace::new(Who::User);
    let mut bare = inside(Who::User, &workspace, ":");
    let around = ["unshare", "-U"];
    bare.around = &around;
    bare.refused(DEGRADED, &["unshare -r"]);
}

each!(doctor_makes_its_jail_apart_from_the_callers_policies_and_directory);
/// `creel doctor` is about the machine: a policy that cannot be read, or denies everything, and a directory that is
/// gone are the caller's, and hinder a run alone.
fn doctor_makes_its_jail_apart_from_the_callers_policies_and_directory(who: Who) {
    if !can() {
        return;
    }
    let workspace = Workspace::new(who);
    let config = workspace.outside().join("config");
    std::fs::create_dir_all(config.join("creel")).expect("mkdir");
    std::fs::write(config.join("creel/policy.toml"), "broken").expect("write");
    let config = config.display().to_string();
    let operator = [("XDG_CONFIG_HOME", config.as_str())];
    let platform = "mount -t tmpfs none /mnt; mkdir /mnt/u /mnt/w; \
        mount -t overlay none -o lowerdir=/etc,upperdir=/mnt/u,workdir=/mnt/w /etc; \
        mkdir -p /etc/creel; cd .; cat > /etc/creel/policy.toml <<<";
    let broken = format!("{platform} broken");
    let denies = format!("{platform} 'filesystem.deny = [\"/usr/bin\"]'");
    inside(who, &workspace, "true").works(without(who));
    for (setup, env) in [
        ("mkdir .creel; mkfifo .creel/policy.toml", &[][..]),
        ("mkdir .creel; echo broken > .creel/policy.toml", &[]),
        ("true", &operator),
        (&broken, &[]),
        (&denies, &[]),
        ("mkdir gone; cd gone; rmdir ../gone", &[]),
    ] {
        let setup = format!("rm -rf .creel; {setup}");
        let mut inside = inside(who, &workspace, &setup);
        inside.env = env;
        let doctor = text(&inside.creel(&["doctor"]).stdout);
        assert!(doctor.contains("made and removed"), "{setup}: {doctor}");
        let run = inside.run(without(who));
        assert_ne!(run.status.code(), Some(0), "{setup}: {run:?}");
    }
}
