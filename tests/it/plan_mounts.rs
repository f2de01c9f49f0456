//! Mounts without idmapped mounts in granted trees: who is refused, and what the plan does with one. From fixtures.

use std::path::{Path, PathBuf};

use creel_plan::host::{Idmap, Unmapped};
use creel_plan::{
    Act, Fact, Host, IdMode, Ids, MechanismName, Node, Owner, Plan, Request, ResolveError,
    check_order, resolve,
};
use creel_policy::{
    Absent, Degradable, Origin, Policy, Roots, Sourced, WorkspaceMode, file, preset,
};

use crate::support::planned;

/// A machine with an overlay in the workspace, a tmpfs in that, and a file of FUSE's.
fn plan(
    idmap: Idmap,
    flags: impl Fn(&mut Policy, &mut Request),
    policy: &str,
) -> Result<Plan, ResolveError> {
    let mut host: Host = creel_jail::probe::facts().expect("this machine can be looked at");
    host.id_mode = IdMode::Privileged;
    (host.uid, host.gid) = (0, 0);
    host.cwd = "/srv/work".into();
    for path in [
        "/srv/work",
        "/srv/work/ov",
        "/srv/work/ov/sub",
        "/srv/other",
    ] {
        let fact = Fact::Present {
            real: path.into(),
            node: Node::Directory,
            uid: 1000,
            gid: 1000,
            link: false,
            idmap,
        };
        host.paths.insert(path.into(), fact);
    }
    for (place, kind, node) in [
        ("/srv/work/a-file", "fuse", Node::File),
        ("/srv/work/ov", "overlay", Node::Directory),
        ("/srv/work/ov/sub/more", "fuse", Node::Directory),
    ] {
        let kind = kind.into();
        host.found
            .unmapped
            .insert(place.into(), Unmapped { kind, node });
    }
    let limits = preset::limits().expect("the default parses");
    let mut request = Request {
        command: vec!["true".into()],
        ..Default::default()
    };
    let parse = |request: &Request| {
        let roots = planned::roots(request, &host);
        file::parse("a test", policy, &limits, &roots).expect("the policy parses")
    };
    // The flags may name another workspace.
    flags(&mut parse(&request), &mut request);
    let mut policy = parse(&request);
    policy.allow_degraded = [Degradable::Cgroup, Degradable::Landlock].into();
    flags(&mut policy, &mut request);
    planned::fill(&policy, &request, &mut host);
    let plan = resolve(&policy, &request, &host)?;
    check_order(&plan).expect("in order");
    Ok(plan)
}

fn mode(policy: &mut Policy, mode: WorkspaceMode) {
    policy.filesystem.workspace = Some(Sourced::new(mode, Origin::flag("--workspace")));
}

/// Each bind in the workspace: place, writable or not, owner, and excluded paths.
fn binds(plan: &Plan) -> Vec<(&Path, bool, bool, Vec<&Path>)> {
    let binds = plan.acts().filter_map(|act| match act {
        Act::Bind {
            target,
            access,
            owner,
            without,
            ..
        } if target.starts_with("/srv") => Some((
            target.as_path(),
            access.write,
            *owner != Owner::Host,
            without.iter().map(PathBuf::as_path).collect(),
        )),
        _ => None,
    });
    binds.collect()
}

fn idmap_layer(plan: &Plan) -> (bool, &str) {
    let mut layers = plan.layers.iter();
    let layer = layers
        .find(|layer| layer.name == MechanismName::Idmap)
        .expect("the layer");
    (layer.in_force, &layer.detail)
}

const WORK: &str = "/srv/work";
const OVERLAY: &str = "/srv/work/ov";
const FILE: &str = "/srv/work/a-file";

