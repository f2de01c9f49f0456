//! `ask` mode: what a list does not have is a person's to allow, at the terminal, and a missing answer denies.

use std::time::Duration;

use serde_json::Value;

use super::Jail;
use crate::support::pty::Screen;
use crate::support::{Who, wait};

const ASK: &str = "mode = \"ask\"\nallow = [\"web.test\"]\ndeny = [\"evilweb.test\"]";
const QUESTION: &str = "creel: may the jail connect to other.test port 443?\r\ntype the next line to allow it, Enter to deny:\r\n";
const END: &str = "\r\n> ";

/// The line that allows, of the last question on the screen: the letters and where.
fn line(screen: &Screen) -> (String, String) {
    screen.wait_until("a whole question", || screen.text().contains(END));
    let text = screen.text();
    let asked = text.rsplit_once(END).expect("a question").0;
    let (_, line) = asked.rsplit_once(":\r\n").expect("a question");
    let (word, place) = line.split_once(' ').expect("letters and a place");
    assert!(
        word.len() == 4 && word.bytes().all(|b| b.is_ascii_lowercase()),
        "{word:?}"
    );
    (word.into(), place.into())
}

/// CONNECT to `other.test`, which prints the proxy's status in a line of its own; then what is typed.
const CLIENT: &str = "import socket\n\
    def go(host):\n\
    \x20   s = socket.create_connection(('198.18.0.1', 3128))\n\
    \x20   s.sendall(b'CONNECT %s:443 HTTP/1.1\\r\\n\\r\\n' % host)\n\
    \x20   return s.recv(4096).split()[1].decode()\n";

fn start(jail: &Jail, flags: &[&str], script: &str) -> Screen {
    let run = jail.run().flags(flags);
    Screen::start(run.command(["/usr/bin/python3", "-c", &format!("{CLIENT}{script}")]))
}

each!(a_person_allows_with_letters_and_the_place_and_denies_with_anything_else);
fn a_person_allows_with_letters_and_the_place_and_denies_with_anything_else(who: Who) {
    // With a terminal of the jail's own, and without.
    for flags in [&["-T"][..], &["-t"]] {
        for (keys, status) in [
            ("WORD other.test", "200"),
            (" Word  Other.Test ", "200"),
            ("WORDx other.test", "403"),
            ("WORD", "403"),
            // The user reads a question about another place.
            ("WORD web.test", "403"),
            ("", "403"),
        ] {
            let Some(jail) = Jail::new(who, ASK) else {
                return;
            };
            let jail = jail.logged();
            let script = "import time; time.sleep(0.1); print('status', go(b'other.test')); print('heard', input())";
            let mut screen = start(&jail, flags, script);
            screen.wait_for(QUESTION);
            // Longer than anything else that the supervisor wakes up for.
            wait::stays("nobody is dialled", Duration::from_millis(300), || {
                jail.outside.connections().is_empty()
            });
            let (word, place) = line(&screen);
            assert_eq!(place, "other.test");
            let keys = keys.replace("WORD", &word);
            let keys = keys.replace("Word", &word.to_uppercase());
            screen.press(&format!("{keys}\r"));
            screen.wait_for(&format!("status {status}"));
            // Input typed afterwards goes to the command again, all of it.
            screen.press("hello\r");
            screen.wait_for("heard hello");
            let (code, text) = screen.end();
            assert_eq!(code, 0, "{who:?} {flags:?} {keys}: {text:?}");
            assert_eq!(text.matches(QUESTION).count(), 1, "{text:?}");
            let log = jail.log();
            let of = |line: &&Value| line["host"] == "other.test" && line["way"] == "connect";
            let line = log.iter().find(of).expect("a record");
            match status {
                "200" => assert_eq!(line["rule"], "asked", "{line}"),
                _ => {
                    assert_eq!(line["refused"], "no user allowed it when asked", "{line}");
                    assert_eq!(line["reason"]["code"], "net-asked-denied", "{line}");
                }
            }
        }
    }
}

#[test]
fn nobody_is_asked_about_what_a_rule_decides() {
    let Some(jail) = Jail::new(Who::User, ASK) else {
        return;
    };
    let script = "print(go(b'web.test'), go(b'evilweb.test'), go(b'10.0.0.1'))";
    let (code, text) = start(&jail, &["-T"], script).end();
    assert_eq!((code, text.as_str()), (0, "200 403 403\r\n"));
}

/// Without a terminal there is nobody to ask.
#[test]
fn silence_and_an_absent_person_deny() {
    let Some(jail) = Jail::new(Who::Root, ASK) else {
        return;
    };
    let ran = jail.python(&format!(
        "{CLIENT}print(go(b'other.test'), go(b'web.test'))"
    ));
    let ran = ran.ok();
    assert_eq!(ran.stdout, "403 200\n");
    assert_eq!(
        ran.verdict["denials"][0]["reason"]["code"],
        "net-unanswered"
    );
    let started = std::time::Instant::now();
    let screen = start(&jail, &["-T"], "print('status', go(b'other.test'))");
    screen.wait_for(QUESTION);
    let (code, text) = {
        screen.wait_for_long("status 403", std::time::Duration::from_secs(40));
        screen.end()
    };
    assert_eq!(code, 0, "{text:?}");
    assert!(started.elapsed().as_secs() >= 29, "{text:?}");
    let dialled = jail.outside.connections().len();
    assert_eq!(dialled, 1, "the granted one");
}

