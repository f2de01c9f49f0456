//! Exit status, streams and kinds, as `docs/verdict.md` promises.

use crate::support::{Run, Who, Workspace};

#[test]
fn the_exit_status_is_the_commands_own() {
    for who in Who::all() {
        let workspace = Workspace::new(who);
        for code in [0, 1, 3, 124, 125, 255] {
            let ran = Run::new(who, &workspace).sh(&format!("exit {code}"));
            assert_eq!(ran.status, code, "{ran:#?}");
            assert_eq!(ran.kind(), "exited");
            assert_eq!(ran.verdict["code"], code);
        }
        let ran = Run::new(who, &workspace).sh("kill -KILL $$");
        assert_eq!((ran.status, ran.kind()), (137, "signaled"));
        assert_eq!(ran.verdict["signal"], "SIGKILL");
    }
}
