//! Every check of lint fires where it should and is silent where it should; what ships with creel has no finding worse than info.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use creel::cli::facts;
use creel_dialects::lint::{
    CHECKS, Facts, Finding, Found, Keeping, Severity, is_secret_file, lint,
};
use creel_policy::expand::Unmet;
use creel_policy::layer::Rank;
use creel_policy::rights::Roots;
use creel_policy::stack::Stack;
use creel_policy::{Absent, Origin, file, preset};

fn roots() -> Roots {
    Roots {
        home: "/home/u".into(),
        workspace: "/home/u/w".into(),
    }
}

/// Findings of lint for files of these ranks, which are named after them.
fn findings(layers: &[(Rank, &str)], roots: &Roots, facts: &Facts) -> Vec<Finding> {
    let layers = layers.iter().map(|(rank, text)| {
        let name = format!("{}.toml", rank.name());
        let read = file::read(&name, text);
        let mut layer = read.unwrap_or_else(|error| panic!("{text}\n{error}"));
        for base in std::mem::take(&mut layer.extends) {
            layer = layer.over(preset::layer(&base.value).expect("a preset"));
        }
        (*rank, layer)
    });
    let mut stack = Stack {
        layers: layers.collect(),
    };
    // Nothing is there that a pattern could meet.
    let met = stack.expand(roots, |_| Ok::<_, Infallible>(vec![]));
    assert!(met.is_ok());
    let limits = preset::limits().expect("it parses");
    let outcome = stack.resolve(&limits, roots);
    lint(&stack, &outcome, roots, facts)
}

