//! The git identity of a jail's commits: the operator's name and address, as git's system configuration.
//! The configuration in the jail's home and in a repository overrules it. Variables such as GIT_AUTHOR_NAME
//! would overrule those.
//!
//! The jail may see another owner of its files than the host. Git's index would then have the owner that its last
//! writer saw, and the other side's git would read every file and write the index again. So git in the jail
//! compares times and sizes only (`core.checkStat`, git-config(1)).

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Act, BTreeMap};

/// The variable with the path of git's system configuration, git(1), from Git 2.32 on.
pub const VARIABLE: &str = "GIT_CONFIG_SYSTEM";
/// The path for programs that ignore the variable: older gits, libgit2.
const USUAL: &str = "/etc/gitconfig";
const OWN: &str = "/etc/gitconfig.creel";

/// The identity in the operator's git configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// `user.name` of git-config(1). Without control characters.
    pub name: Option<String>,
    /// `user.email`. Without control characters.
    pub email: Option<String>,
    /// Other files of git's system configuration that every user may read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub systems: Vec<PathBuf>,
}

impl Identity {
    /// Whether neither name nor address is set.
    pub fn is_empty(&self) -> bool {
        self.name.is_none() && self.email.is_none()
    }

    /// The files with the identity. `other_owner`: whether the jail sees another owner of its files. `granted`:
    /// whether the policy grants the host's own file at a path.
    pub(super) fn files(&self, other_owner: bool, granted: impl Fn(&Path) -> bool) -> Vec<Act> {
        let usual = granted(Path::new(USUAL));
        let mut text = match other_owner {
            true => "[core]\n\tcheckStat = minimal\n".to_owned(),
            false => String::new(),
        };
        let first = usual.then_some(Path::new(USUAL));
        for path in first
            .into_iter()
            .chain(self.systems.iter().map(PathBuf::as_path))
        {
            // git ignores an include that is absent in the jail.
            text += &format!("[include]\n\tpath = {}\n", quoted(&path.to_string_lossy()));
        }
        if !self.is_empty() {
            text += "[user]\n";
        }
        for (key, value) in [("name", &self.name), ("email", &self.email)] {
            if let Some(value) = value {
                text += &format!("\t{key} = {}\n", quoted(value));
            }
        }
        let places = [(OWN, false), (USUAL, usual)];
        let free = places.into_iter().filter(|(_, taken)| !taken);
        free.map(|(path, _)| Act::File {
            path: path.into(),
            mode: 0o444,
            contents: text.clone(),
        })
        .collect()
    }

    /// Points git to the file, unless the environment already names another.
    pub(super) fn tell(&self, environment: &mut BTreeMap<Vec<u8>, Vec<u8>>) {
        let entry = environment.entry(VARIABLE.into());
        entry.or_insert_with(|| OWN.into());
    }
}

/// Quotes a value for git, git-config(1).
fn quoted(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{text}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_mean_what_they_say() {
        let identity = Identity {
            name: Some("A \"B\\\" C; # d, e".into()),
            email: None,
            systems: vec!["/usr/local/etc/gitconfig".into()],
        };
        let texts = |granted: bool| -> Vec<(PathBuf, String)> {
            let acts = identity.files(false, |_| granted).into_iter();
            acts.map(|act| match act {
                Act::File { path, contents, .. } => (path, contents),
                _ => unreachable!(),
            })
            .collect()
        };
        let all = texts(false);
        assert_eq!(all.len(), 2);
        assert_eq!(
            all[0].1,
            "[include]\n\tpath = \"/usr/local/etc/gitconfig\"\n[user]\n\tname = \"A \\\"B\\\\\\\" C; # d, e\"\n"
        );
        let entries = creel_policy::gitconfig::parse(all[0].1.as_bytes());
        let name = entries.iter().find(|entry| entry.name() == "user.name");
        assert_eq!(
            name.map(|entry| entry.value.as_slice()),
            identity.name.as_deref().map(str::as_bytes)
        );
        let alone = Identity::default().files(true, |_| true);
        assert!(
            matches!(&alone[..], [Act::File { contents, .. }] if contents.starts_with("[core]\n\tcheckStat = minimal\n"))
        );
        let beside = texts(true);
        assert_eq!(beside.len(), 1);
        assert!(
            beside[0]
                .1
                .starts_with("[include]\n\tpath = \"/etc/gitconfig\"\n")
        );
    }
}
