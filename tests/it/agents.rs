//! The presets of whole agents: which hosts each reaches, what lint says of them, and a stand-in for each,
//! installed in a home as the agent would be and run under its preset. `scripts/field` has the agents
//! themselves (docs/field.md).

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::{Command, Output};

use creel_dialects::lint::{Facts, Severity, lint};
use creel_policy::decide::decide;
use creel_policy::layer::{Case, Rank};
use creel_policy::preset;
use creel_policy::rights::Roots;
use creel_policy::stack::Stack;
use creel_policy::tools::Tool;

use crate::support::{Run, Who, Workspace, is_root, need};

struct Agent {
    preset: &'static str,
    /// All that it reaches, at port 443.
    hosts: &'static [&'static str],
    /// The path of the program beneath the home, as an installer puts it.
    program: &'static str,
    /// The name on PATH that leads to it.
    link: &'static str,
    /// The variable of its login.
    variable: &'static str,
    /// The file of its login on the host, which the jail has not.
    login: &'static str,
}

const ANTHROPIC: &str = "api.anthropic.com";
const OPENAI: &str = "api.openai.com";
const GOOGLE: &str = "generativelanguage.googleapis.com";

const AGENTS: [Agent; 5] = [
    Agent {
        preset: "claude-code",
        hosts: &[ANTHROPIC],
        program: ".local/share/claude/versions/2/claude",
        link: ".local/bin/claude",
        variable: "ANTHROPIC_API_KEY",
        login: ".claude/.credentials.json",
    },
    Agent {
        preset: "codex",
        hosts: &[OPENAI],
        program: ".npm-global/lib/node_modules/@openai/codex/bin/codex.js",
        link: ".npm-global/bin/codex",
        variable: "CODEX_API_KEY",
        login: ".codex/auth.json",
    },
    Agent {
        preset: "opencode",
        hosts: &["opencode.ai", ANTHROPIC, OPENAI, GOOGLE],
        program: ".opencode/bin/opencode",
        link: ".npm-global/bin/opencode",
        variable: "OPENCODE_API_KEY",
        login: ".local/share/opencode/auth.json",
    },
    Agent {
        preset: "gemini",
        hosts: &[GOOGLE],
        program: ".local/lib/node_modules/@google/gemini-cli/gemini.js",
        link: ".local/bin/gemini",
        variable: "GEMINI_API_KEY",
        login: ".gemini/oauth_creds.json",
    },
    Agent {
        preset: "aider",
        hosts: &[ANTHROPIC, OPENAI, GOOGLE],
        program: ".local/share/uv/tools/aider-chat/bin/aider",
        link: ".local/bin/aider",
        variable: "OPENAI_API_KEY",
        login: ".aider.conf.yml",
    },
];

fn stack(name: &str) -> Stack {
    Stack {
        layers: vec![(Rank::Operator, preset::layer(name).expect("it parses"))],
    }
}

fn roots() -> Roots {
    Roots {
        home: "/home/u".into(),
        workspace: "/home/u/w".into(),
    }
}

#[test]
fn each_reaches_its_vendors_api_and_no_other_host() {
    let limits = preset::limits().expect("it parses");
    let mut others = vec![
        "example.org",
        "anthropic.com",
        "x.api.anthropic.com",
        "api.openai.com.example.org",
        "chatgpt.com",
        "googleapis.com",
        "registry.npmjs.org",
        "169.254.169.254",
        "host.creel.internal",
    ];
    others.extend(AGENTS.iter().flat_map(|agent| agent.hosts));
    for agent in &AGENTS {
        let rights = stack(agent.preset).resolve(&limits, &roots()).rights;
        let reaches = |url: String| {
            let case = Case {
                tool: Tool::Fetch,
                words: vec![url],
            };
            decide(&rights, &roots(), &case).is_allowed()
        };
        for host in &others {
            let expected = agent.hosts.contains(host);
            let preset = agent.preset;
            assert_eq!(
                reaches(format!("https://{host}/v1/x")),
                expected,
                "{preset}: {host}"
            );
            assert!(!reaches(format!("http://{host}/v1/x")), "{preset}: {host}");
            assert!(
                !reaches(format!("https://{host}:8443/v1/x")),
                "{preset}: {host}"
            );
        }
    }
}

#[test]
fn lint_says_of_each_that_the_login_is_in_the_jail_and_nothing_else() {
    let limits = preset::limits().expect("it parses");
    for agent in &AGENTS {
        let stack = stack(agent.preset);
        let outcome = stack.resolve(&limits, &roots());
        let found = lint(&stack, &outcome, &roots(), &Facts::default());
        let mut worse = found.iter().filter(|f| f.severity < Severity::Info);
        assert!(
            worse.all(|f| f.id == "env-credential"),
            "{}: {found:#?}",
            agent.preset
        );
        let said = |f: &creel_dialects::lint::Finding| f.reason.contains(agent.variable);
        assert!(found.iter().any(said), "{}: {found:#?}", agent.preset);
    }
}

