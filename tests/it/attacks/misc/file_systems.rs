//! Commands of file systems (ioctl(2)): they make trees that no mount covers, and reach files by
//! other ways than their paths.

use crate::attacks::{answers, attack, in_own_mounts, outside, policy};
use crate::support::{Run, Who, Workspace, need};

/// Name and number; of each type one that the kernel would look at on any file, and some of its
/// neighbours. On a regular file of ext4, tmpfs or overlay the kernel answers ENOTTY to most.
const REFUSED: &[(&str, u32)] = &[
    ("btrfs_snap_create", 0x5000_9401),
    ("btrfs_snap_create_v2", 0x5000_9417),
    ("btrfs_subvol_create", 0x5000_940e),
    ("btrfs_snap_destroy", 0x5000_940f),
    ("btrfs_set_received_subvol", 0xc0c8_9425),
    ("btrfs_ino_lookup_user", 0xd000_943e),
    ("fs_ioc_setfslabel", 0x4100_9432),
    ("bcachefs_subvolume_create", 0x4020_bc10),
    ("ocfs2_reflink", 0x4018_6f04),
    ("nilfs_delete_checkpoint", 0x4008_6e81),
    ("xfs_open_by_handle", 0xc038_586b),
    ("xfs_fsbulkstat", 0xc020_5865),
    ("xfs_exchange_range", 0x4028_5881),
    ("xfs_getparents", 0xc028_583e),
    ("fs_ioc_getfsmap", 0xc0c0_583b),
    ("fifreeze", 0xc004_5877),
    ("fithaw", 0xc004_5878),
    ("fitrim", 0xc018_5879),
    ("ext4_shutdown", 0x8004_587d),
    ("ext4_move_ext", 0xc028_660f),
    ("ext4_resize_fs", 0x4008_6610),
    ("ext4_swap_boot", 0x6611),
    ("ext4_group_add", 0x4028_6608),
    ("fs_ioc_set_encryption_policy", 0x800c_6613),
    ("fs_ioc_add_encryption_key", 0xc050_6617),
    ("fs_ioc_enable_verity", 0x4080_6685),
    ("pagemap_scan", 0xc060_6610),
    ("fs_ioc_setversion", 0x4008_7602),
    ("f2fs_move_range", 0xc020_f509),
    ("f2fs_set_pin_file", 0x4004_f50d),
    ("smb_query_info", 0xc018_cf07),
    ("ceph_set_layout", 0x4028_9702),
    ("fuse_dev_clone", 0x8004_e500),
    ("fuse_backing_open", 0x4010_e501),
    ("fs_ioc_getfsuuid", 0x8011_1500),
];

/// Rights that programs need of these types.
const GRANTED: &[(&str, u32)] = &[
    ("ficlone", 0x4004_9409),
    ("ficlonerange", 0x4020_940d),
    ("fideduperange", 0xc018_9436),
    ("fs_ioc_getflags", 0x8008_6601),
    ("fs_ioc_setflags", 0x4008_6602),
    ("fs_ioc_fiemap", 0xc020_660b),
    ("fs_ioc_fsgetxattr", 0x801c_581f),
    ("fs_ioc_fssetxattr", 0x401c_5820),
    ("procmap_query", 0xc068_6611),
];

each!(commands_that_reach_other_trees_are_refused);
fn commands_that_reach_other_trees_are_refused(who: Who) {
    // A null pointer: what the kernel does with a command that it has ends at EFAULT or before.
    let ask = |list: &[(&str, u32)]| -> String {
        let lines = list
            .iter()
            .map(|(name, command)| format!("say({name:?}, sc(16, fd, {command:#x}, 0))\n"));
        let open = "fd = os.open('file', os.O_RDWR | os.O_CREAT, 0o600)\n".to_owned();
        std::iter::once(open).chain(lines).collect()
    };
    let workspace = Workspace::new(who);
    let got = attack(Run::new(who, &workspace), &ask(REFUSED));
    for (name, _) in REFUSED {
        assert_eq!(got.of(name), "EPERM", "{name}");
    }
    // The high half of the register says nothing, and the kernel does not read it.
    let (name, command) = REFUSED[0];
    let high = format!(
        "fd = os.open('.', os.O_RDONLY)\nsay({name:?}, sc(16, fd, {command:#x} | 1 << 32, 0))"
    );
    attack(Run::new(who, &workspace), &high).expect(&[(name, "EPERM")]);

    let free = outside(Who::User, &free_place(&workspace), &ask(REFUSED));
    let same: Vec<_> = REFUSED
        .iter()
        .filter(|(name, _)| free.of(name) == "EPERM")
        .collect();
    // Freezing and its like need a capability, which is asked for first.
    assert!(same.len() < 8, "the control proves nothing: {same:?}");

    let got = attack(Run::new(who, &workspace), &ask(GRANTED));
    for (name, _) in GRANTED {
        assert_ne!(got.of(name), "EPERM", "{name}");
    }
}

