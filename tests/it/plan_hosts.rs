//! One policy on six machines that are not there: the plan of each, as a file that a reviewer can read
//! (`tests/it/plans/`, written anew with `CREEL_WRITE=1`). Of all but the first the file has the differences
//! from it: what a machine takes away is a short list.

use creel_plan::host::{Idmap, Lacks};
use creel_plan::{Act, CgroupLayout, Fact, Host, IdMode, Node, Plan, Request, resolve};
use creel_policy::{Absent, Degradable, Origin, file, preset};

use crate::golden::hold;
use crate::support::planned;

/// A grant of every kind, denials, what is protected, a way out, limits.
const POLICY: &str = r#"
[filesystem]
workspace = "rw"
exec = ["/usr"]
read = ["/etc/hosts", { path = "/etc/absent", optional = true }]
write = ["/srv/cache"]
deny = ["$WORKSPACE/secrets", "$WORKSPACE/.env"]
protect = ["$WORKSPACE/.git/config", "$WORKSPACE/.claude"]

[network]
mode = "allowlist"
allow = ["api.example:443"]

[limits]
memory = "1GiB"
pids = 100
"#;

fn present(path: &str, node: Node, uid: u32) -> (std::path::PathBuf, Fact) {
    let fact = Fact::Present {
        node,
        real: path.into(),
        uid,
        gid: uid,
        link: false,
        idmap: Idmap::Works,
    };
    (path.into(), fact)
}

/// Root of a new machine with one v2 hierarchy.
fn root_v2() -> Host {
    let directories = ["/home/u", "/home/u/project", "/home/u/project/secrets"];
    let mut paths: Vec<_> = directories
        .iter()
        .map(|path| present(path, Node::Directory, 1000))
        .collect();
    paths.extend([
        present("/usr", Node::Directory, 0),
        present("/etc/hosts", Node::File, 0),
        present("/srv/cache", Node::Directory, 1000),
        present("/home/u/project/.env", Node::File, 1000),
        present("/home/u/project/.git", Node::Directory, 1000),
        present("/home/u/project/.git/config", Node::File, 1000),
    ]);
    Host {
        kernel: "6.18.0".into(),
        id_mode: IdMode::Privileged,
        uid: 0,
        gid: 0,
        home: Some("/root".into()),
        cwd: "/home/u/project".into(),
        landlock_abi: 7,
        cgroups: CgroupLayout::V2 {
            parent: "/sys/fs/cgroup/creel".into(),
        },
        open_files_ceiling: 4096,
        found: Default::default(),
        paths: paths.into_iter().collect(),
    }
}

fn v1(unified: Option<&str>) -> CgroupLayout {
    CgroupLayout::V1 {
        root: "/sys/fs/cgroup".into(),
        unified: unified.map(Into::into),
        beside: vec!["cpuset".into()],
    }
}

/// An ordinary user, whom systemd's manager has given a group.
fn rootless_delegated() -> Host {
    let service = "/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service";
    Host {
        id_mode: IdMode::Rootless,
        uid: 1000,
        gid: 1000,
        home: Some("/home/u".into()),
        cgroups: CgroupLayout::V2 {
            parent: format!("{service}/creel").into(),
        },
        ..root_v2()
    }
}

fn rootless_degraded() -> Host {
    Host {
        cgroups: CgroupLayout::Unusable {
            why: "no cgroup is delegated to this user, and no systemd user manager runs for it"
                .into(),
            lacks: Lacks::Manager,
        },
        ..rootless_delegated()
    }
}

/// Debian 12's kernel.
fn old_kernel() -> Host {
    Host {
        kernel: "6.1.0".into(),
        landlock_abi: 2,
        ..root_v2()
    }
}

/// The same with the workspace and the cache at other paths in the jail.
#[test]
fn mapped_trees_have_their_mounts_and_rules_at_their_places() {
    let text = POLICY
        .replace(
            "workspace = \"rw\"",
            "workspace = \"rw\"\nworkspace_at = \"/workspace\"",
        )
        .replace(
            "\"/srv/cache\"",
            "{ path = \"/srv/cache\", at = \"~/cache\" }",
        );
    let [first, second] = [POLICY, &text].map(|text| as_text(&resolved(root_v2(), text, &[])));
    let differences = format!("Beside root-v2.txt:\n\n{}", differences(&first, &second));
    hold("tests/it/plans/mapped.txt", &differences);
}

