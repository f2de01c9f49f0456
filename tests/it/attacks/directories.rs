//! Protected names that are absent and looked into by programs in a jail, an agent's settings: they find
//! an empty directory, and not a name that is in the way, and cannot make anything in it. The control is
//! the same act where the name is not protected.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use crate::attacks::{attack, become_who, policy};
use crate::support::{Run, Who, Workspace, child_named, has_cgroups, need, state_of, wait};

/// Trust paths, what a policy protects below a directory that is absent, and what a repository's own
/// configuration names.
const NAMES: [&str; 5] = [".opencode", ".claude", ".codex", ".gemini", "conf"];
const PROTECT: &str = r#"protect = ["$WORKSPACE/conf/deep/a.json"]"#;

fn unprotected(workspace: &Workspace) -> String {
    let names = NAMES.iter().filter(|name| **name != "conf");
    let names: Vec<String> = names.map(|name| format!("$WORKSPACE/{name}")).collect();
    policy(workspace, &format!("unprotect = {names:?}"))
        .to_string_lossy()
        .into_owned()
}

/// A repository without hooks.
fn repository(who: Who, workspace: &Workspace) {
    need("git");
    let mut git = Command::new("/usr/bin/git");
    git.args(["init", "-q", "--template="])
        .current_dir(workspace.path());
    become_who(&mut git, who);
    assert!(git.status().expect("git starts").success());
}

each!(programs_find_an_empty_directory_and_make_nothing_in_it);
fn programs_find_an_empty_directory_and_make_nothing_in_it(who: Who) {
    let body = format!(
        r#"
def made(f):
    def go():
        os.close(os.open(f, os.O_WRONLY | os.O_CREAT, 0o644))
    return py(go)
for p in {NAMES:?}:
    full, gone = [os.path.join(os.path.dirname(p), n + os.path.basename(p)) for n in ('full', 'gone')]
    os.mkdir(full)
    say(p + ' looks', opened(p + '/.gitkeep', os.O_RDONLY))
    say(p + ' lists', py(os.listdir, p))
    say(p + ' mkdirs', py(os.makedirs, p, exist_ok=True))
    say(p + ' creates', made(p + '/settings.json'))
    say(p + ' mkdir', py(os.mkdir, p + '/hooks'))
    say(p + ' link', py(os.symlink, '/etc', p + '/link'))
    say(p + ' over', py(os.rename, full, p))
    say(p + ' away', py(os.rename, p, gone))
    say(p + ' rmdir', py(os.rmdir, p))
    say(p + ' chmod', py(os.chmod, p, 0o777))
    say(p + ' list', ','.join(n for n in os.listdir(p) if n != '.gitignore') or 'nothing' if os.path.isdir(p) else 'gone')
"#
    );
    let workspace = Workspace::new(who);
    repository(who, &workspace);
    let got = attack(
        Run::new(who, &workspace).policy(policy(&workspace, PROTECT)),
        &body,
    );
    for name in NAMES {
        for (act, answer) in [
            ("looks", "ENOENT"),
            ("lists", "OK"),
            ("mkdirs", "OK"),
            ("creates", "EROFS"),
            ("mkdir", "EROFS"),
            ("link", "EROFS"),
            ("over", "EBUSY"),
            ("away", "EBUSY"),
            ("rmdir", "EBUSY"),
            ("chmod", "EROFS"),
            ("list", "nothing"),
        ] {
            got.expect(&[(&format!("{name} {act}"), answer)]);
        }
        let path = workspace.path().join(name);
        assert!(path.symlink_metadata().is_err(), "{name} was left behind");
    }
    // The control.
    let workspace = Workspace::new(who);
    repository(who, &workspace);
    let run = Run::new(who, &workspace).policy(unprotected(&workspace));
    let got = attack(run, &body);
    for name in NAMES {
        for act in ["mkdirs", "creates", "mkdir", "link", "away"] {
            got.expect(&[(&format!("{name} {act}"), "OK")]);
        }
    }
}

each!(git_works_around_them);
/// An empty directory `git clean` removes, and fails where it cannot: `git stash -u` then leaves the changes
/// where they were.
fn git_works_around_them(who: Who) {
    let script = "git -c user.name=a -c user.email=a@b commit -q --allow-empty -m one && \
                  echo x >f && git add f && git -c user.name=a -c user.email=a@b commit -qm two && \
                  echo y >>f && echo u >u && git status --porcelain && \
                  git -c user.name=a -c user.email=a@b stash -qu && git status --porcelain && \
                  git stash pop -q && git clean -fdq && git add -A && git status --porcelain && \
                  git ls-files && git worktree list --porcelain | grep -c ^worktree && \
                  git submodule status";
    let workspace = Workspace::new(who);
    repository(who, &workspace);
    for extra in [PROTECT, r#"deny = ["$WORKSPACE/.idea"]"#] {
        let policy = policy(&workspace, extra);
        let ran = Run::new(who, &workspace)
            .policy(policy)
            .flags(["--quiet"])
            .sh(script)
            .ok();
        assert_eq!(ran.stdout, " M f\n?? u\nM  f\nf\n1\n", "{ran:#?}");
        assert_eq!(ran.stderr, "", "{ran:#?}");
        let own = ["f", ".git"].map(|name| workspace.path().join(name));
        std::fs::remove_file(&own[0]).expect("the jail's own");
        std::fs::remove_dir_all(&own[1]).expect("the jail's own");
        repository(who, &workspace);
    }
}

