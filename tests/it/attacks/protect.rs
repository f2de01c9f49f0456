//! Protected paths (hazards F1, F2): what the host trusts later stays as it is, present or absent, and
//! nothing of creel's stays behind. The control is the same act on a path that is not protected.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::attacks::{attack, become_who, outside, policy, refused};
use crate::support::{Run, Who, Workspace, need, wait};

/// A run with these protected paths, in TOML.
fn protect(who: Who, workspace: &Workspace, paths: &str) -> Run {
    // Protected defaults of every policy would be in the way of the controls.
    let trusted = creel_policy::protected_defaults::PATHS.iter();
    let trusted: Vec<String> = trusted
        .map(|row| format!("$WORKSPACE/{}", row.path))
        .collect();
    let lines = format!("protect = [{paths}]\nunprotect = {trusted:?}");
    Run::new(who, workspace).policy(policy(workspace, &lines))
}

/// Every way to change `p`, and the same with a file beside it.
const CHANGES: &str = r#"
def made(f):
    def go():
        os.close(os.open(f, os.O_WRONLY | os.O_CREAT, 0o644))
    return py(go)
def changes(name, p):
    d = os.path.dirname(p) or '.'
    open(d + '/new', 'w').write('evil')
    say(name + '_write', opened(p, os.O_WRONLY))
    say(name + '_truncate', py(os.truncate, p, 0))
    say(name + '_create', made(p))
    say(name + '_chmod', py(os.chmod, p, 0o777))
    say(name + '_times', py(os.utime, p))
    say(name + '_twin', py(os.link, p, d + '/twin'))
    say(name + '_over', py(os.rename, d + '/new', p))
    say(name + '_away', py(os.rename, p, d + '/gone'))
    if not os.path.lexists(p):
        open(p, 'w').close()
    say(name + '_unlink', py(os.unlink, p))
    say(name + '_mkdir', py(os.mkdir, p))
    say(name + '_rmdir', py(os.rmdir, p))
    say(name + '_symlink', py(os.symlink, 'new', p))
"#;

each!(what_is_there_cannot_be_changed_nor_replaced);
fn what_is_there_cannot_be_changed_nor_replaced(who: Who) {
    let workspace = Workspace::new(who);
    workspace.write("a/b/guarded", "good");
    workspace.write("a/b/free", "good");
    workspace.write("hooks/one", "good");
    let body = format!(
        r#"{CHANGES}
say('read', open('a/b/guarded').read())
changes('guarded', 'a/b/guarded')
say('parent', py(os.rename, 'a/b', 'a/c'))
say('grandparent', py(os.rename, 'a', 'c'))
say('swap', sc(316, -100, b'a', -100, b'hooks', 2))
say('in_tree', wrote('hooks/one', b'evil'))
say('new_in_tree', made('hooks/two'))
say('tree', py(os.rename, 'hooks', 'old'))
changes('free', 'a/b/free')
"#
    );
    let paths = r#""$WORKSPACE/a/b/guarded", "$WORKSPACE/hooks""#;
    let got = attack(protect(who, &workspace, paths), &body);
    got.expect(&[
        ("read", "good"),
        ("guarded_write", "EROFS"),
        ("guarded_truncate", "EROFS"),
        ("guarded_create", "EROFS"),
        ("guarded_chmod", "EROFS"),
        ("guarded_times", "EROFS"),
        ("guarded_twin", "EXDEV"),
        ("guarded_over", "EBUSY"),
        ("guarded_away", "EBUSY"),
        ("guarded_unlink", "EBUSY"),
        ("guarded_mkdir", "EEXIST"),
        ("guarded_rmdir", "ENOTDIR"),
        ("guarded_symlink", "EEXIST"),
        ("parent", "EBUSY"),
        ("grandparent", "EBUSY"),
        ("swap", "EBUSY"),
        ("in_tree", "EROFS"),
        ("new_in_tree", "EROFS"),
        ("tree", "EBUSY"),
    ]);
    for change in [
        "write", "truncate", "create", "chmod", "times", "twin", "over", "away", "unlink", "mkdir",
        "rmdir", "symlink",
    ] {
        got.expect(&[(&format!("free_{change}"), "OK")]);
    }
    let read = |name: &str| std::fs::read_to_string(workspace.path().join(name)).unwrap();
    assert_eq!(read("a/b/guarded") + &read("hooks/one"), "goodgood");
    assert!(!workspace.path().join("hooks/two").exists());
}

