//! Files that a jail leaves for the host to obey: the workspace's repository stays one, links in it are taken
//! away, and what cannot be held by name is said in the verdict. The control is git on the host, which
//! does what it is kept from.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::attacks::{become_who, policy};
use crate::support::{Ran, Run, Who, Workspace, need, wait};

fn host(who: Who, workspace: &Workspace, script: &str) -> Output {
    let mut shell = Command::new("/bin/sh");
    shell
        .args(["-ec", script])
        .current_dir(workspace.path())
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1");
    become_who(&mut shell, who);
    shell.output().expect("a shell")
}

fn repository(who: Who) -> Workspace {
    need("git");
    let workspace = Workspace::new(who);
    let made = "git init -q . && git -c user.name=a -c user.email=a@b commit -qm x --allow-empty";
    assert!(host(who, &workspace, made).status.success());
    // Files made in the same tick of the clock as the start count as the run's.
    wait::for_a_tick();
    workspace
}

/// `what done path` of each finding, the workspace's name away.
fn left(ran: &Ran, workspace: &Workspace) -> Vec<String> {
    let found = ran.verdict["left"]["found"].as_array().expect("findings");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let place = workspace.path().canonicalize().expect("it is there");
    let line = |one: &Value| {
        let path = text(&one["path"]);
        let path = Path::new(&path)
            .strip_prefix(&place)
            .expect("in it")
            .display()
            .to_string();
        format!("{} {} {path}", text(&one["what"]), text(&one["done"]))
    };
    found.iter().map(line).collect()
}

/// Python that every attack here begins with.
fn jail(who: Who, workspace: &Workspace, body: &str) -> Ran {
    let body = format!("import os, shutil, stat\n{body}");
    Run::new(who, workspace).python(&body).ok()
}

const EVIL: &str = "[core]\\n\\trepositoryformatversion = 0\\n\\tbare = false\\n\\tworktree = .\\n\\tfsmonitor = touch pwned; false\\n";

each!(the_workspaces_repository_stays_one);
/// git would take the workspace itself for a repository.
fn the_workspaces_repository_stays_one(who: Who) {
    let bare = format!(
        "[os.makedirs(n, exist_ok=True) for n in ('objects', 'refs')]\n\
         open('HEAD', 'w').write('ref: refs/heads/x\\n')\nopen('config', 'w').write('{EVIL}')\n"
    );
    for (name, act, restored) in [
        ("removed", "os.unlink('.git/HEAD')", ".git/HEAD"),
        ("junk", "open('.git/HEAD', 'w').write('junk')", ".git/HEAD"),
        (
            "elsewhere",
            "open('.git/HEAD', 'w').write('ref: x/y')",
            ".git/HEAD",
        ),
        (
            "long",
            "open('.git/HEAD', 'w').write('ref:' + ' ' * 255 + 'refs/heads/x')",
            ".git/HEAD",
        ),
        (
            "a directory",
            "os.unlink('.git/HEAD'); os.mkdir('.git/HEAD')",
            ".git/HEAD",
        ),
        (
            "a pipe",
            "os.unlink('.git/HEAD'); os.mkfifo('.git/HEAD')",
            ".git/HEAD",
        ),
        ("unreadable", "os.chmod('.git/HEAD', 0)", ".git/HEAD"),
        ("closed", "os.chmod('.git', 0)", ".git"),
        (
            "objects closed",
            "os.chmod('.git/objects', 0)",
            ".git/objects",
        ),
        ("refs closed", "os.chmod('.git/refs', 0o200)", ".git/refs"),
    ] {
        let workspace = repository(who);
        let ran = jail(who, &workspace, &format!("{bare}{act}"));
        let found = left(&ran, &workspace);
        let head = format!("head restored {restored}");
        assert!(found.contains(&head), "{name} {who:?}: {found:?}");
        assert!(
            found.contains(&"bare_repository nothing ".to_owned()),
            "{name}: {found:?}"
        );
        assert!(ran.stderr.contains(restored), "{name}: {ran:#?}");
        let status = host(who, &workspace, "git status && git log");
        assert!(status.status.success(), "{name} {who:?}: {status:?}");
        assert!(
            !workspace.path().join("pwned").exists(),
            "{name} {who:?}: git ran it"
        );
    }
    // The control: with a HEAD that is none git runs what the jail left.
    let workspace = repository(who);
    jail(who, &workspace, &bare);
    host(who, &workspace, "rm .git/HEAD; git status || true");
    assert!(workspace.path().join("pwned").exists(), "{who:?}");
}

