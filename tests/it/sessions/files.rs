//! `creel file` and `creel cp`.

use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use super::{Said, Session, of, said};
use crate::support::Who;

fn file(session: &Session, act: &str, more: &[&str]) -> Said {
    let mut command = session.creel("file");
    command.arg(act).arg(&session.name).args(more);
    said(command)
}

fn write(session: &Session, more: &[&str], text: &str) -> Said {
    let mut command = session.creel("file");
    command.arg("write").arg(&session.name).args(more);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("creel starts");
    let mut pipe = child.stdin.take().expect("a pipe");
    // It may have refused before it reads.
    let _ = pipe.write_all(text.as_bytes());
    drop(pipe);
    of(child.wait_with_output().expect("creel ends"))
}

each!(every_act);
fn every_act(who: Who) {
    let session = Session::new(who);
    write(&session, &["a"], "one two one").ok();
    assert_eq!(file(&session, "read", &["a"]).ok().out, "one two one");
    let twice = file(&session, "edit", &["a", "--old", "one", "--new", "1"]).status(125);
    assert!(twice.err.contains("2 times"), "{twice:?}");
    file(&session, "edit", &["a", "--old", "two", "--new", "2"]).ok();
    file(
        &session,
        "edit",
        &["a", "--old", "one", "--new", "1", "--all"],
    )
    .ok();
    write(&session, &["a", "--append"], "!").ok();
    write(&session, &["a", "--exclusive"], "").status(125);
    assert_eq!(session.sh("cat a").ok().out, "1 2 1!");
    file(&session, "mkdir", &["d/e"]).status(125);
    file(&session, "mkdir", &["--parents", "d/e"]).ok();
    file(&session, "rename", &["a", "d/e/b"]).ok();
    let listed = file(&session, "list", &["d/e", "--json"]).ok();
    let listed: serde_json::Value = serde_json::from_str(&listed.out).expect("JSON");
    assert_eq!(listed["entries"][0]["name"], "b");
    assert_eq!(
        (&listed["entries"][0]["kind"], &listed["entries"][0]["size"]),
        (&"file".into(), &6.into())
    );
    file(&session, "remove", &["d"]).status(125);
    file(&session, "remove", &["--recursive", "d"]).ok();
    file(&session, "stat", &["d"]).status(125);
    file(&session, "remove", &["--force", "d"]).ok();
    // The jail's own tmpfs, which no path of the host leads to.
    write(&session, &["/tmp/own"], "own").ok();
    assert_eq!(session.sh("cat /tmp/own").ok().out, "own");
}

each!(the_policy_decides);
fn the_policy_decides(who: Who) {
    let session = Session::named(who);
    let policy = session.workspace.outside().join("policy.toml");
    let text = "extends = \"default\"\n[filesystem]\ndeny = [\"$WORKSPACE/secret\"]\n";
    std::fs::write(&policy, text).expect("written");
    session.workspace.write("secret", "s3cret");
    session.workspace.write("plain", "plain");
    session
        .create(&["--policy", policy.to_str().expect("text")])
        .ok();
    assert_eq!(file(&session, "read", &["plain"]).ok().out, "plain");
    // EACCES
    let denied = file(&session, "read", &["secret"]).status(125);
    assert!(denied.err.contains("Permission denied"), "{denied:?}");
    let refused = write(&session, &["/usr/bin/true"], "x").status(125);
    assert!(
        refused.err.contains("Read-only") || refused.err.contains("denied"),
        "{refused:?}"
    );
    let absent = file(&session, "read", &["/etc/shadow"]).status(125);
    assert!(absent.err.contains("No such file"), "{absent:?}");
}

// A link leads where the jail's programs would get, and never to the host's file.
each!(no_link_leads_out);
fn no_link_leads_out(who: Who) {
    let session = Session::new(who);
    let outside = session.workspace.outside().join("outside");
    std::fs::write(&outside, "of the host").expect("written");
    symlink(&outside, session.workspace.path().join("out")).expect("a link");
    file(&session, "read", &["out"]).status(125);
    // It may make a file of this name in the jail's own tmpfs.
    write(&session, &["out"], "changed");
    assert_eq!(
        std::fs::read_to_string(&outside).expect("there"),
        "of the host"
    );
    session.sh("ln -s /proc/self/mem mem; ln -s /proc/1/root/etc/shadow root; mkfifo fifo; ln -s /tmp/t t; echo t > /tmp/t").ok();
    for path in [
        "mem",
        "root",
        "fifo",
        "/proc/self/environ",
        "/proc/sys/kernel/core_pattern",
        "/dev/tty",
        "/dev/null",
    ] {
        file(&session, "read", &[path]).status(125);
        write(&session, &[path], "x").status(125);
    }
    assert_eq!(file(&session, "read", &["t"]).ok().out, "t\n");
    assert_eq!(
        std::fs::read_to_string(&outside).expect("there"),
        "of the host"
    );
}

