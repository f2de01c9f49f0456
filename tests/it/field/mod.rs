//! Properties of callers and their machines with which creel must still work.

mod bare;
mod chroots;
mod containers;
mod inherited;
mod machine;
mod names;
mod owners;
mod ports;
mod shared;
mod streams;
mod submounts;
mod terminal;
mod words;

use std::process::{Command, Output, Stdio};

use crate::support::{Run, Who, Workspace, is_root, need};

/// `bash -c SCRIPT`, to be, in which `"$@"` is `creel run FLAGS -- ARGV`.
fn script(who: Who, workspace: &Workspace, text: &str, flags: &[&str], argv: &[&str]) -> Command {
    use std::os::unix::process::CommandExt;
    need("bash");
    let creel = Run::new(who, workspace).flags(flags).command(argv);
    let mut shell = Command::new("/bin/bash");
    shell
        .args(["-c", text, "bash"])
        .arg(creel.get_program())
        .args(creel.get_args())
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .current_dir(workspace.path())
        .stdin(Stdio::null());
    if is_root() && who == Who::User {
        let (uid, gid, home) = who.account();
        shell.env("HOME", home).uid(uid).gid(gid);
    }
    shell
}

/// The same, to its end.
fn under(who: Who, workspace: &Workspace, text: &str, flags: &[&str], argv: &[&str]) -> Output {
    script(who, workspace, text, flags, argv)
        .output()
        .expect("bash runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
