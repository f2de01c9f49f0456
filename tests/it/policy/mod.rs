//! `creel policy`: the verbs, from the command line.

mod answers;
mod cases;
mod check;
mod patterns;
mod places;

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{binary, shell_status};

/// A directory with policies, and an operator who has none of their own.
pub struct Desk {
    dir: TempDir,
}

/// Output of a verb.
#[derive(Debug)]
pub struct Said {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Desk {
    pub fn new() -> Desk {
        let dir = tempfile::Builder::new().prefix("creel-it-").tempdir();
        let dir = dir.expect("a temporary directory");
        std::fs::create_dir(dir.path().join("work")).expect("mkdir");
        Desk { dir }
    }

    /// The working directory.
    pub fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    /// Writes a file below the working directory; `../` leads to the operator's.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.work().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir -p");
        std::fs::write(&path, text).expect("write");
        path
    }

    /// The operator's own policy.
    pub fn operator(&self, text: &str) {
        self.file("../config/creel/policy.toml", text);
    }

    /// `creel policy WORDS...`
    pub fn policy<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> Said {
        let output = Command::new(binary())
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("XDG_CONFIG_HOME", self.dir.path().join("config"))
            .env("TMPDIR", self.dir.path())
            .arg("policy")
            .args(words)
            .current_dir(self.work())
            .output()
            .expect("creel starts");
        Said {
            status: shell_status(output.status),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Said {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }

    #[track_caller]
    pub fn exits(self, status: i32) -> Said {
        assert_eq!(self.status, status, "{self:#?}");
        self
    }
}
