//! Compiles the client of sessions: a program of its own, which the crate contains.

use std::path::PathBuf;
use std::process::Command;
use std::{env, ffi::OsString};

const SOURCE: &str = "client/main.rs";

/// Writes the program to `client` in OUT_DIR.
pub fn compile() {
    println!("cargo::rerun-if-changed=build/client.rs");
    println!("cargo::rerun-if-changed={SOURCE}");
    let set = |name: &str| env::var_os(name).unwrap_or_else(|| panic!("cargo sets {name}"));
    let to = PathBuf::from(set("OUT_DIR")).join("client");
    let mut compile = Command::new(set("RUSTC"));
    compile.args(["--edition", "2024", "--crate-name", "client", SOURCE, "-o"]);
    compile.arg(&to).arg("--target").arg(set("TARGET"));
    let options = [
        "opt-level=s",
        "panic=abort",
        // Leaves out what core has for unwinding.
        "lto=fat",
        "codegen-units=1",
        "strip=symbols",
        "relocation-model=static",
        "link-arg=-nostartfiles",
        "link-arg=-nostdlib",
        "link-arg=-static",
        // A file of few kilobytes: no segments of their own for headers and constants.
        "link-arg=-Wl,--build-id=none,-z,noseparate-code,-z,norelro",
    ];
    for option in options {
        compile.args(["-C", option]);
    }
    if let Some(linker) = env::var_os("RUSTC_LINKER") {
        let mut option = OsString::from("linker=");
        option.push(linker);
        compile.arg("-C").arg(option);
    }
    let status = compile.status().expect("rustc can be executed");
    assert!(status.success(), "{SOURCE} does not compile: {status}");
}