each!(links_in_the_repository_are_taken_away);
/// git writes where they lead.
fn links_in_the_repository_are_taken_away(who: Who) {
    let links = [
        ".git/index",
        ".git/logs",
        ".git/COMMIT_EDITMSG",
        ".git/ORIG_HEAD",
        ".git/FETCH_HEAD",
        ".git/packed-refs",
        ".git/refs/heads/other",
        ".git/objects/pack/multi-pack-index",
        ".git/objects/info/packs",
        ".git/objects/aa",
        ".git/worktrees",
        ".git/rebase-merge",
        ".git/HEAD",
    ];
    let workspace = repository(who);
    // Made before the run, and moved there whole.
    let moved = "mkdir -p .git/old/deep && ln -s ../../../../victim .git/old/deep/link";
    assert!(host(who, &workspace, moved).status.success());
    wait::for_a_tick();
    let victim = workspace.outside().join("victim");
    std::fs::write(&victim, "untouched").expect("write");
    let body = format!(
        "for n in {links:?}:\n    if os.path.isdir(n): shutil.rmtree(n)\n    elif os.path.lexists(n): os.unlink(n)\n    os.symlink('../../victim', n)\n\
         os.mkdir('.git/logs.d'); os.mkfifo('.git/MERGE_MSG'); os.rename('.git/old', '.git/rebase-apply')\n\
         os.symlink('refs/heads/master', 'HEAD')\nos.symlink('x', 'plain')\n"
    );
    let ran = jail(who, &workspace, &body);
    let found = left(&ran, &workspace);
    let more = [".git/MERGE_MSG", ".git/rebase-apply/deep/link"];
    for link in links.into_iter().chain(more) {
        assert!(
            found.contains(&format!("link removed {link}")),
            "{link} {who:?}: {found:?}"
        );
    }
    assert!(
        found.contains(&"head restored .git/HEAD".to_owned()),
        "{found:?}"
    );
    // Files beside the repository are the jail's.
    assert!(workspace.path().join("plain").symlink_metadata().is_ok());
    let git = "git -c user.name=a -c user.email=a@b commit -qm y --allow-empty && git status && git gc -q";
    let after = host(who, &workspace, git);
    assert!(after.status.success(), "{who:?}: {after:?}");
    assert_eq!(std::fs::read_to_string(&victim).expect("read"), "untouched");
    // The control: git follows such a link.
    let control = "ln -sf ../../victim .git/COMMIT_EDITMSG && git -c user.name=a -c user.email=a@b commit -qm y --allow-empty";
    std::os::unix::fs::chown(&victim, Some(who.account().0), None).expect("chown");
    assert!(host(who, &workspace, control).status.success());
    assert_eq!(std::fs::read_to_string(&victim).expect("read"), "y\n");
}

