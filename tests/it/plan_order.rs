//! Every plan keeps the order table, whatever is granted on whatever machine: resolved from fixtures,
//! without root and without a kernel.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use creel_plan::host::Idmap;
use creel_plan::order::{self, OrderError};
use creel_plan::questions::ask;
use creel_plan::{
    Act, CgroupLayout, CommandPlan, Fact, Host, IdMode, JailPlan, LandlockRule, MechanismName,
    Namespace, Node, Plan, Request, Rights, Stage, Whose, check_order, resolve,
};
use creel_policy::{Degradable, Sourced, WorkspaceMode, file, preset};
use proptest::prelude::*;

use crate::support::planned;

/// Places that enclose each other in every way that matters.
const PLACES: &[&str] = &[
    "/usr",
    "/usr/local/bin",
    "/opt",
    "/opt/tools/bin",
    "/home/u",
    "/home/u/.cargo/bin",
    "/home/u/project",
    "/home/u/project/vendor",
    "/srv/data",
    "/srv/data/in/deep",
    "/tmp",
    "/tmp/work/a",
    "/var/tmp/build",
    "/etc/hosts",
    "/etc/ssl/certs",
];

fn fact(index: usize, kind: u8) -> Fact {
    let path = PathBuf::from(PLACES[index]);
    match kind {
        0 => Fact::Absent,
        1 => Fact::Denied,
        2 => Fact::Special,
        _ => Fact::Present {
            node: if PLACES[index] == "/etc/hosts" {
                Node::File
            } else {
                Node::Directory
            },
            real: if kind == 3 {
                PathBuf::from(PLACES[(index + 3) % PLACES.len()])
            } else {
                path
            },
            uid: 1000,
            gid: 1000,
            link: kind == 3,
            idmap: if kind == 4 {
                Idmap::Refused
            } else {
                Idmap::Works
            },
        },
    }
}

fn host() -> impl Strategy<Value = Host> {
    let kinds = proptest::collection::vec(0u8..12, PLACES.len());
    (kinds, 0u8..5, any::<bool>(), 0u32..12).prop_map(|(kinds, cgroups, root, abi)| Host {
        kernel: "6.1.0".into(),
        id_mode: if root {
            IdMode::Privileged
        } else {
            IdMode::Rootless
        },
        uid: if root { 0 } else { 1000 },
        gid: if root { 0 } else { 1000 },
        home: Some("/home/u".into()),
        cwd: "/home/u/project".into(),
        landlock_abi: abi,
        cgroups: match cgroups {
            0 => CgroupLayout::V2 {
                parent: "/sys/fs/cgroup/creel".into(),
            },
            1 => CgroupLayout::V1 {
                root: "/sys/fs/cgroup".into(),
                beside: vec!["cpuset".into()],
                unified: None,
            },
            2 => CgroupLayout::V1 {
                root: "/sys/fs/cgroup".into(),
                unified: Some("/sys/fs/cgroup/unified".into()),
                beside: vec![],
            },
            3 => CgroupLayout::OnRequest {
                bus: "unix:path=/run/user/1000/bus".into(),
            },
            _ => CgroupLayout::Unusable {
                why: "a test".into(),
                lacks: Default::default(),
            },
        },
        open_files_ceiling: 1024,
        found: Default::default(),
        paths: kinds
            .iter()
            .enumerate()
            .map(|(index, kind)| (PathBuf::from(PLACES[index]), fact(index, *kind)))
            .collect::<BTreeMap<_, _>>(),
    })
}

/// This machine, with nothing looked up.
fn fixture() -> Host {
    creel_jail::probe::facts().expect("this machine can be looked at")
}

fn list(places: &[usize]) -> String {
    let places: Vec<String> = places
        .iter()
        .map(|place| format!("{{ path = {:?}, optional = true }}", PLACES[*place]))
        .collect();
    places.join(", ")
}

/// Cases that were not refused: a property of nothing would hold too.
static RESOLVED: AtomicUsize = AtomicUsize::new(0);

