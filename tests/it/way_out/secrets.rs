//! A credential is used by the jail and is nowhere in it: not in its memory, environment or files, not
//! in what creel writes, and in no core dump.

use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::Command;

use super::Jail;
use super::running::{ended, has_in_memory};
use crate::support::{Who, need};

const SECRET: &str = "the-real-secret-b0a1f7d2c9";

/// TLS is ended for two hosts, one of which has a credential.
fn network(secret: &str) -> String {
    format!(
        "mode = \"allowlist\"\n\
         allow = [\n\
         \x20   {{ host = \"web.test\", ports = [443, 8443], tls = \"terminate\" }},\n\
         \x20   {{ host = \"other.test\", tls = \"terminate\" }},\n\
         \x20   \"web.test:80\",\n\
         ]\n\
         [[network.credentials]]\n\
         host = \"web.test\"\n\
         header = \"authorization\"\n\
         variable = \"API_TOKEN\"\n\
         secret = {secret}"
    )
}

/// The secret in a variable of creel's own, or in a file of the caller's alone.
#[derive(Debug, Clone, Copy)]
enum Place {
    Variable,
    File,
}

fn jail(who: Who, place: Place) -> Option<Jail> {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), format!("{SECRET}\n")).expect("write");
    let (uid, gid, _) = who.account();
    chown(file.path(), Some(uid), Some(gid)).ok();
    let secret = match place {
        Place::Variable => "{ env = \"REAL_API_TOKEN\" }".to_owned(),
        Place::File => format!("{{ file = {:?} }}", file.path()),
    };
    let jail = Jail::new(who, &network(&secret))?;
    jail.outside.trust();
    Some(match place {
        Place::Variable => jail.outer_env("REAL_API_TOKEN", SECRET),
        Place::File => jail.keep(file),
    })
}

/// Three programs send the placeholder to both hosts, over TLS and not; then all that can be read is
/// read. What is looked for comes in reverse, so that it is not found in its own file.
const INSIDE: &str = r#"
import glob, json, os, subprocess, time, urllib.request as u
token = os.environ['API_TOKEN']
def python(url):
    return u.urlopen(u.Request(url, headers={'authorization': 'Bearer ' + token})).read().decode()
def program(*argv):
    return lambda url: subprocess.run([*argv, url], capture_output=True, text=True).stdout
curl = program('curl', '-sS', '-H', 'authorization: Bearer ' + token)
basic = program('curl', '-sS', '-u', 'me:' + token)
two = program('curl', '-sS', '--http2', '-H', 'authorization: Bearer ' + token)
node = program('node', '-e', '''fetch(process.argv[1], {
    headers: { authorization: 'Bearer ' + process.env.API_TOKEN }
}).then((r) => r.text()).then(console.log)''')
for name, get in dict(python=python, curl=curl, node=node, basic=basic).items():
    for origin in ('https://web.test', 'https://other.test', 'http://web.test'):
        print(json.dumps([name, origin, get(f'{origin}/{name}')]))
print(json.dumps(['two', 'https://web.test:8443', two('https://web.test:8443/two')]))
print(token, flush=True)
while not os.path.exists('go'): time.sleep(0.02)
for wanted in open('go').read().split():
    wanted, found, looked = wanted[::-1].encode(), [], 0
    files = glob.glob('/proc/[0-9]*/environ') + glob.glob('/proc/[0-9]*/cmdline')
    for top in ('/etc', '/tmp', '/run', '/var', '/dev/shm', '/home', '/root', os.getcwd()):
        files += [os.path.join(at, name) for at, _, names in os.walk(top) for name in names]
    for name in files:
        try:
            with open(name, 'rb') as f:
                looked += 1
                if wanted in f.read(1 << 24): found.append(name)
        except OSError: pass
    print(json.dumps([looked, found]))
"#;

