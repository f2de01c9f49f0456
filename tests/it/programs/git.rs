//! git: a repository made, committed to and cloned.

use super::{belongs_to_its_owner, coding};
use crate::support::{Run, Who, Workspace, need};

const COMMIT: &str = "
git init -q -b main one
cd one
git config user.name Tester
git config user.email tester@example.org
echo hello > file
git add file
git commit -q -m 'First commit'
";

each!(git_initialises_commits_and_clones);
fn git_initialises_commits_and_clones(who: Who) {
    need("git");
    let workspace = Workspace::new(who);
    let ran = coding(
        who,
        &workspace,
        &format!(
            "{COMMIT} cd ..; git clone -q one two; git -C two log --format='%an: %s'; cat two/file"
        ),
    );
    assert_eq!(ran.stdout, "Tester: First commit\nhello\n");
    belongs_to_its_owner(who, &workspace);
}

each!(git_diffs_branches_merges_and_checks_itself);
fn git_diffs_branches_merges_and_checks_itself(who: Who) {
    need("git");
    let workspace = Workspace::new(who);
    let script = "
            git checkout -q -b side; echo side >> file; git commit -qam Side
            git checkout -q main; echo other > other; git add other; git commit -qm Other
            git merge -q --no-edit side; git gc -q; git fsck --strict 2>/dev/null
            git worktree add -q ../tree side; cat ../tree/file; git status --short; git diff --stat HEAD~1";
    let ran = coding(who, &workspace, &format!("{COMMIT}{script}"));
    assert!(ran.stdout.starts_with("hello\nside\n"), "{ran:#?}");
    assert!(ran.stdout.contains("1 insertion(+)"), "{ran:#?}");
    belongs_to_its_owner(who, &workspace);
}

each!(git_takes_the_identity_that_the_policy_passes);
/// The variables that the policy passes overrule the host's configuration, and without either there is none.
fn git_takes_the_identity_that_the_policy_passes(who: Who) {
    need("git");
    let workspace = Workspace::new(who);
    let script =
        "git init -q r; cd r; git commit -q --allow-empty -m x; git log --format='%an <%ae>'";
    let run = || {
        let run = Run::new(who, &workspace).policy("coding");
        run.outer_env("GIT_CONFIG_GLOBAL", "/dev/null")
    };
    let named = [
        "AUTHOR_NAME",
        "AUTHOR_EMAIL",
        "COMMITTER_NAME",
        "COMMITTER_EMAIL",
    ]
    .iter()
    .fold(run(), |run, name| {
        run.outer_env(&format!("GIT_{name}"), "me@here")
    });
    assert_eq!(
        named.argv(["/bin/sh", "-ec", script]).ok().stdout,
        "me@here <me@here>\n"
    );
    let nameless = run().argv(["/bin/sh", "-ec", script]);
    assert_ne!(nameless.status, 0, "{nameless:#?}");
    assert!(
        nameless.stderr.contains("tell me who you are"),
        "{nameless:#?}"
    );
}
