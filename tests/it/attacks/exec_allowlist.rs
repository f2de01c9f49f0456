//! `tools.exec.security = "allowlist"`: the named programs and what they load execute, nothing else does,
//! under whatever name and through whatever loader. The control of each attempt is the same act with
//! a program that is named, or the same act without the list.

use crate::attacks::{attack, refused};
use crate::support::{Run, Who, Workspace, libc_alone, need};

/// The system's trees, python with its extension modules, and `programs`.
fn policy(programs: Option<&[&str]>) -> String {
    let tools = match programs {
        Some(programs) => format!("[tools.exec]\nsecurity = 'allowlist'\ncommands = {programs:?}"),
        None => String::new(),
    };
    format!(
        r#"[filesystem]
exec = ["/usr", {{ path = "/bin", optional = true }}, {{ path = "/lib", optional = true }}, {{ path = "/lib64", optional = true }}, "$WORKSPACE", "/tmp", "~"]
load = [{:?}]
{tools}
[environment]
set = {{ PATH = "/usr/bin:/bin" }}
"#,
        extensions()
    )
}

/// Directory of the system python's extension modules.
pub fn extensions() -> String {
    need("python3");
    let python = std::fs::canonicalize("/usr/bin/python3").expect("python3");
    let version = python
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    let path = format!("/usr/lib/{version}/lib-dynload");
    assert!(std::path::Path::new(&path).is_dir(), "{path} is missing");
    path
}

fn allow(who: Who, workspace: &Workspace, programs: &[&str]) -> Run {
    Run::new(who, workspace).policy_text(workspace, "allow", &policy(Some(programs)))
}

fn granted(who: Who, workspace: &Workspace) -> Run {
    Run::new(who, workspace).policy_text(workspace, "granted", &policy(None))
}

/// `run(path, ...)` answers how execve(2) ended, or with what status the program did.
const TOOLS: &str = r#"
import shutil, subprocess
def run(*argv, **k):
    def go():
        code = subprocess.run(argv, capture_output=True, **k).returncode
        if code: say('status', code); raise OSError(errno.ENOEXEC, '')
    return py(go)
def fexec(fd):
    pid = os.fork()
    if pid == 0:
        try: os.execve(fd, ['true'], {})
        except OSError as e: os._exit(e.errno)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return errno.errorcode.get(code, 'OK' if code == 0 else str(code))
loader = next(p for p in ['/lib64/ld-linux-x86-64.so.2', '/lib/ld-linux-x86-64.so.2'] if os.path.exists(p))
def loads(path, **k):
    return subprocess.run([loader, path], capture_output=True, **k).returncode
"#;

