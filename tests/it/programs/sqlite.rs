//! sqlite3: a database with a write-ahead log, which maps shared memory and locks ranges.

use super::{belongs_to_its_owner, coding};
use crate::support::{Who, Workspace, need};

each!(sqlite_writes_ahead_with_two_connections);
fn sqlite_writes_ahead_with_two_connections(who: Who) {
    need("sqlite3");
    let workspace = Workspace::new(who);
    let ran = coding(
        who,
        &workspace,
        "sqlite3 a.db 'pragma journal_mode=wal; create table t(n); insert into t values (1), (2);'
             (echo 'begin immediate; insert into t values (3);'; sleep 0.3; echo 'commit;') | sqlite3 a.db &
             sleep 0.1; sqlite3 a.db 'select count(*) from t;'; ls a.db-shm a.db-wal
             wait; sqlite3 a.db 'select sum(n) from t; pragma integrity_check;'",
    );
    assert_eq!(ran.stdout, "wal\n2\na.db-shm\na.db-wal\n6\nok\n");
    belongs_to_its_owner(who, &workspace);
}

each!(sqlite_locks_a_writer_out_while_another_writes);
fn sqlite_locks_a_writer_out_while_another_writes(who: Who) {
    need("sqlite3");
    let workspace = Workspace::new(who);
    let ran = coding(
        who,
        &workspace,
        "sqlite3 a.db 'create table t(n);'
             (echo 'begin exclusive;'; sleep 0.5; echo 'commit;') | sqlite3 a.db &
             sleep 0.2; sqlite3 a.db 'insert into t values (1);' 2>&1 || true; wait
             sqlite3 a.db 'insert into t values (1); select count(*) from t;'",
    );
    assert!(
        ran.stdout.contains("locked") && ran.stdout.ends_with("1\n"),
        "{ran:#?}"
    );
}
