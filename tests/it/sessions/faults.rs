//! Kills at every step: a process of a session is stopped at each fault point in turn, one or all of them are killed,
//! and nothing of the session may be left that is neither whole nor gone.

use std::io::Read as _;
use std::process::{Child, Command, Stdio};

use creel_jail::fault_point::Point;
use nix::sys::signal::{SIGCONT, SIGKILL, kill};
use nix::unistd::Pid;

use super::{Said, Session, own_store_with, said};
use crate::leaks::abandoned_groups;
use crate::support::{Who, children_of, has_cgroups, state_of, wait};

/// The variable that all processes of one walk have.
const MARK: &str = "IT_WALK";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Client,
    Keeper,
    First,
    All,
}

/// One session, with a process that stops at a point.
struct Walk {
    session: Session,
    point: Point,
    mark: String,
    keeper: Option<u32>,
}

each!(kills_at_every_step_of_create);
fn kills_at_every_step_of_create(who: Who) {
    walk(who, "create-");
}

each!(kills_at_every_step_of_exec);
fn kills_at_every_step_of_exec(who: Who) {
    walk(who, "exec-");
}

each!(kills_at_every_step_of_remove);
fn kills_at_every_step_of_remove(who: Who) {
    walk(who, "remove-");
}

#[test]
fn every_point_belongs_to_a_walk() {
    for point in Point::ALL {
        let begins = |verb: &&str| point.name().starts_with(*verb);
        assert!(
            ["create-", "exec-", "remove-"].iter().any(begins),
            "{point:?}"
        );
    }
}

fn walk(who: Who, verb: &str) {
    if !cfg!(debug_assertions) {
        eprintln!("skipped: a release has no fault points");
        return;
    }
    own_store_with(who, "size=1m");
    let points = Point::ALL
        .iter()
        .filter(|point| point.name().starts_with(verb));
    for point in points {
        // Without groups, none is made.
        if *point == Point::GroupMade && !has_cgroups(who) {
            continue;
        }
        for victim in [Victim::Client, Victim::Keeper, Victim::First, Victim::All] {
            let what = format!("{} {victim:?} {who:?}", point.name());
            eprintln!("{what}");
            Walk::new(who, *point).kill(victim, &what);
        }
    }
}

