//! `ask` mode: what a list does not have is a person's to allow, at the terminal, and silence is denial.

use serde_json::Value;

use super::Jail;
use crate::support::Who;
use crate::support::pty::Screen;

const ASK: &str = "mode = \"ask\"\nallow = [\"web.test\"]\ndeny = [\"evilweb.test\"]";
const QUESTION: &str = "creel: may the jail connect to other.test port 443? [y/N] ";

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

#[test]
fn a_person_allows_with_a_word_and_denies_with_any_other() {
    for who in Who::all() {
        // With a terminal of the jail's own, and without.
        for flags in [&["-T"][..], &["-t"]] {
            for (keys, status) in [
                ("y", "200"),
                ("YES", "200"),
                ("n", "403"),
                ("", "403"),
                ("yo", "403"),
            ] {
                let Some(jail) = Jail::new(who, ASK) else {
                    return;
                };
                let jail = jail.logged();
                let script = "import time; time.sleep(0.1); print('status', go(b'other.test')); print('heard', input())";
                let mut screen = start(&jail, flags, script);
                screen.wait_for(QUESTION);
                // Longer than anything else that the supervisor wakes up for.
                std::thread::sleep(std::time::Duration::from_millis(300));
                assert_eq!(jail.outside.connections(), [], "{who:?} {flags:?}");
                screen.press(&format!("{keys}\r"));
                screen.wait_for(&format!("status {status}"));
                // What is typed afterwards is the command's again, and all of it.
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
                    _ => assert_eq!(line["refused"], "nobody allowed it when asked", "{line}"),
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
    assert_eq!(ran.ok().stdout, "403 200\n");
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
        import time; time.sleep(2); print('denied', len(done), set(done), flush=True)\n\
        for t in all: t.join()\n\
        print('in all', done.count('403'), done.count('502'))";
    let mut screen = start(&jail, &["-T"], script);
    screen.wait_for("denied 4 {'403'}");
    // The rest is asked one after another; a name that does not exist outside is a 502.
    for turn in 0..16 {
        screen.wait_until("a question", || {
            screen.text().matches("? [y/N] ").count() == turn + 1
        });
        std::thread::sleep(std::time::Duration::from_millis(20));
        screen.press(if turn % 2 == 0 { "y\r" } else { "n\r" });
    }
    screen.wait_for("in all 12 8");
    let (code, text) = screen.end();
    assert_eq!(code, 0, "{text:?}");
}
