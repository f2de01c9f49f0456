//! CVE-2020-5291: privilege that was kept; and the ways back to it: new user namespaces, set-id
//! programs that are there, set-id programs that the jail leaves on the host.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use super::{attack, outside, policy};
use crate::support::{Run, Who, Workspace, need};

each!(every_set_is_empty_and_stays_so);
fn every_set_is_empty_and_stays_so(who: Who) {
    let workspace = Workspace::new(who);
    attack(
        Run::new(who, &workspace),
        r#"
status = dict(line.split(':', 1) for line in open('/proc/self/status'))
for key in ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb', 'NoNewPrivs', 'Seccomp', 'Groups']:
    say(key, status[key].strip())
say('securebits', hex(raw(157, 27, 0, 0, 0, 0)))
say('set_securebits', sc(157, 28, 0, 0, 0, 0))
say('ambient', sc(157, 47, 2, 21, 0, 0))
say('setuid', py(os.setuid, 0))
say('setgid', py(os.setgid, 0))
say('setgroups', py(os.setgroups, [0]))
say('setresuid', py(os.setresuid, 0, 0, 0))
say('no_new_privs_off', sc(157, 38, 0, 0, 0, 0))
say('uid_map', wrote('/proc/self/uid_map', b'0 0 1'))
say('seccomp_off', sc(157, 22, 0, 0, 0, 0))
"#,
    )
    .expect(&[
        ("CapInh", "0000000000000000"),
        ("CapPrm", "0000000000000000"),
        ("CapEff", "0000000000000000"),
        ("CapBnd", "0000000000000000"),
        ("CapAmb", "0000000000000000"),
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
        ("Groups", ""),
        // NOROOT, NO_SETUID_FIXUP, KEEP_CAPS_LOCKED, NO_CAP_AMBIENT_RAISE, each locked.
        ("securebits", "0xef"),
        ("set_securebits", "EPERM"),
        ("ambient", "EPERM"),
        ("setuid", if who == Who::Root { "EPERM" } else { "EINVAL" }),
        ("setgid", if who == Who::Root { "EPERM" } else { "EINVAL" }),
        ("setgroups", "EPERM"),
        (
            "setresuid",
            if who == Who::Root { "EPERM" } else { "EINVAL" },
        ),
        ("no_new_privs_off", "EINVAL"),
        ("uid_map", "EPERM"),
        ("seccomp_off", "EINVAL"),
    ]);
}

each!(no_further_user_namespace);
fn no_further_user_namespace(who: Who) {
    const TRY: &str = r#"
NEWUSER = 0x10000000
def child(nr, *args):
    pid = raw(nr, *args)
    if pid == 0:
        os._exit(0)
    if pid > 0:
        os.waitpid(pid, 0)
        return 'OK'
    return errno.errorcode[ctypes.get_errno()]
args = (ctypes.c_uint64 * 11)(NEWUSER, 0, 0, 0, 17)
say('clone3', child(435, args, 88))
say('clone3_plain', child(435, (ctypes.c_uint64 * 11)(0, 0, 0, 0, 17), 88))
say('clone', child(56, NEWUSER | 17, 0, 0, 0, 0))
say('clone_high', child(56, NEWUSER | 17 | 1 << 40, 0, 0, 0, 0))
say('clone_ns', child(56, 0x00020000 | 17, 0, 0, 0, 0))
say('clone_time', child(56, 17, 0, 0, 0, 0))
say('setns', sc(308, os.open('/proc/self/ns/user', os.O_RDONLY), 0))
say('unshare', sc(272, NEWUSER))
say('unshare_time', sc(272, 0x80))
say('unshare_fs', sc(272, 0x200))
"#;
    let workspace = Workspace::new(who);
    attack(Run::new(who, &workspace), TRY).expect(&[
        ("clone3", "ENOSYS"),
        ("clone3_plain", "ENOSYS"),
        ("clone", "EPERM"),
        ("clone_high", "EPERM"),
        ("clone_ns", "EPERM"),
        ("clone_time", "OK"),
        ("setns", "EPERM"),
        ("unshare", "EPERM"),
        ("unshare_time", "EPERM"),
        ("unshare_fs", "OK"),
    ]);
    outside(who, &workspace.path(), TRY).expect(&[
        ("clone3", "OK"),
        ("clone", "OK"),
        ("unshare", "OK"),
    ]);
}