each!(only_the_named_programs_execute_whatever_name_is_tried);
fn only_the_named_programs_execute_whatever_name_is_tried(who: Who) {
    let workspace = Workspace::new(who);
    let body = format!(
        r#"{TOOLS}
say('named', run('/usr/bin/true'))
say('other', run('/usr/bin/false'))
say('other_shell', run('/bin/sh', '-c', 'true'))
say('loader_named', loads('/usr/bin/true'))
say('loader_other', loads('/usr/bin/id'))
say('env_loader', run('/usr/bin/true', env={{'LD_PRELOAD': '/tmp/none.so'}}))
for name, d in [('work', '.'), ('tmp', '/tmp'), ('home', os.path.expanduser('~')), ('shm', '/dev/shm')]:
    p = d + '/copy'
    shutil.copy('/usr/bin/id', p); os.chmod(p, 0o755)
    say(name, run(p))
    say(name + '_loader', loads(p))
    os.rename(p, d + '/true'); say(name + '_renamed', run(d + '/true'))
    os.symlink('/usr/bin/id', d + '/link'); say(name + '_link', run(d + '/link'))
    os.link(d + '/true', d + '/hard'); say(name + '_hard', run(d + '/hard'))
    with open(d + '/true', 'rb') as f:
        say(name + '_fd', fexec(f.fileno()))
    t = os.open(d, os.O_TMPFILE | os.O_RDWR, 0o755)
    os.write(t, open('/usr/bin/true', 'rb').read())
    say(name + '_tmpfile_loader', subprocess.run([loader, '/proc/self/fd/%d' % t], pass_fds=[t], capture_output=True).returncode)
    r = os.open('/proc/self/fd/%d' % t, os.O_RDONLY); os.close(t)
    say(name + '_tmpfile', fexec(r))
    open(d + '/foreign', 'w').write('#!/usr/bin/perl\n'); os.chmod(d + '/foreign', 0o755)
    say(name + '_foreign', run(d + '/foreign'))
    open(d + '/script', 'w').write('#!/usr/bin/true\n'); os.chmod(d + '/script', 0o755)
    say(name + '_script', run(d + '/script'))
    shutil.copy('/usr/lib/x86_64-linux-gnu/libz.so.1' if os.path.exists('/usr/lib/x86_64-linux-gnu/libz.so.1') else '/usr/lib64/libz.so.1', d + '/lib.so')
    try: ctypes.CDLL(os.path.abspath(d + '/lib.so')); say(name + '_preload', 'OK')
    except OSError as e: say(name + '_preload', 'refused' if 'map segment' in str(e) else e)
say('named_fd', fexec(os.open('/usr/bin/true', os.O_RDONLY)))
say('other_fd', fexec(os.open('/usr/bin/id', os.O_RDONLY)))
say('memfd', py(lambda: os.memfd_create('x')))
"#
    );
    let programs = ["/usr/bin/python3", "/usr/bin/true"];
    let got = attack(allow(who, &workspace, &programs), &body);
    got.expect(&[
        ("named", "OK"),
        ("named_fd", "OK"),
        ("loader_named", "0"),
        ("env_loader", "OK"),
        ("other", "EACCES"),
        ("other_shell", "EACCES"),
        ("other_fd", "EACCES"),
        ("loader_other", "127"),
        ("memfd", "EPERM"),
    ]);
    for place in ["work", "tmp", "home", "shm"] {
        for how in [
            "", "_renamed", "_link", "_hard", "_fd", "_tmpfile", "_foreign", "_script",
        ] {
            got.expect(&[(&format!("{place}{how}"), "EACCES")]);
        }
        got.expect(&[
            (&format!("{place}_loader"), "127"),
            (&format!("{place}_tmpfile_loader"), "127"),
            (&format!("{place}_preload"), "refused"),
        ]);
    }
    // The control: where grants decide, the same acts succeed.
    let workspace = Workspace::new(who);
    let got = attack(granted(who, &workspace), &body);
    got.expect(&[
        ("other_shell", "OK"),
        ("other_fd", "OK"),
        ("loader_other", "0"),
        ("memfd", "OK"),
    ]);
    for place in ["work", "tmp", "home"] {
        for how in [
            "", "_renamed", "_link", "_hard", "_fd", "_tmpfile", "_script",
        ] {
            got.expect(&[(&format!("{place}{how}"), "OK")]);
        }
        got.expect(&[
            (&format!("{place}_loader"), "0"),
            (&format!("{place}_tmpfile_loader"), "0"),
            (&format!("{place}_preload"), "OK"),
        ]);
    }
}

each!(stdin_from_a_granted_tree_is_no_way_to_load_code);
/// The file behind stdin is on the host's own mount, which has no noexec.
fn stdin_from_a_granted_tree_is_no_way_to_load_code(who: Who) {
    let workspace = Workspace::new(who);
    let run = |file: &std::path::Path| {
        let mut command = allow(who, &workspace, &["/usr/bin/python3"]).command([
            "/usr/bin/python3",
            "-c",
            "print(len(open(0, 'rb').read()))",
        ]);
        command.stdin(std::fs::File::open(file).expect("open"));
        let output = command.output().expect("creel starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.code(),
            text(&output.stdout),
            text(&output.stderr),
        )
    };
    let (code, _, stderr) = run(&workspace.write("data", "abc"));
    assert_eq!(code, Some(125), "{stderr}");
    assert!(
        stderr.contains("stdin is a file in a granted tree"),
        "{stderr}"
    );
    // Elsewhere Landlock forbids to open it again.
    let outside = workspace.outside().join("data");
    std::fs::write(&outside, "abc").expect("write");
    assert_eq!(run(&outside).1, "3\n");
    let piped = allow(who, &workspace, &["/usr/bin/python3"])
        .stdin("abc")
        .python("print(len(open(0, 'rb').read()))");
    assert_eq!(piped.ok().stdout, "3\n");
}