each!(a_link_does_not_refuse_the_next_run);
/// A link that cannot be held does not keep the next run from starting.
fn a_link_does_not_refuse_the_next_run(who: Who) {
    let workspace = repository(who);
    let made = host(who, &workspace, "ln -s /etc .git/worktrees");
    assert!(made.status.success());
    Run::new(who, &workspace).sh("true").ok();
    let empty = Workspace::new(who);
    let ran = jail(
        who,
        &empty,
        "os.symlink('/etc', '.git'); os.symlink('/etc', '.hg')",
    );
    assert_eq!(
        left(&ran, &empty),
        ["link removed .git", "link removed .hg"],
        "{who:?}"
    );
    Run::new(who, &empty).sh("true").ok();
    // The control: what the host made is the host's, and cannot be held.
    assert!(host(who, &empty, "ln -s /etc .git").status.success());
    let refused = Run::new(who, &empty).sh("true");
    assert_eq!(refused.status, 125, "{refused:#?}");
    assert!(refused.stderr.contains("remove the link"), "{refused:#?}");
}

each!(what_the_host_obeys_is_said_where_it_is_new);
/// Files at a greater depth cannot be held by name.
fn what_the_host_obeys_is_said_where_it_is_new(who: Who) {
    let body = "import subprocess\n\
        git = lambda *a: subprocess.run(['/usr/bin/git', *a], check=True)\n\
        git('init', '-q', 'sub'); git('init', '-q', '--bare', 'store.git')\n\
        open('sub/.git/hooks/pre-commit', 'w').write('x')\n\
        os.makedirs('a/b'); open('a/b/.envrc', 'w').close(); os.mkdir('a/.vscode')\n\
        open('a/.git', 'w').write('gitdir: ../store.git')\n\
        open('old/.envrc', 'a').write('x'); open('old/Makefile', 'w').close()\n\
        open('kept/.git/config', 'a').write('[core]\\n\\tfsmonitor = x\\n')\n";
    let workspace = Workspace::new(who);
    let setup = "mkdir old same && touch old/.envrc same/.envrc && git init -q kept && git init -q same/repo";
    assert!(host(who, &workspace, setup).status.success());
    wait::for_a_tick();
    let ran = Run::new(who, &workspace).flags(["--review-all"]);
    let ran = ran.python(&format!("import os\n{body}")).ok();
    let mut found = left(&ran, &workspace);
    found.sort();
    assert_eq!(
        found,
        [
            "bare_repository nothing store.git",
            "hook nothing sub/.git/hooks/pre-commit",
            "repository nothing a/.git",
            "repository nothing kept/.git",
            "repository nothing sub/.git",
            "settings nothing a/.vscode",
            "settings nothing a/b/.envrc",
            "settings nothing old/.envrc",
        ],
        "{who:?}"
    );
    let kept = ran.verdict["left"]["found"]
        .as_array()
        .expect("findings")
        .iter();
    let kept = kept.filter(|one| {
        one["path"]
            .as_str()
            .is_some_and(|p| p.ends_with("kept/.git"))
    });
    let runs: Vec<&Value> = kept.map(|one| &one["runs"]).collect();
    assert_eq!(runs, [&serde_json::json!(["core.fsmonitor"])], "{ran:#?}");
    assert_eq!(ran.verdict["left"]["unseen"], 0, "{ran:#?}");
    assert_eq!(ran.verdict["left"]["modes"], true, "{ran:#?}");
    let lines = ran
        .stderr
        .lines()
        .filter(|line| line.contains("new or changed during the run"));
    assert_eq!(lines.count(), 5, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("4 more that the host obeys"),
        "{}",
        ran.stderr
    );
    // The control: a run that leaves nothing says nothing.
    wait::for_a_tick();
    let again = Run::new(who, &workspace)
        .sh("echo x > old/Makefile; cd sub; git status")
        .ok();
    assert_eq!(
        again.verdict["left"]["found"],
        serde_json::json!([]),
        "{again:#?}"
    );
    assert!(!again.stderr.contains("left by"), "{again:#?}");
}