each!(copies_go_in_and_out);
fn copies_go_in_and_out(who: Who) {
    let session = Session::new(who);
    let cp = |from: &str, to: &str| {
        let mut command = session.creel("cp");
        command.args([from, to]);
        said(command)
    };
    let name = &session.name;
    session.workspace.write("tree/one", "1");
    session.workspace.write("tree/deep/two", "2");
    cp("tree", &format!("{name}:/tmp")).ok();
    assert_eq!(
        session.sh("cat /tmp/tree/one /tmp/tree/deep/two").ok().out,
        "12"
    );
    session
        .sh("ln -s /etc /tmp/tree/link; echo 3 > /tmp/tree/three")
        .ok();
    let out = cp(&format!("{name}:/tmp/tree"), "back").ok();
    assert!(out.err.contains("link is no file"), "{out:?}");
    let back = session.workspace.path().join("back");
    assert_eq!(
        std::fs::read_to_string(back.join("three")).expect("there"),
        "3\n"
    );
    assert!(!back.join("link").exists());
    // A link of the jail's in the way of a copy is not followed.
    let outside = session.workspace.outside().join("outside");
    std::fs::write(&outside, "of the host").expect("written");
    std::fs::remove_file(back.join("one")).expect("removed");
    symlink(&outside, back.join("one")).expect("a link");
    cp(
        &format!("{name}:/tmp/tree/one"),
        back.join("one").to_str().expect("text"),
    )
    .status(125);
    assert_eq!(
        std::fs::read_to_string(&outside).expect("there"),
        "of the host"
    );
    cp("a", "b").status(125);
}

// The jail owns the tree that is copied, and exchanges names in it meanwhile.
each!(no_race_leads_a_copy_out);
fn no_race_leads_a_copy_out(who: Who) {
    let session = Session::new(who);
    let secret = session.workspace.outside().join("secret");
    std::fs::create_dir(&secret).expect("mkdir");
    std::fs::write(secret.join("f"), "s3cret").expect("written");
    let (uid, gid, _) = who.account();
    std::os::unix::fs::chown(&secret, Some(uid), Some(gid)).expect("chown");
    session.workspace.write("proj/g", "plain");
    session.workspace.write("proj/d/f", "plain");
    symlink(secret.join("f"), session.workspace.path().join("proj/l")).expect("a link");
    symlink(&secret, session.workspace.path().join("proj/k")).expect("a link");
    let swap = "import ctypes, itertools\n\
        libc = ctypes.CDLL(None)\n\
        print('ready', flush=True)\n\
        for _ in itertools.count():\n  \
          libc.renameat2(-100, b'proj/g', -100, b'proj/l', 2)\n  \
          libc.renameat2(-100, b'proj/d', -100, b'proj/k', 2)";
    let number = session.exec(&["--detach"], &["python3", "-c", swap]).ok();
    let number = number.out.trim();
    crate::support::wait::until("it swaps", || {
        session.verb("logs", &[number]).out == "ready\n"
    });
    let cp = |from: &str, to: &str| {
        let mut command = session.creel("cp");
        command.args([from, to]);
        said(command)
    };
    let name = &session.name;
    session
        .sh("mkdir -p /tmp/out/d; echo out > /tmp/out/d/planted")
        .ok();
    for round in 0..30 {
        // Some fail half way, since what was listed has become a link.
        cp("proj", &format!("{name}:/tmp/in{round}"));
        cp(&format!("{name}:/tmp/out/d"), "proj");
    }
    let found = session.sh("grep -rl s3cret /tmp | wc -l").ok();
    assert_eq!(found.out, "0\n");
    assert!(!secret.join("planted").exists());
    assert!(!secret.join("f").is_dir());
}