impl Walk {
    fn new(who: Who, point: Point) -> Walk {
        let session = Session::named(who);
        Walk {
            mark: session.name.clone(),
            session,
            point,
            keeper: None,
        }
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = self.session.creel(verb);
        command
            .env("CREEL_STOP_AT", self.point.name())
            .env(MARK, &self.mark);
        match verb {
            "create" => {
                if !has_cgroups(self.session.who) {
                    command.args(["--allow-degraded", "cgroup"]);
                }
                command.args(["--name", &self.session.name]);
            }
            "exec" => {
                let mark = format!("{MARK}={}", self.mark);
                let flags = ["--status-fd", "1", "--env", &mark, &self.session.name];
                command
                    .args(flags)
                    .args(["--", "/bin/sh", "-c", "sleep 1000 & echo said >&2"]);
            }
            _ => drop(command.args(["--force", &self.session.name])),
        }
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Kills the victim once a process has stopped at the point, and looks at what is left.
    fn kill(mut self, victim: Victim, what: &str) {
        let mut was_hit = false;
        for verb in ["create", "exec", "rm"] {
            let mut client = self.command(verb).spawn().expect("creel starts");
            let mut here = false;
            wait::until(what, || {
                let ended = client.try_wait().expect("wait").is_some();
                here |= !was_hit && self.strike(&client, victim);
                ended || here
            });
            // A keeper may stop after its client has ended.
            was_hit |= here || self.strike(&client, victim);
            let was_killed = here && matches!(victim, Victim::Client | Victim::All);
            let status = check(client, verb, was_killed, what);
            assert!(
                was_hit || status == 0,
                "{what}: {verb}: {status}, and nothing was killed"
            );
            if was_hit {
                break;
            }
        }
        wait::until(&format!("{what}: the point"), || {
            was_hit || self.strike_left(victim)
        });
        self.whole_or_gone(what);
    }

    fn strike_left(&mut self, victim: Victim) -> bool {
        let stopped = self.stopped();
        stopped.is_some_and(|pid| self.strike_at(pid, None, victim))
    }

    fn strike(&mut self, client: &Child, victim: Victim) -> bool {
        if self.keeper.is_none() {
            self.keeper = children_of(client.id()).first().copied();
        }
        let stopped = self.stopped();
        stopped.is_some_and(|pid| self.strike_at(pid, Some(client.id()), victim))
    }

    /// A process of this walk that has stopped.
    fn stopped(&self) -> Option<u32> {
        let mut all = self.processes().into_iter();
        all.find(|pid| state_of(*pid) == Some('T'))
    }

    fn strike_at(&self, stopped: u32, client: Option<u32>, victim: Victim) -> bool {
        // The maker may have ended before its child was seen.
        let is_keepers = self.point.name().contains("-keeper-");
        let keeper = is_keepers.then_some(stopped).or(self.keeper).or_else(|| {
            let others = self.processes().into_iter();
            others
                .filter(|pid| Some(*pid) != client)
                .find(|pid| first_of(*pid).is_some())
        });
        let first = keeper.and_then(first_of);
        let name = self.point.name();
        assert!(
            keeper.is_some() || !name.contains("-keeper-"),
            "{name}: no keeper"
        );
        let has_first = name.starts_with("exec-") || name == "remove-client-connected";
        assert!(first.is_some() || !has_first, "{name}: no first process");
        let all = [client, keeper, first];
        let killed: &[Option<u32>] = match victim {
            Victim::Client => &all[..1],
            Victim::Keeper => &all[1..2],
            Victim::First => &all[2..],
            Victim::All => &all,
        };
        for pid in killed.iter().flatten() {
            // It may have ended.
            let _ = kill(Pid::from_raw(pid.cast_signed()), SIGKILL);
        }
        let _ = kill(Pid::from_raw(stopped.cast_signed()), SIGCONT);
        true
    }

    /// The processes that have the mark: this walk's clients, keeper, janitor, first process and commands.
    fn processes(&self) -> Vec<u32> {
        let mark = format!("{MARK}={}\0", self.mark);
        let all = std::fs::read_dir("/proc").expect("/proc").flatten();
        let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(|pid: &u32| {
            let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let text = String::from_utf8_lossy(&environ).into_owned();
            text.split_inclusive('\0').any(|one| one == mark) && state_of(*pid) != Some('Z')
        })
        .collect()
    }

    fn state(&self) -> Option<String> {
        let Said { status, out, .. } = self.session.verb("inspect", &[]);
        let session: serde_json::Value = serde_json::from_str(&out).ok().filter(|_| status == 0)?;
        Some(session["state"].as_str().expect("a state").to_owned())
    }

    fn whole_or_gone(self, what: &str) {
        let session = &self.session;
        let mut state = None;
        wait::until(&format!("{what}: whole or gone"), || {
            state = self.state();
            matches!(state.as_deref(), None | Some("running" | "ended"))
        });
        if state.as_deref() == Some("running") {
            let done = session.exec(&[], &["true"]);
            // It may be ending, if its maker was killed.
            if done.status != 0 {
                wait::until(&format!("{what}: {done:?}"), || {
                    self.state().as_deref() != Some("running")
                });
            } else {
                session.verb("rm", &["--force"]).ok();
            }
        }
        wait::until(&format!("{what}: nothing runs"), || {
            self.processes().is_empty()
        });
        said(session.creel("gc")).ok();
        assert!(!session.directory().exists(), "{what}");
        let workspace = session.workspace.path();
        let left: Vec<_> = std::fs::read_dir(&workspace)
            .expect("a workspace")
            .flatten()
            .collect();
        assert!(left.is_empty(), "{what}: {left:?}");
        if session.who == Who::Root {
            wait::until(&format!("{what}: no groups are left"), || {
                said(session.creel("gc")).ok();
                abandoned_groups().is_empty()
            });
        }
        session.create(&[]).ok();
        session.exec(&[], &["true"]).ok();
        session.verb("rm", &["--force"]).ok();
    }
}

/// The first process of a keeper's jail.
fn first_of(keeper: u32) -> Option<u32> {
    let is_first = |pid: &u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
        let numbers: Vec<&str> = line.unwrap_or_default().split_whitespace().collect();
        numbers.len() > 1 && numbers.last() == Some(&"1")
    };
    children_of(keeper).into_iter().find(is_first)
}

/// The end of a client: what it wanted, a typed failure, or its own death.
fn check(mut client: Child, verb: &str, was_killed: bool, what: &str) -> i32 {
    let status = crate::support::shell_status(wait::end(&mut client));
    let (mut out, mut err) = (String::new(), String::new());
    client
        .stdout
        .take()
        .expect("piped")
        .read_to_string(&mut out)
        .expect("text");
    client
        .stderr
        .take()
        .expect("piped")
        .read_to_string(&mut err)
        .expect("text");
    let what = format!("{what}: {verb}: {status} {out:?} {err:?}");
    match status {
        0 => {}
        137 if was_killed => {}
        // The session's end ended the command.
        137 if verb == "exec" => assert!(err.contains("creel: "), "{what}"),
        125 => {
            assert!(err.contains("creel: "), "{what}");
            if verb == "exec" {
                let verdict: serde_json::Value = serde_json::from_str(&out).expect(&what);
                assert!(verdict["reason"]["code"].is_string(), "{what}");
            }
        }
        _ => panic!("{what}"),
    }
    status
}