#[test]
fn every_plan_keeps_the_order() {
    resolve_and_check();
    let resolved = RESOLVED.load(Ordering::Relaxed);
    eprintln!("{resolved} of 2000 cases resolved");
    assert!(resolved >= 200, "{resolved}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..Default::default() })]

    fn resolve_and_check(
        host in host(),
        read in proptest::collection::vec(0..PLACES.len(), 0..5),
        write in proptest::collection::vec(0..PLACES.len(), 0..4),
        exec in proptest::collection::vec(0..PLACES.len(), 0..4),
        deny in proptest::collection::vec(0..PLACES.len(), 0..4),
        workspace in proptest::sample::select(vec![0usize, 6, 7, 8, 9, 11, 12]),
        degraded in proptest::bool::weighted(0.9),
    ) {
        let text = format!(
            "[filesystem]\nread = [{}]\nwrite = [{}]\nexec = [{}]\ndeny = [{}]\n",
            list(&read), list(&write), list(&exec), list(&deny),
        );
        let limits = preset::limits().expect("the default parses");
        let request = Request {
            command: vec!["true".into()],
            workspace: Some(PLACES[workspace].into()),
            ..Default::default()
        };
        let mut host = host;
        let roots = planned::roots(&request, &host);
        let mut policy = file::parse("a test", &text, &limits, &roots).expect("the policy parses");
        if degraded {
            policy.allow_degraded = Degradable::ALL.into();
        }
        planned::fill(&policy, &request, &mut host);
        // A plan that cannot be made is refused; every other plan is in order.
        if let Ok(plan) = resolve(&policy, &request, &host) {
            check_order(&plan).map_err(|e| TestCaseError::fail(format!("{e}\n{}", plan.to_text())))?;
            RESOLVED.fetch_add(1, Ordering::Relaxed);
            let alone = plan.acts().any(|act| match act {
                Act::Namespaces { which } => {
                    which.contains(&Namespace::User) && which.contains(&Namespace::Net)
                }
                _ => false,
            });
            prop_assert!(alone, "namespaces of its own");
            prop_assert_eq!(plan.digest(), resolve(&policy, &request, &host).expect("again").digest());
            prop_assert_eq!(&reread(&plan), &plan);
            prop_assert_eq!(&reread(&plan.jail), &plan.jail);
            prop_assert_eq!(&reread(&plan.command), &plan.command);
        }
    }
}

/// Written as JSON and read back.
fn reread<T: serde::Serialize + serde::de::DeserializeOwned>(plan: &T) -> T {
    let text = serde_json::to_string(plan).expect("it is written");
    serde_json::from_str(&text).expect("it is read")
}

#[test]
fn the_table_names_every_stage_once_in_order() {
    let stages: Vec<Stage> = order::ORDER.iter().map(|(stage, _)| *stage).collect();
    let mut sorted = stages.clone();
    sorted.sort();
    sorted.dedup();
    assert_eq!(stages, sorted);
    assert!(order::ORDER.iter().all(|(_, reason)| reason.len() > 10));
}

/// A plan of a privileged jail, or of one that has the caller's ids, on this machine.
fn sample(id_mode: IdMode) -> Plan {
    let mut host = Host {
        id_mode,
        ..fixture()
    };
    host.paths.insert("/usr".into(), tree("/usr"));
    let request = Request {
        command: vec!["true".into()],
        ..Default::default()
    };
    let roots = planned::roots(&request, &host);
    let mode = WorkspaceMode::None;
    let mut policy = preset::default_in(&roots, Some(mode)).expect("the default parses");
    policy.filesystem.workspace = Some(Sourced::creel(mode));
    policy.allow_degraded = Degradable::ALL.into();
    planned::fill(&policy, &request, &mut host);
    resolve(&policy, &request, &host).expect("a plan")
}

/// The control: the checks see a plan that is out of order, whichever of its lists is.
#[test]
fn a_plan_out_of_order_is_found() {
    let plan = sample(IdMode::Privileged);
    check_order(&plan).expect("in order");
    type List = fn(&mut Plan) -> &mut Vec<Act>;
    let lists: [(List, &str, &str); 4] = [
        (|plan| &mut plan.jail.build, "Pivot", "Proc"),
        (|plan| &mut plan.jail.confine, "Become", "Capabilities"),
        (|plan| &mut plan.jail.confine, "Landlock", "Seccomp"),
        (|plan| &mut plan.command.acts, "Workdir", "Exec"),
    ];
    for (list, first, second) in lists {
        let mut wrong = plan.clone();
        let acts = list(&mut wrong);
        let place = |wanted: &str| {
            acts.iter()
                .position(|act| format!("{act:?}").starts_with(wanted))
        };
        let (one, other) = (place(first), place(second));
        acts.swap(one.expect(first), other.expect(second));
        let late = check_order(&wrong);
        assert!(
            matches!(late, Err(OrderError::Late { .. })),
            "{first}, {second}: {late:?}"
        );
    }
}

/// A layer of every command in the list of one, or a command's own act in the jail's, would be left out where
/// the other list alone is used.
#[test]
fn an_act_in_the_list_of_another_is_found() {
    let plan = sample(IdMode::Privileged);
    let last = |acts: &mut Vec<Act>| acts.pop().expect("an act");
    let mut wrong = plan.clone();
    let filter = last(&mut wrong.jail.confine);
    assert_eq!(
        check_order(&wrong),
        Err(OrderError::Unfinished(Stage::Seccomp))
    );
    wrong.command.acts.insert(0, filter);
    let elsewhere = |act| OrderError::Elsewhere { at: 0, act };
    assert_eq!(check_order(&wrong), Err(elsewhere(Stage::Seccomp)));
    let mut wrong = plan.clone();
    let keyring = wrong.jail.confine.remove(0);
    let at = wrong.jail.build.len();
    wrong.jail.build.push(keyring);
    let act = Stage::Keyring;
    assert_eq!(check_order(&wrong), Err(OrderError::Elsewhere { at, act }));
    let mut wrong = plan.clone();
    let exec = last(&mut wrong.command.acts);
    assert_eq!(
        check_order(&wrong),
        Err(OrderError::Unfinished(Stage::Exec))
    );
    wrong.jail.confine.insert(0, exec);
    assert_eq!(check_order(&wrong), Err(elsewhere(Stage::Exec)));
}

/// A command that came from elsewhere enters a jail under every layer of that jail, and brings none.
#[test]
fn a_second_command_enters_the_jail_of_the_first() {
    let stages = |jail: &JailPlan, command: &CommandPlan| -> Vec<Stage> {
        order::check_command(jail, command).expect("in order");
        jail.entry(command).map(Act::stage).collect()
    };
    let (root, user) = (sample(IdMode::Privileged), sample(IdMode::Rootless));
    let whole = stages(&root.jail, &root.command);
    let first: Vec<Stage> = root.jail.build.iter().map(Act::stage).collect();
    let all: Vec<Stage> = root.acts().map(Act::stage).collect();
    assert_eq!([first, whole.clone()].concat(), all);
    assert!(
        root.command
            .acts
            .iter()
            .all(|act| act.whose() == Whose::Command)
    );
    let become_user = |stages: &[Stage]| stages.contains(&Stage::Become);
    assert!(become_user(&whole) && !become_user(&stages(&user.jail, &root.command)));
    // Only the limit of processes depends on the machine.
    assert_eq!(stages(&root.jail, &reread(&root.command)), whole);
}

/// Bytes that are not UTF-8 are written and read too, and the digest tells them apart.
#[test]
fn bytes_that_are_no_text_survive() {
    use std::os::unix::ffi::OsStringExt;
    let digest = |byte: u8| {
        let mut plan = sample(IdMode::Rootless);
        let odd = vec![b'a', byte];
        let path = PathBuf::from(std::ffi::OsString::from_vec([b"/", &*odd].concat()));
        plan.command.argv.push(odd.clone());
        plan.command.environment.insert(odd.clone(), odd);
        plan.command.workdir = path.clone();
        plan.jail.watch.disks.push(path.clone());
        let acts = &mut plan.jail.build;
        let pivot = acts.iter().position(|act| *act == Act::Pivot);
        acts.insert(pivot.expect("a pivot"), Act::ReadOnly { path });
        assert_eq!(reread(&plan).command, plan.command);
        assert_eq!(reread(&plan).jail.watch, plan.jail.watch);
        plan.digest()
    };
    let digests = [digest(0xe9), digest(0xea), digest(b'b')];
    let nothing = creel_policy::digest(b"");
    assert!(digests.iter().all(|one| *one != nothing), "{digests:?}");
    assert!(digests[0] != digests[1] && digests[1] != digests[2]);
    // Control.
    assert_eq!(digest(0xe9), digests[0]);
}

/// Old kernels and ones that are yet to come: what is in force of Landlock, and what the receipt says.
#[test]
fn every_landlock_abi_is_used_up_to_the_newest_that_is_known() {
    let mut first: Option<Vec<LandlockRule>> = None;
    for (has, uses, says) in [
        (
            5,
            5,
            "ABI 5; the kernel cannot restrict scopes for signals and abstract sockets, \
             connections to socket files",
        ),
        (
            7,
            7,
            "ABI 7; the kernel cannot restrict connections to socket files",
        ),
        (
            8,
            8,
            "ABI 8; the kernel cannot restrict connections to socket files",
        ),
        (9, 9, "ABI 9"),
        (10, 10, "ABI 10"),
        (11, 10, "ABI 10"),
    ] {
        let mut host = fixture();
        host.landlock_abi = has;
        let request = Request {
            command: vec!["true".into()],
            ..Default::default()
        };
        let roots = planned::roots(&request, &host);
        let mode = WorkspaceMode::None;
        let mut policy = preset::default_in(&roots, Some(mode)).expect("the default parses");
        policy.filesystem.workspace = Some(Sourced::creel(mode));
        policy.allow_degraded.insert(Degradable::Cgroup);
        let looked = ask(&policy, &request, &mut host, |want, host| {
            let fact = match want.path.to_str() {
                Some("/usr") => tree("/usr"),
                _ => Fact::Absent,
            };
            host.paths.insert(want.path, fact);
            Ok::<_, std::convert::Infallible>(())
        });
        looked.expect("answers");
        let plan = resolve(&policy, &request, &host).expect("a plan");
        let acts = plan.acts().find_map(|act| match act {
            Act::Landlock { abi, rules } => Some((*abi, rules.clone())),
            _ => None,
        });
        let (abi, rules) = acts.expect("a ruleset");
        assert_eq!(abi, uses);
        let layer = plan
            .layers
            .iter()
            .find(|l| l.name == MechanismName::Landlock);
        assert_eq!(layer.map(|l| l.detail.as_str()), Some(says), "ABI {has}");
        let named = |rule: &LandlockRule| rule.rights == Rights::Connect;
        assert!(!rules.iter().any(named), "nobody named a socket");
        // The kernel decides more with the same rules.
        assert_eq!(first.get_or_insert_with(|| rules.clone()), &rules);
    }
}

fn tree(path: &str) -> Fact {
    Fact::Present {
        real: path.into(),
        node: Node::Directory,
        uid: 0,
        gid: 0,
        link: false,
        idmap: Idmap::Unasked,
    }
}

/// A plan that was read is enforced as it stands, so a list that no plan has is refused.
#[test]
fn a_plan_is_read_only_in_its_order_and_whole() {
    let plan = sample(IdMode::Privileged);
    let json = serde_json::to_value(&plan).expect("it is written");
    let read = |json: &serde_json::Value| serde_json::from_value::<Plan>(json.clone());
    assert_eq!(read(&json).expect("the control"), plan);
    let acts = |json: &serde_json::Value| json["acts"].as_array().expect("acts").clone();
    let at = |name: &str| {
        let named = |act: &serde_json::Value| act["act"] == name;
        acts(&json).iter().position(named).expect(name)
    };
    for name in ["seccomp", "exec"] {
        let mut without = json.clone();
        without["acts"]
            .as_array_mut()
            .expect("acts")
            .remove(at(name));
        let error = read(&without).expect_err(name).to_string();
        assert!(error.contains("does not end with"), "{error}");
    }
    for (one, other) in [
        ("pivot", "root"),
        ("landlock", "become"),
        ("seccomp", "capabilities"),
    ] {
        let mut turned = json.clone();
        let list = turned["acts"].as_array_mut().expect("acts");
        list.swap(at(one), at(other));
        let error = read(&turned).expect_err(one).to_string();
        assert!(error.contains("comes after"), "{one} {other}: {error}");
    }
    let bind = at("bind");
    let mut misspelt = json.clone();
    misspelt["acts"][bind]["witout"] = serde_json::json!(["/etc"]);
    let error = read(&misspelt)
        .expect_err("a field that no act has")
        .to_string();
    assert!(error.contains("witout"), "{error}");
    let mut more = json.clone();
    more["watch"]["timeuot"] = 1.into();
    let error = read(&more)
        .expect_err("a limit that no plan has")
        .to_string();
    assert!(error.contains("timeuot"), "{error}");
}