each!(the_secret_reaches_its_host_and_is_nowhere_inside);
fn the_secret_reaches_its_host_and_is_nowhere_inside(who: Who) {
    for program in ["curl", "node"] {
        need(program);
    }
    for place in [Place::Variable, Place::File] {
        let Some(jail) = jail(who, place) else { return };
        let (_peer, peer_log) = jail.peer(8443);
        // Log of creel: the caller must be able to append to it.
        let log = jail.write("../decisions.log", "");
        let status = jail.write("../verdict.json", "");
        let jail = jail.flags(&[
            "--log-net",
            log.to_str().expect("text"),
            "--status-file",
            status.to_str().expect("text"),
        ]);
        let mut run = jail.start(INSIDE);
        let mut answers = vec![];
        let placeholder = loop {
            match run.line() {
                line if line.starts_with('[') => answers.push(line),
                line => break line,
            }
        };
        let what = format!("{who:?}, {place:?}");
        assert!(
            placeholder.starts_with("creel-secret-"),
            "{what}: {answers:#?}"
        );
        assert_eq!(answers.len(), 13, "{what}: {answers:#?}");
        answers_are_masked(&answers, &placeholder, &what);

        // Outside: the host has it, the other one and the connection without TLS have not.
        let heads = jail.outside.requests();
        let encoded = "bWU6dGhlLXJlYWwtc2VjcmV0LWIwYTFmN2QyYzk=";
        let given = |head: &&String| head.contains(SECRET) || head.contains(encoded);
        let with: Vec<_> = heads.iter().filter(given).collect();
        assert_eq!((heads.len(), with.len()), (12, 4), "{what}: {heads:#?}");
        for head in with {
            assert!(
                head.to_lowercase().contains("host: web.test\r\n"),
                "{what}: {head}"
            );
        }
        let seen = std::fs::read_to_string(&peer_log).expect("a log");
        assert!(seen.contains(&format!("Bearer {SECRET}")), "{what}: {seen}");

        // In memory: the relay's alone, which shows that it would be found.
        let relay = run.relay();
        assert!(
            has_in_memory(relay, SECRET.as_bytes()),
            "{what}: the control"
        );
        let mut others = run.family();
        others.retain(|pid| *pid != relay);
        assert!(others.len() >= 2, "{what}: {others:?}");
        others.push(run.supervisor());
        for pid in &others {
            assert!(!has_in_memory(*pid, SECRET.as_bytes()), "{what}: {pid}");
        }
        let known = |pid: &&u32| has_in_memory(**pid, placeholder.as_bytes());
        assert!(
            others.iter().filter(known).count() >= 2,
            "{what}: the control"
        );

        // In files that the jail can read; the placeholder is found in its environment.
        let backwards = |text: &str| text.chars().rev().collect::<String>();
        let wanted = [backwards(SECRET), backwards(&placeholder)].join("\n");
        std::fs::rename(jail.write("go.new", &wanted), jail.file("go")).expect("go");
        let found = run.rest();
        let found: Vec<serde_json::Value> = found
            .iter()
            .map(|line| serde_json::from_str(line).expect("a line"))
            .collect();
        assert_eq!(found[0][1], serde_json::json!([]), "{what}: {found:?}");
        assert!(found[0][0].as_u64() > Some(10), "{what}: {found:?}");
        assert!(
            found[1][1].to_string().contains("environ"),
            "{what}: {found:?}"
        );

        // In what creel wrote.
        for file in [&log, &status] {
            let text = std::fs::read_to_string(file).expect("text");
            assert!(text.contains("web.test"), "{what}: {text}");
            assert!(
                !text.contains(SECRET) && !text.contains(encoded),
                "{what}: {text}"
            );
        }
        let plan = jail.flags(&["--dry-run", "--json"]).sh("true").ok();
        assert!(plan.stdout.contains("\"acts\""), "{what}");
        assert!(!plan.stdout.contains(SECRET), "{what}");
    }
}

/// Each server echoes what it got: to the jail that is the placeholder again, or nothing that helps.
fn answers_are_masked(answers: &[String], placeholder: &str, what: &str) {
    for answer in answers {
        assert!(!answer.contains(SECRET), "{what}: {answer}");
        match answer.contains("\"basic\"") {
            false => {
                let echoed = format!("Bearer {placeholder}");
                assert!(answer.contains(&echoed), "{what}: {answer}");
            }
            true if answer.contains("https://web.test") => {
                assert!(answer.contains("Basic masked"), "{what}: {answer}");
            }
            true => assert!(answer.contains("Basic "), "{what}: {answer}"),
        }
    }
}

each!(the_relay_dumps_no_core);
fn the_relay_dumps_no_core(who: Who) {
    let Some(jail) = jail(who, Place::Variable) else {
        return;
    };
    let status = jail.write("../verdict.json", "");
    let jail = jail.flags(&["--status-file", status.to_str().expect("text")]);
    let mut run = jail.start(
        "import os, time\n\
         print('ready', flush=True)\n\
         while not os.path.exists('go'): time.sleep(0.02)",
    );
    assert_eq!(run.line(), "ready");
    let relay = run.relay();
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{relay}/{name}"));
    // proc(5): what is not dumpable is root's, and the relay is not root.
    let owner = std::fs::metadata(format!("/proc/{relay}/environ")).expect("a process");
    assert_eq!(owner.uid(), 0, "{who:?}");
    assert!(
        !read("status").expect("a process").contains("Uid:\t0\t"),
        "{who:?}"
    );
    let limits = read("limits").expect("a process");
    let core = limits.lines().find(|l| l.starts_with("Max core file size"));
    let core: Vec<_> = core.expect("a limit").split_ascii_whitespace().collect();
    assert_eq!(core[4..6], ["0", "0"], "{who:?}");

    let cwd = std::fs::read_link(format!("/proc/{relay}/cwd")).expect("a directory");
    // SAFETY: signals to a child of this test's own supervisor, which lives.
    assert_eq!(unsafe { libc::kill(relay as i32, libc::SIGSEGV) }, 0);
    assert!(ended(relay), "{who:?}");
    assert_eq!(cores(&cwd), Vec::<String>::new(), "{who:?}");
    jail.write("go", "");
    run.rest();
    let verdict = std::fs::read_to_string(&status).expect("a verdict");
    let verdict: serde_json::Value = serde_json::from_str(&verdict).expect("JSON");
    assert_eq!(verdict["network"]["relay_died"], true, "{who:?}: {verdict}");

    // The control: a program that is ended the same way in the same place leaves one.
    let mut sleep = Command::new(need("sleep"));
    sleep.arg("60").current_dir(&cwd);
    // SAFETY: setrlimit is async-signal-safe.
    unsafe {
        sleep.pre_exec(|| {
            let most = libc::rlimit {
                rlim_cur: libc::RLIM_INFINITY,
                rlim_max: libc::RLIM_INFINITY,
            };
            libc::setrlimit(libc::RLIMIT_CORE, &most);
            Ok(())
        });
    }
    let mut sleep = sleep.spawn().expect("sleep");
    // SAFETY: a child of this process's own.
    assert_eq!(unsafe { libc::kill(sleep.id() as i32, libc::SIGSEGV) }, 0);
    let status = sleep.wait().expect("its end");
    assert!(
        status.core_dumped(),
        "{who:?}: the machine dumps no cores: {status}"
    );
    for name in cores(&cwd) {
        std::fs::remove_file(cwd.join(name)).expect("remove");
    }
}

/// Files of a directory that look like core dumps; core(5).
fn cores(directory: &std::path::Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).expect("a directory").flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with("core")).collect()
}