each!(what_was_not_looked_at_is_said);
/// Directories that cannot be searched are counted, and no more is claimed.
fn what_was_not_looked_at_is_said(who: Who) {
    let workspace = Workspace::new(who);
    let body = "for i in range(20):\n    os.makedirs(f'd/{i}/' + '/'.join('abcdefgh' * 10))\n";
    let ran = jail(who, &workspace, &format!("{body}os.makedirs('s/.vscode')"));
    let seen = &ran.verdict["left"];
    assert!(left(&ran, &workspace).contains(&"settings nothing s/.vscode".to_owned()));
    let (unseen, modes) = (seen["unseen"].as_u64().expect("a number"), &seen["modes"]);
    assert_eq!(unseen > 0, seen["unseen_first"].is_string(), "{ran:#?}");
    assert!(unseen == 0 || *modes == false || unseen < 5000, "{ran:#?}");
    let all = Run::new(who, &workspace)
        .flags(["--review-all"])
        .sh("true")
        .ok();
    assert_eq!(all.verdict["left"]["unseen"], 0, "{all:#?}");
    let none = Run::new(who, &workspace)
        .policy(policy(&workspace, "workspace = \"ro\""))
        .sh("true")
        .ok();
    assert_eq!(none.verdict["left"], Value::Null, "{none:#?}");
}

each!(a_closed_workspace_is_told_as_one);
/// A directory that nobody may enter is said to be that.
fn a_closed_workspace_is_told_as_one(who: Who) {
    let workspace = Workspace::new(who);
    jail(who, &workspace, "os.chmod('.', 0)");
    let ran = Run::new(who, &workspace)
        .cwd(workspace.outside())
        .flags(["--workspace", workspace.path().to_str().expect("text")]);
    let ran = ran.sh("true");
    assert_eq!(ran.status, 125, "{ran:#?}");
    assert!(!ran.stderr.contains("seccomp"), "{ran:#?}");
    use std::os::unix::fs::PermissionsExt;
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(workspace.path(), open).expect("chmod");
    Run::new(who, &workspace).sh("true").ok();
}

each!(what_looks_like_nothing_is_said_as_well);
/// git takes a directory for a repository by `commondir` as well, and a mode makes no placeholder of what has
/// something in it.
fn what_looks_like_nothing_is_said_as_well(who: Who) {
    let body = "mkdir -p sub/.git store/c/objects store/c/refs b/.vscode && \
                echo 'ref: refs/heads/x' >sub/.git/HEAD && echo ../../store/c >sub/.git/commondir && \
                echo '{}' >b/.vscode/tasks.json && chmod 1555 b/.vscode && mkdir empty && \
                mkdir -m 1555 empty/.vscode";
    let workspace = Workspace::new(who);
    let ran = Run::new(who, &workspace)
        .flags(["--review-all"])
        .sh(body)
        .ok();
    let mut found = left(&ran, &workspace);
    found.sort();
    // The control: an empty one of that mode is a placeholder.
    let said = ["repository nothing sub/.git", "settings nothing b/.vscode"];
    assert_eq!(found, said, "{who:?}: {ran:#?}");
}

each!(what_was_prepared_in_an_earlier_run_is_said);
/// Run by run: what was made in one and is moved to its place in the next has old times, but for the
/// directory that was moved.
fn what_was_prepared_in_an_earlier_run_is_said(who: Who) {
    let prepare = "mkdir -p w/x/g/objects w/x/g/refs w/x/g/hooks w/p/q/v pile/deep/plain \
        && echo 'ref: refs/heads/x' >w/x/g/h && printf '[core]\\n\\tfsmonitor = x\\n' >w/x/g/config \
        && echo x >w/x/g/hooks/pre-commit && echo x >w/p/q/v/.envrc && mkdir w/p/q/v/.idea";
    let place = "mv w/x/g/h w/x/g/HEAD && mv w/x/g w/x/.git && mv w/p/q/v pile/deep/v";
    let workspace = Workspace::new(who);
    let run = || Run::new(who, &workspace).flags(["--review-all"]);
    run().sh(prepare).ok();
    wait::for_a_tick();
    let mut found = left(&run().sh(place).ok(), &workspace);
    found.sort();
    assert_eq!(
        found,
        [
            "hook nothing w/x/.git/hooks/pre-commit",
            "repository nothing w/x/.git",
            "settings nothing pile/deep/v/.envrc",
            "settings nothing pile/deep/v/.idea",
        ],
        "{who:?}"
    );
    // The control: what is used where it is stays unsaid.
    wait::for_a_tick();
    let used = "echo x >w/x/file; echo x >pile/file; echo x >pile/deep/v/file";
    assert_eq!(
        left(&run().sh(used).ok(), &workspace),
        Vec::<String>::new(),
        "{who:?}"
    );
}

