//! The place of a request: the values of `~` and `$WORKSPACE`.

use std::path::{Path, PathBuf};

use creel_plan::{Host, paths};
use creel_policy::rights::Roots;
use creel_sys::host;

/// The home and the working directory of a request.
pub struct Place {
    home: PathBuf,
    cwd: PathBuf,
}

impl Place {
    /// The place of this process.
    pub fn here() -> Place {
        Place {
            home: paths::jail_home(host::home_of(host::ids().0).as_deref()),
            // As in the probe of the machine, if the directory was removed (`jail::probe`).
            cwd: std::env::current_dir().unwrap_or_else(|_| "/".into()),
        }
    }

    /// The place of the caller on a described machine.
    pub fn of(host: &Host) -> Place {
        Place {
            home: paths::home(host),
            cwd: host.cwd.clone(),
        }
    }

    /// The values of `~` and `$WORKSPACE` there.
    pub fn roots(&self, workspace: Option<&Path>) -> Roots {
        let workspace = workspace.map_or(self.cwd.clone(), |named| self.cwd.join(named));
        paths::roots(&self.home, &workspace)
    }
}
