//! tar: archives made and unpacked with modes, links and owners.

use std::os::unix::fs::PermissionsExt;

use super::{belongs_to_its_owner, coding};
use crate::support::{Who, Workspace, need};

each!(tar_keeps_modes_links_and_times);
fn tar_keeps_modes_links_and_times(who: Who) {
    need("tar");
    need("gzip");
    let workspace = Workspace::new(who);
    let ran = coding(
        who,
        &workspace,
        "umask 022; mkdir -p a/b; echo text > a/b/file; chmod 1754 a/b/file; chmod 711 a/b
             ln -s b/file a/link; ln a/b/file a/hard; touch -d @1000000000 a/b/file
             tar -czpf a.tgz a; mkdir out; tar -xzpf a.tgz -C out
             stat -c '%a %Y' out/a/b/file; stat -c %a out/a/b; readlink out/a/link
             test out/a/hard -ef out/a/b/file && echo hard; tar -df a.tgz -z && echo same",
    );
    assert_eq!(ran.stdout, "1754 1000000000\n711\nb/file\nhard\nsame\n");
    let mode = std::fs::metadata(workspace.path().join("out/a/b/file"))
        .expect("stat")
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o1754);
    belongs_to_its_owner(who, &workspace);
}

each!(tar_unpacks_what_others_owned_as_the_jails_user);
/// The jail's user is not root, so tar does not try to give files away.
fn tar_unpacks_what_others_owned_as_the_jails_user(who: Who) {
    need("tar");
    let workspace = Workspace::new(who);
    let script =
        "echo x > f; tar --owner=12345 --group=12345 -cf f.tar f; rm f; tar -xf f.tar; cat f";
    assert_eq!(coding(who, &workspace, script).stdout, "x\n");
    belongs_to_its_owner(who, &workspace);
}

each!(tar_streams_through_a_pipe);
fn tar_streams_through_a_pipe(who: Who) {
    need("tar");
    let workspace = Workspace::new(who);
    let ran = coding(
        who,
        &workspace,
        "mkdir a b; for i in 1 2 3; do head -c 300000 /dev/urandom > a/$i; done
             tar -C a -cf - . | tar -C b -xf -; diff -r a b && echo same",
    );
    assert_eq!(ran.stdout, "same\n");
}

each!(tar_cannot_plant_a_set_user_id_file);
/// A set-user-ID file in the workspace would be one on the host, owned by whoever owns the workspace.
fn tar_cannot_plant_a_set_user_id_file(who: Who) {
    need("tar");
    let workspace = Workspace::new(who);
    let script = "echo x > f; chmod 755 f; chmod u+s f 2>&1 || true; tar --mode=4755 -cf f.tar f
             rm f; tar -xpf f.tar 2>&1 || true; test ! -u f && echo plain; tar --no-same-permissions -xf f.tar 2>&1; cat f";
    let ran = coding(who, &workspace, script);
    assert!(ran.stdout.contains("Operation not permitted"), "{ran:#?}");
    assert!(ran.stdout.ends_with("plain\nx\n"), "{ran:#?}");
}
