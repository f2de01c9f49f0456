//! The table of tools: each row holds in a real jail, as root and as an ordinary user. The control of
//! every refusal is the same act with the tool allowed.

use std::os::unix::fs::PermissionsExt;

use crate::support::{Ran, Run, Who, Workspace};

/// Prints how each act ended: `ok`, or the name of the errno. `HOST` is the host's workspace, `BESIDE`
/// a directory that is granted.
const PROBE: &str = r#"
import errno, os, socket, subprocess
def attempt(name, act):
    try: print(name, act() or 'ok')
    except OSError as e: print(name, errno.errorcode[e.errno])
def read(path):
    def act(): open(path).read()
    return act
def write(path):
    def act(): open(path, 'a').write('x')
    return act
def spawn():
    os.waitpid(os.posix_spawn('/usr/bin/true', ['true'], {}), 0)
def copy():
    done = subprocess.run(['/bin/cp', 'HOST/file', 'HOST/copy'], capture_output=True, text=True)
    return done.stderr.strip().rsplit(': ', 1)[-1]
def connect(address):
    def act(): socket.create_connection((address, 9), 5)
    return act
attempt('read', read('HOST/file'))
attempt('beside', read('BESIDE/file'))
attempt('write', write('HOST/file'))
attempt('make', write('HOST/new'))
attempt('write-beside', write('BESIDE/file'))
attempt('exec', spawn)
attempt('copy', copy)
attempt('net', connect('192.0.2.1'))
attempt('loopback', connect('127.0.0.1'))
"#;

/// Output of the probe with this section of tools.
fn probe(who: Who, tools: &str, extra: &str) -> Vec<(String, String)> {
    let workspace = Workspace::new(who);
    workspace.write("file", "text\n");
    workspace.write("out/file", "text\n");
    workspace.write("secret/file", "text\n");
    let beside = workspace.outside().join("beside");
    std::fs::create_dir(&beside).expect("mkdir");
    std::fs::write(beside.join("file"), "text\n").expect("write");
    let (uid, gid, _) = who.account();
    for path in [beside.clone(), beside.join("file")] {
        // Open to all: what is refused is refused by the jail.
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o777)).expect("chmod");
        std::os::unix::fs::chown(path, Some(uid), Some(gid)).expect("chown");
    }
    let beside = beside.display().to_string();
    // Debian's python has its sockets in an extension; without exec it must be named.
    let text = format!(
        "extends = 'default'\n[filesystem]\nwrite = ['{beside}']\nload = ['{}']\n{tools}\n",
        crate::attacks::exec_allowlist::extensions()
    )
    .replace("BESIDE", &beside);
    let script = (PROBE.to_owned() + extra)
        .replace("HOST", &workspace.path().display().to_string())
        .replace("BESIDE", &beside);
    let ran: Ran = Run::new(who, &workspace)
        .policy_text(&workspace, "tools", &text)
        .python(&script)
        .ok();
    ran.stdout
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, end)| (name.to_owned(), end.to_owned()))
        .collect()
}

/// Each named act ends so.
#[track_caller]
fn holds(found: &[(String, String)], expected: &[(&str, &str)]) {
    for (name, end) in expected {
        let found_end = found
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, e)| e.as_str());
        assert_eq!(found_end, Some(*end), "{name}: {found:#?}");
    }
}

const ALL: [(&str, &str); 9] = [
    ("read", "ok"),
    ("beside", "ok"),
    ("write", "ok"),
    ("make", "ok"),
    ("write-beside", "ok"),
    ("exec", "ok"),
    ("copy", "ok"),
    ("net", "ENETUNREACH"),
    // Nobody listens, and the way there is open.
    ("loopback", "ECONNREFUSED"),
];

each!(with_every_tool_everything_that_is_granted_holds);
fn with_every_tool_everything_that_is_granted_holds(who: Who) {
    holds(&probe(who, "", ""), &ALL);
    holds(&probe(who, "[tools]\nprofile = 'full'", ""), &ALL);
}

each!(without_read_the_workspace_and_the_grants_are_not_there);
fn without_read_the_workspace_and_the_grants_are_not_there(who: Who) {
    let found = probe(who, "[tools]\ndeny = ['read']", "");
    holds(
        &found,
        &[
            ("read", "ENOENT"),
            ("beside", "ENOENT"),
            ("write", "ENOENT"),
            ("make", "ENOENT"),
            ("write-beside", "ENOENT"),
            ("exec", "ok"),
        ],
    );
}

each!(without_write_everything_is_read_only_for_every_process);
fn without_write_everything_is_read_only_for_every_process(who: Who) {
    for tools in [
        "deny = ['write']",
        "allow = ['read', 'edit', 'apply_patch', 'exec']",
    ] {
        let found = probe(who, &format!("[tools]\n{tools}"), "");
        holds(
            &found,
            &[
                ("read", "ok"),
                ("beside", "ok"),
                ("write", "EROFS"),
                ("make", "EROFS"),
                ("write-beside", "EROFS"),
                ("copy", "Read-only file system"),
                ("exec", "ok"),
            ],
        );
    }
}

