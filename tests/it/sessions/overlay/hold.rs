//! Overlay workspaces under attack and in need: forged marks, a host that renames, paths that are swapped, full disks.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::{Overlay, said, settled};
use crate::sessions::{tmpfs, unshared};
use crate::support::Who;

/// A count that a longer run by hand raises.
fn count(variable: &str, short: usize) -> usize {
    let given = std::env::var(variable).ok();
    given.map_or(short, |text| text.parse().expect("a number"))
}

fn exchange(one: &Path, other: &Path) {
    renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).expect("exchanged");
}

each!(marks_that_a_command_forges_are_no_marks);
fn marks_that_a_command_forges_are_no_marks(who: Who) {
    let it = Overlay::with(who, &[("d/host", "h"), ("f", "f"), ("g", "g")]);
    let python = "import os, stat\n\
        for name in ('d', 'f'):\n\
        \x20   for mark in ('opaque', 'whiteout', 'redirect', 'metacopy', 'origin', 'impure'):\n\
        \x20       os.setxattr(name, 'user.overlay.' + mark, b'y')\n\
        os.setxattr('f', 'user.kept', b'k')\n\
        try: os.mknod('g2', stat.S_IFCHR, 0)\n\
        except PermissionError: print('EPERM')\n\
        os.remove('g')\n\
        open('s', 'w').close()\n\
        try: os.chmod('s', 0o4755)\n\
        except PermissionError: print('EPERM')\n";
    let ran = it.0.exec(&[], &["/usr/bin/python3", "-c", python]).ok();
    assert_eq!(ran.out, "EPERM\nEPERM\n");
    // As if a command had found a way.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o4755);
    fs::set_permissions(it.layers().join("upper/s"), mode).expect("chmod");
    let look = "cat d/host f; test -e g; echo $?";
    assert_eq!(it.0.sh(look).ok().out, "hf1\n");
    // The next mount reads the marks again.
    it.verb("stop", &[]).ok();
    it.create(&[]).ok();
    assert_eq!(it.0.sh(look).ok().out, "hf1\n");
    let lines = "D  g\nA- s (held back: set-id)\n";
    assert_eq!(
        it.verb("diff", &[]).ok().out,
        lines,
        "nothing else is removed"
    );
    it.0.sh("echo more >> f").ok();
    it.verb("commit", &["--include-protected"]).status(1);
    assert_eq!(it.read("d/host").as_deref(), Some("h"));
    assert_eq!(it.names(), ["d", "f"]);
    let f = it.place().join("f");
    let mut names = vec![0u8; 4096];
    let length = rustix::fs::listxattr(&f, names.as_mut_slice()).expect("attributes");
    let names = String::from_utf8_lossy(names.get(..length).expect("names")).into_owned();
    assert!(names.contains("user.kept"), "the control: {names}");
    assert!(!names.contains("overlay"), "{names}");
}

