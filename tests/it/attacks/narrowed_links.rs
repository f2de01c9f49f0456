//! A checkout brings a policy, which only narrows, and a link: what the policy names in the tree that
//! somebody else granted must lie there.

use std::os::unix::fs::symlink;

use super::{attack, refused};
use crate::support::{Run, Who, Workspace};

/// A tree without a grant, a link to it in the workspace, and one in a directory beside it.
fn prepared(who: Who) -> Workspace {
    let workspace = Workspace::new(who);
    let out = workspace.outside();
    for dir in ["private", "data/real"] {
        std::fs::create_dir_all(out.join(dir)).expect("mkdir -p");
        std::fs::write(out.join(dir).join("key"), "secret").expect("write");
        std::fs::copy("/usr/bin/true", out.join(dir).join("tool")).expect("copy");
    }
    symlink(out.join("private"), workspace.path().join("keys")).expect("symlink");
    symlink(out.join("private/tool"), workspace.path().join("tool")).expect("symlink");
    symlink(out.join("private"), out.join("data/out")).expect("symlink");
    symlink("real", out.join("data/in")).expect("symlink");
    workspace
}

fn run(who: Who, workspace: &Workspace, project: &str, operator: &str) -> Run {
    let place = |text: &str| text.replace("OUT", workspace.outside().to_str().expect("text"));
    workspace.write(".creel/policy.toml", &place(project));
    let run = Run::new(who, workspace);
    match operator {
        "" => run,
        text => run.policy_text(
            workspace,
            "operator",
            &format!("extends = ['default']\n{}", place(text)),
        ),
    }
}

each!(a_narrower_layer_leads_out_of_nothing_by_a_link);
fn a_narrower_layer_leads_out_of_nothing_by_a_link(who: Who) {
    const SYSTEM: &str = "'/usr', '/bin', '/lib', '/lib64'";
    let workspace = prepared(who);
    for (operator, project) in [
        (
            "",
            "filesystem.workspace = 'ro'\nfilesystem.exec = [SYSTEM, '$WORKSPACE/keys']",
        ),
        (
            "",
            "filesystem.workspace = 'ro'\n[tools.read]\nallowed_paths = [SYSTEM, '$WORKSPACE/keys']",
        ),
        (
            "",
            "filesystem.workspace = 'ro'\ntools.exec.commands = ['true', '$WORKSPACE/tool']",
        ),
        (
            "filesystem.read = ['OUT/data']",
            "filesystem.read = ['OUT/data/out']",
        ),
        (
            "filesystem.read = ['OUT/data']",
            "filesystem.read = ['OUT/data/out/key']",
        ),
    ] {
        let project = project.replace("SYSTEM", SYSTEM);
        let ran = run(who, &workspace, &project, operator).argv(["/usr/bin/true"]);
        refused(&ran, "is a symbolic link out of");
    }
    let key = workspace.outside().join("private/key");
    let body = format!("say('key', opened('{}', os.O_RDONLY))", key.display());
    // The controls: a link that stays inside, and the operator's own word for the other.
    for (operator, project, answer) in [
        (
            "filesystem.read = ['OUT/data']",
            "filesystem.read = ['OUT/data/in', '/etc']",
            "ENOENT",
        ),
        (
            "filesystem.read = ['OUT/data/out']",
            "filesystem.read = ['OUT/data/out']",
            "OK",
        ),
        (
            "filesystem.read = ['OUT/data', 'OUT/private']",
            "filesystem.read = ['OUT/data/out', 'OUT/private']",
            "OK",
        ),
        ("filesystem.read = ['OUT/data/out']", "", "OK"),
    ] {
        let got = attack(run(who, &workspace, project, operator), &body);
        got.expect(&[("key", answer)]);
    }
}
