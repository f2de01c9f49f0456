//! Files that git on the host obeys because its configuration names them: hooks, included files and programs
//! that lie in the workspace are not the jail's to make or to change. The control is the same act where
//! the operator excepts the path: the jail writes it, and git on the host runs it.

use std::process::Command;

use crate::attacks::{attack, become_who, policy, refused};
use crate::support::{Run, Who, Workspace, need};

/// One way by which git is led into the workspace.
struct Way {
    name: &'static str,
    /// Shell lines on the host, in the empty workspace.
    setup: &'static str,
    /// File that the jail writes, and its content.
    target: &'static str,
    contents: &'static str,
    errno: &'static [&'static str],
    /// A later act on the host.
    later: &'static str,
}

/// Answers for an existing file.
const HELD: &[&str] = &["EROFS"];
/// Answers for an absent file: the name is taken, by a directory or by its stand-in.
const WITHHELD: &[&str] = &["EROFS", "EISDIR", "EEXIST", "ENOTDIR", "EACCES", "ENXIO"];
const RUNS: &str = "#!/bin/sh\ntouch pwned\n";
const COMMIT: &str = "git -c user.name=a -c user.email=a@b commit -qm x --allow-empty";
const WAYS: &[Way] = &[
    Way {
        name: "hooks elsewhere, absent",
        setup: "git init -q . && git config core.hooksPath .githooks",
        target: ".githooks/post-commit",
        contents: RUNS,
        errno: WITHHELD,
        later: COMMIT,
    },
    Way {
        name: "hooks elsewhere, present",
        setup: "git init -q . && git config core.hooksPath hooks && mkdir hooks",
        target: "hooks/post-commit",
        contents: RUNS,
        errno: HELD,
        later: COMMIT,
    },
    Way {
        name: "hooks beneath what is absent",
        setup: "git init -q . && git config core.hooksPath a/b",
        target: "a/b/post-commit",
        contents: RUNS,
        errno: WITHHELD,
        later: COMMIT,
    },
    Way {
        name: "an included file, absent",
        setup: "git init -q . && git config include.path ../.gitconfig",
        target: ".gitconfig",
        contents: "[core]\n\tfsmonitor = touch pwned; false\n",
        errno: WITHHELD,
        later: "git status",
    },
    Way {
        name: "an included file, present, by another one and under a condition",
        setup: "git init -q . && printf '[includeIf \"onbranch:**\"]\\npath = two\\n' > one && touch two \
                && git config include.path ../one",
        target: "two",
        contents: "[core]\n\tfsmonitor = touch pwned; false\n",
        errno: HELD,
        later: "git status",
    },
    Way {
        name: "a hook that is a link",
        setup: "git init -q . && mkdir -p scripts .git/hooks && printf '#!/bin/sh\\n' > scripts/x \
                && chmod 755 scripts/x && ln -s ../../scripts/x .git/hooks/post-commit",
        target: "scripts/x",
        contents: RUNS,
        errno: HELD,
        later: COMMIT,
    },
    Way {
        name: "a hook that is a link to nothing",
        setup: "git init -q . && mkdir -p .git/hooks && ln -s ../../x .git/hooks/post-commit",
        target: "x",
        contents: RUNS,
        errno: WITHHELD,
        later: COMMIT,
    },
    Way {
        name: "a program, absent",
        setup: "git init -q . && git config core.fsmonitor ./tools/mon",
        target: "tools/mon",
        contents: RUNS,
        errno: WITHHELD,
        later: "git status",
    },
    Way {
        name: "a script that is an argument",
        setup: "git init -q . && touch c.sh f && git config diff.x.textconv 'sh c.sh' \
                && echo 'f diff=x' > .git/info/attributes && git add f && echo y > f",
        target: "c.sh",
        contents: RUNS,
        errno: HELD,
        later: "git diff",
    },
    Way {
        name: "a script that is an argument without a dot",
        setup: "git init -q . && touch cleaner f && git config filter.x.clean 'sh cleaner' \
                && echo 'f filter=x' > .git/info/attributes",
        target: "cleaner",
        contents: RUNS,
        errno: HELD,
        later: "git add f",
    },
    Way {
        name: "a script that is an argument, absent",
        setup: "git init -q . && touch f && git config filter.x.clean 'sh -e clean/er' \
                && git config filter.y.clean 'sh cleaner' \
                && echo 'f filter=y' > .git/info/attributes",
        target: "cleaner",
        contents: RUNS,
        errno: WITHHELD,
        later: "git add f",
    },
    Way {
        name: "a program with a blank in its name",
        setup: "git init -q . && touch f && git config filter.x.clean '\"./my tool\" %f' \
                && echo 'f filter=x' > .git/info/attributes",
        target: "my tool",
        contents: RUNS,
        errno: WITHHELD,
        later: "git add f",
    },
    Way {
        name: "a dotted section",
        setup: "git init -q . && touch f && printf '[Filter.x \"y\"]\n\tclean = ./clean\n' >> .git/config \
                && echo 'f filter=x.y' > .git/info/attributes",
        target: "clean",
        contents: RUNS,
        errno: WITHHELD,
        later: "git add f",
    },
    Way {
        name: "a section of the old form",
        setup: "git init -q . && touch f && printf '[filter.X.y]\n\tclean = ./clean\n' >> .git/config \
                && echo 'f filter=x.y' > .git/info/attributes",
        target: "clean",
        contents: RUNS,
        errno: WITHHELD,
        later: "git add f",
    },
    Way {
        name: "the repository's own directory, elsewhere",
        setup: "git init -q --separate-git-dir=own .",
        target: "own/config",
        contents: "[core]\n\trepositoryformatversion = 0\n\tfsmonitor = touch pwned; false\n",
        errno: HELD,
        later: "git status",
    },
    Way {
        name: "a workspace that is a bare repository",
        setup: "git init -q --bare .",
        target: "hooks/pre-auto-gc",
        contents: RUNS,
        errno: HELD,
        later: "git hook run pre-auto-gc",
    },
];

