//! The policies that ship with creel: each holds its own cases, and each runs a real program, as root
//! and as an ordinary user, and keeps it from what it must not do.
//!
//! The control of every refusal is the default policy, under which the same act succeeds.

use creel_policy::decide::decide;
use creel_policy::layer::Rank;
use creel_policy::preset;
use creel_policy::rights::Roots;
use creel_policy::stack::Stack;

use crate::support::{Ran, Run, Who, Workspace, libc_alone, need};

#[test]
fn every_preset_holds_its_own_cases() {
    let roots = Roots {
        home: "/home/u".into(),
        workspace: "/home/u/w".into(),
    };
    let limits = preset::limits().expect("it parses");
    let mut wrong = vec![];
    let mut count = 0;
    for name in preset::names() {
        let layer = preset::layer(name).expect("it parses");
        // Cases of its own file only: the cases of a file that it extends were written for another purpose.
        let own = |case: &&creel_policy::Sourced<creel_policy::layer::Case>| {
            *case.origin.source == *format!("preset:{name}")
        };
        let tests = layer.tests.clone();
        let stack = Stack {
            layers: vec![(Rank::Operator, layer)],
        };
        let rights = stack.resolve(&limits, &roots).rights;
        assert!(tests.deny.iter().filter(own).count() > 3, "{name}");
        for (cases, expected) in [(&tests.allow, true), (&tests.deny, false)] {
            for case in cases.iter().filter(own) {
                count += 1;
                let decision = decide(&rights, &roots, &case.value);
                if decision.is_allowed() != expected {
                    wrong.push(format!(
                        "{name}:{}: {}: {decision:?}",
                        case.origin.line, case.value
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    println!("{count} cases");
}

/// Prints how each act ended: `ok`, or the name of the errno. `HOST` is the host's workspace.
const PROBE: &str = r#"
import errno, os, sys
def attempt(name, act):
    try: act(); print(name, 'ok')
    except OSError as e: print(name, errno.errorcode[e.errno])
def execute():
    pid = os.posix_spawn('/usr/bin/true', ['true'], {})
    os.waitpid(pid, 0)
attempt('read', lambda: open('HOST/file').read())
attempt('write', lambda: open('HOST/file', 'a').write('x'))
attempt('make', lambda: open('HOST/made', 'w'))
attempt('exec', execute)
"#;

fn probe(who: Who, preset: &str) -> Ran {
    let workspace = Workspace::new(who);
    workspace.write("file", "text\n");
    let script = PROBE.replace("HOST", &workspace.path().display().to_string());
    Run::new(who, &workspace)
        .policy(preset)
        .python(&script)
        .ok()
}

each!(each_preset_refuses_what_it_is_for_refusing);
fn each_preset_refuses_what_it_is_for_refusing(who: Who) {
    let all = "read ok\nwrite ok\nmake ok\nexec ok\n";
    let none = "read ENOENT\nwrite ENOENT\nmake ENOENT\n";
    let agents = ["claude-code", "codex", "opencode", "gemini", "aider"];
    for preset in ["default", "coding", "python", "node", "rust"]
        .into_iter()
        .chain(agents)
    {
        assert_eq!(probe(who, preset).stdout, all, "{preset}");
    }
    let refused = [
        (
            "readonly",
            "read ok\nwrite EROFS\nmake EROFS\nexec EACCES\n".to_owned(),
        ),
        (
            "untrusted",
            "read ok\nwrite EROFS\nmake EROFS\nexec ok\n".to_owned(),
        ),
        ("challenge", format!("{none}exec ok\n")),
        ("rental", format!("{none}exec ok\n")),
        ("public-support", format!("{none}exec EACCES\n")),
        ("browser", format!("{none}exec EACCES\n")),
    ];
    for (preset, expected) in refused {
        assert_eq!(probe(who, preset).stdout, expected, "{preset}");
    }
}

/// `sh -e` under the preset; it must exit 0.
#[track_caller]
fn script(who: Who, workspace: &Workspace, preset: &str, script: &str) -> Ran {
    Run::new(who, workspace)
        .policy(preset)
        .argv(["/bin/sh", "-ec", script])
        .ok()
}

each!(readonly_searches_a_project);
fn readonly_searches_a_project(who: Who) {
    need("grep");
    let workspace = Workspace::new(who);
    workspace.write("src/a", "one\nneedle\n");
    let run = || Run::new(who, &workspace).policy("readonly");
    let ran = run().argv(["grep", "-rn", "needle", "src"]).ok();
    assert_eq!(ran.stdout, "src/a:2:needle\n");
    // git is a program that starts others; by itself it reads.
    let ran = run().sh("echo > src/b");
    assert!(ran.stderr.contains("Read-only file system"), "{ran:#?}");
}

each!(python_makes_an_environment_and_tests);
fn python_makes_an_environment_and_tests(who: Who) {
    need("python3");
    let workspace = Workspace::new(who);
    workspace.write(
        "test_it.py",
        "import unittest\nclass T(unittest.TestCase):\n    def test(self): self.assertEqual(1 + 1, 2)\n",
    );
    let ran = script(
        who,
        &workspace,
        "python",
        "/usr/bin/python3 -m venv --without-pip .venv; .venv/bin/python -m unittest 2>&1; .venv/bin/python -c 'import sys; print(sys.prefix != sys.base_prefix)'",
    );
    assert!(ran.stdout.contains("OK\n"), "{ran:#?}");
    assert!(ran.stdout.ends_with("True\n"), "{ran:#?}");
}

each!(node_runs_its_tests);
fn node_runs_its_tests(who: Who) {
    need("node");
    let workspace = Workspace::new(who);
    workspace.write("a.mjs", "export const two = 1 + 1;\n");
    let ran = script(
        who,
        &workspace,
        "node",
        "node --input-type=module -e \"import { two } from './a.mjs'; import fs from 'node:fs'; fs.writeFileSync('out', String(two)); console.log(two)\"",
    );
    assert_eq!(ran.stdout, "2\n");
    let made = std::fs::read_to_string(workspace.path().join("out")).expect("it is made");
    assert_eq!(made, "2");
}

each!(rust_builds_and_runs);
fn rust_builds_and_runs(who: Who) {
    let (_, _, home) = who.account();
    if !home.join(".cargo/bin/cargo").exists() && !std::path::Path::new("/usr/bin/cargo").exists() {
        eprintln!("skipped: {} has no cargo", home.display());
        return;
    }
    let workspace = Workspace::new(who);
    let ran = script(
        who,
        &workspace,
        "rust",
        "cargo init -q --vcs none --name it .; cargo run -q",
    );
    assert_eq!(ran.stdout, "Hello, world!\n");
}

each!(challenge_clones_writes_and_tests_in_a_workspace_of_its_own);
fn challenge_clones_writes_and_tests_in_a_workspace_of_its_own(who: Who) {
    need("git");
    let workspace = Workspace::new(who);
    let ran = script(
        who,
        &workspace,
        "challenge",
        "git init -q -b main task; cd task; git config user.name T; git config user.email t@e
             printf 'def two(): return 1\\n' > two.py; git add .; git commit -qm Task; cd ..
             git clone -q task mine; cd mine; printf 'def two(): return 2\\n' > two.py
             printf 'import unittest, two\\nclass T(unittest.TestCase):\\n    def test(self): self.assertEqual(two.two(), 2)\\n' > test_two.py
             /usr/bin/python3 -m unittest 2>&1 | tail -1; git diff --stat; pwd",
    );
    assert!(ran.stdout.starts_with("OK\n two.py | 2 +-\n"), "{ran:#?}");
    assert!(ran.stdout.ends_with("/workspace/mine\n"), "{ran:#?}");
    let left = std::fs::read_dir(workspace.path())
        .expect("readdir")
        .count();
    assert_eq!(left, 0, "the host's workspace is as it was");
}

each!(rental_is_fresh_and_bounded);
fn rental_is_fresh_and_bounded(who: Who) {
    let workspace = Workspace::new(who);
    let run = || Run::new(who, &workspace).policy("rental");
    // One renter leaves a file; the next does not find it.
    assert_eq!(run().sh("echo x > left; ls").ok().stdout, "left\n");
    assert_eq!(run().sh("ls").ok().stdout, "");
    let fill = "for i in 1 2; do dd if=/dev/zero of=$i bs=1M count=100 2>&1; done | grep -o 'No space left'";
    assert_eq!(run().sh(fill).ok().stdout, "No space left\n");
    // The same fits where the limit is larger.
    let roomy = Run::new(who, &workspace).policy("default");
    let ran = roomy.flags(["--workspace", "none"]).sh(fill);
    assert_eq!((ran.status, ran.stdout.as_str()), (1, ""), "{ran:#?}");
}

each!(public_support_answers_and_starts_nothing);
fn public_support_answers_and_starts_nothing(who: Who) {
    need("python3");
    let workspace = Workspace::new(who);
    let answer = "import sys, json; print(json.dumps({'answer': sys.stdin.read().upper()}))";
    let ran = Run::new(who, &workspace)
        .policy("public-support")
        .stdin("hello")
        .python(answer)
        .ok();
    assert_eq!(ran.stdout, "{\"answer\": \"HELLO\"}\n");
    let injected = "import os; print(os.waitstatus_to_exitcode(os.system('id')))";
    let run = |preset| {
        Run::new(who, &workspace)
            .policy(preset)
            .python(injected)
            .ok()
    };
    assert_eq!(run("public-support").stdout, "127\n");
    assert!(run("default").stdout.ends_with(")\n0\n"));
}

each!(browser_reads_a_page_from_loopback_and_no_other);
fn browser_reads_a_page_from_loopback_and_no_other(who: Who) {
    need("python3");
    let page = r#"
import errno, http.server, socket, threading, urllib.request
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self): self.send_response(200); self.end_headers(); self.wfile.write(b'<title>here</title>')
    def log_message(self, *a): pass
server = http.server.HTTPServer(('127.0.0.1', 0), H)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(urllib.request.urlopen(f'http://127.0.0.1:{server.server_port}/').read().decode())
try: socket.create_connection(('192.0.2.1', 80), 5); print('out')
except OSError as e: print(errno.errorcode[e.errno])
"#;
    let workspace = Workspace::new(who);
    let ran = Run::new(who, &workspace)
        .policy("browser")
        .python(page)
        .ok();
    assert_eq!(ran.stdout, "<title>here</title>\nENETUNREACH\n");
}

each!(what_libc_loads_by_itself_is_there_in_every_preset);
/// The same with every preset, whether its programs are granted or named.
fn what_libc_loads_by_itself_is_there_in_every_preset(who: Who) {
    need("python3");
    let host = std::process::Command::new("/usr/bin/python3");
    let host = { host }
        .args(["-c", libc_alone::PYTHON])
        .output()
        .expect("python3");
    assert_eq!(String::from_utf8_lossy(&host.stdout), libc_alone::ANSWER);
    let workspace = Workspace::new(who);
    for preset in preset::names() {
        let ran = Run::new(who, &workspace)
            .policy(preset)
            .python(libc_alone::PYTHON);
        let got = (ran.status, ran.stdout.as_str());
        assert_eq!(got, (0, libc_alone::ANSWER), "{preset}: {ran:#?}");
    }
}

each!(untrusted_runs_a_program_of_the_workspace);
fn untrusted_runs_a_program_of_the_workspace(who: Who) {
    let workspace = Workspace::new(who);
    workspace.write("program", "#!/bin/sh\necho ran; echo x > here || exit 3\n");
    let run = |preset| Run::new(who, &workspace).policy(preset).argv(["./program"]);
    let ran = run("untrusted");
    assert_eq!((ran.status, ran.stdout.as_str()), (3, "ran\n"), "{ran:#?}");
    assert!(ran.stderr.contains("Read-only file system"), "{ran:#?}");
    assert_eq!(run("default").status, 0);
    let ran = Run::new(who, &workspace)
        .policy("untrusted")
        .outer_env("TERM", "x")
        .sh("echo ${TERM-none}");
    assert_eq!(ran.ok().stdout, "none\n");
}