each!(what_is_absent_cannot_be_created_and_leaves_nothing);
fn what_is_absent_cannot_be_created_and_leaves_nothing(who: Who) {
    let workspace = Workspace::new(who);
    workspace.write(".git/config", "[core]\n");
    let body = format!(
        r#"{CHANGES}
for name, p in [('rc', '.envrc'), ('hooks', '.git/hooks')]:
    say(name + '_read', opened(p, os.O_RDONLY))
    changes(name, p)
    say(name + '_below', made(p + '/x'))
    other = os.path.join(os.path.dirname(p), 'other')
    os.mkdir(other)
    say(name + '_replaced', py(os.rename, other, p))
    os.rmdir(other)
say('parent', py(os.rename, '.git', 'x'))
say('deep', py(os.mkdir, 'none'))
say('beside', made('.git/index'))
"#
    );
    let paths = r#""$WORKSPACE/.envrc", "$WORKSPACE/.git/hooks", "$WORKSPACE/none/at/all""#;
    let got = attack(protect(who, &workspace, paths), &body);
    for name in ["rc", "hooks"] {
        let of = |change: &str| got.of(&format!("{name}_{change}")).to_owned();
        for (change, errno) in [
            ("read", "EACCES"),
            ("write", "EACCES"),
            ("truncate", "EINVAL"),
            ("create", "EACCES"),
            ("chmod", "EROFS"),
            ("times", "EROFS"),
            ("twin", "EXDEV"),
            ("over", "EBUSY"),
            ("away", "EBUSY"),
            ("unlink", "EBUSY"),
            ("rmdir", "ENOTDIR"),
            ("replaced", "ENOTDIR"),
            ("mkdir", "EEXIST"),
            ("symlink", "EEXIST"),
            ("below", "ENOTDIR"),
        ] {
            assert_eq!(of(change), errno, "{name} {change}: {got:#?}");
        }
    }
    got.expect(&[("parent", "EBUSY"), ("deep", "EEXIST"), ("beside", "OK")]);
    for name in [".envrc", ".git/hooks", "none"] {
        let path = workspace.path().join(name);
        assert!(path.symlink_metadata().is_err(), "{name} was left behind");
    }
    // The control: the same without protection.
    let got = attack(protect(who, &workspace, ""), &body);
    got.expect(&[("rc_create", "OK"), ("hooks_mkdir", "OK"), ("deep", "OK")]);
}

