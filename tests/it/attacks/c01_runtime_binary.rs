//! CVE-2019-5736: the runtime's own binary, reached through `/proc/*/exe` of a process that it
//! starts in the jail, and overwritten.

use std::path::Path;

use super::{attack, outside, policy};
use crate::support::{Run, Who, Workspace, binary};

fn fingerprint() -> (u64, Vec<u8>) {
    use std::os::unix::fs::MetadataExt;
    let bytes = std::fs::read(binary()).expect("creel is readable");
    let sum = bytes.iter().fold(0u64, |sum, b| {
        sum.wrapping_mul(31).wrapping_add(u64::from(*b))
    });
    let meta = std::fs::metadata(binary()).expect("stat");
    (
        sum,
        format!(
            "{} {} {} {}",
            meta.ino(),
            meta.mode(),
            meta.size(),
            meta.mtime_nsec()
        )
        .into(),
    )
}

each!(no_exe_link_can_be_written_while_programs_are_executed);
fn no_exe_link_can_be_written_while_programs_are_executed(who: Who) {
    let before = fingerprint();
    let workspace = Workspace::new(who);
    let got = attack(
        Run::new(who, &workspace).flags(["--pids", "64"]),
        r#"
import threading
done = threading.Event()
def many():
    for _ in range(300):
        os.waitpid(os.posix_spawn('/bin/true', ['true'], {}), 0)
    done.set()
threading.Thread(target=many).start()
tried, wrote, named, read = 0, [], set(), 0
while not done.is_set():
    for pid in [p for p in os.listdir('/proc') if p.isdigit()] + ['self', 'thread-self', '1']:
        exe = f'/proc/{pid}/exe'
        for flags in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC | os.O_APPEND):
            answer = opened(exe, flags)
            tried += 1
            if answer not in ('ENOENT', 'EACCES', 'ESRCH', 'ETXTBSY', 'EROFS'):
                wrote.append((exe, answer))
        try:
            named.add(os.readlink(exe))
            read += opened(exe, os.O_RDONLY) == 'OK'
        except OSError:
            pass
say('tried', 'many' if tried > 1000 else tried)
say('wrote', wrote)
say('creel', [n for n in named if 'creel' in n.rsplit('/', 1)[-1]])
say('control_read', 'OK' if read else 'none')
"#,
    );
    got.expect(&[
        ("tried", "many"),
        ("wrote", "[]"),
        ("creel", "[]"),
        ("control_read", "OK"),
    ]);
    assert_eq!(fingerprint(), before, "creel's binary changed");
}

each!(the_first_process_can_be_neither_seen_nor_traced);
fn the_first_process_can_be_neither_seen_nor_traced(who: Who) {
    let workspace = Workspace::new(who);
    let run = Run::new(who, &workspace);
    let probes = r#"
say('stat', py(os.stat, f'/proc/{T}'))
say('exe', py(os.readlink, f'/proc/{T}/exe'))
say('exe_read', opened(f'/proc/{T}/exe', os.O_RDONLY))
say('root', py(os.listdir, f'/proc/{T}/root'))
say('fd', py(os.listdir, f'/proc/{T}/fd'))
say('environ', opened(f'/proc/{T}/environ', os.O_RDONLY))
say('mem', opened(f'/proc/{T}/mem', os.O_RDWR))
"#;
    let body = format!(
        r#"
T = 1
{probes}
say('attach', sc(101, 16, 1, 0, 0))
say('seize', sc(101, 0x4206, 1, 0, 0))
say('vm_readv', sc(310, 1, 0, 0, 0, 0, 0))
say('vm_writev', sc(311, 1, 0, 0, 0, 0, 0))
fd = raw(434, 1, 0)
say('getfd', sc(438, fd, 3, 0))
say('kcmp', sc(312, os.getpid(), 1, 0, 0, 0))
os.kill(1, 9)
say('alive_after_kill', 'OK')
"#
    );
    attack(run, &body).expect(&[
        ("stat", "ENOENT"),
        ("exe", "ENOENT"),
        ("exe_read", "ENOENT"),
        ("root", "ENOENT"),
        ("fd", "ENOENT"),
        ("environ", "ENOENT"),
        ("mem", "ENOENT"),
        ("attach", "EPERM"),
        ("seize", "EPERM"),
        ("vm_readv", "EPERM"),
        ("vm_writev", "EPERM"),
        ("getfd", "EPERM"),
        ("kcmp", "EPERM"),
        ("alive_after_kill", "OK"),
    ]);
    // The same questions about a process of one's own are answered.
    outside(who, Path::new("/"), &format!("T = os.getpid()\n{probes}")).expect(&[
        ("stat", "OK"),
        ("exe", "OK"),
        ("root", "OK"),
        ("fd", "OK"),
        ("environ", "OK"),
        ("mem", "OK"),
    ]);
}

each!(creel_cannot_be_made_to_execute_itself);
fn creel_cannot_be_made_to_execute_itself(who: Who) {
    let before = fingerprint();
    let workspace = Workspace::new(who);
    std::os::unix::fs::symlink("/proc/self/exe", workspace.path().join("link")).expect("symlink");
    workspace.write("script", "#!/proc/self/exe\n");
    let home = binary().parent().expect("a directory");
    let readable = [std::ffi::OsStr::new("--read"), home.as_os_str()];
    for command in ["/proc/self/exe", "./link", "./script"] {
        for flags in [vec![], readable.to_vec()] {
            let ran = Run::new(who, &workspace)
                .flags(flags)
                .argv([command, "--version"]);
            assert_eq!(
                (ran.status, ran.kind()),
                (126, "denied"),
                "{command}: {ran:#?}"
            );
        }
    }
    // Granted, it runs, and is no more writable for that.
    let policy = policy(
        &workspace,
        &format!("write = []\nread = []\ndeny = []\n# {}", home.display()),
    );
    let text = std::fs::read_to_string(&policy).expect("read");
    let text = text.replacen(
        "exec = [",
        &format!("exec = [{:?}, ", home.display().to_string()),
        1,
    );
    std::fs::write(&policy, text).expect("write");
    let creel = binary().to_str().expect("text");
    let ran = Run::new(who, &workspace)
        .policy(&policy)
        .argv([creel, "--version"])
        .ok();
    assert!(ran.stdout.starts_with("creel"), "{ran:#?}");
    let body = format!(
        "say('write', opened({creel:?}, os.O_WRONLY))\nsay('read', opened({creel:?}, os.O_RDONLY))"
    );
    attack(Run::new(who, &workspace).policy(&policy), &body)
        .expect(&[("write", "EACCES"), ("read", "OK")]);
    assert_eq!(fingerprint(), before, "creel's binary changed");
}
