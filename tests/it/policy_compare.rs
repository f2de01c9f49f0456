//! Output of `creel policy diff`, rule by rule: which policy allows an act that another did not, by which word.

use creel_policy::compare::widened;
use creel_policy::layer::Rank;
use creel_policy::rights::{Rights, Roots};
use creel_policy::stack::Stack;
use creel_policy::{file, preset};

fn roots() -> Roots {
    Roots {
        home: "/home/u".into(),
        workspace: "/home/u/w".into(),
    }
}

fn rights(name: &str, text: &str) -> Rights {
    let layer = file::read(name, text).unwrap_or_else(|error| panic!("{text}\n{error}"));
    let limits = preset::limits().expect("it parses");
    let stack = Stack {
        layers: vec![(Rank::Operator, layer)],
    };
    stack.resolve(&limits, &roots()).rights
}

/// `KEY: ITEM`, and `@LINE` where the rule stands in the new policy.
fn said(old: &str, new: &str) -> Vec<String> {
    let found = widened(&rights("old", old), &rights("new", new)).into_iter();
    let line = |excess: creel_policy::compare::Excess| {
        let excess = excess.shortened(&roots());
        let place = excess.origin.map(|origin| format!(" @{}", origin.line));
        format!(
            "{}: {}{}",
            excess.key,
            excess.item,
            place.unwrap_or_default()
        )
    };
    found.map(line).collect()
}

