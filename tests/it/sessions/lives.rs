//! The making, the states and the ends of sessions.

use nix::sys::signal::{SIGKILL, kill};
use nix::unistd::Pid;

use super::{Session, of, said};
use crate::support::{Who, wait};

each!(files_and_processes_stay_between_commands);
fn files_and_processes_stay_between_commands(who: Who) {
    let session = Session::new(who);
    session.sh("echo kept > /tmp/file; echo here > file").ok();
    assert_eq!(session.sh("cat /tmp/file file").ok().out, "kept\nhere\n");
    session.exec(&["--detach"], &["sleep", "4000"]).ok();
    // Siblings see and signal each other: they are in one Landlock domain.
    let seen = session
        .sh("ps ax | grep -c '[s]leep 4000'; pkill -x sleep; echo $?")
        .ok();
    assert_eq!(seen.out, "1\n0\n");
    let id = session.sh("echo $CREEL_ID").ok().out;
    assert_eq!(session.sh("echo $CREEL_ID").ok().out, id);
    assert_eq!(session.inspect()["record"]["id"], id.trim());
}

each!(create_is_idempotent);
fn create_is_idempotent(who: Who) {
    let session = Session::new(who);
    let keeper = session.keeper();
    let again = session.create(&[]).ok();
    assert_eq!(again.out.trim(), session.name);
    assert_eq!(session.keeper(), keeper);
    let other = session.create(&["--timeout", "9m"]).status(125);
    assert!(other.err.contains("--replace"), "{other:?}");
    assert_eq!(session.keeper(), keeper);
    session.sh("touch /tmp/before").ok();
    session.create(&["--timeout", "9m", "--replace"]).ok();
    assert_ne!(session.keeper(), keeper);
    assert_eq!(session.sh("ls /tmp/before").status, 2);
}

each!(one_of_many_makers_wins);
fn one_of_many_makers_wins(who: Who) {
    let session = Session::named(who);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| session.create(&[]).ok());
        }
    });
    let keeper = session.keeper();
    session.exec(&[], &["true"]).ok();
    assert_eq!(session.keeper(), keeper);
}

each!(a_failed_making_says_why_and_leaves_no_session);
fn a_failed_making_says_why_and_leaves_no_session(who: Who) {
    let session = Session::named(who);
    let failed = session.create(&["--read", "/no/such/path"]).status(125);
    assert!(failed.err.contains("/no/such/path"), "{failed:?}");
    session.exec(&[], &["true"]).status(125);
    session.create(&[]).ok();
}

each!(names_that_are_none);
fn names_that_are_none(who: Who) {
    let session = Session::named(who);
    for name in ["", "..", "a/b", "a b", "a\u{1b}[31m", "-x", "\n"] {
        for verb in ["exec", "inspect", "stop", "rm", "wait", "create"] {
            let mut command = session.creel(verb);
            match verb {
                "create" => command.arg(format!("--name={name}")),
                "exec" => command.args([name, "--", "true"]),
                _ => command.arg(name),
            };
            let refused = said(command);
            assert_eq!(refused.status, 125, "{verb} {name:?}: {refused:?}");
            assert!(!refused.err.contains('\u{1b}'), "{refused:?}");
            // clap takes one that begins with a dash for a flag.
            let named = refused.err.contains("is no name of a session");
            assert!(named || name == "-x", "{verb} {name:?}: {refused:?}");
        }
    }
    let none = session.exec(&[], &["true"]).status(125);
    assert!(none.err.contains("no session"), "{none:?}");
    session.verb("rm", &[]).ok();
}

each!(stop_asks_and_then_ends);
fn stop_asks_and_then_ends(who: Who) {
    let session = Session::new(who);
    let script = "trap 'echo asked > asked; exit' TERM; touch ready; while :; do sleep 0.02; done";
    session.exec(&["--detach"], &["sh", "-c", script]).ok();
    let path = session.workspace.path();
    wait::until("the trap is set", || path.join("ready").exists());
    session.verb("stop", &[]).ok();
    assert_eq!(
        std::fs::read_to_string(path.join("asked")).expect("asked"),
        "asked\n"
    );
    assert_eq!(session.state(), "ended");
    let ended = session.exec(&[], &["true"]).status(125);
    assert!(ended.err.contains("has ended"), "{ended:?}");
    session.verb("rm", &[]).ok();
    session.verb("rm", &[]).ok();
    session.verb("inspect", &[]).status(125);
    assert!(!session.directory().exists());
}

