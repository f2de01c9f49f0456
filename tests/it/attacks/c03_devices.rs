//! CVE-2025-31133, CVE-2025-52565: `/dev/null` and its like replaced before they are bound, so that
//! a host file appears in their place; and the kernel files that such a bind made writable.

use super::{attack, in_own_mounts, outside};
use crate::support::{Run, Who, Workspace, is_root};

/// A `/dev` of the test's own, with true devices.
const DEV: &str = r#"
mount -t tmpfs -o mode=755 none /mnt
for n in null:3 zero:5 full:7 random:8 urandom:9; do mknod -m 666 /mnt/${n%:*} c 1 ${n#*:}; done
mknod -m 666 /mnt/tty c 5 0
echo SECRET > /mnt/secret
"#;
const MOVE: &str = "mount --move /mnt /dev\n";

each!(a_false_device_is_refused);
fn a_false_device_is_refused(who: Who) {
    let workspace = Workspace::new(who);
    for (what, status) in [
        (":", 0),
        ("ln -sf secret /mnt/null", 125),
        ("ln -sf /proc/sys/kernel/core_pattern /mnt/null", 125),
        ("ln -sf zero /mnt/null", 125),
        ("rm /mnt/null; cp /mnt/secret /mnt/null", 125),
        ("rm /mnt/null; mkdir /mnt/null", 125),
        ("rm /mnt/null; mknod -m 666 /mnt/null c 1 5", 125),
        ("rm /mnt/null; mknod -m 666 /mnt/null b 1 3", 125),
        ("rm /mnt/null; mkfifo -m 666 /mnt/null", 125),
        ("rm /mnt/null", 125),
        ("rm /mnt/tty; ln -s secret /mnt/tty", 125),
    ] {
        let run = Run::new(who, &workspace);
        let setup = format!("{DEV}{what}\n{MOVE}");
        let Some(output) = in_own_mounts(who, &run, &setup, &["/bin/cat", "/dev/null"]) else {
            return;
        };
        assert_eq!(output.status.code(), Some(status), "{what}: {output:#?}");
        assert!(output.stdout.is_empty(), "{what}: {output:#?}");
    }
}

each!(a_device_swapped_while_jails_are_made_is_the_device_or_a_refusal);
fn a_device_swapped_while_jails_are_made_is_the_device_or_a_refusal(who: Who) {
    const FLIP: &str = r#"
echo SECRET > /dev/fake; ln -s secret /dev/link
python3 -c '
import ctypes, time
libc = ctypes.CDLL(None)
end = time.time() + 20
while time.time() < end:
    for _ in range(1000):
        libc.renameat2(-100, b"/dev/null", -100, b"/dev/fake", 2)
        libc.renameat2(-100, b"/dev/null", -100, b"/dev/link", 2)
' </dev/zero >/dev/zero 2>&1 &
flipper=$!
trap 'kill $flipper' EXIT
"#;
    let workspace = Workspace::new(who);
    let run = Run::new(who, &workspace);
    // Every creel of the loop is its own attempt; the last word is the tally.
    let run = run.command(["/usr/bin/stat", "-c", "%F %t:%T", "/dev/null"]);
    let (uid, gid, _) = who.account();
    let words: Vec<String> = std::iter::once(run.get_program())
        .chain(run.get_args())
        .map(|w| format!("'{}'", w.to_str().expect("text")))
        .collect();
    let setpriv = match who {
        Who::Root => String::new(),
        Who::User => format!("setpriv --clear-groups --reuid {uid} --regid {gid} "),
    };
    if !is_root() {
        eprintln!("skipped: a mount namespace that lies to creel needs root");
        return;
    }
    let loops = format!(
        "{DEV}{MOVE}{FLIP}\nfor i in 1 2 3 4 5 6 7 8 9 10 11 12; do {setpriv}{} </dev/zero 2>/dev/zero && s=0 || s=$?; echo \"status $s\"; done",
        words.join(" ")
    );
    let output = std::process::Command::new("unshare")
        .args([
            "-m",
            "--propagation",
            "private",
            "/bin/sh",
            "-c",
            &format!("set -e\n{loops}"),
        ])
        .current_dir(workspace.path())
        .env_clear()
        .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
        .output()
        .expect("unshare starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines.iter().filter(|l| l.starts_with("status")).count(),
        12,
        "{output:#?}"
    );
    for line in lines {
        assert!(
            ["character special file 1:3", "status 0", "status 125"].contains(&line),
            "{line}: {output:#?}"
        );
    }
}

each!(kernel_parameters_cannot_be_written);
fn kernel_parameters_cannot_be_written(who: Who) {
    const OPEN: &str = r#"
for name, path in [('core_pattern', '/proc/sys/kernel/core_pattern'), ('sysrq', '/proc/sysrq-trigger'),
                   ('hostname', '/proc/sys/kernel/hostname')]:
    say(name, opened(path, os.O_WRONLY))
say('readable', opened('/proc/sys/kernel/ostype', os.O_RDONLY))
"#;
    let sysrq = std::path::Path::new("/proc/sysrq-trigger").exists();
    let workspace = Workspace::new(who);
    attack(Run::new(who, &workspace), OPEN).expect(&[
        ("core_pattern", "EACCES"),
        ("sysrq", if sysrq { "EACCES" } else { "ENOENT" }),
        ("hostname", "EACCES"),
        ("readable", "OK"),
    ]);
    if who == Who::Root {
        // Opened and not written: harmless.
        outside(who, &workspace.path(), OPEN).expect(&[
            ("core_pattern", "OK"),
            ("sysrq", if sysrq { "OK" } else { "ENOENT" }),
        ]);
    }
}
