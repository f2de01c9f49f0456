//! The policies that ship with creel, compiled in.
//!
//! Owns their names. A preset sets every limit itself, so that one file shows everything it grants; the
//! limits of `default` also apply to a file that sets none. A preset that does not parse is a build
//! error: the tests below prevent it.

use super::compiled::Compiled;
pub use super::compiled::DEFAULT;
use super::error::PolicyError;
use super::file;
use super::grant::WorkspaceMode;
use super::layer::Layer;
use super::limits::Limits;
use super::place::Place;
use super::policy::Policy;
use super::roots::Roots;
use super::spelling::nearest;

/// In alphabetical order.
const PRESETS: [(&str, &str); 16] = [
    ("aider", include_str!("../policies/aider.toml")),
    ("browser", include_str!("../policies/browser.toml")),
    ("challenge", include_str!("../policies/challenge.toml")),
    ("claude-code", include_str!("../policies/claude-code.toml")),
    ("codex", include_str!("../policies/codex.toml")),
    ("coding", include_str!("../policies/coding.toml")),
    (DEFAULT, include_str!("../policies/default.toml")),
    ("gemini", include_str!("../policies/gemini.toml")),
    ("node", include_str!("../policies/node.toml")),
    ("opencode", include_str!("../policies/opencode.toml")),
    (
        "public-support",
        include_str!("../policies/public-support.toml"),
    ),
    ("python", include_str!("../policies/python.toml")),
    ("readonly", include_str!("../policies/readonly.toml")),
    ("rental", include_str!("../policies/rental.toml")),
    ("rust", include_str!("../policies/rust.toml")),
    ("untrusted", include_str!("../policies/untrusted.toml")),
];

/// The longest chain of `extends` from a preset.
const DEEPEST: usize = 4;

/// The presets that are constants, because many jails would have to parse them at their start.
#[cfg(test)]
pub const COMPILED: [&str; 2] = ["coding", DEFAULT];

/// The presets' names, in alphabetical order.
pub fn names() -> impl Iterator<Item = &'static str> {
    PRESETS.into_iter().map(|(name, _)| name)
}

/// The TOML text of a preset, as a start for a new policy.
pub fn text(name: &str) -> Result<&'static str, PolicyError> {
    match PRESETS.into_iter().find(|(known, _)| *known == name) {
        Some((_, text)) => Ok(text),
        None => {
            let known: Vec<&str> = names().collect();
            Err(PolicyError::MissingPreset {
                name: name.to_owned(),
                suggestion: nearest(name, &known),
                known,
            })
        }
    }
}

/// The preset of that name, where `~` and `$WORKSPACE` stand for these `roots`. Its origins are
/// `preset:NAME`.
pub fn named(name: &str, roots: &Roots) -> Result<Policy, PolicyError> {
    if let Some(compiled) = Compiled::named(name) {
        return Ok(compiled.policy(roots));
    }
    Ok(file::alone(layer(name)?, &limits()?, roots))
}

/// The layer of the preset of that name, including the presets that it extends.
pub fn layer(name: &str) -> Result<Layer, PolicyError> {
    extended(name, 0)
}

fn extended(name: &str, depth: usize) -> Result<Layer, PolicyError> {
    let layer = file::read(&format!("preset:{name}"), text(name)?)?;
    let mut layer = Layer {
        name: name.to_owned(),
        ..layer
    };
    for base in std::mem::take(&mut layer.extends) {
        if depth == DEEPEST {
            let at = Place {
                file: base.origin.source.to_string(),
                line: base.origin.line,
                column: 1,
            };
            let name = base.value;
            return Err(PolicyError::Extends { at, name });
        }
        layer = layer.over(extended(&base.value, depth + 1)?);
    }
    Ok(layer)
}

/// The preset [`DEFAULT`].
pub fn default(roots: &Roots) -> Result<Policy, PolicyError> {
    named(DEFAULT, roots)
}

/// The same with this mode of the workspace. In a fresh workspace `$WORKSPACE` of an executable grant is
/// that directory; what is protected stays the caller's, which a flag may still grant.
pub fn default_in(roots: &Roots, workspace: Option<WorkspaceMode>) -> Result<Policy, PolicyError> {
    let mut policy = default(roots)?;
    if workspace == Some(WorkspaceMode::None) {
        for rule in &mut policy.filesystem.exec {
            rule.path = roots.fresh(rule);
        }
    }
    Ok(policy)
}

