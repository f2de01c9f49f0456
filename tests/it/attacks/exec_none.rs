//! `tools.deny = ["exec"]`: the command that creel starts runs, and can execute nothing else.

use crate::attacks::exec_allowlist::extensions;
use crate::attacks::{attack, refused};
use crate::support::{Run, Who, Workspace, need};

fn worker(who: Who, workspace: &Workspace) -> Run {
    let text = format!(
        r#"[filesystem]
exec = ["/usr", {{ path = "/bin", optional = true }}, {{ path = "/lib", optional = true }}, {{ path = "/lib64", optional = true }}, "$WORKSPACE"]
load = [{:?}]
[tools]
deny = ["exec"]
[environment]
set = {{ PATH = "/usr/bin:/bin" }}
"#,
        extensions()
    );
    Run::new(who, workspace).policy_text(workspace, "worker", &text)
}

each!(a_worker_executes_nothing_but_itself);
fn a_worker_executes_nothing_but_itself(who: Who) {
    let body = r#"
import shutil, subprocess
def run(*argv):
    return py(lambda: subprocess.run(argv, check=False, capture_output=True))
shutil.copy('/bin/true', 'copy'); os.chmod('copy', 0o755)
for name, argv in [('shell', ['/bin/sh', '-c', ':']), ('true', ['/bin/true']), ('copy', ['./copy']), ('itself', [sys.executable, '-c', ''])]:
    say(name, run(*argv))
say('system', os.waitstatus_to_exitcode(os.system('true')))
say('memfd', py(lambda: os.memfd_create('x')))
"#;
    let workspace = Workspace::new(who);
    attack(worker(who, &workspace), body).expect(&[
        ("shell", "EACCES"),
        ("true", "EACCES"),
        ("copy", "EACCES"),
        ("system", "127"),
        ("memfd", "EPERM"),
        ("itself", "OK"),
    ]);
    let workspace = Workspace::new(who);
    attack(Run::new(who, &workspace), body).expect(&[
        ("shell", "OK"),
        ("true", "OK"),
        ("copy", "OK"),
        ("system", "0"),
        ("memfd", "OK"),
    ]);
}

each!(a_worker_may_be_static_or_dynamic);
/// One program linked either way: it executes argv[1] and tells the errno.
fn a_worker_may_be_static_or_dynamic(who: Who) {
    need("gcc");
    let workspace = Workspace::new(who);
    let source = workspace.write(
        "w.c",
        "#include <unistd.h>\n#include <errno.h>\n#include <stdio.h>\n
             int main(int c, char **v) { execv(v[1], v + 1); printf(\"%d\\n\", errno); return 0; }",
    );
    for (name, flags) in [("dynamic", vec![]), ("static", vec!["-static"])] {
        let program = workspace.write(name, "");
        let built = std::process::Command::new("gcc")
            .args(flags)
            .arg("-o")
            .args([&program, &source])
            .status()
            .expect("gcc starts");
        assert!(built.success());
        let argv = [format!("./{name}"), "/bin/echo".into(), "hello".into()];
        let ran = worker(who, &workspace).argv(&argv).ok();
        assert_eq!(ran.stdout, "13\n", "{name}: EACCES");
        let ran = Run::new(who, &workspace).argv(&argv).ok();
        assert_eq!(ran.stdout, "hello\n", "{name}");
    }
}

each!(a_worker_that_is_a_script_or_not_granted_does_not_run);
fn a_worker_that_is_a_script_or_not_granted_does_not_run(who: Who) {
    let workspace = Workspace::new(who);
    workspace.write("script", "#!/bin/sh\necho no\n");
    refused(
        &worker(who, &workspace).argv(["./script"]),
        "its interpreter /bin/sh may not be executed",
    );
    let outside = workspace.outside().join("true");
    std::fs::copy("/usr/bin/true", &outside).expect("copy");
    let ran = worker(who, &workspace).argv([&outside]);
    assert_eq!(ran.status, 127, "{ran:#?}");
}