each!(a_command_that_runs_when_its_session_ends_has_a_verdict);
fn a_command_that_runs_when_its_session_ends_has_a_verdict(who: Who) {
    let session = Session::new(who);
    let mut command = session.command(&[], &["sh", "-c", "touch ready; sleep 5000"]);
    command.stderr(std::process::Stdio::piped());
    let client = command.spawn().expect("creel starts");
    let path = session.workspace.path();
    wait::until("the command runs", || path.join("ready").exists());
    session.verb("kill", &[]).ok();
    let ended = of(client.wait_with_output().expect("creel ends")).status(137);
    assert!(
        ended.err.contains("the session was ended: creel kill"),
        "{ended:?}"
    );
}

each!(a_killed_keeper_takes_its_session_along);
fn a_killed_keeper_takes_its_session_along(who: Who) {
    let (session, other) = (Session::new(who), Session::new(who));
    let mut command = session.command(&[], &["sh", "-c", "touch ready; sleep 6000"]);
    let mut client = command.spawn().expect("creel starts");
    let path = session.workspace.path();
    wait::until("the command runs", || path.join("ready").exists());
    kill(Pid::from_raw(session.keeper()), SIGKILL).expect("killed");
    assert_eq!(wait::end(&mut client).code(), Some(125));
    wait::until("the session is over", || session.state() == "ended");
    session.exec(&[], &["true"]).status(125);
    other.exec(&[], &["true"]).ok();
    session.create(&[]).ok();
    session.exec(&[], &["true"]).ok();
}

each!(pause_and_resume);
fn pause_and_resume(who: Who) {
    let session = Session::new(who);
    let script = "i=0; while :; do i=$((i+1)); echo $i > count; done";
    session.exec(&["--detach"], &["sh", "-c", script]).ok();
    let count = session.workspace.path().join("count");
    wait::until("it counts", || count.exists());
    session.verb("pause", &[]).ok();
    assert_eq!(session.state(), "paused");
    let read = || std::fs::read_to_string(&count).unwrap_or_default();
    // The signals of a session without a group take a moment to act.
    wait::for_a_tick();
    let before = read();
    assert!(
        wait::still(std::time::Duration::from_millis(200), read),
        "{before}"
    );
    let refused = session.exec(&[], &["true"]).status(125);
    assert!(refused.err.contains("paused"), "{refused:?}");
    session.verb("resume", &[]).ok();
    wait::until("it goes on", || read() != before);
    session.verb("pause", &[]).ok();
    session.verb("stop", &[]).ok();
}

each!(idle_and_old_sessions_end);
fn idle_and_old_sessions_end(who: Who) {
    let idle = Session::with(who, &["--idle-timeout", "300ms"]);
    let old = Session::with(who, &["--max-age", "300ms"]);
    for session in [&idle, &old] {
        session.verb("wait", &[]).ok();
        assert_eq!(session.state(), "ended");
        let cause = session.inspect()["cause"].to_string();
        assert!(
            cause.contains("--idle-timeout") || cause.contains("--max-age"),
            "{cause}"
        );
    }
    // A command keeps a session from being idle.
    let busy = Session::with(who, &["--idle-timeout", "3s"]);
    busy.exec(&[], &["sleep", "3.5"]).ok();
    busy.verb("wait", &[]).ok();
}