/// A check, an operator's file on which it fires, and one on which it is silent.
const OF_ONE_FILE: &[(&str, &str, &str)] = &[
    (
        "exec-shell",
        "tools.exec.commands = ['bash']\nfilesystem.exec = ['/usr']",
        "tools.exec.commands = [{ command = 'bash', args = ['scripts/build'] }]\nfilesystem.exec = ['/usr']",
    ),
    (
        "exec-interpreter",
        "tools.exec.commands = ['/usr/bin/python3.12']\nfilesystem.exec = ['/usr']",
        "tools.exec.commands = [{ command = 'python3', args = ['tool.py'] }]\nfilesystem.exec = ['/usr']",
    ),
    (
        "exec-languages",
        "tools.exec.languages = ['python']",
        "tools.exec.commands = ['ls']",
    ),
    (
        "exec-launcher",
        "tools.exec.commands = [{ command = 'xargs', args = ['ls'] }]",
        "tools.exec.commands = ['ls']",
    ),
    (
        "exec-arguments",
        "tools.exec.commands = [{ command = 'git', args = ['diff ...'] }]",
        "tools.exec.commands = [{ command = 'git', args = ['status', 'diff --stat'] }, { command = 'ls', args = ['...'] }]",
    ),
    (
        "exec-never",
        "tools.exec.commands = ['/opt/tool']\nfilesystem.exec = ['/usr']",
        "tools.exec.commands = ['/usr/bin/tool']\nfilesystem.exec = ['/usr']",
    ),
    (
        "exec-allowlist-empty",
        "tools.exec.security = 'allowlist'",
        "tools.exec = { security = 'allowlist', commands = ['ls'] }",
    ),
    (
        "exec-full-listed",
        "tools.exec = { security = 'full', commands = ['ls'] }",
        "tools.exec.security = 'full'",
    ),
    (
        "exec-writes",
        "tools.deny = ['edit']",
        "tools.deny = ['edit', 'write']",
    ),
    (
        "exec-writable",
        "filesystem = { exec = ['/opt/x/bin'], write = ['/opt/x'] }",
        "filesystem = { exec = ['/opt/x/bin'], write = ['/opt/x/data', '/tmp'] }",
    ),
    (
        "tool-unknown",
        "tools.deny = ['raed']",
        "tools.deny = ['bash', 'cron', 'group:plugins', 'sessions_send']",
    ),
    (
        "tool-wildcard",
        "tools.allow = ['*']",
        "tools.allow = ['read', 'group:plugins']",
    ),
    (
        "tool-both",
        "tools = { allow = ['read', 'bash'], deny = ['exec'] }",
        "tools = { allow = ['read', 'exec'], deny = ['write'] }",
    ),
    (
        "tool-deny-idle",
        "tools = { allow = ['read'], deny = ['exec'] }",
        "tools = { allow = ['group:fs'], deny = ['write'] }",
    ),
    (
        "tool-edit-without-write",
        "tools.allow = ['read', 'edit']",
        "tools.allow = ['read', 'write', 'edit']",
    ),
    (
        "tool-process-without-exec",
        "tools.allow = ['process']",
        "tools.allow = ['process', 'exec']",
    ),
    (
        "tool-outside-profile",
        "tools = { profile = 'readonly', allow = ['read', 'exec'] }",
        "tools = { profile = 'coding', allow = ['read', 'exec'] }",
    ),
    (
        "tool-enabled-idle",
        "tools = { allow = ['read'], exec = { enabled = true } }",
        "tools = { allow = ['read', 'exec'], exec = { enabled = true } }",
    ),
    (
        "tool-settings-idle",
        "tools = { allow = ['read'], exec = { timeout = '1m' } }",
        "tools = { allow = ['exec'], exec = { timeout = '1m' } }",
    ),
    (
        "tool-no-network",
        "tools.allow = ['read', 'web_fetch']",
        "tools.allow = ['read', 'web_fetch']\nnetwork.mode = 'open'",
    ),
    (
        "network-idle",
        "network.allow = ['a.example']",
        "network = { mode = 'allowlist', allow = ['a.example'] }",
    ),
    (
        "network-no-tool",
        "tools.allow = ['read']\nnetwork = { mode = 'allowlist', allow = ['a.example'] }",
        "tools.allow = ['read', 'fetch']\nnetwork = { mode = 'allowlist', allow = ['a.example'] }",
    ),
    (
        "network-no-tool",
        "extends = 'challenge'\nnetwork = { mode = 'allowlist', allow = ['a.example'] }",
        "extends = 'python'\nnetwork = { mode = 'allowlist', allow = ['a.example'] }",
    ),
    (
        "network-no-tool",
        "tools.deny = ['fetch', 'browser', 'message']\nnetwork.mode = 'open'",
        "tools.deny = ['fetch', 'browser']\nnetwork.mode = 'open'",
    ),
    (
        "network-settings-idle",
        "network.limits.connections = 4",
        "network = { mode = 'open', limits = { connections = 4 } }",
    ),
    (
        "network-settings-idle",
        "network.deny = ['a.example']",
        "network = { mode = 'open', deny = ['a.example'] }",
    ),
    (
        "network-settings-idle",
        "network.resolvers = ['9.9.9.9:53']",
        "network = { mode = 'open', resolvers = ['9.9.9.9:53'] }",
    ),
    (
        "network-credential-idle",
        "network = { mode = 'allowlist', allow = [{ host = 'a.example', tls = 'terminate' }], deny = ['a.example'], credentials = [{ host = 'a.example', header = 'authorization', variable = 'T', secret = { env = 'S' } }] }",
        "network = { mode = 'allowlist', allow = [{ host = 'a.example', tls = 'terminate' }], credentials = [{ host = 'a.example', header = 'authorization', variable = 'T', secret = { env = 'S' } }] }",
    ),
    (
        "grant-idle",
        "tools.allow = ['read', 'exec']\nfilesystem.write = ['/srv/x']",
        "tools.allow = ['read', 'write', 'exec']\nfilesystem.write = ['/srv/x']",
    ),
    (
        "grant-idle",
        "tools.deny = ['read']\nfilesystem.read = ['/srv/x']",
        "tools.deny = ['write']\nfilesystem.read = ['/srv/x']",
    ),
    (
        "grant-idle",
        "filesystem = { workspace = 'none', read = ['$WORKSPACE/x'] }",
        "filesystem = { workspace = 'ro', read = ['$WORKSPACE/x'] }",
    ),
    (
        "grant-idle",
        "tools.write.allowed_paths = ['/srv/a']\nfilesystem.write = ['/srv/b']",
        "tools.write.allowed_paths = ['/srv/a']\nfilesystem.write = ['/srv']",
    ),
    (
        "grant-own",
        "filesystem.write = ['/tmp']",
        "filesystem = { write = ['/tmp/x'], exec = ['/tmp'] }",
    ),
    (
        "protect-idle",
        "filesystem = { read = ['/srv'], protect = ['/srv/x'] }",
        "filesystem = { write = ['/srv'], protect = ['/srv/x', '$WORKSPACE/x'] }",
    ),
    (
        "protect-idle",
        "filesystem = { workspace = 'ro', protect = ['$WORKSPACE/x'] }",
        "filesystem = { workspace = 'ro', write = ['$WORKSPACE/x/y'], protect = ['$WORKSPACE/x'] }",
    ),
    (
        "unprotect-idle",
        "filesystem.unprotect = ['$WORKSPACE/src/main.rs']",
        "filesystem.unprotect = ['$WORKSPACE/Makefile', '$WORKSPACE/.git/hooks']",
    ),
    (
        "unprotect-idle",
        "filesystem.unprotect = ['$WORKSPACE/.git/hooks/pre-commit']",
        "filesystem.unprotect = ['$WORKSPACE/.git/hooks']",
    ),
    (
        "unprotect-idle",
        "filesystem = { unprotect = ['$WORKSPACE/Makefile'], protect = ['$WORKSPACE/Makefile'] }",
        "filesystem = { unprotect = ['$WORKSPACE/Makefile'], protect = ['$WORKSPACE/makefile'] }",
    ),
    (
        "unprotect-idle",
        "filesystem = { workspace = 'ro', unprotect = ['$WORKSPACE/Makefile'] }",
        "filesystem = { workspace = 'rw', unprotect = ['$WORKSPACE/Makefile'] }",
    ),
    (
        "network-public-suffix",
        "network.allow = ['*.com', '*.github.io']",
        "network.allow = ['*.mozilla.org', 'a.github.io']",
    ),
    (
        "network-address",
        "network.allow = ['8.8.8.8:53']",
        "network.allow = ['10.0.0.0/8:5432']",
    ),
    (
        "network-http-idle",
        "network.allow = ['*.a.example', { host = 'b.a.example', tls = 'terminate', methods = ['GET'] }]",
        "network.allow = ['*.b.example', { host = 'b.a.example', tls = 'terminate', methods = ['GET'] }]",
    ),
    (
        "network-deny-idle",
        "network = { mode = 'allowlist', allow = ['*.a.example'], deny = ['b.example'] }",
        "network = { mode = 'allowlist', allow = ['*.a.example'], deny = ['b.a.example', '10.0.0.0/8'] }",
    ),
    (
        "network-range-direct",
        "network.allow = [{ host = 'a.example', tls = 'terminate' }, '10.0.0.0/8']",
        "network.allow = [{ host = 'a.example', tls = 'terminate' }, { host = '10.0.0.0/8', protocol = 'none' }]",
    ),
    (
        "network-udp",
        "network.allow = [{ host = 'a.example', ports = [443], protocol = 'udp' }]",
        "network.allow = ['a.example']",
    ),
    (
        "tool-ask-nobody",
        "tools.exec.ask = 'always'",
        "tools.exec.ask = 'on-miss'",
    ),
    (
        "tool-elevated",
        "tools.exec.elevated = true",
        "tools.exec.elevated = false",
    ),
    ("empty-list", "tools.allow = []", "tools.allow = ['read']"),
    (
        "empty-list",
        "filesystem.read = []",
        "filesystem = { write = [], deny = [] }",
    ),
    (
        "empty-list",
        "tools.exec.commands = []",
        "tools.exec.commands = ['ls']",
    ),
    (
        "grant-dangerous",
        "filesystem.read = ['/var/lib/docker/x', '/srv/docker.sock']",
        "filesystem.read = ['/usr/share/docker.sock.d']",
    ),
    (
        "grant-dangerous",
        "filesystem.read = ['~/.ssh/id_rsa']",
        "filesystem.read = ['~/.cargo/registry', '~/.sshx']",
    ),
    // A parent of a secret.
    (
        "grant-dangerous",
        "filesystem.read = ['~/.config']",
        "filesystem.read = ['~/.config/nvim']",
    ),
    (
        "grant-dangerous",
        "filesystem.read = ['/etc']",
        "filesystem.read = ['/etc/ssl/certs']",
    ),
    // `~` by itself is the jail's own home.
    (
        "grant-home",
        "filesystem.read = ['/home']",
        "filesystem.exec = ['~', '~/bin']",
    ),
    (
        "grant-twice",
        "filesystem.read = ['/opt', '/opt/x']",
        "filesystem = { read = ['/opt'], exec = ['/opt/x', '~', '~/bin'] }",
    ),
    (
        "deny-idle",
        "filesystem.deny = ['/opt/secrets']",
        "filesystem = { deny = ['/opt/secrets', '$WORKSPACE/.env'], read = ['/opt'] }",
    ),
    (
        "deny-shadowed",
        "filesystem.deny = ['$WORKSPACE/a', '$WORKSPACE/a/b']",
        "filesystem.deny = ['$WORKSPACE/a', '$WORKSPACE/ab']",
    ),
    (
        "deny-hides",
        "filesystem = { read = ['/opt/x'], deny = ['/opt'] }",
        "filesystem = { read = ['/opt'], deny = ['/opt/x'] }",
    ),
    (
        "unprotect",
        "filesystem.unprotect = ['$WORKSPACE/.git/hooks']",
        "filesystem = { protect = ['$WORKSPACE/x'], unprotect = ['$WORKSPACE/package.json'] }",
    ),
    (
        "unprotect-build",
        "filesystem.unprotect = ['$WORKSPACE/Makefile']",
        "filesystem.unprotect = ['$WORKSPACE/.envrc']",
    ),
    (
        "workspace-idle",
        "filesystem.workspace = 'rw'\ntools.deny = ['write']",
        "filesystem.workspace = 'ro'\ntools.deny = ['write']",
    ),
    (
        "env-credential",
        "environment.pass = ['AWS_SECRET_ACCESS_KEY']",
        "environment.pass = ['TERM', 'TOKENIZERS_PARALLELISM']",
    ),
    (
        "env-secret",
        "environment.set = { GITHUB_TOKEN = 'x' }",
        "environment.set = { GITHUB_TOKEN = '', LANG = 'C' }",
    ),
    (
        "env-loader",
        "environment.pass = ['LD_PRELOAD']",
        "environment.pass = ['LDFLAGS']",
    ),
    (
        "env-loader",
        "environment.set = { BASH_ENV = '/x' }",
        "environment.set = { BASH = '/x' }",
    ),
    (
        "env-twice",
        "environment = { set = { TERM = 'dumb' }, pass = ['TERM'] }",
        "environment = { set = { LANG = 'C' }, pass = ['TERM'] }",
    ),
    (
        "path-absent",
        "environment.set = { LANG = 'C' }",
        "environment.set = { PATH = '/usr/bin' }",
    ),
    (
        "path-absent",
        "environment.pass = ['LANG']",
        "environment.pass = ['PATH']",
    ),
    (
        "path-relative",
        "environment.set = { PATH = '/usr/bin:' }",
        "environment.set = { PATH = '/usr/bin:~/bin:~' }",
    ),
    (
        "path-relative",
        "environment.set = { PATH = 'node_modules/.bin:/usr/bin' }",
        "environment.set = { PATH = '/usr/bin' }",
    ),
    (
        "path-writable",
        "environment.set = { PATH = '/home/u/w/bin' }",
        "environment.set = { PATH = '/home/u/w/bin' }\nfilesystem.workspace = 'ro'",
    ),
    (
        "limit-absent",
        "limits = { memory = '1GiB', pids = 64, cpus = 1 }",
        "limits = { memory = '1GiB', pids = 64, cpus = 1, timeout = '1m' }",
    ),
    (
        "limit-huge",
        "limits.timeout = '60d'",
        "limits.timeout = '1d'",
    ),
    (
        "limit-tiny",
        "limits.memory = '1MiB'",
        "limits.memory = '1GiB'",
    ),
    (
        "limit-idle",
        "limits = { disk = '8GiB', memory = '1GiB' }",
        "limits = { disk = '1GiB', memory = '8GiB' }",
    ),
    (
        "limit-idle",
        "tools.exec.timeout = '2h'\nlimits.timeout = '1h'",
        "tools.exec.timeout = '1m'\nlimits.timeout = '1h'",
    ),
    ("layer-empty", "# nothing\n", "limits.pids = 64"),
    (
        "degraded-landlock",
        "allow_degraded = ['landlock']",
        "allow_degraded = ['cgroup']",
    ),
    (
        "session-off",
        "session.mode = 'off'",
        "session.mode = 'all'",
    ),
    (
        "session-shared",
        "session.scope = 'shared'",
        "session.scope = 'agent'",
    ),
];

