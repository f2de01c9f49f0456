//! Places where the jail's own authority is trusted: each place of the host's certificates that the jail sees,
//! by its real name, and none besides. From fixtures, without root and without a kernel.

use std::path::{Path, PathBuf};

use creel_plan::host::Idmap;
use creel_plan::{Act, Fact, Host, Node, Plan, Request, check_order, resolve};
use creel_policy::{file, preset};

use crate::support::planned;

const FORWARDED: &str = "allow = [\"a.example\"]";
const ENDED: &str = "allow = [{ host = \"a.example\", tls = \"terminate\" }]";

/// Places of a machine: a name, where it leads, what is there.
type DenySet = [(&'static str, &'static str, Node)];

const DEBIAN: &DenySet = &[
    ("/etc/ssl/certs", "/etc/ssl/certs", Node::Directory),
    (
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/ssl/certs/ca-certificates.crt",
        Node::File,
    ),
    (
        "/etc/ssl/certs/java",
        "/etc/ssl/certs/java",
        Node::Directory,
    ),
    (
        "/etc/ssl/certs/java/cacerts",
        "/etc/ssl/certs/java/cacerts",
        Node::File,
    ),
];
const PEM: &str = "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem";
/// All names lead to two files, and the first name's directory is not granted.
const FEDORA: &DenySet = &[
    ("/etc/pki", "/etc/pki", Node::Directory),
    ("/etc/ssl/certs/ca-certificates.crt", PEM, Node::File),
    ("/etc/pki/tls/certs/ca-bundle.crt", PEM, Node::File),
    ("/etc/ssl/cert.pem", PEM, Node::File),
    (
        "/etc/pki/java/cacerts",
        "/etc/pki/ca-trust/extracted/java/cacerts",
        Node::File,
    ),
];

fn plan(places: &DenySet, filesystem: &str, network: &str) -> Plan {
    let mut host: Host = creel_jail::probe::facts().expect("this machine can be looked at");
    host.cwd = "/srv/work".into();
    let own = [("/srv/work", "/srv/work", Node::Directory)];
    for (name, real, node) in own.iter().chain(places) {
        let fact = Fact::Present {
            real: PathBuf::from(real),
            node: *node,
            uid: 0,
            gid: 0,
            link: false,
            idmap: Idmap::Works,
        };
        host.paths.insert(PathBuf::from(name), fact);
    }
    let text = format!("[filesystem]\n{filesystem}\n[network]\nmode = \"allowlist\"\n{network}\n");
    let limits = preset::limits().expect("the default parses");
    let request = Request {
        command: vec!["true".into()],
        ..Default::default()
    };
    let roots = planned::roots(&request, &host);
    let mut policy = file::parse("a test", &text, &limits, &roots).expect("the policy parses");
    policy.allow_degraded = creel_policy::Degradable::ALL.into();
    planned::fill(&policy, &request, &mut host);
    let plan = resolve(&policy, &request, &host).expect("a plan");
    check_order(&plan).expect("in order");
    plan
}

fn covered(plan: &Plan) -> Vec<(&Path, &Path)> {
    let places = plan.acts().filter_map(|act| match act {
        Act::Trust { path, by } => Some((path.as_path(), by.as_path())),
        _ => None,
    });
    places.collect()
}

#[test]
fn each_place_is_covered_once_by_its_real_name() {
    let bundle = Path::new("/etc/creel-ca-bundle.pem");
    let store = Path::new("/etc/creel-ca.jks");
    let debian = plan(DEBIAN, "read = [\"/etc/ssl/certs\"]", ENDED);
    assert_eq!(
        covered(&debian),
        [
            (Path::new("/etc/ssl/certs/ca-certificates.crt"), bundle),
            (Path::new("/etc/ssl/certs/java/cacerts"), store),
        ]
    );
    let fedora = plan(FEDORA, "read = [\"/etc/pki\"]", ENDED);
    assert_eq!(
        covered(&fedora),
        [
            (Path::new("/etc/pki/ca-trust/extracted/java/cacerts"), store),
            (Path::new(PEM), bundle),
        ]
    );
}

#[test]
fn what_the_jail_does_not_see_is_not_covered() {
    let read = "read = [\"/etc/ssl/certs\"]";
    assert!(covered(&plan(DEBIAN, read, FORWARDED)).is_empty());
    assert!(covered(&plan(DEBIAN, "", ENDED)).is_empty());
    assert!(covered(&plan(FEDORA, "", ENDED)).is_empty());
    let denied = format!("{read}\ndeny = [\"/etc/ssl/certs/java\"]");
    let denied = plan(DEBIAN, &denied, ENDED);
    let bundle = Path::new("/etc/ssl/certs/ca-certificates.crt");
    assert!(matches!(covered(&denied).as_slice(), [(path, _)] if *path == bundle));
}
