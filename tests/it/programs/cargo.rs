//! cargo: a crate without dependencies, built and tested without a network.
//!
//! Root uses what the coding policy grants of its own home (rustup's toolchains) where there is one;
//! the ordinary user, whose home is bare, Debian's cargo in /usr/bin, which `scripts/test` installs.

use super::{belongs_to_its_owner, coding};
use crate::support::{Who, Workspace, need};

fn krate(workspace: &Workspace) {
    workspace.write(
        "Cargo.toml",
        "[package]\nname = \"sum\"\nversion = \"0.1.0\"\nedition = \"2021\"\n",
    );
    workspace.write(
        "src/main.rs",
        "fn main() { println!(\"{}\", (1..=8).sum::<u32>()); }\n#[test]\nfn it_adds() { assert_eq!(1 + 1, 2); }\n",
    );
}

each!(cargo_builds_a_crate_offline_and_the_result_runs);
fn cargo_builds_a_crate_offline_and_the_result_runs(who: Who) {
    need("cargo");
    let workspace = Workspace::new(who);
    krate(&workspace);
    let ran = coding(
        who,
        &workspace,
        "cargo build --offline --quiet; ./target/debug/sum",
    );
    assert_eq!(ran.stdout, "36\n");
    belongs_to_its_owner(who, &workspace);
}

each!(cargo_tests_a_crate_offline);
fn cargo_tests_a_crate_offline(who: Who) {
    need("cargo");
    let workspace = Workspace::new(who);
    krate(&workspace);
    let ran = coding(who, &workspace, "cargo test --offline --quiet");
    assert!(ran.stdout.contains("1 passed; 0 failed"), "{ran:#?}");
}
