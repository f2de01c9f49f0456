//! Debuggers in a jail (`process.debug`): a tracer cannot get past the filter, and reaches nobody but
//! the jail's own processes.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use crate::attacks::exec_allowlist::extensions;
use crate::attacks::{Answers, answers, attack, become_who};
use crate::support::{Run, Who, Workspace, need};

/// Acts that succeed or reach the kernel outside, with their answers inside.
const REFUSED: &[(&str, &str)] = &[
    ("entry_mount", "EPERM"),
    ("entry_socket", "EAFNOSUPPORT"),
    ("entry_userns", "EPERM"),
    ("entry_io_uring", "ENOSYS"),
    ("entry_bpf", "EPERM"),
    ("entry_key", "EPERM"),
    ("entry_tiocsti", "EPERM"),
    ("entry_high_bits", "EAFNOSUPPORT"),
    ("entry_x32", "ENOSYS"),
    ("entry_segment", "EPERM"),
    ("filter_mount", "EPERM"),
    ("filter_socket", "EAFNOSUPPORT"),
    ("filter_x32", "ENOSYS"),
    ("suspend", "EPERM"),
    ("suspend_and_more", "EPERM"),
    ("seize_suspend", "EPERM"),
    ("exit", "EPERM"),
    ("exit_and_more", "EPERM"),
    ("exit_old", "EPERM"),
    ("seize_exit", "EPERM"),
    ("get_filter", "EPERM"),
    ("get_metadata", "EPERM"),
    ("dispatch", "EPERM"),
    ("emulate", "EPERM"),
    ("vdso", "EPERM"),
    ("attach_init", "EPERM"),
    ("seize_init", "EPERM"),
    ("memory_init", "EPERM"),
    ("attach_host", "ESRCH"),
    ("seize_host", "ESRCH"),
    ("set_id", "own"),
];

/// Acts of a debugger, which succeed inside and outside.
const ALLOWED: &[&str] = &[
    "entry_control",
    "filter_control",
    "options_control",
    "thread_pointer",
    "memory_control",
    "seize_control",
];

const SET_ID: &str = "/usr/bin/su";

fn built(workspace: &Workspace) {
    need("gcc");
    workspace.write("tracer.c", include_str!("tracer.c"));
    let done = Command::new("gcc")
        .args(["-O1", "-o", "tracer", "tracer.c"])
        .current_dir(workspace.path())
        .status();
    assert!(done.expect("gcc starts").success());
}

fn outside(who: Who, workspace: &Workspace) -> Answers {
    let mut other = Command::new("/bin/sleep").arg("60").spawn().expect("sleep");
    let mut command = Command::new(workspace.path().join("tracer"));
    command.arg("host").stdin(Stdio::null());
    if who == Who::Root {
        command.arg(other.id().to_string());
    }
    become_who(&mut command, who);
    let output = command.output().expect("the tracer starts");
    let _ = other.kill();
    let _ = other.wait();
    assert!(output.status.success(), "{output:?}");
    answers(&String::from_utf8_lossy(&output.stdout))
}

