//! `creel exec` with a terminal.

use super::Session;
use crate::support::Who;
use crate::support::pty::Screen;

each!(an_interactive_shell);
fn an_interactive_shell(who: Who) {
    let session = Session::new(who);
    let mut command = session.command(&["-e", "PS1=> "], &["/bin/sh"]);
    command.env("TERM", "xterm");
    let mut screen = Screen::start(command);
    screen.wait_for("> ");
    screen.resize(31, 97);
    screen.press("tty; stty size\n");
    screen.wait_for("/dev/pts/");
    screen.wait_for("31 97");
    screen.press("sleep 8000\n");
    screen.wait_until("the command runs", || {
        session.sh("ps ax | grep -c '[s]leep 8000'").out == "1\n"
    });
    screen.press("\u{3}");
    screen.wait_until("Ctrl-C has ended it", || {
        session.sh("ps ax | grep -c '[s]leep 8000'").out == "0\n"
    });
    screen.press("exit 6\n");
    let (status, _) = screen.end();
    assert_eq!(status, 6);
}
