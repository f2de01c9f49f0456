//! The verbs about docker itself and about images, of which creel has none.

use std::ffi::OsString;

use serde_json::{Value, json};

use super::container::all;
use super::given::Given;
use super::{named, options, shown, template};
use crate::cli::answer;
use crate::cli::failure::Failure;
use crate::cli::hint::say;

/// Every name is an image: what is asked is whether containers of it can be made.
pub fn image(arguments: &[OsString]) -> Result<u8, Failure> {
    let given = Given::read(arguments, options::IMAGE)?;
    let names = named(&given)?;
    let of = |name: &&str| {
        json!({
            "Id": format!("sha256:{}", creel_policy::digest(name.as_bytes())),
            "RepoTags": [name],
            "Os": "linux",
            "Architecture": std::env::consts::ARCH,
            "Comment": "not used: containers run the host's programs, as creel's policy grants them",
            "Config": { "Labels": {} },
        })
    };
    shown(&given, names.iter().map(of).collect())?;
    Ok(0)
}

/// `pull IMAGE`: nothing is pulled.
pub fn pull(arguments: &[OsString]) -> Result<u8, Failure> {
    let given = Given::read(arguments, options::PULL)?;
    for image in named(&given)? {
        say(&format!(
            "creel has no images: nothing is pulled, and containers of {image} run the host's programs"
        ));
    }
    Ok(0)
}

/// The answer of `version`.
pub fn version() -> Value {
    let of = json!({ "Version": super::VERSION, "Os": "linux", "Arch": std::env::consts::ARCH });
    json!({ "Client": of, "Server": { "Version": super::VERSION, "Os": "linux", "Arch": std::env::consts::ARCH, "Platform": { "Name": "creel" } } })
}

/// The answer of `info`.
pub fn info() -> Result<Value, Failure> {
    Ok(json!({
        "ServerVersion": super::VERSION,
        "Name": "creel",
        "OSType": "linux",
        "OperatingSystem": "creel: sessions without a daemon; the host's programs",
        "Architecture": std::env::consts::ARCH,
        "Containers": all()?.len(),
        "Images": 0,
        "Driver": "creel",
    }))
}

/// Prints a value as JSON, or by a template.
pub fn about(arguments: &[OsString], value: &Value) -> Result<u8, Failure> {
    let given = Given::read(arguments, options::VERSION)?;
    match given.last("format") {
        Some(template) => answer::print(&(template::render(template, value)? + "\n"))?,
        None => answer::print_json(value)?,
    }
    Ok(0)
}