/// A directory that the ordinary user may write.
fn free_place(workspace: &Workspace) -> std::path::PathBuf {
    let place = workspace.outside().join("free");
    std::fs::create_dir_all(&place).expect("mkdir");
    let (uid, gid, _) = Who::User.account();
    std::os::unix::fs::chown(&place, Some(uid), Some(gid)).expect("chown");
    place
}

/// A snapshot by either command and a subvolume, in the working directory, under names that begin
/// with the first argument; what `.env` says in them; and a clone of a file.
const SNAPSHOT: &str = r#"
import fcntl, struct, sys
who = sys.argv[1]
def command(number, record):
    def go():
        fcntl.ioctl(here, number, bytearray(record.ljust(4096, b'\0')))
    return py(go)
here = os.open('.', os.O_RDONLY)
name = lambda n: (who + n).encode()
say('snapshot', command(0x50009401, struct.pack('q', here) + name('1')))
say('snapshot_v2', command(0x50009417, struct.pack('qQQ32s', here, 0, 0, b'') + name('2')))
say('subvolume', command(0x5000940e, struct.pack('q', 0) + name('3')))
say('label', command(0x81009431, b''))
for n in '12':
    say('read' + n, opened(who + n + '/.env', os.O_RDONLY))
with open('plain', 'w') as f:
    f.write('x' * 8192)
def clone():
    with open('plain') as source, open(who + 'clone', 'w') as copy:
        fcntl.ioctl(copy, 0x40049409, source.fileno())
say('clone', py(clone))
say('env', opened('.env', os.O_RDONLY))
"#;

each!(a_snapshot_of_a_granted_subvolume_shows_nothing_denied);
fn a_snapshot_of_a_granted_subvolume_shows_nothing_denied(who: Who) {
    let mkfs = need("mkfs.btrfs");
    let kernel = std::fs::read_to_string("/proc/filesystems").expect("readable");
    if !kernel.lines().any(|line| line.trim() == "btrfs") {
        eprintln!("skipped: this kernel has no btrfs");
        return;
    }
    let workspace = Workspace::new(who);
    let (uid, gid, _) = who.account();
    let script = workspace.outside().join("snapshot.py");
    std::fs::write(&script, crate::attacks::script(SNAPSHOT)).expect("write");
    // In a mount namespace of its own: the mount and its loop device go with it. The control
    // runs there too, without a jail.
    let setup = format!(
        "cd {outside}; truncate -s 256M image; {mkfs} -q image >mkfs 2>&1; mkdir disk
mount -o loop image disk; btrfs subvolume create disk/work >mkfs 2>&1
echo secret >disk/work/.env; cp snapshot.py disk/work; chown -R {uid}:{gid} disk/work; cd disk/work
setpriv --clear-groups --reuid {uid} --regid {gid} python3 snapshot.py free >{outside}/control",
        outside = workspace.outside().display(),
        mkfs = mkfs.display(),
    );
    let denied = policy(
        &workspace,
        "workspace = \"rw\"\ndeny = [\"$WORKSPACE/.env\"]",
    );
    let run = Run::new(who, &workspace).policy(denied);
    let Some(output) = in_own_mounts(who, &run, &setup, &["python3", "snapshot.py", "jail"]) else {
        return;
    };
    assert!(output.status.success(), "{output:#?}");
    let control = std::fs::read_to_string(workspace.outside().join("control"));
    answers(&control.expect("the control ran")).expect(&[
        ("snapshot", "OK"),
        ("snapshot_v2", "OK"),
        ("subvolume", "OK"),
        ("label", "OK"),
        ("read1", "OK"),
        ("read2", "OK"),
        ("clone", "OK"),
        ("env", "OK"),
    ]);
    answers(&String::from_utf8_lossy(&output.stdout)).expect(&[
        ("snapshot", "EPERM"),
        ("snapshot_v2", "EPERM"),
        ("subvolume", "EPERM"),
        ("label", "EPERM"),
        ("read1", "ENOENT"),
        ("read2", "ENOENT"),
        ("clone", "OK"),
        ("env", "EACCES"),
    ]);
}
