//! Changes as they are shown: patches and renames.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use super::Overlay;
use crate::support::{Who, need};

/// Each file and link beneath a directory: whether it can be executed, and its contents or target.
fn tree(top: &Path) -> BTreeMap<String, (bool, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![top.to_path_buf()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            let meta = path.symlink_metadata().expect("it is there");
            let name = path.strip_prefix(top).expect("beneath");
            let name = name.to_str().expect("UTF-8").to_owned();
            if meta.is_dir() {
                waiting.push(path);
            } else if meta.is_symlink() {
                let target = fs::read_link(path).expect("a link");
                found.insert(name, (false, target.into_os_string().into_encoded_bytes()));
            } else {
                let can = meta.permissions().mode() & 0o100 != 0;
                found.insert(name, (can, fs::read(path).expect("a file")));
            }
        }
    }
    found
}

each!(a_patch_makes_of_a_copy_what_a_commit_makes);
fn a_patch_makes_of_a_copy_what_a_commit_makes(who: Who) {
    let lines: String = (0..100).map(|n| format!("line {n}\n")).collect();
    let files = [
        ("long", lines.as_str()),
        ("end", "no newline"),
        ("mode", "x\n"),
        ("old", "old\n"),
        ("tree/a/b", "b\n"),
        ("tree/c", "c\n"),
        ("type", "t\n"),
        ("dir/f", "f\n"),
        ("with space", "s\n"),
        ("moved", "these bytes\n"),
    ];
    let it = Overlay::with(who, &files);
    let copy = it.0.workspace.outside().join("copy");
    let copied = Command::new("cp")
        .arg("-a")
        .arg(it.place())
        .arg(&copy)
        .status();
    assert!(copied.expect("cp starts").success());
    it.0.sh(
        "sed -i 's/line 5$/five/; /line 70/d' long; printf more >> end; chmod 700 mode; rm old; rm -r tree; rm type; \
         ln -s long type; rm -r dir; echo now > dir; echo s >> 'with space'; mv moved 'to here'; : > empty; \
         mkdir n; echo n > n/n; echo t > \"$(printf 'tab\\t\"name')\"; chmod 600 dir",
    )
    .ok();
    let patch = it.verb("diff", &["--text"]).ok().out;
    let file = it.0.workspace.outside().join("patch");
    fs::write(&file, &patch).expect("a file");
    let applied = Command::new(need("git"))
        .args(["apply", "--whitespace=nowarn"])
        .arg(&file)
        .current_dir(&copy)
        .env("GIT_CEILING_DIRECTORIES", it.0.workspace.outside())
        .output()
        .expect("git starts");
    assert!(applied.status.success(), "{applied:?}\n{patch}");
    it.verb("commit", &[]).ok();
    assert_eq!(tree(&copy), tree(&it.place()), "{patch}");
}

each!(contents_that_are_no_text_are_not_shown);
fn contents_that_are_no_text_are_not_shown(who: Who) {
    let it = Overlay::with(who, &[("a", "a\n")]);
    it.0.sh("printf 'a\\0b' > a; head -c 1100000 /dev/zero | tr '\\0' x > large; mkfifo p; printf '\\377\\n' > latin")
        .ok();
    let patch = it.verb("diff", &["--text"]).ok().out;
    let wanted = "diff --git a/a b/a\nBinary files a/a and b/a differ\n\
        diff --git a/large b/large\nnew file mode 100644\nBinary files /dev/null and b/large differ\n\
        diff --git a/latin b/latin\nnew file mode 100644\nBinary files /dev/null and b/latin differ\n";
    assert_eq!(patch, wanted);
}

each!(a_new_file_with_the_contents_of_a_removed_one_was_renamed);
fn a_new_file_with_the_contents_of_a_removed_one_was_renamed(who: Who) {
    let files = [
        ("a", "same size"),
        ("b", "other one"),
        ("d/e/f", "deep"),
        ("z", ""),
    ];
    let it = Overlay::with(who, &files);
    it.0.sh("mv b c; mv a b; mv d g; mv z y; cp c copy; echo -n 'new bytes' > new")
        .ok();
    let lines = it.verb("diff", &[]).ok().out;
    let wanted = "D  a\nM  b\nR  c (from b)\nA  copy\nD  d\nA  g\nA  g/e\nR  g/e/f (from d/e/f)\nA  new\nA  y\nD  z\n";
    // `b` has new contents, so that its old ones are no removed file's.
    assert_eq!(lines, wanted.replace("R  c (from b)", "A  c"));
    let json: serde_json::Value =
        serde_json::from_str(&it.verb("diff", &["--json", "g"]).ok().out).expect("JSON");
    assert_eq!(json["changes"][2]["from"], "d/e/f");
}
