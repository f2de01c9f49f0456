//! A terminal as stdin of a jail that has none of its own: what is typed comes through a pipe, and the
//! terminal stays the caller's.

use std::process::Command;
use std::time::Duration;

use crate::support::pty::Screen;
use crate::support::{Run, Who, Workspace, is_root, need, wait};

/// Terminal operations on descriptors 0, 1 and 2.
const PROBE: &str = "import errno, fcntl, os, struct, sys, termios\n\
    said = []\n\
    def t(what, act):\n\
    \x20   try: act(); said.append(what + ' OK')\n\
    \x20   except OSError as e: said.append(what + ' ' + errno.errorcode[e.errno])\n\
    \x20   except termios.error as e: said.append(what + ' ' + errno.errorcode[e.args[0]])\n\
    size = struct.pack('4H', 24, 80, 0, 0)\n\
    for fd in 0, 1, 2:\n\
    \x20   t('modes%d' % fd, lambda: termios.tcsetattr(fd, termios.TCSANOW, termios.tcgetattr(fd)))\n\
    \x20   t('size%d' % fd, lambda: fcntl.ioctl(fd, termios.TIOCSWINSZ, size))\n\
    \x20   t('alone%d' % fd, lambda: fcntl.ioctl(fd, termios.TIOCEXCL) or fcntl.ioctl(fd, termios.TIOCNXCL))\n\
    \x20   t('queue%d' % fd, lambda: termios.tcflush(fd, termios.TCIOFLUSH))\n\
    open('said', 'w').write('\\n'.join(said))";

/// bash on a terminal, with `go`, which is creel with this command; as whoever runs creel.
fn shell(who: Who, workspace: &Workspace, run: &Run, argv: &[&str], arguments: &[&str]) -> Screen {
    need("bash");
    let creel = run.command(argv);
    let mut text = String::from("#!/bin/sh\nexec");
    for word in std::iter::once(creel.get_program()).chain(creel.get_args()) {
        let word = word.to_str().expect("text").replace('\'', "'\\''");
        text.push_str(&format!(" '{word}'"));
    }
    workspace.write("go", &text);
    workspace.write("rc", "PS1='prompt> '\n");
    let mut shell = Command::new("/bin/bash");
    shell
        .args(["--noprofile", "--rcfile", "rc"])
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("TERM", "dumb")
        .env("HOME", workspace.home())
        .current_dir(workspace.path());
    if is_root() && who == Who::User {
        use std::os::unix::process::CommandExt;
        let (uid, gid, _) = who.account();
        shell.uid(uid).gid(gid);
    }
    Screen::start(shell)
}

fn read(workspace: &Workspace, name: &str) -> String {
    std::fs::read_to_string(workspace.path().join(name)).unwrap_or_default()
}

each!(a_jail_never_holds_the_callers_terminal);
fn a_jail_never_holds_the_callers_terminal(who: Who) {
    const ACTS: [&str; 4] = ["modes", "size", "alone", "queue"];
    // Each of the three is the terminal, or only the first.
    for (flags, script) in [
        (&["-T"][..], "./go"),
        (&[], "./go > out"),
        (&["-T"], "./go 2> err"),
        (&[], "./go > out 2> err"),
    ] {
        let workspace = Workspace::new(who);
        let run = Run::new(who, &workspace).flags(flags);
        let argv = ["/usr/bin/python3", "-c", PROBE];
        let (status, text) = shell(who, &workspace, &run, &argv, &["-c", script]).end();
        assert_eq!(status, 0, "{text}");
        let said = read(&workspace, "said");
        assert_eq!(said.lines().count(), 12, "{who:?} {script}: {said}");
        for line in said.lines() {
            assert!(line.ends_with(" ENOTTY"), "{who:?} {script}: {said}");
        }
    }
    let workspace = Workspace::new(who);
    let run = Run::new(who, &workspace);
    workspace.write("probe.py", PROBE);
    let script = ["-c", "python3 probe.py"];
    let (status, text) = shell(who, &workspace, &run, &["true"], &script).end();
    assert_eq!(status, 0, "the control: {text}");
    let said = read(&workspace, "said");
    for act in ACTS {
        for fd in 0..3 {
            assert!(said.contains(&format!("{act}{fd} OK")), "{who:?}: {said}");
        }
    }
}