each!(changes_in_place_beneath_the_top_are_said);
/// Files of a repository beneath the top that lead git elsewhere; files of other systems and settings that were
/// changed in place.
fn changes_in_place_beneath_the_top_are_said(who: Who) {
    let setup = "git init -q a && git init -q b && git init -q c && rm -rf a/.git/hooks b/.git/hooks \
        && mkdir scripts && ln -s ../../scripts b/.git/hooks && echo x >scripts/old \
        && mkdir -p d/.vscode/deep d/.hg d/.jj/repo e/.hg store/objects store/refs store/hooks \
        && echo '{}' >d/.vscode/deep/tasks.json && touch d/.hg/hgrc d/.jj/repo/config.toml store/config \
        && mkdir -p same/.vscode && touch same/.vscode/x && mkdir -p long && cd long && seq 1 2000 | xargs touch";
    let act = "ln -s ../../x a/.git/hooks; echo x >scripts/pre-commit; \
        echo x >d/.vscode/deep/tasks.json; echo x >d/.hg/hgrc; echo x >d/.jj/repo/config.toml; \
        echo ../x >e/.hg/sharedpath; echo x >store/config; echo x >store/hooks/pre-push; \
        echo ../../store >c/.git/commondir; echo x >long/.envrc; echo x >same/file";
    need("git");
    let workspace = Workspace::new(who);
    assert!(host(who, &workspace, setup).status.success());
    wait::for_a_tick();
    let run = || Run::new(who, &workspace).flags(["--review-all"]);
    let mut found = left(&run().sh(act).ok(), &workspace);
    found.sort();
    assert_eq!(
        found,
        [
            "bare_repository nothing store",
            "hook nothing a/.git/hooks",
            "hook nothing b/.git/hooks/pre-commit",
            "hook nothing store/hooks/pre-push",
            "repository nothing c/.git",
            "settings nothing d/.hg/hgrc",
            "settings nothing d/.jj/repo/config.toml",
            "settings nothing d/.vscode",
            "settings nothing e/.hg/sharedpath",
            "settings nothing long/.envrc",
        ],
        "{who:?}"
    );
    // The control: the next run leaves nothing.
    wait::for_a_tick();
    assert_eq!(
        left(&run().sh("true").ok(), &workspace),
        Vec::<String>::new(),
        "{who:?}"
    );
}

each!(long_directories_hide_nothing_in_silence);
/// Long directories do not hide what lies beside them; what is hidden is counted, and said where the command
/// changed it.
fn long_directories_hide_nothing_in_silence(who: Who) {
    let body = "for i in range(20):\n    os.makedirs(f'a/{i}')\n    [open(f'a/{i}/{n}', 'w').close() for n in range(300)]\n\
                os.makedirs('z/.vscode'); os.makedirs('y/x/.idea')\n";
    let workspace = Workspace::new(who);
    let ran = jail(who, &workspace, body);
    let seen = &ran.verdict["left"];
    let found = left(&ran, &workspace);
    assert!(
        found.contains(&"settings nothing z/.vscode".to_owned()),
        "{who:?}: {found:?}"
    );
    let hidden = !found.contains(&"settings nothing y/x/.idea".to_owned());
    let unseen = seen["unseen"].as_u64().expect("a number");
    assert!(!hidden || unseen > 0, "{who:?}: {seen}");
    assert_eq!(seen["unseen_changed"], unseen > 0, "{who:?}: {seen}");
    assert_eq!(
        ran.stderr.contains("were not searched"),
        unseen > 0,
        "{who:?}: {ran:#?}"
    );
}