each!(a_tracer_gets_no_call_past_the_filter);
fn a_tracer_gets_no_call_past_the_filter(who: Who) {
    let mode = std::fs::metadata(SET_ID).expect("su").permissions().mode();
    assert_ne!(mode & 0o4000, 0, "{SET_ID} is not set-id");
    let workspace = Workspace::new(who);
    built(&workspace);
    let own = std::process::id().to_string();
    let ran = Run::new(who, &workspace).policy("coding");
    let got = answers(&ran.argv(["./tracer", "jail", &own, SET_ID]).ok().stdout);
    for name in ALLOWED {
        assert_eq!(got.of(name), "OK", "{name}");
    }
    got.expect(REFUSED);
    let free = outside(who, &workspace);
    for name in ALLOWED {
        assert_eq!(free.of(name), "OK", "{name} outside");
    }
    for (name, inside) in REFUSED {
        match *name {
            // Most kernels are built without that interface.
            "entry_x32" | "filter_x32" => {}
            // CAP_SYS_ADMIN's alone.
            "suspend" | "suspend_and_more" | "seize_suspend" if who == Who::User => {}
            // Other processes may be root's alone to trace (ptrace(2), Yama).
            "attach_host" | "seize_host" if who == Who::User => {}
            // Their control is inside, on a tracer's own process, and the program's bit.
            "attach_init" | "seize_init" | "memory_init" | "set_id" => {}
            // The kernel gets to see the others: it does them, or answers the nonsense.
            _ => assert_ne!(free.of(name), *inside, "{name} outside"),
        }
    }
    let socket = ["entry_socket", "entry_high_bits", "filter_socket"];
    let exit = ["exit", "exit_and_more", "exit_old", "seize_exit"];
    for name in socket.into_iter().chain(exit).chain(["entry_userns"]) {
        assert_eq!(free.of(name), "OK", "{name} outside");
    }
    if who == Who::Root {
        for name in ["suspend", "seize_suspend", "attach_host", "seize_host"] {
            assert_eq!(free.of(name), "OK", "{name} outside");
        }
    }
}

each!(pid_1_lets_go_what_makes_it_a_tracer);
fn pid_1_lets_go_what_makes_it_a_tracer(who: Who) {
    let body = r#"
import signal, threading
seen = []
signal.signal(signal.SIGUSR1, lambda *_: seen.append(1))
say('traceme', sc(101, 0, 0, 0, 0))
os.kill(os.getpid(), signal.SIGUSR1)
say('signal', 'OK' if seen else 'lost')
say('traceme_again', sc(101, 0, 0, 0, 0))
os.execv('/bin/sh', ['sh', '-c', 'echo exec=OK; exit 0'])
"#;
    let workspace = Workspace::new(who);
    attack(Run::new(who, &workspace).policy("coding"), body).expect(&[
        ("traceme", "OK"),
        ("signal", "OK"),
        ("traceme_again", "OK"),
        ("exec", "OK"),
    ]);
}

each!(who_says_which_programs_execute_has_no_debuggers);
fn who_says_which_programs_execute_has_no_debuggers(who: Who) {
    const TRACE: &str = "say('trace', sc(101, 0, 0, 0, 0))\nsay('read', sc(310, os.getpid(), 0, 0, 0, 0, 0))\nsay('yama', sc(157, 0x59616d61, 0, 0, 0, 0))";
    for (name, text, why) in [
        (
            "commands",
            "[tools.exec]\ncommands = ['python3']",
            Some("lists the programs that may execute"),
        ),
        (
            "worker",
            "[tools]\ndeny = ['exec']",
            Some("lists the programs that may execute"),
        ),
        (
            "security",
            "[tools.exec]\nsecurity = 'deny'",
            Some("lists the programs that may execute"),
        ),
        (
            "asked",
            "[tools.exec]\nask = 'on-miss'",
            Some("requires approval"),
        ),
        ("off", "[process]\ndebug = false", None),
    ] {
        let workspace = Workspace::new(who);
        let text = format!(
            "extends = ['coding']\nfilesystem.load = [{:?}]\n{text}\n",
            extensions()
        );
        let run = Run::new(who, &workspace).policy_text(&workspace, name, &text);
        let ran = run
            .flags(["-v"])
            .python(&crate::attacks::script(TRACE))
            .ok();
        let got = answers(&ran.stdout);
        got.expect(&[("trace", "EPERM"), ("read", "EPERM"), ("yama", "EINVAL")]);
        if let Some(why) = why {
            let told = ran.stderr.contains("process.debug") && ran.stderr.contains(why);
            assert!(told, "{name}: {ran:#?}");
        }
    }
    let workspace = Workspace::new(who);
    let got = attack(Run::new(who, &workspace).policy("coding"), TRACE);
    got.expect(&[("trace", "OK"), ("read", "OK")]);
}
