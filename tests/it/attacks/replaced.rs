//! A file that the policy denies is replaced on the host, again and again, while the jail tries to get at
//! the new one: by opening it, by renaming it, by linking it. As root nothing is read; a run without root
//! has no guard, and is the control, whose odds docs/security.md tells.
//!
//! `CREEL_REPLACEMENTS=10000` measures them.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::attacks::{policy, script};
use crate::support::{Run, Who, Workspace, children_of};

/// Tries until stdin is at its end. Each secret that it reads is a line, and so is each time for which it
/// could, in microseconds.
const TRY: &str = r#"
import select
since, number = None, 0
def opened():
    return '.env'
def renamed():
    os.rename('.env', 'out/moved')
    return 'out/moved'
def linked():
    os.link('.env', f'out/{number}')
    return f'out/{number}'
def beneath():
    return '.env/key'
get = {'open': opened, 'rename': renamed, 'link': linked, 'beneath': beneath}[sys.argv[1]]
last = None
print('ready', flush=True)
while not select.select([0], [], [], 0)[0]:
    for _ in range(200):
        try:
            number += 1
            f = os.open(get(), os.O_RDONLY)
        except OSError:
            if since:
                os.write(1, b'T %d\n' % ((time.monotonic() - since) * 1e6))
                since = None
            continue
        text = os.read(f, 64)
        os.close(f)
        if text != last:
            os.write(1, text + b'\n')
            last = text
        since = since or time.monotonic()
os.write(1, b'over\n')
"#;

/// Result of the run.
#[derive(Debug)]
struct Tried {
    replaced: usize,
    /// Secrets that the jail read.
    secrets: Vec<String>,
    /// For how long it could, each time.
    windows: Vec<u32>,
    verdict: Value,
}

/// Replaces `.env` `times`, each time when it is covered again, while the jail tries `how`.
fn replace(who: Who, times: usize, how: &str) -> Tried {
    let workspace = Workspace::new(who);
    let directory = how == "beneath";
    workspace.write(if directory { ".env/key" } else { ".env" }, "A=0");
    workspace.write("out/free", "");
    let status = workspace.outside().join("status");
    let (uid, gid, _) = who.account();
    let own = |path: &Path| std::os::unix::fs::chown(path, Some(uid), Some(gid)).expect("chown");
    own(&workspace.path().join("out"));
    fs::create_dir(&status).expect("mkdir");
    own(&status);
    let status = status.join("status.json");
    let run = Run::new(who, &workspace).policy(policy(&workspace, r#"deny = ["$WORKSPACE/.env"]"#));
    let run = run.flags([std::ffi::OsStr::new("--status-file"), status.as_os_str()]);
    let mut command: Command = run.command(["/usr/bin/python3", "-c", &script(TRY), how]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut jail = command.spawn().expect("creel starts");
    let mut answers = BufReader::new(jail.stdout.take().expect("a pipe"));
    let mut line = String::new();
    answers.read_line(&mut line).expect("a word");
    assert_eq!(line, "ready\n");
    let place = workspace.path().join(".env");
    let mut replaced = 0;
    while replaced < times && covered(&mut jail, &place) {
        replaced += 1;
        let next = workspace.outside().join("next");
        if directory {
            fs::create_dir(&next).expect("mkdir");
            fs::write(next.join("key"), format!("A={replaced}")).expect("written");
            own(&next.join("key"));
            let old = workspace.outside().join(format!("old{replaced}"));
            fs::rename(&place, old).expect("renamed");
        } else {
            fs::write(&next, format!("A={replaced}")).expect("written");
        }
        own(&next);
        fs::rename(&next, &place).expect("renamed");
    }
    covered(&mut jail, &place);
    drop(jail.stdin.take());
    jail.wait().expect("reaped");
    let lines: Vec<String> = answers.lines().map(|line| line.expect("text")).collect();
    let begins = |with: &'static str| lines.iter().filter_map(move |line| line.strip_prefix(with));
    let verdict = fs::read_to_string(status).expect("a verdict");
    Tried {
        replaced,
        secrets: begins("A=").map(str::to_owned).collect(),
        windows: begins("T ").flat_map(str::parse).collect(),
        verdict: serde_json::from_str(&verdict).expect("JSON"),
    }
}

/// Waits until something is mounted on `place` in the jail; false where the jail has ended.
fn covered(jail: &mut Child, place: &Path) -> bool {
    let since = Instant::now();
    let mounted = format!(" {} ", place.display());
    loop {
        let inside = children_of(jail.id())
            .into_iter()
            .flat_map(children_of)
            .find_map(|pid| fs::read_to_string(format!("/proc/{pid}/mountinfo")).ok());
        // If the jail moved it away, nothing must be covered.
        if inside.is_some_and(|mounts| mounts.contains(&mounted)) || !place.exists() {
            return true;
        }
        if jail.try_wait().expect("waited for").is_some() {
            return false;
        }
        assert!(
            since.elapsed() < Duration::from_secs(20),
            "{mounted} stays uncovered"
        );
    }
}

/// How a jail gets at a file of which it knows the name.
const WAYS: [&str; 3] = ["open", "rename", "link"];

#[test]
fn as_root_nothing_is_read_of_what_the_host_puts_at_a_denied_name() {
    let Some(who) = Who::root() else {
        return;
    };
    let ways = WAYS.map(|how| (how, 334));
    for (how, times) in ways.into_iter().chain([("beneath", 50)]) {
        let tried = replace(who, times, how);
        assert_eq!(tried.secrets, Vec::<String>::new(), "{how}");
        assert_eq!(
            tried.replaced, times,
            "{how}: the run goes on: {:#}",
            tried.verdict
        );
        assert_eq!(tried.verdict["kind"], "exited", "{how}");
        assert_eq!(tried.verdict["unwatched"], Value::Null, "{how}");
        let events = tried.verdict["uncovered"].as_array().expect("a list").len();
        assert!((1..=64).contains(&events), "{how}: {events}");
    }
}

/// The control: the same jail without the guard. It reads most of them, or it is ended.
#[test]
fn without_root_what_the_host_puts_at_a_denied_name_is_read_at_times() {
    let who = Who::User;
    let since = Instant::now();
    while replace(who, 10, "open").secrets.is_empty() {
        assert!(since.elapsed() < Duration::from_secs(60), "it reads none");
    }
}

each!(odds_of_reading_what_the_host_puts_at_a_denied_name);
/// Tells the odds, where `CREEL_REPLACEMENTS` says how often to try.
fn odds_of_reading_what_the_host_puts_at_a_denied_name(who: Who) {
    let times: usize = match std::env::var("CREEL_REPLACEMENTS") {
        Ok(times) => times.parse().expect("a number"),
        Err(_) => return,
    };
    for how in WAYS {
        let (mut replaced, mut read, mut ended, mut windows) = (0, 0, 0, vec![]);
        while replaced < times {
            let tried = replace(who, times - replaced, how);
            replaced += tried.replaced;
            read += tried.secrets.len();
            ended += usize::from(tried.verdict["kind"] == "denied");
            windows.extend(tried.windows);
        }
        windows.sort_unstable();
        let at = |share: usize| windows.get(windows.len() * share / 100);
        println!(
            "{who:?} {how}: {replaced} replaced, {read} read, {ended} ended, microseconds: half {:?}, \
             99 of 100 {:?}, all {:?}",
            at(50),
            at(99),
            windows.last()
        );
    }
}