each!(what_cannot_be_named_is_refused_with_the_remedy);
fn what_cannot_be_named_is_refused_with_the_remedy(who: Who) {
    let workspace = Workspace::new(who);
    workspace.write("script", "#!/usr/bin/perl\n");
    workspace.write("text", "plain");
    let (script, text) = ("$WORKSPACE/script", "$WORKSPACE/text");
    let tool = workspace.write("tool", "");
    std::fs::copy("/usr/bin/true", &tool).expect("copy");
    let named = |programs: &[&str]| allow(who, &workspace, programs).argv(["/usr/bin/true"]);
    refused(
        &named(&[script]),
        "its interpreter /usr/bin/perl may not be executed",
    );
    refused(&named(&[text]), "neither a 64-bit ELF program nor a script");
    refused(&named(&["/usr/bin"]), "name the programs in it");
    refused(&named(&["/usr/bin/no-such-program"]), "does not exist");
    named(&[script, "/usr/bin/perl", "/usr/bin/true"]).ok();
    named(&["$WORKSPACE/tool", "/usr/bin/true"]).ok();
    std::fs::hard_link(&tool, workspace.path().join("twin")).expect("link");
    refused(
        &named(&["$WORKSPACE/tool", "/usr/bin/true"]),
        "has a second name",
    );
    let load = |tree: &str| {
        let policy = policy(Some(&["/usr/bin/true"]));
        let policy = policy.replace(&format!("{:?}", extensions()), &format!("{tree:?}"));
        Run::new(who, &workspace)
            .policy_text(&workspace, "load", &policy)
            .argv(["/usr/bin/true"])
    };
    refused(&load("$WORKSPACE"), "which the jail can write to");
    refused(
        &load("/usr/bin/true"),
        "is a program, which a loader would execute",
    );
    refused(&load("/usr/share"), "name the directories in it");
}

each!(a_named_program_in_the_workspace_cannot_be_replaced);
/// A program in a writable tree stays what it was, for this run and for the next.
fn a_named_program_in_the_workspace_cannot_be_replaced(who: Who) {
    let workspace = Workspace::new(who);
    let tool = workspace.write("bin/tool", "");
    std::fs::copy("/usr/bin/true", &tool).expect("copy");
    workspace.write("bin/other", "x");
    let programs = ["/usr/bin/python3", "$WORKSPACE/bin/tool"];
    let body = format!(
        r#"{TOOLS}
say('runs', run('bin/tool'))
say('write', opened('bin/tool', os.O_WRONLY))
say('unlink', py(os.unlink, 'bin/tool'))
say('rename', py(os.rename, 'bin/other', 'bin/tool'))
say('parent', py(os.rename, 'bin', 'old'))
say('link', py(os.link, 'bin/tool', 'bin/twin'))
say('chmod', py(os.chmod, 'bin/tool', 0o4755))
say('beside', wrote('bin/other', b'y'))
"#
    );
    attack(allow(who, &workspace, &programs), &body).expect(&[
        ("runs", "OK"),
        ("write", "EROFS"),
        ("unlink", "EBUSY"),
        ("rename", "EBUSY"),
        ("parent", "EBUSY"),
        ("link", "EXDEV"),
        ("chmod", "EPERM"),
        ("beside", "OK"),
    ]);
}

