//! File tools, and files that are no plain files: sockets, pipes, locks, links, sparse files.

use super::{belongs_to_its_owner, coding};
use crate::support::{Run, Who, Workspace, need};

each!(find_and_xargs_walk_a_tree);
fn find_and_xargs_walk_a_tree(who: Who) {
    let workspace = Workspace::new(who);
    let ran = coding(
        who,
        &workspace,
        "mkdir -p a/b/c; touch 'a/one two' a/b/x.txt a/b/c/y.txt
             find . -name '*.txt' -print0 | xargs -0 -P2 -n1 basename | sort; find a -type f | wc -l
             find . -name '*.txt' -delete; find a -type f -exec basename {} +",
    );
    assert_eq!(ran.stdout, "x.txt\ny.txt\n3\none two\n");
}

each!(cp_archives_a_tree_with_modes_links_and_times);
fn cp_archives_a_tree_with_modes_links_and_times(who: Who) {
    let workspace = Workspace::new(who);
    let ran = coding(
        who,
        &workspace,
        "mkdir -p a/d; echo x > a/d/f; chmod 640 a/d/f; touch -d @1111111111 a/d/f; ln -s d/f a/l; ln a/d/f a/h
             cp -a a b; stat -c '%a %Y %h' b/d/f; readlink b/l; diff -r a b && echo same
             mv b c; rm -rf c; test ! -e c && echo gone; cp --reflink=auto a/d/f g && cat g",
    );
    assert_eq!(ran.stdout, "640 1111111111 2\nd/f\nsame\ngone\nx\n");
    belongs_to_its_owner(who, &workspace);
}

each!(a_named_pipe_in_the_workspace_carries_data);
fn a_named_pipe_in_the_workspace_carries_data(who: Who) {
    let workspace = Workspace::new(who);
    let ran = coding(
        who,
        &workspace,
        "mkfifo -m 600 p; (seq 3 > p) & cat p; wait; test -p p && echo pipe",
    );
    assert_eq!(ran.stdout, "1\n2\n3\npipe\n");
    belongs_to_its_owner(who, &workspace);
}

each!(a_unix_socket_in_the_workspace_connects_and_passes_descriptors);
fn a_unix_socket_in_the_workspace_connects_and_passes_descriptors(who: Who) {
    need("python3");
    let workspace = Workspace::new(who);
    let script = "
import os, socket, threading
s = socket.socket(socket.AF_UNIX); s.bind('sock'); s.listen()
def serve():
    c, _ = s.accept(); _, fds, _, _ = socket.recv_fds(c, 10, 1)
    os.write(fds[0], b'through a passed descriptor'); c.sendall(b'done')
threading.Thread(target=serve).start()
r, w = os.pipe(); c = socket.socket(socket.AF_UNIX); c.connect('sock')
socket.send_fds(c, [b'x'], [w]); print(c.recv(10)); print(os.read(r, 100))
a, b = socket.socketpair(); a.send(b'pair'); print(b.recv(9))";
    let ran = Run::new(who, &workspace)
        .policy("coding")
        .python(script)
        .ok();
    assert_eq!(
        ran.stdout,
        "b'done'\nb'through a passed descriptor'\nb'pair'\n"
    );
    belongs_to_its_owner(who, &workspace);
}

each!(locks_renames_and_sparse_files_behave);
fn locks_renames_and_sparse_files_behave(who: Who) {
    need("python3");
    let workspace = Workspace::new(who);
    let script = "
import errno, fcntl, mmap, os
a, b = open('lock', 'w'), open('lock', 'w')
fcntl.flock(a, fcntl.LOCK_EX)
try: fcntl.flock(b, fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError as e: print(errno.errorcode[e.errno])
os.makedirs('x/y'); os.makedirs('z'); open('x/f', 'w').write('moved')
os.rename('x/f', 'z/f'); os.rename('x/y', 'z/y'); os.link('z/f', 'x/g'); print(open('x/g').read())
f = open('sparse', 'wb+'); f.truncate(1 << 30); m = mmap.mmap(f.fileno(), 1 << 30)
m[-1] = 65; m.flush(); print(os.stat('sparse').st_size, os.stat('sparse').st_blocks < 100)
fd = os.memfd_create('m'); os.write(fd, b'in memory'); print(os.pread(fd, 9, 0))";
    let ran = Run::new(who, &workspace)
        .policy("coding")
        .python(script)
        .ok();
    assert_eq!(ran.stdout, "EAGAIN\nmoved\n1073741824 True\nb'in memory'\n");
}

#[test]
fn a_workspace_of_somebody_else_keeps_that_owner_when_root_runs_creel() {
    use std::os::unix::fs::{MetadataExt, chown};
    if !crate::support::is_root() {
        eprintln!("skipped: only root can run creel in the directory of somebody else");
        return;
    }
    let workspace = Workspace::new(Who::Root);
    let (uid, gid, _) = Who::User.account();
    chown(workspace.path(), Some(uid), Some(gid)).expect("chown");
    coding(
        Who::Root,
        &workspace,
        "echo x > f; mkdir d; ln -s f l; mkfifo p; stat -c %U . f | sort -u",
    );
    for name in ["f", "d", "l", "p"] {
        let meta = std::fs::symlink_metadata(workspace.path().join(name)).expect("it was made");
        assert_eq!((meta.uid(), meta.gid()), (uid, gid), "{name}");
    }
}
