//! Much, both ways, and every byte of it.

use super::web::WEB;
use super::{Jail, PLAIN};
use crate::support::Who;

/// 100 MiB; with `CREEL_LONG` in the environment 1 GiB (`scripts/long`).
fn size() -> u64 {
    match std::env::var_os("CREEL_LONG") {
        None => 100 << 20,
        Some(_) => 1 << 30,
    }
}

#[test]
fn a_large_download_and_upload_arrive_whole() {
    let size = size();
    let Some(jail) = Jail::new(Who::Root, WEB) else {
        return;
    };
    let down = format!(
        "{PLAIN} curl -sS --cacert ca.pem https://web.test/big/{size} | sha256sum; \
         head -c {size} /dev/zero | tr '\\0' x | sha256sum"
    );
    let ran = jail.sh(&down).ok();
    let sums: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(sums[0], sums[1], "{ran:#?}");
    let up = format!(
        "{PLAIN} truncate -s {size} /tmp/zero; \
         curl -sS --cacert ca.pem -T /tmp/zero https://web.test/sum; echo; sha256sum < /tmp/zero"
    );
    let ran = jail
        .flags(&["--disk", "256MiB", "--memory", "1GiB"])
        .sh(&up)
        .ok();
    let sums: Vec<&str> = ran.stdout.lines().collect();
    assert!(
        sums[1].starts_with(sums[0]) && sums[0].len() == 64,
        "{ran:#?}"
    );
}