each!(optional_says_whether_a_missing_parent_is_held);
/// `git init` in a fresh workspace is ordinary work; where there is a repository, its hooks are held.
fn optional_says_whether_a_missing_parent_is_held(who: Who) {
    let run = |workspace: &Workspace, when: &str| {
        let path = format!(r#"{{ path = "$WORKSPACE/.git/hooks", optional = {when} }}"#);
        let body = "say('git', py(os.makedirs, '.git', exist_ok=True)); say('hooks', py(os.mkdir, '.git/hooks'))";
        attack(protect(who, workspace, &path), body)
    };
    run(&Workspace::new(who), "false").expect(&[("git", "OK"), ("hooks", "EROFS")]);
    run(&Workspace::new(who), "true").expect(&[("git", "OK"), ("hooks", "OK")]);
    let workspace = Workspace::new(who);
    workspace.write(".git/config", "");
    run(&workspace, "true").expect(&[("git", "OK"), ("hooks", "EEXIST")]);
    let workspace = Workspace::new(who);
    let path = r#"{ path = "$WORKSPACE/.git/hooks", optional = true }"#;
    let plan = protect(who, &workspace, path)
        .flags(["--dry-run"])
        .sh("true")
        .ok();
    assert!(
        plan.stdout
            .contains(".git/hooks is absent and not protected: the jail can create it"),
        "{plan:#?}"
    );
}

each!(what_no_mount_can_hold_is_refused);
fn what_no_mount_can_hold_is_refused(who: Who) {
    let workspace = Workspace::new(who);
    let file = workspace.write("file", "x");
    let run = |path: &str| protect(who, &workspace, path).sh("true");
    std::os::unix::fs::symlink("file", workspace.path().join("link")).expect("symlink");
    refused(
        &run(r#""$WORKSPACE/link""#),
        "the jail could change the symbolic link",
    );
    std::os::unix::fs::symlink("/etc", workspace.path().join("out")).expect("symlink");
    refused(
        &run(r#""$WORKSPACE/out/none""#),
        "the jail could change the symbolic link",
    );
    run(r#""$WORKSPACE/file""#).ok();
    std::fs::hard_link(&file, workspace.path().join("twin")).expect("link");
    refused(&run(r#""$WORKSPACE/file""#), "has a second name");
    workspace.write("tree/x", "");
    std::fs::hard_link(&file, workspace.path().join("tree/twin")).expect("link");
    refused(&run(r#""$WORKSPACE/tree""#), "has a second name");
}

each!(a_second_name_is_found_in_a_large_tree);
/// One of 5,000 files has another name.
fn a_second_name_is_found_in_a_large_tree(who: Who) {
    let workspace = Workspace::new(who);
    let file = workspace.write("tree/deep/first", "x");
    let deep = workspace.path().join("tree/deep");
    for at in 0..5000 {
        std::fs::File::create(deep.join(at.to_string())).expect("create");
    }
    let run = || protect(who, &workspace, r#""$WORKSPACE/tree""#).sh("true");
    run().ok();
    std::fs::hard_link(&file, workspace.path().join("twin")).expect("link");
    refused(
        &run(),
        "tree/deep/first cannot be protected, because it has a second name",
    );
}

each!(a_denied_name_that_is_absent_stays_absent);
fn a_denied_name_that_is_absent_stays_absent(who: Who) {
    let workspace = Workspace::new(who);
    workspace.write("dir/x", "");
    let body = r#"
def made(p):
    return py(lambda: os.close(os.open(p, os.O_WRONLY | os.O_CREAT)))
say('secret', made('.env')); say('deep', made('dir/.env')); say('read', opened('.env', os.O_RDONLY)); say('free', made('.other'))
"#;
    let with = policy(
        &workspace,
        r#"deny = ["$WORKSPACE/.env", "$WORKSPACE/dir/.env"]"#,
    );
    attack(Run::new(who, &workspace).policy(with), body).expect(&[
        ("secret", "EACCES"),
        ("deep", "EACCES"),
        ("read", "EACCES"),
        ("free", "OK"),
    ]);
    assert!(!workspace.path().join(".env").exists());
    let without = policy(&workspace, "");
    attack(Run::new(who, &workspace).policy(without), body).expect(&[
        ("secret", "OK"),
        ("deep", "OK"),
        ("read", "OK"),
    ]);
}

each!(programs_pass_over_a_withheld_name);
/// A placeholder is nothing to git, find and grep, in the jail and outside it.
fn programs_pass_over_a_withheld_name(who: Who) {
    need("git");
    let workspace = Workspace::new(who);
    let script = "git init -q . && echo x > f && git status --porcelain && git add -A && \
                  git ls-files && find . -type f -name .envrc && grep -r no''where .; \
                  git -c user.name=a -c user.email=a@b commit -qm one && echo y >> f && \
                  git stash -qu && git stash pop -q && git clean -fdq && touch made; while [ ! -e stop ]; do sleep 0.05; done";
    // Without --quiet, creel would report the repository that it makes.
    let run = protect(who, &workspace, r#""$WORKSPACE/.envrc""#).flags(["--quiet"]);
    let mut child = run.command(["/bin/sh", "-c", script]);
    let child = child.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = child.spawn().expect("creel starts");
    wait::until("it was made", || workspace.path().join("made").exists());
    use std::os::unix::fs::FileTypeExt;
    let held = workspace.path().join(".envrc").symlink_metadata();
    assert!(held.expect("it is held").file_type().is_socket());
    let mut git = Command::new("/usr/bin/git");
    git.args(["-c", "safe.directory=*", "-C"])
        .arg(workspace.path());
    let seen = git.args(["status", "--porcelain"]).output();
    workspace.write("stop", "");
    let seen = seen.expect("git starts");
    assert_eq!(
        String::from_utf8_lossy(&seen.stdout),
        " M f\n?? made\n",
        "{seen:?}"
    );
    let ran = child.wait_with_output().expect("it ends");
    assert_eq!(String::from_utf8_lossy(&ran.stdout), "?? f\nf\n", "{ran:?}");
    assert_eq!(String::from_utf8_lossy(&ran.stderr), "", "{ran:?}");
}

each!(a_name_is_held_as_long_as_any_run_needs_it);
/// Two runs need the same name; the first to end must not take it from the other.
fn a_name_is_held_as_long_as_any_run_needs_it(who: Who) {
    let workspace = Workspace::new(who);
    let start = |marker: &str| {
        let script = format!(
            "touch {marker}; while [ ! -e stop-{marker} ]; do sleep 0.05; done; echo x > .envrc && echo created"
        );
        let mut command =
            protect(who, &workspace, r#""$WORKSPACE/.envrc""#).command(["/bin/sh", "-c", &script]);
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("creel starts");
        wait::until(marker, || workspace.path().join(marker).exists());
        child
    };
    let (first, second) = (start("one"), start("two"));
    let end = |child: std::process::Child, marker: &str| {
        std::fs::write(workspace.path().join(marker), "").expect("write");
        let output = child.wait_with_output().expect("creel ends");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    };
    end(first, "stop-one");
    assert!(
        workspace.path().join(".envrc").exists(),
        "the second needs it"
    );
    end(second, "stop-two");
    assert!(!workspace.path().join(".envrc").exists());
}

each!(git_is_led_nowhere_and_works);
/// git takes configuration and hooks from where `.git/commondir` points, and does not work where that
/// is there and says nothing.
fn git_is_led_nowhere_and_works(who: Who) {
    let body = r#"
say('lead', wrote('.git/commondir', b'../evil\n'))
open('.git/other', 'w').close()
say('replace', py(os.rename, '.git/other', '.git/commondir'))
say('chmod', py(os.chmod, '.git/commondir', 0o666))
say('remove', py(os.unlink, '.git/commondir'))
say('worktree', wrote('.git/config.worktree', b'[core]\n\tfsmonitor = touch pwned; false\n'))
git = lambda *a: subprocess.run(['/usr/bin/git', *a], capture_output=True, text=True)
say('add', git('add', '.').stderr)
say('commit', git('-c', 'user.name=a', '-c', 'user.email=a@b', 'commit', '-qm', 'jail').stderr)
say('log', git('log', '--format=%s').stdout.strip())
"#;
    let outer = |workspace: &Workspace, who: Who, args: &[&str]| {
        let mut git = Command::new("/usr/bin/git");
        git.args(["-C"]).arg(workspace.path()).args(args);
        git.env("GIT_CONFIG_GLOBAL", "/dev/null");
        become_who(&mut git, who);
        git.output().expect("git starts")
    };
    for extension in ["false", "true"] {
        let workspace = Workspace::new(who);
        assert!(outer(&workspace, who, &["init", "-q"]).status.success());
        let set = ["config", "extensions.worktreeConfig", extension];
        assert!(outer(&workspace, who, &set).status.success());
        workspace.write("file", "text");
        workspace.write("evil/HEAD", "ref: refs/heads/master");
        workspace.write("evil/config", "[core]\n\tfsmonitor = touch pwned; false\n");
        let body = format!("import subprocess\n{body}");
        attack(Run::new(who, &workspace), &body).expect(&[
            ("lead", "EACCES"),
            ("chmod", "EROFS"),
            ("replace", "EBUSY"),
            ("remove", "EBUSY"),
            ("worktree", "EACCES"),
            ("add", ""),
            ("commit", ""),
            ("log", "jail"),
        ]);
        for name in [".git/commondir", ".git/config.worktree"] {
            assert!(!workspace.path().join(name).exists(), "{name} was left");
        }
        outer(&workspace, who, &["status"]);
        assert!(!workspace.path().join("pwned").exists());
    }
    // The control: led there, git runs what it finds.
    let workspace = Workspace::new(who);
    outer(&workspace, who, &["init", "-q"]);
    workspace.write(
        ".git/config.worktree",
        "[core]\n\tfsmonitor = touch pwned; false\n",
    );
    outer(
        &workspace,
        who,
        &["config", "extensions.worktreeConfig", "true"],
    );
    outer(&workspace, who, &["status"]);
    assert!(workspace.path().join("pwned").exists());
}

each!(a_linked_worktree_is_led_nowhere);
/// The same for worktrees that are there, wherever they lie; new ones may be made.
fn a_linked_worktree_is_led_nowhere(who: Who) {
    let body = r#"
import subprocess
git = lambda *a: subprocess.run(['/usr/bin/git', *a], capture_output=True, text=True)
say('lead', opened('.git/worktrees/side/commondir', os.O_WRONLY))
say('point', opened('.git/worktrees/side/gitdir', os.O_WRONLY))
say('away', py(os.rename, '.git/worktrees/side', '.git/worktrees/other'))
say('all', py(os.rename, '.git/worktrees', '.git/others'))
say('own', opened('.git/config.worktree', os.O_WRONLY))
say('file', opened('.git/worktrees/side/config.worktree', os.O_WRONLY))
say('work', wrote('.git/worktrees/side/HEAD', b'ref: refs/heads/side\n'))
say('add', git('worktree', 'add', '-q', 'new').returncode)
say('new', git('-C', 'new', 'status', '--short').stdout)
"#;
    need("git");
    let workspace = Workspace::new(who);
    let run = |script: &str| {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-ec", script]).current_dir(workspace.path());
        shell.env("GIT_CONFIG_GLOBAL", "/dev/null");
        become_who(&mut shell, who);
        let output = shell.output().expect("a shell");
        assert!(output.status.success(), "{output:?}");
    };
    run(
        "git init -q . && git -c user.name=a -c user.email=a@b commit -qm x --allow-empty \
         && git worktree add -q side",
    );
    let kept = [
        ("lead", "EROFS"),
        ("point", "EROFS"),
        ("away", "EBUSY"),
        ("all", "EBUSY"),
        ("own", "EACCES"),
        ("file", "EACCES"),
        ("work", "OK"),
        ("add", "0"),
        ("new", ""),
    ];
    attack(Run::new(who, &workspace), body).expect(&kept);
    // The control: what leads git elsewhere is followed.
    run(
        "cp -r .git evil && git -C evil config core.fsmonitor 'touch pwned; false' \
         && echo ../../../evil > .git/worktrees/side/commondir && git -C side status",
    );
    assert!(workspace.path().join("side/pwned").exists());
}

each!(killed_at_any_instant_nothing_is_left);
fn killed_at_any_instant_nothing_is_left(who: Who) {
    let workspace = Workspace::new(who);
    workspace.write(".git/config", "");
    let envrc = workspace.path().join(".envrc");
    let start = || {
        let paths = r#""$WORKSPACE/.envrc", "$WORKSPACE/.git/hooks", "$WORKSPACE/.vscode""#;
        let mut command = protect(who, &workspace, paths).command(["/bin/sleep", "60"]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(Stdio::null()).spawn().expect("creel starts")
    };
    let end = |mut child: Child| {
        child.kill().expect("SIGKILL");
        child.wait().expect("reaped");
        let left = || {
            [".envrc", ".git/hooks", ".vscode"]
                .iter()
                .any(|name| workspace.path().join(name).symlink_metadata().is_ok())
        };
        wait::until("they go", || !left());
    };
    // Instants on both sides of that at which the names come to be, however busy the machine is: each is
    // counted from an event of its own run.
    let mut seen = 0;
    for round in 0..60u32 {
        let child = start();
        if round % 2 == 0 {
            wait::until("a name", || envrc.symlink_metadata().is_ok());
            seen += 1;
        }
        std::thread::sleep(Duration::from_micros(u64::from(round) * 150));
        end(child);
    }
    assert_eq!(seen, 30);
}

each!(a_placeholder_of_another_mode_does_not_stay);
/// `chmod -R` on the host while a jail runs: a socket of another mode is the janitor's still.
fn a_placeholder_of_another_mode_does_not_stay(who: Who) {
    let workspace = Workspace::new(who);
    let script = "touch started; while [ ! -e stop ]; do sleep 0.05; done";
    let mut child = protect(who, &workspace, r#""$WORKSPACE/.envrc""#)
        .command(["/bin/sh", "-c", script])
        .spawn()
        .expect("creel starts");
    wait::until("it starts", || workspace.path().join("started").exists());
    let mut shell = Command::new("/bin/chmod");
    shell
        .args(["-R", "u+rwX", "."])
        .current_dir(workspace.path());
    become_who(&mut shell, who);
    assert!(shell.status().expect("chmod starts").success());
    // The control: the host did change it.
    use std::os::unix::fs::PermissionsExt;
    let held = workspace
        .path()
        .join(".envrc")
        .symlink_metadata()
        .expect("it is held");
    assert_eq!(held.permissions().mode() & 0o777, 0o600);
    std::fs::write(workspace.path().join("stop"), "").expect("write");
    assert!(child.wait().expect("it ends").success());
    assert!(workspace.path().join(".envrc").symlink_metadata().is_err());
}

each!(a_closed_directory_keeps_no_placeholder);
/// Without root the janitor has the rights of the owner, who may have none by then.
fn a_closed_directory_keeps_no_placeholder(who: Who) {
    use std::os::unix::fs::PermissionsExt;
    let workspace = Workspace::new(who);
    let ran = protect(who, &workspace, r#""$WORKSPACE/.envrc""#).sh("chmod 0500 . && chmod 0 .");
    assert_eq!(ran.status, 0, "{ran:#?}");
    let mode = workspace
        .path()
        .metadata()
        .expect("it is there")
        .permissions();
    // The control: it is closed still.
    assert_eq!(mode.mode() & 0o7777, 0);
    assert!(workspace.path().join(".envrc").symlink_metadata().is_err());
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(workspace.path(), open).expect("chmod");
}

each!(a_file_of_the_users_own_is_not_taken_for_creels);
/// A name that somebody else has taken, by the mark or without it, is nobody's to remove.
fn a_file_of_the_users_own_is_not_taken_for_creels(who: Who) {
    let workspace = Workspace::new(who);
    workspace.write(".envrc", "");
    protect(who, &workspace, r#""$WORKSPACE/.envrc""#)
        .sh("! (echo x > .envrc)")
        .ok();
    assert!(workspace.path().join(".envrc").exists());
    let got = outside(who, &workspace.path(), "say('own', wrote('.envrc', b'x'))");
    got.expect(&[("own", "OK")]);
    assert_eq!(read(&workspace.path().join(".envrc")), "x");
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).expect("read")
}