each!(many_links_are_taken_away_or_said);
/// Many links keep no end of a run waiting: what is not taken away is said to be there.
fn many_links_are_taken_away_or_said(who: Who) {
    let workspace = repository(who);
    let body = "os.mkdir('.git/refs/many')\n[os.symlink('x', f'.git/refs/many/{n}') for n in range(3000)]\n\
                os.symlink('x', '.git/ORIG_HEAD'); os.makedirs('.git/logs', exist_ok=True); os.symlink('x', '.git/logs/link'); os.makedirs('q/.idea')\n";
    let ran = jail(who, &workspace, body);
    for name in [".git/ORIG_HEAD", ".git/logs/link"] {
        let there = workspace.path().join(name).symlink_metadata().is_ok();
        assert!(!there, "{name} {who:?}");
    }
    let many = workspace.path().join(".git/refs/many");
    let stay = std::fs::read_dir(&many).expect("it is there").count();
    let found = left(&ran, &workspace);
    let failed = found.contains(&"link failed .git/refs/many".to_owned());
    assert_eq!(failed, stay > 0, "{who:?}: {stay} {found:?}");
    // And they hide nothing that is there.
    assert!(
        found.contains(&"settings nothing q/.idea".to_owned()),
        "{who:?}: {found:?}"
    );
    assert!(ran.stderr.contains("q/.idea"), "{who:?}: {}", ran.stderr);
}

each!(no_name_that_a_jail_makes_refuses_every_next_run);
/// Whatever a jail makes of names that are held where they are there, or lie in a directory of their own: the
/// next run starts, or says what to remove.
fn no_name_that_a_jail_makes_refuses_every_next_run(who: Who) {
    let workspace = Workspace::new(who);
    let body = "import os\nopen('x', 'w').close(); os.mkdir('d')\n\
        os.symlink('x', '.gdbinit'); os.symlink('d', '.zed'); os.symlink('/etc', '.devcontainer'); os.symlink('none', 'mise.toml')\n\
        os.link('x', '.exrc'); os.link('x', '.lldbinit')\n\
        os.mkdir('.hg'); os.symlink('../x', '.hg/hgrc')\n\
        os.mkdir('.jj'); os.symlink('../d', '.jj/repo')\n\
        os.mkdir('.git'); os.symlink('../x', '.git/config'); os.symlink('../d', '.git/hooks')\n";
    let ran = Run::new(who, &workspace).python(body).ok();
    let found = left(&ran, &workspace);
    for link in [".hg/hgrc", ".jj/repo", ".git/config", ".git/hooks"] {
        let removed = format!("link removed {link}");
        assert!(found.contains(&removed), "{link} {who:?}: {found:?}");
    }
    for name in [".gdbinit", ".zed", ".devcontainer", ".exrc"] {
        let said = format!("settings nothing {name}");
        assert!(found.contains(&said), "{name} {who:?}: {found:?}");
    }
    let next = Run::new(who, &workspace).flags(["-v"]).sh("true").ok();
    for said in [
        "work/.gdbinit cannot be protected, because the jail could change the symbolic link",
        ".exrc cannot be protected, because it has a second name",
    ] {
        assert!(
            next.stderr.contains(said),
            "{said} {who:?}: {}",
            next.stderr
        );
    }
    // The control: one that is neither is held.
    assert!(
        host(who, &workspace, "rm .gdbinit && echo x >.gdbinit")
            .status
            .success()
    );
    let held = jail(
        who,
        &workspace,
        "try: open('.gdbinit', 'w'); print('OK')\nexcept OSError as e: print(e.errno)",
    );
    assert_eq!(held.stdout, "30\n", "{who:?}");
    // A file that existed before, and so cannot be removed, is named.
    let made = host(
        who,
        &workspace,
        "rm -rf .hg && mkdir .hg && ln -s ../x .hg/hgrc",
    );
    assert!(made.status.success());
    let refused = Run::new(who, &workspace).sh("true");
    assert_eq!(refused.status, 125, "{refused:#?}");
    let place = workspace.path().canonicalize().expect("it is there");
    let remedy = format!("remove the link: rm {}/.hg/hgrc", place.display());
    assert!(refused.stderr.contains(&remedy), "{refused:#?}");
    let made = host(who, &workspace, "rm .hg/hgrc && ln x .hg/hgrc");
    assert!(made.status.success());
    let refused = Run::new(who, &workspace).sh("true");
    assert_eq!(refused.status, 125, "{refused:#?}");
    assert!(refused.stderr.contains("-samefile"), "{refused:#?}");
}

