//! Files that creel reads and writes for the caller, in the jail's reach: policies that rule the next run, and
//! the log of decisions, whose words the jail chooses.

use std::os::unix::fs::symlink;

use crate::attacks::attack;
use crate::support::{Run, Who, Workspace};

const GRANTS: &str = "[filesystem]\nworkspace = \"rw\"\n";

each!(a_policy_in_the_workspace_is_not_the_jails_to_change);
/// The first example of every handbook: a policy beside the code that it is for.
fn a_policy_in_the_workspace_is_not_the_jails_to_change(who: Who) {
    let workspace = Workspace::new(who);
    workspace.write(
        "rules/base.toml",
        &format!("extends = [\"default\"]\n{GRANTS}"),
    );
    workspace.write("agent.toml", "extends = [\"rules/base.toml\"]\n");
    workspace.write("notes.toml", "");
    let run = Run::new(who, &workspace)
        .cwd(workspace.path())
        .policy("agent.toml");
    let got = attack(
        run,
        r#"
for name, p in [('agent', 'agent.toml'), ('base', 'rules/base.toml'), ('notes', 'notes.toml')]:
    say(name + '_write', opened(p, os.O_WRONLY | os.O_APPEND))
    say(name + '_chmod', py(os.chmod, p, 0o600))
    beside = os.path.join(os.path.dirname(p), 'new')
    open(beside, 'w').close()
    say(name + '_over', py(os.rename, beside, p))
    say(name + '_away', py(os.rename, p, beside))
    if not os.path.exists(p): open(p, 'w').close()
    say(name + '_unlink', py(os.unlink, p))
say('parent', py(os.rename, 'rules', 'other'))
"#,
    );
    for name in ["agent", "base"] {
        got.expect(&[
            (&format!("{name}_write"), "EROFS"),
            (&format!("{name}_chmod"), "EROFS"),
            (&format!("{name}_over"), "EBUSY"),
            (&format!("{name}_away"), "EBUSY"),
            (&format!("{name}_unlink"), "EBUSY"),
        ]);
    }
    got.expect(&[("parent", "EBUSY")]);
    for act in ["write", "chmod", "over", "away", "unlink"] {
        got.expect(&[(&format!("notes_{act}"), "OK")]);
    }
}

each!(a_policy_behind_a_link_in_the_workspace_is_refused);
/// A link could be turned to another policy.
fn a_policy_behind_a_link_in_the_workspace_is_refused(who: Who) {
    let workspace = Workspace::new(who);
    workspace.write("real.toml", &format!("extends = [\"default\"]\n{GRANTS}"));
    symlink("real.toml", workspace.path().join("link.toml")).expect("a link");
    let run = |name: &str| {
        Run::new(who, &workspace)
            .cwd(workspace.path())
            .policy(name)
            .sh("true")
    };
    let refused = run("link.toml");
    assert_eq!(refused.status, 125, "{refused:#?}");
    assert!(refused.stderr.contains("link.toml"), "{refused:#?}");
    workspace.write("deep/er/x", "");
    workspace.write("deep/real.toml", "extends = [\"default\"]\n");
    symlink("deep/er", workspace.path().join("door")).expect("a link");
    for name in ["door/../real.toml", "deep/../door/../real.toml"] {
        let refused = run(name);
        assert_eq!(refused.status, 125, "{refused:#?}");
        assert!(refused.stderr.contains("symbolic link"), "{refused:#?}");
    }
    workspace.write("../outside.toml", "extends = [\"default\"]\n");
    for name in [
        "real.toml",
        "../outside.toml",
        "deep/../real.toml",
        "deep/er/../../real.toml",
    ] {
        run(name).ok();
    }
}

each!(a_log_in_the_jails_reach_is_refused);
fn a_log_in_the_jails_reach_is_refused(who: Who) {
    let workspace = Workspace::new(who);
    let victim = workspace.write("../victim", "");
    let victim = victim.canonicalize().expect("a path");
    let log = |path: &str| {
        Run::new(who, &workspace)
            .cwd(workspace.path())
            .flags(["--log-net", path, "--allow-net", "a.example"])
            .sh("true")
    };
    let refused = |path: &str, why: &str| {
        let ran = log(path);
        assert_eq!(ran.status, 125, "{path}: {ran:#?}");
        assert!(ran.stderr.contains(why), "{path}: {ran:#?}");
    };
    // Left by an earlier run.
    workspace.write("deep/net.log", "");
    symlink(&victim, workspace.path().join("planted")).expect("a link");
    for path in ["net.log", "deep/net.log", "planted", "../work/net.log"] {
        refused(path, "the jail could change it");
    }
    assert!(!workspace.path().join("net.log").exists());
    // By another name of the same directory.
    let alias = workspace.outside().join("alias");
    symlink(workspace.path(), &alias).expect("a link");
    refused("../alias/net.log", "the jail could change it");
    symlink(&victim, workspace.outside().join("link.log")).expect("a link");
    refused("../link.log", "it is a symbolic link");
    let twin = workspace.outside().join("twin.log");
    std::fs::hard_link(&victim, &twin).expect("a link");
    refused("../twin.log", "it has another name");
    std::fs::remove_file(&twin).expect("unlink");
    // The controls: out of reach, and the kernel's own.
    for path in ["../victim", "/dev/null"] {
        log(path).ok();
    }
}