/// Two layers' files.
type Two = [(Rank, &'static str); 2];

/// Checks of several layers: what fires and what is silent, each with the operator's file first.
const OF_LAYERS: &[(&str, Two, Two)] = &[
    (
        "layer-clipped",
        [
            (Rank::Operator, "filesystem.read = ['/usr']"),
            (Rank::Project, "filesystem.read = ['/etc/hosts']"),
        ],
        [
            (Rank::Operator, "filesystem.read = ['/usr']"),
            (Rank::Project, "filesystem.read = ['/usr/share']"),
        ],
    ),
    (
        "degraded-below",
        [
            (Rank::Operator, "allow_degraded = ['cgroup']"),
            (Rank::Renter, "allow_degraded = ['cgroup']"),
        ],
        [
            (Rank::Platform, "allow_degraded = ['cgroup']"),
            (Rank::Operator, "allow_degraded = ['cgroup']"),
        ],
    ),
];

fn has(findings: &[Finding], id: &str) -> bool {
    findings.iter().any(|finding| finding.id == id)
}

fn paths(list: &[(&str, Found)]) -> BTreeMap<String, Found> {
    let own = |(path, found): &(&str, Found)| ((*path).to_owned(), *found);
    list.iter().map(own).collect()
}

/// Checks of the machine: an operator's file, the facts on which it fires and those on which it does
/// not.
fn of_the_machine() -> Vec<(&'static str, &'static str, Facts, Facts)> {
    let files = |keeping| Facts {
        files: BTreeMap::from([("operator.toml".to_owned(), keeping)]),
        ..Facts::default()
    };
    let at = |list: &[(&str, Found)]| Facts {
        paths: paths(list),
        ..Facts::default()
    };
    let secrets = |path: &str| Facts {
        secrets: BTreeSet::from([path.to_owned()]),
        ..Facts::default()
    };
    vec![
        (
            "policy-writable",
            "",
            files(Keeping::WritableByOthers),
            files(Keeping::Own),
        ),
        (
            "policy-foreign",
            "",
            files(Keeping::Foreign),
            files(Keeping::WritableByOthers),
        ),
        (
            "grant-absent",
            "filesystem.read = ['/opt/x', { path = '/opt/y', optional = true }]",
            at(&[("/opt/x", Found::Absent), ("/opt/y", Found::Absent)]),
            at(&[("/opt/x", Found::There), ("/opt/y", Found::Absent)]),
        ),
        (
            "exec-by-others",
            "filesystem.exec = ['/opt/x']",
            at(&[("/opt/x", Found::WritableByOthers)]),
            at(&[("/opt/x", Found::There)]),
        ),
        (
            "path-by-others",
            "filesystem.exec = ['/opt']\nenvironment.set = { PATH = '/opt/bin' }",
            at(&[("/opt/bin", Found::WritableByOthers)]),
            at(&[("/opt/bin", Found::There)]),
        ),
        (
            "exec-never",
            "filesystem.exec = ['/opt']\ntools.exec.commands = ['/opt/tool']",
            at(&[("/opt/tool", Found::Absent)]),
            at(&[("/opt/tool", Found::There)]),
        ),
        (
            "secret-in-workspace",
            "filesystem.deny = ['$WORKSPACE/keys']",
            secrets("/home/u/w/.env"),
            secrets("/home/u/w/keys/.env"),
        ),
    ]
}

#[test]
fn every_check_fires_and_is_silent() {
    let none = Facts::default();
    let mut tried = BTreeSet::new();
    let mut wrong = vec![];
    let mut judge = |id: &'static str, fires: Vec<Finding>, silent: Vec<Finding>| {
        tried.insert(id);
        if !has(&fires, id) {
            wrong.push(format!("{id} does not fire: {fires:#?}"));
        }
        if has(&silent, id) {
            wrong.push(format!("{id} is not silent: {silent:#?}"));
        }
    };
    for (id, fires, silent) in OF_ONE_FILE {
        let said = |text| findings(&[(Rank::Operator, text)], &roots(), &none);
        judge(id, said(fires), said(silent));
    }
    for (id, fires, silent) in OF_LAYERS {
        let said = |layers: &[(Rank, &str)]| findings(layers, &roots(), &none);
        judge(id, said(fires), said(silent));
    }
    for (id, text, fires, silent) in of_the_machine() {
        let said = |facts| findings(&[(Rank::Operator, text)], &roots(), facts);
        judge(id, said(&fires), said(&silent));
    }
    let unmet = |absent| Facts {
        unmet: vec![Unmet {
            written: "/opt/*".into(),
            absent,
            origin: Origin::creel(),
        }],
        ..Facts::default()
    };
    let said = |facts| findings(&[(Rank::Operator, "")], &roots(), facts);
    let (fires, silent) = (unmet(Absent::Refuse), unmet(Absent::Skip));
    judge("pattern-unmet", said(&fires), said(&silent));
    let said = |text| findings(&[(Rank::Operator, text)], &roots(), &none);
    for (fires, silent) in [
        (
            "filesystem.deny = ['$WORKSPACE/**/.env']",
            "filesystem.deny = [{ path = '$WORKSPACE/**/.env', optional = true }]",
        ),
        (
            "filesystem.protect = ['$WORKSPACE/*.lock']",
            "filesystem.protect = ['$WORKSPACE/*.lock']\nfilesystem.workspace = 'ro'",
        ),
        (
            "filesystem.workspace = 'ro'\nfilesystem.write = ['/srv/a']\nfilesystem.deny = ['/srv/*/k']",
            "filesystem.workspace = 'ro'\nfilesystem.write = ['/srv/a']\nfilesystem.deny = ['/srv/b/*']",
        ),
        (
            "tools.write.denied_paths = ['$WORKSPACE/*.lock']",
            "tools.write.denied_paths = ['$WORKSPACE/x.lock']",
        ),
    ] {
        judge("pattern-later", said(fires), said(silent));
    }
    let at = |workspace: &str| Roots {
        workspace: workspace.into(),
        ..roots()
    };
    let said = |workspace| findings(&[(Rank::Operator, "")], &at(workspace), &none);
    judge("workspace-home", said("/home/u"), said("/home/u/w"));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    let all: BTreeSet<&str> = CHECKS.iter().map(|check| check.id).collect();
    assert_eq!(all.len(), CHECKS.len(), "an id is there twice");
    assert!(all.len() >= 25, "{}", all.len());
    let untried: Vec<_> = all.difference(&tried).collect();
    assert!(untried.is_empty(), "never tried: {untried:?}");
    println!("{} checks, each with a firing and a silent case", all.len());
}

/// The line that cancels the effect may be far from the rule: in another file, or in a file that it extends.
#[test]
fn a_rule_without_effect_names_what_takes_it_away_and_the_remedy() {
    let network = "network = { mode = 'allowlist', allow = ['a.example'] }";
    for (above, text, reason, fix) in [
        (
            "",
            "extends = 'challenge'\n",
            "is allowed (preset:challenge:",
            "add \"fetch\" to tools.allow of this file",
        ),
        (
            "",
            "tools.deny = ['*']\n",
            "is allowed (operator.toml:1)",
            "remove \"*\" from tools.deny at operator.toml:1",
        ),
        (
            "",
            "tools.profile = 'readonly'\n",
            "is allowed (operator.toml:1)",
            "choose a tools.profile that has fetch",
        ),
        (
            "tools.allow = ['read']",
            "",
            "is allowed (platform.toml:1)",
            "allow fetch at platform.toml:1",
        ),
    ] {
        let text = format!("{text}{network}");
        let layers = [(Rank::Platform, above), (Rank::Operator, &text)];
        // A layer that says nothing is none.
        let layers = &layers[usize::from(above.is_empty())..];
        let found = findings(layers, &roots(), &Facts::default());
        let idle = found.iter().find(|f| f.id == "network-no-tool");
        let idle = idle.unwrap_or_else(|| panic!("{text}: {found:#?}"));
        assert!(idle.reason.contains(reason), "{idle:#?}");
        assert_eq!(idle.fix, fix, "{idle:#?}");
        let origin = idle.origin.as_ref().expect("a place");
        assert_eq!(&*origin.source, "operator.toml");
    }
}

/// A removal by a lower layer is no mistake of those above.
#[test]
fn a_rule_that_a_lower_layer_narrows_has_an_effect() {
    let above = "network.mode = 'open'\nfilesystem.write = ['/srv/x']\n";
    let narrow = "tools.allow = ['read']";
    let idle = |layers: &[(Rank, &str)]| {
        let found = findings(layers, &roots(), &Facts::default());
        ["network-no-tool", "grant-idle"].map(|id| has(&found, id))
    };
    let below = [(Rank::Operator, above), (Rank::Project, narrow)];
    assert_eq!(idle(&below), [false, false]);
    // The control.
    let both = format!("{above}{narrow}");
    assert_eq!(idle(&[(Rank::Operator, &both)]), [true, true]);
    let beside = [(Rank::Platform, narrow), (Rank::Operator, above)];
    assert!(idle(&beside)[0]);
}

/// Files that extend a shipped policy say its `unprotect` again.
#[test]
fn an_exception_that_holds_already_is_no_excess() {
    let clips = |above, below| {
        let layers = [(Rank::Operator, above), (Rank::Project, below)];
        let found = findings(&layers, &roots(), &Facts::default());
        found.iter().filter(|f| f.id == "layer-clipped").count()
    };
    let unprotect = |path: &str| format!("filesystem.unprotect = ['$WORKSPACE/{path}']");
    let (makefile, hooks) = (unprotect("Makefile"), unprotect(".git/hooks"));
    assert_eq!(clips(&makefile, &makefile), 0);
    assert_eq!(clips(&makefile, &hooks), 1);
    assert_eq!(clips("limits.pids = 64", &makefile), 1);
    assert_eq!(clips("extends = 'default'", "extends = 'default'"), 0);
}

#[test]
fn a_finding_names_its_line_and_the_case() {
    let text = "# one\ntools.deny = [\n  'raed',\n]\n";
    let found = findings(&[(Rank::Operator, text)], &roots(), &Facts::default());
    let unknown = found
        .iter()
        .find(|f| f.id == "tool-unknown")
        .expect("it fires");
    assert_eq!(unknown.severity, Severity::Warn);
    assert_eq!(unknown.reason, "creel does not know the tool 'raed'");
    assert_eq!(unknown.fix, "write \"read\"");
    let origin = unknown.origin.as_ref().expect("a place");
    assert_eq!((&*origin.source, origin.line), ("operator.toml", 3));
    // The worst first.
    let severities: Vec<_> = found.iter().map(|f| f.severity).collect();
    assert!(severities.is_sorted(), "{severities:?}");
}

#[test]
fn what_ships_with_creel_has_nothing_worse_than_info() {
    for name in preset::names() {
        let stack = Stack {
            layers: vec![(Rank::Operator, preset::layer(name).expect("it parses"))],
        };
        let limits = preset::limits().expect("it parses");
        let outcome = stack.resolve(&limits, &roots());
        let found = lint(&stack, &outcome, &roots(), &Facts::default());
        // tests/it/agents.rs has those whose login is in the jail, and that this is said.
        let agents = ["aider", "claude-code", "codex", "gemini", "opencode"];
        let login = |id| agents.contains(&name) && id == "env-credential";
        let worse: Vec<_> = found
            .iter()
            .filter(|f| f.severity < Severity::Info && !login(f.id))
            .collect();
        assert!(worse.is_empty(), "{name}: {worse:#?}");
    }
}

/// The facts come from the machine: modes, absence, names.
#[test]
fn the_facts_are_what_is_there() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = |name: &str| dir.path().join(name);
    let mode = |name: &str, mode| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(at(name), mode).expect("chmod");
    };
    for name in ["w/src", "w/node_modules", "tools", "open"] {
        std::fs::create_dir_all(at(name)).expect("mkdir");
    }
    for name in [
        "w/.env",
        "w/src/x.pem",
        "w/src/x.rs",
        "w/node_modules/y.pem",
    ] {
        std::fs::write(at(name), "").expect("write");
    }
    let text = format!(
        "filesystem.exec = ['{0}/tools', '{0}/open', '{0}/gone']\n",
        dir.path().display()
    );
    std::fs::write(at("p.toml"), &text).expect("write");
    mode("p.toml", 0o666);
    mode("tools", 0o755);
    mode("open", 0o777);
    let source = at("p.toml").display().to_string();
    let roots = Roots {
        home: "/home/u".into(),
        workspace: at("w").display().to_string(),
    };
    let stack = Stack {
        layers: vec![(
            Rank::Operator,
            file::read(&source, &text).expect("it parses"),
        )],
    };
    let limits = preset::limits().expect("it parses");
    let outcome = stack.resolve(&limits, &roots);
    let facts = facts::gather(&stack, &outcome, &roots);
    let name = |name: &str| at(name).display().to_string();
    assert_eq!(facts.files[&source], Keeping::WritableByOthers);
    assert_eq!(facts.paths[&name("tools")], Found::There);
    assert_eq!(facts.paths[&name("open")], Found::WritableByOthers);
    assert_eq!(facts.paths[&name("gone")], Found::Absent);
    // Other people's code is passed by.
    let secrets = BTreeSet::from([name("w/.env"), name("w/src/x.pem")]);
    assert_eq!(facts.secrets, secrets);
    mode("p.toml", 0o644);
    let facts = facts::gather(&stack, &outcome, &roots);
    assert_eq!(facts.files[&source], Keeping::Own);
}

#[test]
fn names_of_credentials() {
    for name in [
        ".env",
        ".env.local",
        "server.key",
        "id_rsa",
        "credentials.json",
    ] {
        assert!(is_secret_file(name), "{name}");
    }
    for name in [
        ".env.example",
        "id_rsa.pub",
        "keys.rs",
        "environment",
        "main.py",
    ] {
        assert!(!is_secret_file(name), "{name}");
    }
}

#[test]
fn of_two_equal_denials_the_later_one_is_shadowed() {
    let text = "[filesystem]\nread = ['/srv']\ndeny = [\n'/srv/a',\n'/srv/a']";
    let found = findings(&[(Rank::Operator, text)], &roots(), &Facts::default());
    let shadowed = found.iter().filter(|finding| finding.id == "deny-shadowed");
    let lines: Vec<Option<u32>> = shadowed
        .map(|finding| finding.origin.as_ref().map(|origin| origin.line))
        .collect();
    assert_eq!(lines, [Some(5)]);
}
