//! A stand-in for systemd's user manager, for `scripts/kernels`: makes the scope that creel asks for,
//! a cgroup of its own that it hands to a user, and moves the processes there.
//!
//!     user-manager BUS-ADDRESS CGROUP UID

#[path = "../tests/it/support/manager.rs"]
#[allow(dead_code)]
mod manager;

use std::os::unix::fs::chown;
use std::path::PathBuf;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, bus, parent, uid] = arguments.as_slice() else {
        panic!("user-manager BUS-ADDRESS CGROUP UID");
    };
    let (parent, uid) = (PathBuf::from(parent), uid.parse().expect("a uid"));
    let act = move |call: &manager::Call| {
        println!("user-manager: {call:?}");
        let scope = parent.join(&call.name);
        std::fs::create_dir(&scope).expect("mkdir");
        // As systemd delegates (systemd, CGROUP_DELEGATION.md).
        for name in [
            "",
            "cgroup.procs",
            "cgroup.subtree_control",
            "cgroup.threads",
        ] {
            chown(scope.join(name), Some(uid), Some(uid)).expect("chown");
        }
        let pids: Vec<u32> = call.properties["PIDs"]
            .try_clone()
            .and_then(TryInto::try_into)
            .expect("pids");
        for pid in pids {
            std::fs::write(scope.join("cgroup.procs"), pid.to_string()).expect("a move");
        }
    };
    let _calls = manager::start(bus, manager::Answer::Job("done"), Box::new(act));
    println!("user-manager: ready");
    loop {
        std::thread::park();
    }
}