each!(what_is_typed_arrives_and_control_d_ends_it);
fn what_is_typed_arrives_and_control_d_ends_it(who: Who) {
    let workspace = Workspace::new(who);
    let run = Run::new(who, &workspace);
    let argv = ["/bin/sh", "-c", "echo > ready; exec cat"];
    let mut screen = shell(who, &workspace, &run, &argv, &["-c", "./go > out"]);
    screen.wait_until("the jail", || !read(&workspace, "ready").is_empty());
    for line in ["one", "two", "three"] {
        screen.press(&format!("{line}\r"));
    }
    // Line by line, as the command takes them.
    screen.wait_until("three lines", || {
        read(&workspace, "out") == "one\ntwo\nthree\n"
    });
    // In the middle of a line it only hands over what there is of it.
    screen.press("fo\x04");
    screen.wait_until("two letters", || read(&workspace, "out").ends_with("\nfo"));
    screen.press("ur\r\x04");
    let (status, text) = screen.end();
    assert_eq!(status, 0, "{text}");
    assert_eq!(read(&workspace, "out"), "one\ntwo\nthree\nfour\n");
}

each!(control_c_interrupts_a_command_that_reads);
fn control_c_interrupts_a_command_that_reads(who: Who) {
    let workspace = Workspace::new(who);
    let run = Run::new(who, &workspace);
    let argv = ["/bin/sh", "-c", "echo > ready; exec cat"];
    let mut screen = shell(who, &workspace, &run, &argv, &["-c", "exec ./go > out"]);
    screen.wait_until("the jail", || !read(&workspace, "ready").is_empty());
    screen.press("one\r");
    screen.wait_until("a line", || read(&workspace, "out") == "one\n");
    screen.press("half a line\x03");
    let (status, text) = screen.end();
    assert_eq!(status, 130, "{text}");
    assert_eq!(read(&workspace, "out"), "one\n");
}

each!(control_z_stops_it_and_what_is_typed_meanwhile_is_the_shells);
fn control_z_stops_it_and_what_is_typed_meanwhile_is_the_shells(who: Who) {
    let workspace = Workspace::new(who);
    let run = Run::new(who, &workspace);
    let argv = ["/bin/sh", "-c", "echo > ready; exec cat"];
    let mut screen = shell(who, &workspace, &run, &argv, &["-i"]);
    screen.wait_for("prompt> ");
    screen.press("./go > out\r");
    screen.wait_until("the jail", || !read(&workspace, "ready").is_empty());
    screen.press("one\r");
    screen.wait_until("a line", || read(&workspace, "out") == "one\n");
    screen.press("\x1a");
    screen.wait_for("Stopped");
    screen.press("echo of the shell > mine\r");
    screen.wait_until("the shell's", || {
        read(&workspace, "mine") == "of the shell\n"
    });
    screen.press("fg\r");
    screen.wait_until("the jail has the terminal", || screen.has_job());
    screen.press("two\r\x04");
    screen.wait_until("the other", || read(&workspace, "out") == "one\ntwo\n");
    screen.wait_until("the shell is back", || screen.text().ends_with("prompt> "));
    screen.press("exit 0\r");
    let (status, text) = screen.end();
    assert_eq!(status, 0, "{text}");
}