each!(ps_lists_what_lives);
fn ps_lists_what_lives(who: Who) {
    let session = Session::with(who, &["--label", "of=test"]);
    let mut command = session.creel("ps");
    command.arg("--json");
    let listed = said(command).ok();
    let listed: serde_json::Value = serde_json::from_str(&listed.out).expect("JSON");
    let all = listed["sessions"].as_array().expect("a list");
    let mine = all
        .iter()
        .find(|one| one["record"]["name"] == *session.name);
    let mine = mine.expect("the session");
    assert_eq!(
        (&mine["state"], &mine["record"]["labels"]["of"]),
        (&"running".into(), &"test".into())
    );
    let with = |labels: &[&str]| {
        let mut command = session.creel("ps");
        command.arg("--quiet");
        for label in labels {
            command.args(["--label", label]);
        }
        let listed = said(command).ok().out;
        listed.lines().any(|name| name == session.name)
    };
    assert!(with(&[]) && with(&["of=test"]));
    assert!(!with(&["of=tes"]) && !with(&["of=test", "by=me"]));
    session.verb("kill", &[]).ok();
    let listed = said(session.creel("ps")).ok();
    assert!(!listed.out.contains(&session.name), "{listed:?}");
    let mut command = session.creel("ps");
    command.arg("--all");
    assert!(said(command).ok().out.contains(&session.name));
}

each!(nothing_is_left_of_many);
fn nothing_is_left_of_many(who: Who) {
    let sessions: Vec<Session> = (0..8).map(|_| Session::new(who)).collect();
    std::thread::scope(|scope| {
        for session in &sessions {
            scope.spawn(|| {
                for _ in 0..5 {
                    session.sh("sleep 7000 & setsid sleep 7000 & true").ok();
                }
                session.verb("rm", &["--force"]).ok();
                assert!(!session.directory().exists());
            });
        }
    });
}

each!(a_card_says_what_may_be_done);
fn a_card_says_what_may_be_done(who: Who) {
    let session = Session::with(who, &["--memory", "300MiB", "--read", "/usr/include"]);
    let card = session.sh("cat /run/creel/card.md").ok().out;
    for wanted in [
        "300MiB",
        "read and write",
        "- /usr/include\n",
        "none but loopback",
    ] {
        assert!(card.contains(wanted), "{wanted}: {card}");
    }
    let path = session.workspace.path();
    assert!(card.contains(&*path.to_string_lossy()), "{card}");
    let changed = session.sh("echo x > /run/creel/card.md; echo x > /run/creel/other");
    assert_ne!(changed.status, 0, "{changed:?}");
    assert_eq!(session.sh("cat /run/creel/card.md").ok().out, card);
    // A run has none: it ends with its command.
    let mut run = session.creel("run");
    if !crate::support::has_cgroups(who) {
        run.args(["--allow-degraded", "cgroup"]);
    }
    run.args(["--", "cat", "/run/creel/card.md"]);
    assert_ne!(said(run).status, 0);
}

// A lock or a pipe of the maker's ends with the maker.
each!(a_keeper_keeps_nothing_of_its_maker);
fn a_keeper_keeps_nothing_of_its_maker(who: Who) {
    let session = Session::named(who);
    let (reader, writer) = std::io::pipe().expect("a pipe");
    rustix::io::fcntl_setfd(&writer, rustix::io::FdFlags::empty()).expect("inherited");
    session.create(&[]).ok();
    drop(writer);
    // The end of file comes while the session lives.
    let read = std::thread::spawn(|| std::io::read_to_string(reader));
    wait::until("the pipe has ended", || read.is_finished());
    session.exec(&[], &["true"]).ok();
}

each!(a_keeper_that_does_not_answer_can_be_ended);
fn a_keeper_that_does_not_answer_can_be_ended(who: Who) {
    let session = Session::new(who);
    kill(Pid::from_raw(session.keeper()), nix::sys::signal::SIGSTOP).expect("stopped");
    assert_eq!(session.state(), "unresponsive");
    session.verb("kill", &[]).ok();
    assert_eq!(session.state(), "ended");
}

