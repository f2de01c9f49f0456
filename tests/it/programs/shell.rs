//! Shells: pipes, jobs, traps, here-documents.

use super::coding;
use crate::support::{Ran, Run, Who, Workspace, need};

#[track_caller]
fn bash(who: Who, workspace: &Workspace, script: &str) -> Ran {
    need("bash");
    Run::new(who, workspace)
        .policy("coding")
        .argv(["/bin/bash", "-c", script])
        .ok()
}

each!(pipes_carry_data_and_pipefail_sees_failures);
fn pipes_carry_data_and_pipefail_sees_failures(who: Who) {
    let workspace = Workspace::new(who);
    let script = "seq 1000 | grep 7 | sort -rn | head -3 | tr '\\n' ' '; echo
            set -o pipefail; false | cat; echo $?; true | cat; echo $?; echo \"${PIPESTATUS[@]}\"
            diff <(echo a) <(echo a) && echo substituted";
    assert_eq!(
        bash(who, &workspace, script).stdout,
        "997 987 979 \n1\n0\n0\nsubstituted\n"
    );
}

each!(job_control_stops_continues_and_waits);
fn job_control_stops_continues_and_waits(who: Who) {
    let workspace = Workspace::new(who);
    let script = "set -m
            (sleep 0.2; exit 7) & wait $!; echo waited $?
            sleep 60 & kill -STOP $!; sleep 0.1; jobs -s | grep -c Stopped
            bg %1 >/dev/null; jobs -r | grep -c Running; kill %1; wait %1; echo ended $?
            sh -c 'kill -STOP $$; echo went on' & sleep 0.2; fg %1 >/dev/null; echo foreground $?";
    let expected = "waited 7\n1\n1\nended 143\nwent on\nforeground 0\n";
    assert_eq!(bash(who, &workspace, script).stdout, expected);
}

each!(traps_run_on_signals_and_on_exit);
fn traps_run_on_signals_and_on_exit(who: Who) {
    let workspace = Workspace::new(who);
    let script = "trap 'echo term' TERM; trap 'echo usr1' USR1; trap 'echo bye' EXIT
            kill -TERM $$; kill -USR1 $$; (trap 'echo inner' EXIT); echo here";
    assert_eq!(
        bash(who, &workspace, script).stdout,
        "term\nusr1\ninner\nhere\nbye\n"
    );
}

each!(here_documents_and_here_strings_reach_their_commands);
fn here_documents_and_here_strings_reach_their_commands(who: Who) {
    let workspace = Workspace::new(who);
    let big = "x".repeat(200_000);
    workspace.write("big.sh", &format!("wc -c <<EOF\n{big}\nEOF\n"));
    let script = "cat <<EOF\nfirst $((1 + 1))\nEOF\ncat <<'EOF'\nraw $x\nEOF\ntr a-z A-Z <<< string; bash big.sh";
    assert_eq!(
        bash(who, &workspace, script).stdout,
        "first 2\nraw $x\nSTRING\n200001\n"
    );
}

each!(coprocesses_and_timeouts_work);
fn coprocesses_and_timeouts_work(who: Who) {
    need("timeout");
    let workspace = Workspace::new(who);
    let script =
        "coproc cat; echo ping >&\"${COPROC[1]}\"; read -r line <&\"${COPROC[0]}\"; echo \"$line\"
            timeout 0.1 sleep 9; echo $?; read -r -t 0.1 x; echo \"read $((($? > 128)))\"";
    // stdin is /dev/null: read sees the end of it, not a timeout.
    assert_eq!(bash(who, &workspace, script).stdout, "ping\n124\nread 0\n");
}

each!(a_script_with_an_interpreter_line_runs_in_place);
fn a_script_with_an_interpreter_line_runs_in_place(who: Who) {
    let workspace = Workspace::new(who);
    workspace.write("hello", "#!/bin/sh\necho \"$0 $1\"\n");
    workspace.write("env", "#!/usr/bin/env python3\nprint('python')\n");
    assert_eq!(
        coding(who, &workspace, "./hello there; ./env").stdout,
        "./hello there\npython\n"
    );
}