/// The limits of the preset [`DEFAULT`], for policies that set none.
pub fn limits() -> Result<Limits, PolicyError> {
    match Compiled::named(DEFAULT) {
        Some(compiled) => Ok(compiled.limits()),
        None => Ok(default(&Roots::symbolic())?.limits),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Absent, Bytes, Count, CpuShare, Network, Percent, Span};

    /// Those that name hosts: of whole agents, each its vendor's API.
    const AGENTS: [&str; 5] = ["aider", "claude-code", "codex", "gemini", "opencode"];

    fn policy(name: &str) -> Result<Policy, PolicyError> {
        named(name, &Roots::symbolic())
    }

    #[test]
    fn every_preset_parses_and_knows_its_name() {
        for name in names() {
            let policy = policy(name).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(policy.name, name);
            assert_eq!(policy.digest.len(), 64);
            assert_eq!(
                policy.network == Network::default(),
                !AGENTS.contains(&name)
            );
            assert!(policy.allow_degraded.is_empty());
            assert_eq!(
                *policy.limits.memory.origin.source,
                *format!("preset:{name}")
            );
        }
    }

    #[test]
    fn the_default_is_the_default() {
        let limits = limits().unwrap();
        assert_eq!(limits.memory.value, Bytes(2 << 30));
        assert_eq!(limits.memory_high.value, Percent(90));
        assert_eq!(limits.cpus.value, CpuShare(2000));
        assert_eq!(limits.pids.value, Count(512));
        assert_eq!(limits.timeout.value, Span(3_600_000));
        assert_eq!(limits.grace.value, Span(5_000));
        assert!(policy(DEFAULT).unwrap().filesystem.workspace.is_none());
    }

    #[test]
    fn presets_name_paths_of_programs_and_none_of_secrets() {
        let secrets = [
            ".ssh",
            ".gnupg",
            ".aws",
            ".kube",
            ".docker",
            ".netrc",
            ".npmrc",
            "npmrc",
            ".pypirc",
            "pip.conf",
            ".gitconfig",
            ".git-credentials",
            ".config",
            "credentials",
            "shadow",
            "private",
            "environment",
            "profile.d",
            ".claude",
            ".claude.json",
            ".codex",
            ".gemini",
            "auth.json",
        ];
        // A parent would bring the secret with it.
        let parents = [
            "/",
            "/etc",
            "/etc/ssl",
            "/home",
            "/root",
            "/var",
            "/run",
            "~/.cargo",
            "~/.npm",
            "~/.local",
            "~/.local/share",
            "~/.local/share/uv",
            "~/.local/share/opencode",
            "~/.opencode",
        ];
        for name in names() {
            let filesystem = policy(name).unwrap().filesystem;
            let grants = [filesystem.read, filesystem.write, filesystem.exec].concat();
            for grant in &grants {
                let path = grant.shown();
                assert!(!parents.contains(&path), "{name}: {path}");
                assert!(
                    !path.split('/').any(|c| secrets.contains(&c)),
                    "{name}: {path}"
                );
            }
            // Every other host has a different set of them.
            for grant in grants.iter().filter(|g| g.path.starts_with("/etc")) {
                assert_eq!(grant.absent, Absent::Skip, "{name}: {}", grant.path);
            }
        }
    }

    #[test]
    fn coding_has_what_its_first_lines_say() {
        let policy = policy("coding").unwrap();
        let exec: Vec<&str> = policy.filesystem.exec.iter().map(|g| g.shown()).collect();
        for path in [
            "/usr",
            "/tmp",
            "~",
            "$WORKSPACE",
            "~/.cargo/bin",
            "~/.rustup",
        ] {
            assert!(exec.contains(&path), "{path}");
        }
        let workspace = policy.filesystem.workspace.map(|mode| mode.value);
        assert_eq!(workspace, Some(WorkspaceMode::ReadWrite));
        assert!(
            policy.environment.set["PATH"]
                .value
                .starts_with("~/.cargo/bin:")
        );
        assert_eq!(policy.limits.timeout.value, Span(7_200_000));
    }

    #[test]
    fn an_unknown_preset_is_refused_with_a_suggestion() {
        for (name, suggestion) in [
            ("codng", Some("coding")),
            ("defualt", Some("default")),
            ("Default", Some("default")),
            ("", None),
            ("../../etc/passwd", None),
            ("strict", None),
        ] {
            match policy(name) {
                Err(PolicyError::MissingPreset {
                    suggestion: found,
                    known,
                    ..
                }) => {
                    assert_eq!((found, known), (suggestion, names().collect()));
                }
                other => panic!("{name}: {other:?}"),
            }
        }
    }
}