each!(a_mapped_workspace_has_the_jails_names);
fn a_mapped_workspace_has_the_jails_names(who: Who) {
    let session = Session::named(who);
    session.workspace.write("sub/a", "host");
    session.create(&["--workspace", ":/workspace"]).ok();
    for name in ["sub/a", "/workspace/sub/a"] {
        assert_eq!(file(&session, "read", &[name]).ok().out, "host");
    }
    let own = session.workspace.path().join("sub/a");
    file(&session, "read", &[own.to_str().expect("text")]).status(125);
    write(&session, &["/workspace/b"], "jail").ok();
    let there = std::fs::read_to_string(session.workspace.path().join("b"));
    assert_eq!(there.expect("it is on the host"), "jail");
    assert_eq!(session.sh("pwd").ok().out, "/workspace\n");
    let sub = session.workspace.path().join("sub");
    for dir in ["sub", "/workspace/sub", sub.to_str().expect("text")] {
        let said = session.exec(&["--workdir", dir], &["pwd"]).ok();
        assert_eq!(said.out, "/workspace/sub\n");
    }
    let card = session.sh("cat /run/creel/card.md").ok().out;
    assert!(
        card.contains("- workspace: /workspace (read and write)"),
        "{card}"
    );
    let host = session.workspace.path();
    assert!(!card.contains(host.to_str().expect("text")), "{card}");
    let inspected = session.inspect();
    let mounts = inspected["mounts"].as_array().expect("a list");
    let workspace = mounts.iter().find(|mount| mount["target"] == "/workspace");
    let source = workspace.expect("it is mounted")["source"].as_str();
    assert_eq!(source, host.to_str());
}

/// `creel cp FROM TO`, with these bytes on stdin; returns stdout as it is.
fn cp_bytes(session: &Session, words: [&str; 2], input: &[u8]) -> (std::process::Output, Vec<u8>) {
    use std::io::Write as _;
    let mut command = session.creel("cp");
    command.args(words);
    for stream in [Command::stdin, Command::stdout, Command::stderr] {
        stream(&mut command, Stdio::piped());
    }
    let mut child = command.spawn().expect("creel starts");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    // An archive that is refused is not read to its end.
    let writing = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().expect("creel ends");
    writing.join().expect("written");
    let out = output.stdout.clone();
    (output, out)
}

/// An archive of GNU tar's, made by a script in a directory of the test's.
fn archive(session: &Session, script: &str) -> Vec<u8> {
    let dir = session.workspace.outside().join("archive");
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir(&dir).expect("mkdir");
    let made = Command::new("/bin/sh")
        .args(["-ec", script])
        .current_dir(&dir)
        .output()
        .expect("sh starts");
    assert!(made.status.success(), "{made:?}");
    made.stdout
}

each!(an_archive_goes_out_and_in);
fn an_archive_goes_out_and_in(who: Who) {
    crate::support::need("tar");
    let session = Session::new(who);
    let place = |path: &str| format!("{}:{path}", session.name);
    let long = "n".repeat(120);
    session
        .sh(&format!(
            "mkdir -p /tmp/tree/deep; echo one > /tmp/tree/one; head -c 100000 /dev/zero > /tmp/tree/deep/zeros; \
             chmod 755 /tmp/tree/one; echo long > /tmp/tree/{long}; ln -s /etc/passwd /tmp/tree/link; mkfifo /tmp/tree/fifo"
        ))
        .ok();
    let (output, bytes) = cp_bytes(&session, [&place("/tmp/tree"), "-"], b"");
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{err}");
    assert!(
        err.contains("link is no file") && err.contains("fifo is no file"),
        "{err}"
    );
    // GNU tar reads it.
    std::fs::write(session.workspace.outside().join("a.tar"), &bytes).expect("written");
    let listed = archive(&session, "tar -tvf ../a.tar");
    let listed = String::from_utf8(listed).expect("text");
    for wanted in [
        "drwxr-xr-x",
        "-rwxr-xr-x",
        "100000",
        "tree/deep/zeros",
        &long,
    ] {
        assert!(listed.contains(wanted), "{wanted}: {listed}");
    }
    assert!(
        !listed.contains("link") && !listed.contains("fifo"),
        "{listed}"
    );
    // And back, into another directory.
    session.sh("mkdir /tmp/back").ok();
    let (output, _) = cp_bytes(&session, ["-", &place("/tmp/back")], &bytes);
    assert!(output.status.success(), "{output:?}");
    let same = format!(
        "cd /tmp; cmp tree/one back/tree/one && cmp tree/deep/zeros back/tree/deep/zeros && cat back/tree/{long} && stat -c %a back/tree/one"
    );
    assert_eq!(session.sh(&same).ok().out, "long\n755\n");
    // Archives of GNU tar's in each of its forms, without entries for directories.
    for form in ["gnu", "ustar", "pax", "v7"] {
        let name = "d".repeat(90);
        let long = if form == "gnu" || form == "pax" {
            "l".repeat(200)
        } else {
            "l".into()
        };
        let script = format!(
            "mkdir {name}; echo {form} > {name}/{long}; tar --format={form} -cf - {name}/{long}"
        );
        let bytes = archive(&session, &script);
        let (output, _) = cp_bytes(&session, ["-", &place("/tmp/back")], &bytes);
        assert!(output.status.success(), "{form}: {output:?}");
        let read = session.sh(&format!("cat /tmp/back/{name}/{long}")).ok();
        assert_eq!(read.out, format!("{form}\n"));
    }
    let into_none = cp_bytes(&session, ["-", &place("/tmp/none")], &bytes).0;
    assert_eq!(into_none.status.code(), Some(125), "{into_none:?}");
}

