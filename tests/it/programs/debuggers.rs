//! gdb and the sanitizers, which trace: `process.debug`.

use super::coding;
use crate::support::{Run, Who, Workspace, need};

const PROGRAM: &str = r#"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
static int answer(int a) { return a * 2; }
static void *work(void *p) { *(int *)p = answer(21); return 0; }
int main(int argc, char **argv) {
    pthread_t thread;
    int *got = malloc(sizeof *got);
    pthread_create(&thread, 0, work, got);
    pthread_join(thread, 0);
    printf("%d\n", *got);
    if (argc < 2) free(got);
    got = 0;
    return 0;
}
"#;

each!(gdb_stops_in_a_thread_and_reads_its_variables);
fn gdb_stops_in_a_thread_and_reads_its_variables(who: Who) {
    need("gcc");
    need("gdb");
    let workspace = Workspace::new(who);
    workspace.write("p.c", PROGRAM);
    let ran = coding(
        who,
        &workspace,
        "gcc -g -O0 -pthread -o p p.c; gdb -q -batch -ex 'break answer' -ex run -ex 'print a' -ex backtrace -ex 'set var a = 5' -ex continue ./p 2>&1",
    );
    for told in ["$1 = 21", "answer (a=21)", "\n10\n", "exited normally"] {
        assert!(ran.stdout.contains(told), "{told}: {}", ran.stdout);
    }
    assert!(
        !ran.stdout.contains("disabling address space randomization"),
        "{}",
        ran.stdout
    );
}

each!(gdb_attaches_to_a_process_of_the_jail);
fn gdb_attaches_to_a_process_of_the_jail(who: Who) {
    need("gdb");
    let workspace = Workspace::new(who);
    let script = "sleep 1000 & gdb -q -batch -ex 'info proc' -p $! 2>&1; kill $!";
    let ran = coding(who, &workspace, script);
    assert!(ran.stdout.contains("exe = '/usr/bin/"), "{}", ran.stdout);
}

each!(strace_is_refused_and_says_of_what);
/// It asks for each tracee's last stop, which two processes could keep each other in for ever.
fn strace_is_refused_and_says_of_what(who: Who) {
    need("strace");
    let workspace = Workspace::new(who);
    let script = "strace -o log /bin/true 2>&1 || echo refused";
    let ran = coding(who, &workspace, script);
    assert!(
        ran.stdout.contains("PTRACE_SEIZE") && ran.stdout.contains("Operation not permitted"),
        "{}",
        ran.stdout
    );
}

each!(a_program_with_address_sanitizer_ends_well_and_its_leaks_are_found);
fn a_program_with_address_sanitizer_ends_well_and_its_leaks_are_found(who: Who) {
    need("gcc");
    let workspace = Workspace::new(who);
    workspace.write("p.c", PROGRAM);
    let script = "gcc -g -fsanitize=address,undefined -pthread -o p p.c; ./p; ./p leak 2>leaks || echo $?; grep -c 'LeakSanitizer: detected' leaks";
    // 1: found by AddressSanitizer's exit, before what was printed is written.
    assert_eq!(coding(who, &workspace, script).stdout, "42\n1\n1\n");

    // Without the key its leak check ends the program.
    let text = "extends = ['coding']\n[process]\ndebug = false\n";
    let ran = Run::new(who, &workspace)
        .policy_text(&workspace, "none", text)
        .argv(["./p"]);
    let fatal = ran
        .stderr
        .contains("LeakSanitizer has encountered a fatal error");
    assert!(ran.status == 1 && fatal, "{ran:#?}");
}