// A process of the jail stops the child that pid 1 waits for, and with it pid 1. The session goes on, or is ended;
// nobody waits for ever, and nothing runs later.
each!(a_stopped_first_process_is_freed_or_ended);
fn a_stopped_first_process_is_freed_or_ended(who: Who) {
    let session = Session::new(who);
    let stop = "import os, signal\n\
        me = os.getpid()\n\
        print('ready', flush=True)\n\
        while True:\n  \
          for pid in range(me + 1, me + 200):\n    \
            try: os.kill(pid, signal.SIGSTOP)\n    \
            except OSError: pass";
    let number = session.exec(&["--detach"], &["python3", "-c", stop]).ok();
    let number = number.out.trim();
    wait::until("it stops processes", || {
        session.verb("logs", &[number]).out == "ready\n"
    });
    let mut command = session.command(&["--timeout", "2s"], &["sleep", "1000"]);
    let mut client = command.spawn().expect("creel starts");
    // A command that is stopped once it runs ends at its time limit; one that is stopped before ends the wait of
    // pid 1, or the session.
    let status = wait::end(&mut client);
    assert!(matches!(status.code(), Some(124 | 125 | 137)), "{status:?}");
    // The session works, or has ended, or is ending; it does not hang.
    session.verb("kill", &[]);
    wait::until("it has ended", || session.state() == "ended");
}

// The keeper is killed at many instants of the making: nothing of a session is left that lives, and the name is free.
each!(a_keeper_killed_while_it_makes_its_session_leaves_nothing);
fn a_keeper_killed_while_it_makes_its_session_leaves_nothing(who: Who) {
    for delay in 0..12 {
        let session = Session::named(who);
        let mut command = session.creel("create");
        if !crate::support::has_cgroups(who) {
            command.args(["--allow-degraded", "cgroup"]);
        }
        let mut maker = command.arg(&session.name).spawn().expect("creel starts");
        let keeper = wait::some("the keeper", || {
            let children = crate::support::children_of(maker.id());
            let ended = maker.try_wait().expect("wait").is_some();
            (ended || !children.is_empty()).then(|| children.first().copied())
        });
        std::thread::sleep(std::time::Duration::from_micros(700 * delay));
        if let Some(keeper) = keeper {
            // It may have become a keeper, or have failed: in any case it is this test's.
            let _ = kill(Pid::from_raw(keeper.cast_signed()), SIGKILL);
        }
        let status = wait::end(&mut maker);
        assert!(matches!(status.code(), Some(0 | 125)), "{status:?}");
        wait::until("the session is over", || {
            let listed = said(session.creel("ps")).out;
            !listed.contains(&session.name)
        });
        session.create(&[]).ok();
        session.exec(&[], &["true"]).ok();
        let placeholder = session.workspace.path().join(".claude");
        session.verb("rm", &["--force"]).ok();
        wait::until("the placeholders are gone", || !placeholder.exists());
    }
}

each!(the_mode_decides_which_keys_get_a_jail);
fn the_mode_decides_which_keys_get_a_jail(who: Who) {
    let session = Session::named(who);
    let create = |key: &str, agent: &[&str], mode: &[&str]| {
        let mut command = session.creel("create");
        if !crate::support::has_cgroups(who) {
            command.args(["--allow-degraded", "cgroup"]);
        }
        // A name of this test's, to be removed; it does not change the decision.
        command.args(["--quiet", "--name", &session.name, "--session", key]);
        said({
            command.args(agent).args(mode);
            command
        })
    };
    let (off, non_main, all) = (["--mode", "off"], ["--mode", "non-main"], ["--mode", "all"]);
    for (key, mode, is_jailed) in [
        ("agent:a:main", &[][..], true),
        ("agent:a:main", &all, true),
        ("agent:a:main", &non_main, false),
        ("agent:a:telegram:group:1", &non_main, true),
        // These only look like the main key.
        ("main", &non_main, true),
        ("agent::main", &non_main, true),
        ("agent:a:main:thread:1", &non_main, true),
        ("xagent:a:main", &non_main, true),
        ("agent:a:MAIN", &non_main, true),
        ("agent:a:telegram:group:1", &off, false),
    ] {
        let made = create(key, &[], mode);
        let is_made = session.verb("inspect", &[]).status == 0;
        assert_eq!(is_made, is_jailed, "{key} {mode:?}: {made:?}");
        match is_jailed {
            true => assert_eq!(made.ok().out.trim(), session.name),
            false => {
                let made = made.status(1);
                assert!(made.out.is_empty(), "{made:?}");
                assert!(
                    made.err.contains("on the host") && made.err.contains(key),
                    "{made:?}"
                );
            }
        }
        session.verb("rm", &["--force"]).ok();
    }
    // A mode needs a key, and a mode that is none is no jail that is missing.
    let mut command = session.creel("create");
    command.args(["--mode", "non-main"]);
    said(command).status(125);
    let wrong = create("agent:a:main", &[], &["--mode", "nonmain"]).status(125);
    assert!(
        wrong.err.contains("[possible values: off, non-main, all]"),
        "{wrong:?}"
    );
}