each!(in_the_background_nothing_is_read_and_nothing_stops);
fn in_the_background_nothing_is_read_and_nothing_stops(who: Who) {
    let workspace = Workspace::new(who);
    let run = Run::new(who, &workspace);
    // It waits for a line, ignores what would stop it, and does something else meanwhile.
    let script = "trap '' TSTP TTIN; exec 3<&0; { cat <&3 > got; echo > done; } &\n\
        echo > ready; while [ ! -e done ]; do date +%N > tick; sleep 0.02; done";
    let argv = ["/bin/sh", "-c", script];
    let mut screen = shell(who, &workspace, &run, &argv, &["-i"]);
    screen.wait_for("prompt> ");
    screen.press("./go | cat > out &\r");
    screen.wait_until("the jail", || !read(&workspace, "ready").is_empty());
    for turn in 0..6 {
        screen.press(&format!("echo hunter{turn} >> mine\r"));
        screen.wait_until("the shell's", || {
            read(&workspace, "mine").lines().count() == turn + 1
        });
        // As a person who looks at what they typed.
        wait::stays("the jail reads nothing", Duration::from_millis(150), || {
            read(&workspace, "got").is_empty()
        });
    }
    let tick = read(&workspace, "tick");
    screen.wait_until("the jail goes on", || read(&workspace, "tick") != tick);
    assert!(!screen.text().contains("Stopped"), "{}", screen.text());
    assert_eq!(read(&workspace, "got"), "", "{who:?}");
    // The control: in the foreground the same jail reads.
    screen.press("fg\r");
    screen.wait_until("the jail has the terminal", || screen.has_job());
    screen.press("now\r");
    screen.wait_until("what was typed", || read(&workspace, "got") == "now\n");
    screen.press("\x04");
    screen.wait_until("the shell is back", || screen.text().ends_with("prompt> "));
    screen.press("exit 0\r");
    let (status, text) = screen.end();
    assert_eq!(status, 0, "{text}");
}

each!(no_more_than_a_line_is_read_ahead);
/// Input that a command does not read goes to the shell, except a line that creel had read for it.
fn no_more_than_a_line_is_read_ahead(who: Who) {
    const WAIT: &str = "while [ ! -e end ]; do sleep 0.02; done";
    // Lost input: `echo 0` if nothing is read, and `echo 1` if a line is.
    for (script, ready, left) in [
        (format!("echo > ready; {WAIT}"), "ready", "1\n2\n"),
        (
            format!("echo > ready; read -r x; echo $x > x; {WAIT}"),
            "x",
            "2\n",
        ),
    ] {
        let workspace = Workspace::new(who);
        let run = Run::new(who, &workspace);
        let argv = ["/bin/sh", "-c", &script];
        let mut screen = shell(who, &workspace, &run, &argv, &["-i"]);
        screen.wait_for("prompt> ");
        screen.press("./go > out\r");
        screen.wait_until("the jail", || !read(&workspace, "ready").is_empty());
        for line in 0..3 {
            screen.press(&format!("echo {line} >> mine\r"));
        }
        screen.wait_until("what it reads", || !read(&workspace, ready).is_empty());
        // For creel to read ahead, if it did.
        wait::stays("the shell waits", Duration::from_millis(300), || {
            read(&workspace, "mine").is_empty()
        });
        workspace.write("end", "");
        screen.wait_until("the shell's lines", || {
            read(&workspace, "mine").ends_with(left)
        });
        screen.press("exit 0\r");
        let (status, text) = screen.end();
        assert_eq!(status, 0, "{text}");
        // On a busy machine not even that line was read yet.
        let mine = read(&workspace, "mine");
        let most = if ready == "x" { "1\n2\n" } else { "0\n1\n2\n" };
        assert!(mine == left || mine == most, "{who:?} {script}: {mine}");
    }
}

each!(what_is_no_terminal_is_handed_on_as_it_is);
fn what_is_no_terminal_is_handed_on_as_it_is(who: Who) {
    let workspace = Workspace::new(who);
    workspace.write("in", "echo from a file\n");
    for (script, argv, out) in [
        ("./go < in > out", &["/bin/sh"][..], "from a file\n"),
        ("yes | ./go > out", &["/usr/bin/head", "-1"], "y\n"),
        ("./go < /dev/null > out", &["/bin/cat"], ""),
        (
            "./go < in > out",
            &["/usr/bin/readlink", "/proc/self/fd/0"],
            "in",
        ),
    ] {
        let run = Run::new(who, &workspace);
        let (status, text) = shell(who, &workspace, &run, argv, &["-c", script]).end();
        assert_eq!(status, 0, "{text}");
        match out {
            "in" => assert!(!read(&workspace, "out").starts_with("pipe:")),
            out => assert_eq!(read(&workspace, "out"), out),
        }
    }
}
