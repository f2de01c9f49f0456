//! The place of a request: the values of `~` and `$WORKSPACE`.

use std::path::{Path, PathBuf};

use creel_jail::JailError;
use creel_plan::{Host, paths};
use creel_policy::path_set;
use creel_policy::rights::Roots;
use creel_sys::host;

/// The home and the working directory of a request.
pub struct Place {
    home: PathBuf,
    /// `None` if the directory was removed.
    cwd: Option<PathBuf>,
}

impl Place {
    /// The place of this process.
    pub fn here() -> Place {
        Place {
            home: paths::jail_home(host::home_of(host::ids().0).as_deref()),
            cwd: std::env::current_dir().ok(),
        }
    }

    /// The place of the caller on a described machine.
    pub fn of(host: &Host) -> Place {
        Place {
            home: paths::home(host),
            cwd: Some(host.cwd.clone()),
        }
    }

    /// The values of `~` and `$WORKSPACE` there.
    pub fn roots(&self, workspace: Option<&Path>) -> Roots {
        // A path that is not UTF-8 cannot be written in a policy either: the variable then stays as it is.
        let own = Roots::symbolic();
        let text = |path: &Path, unnamed: &str| match path.to_str() {
            Some(text) => path_set::clean(text),
            None => unnamed.to_owned(),
        };
        // As in the probe of the machine, if the directory was removed (`jail::probe`).
        let cwd = self.cwd.as_deref().unwrap_or(Path::new("/"));
        let workspace = workspace.map_or(cwd.to_path_buf(), |named| cwd.join(named));
        Roots {
            home: text(&self.home, &own.home),
            workspace: text(&workspace, &own.workspace),
        }
    }

    /// `path` as an absolute one.
    pub(super) fn absolute(&self, path: &Path) -> Result<PathBuf, JailError> {
        match &self.cwd {
            Some(cwd) => Ok(paths::absolute_from(cwd, path)),
            None if path.is_relative() => Err(JailError::NoCwd),
            None => Ok(paths::absolute_from(Path::new("/"), path)),
        }
    }
}
