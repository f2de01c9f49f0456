//! perl: processes, pipes, sockets and modules of the standard distribution.

use crate::support::{Run, Who, Workspace, need};

each!(perl_forks_pipes_and_waits);
fn perl_forks_pipes_and_waits(who: Who) {
    need("perl");
    let workspace = Workspace::new(who);
    let script = r#"
            use strict; use warnings; use POSIX (); use File::Temp; use Digest::SHA;
            pipe(my $r, my $w) or die; my $pid = fork // die;
            if (!$pid) { close $r; print $w "from the child\n"; close $w; POSIX::_exit(3) }
            close $w; print scalar <$r>; waitpid($pid, 0); print $? >> 8, "\n";
            my $t = File::Temp->new; print -e $t->filename ? "temp\n" : "none\n";
            print Digest::SHA::sha1_hex("abc"), "\n"; print `echo backticks`;"#;
    let ran = Run::new(who, &workspace)
        .policy("coding")
        .argv(["/usr/bin/perl", "-e", script])
        .ok();
    assert_eq!(
        ran.stdout,
        "from the child\n3\ntemp\na9993e364706816aba3e25717850c26c9cd0d89d\nbackticks\n"
    );
}