each!(a_denied_name_is_no_directory);
/// A denied name says nothing of what it is.
fn a_denied_name_is_no_directory(who: Who) {
    let workspace = Workspace::new(who);
    let body = "say('looks', opened('.claude/x', os.O_RDONLY)); say('lists', py(os.listdir, '.claude')); \
                say('other', opened('.gemini/x', os.O_RDONLY)); say('mkdir', py(os.mkdir, '.claude'))";
    let denied = policy(&workspace, r#"deny = ["$WORKSPACE/.claude"]"#);
    attack(Run::new(who, &workspace).policy(denied), body).expect(&[
        ("looks", "ENOTDIR"),
        ("lists", "ENOTDIR"),
        ("mkdir", "EEXIST"),
        ("other", "ENOENT"),
    ]);
}

/// A jail that waits for the file `stop`; `-- more` flags.
fn waiting(who: Who, workspace: &Workspace) -> std::process::Child {
    let script = "touch started; while [ ! -e stop ]; do sleep 0.05; done; ls -A .codex";
    let mut command = Run::new(who, workspace).command(["/bin/sh", "-c", script]);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let child = command.stderr(Stdio::null()).spawn();
    wait::until("it starts", || workspace.path().join("started").exists());
    child.expect("creel starts")
}

each!(what_the_host_puts_there_stays);
/// Entries that the host's programs make in such a directory while a jail runs are theirs: the jail neither sees it nor
/// keeps it from staying, with a mode like any other's.
fn what_the_host_puts_there_stays(who: Who) {
    let workspace = Workspace::new(who);
    let child = waiting(who, &workspace);
    let mut editor = Command::new("/bin/sh");
    let save =
        "echo '{}' >.codex/settings.json && chmod -R u+rwX .claude .gemini && chmod 700 .gemini";
    editor.args(["-c", save]).current_dir(workspace.path());
    become_who(&mut editor, who);
    assert!(editor.status().expect("sh starts").success());
    workspace.write("stop", "");
    let ran = child.wait_with_output().expect("it ends");
    assert_eq!(String::from_utf8_lossy(&ran.stdout), ".gitignore\n");
    let place = workspace.path().join(".codex");
    let kept = std::fs::read_to_string(place.join("settings.json"));
    assert_eq!(kept.expect("it stays"), "{}\n");
    let mode = place.metadata().expect("it stays").permissions().mode();
    assert_eq!(mode & 0o7777, 0o755);
    for name in [".claude", ".gemini"] {
        assert!(!workspace.path().join(name).exists(), "{name} stayed");
    }
    // The next run has it read-only.
    let body = "say('reads', opened('.codex/settings.json', os.O_RDONLY)); \
                say('writes', opened('.codex/settings.json', os.O_WRONLY))";
    attack(Run::new(who, &workspace), body).expect(&[("reads", "OK"), ("writes", "EROFS")]);
}

each!(what_two_killed_processes_leave_the_next_run_removes);
/// Creel and its janitor are killed at once: what stays are empty directories and sockets, and the next
/// run takes them away.
fn what_two_killed_processes_leave_the_next_run_removes(who: Who) {
    // If groups exist, theirs would stay too, until somebody gets the slot.
    if has_cgroups(who) {
        return;
    }
    let workspace = Workspace::new(who);
    let mut child = waiting(who, &workspace);
    let janitor = child_named(child.id(), "creel-janitor").expect("a janitor");
    let kill = |signal: &str, pids: &[u32]| {
        let mut kill = Command::new("/bin/kill");
        kill.arg(signal).args(pids.iter().map(u32::to_string));
        assert!(kill.status().expect("kill starts").success());
    };
    // Stopped, it does not see that the other has ended.
    kill("-STOP", &[janitor]);
    wait::until("it stops", || state_of(janitor) == Some('T'));
    // In this order: creel, which hears of the other's end, would take them away itself.
    kill("-KILL", &[child.id(), janitor]);
    child.wait().expect("it ends");
    let left = workspace.path().join(".claude");
    let empty = std::fs::read_dir(&left).expect("it stays").next().is_none();
    assert!(empty, "{left:?}");
    // A jail that is still ending holds nothing.
    let body = "say('looks', opened('.claude/x', os.O_RDONLY)); \
                say('creates', py(os.mkdir, '.claude/x'))";
    attack(Run::new(who, &workspace), body).expect(&[("looks", "ENOENT"), ("creates", "EROFS")]);
    wait::until("they go", || !left.exists());
    for name in [".gemini", ".envrc"] {
        assert!(!workspace.path().join(name).exists(), "{name} stayed");
    }
}
