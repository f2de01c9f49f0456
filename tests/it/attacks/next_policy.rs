//! Attack: a jail that writes the operator's policy rules the next run. The search directories of policies that grant
//! cannot be written in a jail, whether they exist or not. Files beside them can; and the same file,
//! written outside, rules.

use std::os::unix::fs::{chown, symlink};
use std::path::{Path, PathBuf};

use creel_plan::{Act, Fact, Node, Request, host::SearchDir, resolve};
use creel_policy::{Degradable, file, preset};

use crate::attacks::{Answers, attack, refused};
use crate::support::{Ran, Run, Who, Workspace, planned};

/// Grants that an attacker would like to have.
const WIDER: &str =
    "extends = [\"default\"]\nallow_degraded = [\"cgroup\"]\n[filesystem]\nread = [\"/var/log\"]\n";

/// Tries to put a policy into `SEAT`, and beside it.
const ATTEMPT: &str = r#"
seat, beside, upper = 'SEAT', 'BESIDE', 'UPPER'
def write(d):
    def go():
        with open(d + '/policy.toml', 'w') as f: f.write('''WIDER''')
    return py(go)
def mkdirs(d):
    os.path.isdir(os.path.dirname(d)) or mkdirs(os.path.dirname(d))
    os.mkdir(d)
say('beside', py(mkdirs, beside))
say('beside_write', write(beside))
say('mkdirs', py(mkdirs, seat))
say('write', write(seat))
say('over', py(os.rename, beside, seat))
say('link', py(os.symlink, beside, seat))
say('agents', py(os.mkdir, seat + '/agents'))
say('away', py(os.rename, seat, beside + '/away'))
say('upper', py(os.rename, os.path.dirname(seat), upper))
"#;

/// A directory of the caller's in the workspace.
fn directory(who: Who, path: &Path) {
    std::fs::create_dir(path).expect("mkdir");
    let (uid, gid, _) = who.account();
    chown(path, Some(uid), Some(gid)).expect("chown");
}

/// Attempts and their results, with `config` as `XDG_CONFIG_HOME`; `seat` is where that really leads.
fn tried(who: Who, workspace: &Workspace, config: &Path, seat: &Path) -> Answers {
    let above = seat.parent().expect("a parent");
    let beside = match above.exists() {
        true => above.join("beside"),
        false => workspace.path().join("beside"),
    };
    let text = |path: &Path| path.to_str().expect("text").to_owned();
    let body = ATTEMPT
        .replace("SEAT", &text(seat))
        .replace("BESIDE", &text(&beside))
        .replace("UPPER", &text(&workspace.path().join("upper")))
        .replace("WIDER", WIDER);
    attack(
        Run::new(who, workspace).outer_env("XDG_CONFIG_HOME", config),
        &body,
    )
}

/// The policy of a run elsewhere, by name and digest.
fn ruling(who: Who, config: &Path) -> (String, String) {
    let elsewhere = Workspace::new(who);
    let ran = Run::new(who, &elsewhere)
        .outer_env("XDG_CONFIG_HOME", config)
        .sh("true")
        .ok();
    let policy = &ran.verdict["receipt"]["policy"];
    let word = |key: &str| policy[key].as_str().expect("a word").to_owned();
    (word("name"), word("digest"))
}

/// Files before the first run, and the answers to the attempts.
type Case = (
    &'static str,
    &'static [&'static str],
    &'static [(&'static str, &'static str)],
);

const CASES: [Case; 4] = [
    (
        "conf",
        &["conf", "conf/creel"],
        &[
            ("mkdirs", "EEXIST"),
            ("write", "EROFS"),
            ("over", "EBUSY"),
            ("link", "EEXIST"),
            ("agents", "EROFS"),
            ("away", "EBUSY"),
            ("upper", "EBUSY"),
        ],
    ),
    (
        "conf",
        &["conf"],
        &[
            ("mkdirs", "EEXIST"),
            ("write", "ENOTDIR"),
            ("over", "ENOTDIR"),
            ("link", "EEXIST"),
            ("agents", "ENOTDIR"),
            ("away", "EBUSY"),
            ("upper", "EBUSY"),
        ],
    ),
    (
        "deep/er/conf",
        &[],
        &[
            ("mkdirs", "EROFS"),
            ("write", "ENOENT"),
            ("over", "ENOENT"),
            ("link", "ENOENT"),
            ("agents", "ENOENT"),
        ],
    ),
    // The workspace is the configuration directory itself.
    (
        "",
        &[],
        &[
            ("mkdirs", "EEXIST"),
            ("write", "ENOTDIR"),
            ("away", "EBUSY"),
        ],
    ),
];

each!(a_jail_puts_no_policy_where_the_next_run_looks);
fn a_jail_puts_no_policy_where_the_next_run_looks(who: Who) {
    for (config, made, answers) in CASES {
        let workspace = Workspace::new(who);
        for name in made {
            directory(who, &workspace.path().join(name));
        }
        let config = workspace.path().join(config);
        let config: PathBuf = config.components().collect();
        let seat = config.join("creel");
        let before = ruling(who, &config);
        let got = tried(who, &workspace, &config, &seat);
        got.expect(&[("beside", "OK"), ("beside_write", "OK")]);
        got.expect(answers);
        assert_eq!(ruling(who, &config), before, "{got:#?}");
        assert_eq!(seat.exists(), made.len() == 2, "nothing stays behind");
        // The control: whoever writes it outside rules.
        std::fs::create_dir_all(&seat).expect("mkdir -p");
        std::fs::write(seat.join("policy.toml"), WIDER).expect("write");
        assert_ne!(ruling(who, &config), before);
    }
}