each!(a_storm_of_renames_uncovers_no_denied_name);
fn a_storm_of_renames_uncovers_no_denied_name(who: Who) {
    let it = Overlay::named(who);
    it.0.workspace.write("d/key", "SECRET\n");
    it.0.workspace.write("d/open", "open\n");
    let policy = it.0.workspace.outside().join("policy.toml");
    let text = "extends = 'default'\n[filesystem]\ndeny = ['$WORKSPACE/d/key', '$WORKSPACE/later', '$WORKSPACE/no/key']\n";
    fs::write(&policy, text).expect("a policy");
    it.create(&["--policy", policy.to_str().expect("UTF-8")])
        .ok();
    it.0.workspace.write("open", "open\n");
    // In the directory itself only before the storm: the kernel may keep a directory that the host has replaced.
    assert_eq!(
        it.0.sh("cat d/open; cat d/key || echo absent").ok().out,
        "open\nabsent\n"
    );
    let script = "n=0 o=0; while [ ! -e stop ]; do for f in d/key later no/key d/../d/key; do \
                  { read -r x < $f; } 2>/dev/null && echo \"seen $f $x\"; n=$((n+1)); done; \
                  { read -r x < open; } 2>/dev/null && o=$((o+1)); done; echo looks $n $o";
    let out = it.0.workspace.outside().join("out");
    let mut child =
        it.0.command(&[], &["/bin/sh", "-c", script])
            .stdout(fs::File::create(&out).expect("a file"))
            .stderr(Stdio::null())
            .spawn()
            .expect("creel starts");
    let at = |name: &str| it.place().join(name);
    let (d, e) = (at("d"), at("e"));
    let rounds = count("CREEL_STORM", 2000);
    let mut host = 0;
    while host < rounds {
        fs::rename(&d, &e).expect("rename");
        fs::create_dir(&d).expect("mkdir");
        fs::write(d.join("key"), "SECRET\n").expect("write");
        exchange(&d, &e);
        fs::write(e.join("new"), "SECRET\n").expect("write");
        fs::rename(e.join("new"), d.join("key")).expect("replace");
        exchange(&d.join("key"), &e.join("key"));
        fs::remove_dir_all(&e).expect("rm");
        fs::write(at("later"), "SECRET\n").expect("write");
        fs::create_dir(at("no")).expect("mkdir");
        fs::rename(at("later"), at("no").join("key")).expect("rename");
        fs::remove_dir_all(at("no")).expect("rm");
        host += 6;
    }
    it.0.sh(": > stop").ok();
    assert!(child.wait().expect("it ends").success());
    let out = fs::read_to_string(&out).expect("a file");
    let looks: Vec<usize> = out
        .strip_prefix("looks ")
        .unwrap_or_else(|| panic!("a denied name was seen: {out}"))
        .split_whitespace()
        .map(|number| number.parse().expect("a number"))
        .collect();
    eprintln!(
        "{host} renames, exchanges and replacements; looks at denied names and reads of the control: {looks:?}"
    );
    assert!(looks[0] > 100 && looks[1] > 10, "{looks:?}");
}

/// A directory outside of the workspace with a file that must stay as it is.
fn outside(it: &Overlay) -> PathBuf {
    let outside = it.0.workspace.home().join("outside");
    let (uid, gid, _) = it.0.who.account();
    fs::create_dir(&outside).expect("mkdir");
    for name in ["f", "g"] {
        fs::write(outside.join(name), "OUTSIDE").expect("write");
        std::os::unix::fs::chown(outside.join(name), Some(uid), Some(gid)).expect("chown");
    }
    std::os::unix::fs::chown(&outside, Some(uid), Some(gid)).expect("chown");
    outside
}

each!(swaps_of_a_path_lead_nowhere);
fn swaps_of_a_path_lead_nowhere(who: Who) {
    let it = Overlay::with(who, &[("sub/f", "inside"), ("f", "inside")]);
    let outside = outside(&it);
    it.0.sh("echo session > sub/f; echo session > sub/new; echo session > new; rm f")
        .ok();
    let (place, sub) = (it.place(), it.place().join("sub"));
    let link = it.0.workspace.outside().join("link");
    let inner = it.place().join("inner");
    for link in [&link, &inner] {
        std::os::unix::fs::symlink(&outside, link).expect("a link");
    }
    let swaps = count("CREEL_SWAPS", 1000);
    let over = AtomicBool::new(false);
    let verbs = std::thread::scope(|scope| {
        let swapping = scope.spawn(|| {
            for round in 0..swaps / 4 {
                // Other lengths each time, so that every step of a verb meets some swap.
                let pause = || std::thread::sleep(Duration::from_micros(round as u64 * 37 % 2000));
                for (one, other) in [(&sub, &inner), (&place, &link)] {
                    exchange(one, other);
                    pause();
                    exchange(one, other);
                    pause();
                }
            }
            over.store(true, Ordering::Relaxed);
        });
        let mut verbs = [0, 0, 0];
        while !over.load(Ordering::Relaxed) {
            let listed = it.verb("diff", &["--json"]);
            assert!(!listed.out.contains("OUTSIDE"), "{listed:?}");
            let done = it.verb("commit", &["--force"]);
            assert!([0, 1, 125].contains(&done.status), "{done:?}");
            it.0.sh("date +%N > sub/f; date +%N > sub/new; date +%N > new; rm -f f")
                .ok();
            // A session that starts meanwhile has the one directory or the other, and says which.
            let other = format!("{}-other", it.0.name);
            let mut create = it.creel("create");
            if !crate::support::has_cgroups(who) {
                create.args(["--allow-degraded", "cgroup"]);
            }
            let mut named = place.clone().into_os_string();
            named.push(":overlay");
            create
                .current_dir("/")
                .args(["--name", &other, "--workspace"]);
            create.arg(named);
            let made = said(create);
            assert!([0, 125].contains(&made.status), "{made:?}");
            if made.status == 0 {
                let mut exec = it.creel("exec");
                exec.current_dir("/").args([&other, "--", "/bin/cat", "f"]);
                let text = said(exec).out;
                let mut diff = it.creel("diff");
                diff.current_dir("/").args([&other, "--json"]);
                let shown = said(diff);
                if text.contains("OUTSIDE") && shown.status == 0 {
                    assert!(shown.out.contains("/outside"), "{shown:?}");
                }
                verbs[2] += 1;
            }
            let mut rm = it.creel("rm");
            rm.current_dir("/").args(["--force", &other]);
            said(rm).ok();
            verbs[0] += usize::from(listed.status == 0);
            verbs[1] += usize::from(done.status < 2);
        }
        swapping.join().expect("it swaps");
        verbs
    });
    eprintln!("{swaps} swaps; diffs, commits and creates that worked: {verbs:?}");
    assert!(verbs.iter().all(|worked| *worked > 0), "{verbs:?}");
    let mut names: Vec<_> = fs::read_dir(&outside)
        .expect("outside")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["f", "g"]);
    for name in ["f", "g"] {
        let text = fs::read_to_string(outside.join(name)).expect("a file");
        assert_eq!(text, "OUTSIDE", "{name}");
    }
    // The control: without swaps the same commit works.
    it.0.sh("echo last > sub/f; rm -f f").ok();
    let _ = it.verb("commit", &["--force"]);
    let read = fs::read_to_string(sub.join("f")).expect("sub/f");
    assert_eq!(read, "last\n");
}