// A runtime directory that others may write to, such as /tmp, is not creel's place: a user's sessions must not be found
// by a name that another user can take.
#[test]
fn a_shared_runtime_directory_is_not_used() {
    let session = Session::named(Who::User);
    let (uid, ..) = Who::User.account();
    let own = std::path::PathBuf::from(format!("/tmp/creel-{uid}/sessions")).join(&session.name);
    let verb = |verb: &str, words: &[&str]| {
        let mut command = session.creel(verb);
        command.env("XDG_RUNTIME_DIR", "/tmp").args(words);
        said(command)
    };
    let degraded = match crate::support::has_cgroups(Who::User) {
        true => vec![],
        false => vec!["--allow-degraded", "cgroup"],
    };
    verb(
        "create",
        &[vec!["--name", &session.name], degraded].concat(),
    )
    .ok();
    assert!(own.exists());
    assert!(
        !std::path::Path::new("/tmp/creel/sessions")
            .join(&session.name)
            .exists()
    );
    verb("exec", &[&session.name, "--", "true"]).ok();
    verb("rm", &["--force", &session.name]).ok();
    assert!(!own.exists());
    // The control: a private one is used.
    let private = session.workspace.path().join("run");
    std::fs::create_dir(&private).expect("mkdir");
    let (uid, gid, _) = Who::User.account();
    std::os::unix::fs::chown(&private, Some(uid), Some(gid)).expect("chown");
    let mut command = session.creel("ps");
    command.env("XDG_RUNTIME_DIR", &private);
    said(command).ok();
    assert!(private.join("creel/sessions").exists());
}

// Killing needs the first process, which a pause stops: the session runs for that, and is paused again.
each!(a_command_ends_in_a_paused_session);
fn a_command_ends_in_a_paused_session(who: Who) {
    let session = Session::new(who);
    let count = session.workspace.path().join("count");
    let script = "i=0; while :; do i=$((i+1)); echo $i > count; done";
    session.exec(&["--detach"], &["sh", "-c", script]).ok();
    let mut command = session.command(
        &["--timeout", "2s"],
        &["sh", "-c", "touch ready; sleep 9000"],
    );
    let mut timed = command.spawn().expect("creel starts");
    let mut left = session
        .command(&[], &["sh", "-c", "touch left; sleep 9001"])
        .spawn()
        .expect("creel starts");
    let path = session.workspace.path();
    wait::until("all run", || {
        ["count", "ready", "left"]
            .iter()
            .all(|name| path.join(name).exists())
    });
    session.verb("pause", &[]).ok();
    // The client that goes away ends its command, and so does the time limit.
    left.kill().expect("killed");
    left.wait().expect("waited");
    assert_eq!(wait::end(&mut timed).code(), Some(124));
    wait::until("one runs", || {
        let all = session.inspect();
        let all = all["commands"].as_array().expect("a list").clone();
        all.iter().filter(|one| one["state"] == "running").count() == 1
    });
    assert_eq!(session.state(), "paused");
    let read = || std::fs::read_to_string(&count).unwrap_or_default();
    wait::for_a_tick();
    assert!(wait::still(std::time::Duration::from_millis(200), read));
    session.verb("resume", &[]).ok();
    let before = read();
    wait::until("it goes on", || read() != before);
}
