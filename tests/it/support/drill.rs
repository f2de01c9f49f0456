//! Drills: parts of a test that run in a separate process, because they give up rights for good or kill
//! their process.
//!
//! libtest has several threads, and a fork of such a process inherits locks that nobody unlocks. A drill is
//! therefore this binary executed again: before `main`, while only one thread exists, it finds the drill's
//! name in its environment. It prints lines on stdout, [`LAST_WORD`] after all others, and exits with 0. Its
//! parent checks both, because a drill that died early looks like one that found nothing.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};

use creel_sys::process;

/// The function of a drill; takes its arguments.
type Act = fn(&[String]);

const DRILLS: &[(&str, Act)] = &[
    ("relay", crate::relay_confined::drill),
    ("relay's UDP", crate::relay_confined::udp_drill),
    ("panic", crate::leaks::panic_drill),
    ("embed", crate::embed::drill),
    ("supervised", crate::supervised::drill),
    ("tests::speaks", |_| say("a word")),
    ("tests::leaves", |_| process::exit(0)),
    ("tests::fails", |_| {
        say(LAST_WORD);
        process::exit(3)
    }),
    ("tests::dies", |_| {
        say("a word");
        std::process::abort()
    }),
    ("tests::panics", |_| panic!("on purpose")),
    ("tests::allocates", |_| {
        super::heap::mine_alone();
        let used = creel_sys::attempt::fork(|| *std::hint::black_box(Box::new(7)));
        let pid = used.expect("one thread");
        let (end, _) = process::reap(pid).expect("a child");
        say(&format!("{end:?}"));
    }),
    ("tests::forks", |_| {
        let pid = creel_sys::attempt::fork(|| 7).expect("one thread");
        say(&format!("{:?}", process::reap(pid).map(|(end, _)| end)));
    }),
];
const LAST_WORD: &str = "that is all";
const NAME: &str = "CREEL_IT_DRILL";
const ARGUMENTS: &str = "CREEL_IT_DRILL_ARGUMENTS";

/// Runs the drill and exits if this process is one; otherwise returns.
pub fn begin() {
    let Ok(name) = std::env::var(NAME) else {
        return;
    };
    let Some((_, drill)) = DRILLS.iter().find(|(known, _)| *known == name) else {
        process::exit(2);
    };
    let arguments = std::env::var(ARGUMENTS).unwrap_or_default();
    let arguments: Vec<String> = arguments.lines().map(str::to_owned).collect();
    drill(&arguments);
    say(LAST_WORD);
    process::exit(0);
}

/// Sends one line from a drill to its test, by stdout: a confined process can use nothing else.
pub fn say(line: &str) {
    let line = format!("{line}\n");
    if rustix::io::write(rustix::stdio::stdout(), line.as_bytes()) != Ok(line.len()) {
        process::exit(4);
    }
}

/// The command that starts the drill `name`, for a test that ends it in another way.
pub fn command(name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this binary"));
    command
        .env(NAME, name)
        .env(ARGUMENTS, arguments.join("\n"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    command
}

/// A running drill.
pub struct Drill {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
    said: Vec<String>,
}

impl Drill {
    pub fn start(name: &str, arguments: &[&str]) -> Drill {
        Drill::of(&mut command(name, arguments))
    }

    pub fn of(command: &mut Command) -> Drill {
        let mut child = command.spawn().expect("the drill starts");
        let stdout = child.stdout.take().expect("a pipe");
        Drill {
            child,
            lines: BufReader::new(stdout).lines(),
            said: vec![],
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for this line.
    #[track_caller]
    pub fn hear(&mut self, line: &str) {
        while self.said.last().is_none_or(|last| last != line) {
            match self.lines.next() {
                Some(said) => self.said.push(said.expect("text")),
                None => panic!("it never said {line:?}: {:?}", self.end()),
            }
        }
    }

    /// Closes the drill's stdin, which lets it go on.
    pub fn release(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Waits for the end; returns all lines of the drill and its exit status.
    pub fn end(&mut self) -> (Vec<String>, ExitStatus) {
        self.release();
        let more = self.lines.by_ref().map(|line| line.expect("text"));
        self.said.extend(more);
        (self.said.clone(), self.child.wait().expect("it ends"))
    }

    /// Waits for the end; returns the lines before [`LAST_WORD`]. Panics if that or the exit status 0 is missing.
    #[track_caller]
    pub fn finish(mut self) -> Vec<String> {
        let (mut said, ended) = self.end();
        let last = said.pop();
        assert!(
            last.as_deref() == Some(LAST_WORD) && ended.code() == Some(0),
            "the drill did not come to its end: {ended}, {said:#?}, last {last:?}"
        );
        said
    }
}

impl Drop for Drill {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

mod tests {
    use super::*;

    fn finished(name: &'static str) -> Option<Vec<String>> {
        std::panic::catch_unwind(|| Drill::start(name, &[]).finish()).ok()
    }

    #[test]
    fn a_drill_that_does_not_come_to_its_last_word_fails() {
        assert_eq!(finished("tests::speaks"), Some(vec!["a word".to_owned()]));
        for name in [
            "tests::leaves",
            "tests::fails",
            "tests::dies",
            "tests::panics",
            "tests::unknown",
        ] {
            assert_eq!(finished(name), None, "{name}");
        }
        let (said, ended) = Drill::start("tests::dies", &[]).end();
        assert_eq!(said, ["a word"]);
        assert_eq!(ended.signal(), Some(libc::SIGABRT));
    }

    /// A call that is not safe in this place reports that itself.
    #[test]
    fn a_process_of_several_threads_is_not_copied() {
        let refused = creel_sys::attempt::fork(|| 7);
        assert_eq!(refused, Err(creel_sys::Errno::BUSY));
        let copied = finished("tests::forks").expect("one thread");
        assert_eq!(copied, ["Ok(Exited(7))"]);
        // A child that uses the heap is found where that is watched.
        let used = finished("tests::allocates").expect("one thread");
        assert_eq!(used, ["Signaled(6)"]);
    }
}
