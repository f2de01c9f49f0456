//! Where a command is asked for: what `~` and `$WORKSPACE` stand for.

use std::path::{Path, PathBuf};

use creel_plan::{Host, paths};
use creel_policy::rights::Roots;
use creel_policy::trees;
use creel_sys::host;

/// Where a command is asked for.
pub struct Place {
    home: PathBuf,
    cwd: PathBuf,
}

impl Place {
    /// This process's own.
    pub fn here() -> Place {
        Place {
            home: paths::jail_home(host::home_of(host::ids().0).as_deref()),
            // As the machine is described, where it was removed (`jail::probe`).
            cwd: std::env::current_dir().unwrap_or_else(|_| "/".into()),
        }
    }

    /// That of a caller on a machine that was described.
    pub fn of(host: &Host) -> Place {
        Place {
            home: paths::home(host),
            cwd: host.cwd.clone(),
        }
    }

    /// What `~` and `$WORKSPACE` stand for there.
    pub fn roots(&self, workspace: Option<&Path>) -> Roots {
        // A name that is not text cannot be written in a policy either: it stands for itself.
        let own = Roots::symbolic();
        let text = |path: &Path, unnamed: &str| match path.to_str() {
            Some(text) => trees::clean(text),
            None => unnamed.to_owned(),
        };
        let workspace = workspace.map_or(self.cwd.clone(), |named| self.cwd.join(named));
        Roots {
            home: text(&self.home, &own.home),
            workspace: text(&workspace, &own.workspace),
        }
    }
}