/// The jail has the terminal in raw mode, the question in line mode; the caller gets its own back.
#[test]
fn ctrl_c_at_a_question_gives_the_terminal_back() {
    use rustix::termios::LocalModes;
    let Some(jail) = Jail::new(Who::Root, ASK) else {
        return;
    };
    let cooked = LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
    for key in ["\u{3}", "\u{1c}", "\u{4}"] {
        let mut screen = start(&jail, &["-t"], "print('status', go(b'other.test'))");
        screen.wait_for(QUESTION);
        screen.wait_until("a whole question", || screen.text().contains(END));
        screen.press(key);
        let left = screen.left().local_modes;
        assert!(left.contains(cooked), "{key:?}: {left:?}");
    }
}

/// A program that takes the terminal away during a question has not answered it, and stops nobody.
#[test]
fn a_question_in_the_background_is_denied() {
    const LEADER: &str = "import os, signal, sys\n\
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)\n\
        def take(*_):\n\
        \x20   os.tcsetpgrp(0, os.getpgrp()); print('taken', flush=True)\n\
        signal.signal(signal.SIGUSR1, take)\n\
        r, w = os.pipe()\n\
        child = os.fork()\n\
        if child == 0:\n\
        \x20   os.setpgid(0, 0); signal.signal(signal.SIGTTOU, signal.SIG_DFL); os.read(r, 1)\n\
        \x20   os.execv(sys.argv[1], sys.argv[1:])\n\
        try: os.setpgid(child, child)\n\
        except OSError: pass\n\
        os.tcsetpgrp(0, child); os.write(w, b'x')\n\
        status = os.waitpid(child, os.WUNTRACED)[1]\n\
        print('stopped' if os.WIFSTOPPED(status) else 'ended', flush=True)\n\
        if os.WIFSTOPPED(status): os.kill(child, signal.SIGKILL)\n";
    for taken in [true, false] {
        let Some(jail) = Jail::new(Who::Root, ASK) else {
            return;
        };
        let script = "print('status', go(b'other.test'), flush=True)";
        let command = jail.run().flags(["-T"]).command([
            "/usr/bin/python3",
            "-c",
            &format!("{CLIENT}{script}"),
        ]);
        let mut leader = std::process::Command::new("/usr/bin/python3");
        leader
            .args(["-c", LEADER])
            .arg(command.get_program())
            .args(command.get_args());
        leader.env_clear().envs(
            command
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
        leader.current_dir(command.get_current_dir().expect("a directory"));
        let mut screen = Screen::start(leader);
        screen.wait_for(QUESTION);
        let (word, place) = line(&screen);
        if taken {
            screen.signal(libc::SIGUSR1);
            screen.wait_for("taken");
        }
        screen.press(&format!("{word} {place}\r"));
        // The control: in the foreground it is an answer.
        screen.wait_for(if taken { "status 403" } else { "status 200" });
        screen.wait_for("ended");
        assert!(!screen.text().contains("stopped"), "{:?}", screen.text());
        screen.end();
    }
}

/// Sixteen questions stand; the next is denied at once, though nobody said a word.
#[test]
fn more_questions_than_are_held_are_denied_at_once() {
    let Some(jail) = Jail::new(Who::User, ASK) else {
        return;
    };
    let script = "import threading\n\
        def one(i):\n\
        \x20   s = go(b'n%d.test' % i); done.append(s)\n\
        done = []\n\
        all = [threading.Thread(target=one, args=(i,), daemon=True) for i in range(20)]\n\
        for t in all: t.start()\n\
        import time\n\
        while len(done) < 4: time.sleep(0.02)\n\
        time.sleep(0.3); open('denied', 'w').write('%d %s' % (len(done), set(done)))\n\
        for t in all: t.join()\n\
        print('in all', done.count('403'), done.count('502'))";
    let mut screen = start(&jail, &["-T"], script);
    // Nothing that it says is shown meanwhile.
    let denied = jail.file("denied");
    screen.wait_until("the others", || {
        std::fs::read_to_string(&denied).is_ok_and(|text| text == "4 {'403'}")
    });
    // The rest is asked one after another; a name that does not exist outside is a 502.
    for turn in 0..16 {
        screen.wait_until("a question", || {
            screen.text().matches(END).count() == turn + 1
        });
        let (word, place) = line(&screen);
        screen.press(&match turn % 2 {
            0 => format!("{word} {place}\r"),
            _ => "n\r".into(),
        });
    }
    screen.wait_for("in all 12 8");
    let (code, text) = screen.end();
    assert_eq!(code, 0, "{text:?}");
}

/// Output of a jail is not shown while the user is asked, so it cannot put another question in the
/// place of the one that is; and what answers a question of its own answers no other.
#[test]
fn a_jail_cannot_put_its_own_question_in_the_place_of_the_one_that_is_asked() {
    const SPOOF: &str = "import os, threading, time, errno\n\
        fake = b'\\r\\x1b[2Kcreel: may the jail connect to web.test port 443? type bbbb web.test to allow it: '\n\
        def again():\n\
        \x20   while True: os.write(1, fake); os.write(2, fake); time.sleep(0.02)\n\
        threading.Thread(target=again, daemon=True).start()\n\
        time.sleep(0.3)\n\
        said = go(b'other.test'); print('status', said, flush=True)\n\
        time.sleep(0.3)";
    for flags in [&["-T"][..], &["-t"]] {
        for (answers, status) in [
            ("bbbb web.test", "403"),
            ("WORD web.test", "403"),
            ("WORD other.test", "200"),
        ] {
            let Some(jail) = Jail::new(Who::User, ASK) else {
                return;
            };
            let mut screen = start(&jail, flags, SPOOF);
            screen.wait_for(QUESTION);
            let (word, place) = line(&screen);
            let asked = format!("{QUESTION}{word} {place}{END}");
            wait::stays("the question is last", Duration::from_millis(500), || {
                screen.text().ends_with(&asked)
            });
            let shown = screen.text();
            // The control: it was shown before, and is again.
            let before = shown.matches("web.test").count();
            assert!(before > 0, "{flags:?}: {shown:?}");
            screen.press(&format!("{}\r", answers.replace("WORD", &word)));
            screen.wait_for(&format!("status {status}"));
            let (code, text) = screen.end();
            assert_eq!(code, 0, "{flags:?}: {text:?}");
            assert!(text.matches("web.test").count() > before, "{flags:?}");
        }
    }
}

/// A title that is never ended takes what comes after it, unless that begins with its end.
#[test]
fn a_question_ends_what_the_jail_left_open() {
    let Some(jail) = Jail::new(Who::User, ASK) else {
        return;
    };
    let script = "import os; os.write(1, b'\\x1b[8m\\x1b]8;;http://x\\x1b\\\\\\x1b[?2026h\\x1b[?1003h\\x1b[?5h\\x1b]0;'); print('status', go(b'other.test'))";
    let mut screen = start(&jail, &["-t"], script);
    screen.wait_for(QUESTION);
    let (word, place) = line(&screen);
    let ended = "\x18\x1b\\\x1b<\x1b[4i\x1b[?2026l\x1b]8;;\x1b\\";
    let last = "\x1b[0m\x0f\x1b(B\x1b[?7h\x1b[?25h\x1b[9999;1H\r\n\x1b[Jcreel: may the jail";
    let text = screen.text();
    assert!(text.contains(ended) && text.contains(last), "{text:?}");
    let between = &text[text.find(ended).expect("it")..text.find(last).expect("it")];
    let modes = [
        5, 9, 1000, 1001, 1002, 1003, 1004, 1005, 1006, 1015, 1016, 2004, 2031, 2048, 6, 69,
    ];
    for mode in modes {
        assert!(
            between.contains(&format!("\x1b[?{mode}l")),
            "{mode}: {text:?}"
        );
    }
    for other in [
        "\x1b[=0;1u",
        "\x1b[<99u",
        "\x1b[>4;0m",
        "\x1b]104\x1b\\",
        "\x1b[!p",
    ] {
        assert!(between.contains(other), "{other:?}: {text:?}");
    }
    let opened = text.find("\x1b]0;").expect("the control: it was left open");
    assert!(opened < text.find(ended).expect("its end"), "{text:?}");
    screen.press(&format!("{word} {place}\r"));
    screen.wait_for("status 200");
    assert_eq!(screen.end().0, 0);
}

each!(a_port_that_no_rule_names_is_asked_for_and_reached);
/// At whatever port: the relay may dial any where somebody is asked.
fn a_port_that_no_rule_names_is_asked_for_and_reached(who: Who) {
    let Some(jail) = Jail::new(who, ASK) else {
        return;
    };
    let (_peer, _) = jail.peer(8443);
    let script = "s = socket.create_connection(('198.18.0.1', 3128))\n\
        s.sendall(b'CONNECT other.test:8443 HTTP/1.1\\r\\n\\r\\n')\n\
        print('status', s.recv(4096).split()[1].decode())";
    let mut screen = start(&jail, &["-T"], script);
    screen.wait_for("creel: may the jail connect to other.test port 8443?");
    let (word, place) = line(&screen);
    screen.press(&format!("{word} {place}\r"));
    screen.wait_for("status 200");
    assert_eq!(screen.end().0, 0, "{who:?}");
}