#[test]
fn a_writable_one_needs_the_callers_word() {
    let refused = plan(Idmap::Works, |_, _| {}, "").expect_err("refused");
    assert!(
        matches!(&refused, ResolveError::NoIdmapBelow { mount, kind, tree, .. }
            if mount == Path::new(FILE) && kind == "fuse" && tree == Path::new(WORK)),
        "{refused}"
    );
    let degraded = |policy: &mut Policy, _: &mut Request| {
        policy.allow_degraded.insert(Degradable::Idmap);
    };
    let plan = plan(Idmap::Works, degraded, "").expect("a plan");
    let (work, file, overlay) = (Path::new(WORK), Path::new(FILE), Path::new(OVERLAY));
    // Mounts in the overlay come with it.
    assert_eq!(
        binds(&plan),
        [
            (work, true, true, vec![file, overlay]),
            (file, false, false, vec![]),
            (overlay, false, false, vec![]),
        ]
    );
    assert!(plan.has(&Act::MapIds(Ids::Range { count: 65_536 })));
    let (in_force, detail) = idmap_layer(&plan);
    assert!(
        !in_force && detail.contains("/srv/work/ov (overlay)"),
        "{detail}"
    );
}

#[test]
fn read_only_it_is_bound_by_itself_and_nothing_is_missing() {
    let reads = |policy: &mut Policy, _: &mut Request| mode(policy, WorkspaceMode::ReadOnly);
    let plan = plan(Idmap::Works, reads, "").expect("a plan");
    let writable: Vec<bool> = binds(&plan).iter().map(|bind| bind.1).collect();
    assert_eq!(writable, [false, false, false]);
    assert_eq!(binds(&plan)[0].3, [Path::new(FILE), Path::new(OVERLAY)]);
    let (in_force, detail) = idmap_layer(&plan);
    assert!(
        in_force && detail.contains("with the host's owners"),
        "{detail}"
    );
}

#[test]
fn what_is_granted_to_be_read_or_denied_is_not_writable() {
    let text = "[filesystem]\nread = [\"/srv/work/ov\"]\ndeny = [\"/srv/work/a-file\"]\n";
    let fact = |policy: &mut Policy, _: &mut Request| mode(policy, WorkspaceMode::ReadWrite);
    // The fixture has no such file to deny: the mount is the reason.
    let refused = plan(Idmap::Works, fact, &text.replace("a-file", "ov/sub"));
    assert!(
        matches!(refused, Err(ResolveError::NoIdmapBelow { .. })),
        "{refused:?}"
    );
    let both = "[filesystem]\nread = [\"/srv/work/ov\"]\n";
    let other = |policy: &mut Policy, request: &mut Request| {
        request.workspace = Some("/srv/other".into());
        mode(policy, WorkspaceMode::None);
        let flag = Origin::flag("--write");
        let rule = Roots::symbolic().rule(OVERLAY, Absent::Refuse, flag);
        policy.filesystem.write = vec![rule];
    };
    // Named itself, the overlay is a tree like any other: the fixture says that it can be mapped.
    let refused = plan(Idmap::Works, other, both);
    assert!(
        matches!(refused, Err(ResolveError::NoIdmapBelow { .. })),
        "sub/more is not: {refused:?}"
    );
}

/// If the tree itself cannot be mapped, nothing is, and nothing is taken apart.
#[test]
fn a_jail_with_the_owners_own_id_sees_the_tree_whole() {
    let degraded = |policy: &mut Policy, _: &mut Request| {
        policy.allow_degraded.insert(Degradable::Idmap);
    };
    let shared = plan(Idmap::Refused, degraded, "").expect("a plan");
    assert_eq!(binds(&shared), [(Path::new(WORK), true, false, vec![])]);
    let elsewhere = |_: &mut Policy, request: &mut Request| {
        request.workspace = Some("/srv/other".into());
    };
    let apart = plan(Idmap::Works, elsewhere, "").expect("a plan");
    assert_eq!(
        binds(&apart),
        [(Path::new("/srv/other"), true, true, vec![])]
    );
}