/// Acts as an agent does in a turn, and tries what it should not get at. `$1` is its login's file.
const STAND_IN: &str = r#"#!/bin/sh
echo "variable $VARIABLE"
cat ~/"$1" || true
sed -i 's/teh/the/' note
sh -c 'echo ran > ran'
mkdir -p ~/.agent && echo x > ~/.agent/session && echo session
{ echo x >> "$0"; } 2>/dev/null || echo 'program held'
getent ahostsv4 HOST >/dev/null && echo 'host there'
getent ahostsv4 example.org >/dev/null || echo 'no other'
"#;

/// A home with the agent in it and its login, and that home's own account database.
fn install(who: Who, workspace: &Workspace, agent: &Agent) -> String {
    let (uid, gid, _) = who.account();
    let home = workspace.outside().join("home");
    let put = |name: &str, mode: u32, text: &str| {
        let path = home.join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir -p");
        fs::write(&path, text).expect("write");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("chmod");
        let mut made: &Path = &path;
        while made != workspace.outside() {
            chown(made, Some(uid), Some(gid)).expect("chown");
            made = made.parent().expect("a parent");
        }
    };
    let text = STAND_IN
        .replace("VARIABLE", agent.variable)
        .replace("HOST", agent.hosts[0]);
    put(agent.program, 0o755, &text);
    put(agent.login, 0o600, "the login\n");
    let link = home.join(agent.link);
    fs::create_dir_all(link.parent().expect("a parent")).expect("mkdir -p");
    symlink(home.join(agent.program), link).expect("a link");
    let passwd = workspace.outside().join("passwd");
    let text = format!("someone:x:{uid}:{gid}::{}:/bin/sh\n", home.display());
    fs::write(&passwd, text).expect("write");
    passwd.display().to_string()
}

/// `creel run` where `/etc/passwd` is the file `passwd`: in a mount namespace of its own.
fn run(who: Who, workspace: &Workspace, passwd: &str, preset: &str, agent: &Agent) -> Output {
    let name = Path::new(agent.link).file_name().expect("a name");
    let run = Run::new(who, workspace)
        .policy(preset)
        .command([name, std::ffi::OsStr::new(agent.login)]);
    let (uid, gid, _) = who.account();
    let drop = match who {
        Who::Root => "exec",
        Who::User => &format!("exec setpriv --clear-groups --reuid {uid} --regid {gid}"),
    };
    let script = format!("mount --bind {passwd} /etc/passwd && {drop} \"$@\"");
    Command::new(need("unshare"))
        .args([
            "--mount",
            "--propagation",
            "private",
            "/bin/sh",
            "-c",
            &script,
            "sh",
        ])
        .arg(run.get_program())
        .args(run.get_args())
        .current_dir(workspace.path())
        .env_clear()
        .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
        .env(agent.variable, "a key")
        .output()
        .expect("unshare starts")
}

each!(a_stand_in_for_each_does_a_turn_where_its_installer_puts_it);
fn a_stand_in_for_each_does_a_turn_where_its_installer_puts_it(who: Who) {
    if !is_root() {
        eprintln!("skipped: a home of the test's own needs root, for its account database");
        return;
    }
    for agent in &AGENTS {
        let workspace = Workspace::new(who);
        workspace.write("note", "teh first line\n");
        let passwd = install(who, &workspace, agent);
        let ran = run(who, &workspace, &passwd, agent.preset, agent);
        let stdout = String::from_utf8_lossy(&ran.stdout);
        let stderr = String::from_utf8_lossy(&ran.stderr);
        let preset = agent.preset;
        assert_eq!(
            stdout, "variable a key\nsession\nprogram held\nhost there\nno other\n",
            "{preset}: {stderr}"
        );
        assert!(
            stderr.contains(&format!("{}: No such file or directory", agent.login)),
            "{preset}: {stderr}"
        );
        assert_eq!(ran.status.code(), Some(0), "{preset}: {stderr}");
        let read = |name: &str| fs::read_to_string(workspace.path().join(name)).expect("there");
        assert_eq!(
            (&*read("note"), &*read("ran")),
            ("the first line\n", "ran\n")
        );
        assert!(
            !workspace.outside().join("home/.agent").exists(),
            "{preset}"
        );

        // The control: `coding` does not grant where it is, and reaches nobody.
        let ran = run(who, &workspace, &passwd, "coding", agent);
        assert_eq!(ran.status.code(), Some(127), "{preset}: {ran:?}");
    }
}
