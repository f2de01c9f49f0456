//! Every plan keeps the order table, whatever is granted on whatever machine: resolved from fixtures,
//! without root and without a kernel.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use creel_plan::host::Idmap;
use creel_plan::questions::ask;
use creel_plan::{
    Act, CgroupLayout, Fact, Host, IdMode, Namespace, Node, Request, Stage, check_order, order,
    resolve,
};
use creel_plan::{LandlockRule, LayerName, Rights};
use creel_policy::{Degradable, file, preset};
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
        let limits = preset::default().expect("the default parses").limits;
        let policy = file::parse("a test", &text, &limits).expect("the policy parses");
        let request = Request {
            command: vec!["true".into()],
            workspace: Some(PLACES[workspace].into()),
            allow_degraded: if degraded { Degradable::ALL.to_vec() } else { vec![] },
            ..Default::default()
        };
        let mut host = host;
        planned::fill(&policy, &request, &mut host);
        // What cannot be had is refused; what is not refused is in order.
        if let Ok(plan) = resolve(&policy, &request, &host) {
            check_order(&plan).map_err(|e| TestCaseError::fail(format!("{e}\n{}", plan.to_text())))?;
            RESOLVED.fetch_add(1, Ordering::Relaxed);
            let alone = plan.acts.iter().any(|act| match act {
                Act::Namespaces { which } => {
                    which.contains(&Namespace::User) && which.contains(&Namespace::Net)
                }
                _ => false,
            });
            prop_assert!(alone, "namespaces of its own");
            prop_assert_eq!(plan.digest(), resolve(&policy, &request, &host).expect("again").digest());
        }
    }
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

/// The control: the check sees a plan that is out of order.
#[test]
fn a_plan_out_of_order_is_found() {
    let policy = preset::default().expect("the default parses");
    let mut host = fixture();
    host.paths.insert("/usr".into(), tree("/usr"));
    let request = Request {
        command: vec!["true".into()],
        workspace_mode: Some(creel_policy::WorkspaceMode::None),
        allow_degraded: Degradable::ALL.to_vec(),
        ..Default::default()
    };
    planned::fill(&policy, &request, &mut host);
    let plan = resolve(&policy, &request, &host).expect("a plan");
    check_order(&plan).expect("in order");
    for (first, second) in [
        ("Seccomp", "Exec"),
        ("Become", "Capabilities"),
        ("Pivot", "Proc"),
    ] {
        let name = |act: &Act| {
            format!("{act:?}")
                .split([' ', '{', '('])
                .next()
                .unwrap_or("")
                .to_owned()
        };
        let place = |wanted: &str| plan.acts.iter().position(|act| name(act) == wanted);
        let (Some(a), Some(b)) = (place(first), place(second)) else {
            // An ordinary user's plan becomes nobody else.
            assert_eq!(first, "Become");
            continue;
        };
        let mut wrong = plan.clone();
        wrong.acts.swap(a, b);
        assert!(check_order(&wrong).is_err(), "{first} and {second}");
    }
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
        let policy = preset::default().expect("the default parses");
        let request = Request {
            command: vec!["true".into()],
            workspace_mode: Some(creel_policy::WorkspaceMode::None),
            allow_degraded: vec![Degradable::Cgroup],
            ..Default::default()
        };
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
        let acts = plan.acts.iter().find_map(|act| match act {
            Act::Landlock { abi, rules } => Some((*abi, rules.clone())),
            _ => None,
        });
        let (abi, rules) = acts.expect("a ruleset");
        assert_eq!(abi, uses);
        let layer = plan.layers.iter().find(|l| l.name == LayerName::Landlock);
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