each!(a_full_disk_loses_nothing);
fn a_full_disk_loses_nothing(who: Who) {
    if !unshared() {
        return;
    }
    for in_workspace in [true, false] {
        let mut refused = 0;
        for pages in 0.. {
            let it = Overlay::named(who);
            let disk = match in_workspace {
                true => it.place(),
                false => it.0.workspace.home(),
            };
            tmpfs(who, &disk, "size=160k");
            for (name, text) in [("a", "old"), ("b", "old"), ("t/x", "old")] {
                it.0.workspace.write(name, text);
            }
            it.create(&[]).ok();
            it.0.sh(
                "echo new > a; rm b; rm -r t; mkdir d; echo new > d/n; echo new > d/m; ln -s a l",
            )
            .ok();
            it.verb("stop", &[]).ok();
            let wanted = "M  a\nD  b\nA  d\nA  d/m\nA  d/n\nA  l -> a\nD  t\n";
            assert_eq!(it.verb("diff", &[]).ok().out, wanted);
            let fill = disk.join("fill");
            let mut file = fs::File::create(&fill).expect("a file");
            let _ = std::io::copy(&mut std::io::repeat(b'x'), &mut file);
            let length = file.metadata().expect("a file").len();
            file.set_len(length - pages * 4096).expect("room");
            drop(file);
            let done = it.verb("commit", &[]);
            if done.status != 0 {
                refused += 1;
                assert!(done.err.contains("No space left"), "{pages}: {done:?}");
                if !it.layers().join("journal").exists() {
                    for name in ["a", "b", "t/x"] {
                        assert_eq!(it.read(name).as_deref(), Some("old"), "{pages}: {name}");
                    }
                    assert!(!it.place().join("d").exists(), "{pages}");
                }
                if pages == 0 && !in_workspace {
                    let made = it.create(&[]).status(125);
                    assert!(made.err.contains("No space left"), "{made:?}");
                }
            }
            fs::remove_file(&fill).expect("removed");
            settled();
            it.verb("commit", &[]).ok();
            assert_eq!(it.names(), ["a", "d", "l"], "{pages}");
            for name in ["a", "l", "d/n", "d/m"] {
                assert_eq!(it.read(name).as_deref(), Some("new\n"), "{pages}: {name}");
            }
            assert_eq!(it.verb("diff", &[]).ok().out, "", "{pages}");
            it.verb("rm", &["--force"]).ok();
            rustix::mount::unmount(&disk, rustix::mount::UnmountFlags::DETACH).expect("unmounted");
            if done.status == 0 {
                break;
            }
        }
        assert!(refused > 1, "{refused}");
    }
}