each!(no_argument_of_a_command_refuses_every_next_run);
/// The same of a name that git's configuration holds where it is there.
fn no_argument_of_a_command_refuses_every_next_run(who: Who) {
    let workspace = repository(who);
    let conf = "git config filter.x.clean 'sh -e cleaner' && git config alias.y '!bin/y' && git config alias.z '!bin/z' && touch other";
    assert!(host(who, &workspace, conf).status.success());
    let body = "os.symlink('other', 'cleaner'); os.mkdir('bin'); os.link('other', 'bin/y'); os.symlink('../other', 'bin/z')";
    jail(who, &workspace, body);
    let next = Run::new(who, &workspace).flags(["-v"]).sh("true").ok();
    for name in ["cleaner", "bin/y", "bin/z"] {
        let line = format!("{name} (");
        let said = next
            .stderr
            .lines()
            .any(|l| l.contains(&line) && l.contains("is not protected"));
        assert!(said, "{name} {who:?}: {}", next.stderr);
    }
    // The control: what is neither a link nor has another name is held.
    assert!(
        host(who, &workspace, "rm cleaner && touch cleaner")
            .status
            .success()
    );
    let held = jail(
        who,
        &workspace,
        "try: open('cleaner', 'w'); print('OK')\nexcept OSError as e: print(e.errno)",
    );
    assert_eq!(held.stdout, "30\n", "{who:?}");
}

each!(names_of_a_jail_drive_no_terminal);
/// Control sequences never reach a line that a person reads.
fn names_of_a_jail_drive_no_terminal(who: Who) {
    // CSI of eight bits, DEL, an override, a mark, a line separator.
    const NAMES: &str = "['\\u009b31m', '\\u007f', '\\u202e', '\\u200f', '\\u2028']";
    let workspace = Workspace::new(who);
    let status = workspace.path().join("status");
    let body =
        format!("import os\nfor n in {NAMES}: os.makedirs(n + 'x/.vscode')\nprint('\\u009b')");
    let ran = Run::new(who, &workspace).flags(["--status-file", "status", "--review-all"]);
    let ran = ran.python(&body).ok();
    let text = std::fs::read_to_string(&status).unwrap_or_else(|e| panic!("{e}: {ran:#?}"));
    let obeyed = |c: char| c.is_control() && c != '\n' || "\u{202e}\u{200f}\u{2028}".contains(c);
    assert!(!text.contains(obeyed), "{who:?}: {text:?}");
    assert!(!ran.stderr.contains(obeyed), "{who:?}: {:?}", ran.stderr);
    assert_eq!(
        ran.stderr.matches("new or changed").count(),
        5,
        "{who:?}: {:?}",
        ran.stderr
    );
    // The control: the names are there and are said, and what the command itself writes is its own.
    let found = left(&ran, &workspace);
    assert!(
        found.contains(&"settings nothing \u{202e}x/.vscode".to_owned()),
        "{found:?}"
    );
    assert!(ran.stdout.contains('\u{9b}'));
}