fn on_host(who: Who, workspace: &Workspace, script: &str) {
    let mut shell = Command::new("/bin/sh");
    shell
        .args(["-ec", script])
        .current_dir(workspace.path())
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1");
    become_who(&mut shell, who);
    let output = shell.output().expect("a shell");
    assert!(output.status.success(), "{script}: {output:?}");
}

/// Python that writes a file with its directories, as far as it may.
fn writes(target: &str, contents: &str) -> String {
    format!(
        r#"
def go():
    d = os.path.dirname({target:?})
    if d:
        os.makedirs(d, exist_ok=True)
    fd = os.open({target:?}, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o755)
    os.write(fd, {contents:?}.encode())
    os.close(fd)
    os.chmod({target:?}, 0o755)
say('write', py(go))
"#
    )
}

each!(what_gits_configuration_names_is_not_the_jails);
fn what_gits_configuration_names_is_not_the_jails(who: Who) {
    need("git");
    for way in WAYS {
        let body = writes(way.target, way.contents);
        let workspace = Workspace::new(who);
        on_host(who, &workspace, way.setup);
        let with = policy(&workspace, "");
        let got = attack(Run::new(who, &workspace).policy(with), &body);
        let errno = got.of("write");
        assert!(way.errno.contains(&errno), "{} {who:?}: {errno}", way.name);
        on_host(who, &workspace, &format!("{} || true", way.later));
        let ran = workspace.path().join("pwned").exists();
        assert!(!ran, "{} {who:?}: git ran it", way.name);
        let first = way.target.split('/').next().expect("a name");
        let there = workspace.path().join(first);
        let was = way.errno == HELD;
        assert_eq!(there.exists(), was, "{} {who:?}: left behind", way.name);
    }
}

each!(what_is_excepted_is_the_jails_and_git_runs_it);
fn what_is_excepted_is_the_jails_and_git_runs_it(who: Who) {
    need("git");
    for way in WAYS {
        let workspace = Workspace::new(who);
        on_host(who, &workspace, way.setup);
        // All that is on the way to it, in whatever spelling it was named.
        let names = ["", ".git/"].map(|under| {
            let mut path = format!("$WORKSPACE/{under}");
            let parts = way.target.split('/').map(|part| {
                path = format!("{}/{part}", path.trim_end_matches('/'));
                path.clone()
            });
            parts.collect::<Vec<String>>()
        });
        let lines = format!("unprotect = {:?}", names.concat());
        let run = Run::new(who, &workspace).policy(policy(&workspace, &lines));
        let got = attack(run, &writes(way.target, way.contents));
        assert_eq!(got.of("write"), "OK", "{} {who:?}", way.name);
        on_host(who, &workspace, &format!("{} || true", way.later));
        let ran = workspace.path().join("pwned").exists();
        assert!(ran, "{} {who:?}: the attack is none", way.name);
    }
}