each!(a_set_id_program_in_a_granted_tree_gains_nothing);
fn a_set_id_program_in_a_granted_tree_gains_nothing(who: Who) {
    let workspace = Workspace::new(who);
    let tools = workspace.outside().join("tools");
    std::fs::create_dir(&tools).expect("mkdir");
    let program = tools.join("id");
    std::fs::copy(need("id"), &program).expect("copy");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o6755)).expect("chmod");
    let granting = policy(&workspace, "");
    let text = std::fs::read_to_string(&granting).expect("read");
    let text = text.replacen(
        "exec = [",
        &format!("exec = [{:?}, ", tools.display().to_string()),
        1,
    );
    std::fs::write(&granting, text).expect("write");
    let id = program.to_str().expect("text");
    let ran = Run::new(who, &workspace)
        .policy(&granting)
        .argv([id, "-u"])
        .ok();
    let own = Run::new(who, &workspace).argv(["/usr/bin/id", "-u"]).ok();
    assert_eq!(ran.stdout, own.stdout);
    assert_ne!(ran.stdout.trim(), "0");
    if crate::support::is_root() {
        let body = format!(
            "import subprocess\nsay('uid', subprocess.run([{id:?}, '-u'], capture_output=True, text=True).stdout.strip())"
        );
        outside(Who::User, Path::new("/"), &body).expect(&[("uid", "0")]);
    }
}

/// Every way to the bits that has its own system call or tool.
const MAKE: &str = r#"
import subprocess
os.umask(0)
base = os.getcwd()
open('f', 'w').close(); os.chmod('f', 0o755)
fd = os.open('f', os.O_RDWR)
dirfd = os.open('.', os.O_RDONLY)
AT = -100
for name, bits in (('uid', 0o4755), ('gid', 0o2755), ('both', 0o6777), ('gid_only', 0o2010)):
    say(f'chmod_{name}', sc(90, b'f', bits))
    say(f'fchmod_{name}', sc(91, fd, bits))
    say(f'fchmodat_{name}', sc(268, AT, b'f', bits))
    say(f'fchmodat2_{name}', sc(452, AT, b'f', bits, 0))
    say(f'chmod_high_{name}', sc(90, b'f', bits | 0xdead << 32))
    say(f'open_{name}', sc(2, f'o{name}'.encode(), 0o102, bits))
    say(f'openat_{name}', sc(257, AT, f'oa{name}'.encode(), 0o102, bits))
    say(f'tmpfile_{name}', sc(257, AT, b'.', 0o20200002, bits))
    say(f'creat_{name}', sc(85, f'c{name}'.encode(), bits))
    say(f'mknod_{name}', sc(133, f'm{name}'.encode(), 0o100000 | bits, 0))
    say(f'mknodat_{name}', sc(259, AT, f'ma{name}'.encode(), 0o100000 | bits, 0))
    say(f'mkfifo_{name}', sc(133, f'p{name}'.encode(), 0o10000 | bits, 0))
    say(f'openat2_{name}', sc(437, AT, f'o2{name}'.encode(), (ctypes.c_uint64 * 3)(0o102, bits, 0), 24))
os.symlink('f', 'sym'); os.link('f', 'hard')
say('chmod_sym', sc(90, b'sym', 0o4755))
say('chmod_hard', sc(90, b'hard', 0o4755))
say('proc_fd', sc(90, f'/proc/self/fd/{fd}'.encode(), 0o4755))
say('device', sc(133, b'dev', 0o20666, os.makedev(1, 3)))
say('whiteout', sc(133, b'wh', 0o20000, 0))
say('plain', sc(90, b'f', 0o755))
# Tools that would copy the bits from elsewhere.
def tool(*argv):
    return subprocess.run(argv, capture_output=True).returncode
os.mkdir('src'); open('src/s', 'w').close()
import tarfile, io
t = tarfile.open('bits.tar', 'w')
info = tarfile.TarInfo('from_tar'); info.mode = 0o6755; info.size = 1
t.addfile(info, io.BytesIO(b'x'))
info = tarfile.TarInfo('dir_from_tar'); info.mode = 0o6755; info.type = tarfile.DIRTYPE
t.addfile(info); t.close()
say('tar', tool('tar', '-xpf', 'bits.tar') != 0)
say('tar_plain', tool('tar', '--no-same-permissions', '-xf', 'bits.tar'))
su = [p for p in ('/usr/bin/su', '/usr/bin/passwd', '/usr/bin/mount') if os.path.exists(p)]
say('some_setuid', bool(su) and bool(os.stat(su[0]).st_mode & 0o6000))
for n, p in enumerate(su):
    tool('cp', '-p', p, f'cp{n}'); tool('cp', '--preserve=all', p, f'cpa{n}'); tool('install', '-m', '4755', p, f'inst{n}')
    py(os.link, p, f'ln{n}')
os.mkdir('shared/sub'); open('shared/file', 'w').close(); open('shared/sub/file', 'w').close()
os.rename('f', 'shared/renamed'); os.link('hard', 'shared/linked')
say('mkdir_gid', sc(83, b'md', 0o2755)); say('mkdirat_gid', sc(258, AT, b'mda', 0o6755))
os.setxattr('shared/file', 'user.x', b'1')
say('capability', py(os.setxattr, 'shared/file', 'security.capability', bytes.fromhex('0100000202000000000000000000000000000000')))
"#;