each!(a_hostile_archive_is_refused_by_name);
fn a_hostile_archive_is_refused_by_name(who: Who) {
    let session = Session::new(who);
    let place = format!("{}:/tmp", session.name);
    for (script, word) in [
        (
            "echo x > f; tar -cPf - --transform 's,^f,/evil,' f",
            "absolute",
        ),
        (
            "echo x > f; tar -cPf - --transform 's,^f,a/../../evil,' f",
            "`..`",
        ),
        ("echo x > f; ln f evil; tar -cf - f evil", "hard link"),
        ("mkfifo evil; tar -cf - evil", "FIFO"),
    ] {
        let bytes = archive(&session, script);
        let (output, _) = cp_bytes(&session, ["-", &place], &bytes);
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(125), "{script}: {err}");
        assert!(
            err.contains(word) && err.contains("evil"),
            "{script}: {err}"
        );
    }
    let found = session.sh("ls /tmp /; find /tmp -name evil").ok();
    assert!(!found.out.contains("evil"), "{found:?}");
    let bytes = archive(&session, "head -c 5000 /dev/zero > f; tar -cf - f");
    for cut in [100, 512, 3000] {
        let (output, _) = cp_bytes(&session, ["-", &place], &bytes[..cut]);
        assert_eq!(output.status.code(), Some(125), "{cut}: {output:?}");
    }
    // A link that the jail made leads where the jail itself may write, and nowhere else.
    let outside = session.workspace.outside().join("out");
    std::fs::create_dir(&outside).expect("mkdir");
    session
        .sh(&format!(
            "mkdir /tmp/in; ln -s {} /tmp/in/d; ln -s /etc /tmp/in/e",
            outside.display()
        ))
        .ok();
    let bytes = archive(
        &session,
        "mkdir d e; echo x > d/f; echo x > e/f; tar -cf - d/f",
    );
    let (output, _) = cp_bytes(
        &session,
        ["-", &format!("{}:/tmp/in", session.name)],
        &bytes,
    );
    assert_eq!(output.status.code(), Some(125), "{output:?}");
    assert_eq!(std::fs::read_dir(&outside).expect("there").count(), 0);
}

each!(a_copy_of_a_special_file_is_refused);
fn a_copy_of_a_special_file_is_refused(who: Who) {
    let session = Session::new(who);
    let script = "mkfifo fifo; ln -s /etc/passwd link; echo x > file; \
        python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"socket\")'";
    session.sh(script).ok();
    for path in ["fifo", "socket", "link", "/dev/null", "/dev/zero"] {
        let inside = format!("{}:{path}", session.name);
        for (from, to) in [
            (&*inside, "copy"),
            (&*inside, "-"),
            (path, &*format!("{}:/tmp", session.name)),
        ] {
            let (output, bytes) = cp_bytes(&session, [from, to], b"");
            let err = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(125), "{from} {to}: {err}");
            assert!(err.contains(path) && bytes.is_empty(), "{from} {to}: {err}");
        }
    }
    let (output, _) = cp_bytes(&session, [&format!("{}:file", session.name), "copy"], b"");
    assert!(output.status.success(), "{output:?}");
}

each!(a_name_that_is_no_text_is_told_apart);
fn a_name_that_is_no_text_is_told_apart(who: Who) {
    let session = Session::new(who);
    session
        .sh("mkdir /tmp/d; cd /tmp/d; : > \"$(printf 'a\\377')\"; : > \"$(printf 'a\\376')\"")
        .ok();
    let listed = file(&session, "list", &["/tmp/d"]).ok();
    assert!(
        listed.out.contains("a\\xff\n") && listed.out.contains("a\\xfe\n"),
        "{listed:?}"
    );
    let listed = file(&session, "list", &["--json", "/tmp/d"]).ok();
    let listed: serde_json::Value = serde_json::from_str(&listed.out).expect("JSON");
    assert_eq!(
        listed["entries"][0]["name_bytes"],
        serde_json::json!([97, 254])
    );
}