each!(what_the_callers_configuration_names_is_held_and_said);
/// The caller's own configuration leads into every repository.
fn what_the_callers_configuration_names_is_held_and_said(who: Who) {
    need("git");
    let workspace = Workspace::new(who);
    let global = workspace.outside().join("global");
    std::fs::write(&global, "[core]\n\thooksPath = .githooks\n").expect("write");
    on_host(who, &workspace, "git init -q .");
    let run = || {
        Run::new(who, &workspace)
            .policy(policy(&workspace, ""))
            .outer_env("GIT_CONFIG_GLOBAL", &global)
    };
    let got = attack(run(), &writes(".githooks/x", RUNS));
    assert!(WITHHELD.contains(&got.of("write")), "{got:#?}");
    let said = run().flags(["-v"]).sh("true").ok().stderr;
    let wanted = format!("core.hookspath in {}:2", global.display());
    assert!(said.contains(&wanted), "{said}");
    // The control: without that configuration the name is the jail's, and without a repository too.
    let without = Run::new(who, &workspace).policy(policy(&workspace, ""));
    let without = without.outer_env("GIT_CONFIG_GLOBAL", "/dev/null");
    attack(without, &writes(".githooks/x", RUNS)).expect(&[("write", "OK")]);
    let bare = Workspace::new(who);
    let none = Run::new(who, &bare).policy(policy(&bare, ""));
    let none = none.outer_env("GIT_CONFIG_GLOBAL", &global);
    attack(none, &writes(".githooks/x", RUNS)).expect(&[("write", "OK")]);
}