fn resolved(host: Host, text: &str, write: &[&str]) -> Plan {
    let limits = preset::limits().expect("the default parses");
    let request = Request {
        command: vec!["/usr/bin/true".into()],
        workspace: Some("/home/u/project".into()),
        ..Default::default()
    };
    let mut host = host;
    let roots = planned::roots(&request, &host);
    let mut policy = file::parse("a test", text, &limits, &roots).expect("the policy parses");
    policy.allow_degraded = Degradable::ALL.into();
    let flag =
        |path: &&str| roots.rule((*path).to_owned(), Absent::Refuse, Origin::flag("--write"));
    policy.filesystem.write.extend(write.iter().map(flag));
    planned::fill(&policy, &request, &mut host);
    let plan = resolve(&policy, &request, &host).expect("a plan");
    check_reading(&plan);
    plan
}

/// The plan as text, without digests: those change with every change of anything.
fn plan(host: Host) -> String {
    as_text(&resolved(host, POLICY, &[]))
}

fn as_text(plan: &Plan) -> String {
    let text = plan.to_text();
    let kept = text
        .lines()
        .filter(|line| !line.contains("sha256"))
        .map(str::trim_end);
    kept.collect::<Vec<_>>().join("\n") + "\n"
}

/// Plans written as JSON are read back, except for the relay's rules: those are not the jail's.
fn check_reading(plan: &Plan) {
    let text = serde_json::to_string(plan).expect("it is written");
    let mut read: Plan = serde_json::from_str(&text).expect("it is read");
    let network = |plan: &Plan| {
        let found = plan.acts().find_map(|act| match act {
            Act::Egress(egress) => Some(egress.network.clone()),
            _ => None,
        });
        found.expect("a way out")
    };
    assert_eq!(network(&read), Default::default());
    let all = network(plan);
    for act in read.acts_mut() {
        if let Act::Egress(egress) = act {
            egress.network = all.clone();
        }
    }
    assert_eq!(&read, plan);
}

/// The lines that only one of the two has; acts without their numbers.
fn differences(first: &str, second: &str) -> String {
    let line = |line: &str| {
        line.trim()
            .trim_start_matches(|c: char| c.is_ascii_digit())
            .trim()
            .to_owned()
    };
    let of = |text: &str| {
        text.lines()
            .map(line)
            .filter(|line| !line.is_empty())
            .collect::<Vec<_>>()
    };
    let (first, second) = (of(first), of(second));
    let only = |these: &[String], those: &[String], mark: char| -> String {
        let missing = these.iter().filter(|line| !those.contains(line));
        missing.map(|line| format!("{mark} {line}\n")).collect()
    };
    only(&first, &second, '-') + &only(&second, &first, '+')
}

#[test]
fn a_policy_on_six_machines_has_the_plans_that_were_read() {
    let first = plan(root_v2());
    hold("tests/it/plans/root-v2.txt", &first);
    let hosts = [
        (
            "root-v1",
            Host {
                cgroups: v1(None),
                ..root_v2()
            },
        ),
        (
            "root-hybrid",
            Host {
                cgroups: v1(Some("/sys/fs/cgroup/unified")),
                ..root_v2()
            },
        ),
        ("rootless-delegated", rootless_delegated()),
        ("rootless-degraded", rootless_degraded()),
        ("old-kernel", old_kernel()),
    ];
    for (name, host) in hosts {
        let second = plan(host);
        assert_ne!(first, second, "{name}");
        let text = format!("Beside root-v2.txt:\n\n{}", differences(&first, &second));
        hold(&format!("tests/it/plans/{name}.txt"), &text);
    }
}