#[test]
fn each_rule_that_allows_more_is_said_and_no_other() {
    let cases: &[(&str, &str, &[&str])] = &[
        (
            "filesystem.read = ['/a']",
            "filesystem.read = ['/a', '/b', '~/c']",
            &["filesystem.read: /b @1", "filesystem.read: ~/c @1"],
        ),
        (
            "filesystem.read = ['/a']",
            "filesystem.read = ['/a/b']",
            &[],
        ),
        (
            "filesystem.write = ['/a/b']",
            "filesystem.write = ['/a']",
            &["filesystem.read: /a @1", "filesystem.write: /a @1"],
        ),
        (
            "filesystem.exec = ['/usr']",
            "filesystem.exec = ['/usr', '/opt']",
            &["filesystem.exec: /opt @1", "filesystem.read: /opt @1"],
        ),
        (
            "filesystem.load = ['/a']",
            "filesystem.load = ['/a', '/b']",
            &["filesystem.load: /b @1", "filesystem.read: /b @1"],
        ),
        (
            "filesystem.exec = ['/a']\nfilesystem.load = ['/b']",
            "filesystem.load = ['/a', '/b']",
            &["filesystem.load: /a @1"],
        ),
        (
            "filesystem.exec = ['/a']\ntools.exec.commands = ['/a/x']",
            "filesystem.exec = ['/a']\nfilesystem.load = ['/a']\ntools.exec.commands = ['/a/x']",
            &["filesystem.load: /a @2"],
        ),
        (
            "filesystem.exec = ['/a']",
            "filesystem.exec = ['/a']\nfilesystem.load = ['/a']",
            &[],
        ),
        (
            "filesystem.exec = ['/a']\ntools.exec.security = 'full'",
            "filesystem.exec = ['/a']\nfilesystem.load = ['/a']\ntools.exec.security = 'full'",
            &[],
        ),
        (
            "filesystem.exec = ['/a']\ntools.exec.security = 'allowlist'",
            "filesystem.exec = ['/a']\nfilesystem.load = ['/a']\ntools.exec.security = 'allowlist'",
            &["filesystem.load: /a @2"],
        ),
        (
            "filesystem.exec = ['/a']\ntools.deny = ['exec']",
            "filesystem.exec = ['/a']\nfilesystem.load = ['/a']\ntools.deny = ['exec']",
            &["filesystem.load: /a @2"],
        ),
        (
            "filesystem.exec = ['/a']\ntools.exec.security = 'full'",
            "filesystem.load = ['/a']",
            &[
                "filesystem.load: /a @1",
                "tools.exec.security: full no longer",
            ],
        ),
        (
            "filesystem.exec = ['/a']\ntools.exec.security = 'deny'",
            "filesystem.load = ['/a']",
            &[
                "filesystem.load: /a @1",
                "tools.exec.security: deny no longer",
            ],
        ),
        (
            "filesystem.exec = ['/a']\ntools.deny = ['exec']",
            "filesystem.load = ['/a']",
            &["filesystem.load: /a @1", "tools.allow: exec"],
        ),
        (
            "filesystem.exec = ['/a']",
            "filesystem.load = ['/a']\ntools.exec.commands = ['/b']",
            &[
                "filesystem.exec: /b @2",
                "filesystem.load: /a @1",
                "filesystem.read: /b @2",
            ],
        ),
        (
            "filesystem.read = ['/a']\nfilesystem.deny = ['/a/b', '/a/c']",
            "filesystem.read = ['/a']\nfilesystem.deny = ['/a/b/d', '/a/c']",
            &["filesystem.deny: /a/b no longer"],
        ),
        (
            "filesystem.deny = ['/a/b']",
            "filesystem.deny = ['/a']",
            &[],
        ),
        (
            "filesystem.write = ['/a']\nfilesystem.protect = ['/a/b']",
            "filesystem.write = ['/a']",
            &["filesystem.protect: /a/b no longer"],
        ),
        (
            "",
            "filesystem.unprotect = ['$WORKSPACE/.git/hooks']",
            &[
                "filesystem.protect: $WORKSPACE/.git/hooks no longer",
                "filesystem.unprotect: $WORKSPACE/.git/hooks @1",
            ],
        ),
        (
            "filesystem.workspace = 'ro'",
            "filesystem.workspace = 'rw'",
            &[
                "filesystem.protect: ~/w no longer",
                "filesystem.workspace: rw @1",
            ],
        ),
        (
            "environment.set = { A = '1', B = '2' }",
            "environment.set = { A = '2', B = '2', C = '3' }",
            &["environment.set: A=2 @1", "environment.set: C=3 @1"],
        ),
        (
            "environment.pass = ['A']",
            "environment.pass = ['A', 'TERM']",
            &["environment.pass: TERM @1"],
        ),
        (
            "limits.memory = '1GiB'\nlimits.pids = 10\nlimits.timeout = '1m'",
            "limits.memory = '2GiB'\nlimits.pids = 11\nlimits.timeout = '59s'",
            &["limits.memory: 2GiB @1", "limits.pids: 11 @2"],
        ),
        (
            "allow_degraded = ['cgroup']",
            "allow_degraded = ['cgroup', 'idmap']",
            &["allow_degraded: idmap @1"],
        ),
        (
            "session.mode = 'all'\nsession.scope = 'session'",
            "session.mode = 'off'\nsession.scope = 'shared'",
            &["session.mode: off @1", "session.scope: shared @2"],
        ),
        (
            "environment.git_identity = false",
            "environment.git_identity = true",
            &["environment.git_identity: true @1"],
        ),
        (
            "process.debug = false",
            "process.debug = true",
            &["process.debug: true @1"],
        ),
        ("", "process.debug = true", &["process.debug: true @1"]),
        (
            "tools.elevated = false",
            "tools.elevated = true",
            &["tools.elevated: true @1"],
        ),
        (
            "tools.max_iterations = 5",
            "tools.max_iterations = 6",
            &["tools.max_iterations: 6 @1"],
        ),
        (
            "tools.max_iterations = 5",
            "",
            &["tools.max_iterations: 5 no longer"],
        ),
        (
            "tools.deny = ['fetch', 'read']",
            "tools.deny = ['read']",
            &["tools.allow: fetch"],
        ),
        (
            "tools.allow = ['read', 'mcp_a']",
            "tools.allow = ['read', 'mcp_a', 'mcp_b', 'exec', 'x_*']",
            &["tools.allow: exec @1", "tools.allow: mcp_b @1"],
        ),
        (
            "tools.deny = ['mcp_a', 'mcp_b*']",
            "tools.deny = ['mcp_b*']",
            &["tools.allow: mcp_a"],
        ),
        (
            "tools.exec = { commands = ['/b/x', { command = '/b/y', args = ['a'] }] }",
            "tools.exec = { commands = ['/b/x', '/b/y', '/b/z'] }",
            &[
                "filesystem.exec: /b/z @1",
                "filesystem.read: /b/z @1",
                "tools.exec.commands: /b/y @1",
                "tools.exec.commands: /b/z @1",
            ],
        ),
        (
            "tools.exec = { commands = ['/b/x', '/b/y'] }",
            "tools.exec = { commands = [{ command = '/b/x', args = ['a'] }] }",
            &[],
        ),
        (
            "tools.exec = { commands = ['/b/x'] }",
            "",
            &["tools.exec.commands: every command"],
        ),
        (
            "",
            "tools.exec = { commands = ['/b/x'] }",
            &["filesystem.exec: /b/x @1", "filesystem.read: /b/x @1"],
        ),
        (
            "tools.exec = { security = 'deny', ask = 'always', timeout = '1s', rate = 5, max_iterations = 2 }",
            "tools.exec = { security = 'full', ask = 'off', timeout = '2s', rate = 6, max_iterations = 3 }",
            &[
                "tools.exec.ask: off @1",
                "tools.exec.max_iterations: 3 @1",
                "tools.exec.rate: 6 @1",
                "tools.exec.security: full @1",
                "tools.exec.timeout: 2s @1",
            ],
        ),
        (
            "tools.exec = { security = 'deny', ask = 'always', timeout = '1s', rate = 5, max_iterations = 2 }",
            "",
            &[
                "tools.exec.ask: always no longer",
                "tools.exec.max_iterations: 2 no longer",
                "tools.exec.rate: 5 no longer",
                "tools.exec.security: deny no longer",
                "tools.exec.timeout: 1s no longer",
            ],
        ),
        (
            "tools.write.allowed_paths = ['/a']\ntools.write.denied_paths = ['/a/b']",
            "tools.write.allowed_paths = ['/a', '/c']",
            &[
                "tools.write.allowed_paths: /c @1",
                "tools.write.denied_paths: /a/b no longer",
            ],
        ),
        (
            "tools.write.allowed_paths = ['/a']",
            "",
            &["tools.write.allowed_paths: every path"],
        ),
        (
            "tools.message.channels = ['a']",
            "tools.message.channels = ['a', 'b']",
            &["tools.message.channels: b @1"],
        ),
        (
            "tools.message.channels = ['a']",
            "",
            &["tools.message.channels: every name"],
        ),
        (
            "tools.browser.target = 'sandbox'",
            "",
            &["tools.browser.target: sandbox no longer"],
        ),
        (
            "network.mode = 'allowlist'\nnetwork.allow = ['a.example']",
            "network.mode = 'allowlist'\nnetwork.allow = ['a.example', 'b.example:443']",
            &["network.allow: b.example:443 @2"],
        ),
        (
            "network.mode = 'allowlist'\nnetwork.allow = ['*.example.com']",
            "network.mode = 'allowlist'\nnetwork.allow = ['a.example.com']",
            &[],
        ),
        (
            "network.mode = 'none'",
            "network.mode = 'allowlist'\nnetwork.allow = ['a.example']",
            &[
                "network.allow: a.example:80,443 @2",
                "network.mode: allowlist @1",
            ],
        ),
        (
            "network.mode = 'none'",
            "network.mode = 'open'",
            &["network.mode: open @1"],
        ),
        (
            "network.mode = 'allowlist'\nnetwork.allow = ['a.example', 'b.example']\nnetwork.deny = ['a.example', 'c.example']",
            "network.mode = 'allowlist'\nnetwork.allow = ['a.example', 'b.example']\nnetwork.deny = ['b.example', 'c.example']",
            &[
                "network.allow: a.example:80,443 @2",
                "network.deny: a.example no longer",
            ],
        ),
        (
            "network.mode = 'none'",
            "network.mode = 'none'\nnetwork.allow = ['a.example']",
            &[],
        ),
        (
            "network.mode = 'allowlist'\nnetwork.allow = ['a.example']\nnetwork.limits.connections = 3\nnetwork.limits.rate = 3",
            "network.mode = 'allowlist'\nnetwork.allow = ['a.example']\nnetwork.limits.connections = 4",
            &[
                "network.limits.connections: 4 @3",
                "network.limits.rate: 3 no longer",
            ],
        ),
        (
            "network.mode = 'allowlist'\nnetwork.allow = ['a.example']\nnetwork.limits.connections = 3",
            "network.mode = 'none'",
            &[],
        ),
        (
            "network.mode = 'allowlist'\nnetwork.allow = ['a.example']\nnetwork.deny = ['b.example']",
            "network.mode = 'none'",
            &[],
        ),
        (
            "network.mode = 'allowlist'\nnetwork.allow = ['a.example']",
            "network.mode = 'open'\nnetwork.deny = ['b.example']",
            &["network.mode: open @1"],
        ),
        (
            "network.mode = 'allowlist'\nnetwork.allow = ['a.example']\nnetwork.deny = ['c.example', '*.d.example']",
            "network.mode = 'allowlist'\nnetwork.allow = ['a.example']\nnetwork.deny = ['*.c.example', '*.d.example']",
            &["network.deny: c.example no longer"],
        ),
        (
            "network.mode = 'allowlist'\nnetwork.allow = ['a.example', 'b.example']",
            "network.mode = 'open'\nnetwork.allow = ['b.example']",
            &["network.mode: open @1"],
        ),
        (
            "network.mode = 'open'",
            "network.mode = 'allowlist'\nnetwork.allow = ['b.example', 'c.example:22']",
            &["network.allow: c.example:22 @2"],
        ),
        (
            "network.mode = 'allowlist'\nnetwork.allow = [{ host = 'a.example', methods = ['GET'], tls = 'terminate' }]",
            "network.mode = 'allowlist'\nnetwork.allow = [{ host = 'a.example', methods = ['GET', 'PUT'], tls = 'terminate' }]",
            &["network.allow: a.example:80,443 GET,PUT (tls terminate) @2"],
        ),
        (
            "network.mode = 'allowlist'\nnetwork.allow = [{ host = 'a.example', tls = 'terminate' }]\n[[network.credentials]]\nhost = 'a.example'\nheader = 'authorization'\nvariable = 'T'\nsecret = { env = 'S' }",
            "network.mode = 'allowlist'\nnetwork.allow = [{ host = 'a.example', tls = 'terminate' }]\n[[network.credentials]]\nhost = 'a.example'\nheader = 'x-key'\nvariable = 'T'\nsecret = { env = 'S' }",
            &["network.credentials: x-key for a.example @3"],
        ),
        // Port by port, whichever rule has each.
        (
            "network.mode = 'allowlist'\nnetwork.allow = ['a.example:80', 'a.example:443']",
            "network.mode = 'allowlist'\nnetwork.allow = ['a.example']",
            &[],
        ),
    ];
    let mut wrong = vec![];
    for (old, new, expected) in cases {
        for (old, new, expected) in [(old, new, *expected), (old, old, &[]), (new, new, &[])] {
            let found = said(old, new);
            if found != expected {
                wrong.push(format!("{old}\n-> {new}\n{found:#?}\n"));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.concat());
}