each!(what_the_environment_names_is_held);
/// Variables of the environment count as a file does.
fn what_the_environment_names_is_held(who: Who) {
    need("git");
    let workspace = Workspace::new(who);
    on_host(who, &workspace, "git init -q .");
    let outside = workspace.outside();
    let conf = "[core]\n\thooksPath = .githooks\n";
    for (file, text) in [
        ("opt/bin/git", ""),
        ("opt/etc/gitconfig", conf),
        ("system", conf),
    ] {
        let file = outside.join(file);
        std::fs::create_dir_all(file.parent().expect("a directory")).expect("mkdir");
        std::fs::write(file, text).expect("write");
    }
    let path = std::env::var("PATH").expect("a path");
    let path = format!("{}:{path}", outside.join("opt/bin").display());
    let system = outside.join("system").display().to_string();
    let include = format!("'include.path'='{system}'");
    type Variables<'a> = &'a [(&'a str, &'a str)];
    let ways: [(&str, Variables<'_>, &str); 7] = [
        (
            "GIT_CONFIG_KEY_1",
            &[
                ("GIT_CONFIG_COUNT", "2"),
                ("GIT_CONFIG_KEY_0", "user.name"),
                ("GIT_CONFIG_VALUE_0", "x"),
                ("GIT_CONFIG_KEY_1", "core.hooksPath"),
                ("GIT_CONFIG_VALUE_1", ".githooks"),
            ],
            ".githooks/x",
        ),
        (
            "GIT_CONFIG_PARAMETERS",
            &[("GIT_CONFIG_PARAMETERS", "'core.hooksPath'='.githooks'")],
            ".githooks/x",
        ),
        (
            "system:2",
            &[("GIT_CONFIG_PARAMETERS", &include)],
            ".githooks/x",
        ),
        ("system:2", &[("GIT_CONFIG_SYSTEM", &system)], ".githooks/x"),
        ("opt/etc/gitconfig:2", &[("PATH", &path)], ".githooks/x"),
        (
            "GIT_EXTERNAL_DIFF",
            &[("GIT_EXTERNAL_DIFF", "tools/x")],
            "tools/x",
        ),
        ("EDITOR", &[("EDITOR", "sh tools/x")], "tools/x"),
    ];
    for (says, variables, target) in ways {
        let run = || {
            let run = Run::new(who, &workspace).policy(policy(&workspace, ""));
            variables
                .iter()
                .fold(run, |run, (name, value)| run.outer_env(name, value))
        };
        let got = attack(run(), &writes(target, RUNS));
        let errno = got.of("write");
        assert!(WITHHELD.contains(&errno), "{says} {who:?}: {errno}");
        let said = run().flags(["-v"]).sh("true").ok().stderr;
        assert!(said.contains(says), "{says} {who:?}: {said}");
    }
    // The control: without them both names are the jail's.
    let run = Run::new(who, &workspace).policy(policy(&workspace, ""));
    attack(run, &writes(".githooks/x", RUNS)).expect(&[("write", "OK")]);
    let run = Run::new(who, &workspace).policy(policy(&workspace, ""));
    attack(run, &writes("tools/x", RUNS)).expect(&[("write", "OK")]);
}

each!(the_callers_configuration_itself_is_not_made);
/// Also where there is no repository and no such file yet.
fn the_callers_configuration_itself_is_not_made(who: Who) {
    let workspace = Workspace::new(who);
    let run = |global: &str| {
        Run::new(who, &workspace)
            .policy(policy(&workspace, ""))
            .outer_env("GIT_CONFIG_GLOBAL", workspace.path().join(global))
    };
    let got = attack(run("conf/git"), &writes("conf/git", RUNS));
    assert!(WITHHELD.contains(&got.of("write")), "{got:#?}");
    attack(run("other"), &writes("conf/git", RUNS)).expect(&[("write", "OK")]);
    attack(run("conf/git"), &writes("conf/git", RUNS)).expect(&[("write", "EROFS")]);
}

each!(a_link_on_the_way_to_what_git_obeys_is_refused);
/// A link that the jail could turn is no way to hold what it leads to.
fn a_link_on_the_way_to_what_git_obeys_is_refused(who: Who) {
    need("git");
    let workspace = Workspace::new(who);
    let setup = "git init -q . && git config core.hooksPath .githooks && mkdir real && ln -s real .githooks";
    on_host(who, &workspace, setup);
    let run = |lines: &str| Run::new(who, &workspace).policy(policy(&workspace, lines));
    refused(&run("").sh("true"), "could change the symbolic link");
    // Also where another name leads there without it, and where it leads round.
    let twice = "git config include.path ../real";
    on_host(who, &workspace, twice);
    refused(&run("").sh("true"), "could change the symbolic link");
    let round = Workspace::new(who);
    let setup = "git init -q . && git config core.hooksPath .githooks && ln -s .githooks .githooks";
    on_host(who, &round, setup);
    let ran = Run::new(who, &round).policy(policy(&round, "")).sh("true");
    refused(&ran, "could change the symbolic link");
    on_host(
        who,
        &round,
        "rm .githooks && mkdir -p .git/hooks && ln -s x .git/hooks/x",
    );
    Run::new(who, &round)
        .policy(policy(&round, ""))
        .sh("true")
        .ok();
    run(r#"unprotect = ["$WORKSPACE/real"]"#).sh("true").ok();
}

each!(a_repository_stays_one_and_works);
/// git works where all of it is held, and nothing of its repository can be moved away.
fn a_repository_stays_one_and_works(who: Who) {
    need("git");
    let body = r#"
import subprocess
git = lambda *a: subprocess.run(['/usr/bin/git', '-c', 'user.name=a', '-c', 'user.email=a@b', *a], capture_output=True, text=True)
say('objects', py(os.rename, '.git/objects', '.git/o'))
say('refs', py(os.rename, '.git/refs', '.git/r'))
say('swap', sc(316, -100, b'.git/refs', -100, b'.git/branches', 2))
say('gone', py(os.rmdir, '.git/refs'))
open('f', 'w').write('x')
for step in ['add .', 'commit -qm one', 'branch b', 'checkout -q b', 'commit -qm two --allow-empty', 'tag t',
             'pack-refs --all', 'repack -adq', 'reflog', 'stash list', 'fsck', 'worktree add -q side',
             'clone -q . copy']:
    say(step, git(*step.split()).returncode)
say('log', git('log', '--format=%s').stdout.replace('\n', ' '))
"#;
    let workspace = Workspace::new(who);
    on_host(who, &workspace, "git init -q . && mkdir -p .git/branches");
    let got = attack(Run::new(who, &workspace), body);
    for name in ["objects", "refs", "swap", "gone"] {
        got.expect(&[(name, "EBUSY")]);
    }
    for (step, answer) in &got.0 {
        assert!(
            ["EBUSY", "0"].contains(&answer.as_str()) || step == "log",
            "{step}: {got:#?}"
        );
    }
    got.expect(&[("log", "two one ")]);
    on_host(who, &workspace, "git status && git fsck");
    // The control: without a mount over them they can be moved.
    let free = Workspace::new(who);
    on_host(who, &free, "mkdir -p .other/objects");
    let moved = "say('objects', py(os.rename, '.other/objects', '.other/o'))";
    attack(Run::new(who, &free), moved).expect(&[("objects", "OK")]);
}