each!(no_set_id_file_is_left_on_the_host);
fn no_set_id_file_is_left_on_the_host(who: Who) {
    let workspace = Workspace::new(who);
    // A directory that hands down its group, as teams have them.
    let shared = workspace.path().join("shared");
    std::fs::create_dir(&shared).expect("mkdir");
    let (uid, gid, _) = who.account();
    std::os::unix::fs::chown(&shared, Some(uid), Some(gid)).expect("chown");
    std::fs::set_permissions(&shared, std::fs::Permissions::from_mode(0o2775)).expect("chmod");
    let got = attack(Run::new(who, &workspace), MAKE);
    let calls = [
        "chmod",
        "fchmod",
        "fchmodat",
        "fchmodat2",
        "chmod_high",
        "open",
        "openat",
        "tmpfile",
        "creat",
        "mknod",
        "mknodat",
        "mkfifo",
    ];
    for call in calls {
        for bits in ["uid", "gid", "both", "gid_only"] {
            assert_eq!(
                got.of(&format!("{call}_{bits}")),
                "EPERM",
                "{call} {bits}: {got:#?}"
            );
        }
    }
    for bits in ["uid", "gid", "both"] {
        assert_eq!(got.of(&format!("openat2_{bits}")), "ENOSYS");
    }
    got.expect(&[
        ("chmod_sym", "EPERM"),
        ("chmod_hard", "EPERM"),
        ("proc_fd", "EPERM"),
        ("device", "EPERM"),
        ("whiteout", "EPERM"),
        ("plain", "OK"),
        ("tar", "True"),
        ("some_setuid", "True"),
        ("capability", "EPERM"),
    ]);
    // As the host sees it: nothing, but for directories beneath the one that hands down its group.
    let mut seen = 0;
    walk(&workspace.path(), &mut |path, meta| {
        seen += 1;
        let below = path.starts_with(&shared) && meta.is_dir();
        assert!(
            meta.mode() & 0o6000 == 0 || below,
            "{} {:o}",
            path.display(),
            meta.mode()
        );
    });
    assert!(seen > 5, "{seen}");
    // The control: the calls are good ones.
    let free = Workspace::new(who);
    std::fs::create_dir(free.path().join("shared")).expect("mkdir");
    std::os::unix::fs::chown(free.path().join("shared"), Some(uid), Some(gid)).expect("chown");
    let got = outside(who, &free.path(), MAKE);
    for call in calls.iter().filter(|c| **c != "tmpfile") {
        got.expect(&[(&format!("{call}_uid"), "OK")]);
    }
}

fn walk(dir: &Path, look: &mut impl FnMut(&Path, &std::fs::Metadata)) {
    for entry in std::fs::read_dir(dir).expect("readable") {
        let path = entry.expect("an entry").path();
        let meta = std::fs::symlink_metadata(&path).expect("stat");
        look(&path, &meta);
        if meta.is_dir() {
            walk(&path, look);
        }
    }
}

#[test]
fn a_jail_that_shares_the_id_of_the_workspaces_owner_has_no_more() {
    let who = Who::Root;
    if !crate::support::is_root() {
        eprintln!("skipped: an ordinary user's jail has that user's id anyway");
        return;
    }
    let workspace = Workspace::new(who);
    let (uid, gid, _) = Who::User.account();
    // ramfs has no idmapped mounts.
    let at = workspace.path().display().to_string();
    for (owner, degraded, status) in [
        (uid, true, 0),
        (uid, false, 125),
        // Root's own id is never shared.
        (0, true, 125),
    ] {
        let setup = format!(
            "mount -t ramfs none {at}; mkdir {at}/w; echo SECRET > {at}/w/roots; chmod 600 {at}/w/roots; \
             chown {owner}:{gid} {at}/w; cd {at}/w"
        );
        let flags: &[&str] = if degraded {
            &["--allow-degraded", "idmap"]
        } else {
            &[]
        };
        let run = Run::new(who, &workspace).flags(flags);
        let look = "id -u; grep Cap /proc/self/status; cat roots; touch mine && stat -c %u:%g mine; cat /proc/self/uid_map";
        let output =
            super::in_own_mounts(who, &run, &setup, &["/bin/sh", "-c", look]).expect("root");
        assert_eq!(output.status.code(), Some(status), "{output:#?}");
        if status == 0 {
            let words: Vec<String> = String::from_utf8_lossy(&output.stdout)
                .split_whitespace()
                .map(str::to_owned)
                .collect();
            let none = "0000000000000000";
            let map = uid.to_string();
            let wanted = [
                "1000",
                "CapInh:",
                none,
                "CapPrm:",
                none,
                "CapEff:",
                none,
                "CapBnd:",
                none,
                "CapAmb:",
                none,
                "1000:1000",
                "1000",
                &map,
                "1",
            ];
            assert_eq!(words, wanted, "{output:#?}");
        }
    }
}