each!(without_edit_or_apply_patch_a_process_still_writes_where_write_may);
/// The kernel cannot tell an edit from a write.
fn without_edit_or_apply_patch_a_process_still_writes_where_write_may(who: Who) {
    for tool in ["edit", "apply_patch"] {
        holds(
            &probe(who, &format!("[tools]\ndeny = ['{tool}']"), ""),
            &ALL,
        );
    }
}

each!(without_exec_the_worker_executes_nothing);
fn without_exec_the_worker_executes_nothing(who: Who) {
    for tools in [
        "[tools]\ndeny = ['exec']",
        "[tools.exec]\nsecurity = 'deny'",
        "[tools.exec]\nask = 'always'",
    ] {
        let found = probe(who, tools, "");
        let refused = [
            ("exec", "EACCES"),
            ("copy", "EACCES"),
            ("read", "ok"),
            ("write", "ok"),
        ];
        holds(&found, &refused);
    }
}

each!(an_allowlist_has_the_programs_that_it_names);
fn an_allowlist_has_the_programs_that_it_names(who: Who) {
    let with = |name: &str| {
        probe(
            who,
            &format!("[tools.exec]\ncommands = ['python3', '{name}']"),
            "",
        )
    };
    holds(&with("cp"), &[("exec", "EACCES"), ("copy", "ok")]);
    holds(&with("true"), &[("exec", "ok"), ("copy", "EACCES")]);
}

each!(without_process_nothing_else_goes);
fn without_process_nothing_else_goes(who: Who) {
    holds(&probe(who, "[tools]\ndeny = ['process']", ""), &ALL);
}

each!(with_or_without_the_tools_of_the_network_there_is_loopback_alone);
fn with_or_without_the_tools_of_the_network_there_is_loopback_alone(who: Who) {
    for tools in [
        "allow = ['group:fs', 'group:runtime']",
        "deny = ['browser']",
        "profile = 'coding'",
    ] {
        holds(&probe(who, &format!("[tools]\n{tools}"), ""), &ALL);
    }
}

const PARTS: &str = r#"
attempt('read-out', read('HOST/out/file'))
attempt('read-secret', read('HOST/secret/file'))
attempt('write-out', write('HOST/out/file'))
attempt('write-secret', write('HOST/secret/file'))
"#;

each!(a_tools_own_paths_bind_every_process);
fn a_tools_own_paths_bind_every_process(who: Who) {
    let found = probe(who, "", PARTS);
    holds(
        &found,
        &[
            ("read-out", "ok"),
            ("read-secret", "ok"),
            ("write-out", "ok"),
            ("write-secret", "ok"),
        ],
    );
    let found = probe(
        who,
        "[tools.write]\nallowed_paths = ['$WORKSPACE/out']",
        PARTS,
    );
    holds(
        &found,
        &[
            ("read", "ok"),
            ("write", "EROFS"),
            ("make", "EROFS"),
            ("write-beside", "EROFS"),
            ("write-out", "ok"),
            ("write-secret", "EROFS"),
            ("read-secret", "ok"),
        ],
    );
    // None of the workspace, of the grants the one named.
    let found = probe(who, "[tools.read]\nallowed_paths = ['BESIDE']", PARTS);
    holds(
        &found,
        &[
            ("read", "ENOENT"),
            ("read-out", "ENOENT"),
            ("beside", "ok"),
            ("write-beside", "ok"),
        ],
    );
    let found = probe(
        who,
        "[tools.read]\ndenied_paths = ['$WORKSPACE/secret']",
        PARTS,
    );
    holds(
        &found,
        &[
            ("read", "ok"),
            ("write", "ok"),
            ("read-out", "ok"),
            ("read-secret", "EACCES"),
            ("write-secret", "EACCES"),
        ],
    );
}

each!(what_write_is_denied_no_process_changes);
fn what_write_is_denied_no_process_changes(who: Who) {
    for tool in ["write", "edit", "apply_patch"] {
        let text = format!("[tools.{tool}]\ndenied_paths = ['$WORKSPACE/secret']");
        let found = probe(who, &text, PARTS);
        holds(
            &found,
            &[
                ("write", "ok"),
                ("write-out", "ok"),
                ("read-secret", "ok"),
                ("write-secret", "EROFS"),
            ],
        );
    }
}

each!(the_timeout_of_exec_ends_the_run);
fn the_timeout_of_exec_ends_the_run(who: Who) {
    let workspace = Workspace::new(who);
    let run = |tools: &str| {
        let text = format!("extends = 'default'\n{tools}\n");
        let run = Run::new(who, &workspace).policy_text(&workspace, "timeout", &text);
        run.argv(["sleep", "2"])
    };
    let ran = run("tools.exec.timeout = '1s'");
    assert_eq!((ran.status, ran.kind()), (124, "timeout"), "{ran:#?}");
    assert_eq!(run("tools.exec.timeout = '1m'").status, 0);
}
