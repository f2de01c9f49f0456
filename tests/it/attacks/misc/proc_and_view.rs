//! Facts about the host that can be read through `/proc`, and by walking out of the view.

use crate::attacks::{attack, outside};
use crate::support::{Run, Who, Workspace};

each!(proc_tells_nothing_of_the_hosts_processes_and_secrets);
fn proc_tells_nothing_of_the_hosts_processes_and_secrets(who: Who) {
    const READ: &str = r#"
def read(path):
    def go():
        os.read(os.open(path, os.O_RDONLY), 1)
    return py(go)
for name in ['cmdline', 'kallsyms', 'interrupts', 'locks', 'modules', 'partitions', 'diskstats', 'keys', 'key-users', 'kcore', 'kmsg', 'timer_list', 'slabinfo',
             'buddyinfo', 'zoneinfo', 'config.gz', 'sys/kernel/random/boot_id']:
    say(name, read('/proc/' + name))
"#;
    let workspace = Workspace::new(who);
    let body = format!(
        r#"{READ}
say('pids', len([p for p in os.listdir('/proc') if p.isdigit()]))
say('hostname', open('/proc/sys/kernel/hostname').read().strip())
say('nodename', os.uname().nodename)
say('interfaces', sorted(l.split(':')[0].strip() for l in open('/proc/net/dev').readlines()[2:]))
say('net_owner', os.stat('/proc/sys/net/ipv4/ip_forward').st_uid == os.getuid())
say('secret', [v for v in os.environ.values() if 'hush' in v])
say('own_environ', b'hush' in open('/proc/self/environ', 'rb').read())
mounts = [l.split() for l in open('/proc/self/mountinfo')]
say('suid', [m[4] for m in mounts if 'nosuid' not in m[5]])
say('dev', [m[4] for m in mounts if 'nodev' not in m[5] and not m[4].startswith('/dev/')])
say('propagation', [m[4] for m in mounts if any(f.startswith(('shared:', 'master:')) for f in m[6:])])
say('ns_last_pid', wrote('/proc/sys/kernel/ns_last_pid', b'x'))
say('timens', wrote('/proc/self/timens_offsets', b'monotonic x x'))
"#
    );
    let run = Run::new(who, &workspace).outer_env("API_TOKEN", "hush");
    let got = attack(run, &body);
    for (name, answer) in &got.0 {
        let masked = ![
            "pids",
            "hostname",
            "nodename",
            "interfaces",
            "net_owner",
            "secret",
            "own_environ",
            "suid",
            "dev",
            "propagation",
            "ns_last_pid",
            "timens",
        ]
        .contains(&name.as_str());
        assert!(
            !masked || answer == "EACCES" || answer == "ENOENT",
            "{name}: {answer}"
        );
    }
    got.expect(&[
        ("cmdline", "EACCES"),
        ("interrupts", "EACCES"),
        ("locks", "EACCES"),
        ("buddyinfo", "EACCES"),
        ("zoneinfo", "EACCES"),
        ("sys/kernel/random/boot_id", "EACCES"),
        ("pids", "1"),
        ("hostname", "creel"),
        ("nodename", "creel"),
        ("interfaces", "['lo']"),
        // A namespace whose user namespace showed the workspace's owner as its root would give the
        // jail's user its switches, and only the read-only mount would be left before them.
        ("net_owner", "False"),
        ("secret", "[]"),
        ("own_environ", "False"),
        ("suid", "[]"),
        ("dev", "[]"),
        ("propagation", "[]"),
    ]);
    assert_ne!(got.of("ns_last_pid"), "OK");
    assert_ne!(got.of("timens"), "OK", "{got:#?}");
    outside(who, &workspace.path(), READ).expect(&[
        ("cmdline", "OK"),
        ("interrupts", "OK"),
        ("locks", "OK"),
    ]);
}

