//! A policy that was put in its place is in force or the run is refused: never passed over.

use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use crate::support::{Run, Who, Workspace};

const NARROW: &str =
    "extends = \"default\"\nallow_degraded = [\"cgroup\"]\n[filesystem]\nworkspace = \"ro\"\n";
const NARROW_JSON: &str =
    r#"{"extends": "default", "allow_degraded": ["cgroup"], "filesystem": {"workspace": "ro"}}"#;

/// An operator's directory, and a run that writes to the workspace.
struct Place {
    who: Who,
    workspace: Workspace,
    config: PathBuf,
}

impl Place {
    fn new(who: Who) -> Place {
        let workspace = Workspace::new(who);
        let config = workspace.outside().join("config");
        std::fs::create_dir(&config).expect("mkdir");
        std::fs::create_dir(config.join("creel")).expect("mkdir");
        Place {
            who,
            workspace,
            config,
        }
    }

    fn dir(&self) -> PathBuf {
        self.config.join("creel")
    }

    fn own(&self, path: &Path) {
        let (uid, gid, _) = self.who.account();
        chown(path, Some(uid), Some(gid)).expect("chown");
    }

    /// Result of the write: `None`, it was done.
    fn refusal(&self) -> Option<String> {
        let run = Run::new(self.who, &self.workspace).outer_env("XDG_CONFIG_HOME", &self.config);
        let ran = run.sh("echo x >victim && echo WROTE");
        (ran.stdout != "WROTE\n").then_some(ran.stderr)
    }

    #[track_caller]
    fn refused(&self, why: &str) {
        let refusal = self.refusal().expect("a refusal");
        assert!(refusal.contains(why), "{why}: {refusal}");
    }
}

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("chmod");
}

each!(every_extension_of_a_format_is_read);
fn every_extension_of_a_format_is_read(who: Who) {
    for name in ["toml", "json", "json5", "jsonc"] {
        let place = Place::new(who);
        let text = if name == "toml" { NARROW } else { NARROW_JSON };
        std::fs::write(place.dir().join(format!("policy.{name}")), text).expect("write");
        place.refused("Read-only file system");
    }
    // The control.
    assert_eq!(Place::new(who).refusal(), None);
}

#[test]
fn a_file_that_may_have_been_meant_is_not_passed_over() {
    for name in [
        "policy.YAML",
        "policy.TOML",
        "policy.Toml",
        "policy.conf",
        "policy.tml",
        "policy.",
        "policy",
        "Policy.toml",
    ] {
        let place = Place::new(Who::Root);
        std::fs::write(place.dir().join(name), NARROW).expect("write");
        place.refused("does not have the name of a policy file; rename it to policy.toml");
    }
    // The control: what is left beside a policy by others.
    let place = Place::new(Who::Root);
    for name in [
        "policy.toml~",
        "policy.toml.bak",
        "policy.toml.dpkg-old",
        "policy.md",
        ".policy.toml.swp",
        "policies.toml",
        "readme",
    ] {
        std::fs::write(place.dir().join(name), NARROW).expect("write");
    }
    assert_eq!(place.refusal(), None);
}

each!(a_place_that_cannot_be_looked_at_refuses_the_run);
fn a_place_that_cannot_be_looked_at_refuses_the_run(who: Who) {
    let with_policy = |who| {
        let place = Place::new(who);
        std::fs::write(place.dir().join("policy.toml"), NARROW).expect("write");
        place
    };
    // For whom modes count; root's own is read.
    for bits in [0o700, 0o744, 0o000] {
        let place = with_policy(Who::User);
        mode(&place.dir(), bits);
        place.refused("may have a policy and cannot be read");
        let place = with_policy(Who::User);
        mode(&place.config, bits);
        place.refused("may have a policy and cannot be read");
    }
    let replaced = |act: &dyn Fn(&Place)| {
        let place = Place::new(who);
        std::fs::remove_dir(place.dir()).expect("rmdir");
        act(&place);
        place
    };
    let dir = |place: &Place| place.dir();
    let dangling = replaced(&|place| symlink("nowhere", dir(place)).expect("symlink"));
    dangling.refused("may have a policy and cannot be read");
    let around = replaced(&|place| symlink("creel", dir(place)).expect("symlink"));
    around.refused("may have a policy and cannot be read");
    let file = replaced(&|place| std::fs::write(dir(place), NARROW).expect("write"));
    file.refused("may have a policy and cannot be read");
    // A policy that is none.
    let place = Place::new(who);
    symlink("nowhere", place.dir().join("policy.toml")).expect("symlink");
    place.refused("may have a policy and cannot be read");
    let place = Place::new(who);
    let pipe = place.dir().join("policy.toml");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        0o644.into(),
        0,
    )
    .expect("mkfifo");
    place.own(&pipe);
    place.refused("is not a file");
    // The controls: a link that leads to one is followed, and where there is no directory there is nothing.
    let linked = replaced(&|place| {
        let real = place.config.join("real");
        std::fs::create_dir(&real).expect("mkdir");
        std::fs::write(real.join("policy.toml"), NARROW).expect("write");
        symlink("real", dir(place)).expect("symlink");
    });
    linked.refused("Read-only file system");
    assert_eq!(replaced(&|_| ()).refusal(), None);
    // Another run holds the name by a socket.
    let held = replaced(&|place| drop(std::os::unix::net::UnixListener::bind(dir(place))));
    assert_eq!(held.refusal(), None);
    let mut nothing = Place::new(who);
    nothing.config = "/dev/null".into();
    assert_eq!(nothing.refusal(), None);
}

/// A project's policy only narrows, and is held to be there as much.
#[test]
fn a_projects_place_that_cannot_be_looked_at_refuses_the_run() {
    let place = Place::new(Who::User);
    let path = place.workspace.path().join(".creel");
    std::fs::create_dir(&path).expect("mkdir");
    std::fs::write(path.join("policy.jsonc"), NARROW_JSON).expect("write");
    place.refused("Read-only file system");
    mode(&path, 0o700);
    place.refused("may have a policy and cannot be read");
    std::fs::remove_dir_all(&path).expect("rm");
    std::fs::write(&path, "").expect("write");
    place.refused("may have a policy and cannot be read");
    std::fs::remove_file(&path).expect("rm");
    // The control.
    assert_eq!(place.refusal(), None);
}

/// Requests of a checkout do not delay a start.
#[test]
fn a_projects_policy_names_a_bounded_number_of_paths() {
    let place = Place::new(Who::User);
    let path = place.workspace.path().join(".creel");
    std::fs::create_dir(&path).expect("mkdir");
    let policy = |count: usize| {
        let names: Vec<String> = (0..count).map(|n| format!("\"$WORKSPACE/x{n}\"")).collect();
        let text = format!("[filesystem]\ndeny = [{}]\n", names.join(", "));
        std::fs::write(path.join("policy.toml"), text).expect("write");
    };
    policy(1025);
    place.refused("names 1025 paths, and a project's policy may name 1024");
    // The control.
    policy(1024);
    assert_eq!(place.refusal(), None);
}