/// Of each act that a rule asked for: its kind and place, and the rule.
fn rules(plan: &Plan) -> Vec<(String, String)> {
    let json = serde_json::to_value(plan).expect("JSON");
    let acts = json["acts"].as_array().expect("acts").iter();
    let parts = acts.flat_map(|act| {
        let rules = act["rules"].as_array().into_iter().flatten();
        std::iter::once((act, act["act"].as_str().expect("a kind")))
            .chain(rules.map(|rule| (rule, "rule")))
    });
    let text = |(part, kind): (&serde_json::Value, &str)| {
        let rule = part.get("rule")?;
        let place = ["target", "path", "limit"].map(|key| part[key].as_str());
        let place = place.into_iter().flatten().next().expect("a place");
        let line = rule["line"].as_u64();
        let line = line.map_or(String::new(), |line| format!(":{line}"));
        let file = rule["file"].as_str().expect("a file");
        Some((format!("{kind} {place}"), format!("{file}{line}")))
    };
    parts.filter_map(text).collect()
}

#[test]
fn every_act_knows_the_rule_that_asked_for_it() {
    let mut host = root_v2();
    host.paths
        .extend([present("/srv/more", Node::Directory, 1000)]);
    let text = format!("{POLICY}cpu_time = \"7s\"\n");
    let plan = resolved(host, &text, &["/srv/more"]);
    let found = rules(&plan);
    for (act, rule) in [
        ("bind /home/u/project", "a test:3"),
        ("rule /home/u/project", "a test:3"),
        ("bind /usr", "a test:4"),
        ("rule /usr", "a test:4"),
        ("bind /etc/hosts", "a test:5"),
        ("bind /srv/cache", "a test:6"),
        ("rule /srv/cache", "a test:6"),
        ("mask /home/u/project/secrets", "a test:7"),
        ("mask /home/u/project/.env", "a test:7"),
        ("bind /home/u/project/.git/config", "a test:8"),
        ("hold /home/u/project/.git", "creel"),
        ("withhold /home/u/project/.claude", "a test:8"),
        // What creel itself protects, and what a flag asks for, has no line.
        ("withhold /home/u/project/.envrc", "creel"),
        ("bind /srv/more", "--write"),
        ("resource-limit cpu", "a test:17"),
    ] {
        let one = (act.to_owned(), rule.to_owned());
        assert!(found.contains(&one), "{one:?}: {found:#?}");
    }
    // What every jail has was asked for by nobody.
    for none in ["rule /proc", "rule /dev", "bind /etc", "tmpfs /tmp"] {
        assert!(found.iter().all(|(act, _)| act != none), "{none}");
    }
}

#[test]
fn a_plan_has_one_digest_wherever_its_rules_are_written() {
    let plan = |text: &str| resolved(root_v2(), text, &[]);
    let (first, mut moved) = (plan(POLICY), plan(&format!("# a line more\n{POLICY}")));
    assert_ne!(rules(&first), rules(&moved));
    // The text of a policy has a digest of its own.
    assert_ne!(first.digest(), moved.digest());
    moved.policy = first.policy.clone();
    assert_eq!(first.layers, moved.layers);
    assert_eq!(first.command.environment, moved.command.environment);
    assert_eq!(first.digest(), moved.digest());
    let mut other = plan(&POLICY.replace(", \"$WORKSPACE/.env\"", ""));
    other.policy = first.policy.clone();
    assert_ne!(first.digest(), other.digest());
}

/// A limit that `explain` forgets would be a line without a kernel act.
#[test]
fn every_limit_has_its_act_in_an_explanation() {
    let request = Request {
        command: vec!["/usr/bin/true".into()],
        workspace: Some("/home/u/project".into()),
        ..Default::default()
    };
    let mut host = root_v2();
    let roots = planned::roots(&request, &host);
    // It sets every limit.
    let mut policy = preset::default(&roots).expect("the default parses");
    policy.allow_degraded = Degradable::ALL.into();
    policy
        .filesystem
        .exec
        .iter_mut()
        .for_each(|rule| rule.absent = Absent::Skip);
    planned::fill(&policy, &request, &mut host);
    let plan = resolve(&policy, &request, &host).expect("a plan");
    let rows = creel_plan::explain::rows(&policy, &request, &host, &plan);
    let limits: Vec<_> = rows
        .iter()
        .filter(|row| row.key.starts_with("limits."))
        .collect();
    assert_eq!(limits.len(), policy.limits.rows().len());
    for row in limits {
        let idle = row.kernel.iter().any(|act| act.contains("not in force"));
        assert!(!row.kernel.is_empty() && !idle, "{row:?}");
    }
}