each!(no_path_leads_out_of_the_view);
fn no_path_leads_out_of_the_view(who: Who) {
    let workspace = Workspace::new(who);
    let canary = workspace.outside().join("canary");
    std::fs::write(&canary, "SECRET").expect("write");
    std::os::unix::fs::symlink(&canary, workspace.path().join("link")).expect("symlink");
    std::os::unix::fs::symlink("../canary", workspace.path().join("up")).expect("symlink");
    let path = canary.display().to_string();
    let body = format!(
        r#"
c = {path:?}
ways = [c, 'link', 'up', '../canary', '/proc/self/root' + c, '/proc/self/cwd/../canary', '/proc/thread-self/root' + c,
        '/../../../..' + c, '/proc/self/fd/1/../../../..' + c, '/dev/fd/0/../..' + c, '/proc/1/root' + c, '/proc/2/root' + c, '/proc/self/task/1/root' + c]
say('found', [w for w in ways if os.path.lexists(w) and w not in ('link', 'up')])
say('opened', [w for w in ways if opened(w, os.O_RDONLY) == 'OK'])
say('root_parent', os.stat('/').st_ino == os.stat('/..').st_ino)
fd = os.open('.', os.O_RDONLY)
say('dirfd', opened('../canary', os.O_RDONLY))
here = os.getcwd()
for _ in range(40): os.chdir('..')
say('top', sorted(os.listdir('.')) == sorted(os.listdir('/')))
os.chdir(here)
say('hardlink', py(os.link, '/usr/bin/env', {:?}))
say('mem', opened('/proc/self/mem', os.O_RDWR))
say('shadow', opened('/etc/shadow', os.O_RDONLY))
say('chown', py(os.chown, 'own', 0, 0) if not open('own', 'w').close() else '')
say('chown_other', py(os.chown, 'own', 12345, 12345))
"#,
        workspace.path().join("env").display().to_string()
    );
    attack(Run::new(who, &workspace), &body).expect(&[
        ("found", "[]"),
        ("opened", "[]"),
        ("root_parent", "True"),
        ("dirfd", "ENOENT"),
        ("top", "True"),
        ("hardlink", "EXDEV"),
        ("mem", "OK"),
        ("shadow", "ENOENT"),
        ("chown", if who == Who::Root { "EPERM" } else { "EINVAL" }),
        (
            "chown_other",
            if who == Who::Root { "EPERM" } else { "EINVAL" },
        ),
    ]);
    outside(
        who,
        &workspace.path(),
        &format!(
            "say('link', opened('link', os.O_RDONLY))\nsay('path', opened({path:?}, os.O_RDONLY))"
        ),
    )
    .expect(&[("link", "OK"), ("path", "OK")]);
    // On the host the jail's file belongs to whom the workspace belongs.
    use std::os::unix::fs::MetadataExt;
    let meta = std::fs::metadata(workspace.path().join("own")).expect("the jail's file");
    assert_eq!((meta.uid(), meta.gid()), (who.account().0, who.account().1));
}

each!(a_mount_that_the_host_makes_later_does_not_appear);
fn a_mount_that_the_host_makes_later_does_not_appear(who: Who) {
    if !crate::support::is_root() {
        eprintln!("skipped: a mount needs root");
        return;
    }
    let workspace = Workspace::new(who);
    std::fs::create_dir(workspace.path().join("sub")).expect("mkdir");
    // The outer namespace shares what it mounts with its copies, as systemd's does.
    let setup = format!(
        "mount --bind {0} {0}; mount --make-shared {0}\n(sleep 0.5; mount -t tmpfs none {0}/sub; echo SECRET > {0}/sub/late; touch {0}/mounted) >/dev/null 2>&1 &",
        workspace.path().display()
    );
    let run = Run::new(who, &workspace);
    let look = "while [ ! -e mounted ]; do sleep 0.05; done; ls sub; echo end";
    let Some(output) = crate::attacks::in_own_mounts(who, &run, &setup, &["/bin/sh", "-c", look])
    else {
        return;
    };
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "end\n",
        "{output:#?}"
    );
}

each!(a_kernel_filesystem_inside_a_grant_is_refused);
fn a_kernel_filesystem_inside_a_grant_is_refused(who: Who) {
    let workspace = Workspace::new(who);
    let tree = workspace.outside().join("a tree");
    std::fs::create_dir_all(tree.join("sub")).expect("mkdir");
    let at = tree.join("sub").display().to_string();
    for (setup, status) in [
        (format!("mount -t tmpfs none '{at}'"), 0),
        (format!("mount -t proc none '{at}'"), 125),
        (format!("mount --bind /proc '{at}'"), 125),
        (format!("mount --rbind /sys '{at}'"), 125),
        (format!("mount -t devpts none '{at}'"), 125),
    ] {
        let flags = [std::ffi::OsStr::new("--read"), tree.as_os_str()];
        let run = Run::new(who, &workspace).flags(flags);
        let Some(output) = crate::attacks::in_own_mounts(who, &run, &setup, &["/bin/ls", &at])
        else {
            return;
        };
        assert_eq!(output.status.code(), Some(status), "{setup}: {output:#?}");
        assert!(output.stdout.is_empty(), "{setup}: {output:#?}");
    }
}