each!(another_programs_configuration_is_the_jails_to_write);
/// Without it the same attempts succeed: nothing but the seat is held.
fn another_programs_configuration_is_the_jails_to_write(who: Who) {
    let workspace = Workspace::new(who);
    let other = workspace.path().join("conf/other");
    let config = workspace.path().join("conf");
    directory(who, &config);
    let got = tried(who, &workspace, &config, &other);
    got.expect(&[
        ("mkdirs", "OK"),
        ("write", "OK"),
        ("agents", "OK"),
        ("away", "OK"),
    ]);
}

each!(a_seat_behind_a_link_is_held_where_it_leads);
/// `~/.config` is a link into a directory of dotfiles for many, and the work is in there.
fn a_seat_behind_a_link_is_held_where_it_leads(who: Who) {
    for made in [&["dot"][..], &["dot", "dot/creel"], &[]] {
        let workspace = Workspace::new(who);
        for name in made {
            directory(who, &workspace.path().join(name));
        }
        let config = workspace.outside().join("config");
        symlink("work/dot", &config).expect("symlink");
        let seat = workspace.path().join("dot/creel");
        let before = ruling(who, &config);
        let got = tried(who, &workspace, &config, &seat);
        let answer = match made.len() {
            2 => "EROFS",
            1 => "ENOTDIR",
            _ => "ENOENT",
        };
        got.expect(&[("beside_write", "OK"), ("write", answer)]);
        assert_eq!(ruling(who, &config), before);
        std::fs::create_dir_all(&seat).expect("mkdir -p");
        std::fs::write(seat.join("policy.toml"), WIDER).expect("write");
        assert_ne!(ruling(who, &config), before);
    }
}

each!(a_link_to_policies_in_the_jails_reach_is_refused);
/// A link on the way that the jail could turn cannot be held.
fn a_link_to_policies_in_the_jails_reach_is_refused(who: Who) {
    let workspace = Workspace::new(who);
    let (hop, out) = (workspace.path().join("hop"), workspace.outside());
    let run = |config: &Path, hop_to: &Path| -> Ran {
        let _ = std::fs::remove_file(&hop);
        symlink(hop_to, &hop).expect("symlink");
        Run::new(who, &workspace)
            .outer_env("XDG_CONFIG_HOME", config)
            .sh("true")
    };
    std::fs::create_dir(out.join("real")).expect("mkdir");
    symlink("work/hop", out.join("config")).expect("symlink");
    for (config, to) in [
        // In the workspace, and out of it again: between two places that are not the jail's.
        (out.join("config"), out.join("real")),
        (out.join("config"), "nowhere".into()),
        (workspace.path().join("hop"), out.join("real")),
    ] {
        let ran = run(&config, &to);
        refused(&ran, "and leads to the policy search directory");
        assert!(
            ran.stderr.contains("replace it with a directory"),
            "{ran:#?}"
        );
    }
    // A link that leads to itself shows nothing.
    let around = run(&workspace.path().join("hop/creel/.."), Path::new("hop"));
    refused(&around, "may have a policy and cannot be read");
    // The control: the link is there, and no policy is looked for behind it.
    run(&out.join("real"), Path::new("nowhere")).ok();
}

each!(the_home_is_no_workspace);
/// No jail has a home to write to, and so none makes a `.config` in it.
fn the_home_is_no_workspace(who: Who) {
    let workspace = Workspace::new(who);
    let (_, _, home) = who.account();
    let ran = Run::new(who, &workspace).cwd(&home).sh("true");
    refused(&ran, "is too wide to be granted to a jail");
    let ran = Run::new(who, &workspace)
        .flags(["--write".as_ref(), home.as_os_str()])
        .argv(["/usr/bin/true"]);
    // It is the jail's own directory, and never the host's.
    refused(&ran, "the jail has its own");
}

/// The plan of `write = ["~/.config"]` with the seat as the host has it.
fn planned(seat: Option<Node>) -> Vec<Act> {
    let mut host = creel_jail::probe::facts().expect("this machine can be looked at");
    let mut put = |name: &str, node| {
        let fact = Fact::Present {
            real: name.into(),
            node,
            uid: 1000,
            gid: 1000,
            link: false,
            idmap: creel_plan::host::Idmap::Works,
        };
        host.paths.insert(name.into(), fact);
    };
    put("/srv/work", Node::Directory);
    put("/home/u/.config", Node::Directory);
    if let Some(node) = seat {
        put("/home/u/.config/creel", node);
    }
    host.home = Some("/home/u".into());
    host.cwd = "/srv/work".into();
    host.found.search_dirs = ["/etc/creel", "/home/u/.config/creel"]
        .map(|path| SearchDir {
            path: path.into(),
            links: vec![],
        })
        .into();
    let limits = preset::limits().expect("the default parses");
    let text = "[filesystem]\nwrite = [\"~/.config\"]\n";
    let request = Request {
        command: vec!["true".into()],
        ..Default::default()
    };
    let roots = planned::roots(&request, &host);
    let mut policy = file::parse("a test", text, &limits, &roots).expect("the policy parses");
    policy.allow_degraded = Degradable::ALL.into();
    planned::fill(&policy, &request, &mut host);
    let plan = resolve(&policy, &request, &host).expect("a plan");
    plan.acts().cloned().collect()
}

#[test]
fn a_granted_configuration_directory_leaves_the_seat_out() {
    let seat = Path::new("/home/u/.config/creel");
    let withheld = |acts: &[Act]| {
        acts.iter()
            .any(|act| matches!(act, Act::Withhold { path, .. } if path == seat))
    };
    assert!(withheld(&planned(None)));
    let there = planned(Some(Node::Directory));
    assert!(!withheld(&there));
    let read_only = |act: &Act| matches!(act, Act::Bind { source, access, .. } if source == seat && !access.write);
    assert!(there.iter().any(read_only), "{there:#?}");
}