each!(git_and_python_work_from_a_list);
fn git_and_python_work_from_a_list(who: Who) {
    let workspace = Workspace::new(who);
    let git = allow(who, &workspace, &["/bin/sh", "/usr/bin/git"]).sh(
        "git init -q -b main r && cd r && git config user.name T && git config user.email t@e &&
             echo x > f && git add f && git commit -qm First && git log --format=%s && /usr/bin/id",
    );
    assert_eq!(
        (git.status, git.stdout.as_str()),
        (126, "First\n"),
        "{git:#?}"
    );
    let python = allow(who, &workspace, &["/usr/bin/python3"])
        .python("import ssl, json, sqlite3, hashlib, ctypes, zlib; print(sqlite3.connect(':memory:').execute('select 6*7').fetchone()[0])");
    assert_eq!(python.ok().stdout, "42\n");
}

each!(what_libc_loads_by_itself_comes_with_every_named_program);
/// glibc opens libgcc_s, libidn2 and its converters when they are first needed: no header asks for them.
fn what_libc_loads_by_itself_comes_with_every_named_program(who: Who) {
    let workspace = Workspace::new(who);
    libc_alone::compile(&workspace, "outlives");
    libc_alone::compile(&workspace, "other");
    let run = || {
        allow(
            who,
            &workspace,
            &["/usr/bin/python3", "$WORKSPACE/outlives"],
        )
    };
    assert_eq!(run().argv(["./outlives"]).ok().stdout, libc_alone::C_ANSWER);
    assert_eq!(
        run().python(libc_alone::PYTHON).ok().stdout,
        libc_alone::ANSWER
    );
    // It is loaded, and not executed; the same program without its name neither.
    let body = format!(
        r#"{TOOLS}
import glob
gcc = ctypes.CDLL('libgcc_s.so.1') and [l.split()[-1] for l in open('/proc/self/maps') if 'libgcc_s' in l][0]
converter = next(p for d in ['/usr/lib/x86_64-linux-gnu', '/usr/lib64', '/usr/lib'] for p in glob.glob(d + '/gconv/*.so'))
for name, path in [('gcc', gcc), ('converter', converter)]:
    say(name, run(path))
    say(name + '_write', opened(path, os.O_WRONLY))
    say(name + '_load', py(lambda: ctypes.CDLL(path)))
say('beside', opened(os.path.dirname(converter) + '/new', os.O_WRONLY | os.O_CREAT))
say('other', run('./other'))
"#
    );
    attack(run(), &body).expect(&[
        ("gcc", "EACCES"),
        ("gcc_write", "EACCES"),
        ("gcc_load", "OK"),
        ("converter", "EACCES"),
        ("converter_write", "EACCES"),
        ("converter_load", "OK"),
        ("beside", "EROFS"),
        ("other", "EACCES"),
    ]);
}

each!(converters_that_the_jail_could_write_are_not_loaded);
/// Nobody who may write where converters are gets them mapped as code.
fn converters_that_the_jail_could_write_are_not_loaded(who: Who) {
    let workspace = Workspace::new(who);
    let program = libc_alone::compile(&workspace, "outlives");
    // A libc of the workspace's own, with converters beside it.
    let libc = std::fs::read("/lib/x86_64-linux-gnu/libc.so.6")
        .or_else(|_| std::fs::read("/lib64/libc.so.6"))
        .expect("libc");
    let own = workspace.write("lib/libc.so.6", "");
    std::fs::write(&own, libc).expect("write");
    workspace.write("lib/gconv/gconv-modules", "");
    let patched = std::process::Command::new(need("gcc"))
        .args(["-pthread", "-Wl,-rpath,$ORIGIN/lib", "-o"])
        .arg(&program)
        .arg(workspace.outside().join("outlives.c"))
        .status();
    assert!(patched.expect("gcc").success());
    let plan = allow(who, &workspace, &["$WORKSPACE/outlives"])
        .flags(["--dry-run"])
        .argv(["./outlives"])
        .ok();
    let place = workspace.path().join("lib/gconv");
    let note = format!("{} is writable", place.display());
    assert!(plan.stdout.contains(&note), "{}", plan.stdout);
    assert!(!plan.stdout.contains("ro,load  "), "{}", plan.stdout);
}
