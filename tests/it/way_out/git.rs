//! git over HTTPS: clone, commit, push, clone again.

use std::process::Command;

use super::{Jail, PLAIN};
use crate::support::{Who, need};

const GIT: &str = "mode = \"allowlist\"\nallow = [\"web.test:8444\"]";

each!(git_clones_and_pushes);
fn git_clones_and_pushes(who: Who) {
    need("git");
    let Some(jail) = Jail::new(who, GIT) else {
        return;
    };
    let repositories = jail.elsewhere("repositories");
    let made = Command::new(need("git"))
        .args(["init", "--quiet", "--bare"])
        .arg(repositories.join("repo.git"))
        .status();
    assert!(made.expect("git").success());
    let script = jail.elsewhere("gitd.py");
    std::fs::write(&script, include_str!("servers/gitd.py")).expect("write");
    let outside = &jail.outside;
    let mut server = Command::new(need("python3"));
    server.args([&script, &*outside.certificate, &*outside.key]);
    server.arg("8444").arg(&repositories);
    let _server = outside.start(&mut server, 8444);
    jail.write("work.sh", WORK);
    for (branch, plain) in [("proxied", ""), ("transparent", PLAIN)] {
        let ran = jail.sh(&format!("{plain} sh work.sh {branch}")).ok();
        assert_eq!(ran.stdout, format!("{branch}\n"), "{who:?}: {ran:#?}");
        let ran = jail.sh(&format!(
            "{plain} GIT_SSL_CAINFO=ca.pem git clone https://other.test:8444/repo.git /tmp/r"
        ));
        assert_eq!(ran.status, 128, "{who:?}: {ran:#?}");
    }
}

/// The push is larger than git's buffer, and so goes in chunks.
const WORK: &str = "set -e
export GIT_SSL_CAINFO=$PWD/ca.pem GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b
export GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
cd /tmp
git clone -q https://web.test:8444/repo.git one
cd one
echo $1 > said
head -c 2000000 /dev/urandom > much
git add .
git commit -qm said
git push -q origin HEAD:refs/heads/$1
cd ..
git clone -q -b $1 https://web.test:8444/repo.git two
cat two/said
cmp one/much two/much
";