each!(a_link_that_a_jail_left_leads_no_file_of_creels_out);
/// A directory of the workspace that an earlier run turned into a link.
fn a_link_that_a_jail_left_leads_no_file_of_creels_out(who: Who) {
    let workspace = Workspace::new(who);
    let victim = workspace.write("../victims/verdict.json", "important");
    let read = || std::fs::read_to_string(&victim).expect("a file");
    let victims = victim.parent().expect("a directory").to_path_buf();
    symlink(&victims, workspace.path().join("out")).expect("a link");
    symlink(&victims, workspace.outside().join("out")).expect("a link");
    let run = |flags: [&str; 2]| {
        Run::new(who, &workspace)
            .cwd(workspace.path())
            .flags(flags)
            .flags(["--allow-net", "a.example"])
            .sh("true")
    };
    for option in ["--log-net", "--status-file"] {
        for path in ["out/verdict.json", "../work/out/verdict.json"] {
            let ran = run([option, path]);
            assert_eq!(ran.status, 125, "{ran:#?}");
            assert!(
                ran.stderr
                    .contains("is a symbolic link that the jail could change"),
                "{ran:#?}"
            );
            assert_eq!(read(), "important");
        }
    }
    // The control: a link that no jail could have made.
    run(["--log-net", "../out/net.log"]).ok();
    assert!(victims.join("net.log").exists());
    run(["--status-file", "../out/verdict.json"]).ok();
    assert!(read().starts_with('{'));
}

each!(a_log_into_a_pipe_holds_no_run);
/// A log into a pipe: nothing waits for a reader that is not there, and a run ends where one does not read.
fn a_log_into_a_pipe_holds_no_run(who: Who) {
    use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, open};
    let workspace = Workspace::new(who);
    let pipe = workspace.outside().join("log");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::from(0o666), 0).expect("mkfifo");
    let (uid, gid, _) = who.account();
    std::os::unix::fs::chown(&pipe, Some(uid), Some(gid)).expect("chown");
    let run = || {
        let log = ["--log-net".as_ref(), pipe.as_os_str()];
        let run = Run::new(who, &workspace).flags(log);
        run.flags(["--allow-net", "a.example", "--timeout", "2s"])
    };
    let ran = run().sh("touch ran");
    assert_eq!(ran.status, 125, "{ran:#?}");
    assert!(ran.stderr.contains("a pipe without a reader"), "{ran:#?}");
    assert!(!workspace.path().join("ran").exists());
    let reader = open(&pipe, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()).expect("open");
    run().sh("getent hosts b.example || true").ok();
    let mut last = [0; 4096];
    let length = rustix::io::read(&reader, &mut last).expect("a line");
    assert!(last[..length].starts_with(b"{"));
    let filler = open(&pipe, OFlags::WRONLY | OFlags::NONBLOCK, Mode::empty()).expect("open");
    while rustix::io::write(&filler, &[b' '; 4096]).is_ok() {}
    let ran = run().sh("getent hosts b.example; exec sleep 60");
    assert_eq!(ran.status, 124, "{ran:#?}");
}

each!(a_secret_in_a_file_that_the_jail_reads_is_refused);
/// A secret that the jail is to use and never has.
fn a_secret_in_a_file_that_the_jail_reads_is_refused(who: Who) {
    let workspace = Workspace::new(who);
    let inside = workspace.write("token", "sk-abcdefgh12345");
    let outside = workspace.write("../token", "sk-abcdefgh12345");
    let run = |file: &std::path::Path, filesystem: &str| {
        let text = format!(
            "extends = [\"default\"]\n{filesystem}\n[network]\nmode = \"allowlist\"\n\
             allow = [{{ host = \"a.example\", tls = \"terminate\" }}]\n\
             [[network.credentials]]\nhost = \"a.example\"\nheader = \"authorization\"\n\
             variable = \"TOKEN\"\nsecret = {{ file = {:?} }}\n",
            file.canonicalize().expect("a path"),
        );
        Run::new(who, &workspace)
            .policy_text(&workspace, "credential.toml", &text)
            .cwd(workspace.path())
            .sh("cat token")
    };
    let refused = run(&inside, "");
    assert_eq!(refused.status, 125, "{refused:#?}");
    assert!(
        refused.stderr.contains("the jail could read the secret"),
        "{refused:#?}"
    );
    // The controls: denied to the jail, and out of its reach.
    let denied = run(&inside, "[filesystem]\ndeny = [\"$WORKSPACE/token\"]");
    assert!(denied.stderr.contains("Permission denied"), "{denied:#?}");
    assert_eq!((denied.status, denied.stdout.as_str()), (1, ""));
    run(&outside, "").ok();
}

each!(a_secret_in_a_variable_that_the_jail_gets_is_refused);
fn a_secret_in_a_variable_that_the_jail_gets_is_refused(who: Who) {
    let workspace = Workspace::new(who);
    let run = |environment: &str| {
        let text = format!(
            "extends = [\"default\"]\n[environment]\n{environment}\n[network]\nmode = \"allowlist\"\n\
             allow = [{{ host = \"a.example\", tls = \"terminate\" }}]\n\
             [[network.credentials]]\nhost = \"a.example\"\nheader = \"authorization\"\n\
             variable = \"TOKEN\"\nsecret = {{ env = \"REAL_TOKEN\" }}\n",
        );
        let run = Run::new(who, &workspace).policy_text(&workspace, "credential.toml", &text);
        run.outer_env("REAL_TOKEN", "sk-abcdefgh12345")
            .sh("echo ${REAL_TOKEN-none}")
    };
    let refused = run("pass = [\"REAL_TOKEN\"]");
    assert_eq!(refused.status, 125, "{refused:#?}");
    assert!(
        refused.stderr.contains("the jail would get the secret"),
        "{refused:#?}"
    );
    // The control: it is used, and not handed on.
    assert_eq!(run("pass = []").ok().stdout, "none\n");
}
