//! The place of a request: the values of `~` and `$WORKSPACE`.

use std::path::{Path, PathBuf};

use creel_jail::JailError;
use creel_plan::{Host, paths};
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
        // As in the probe of the machine, if the directory was removed (`jail::probe`).
        let cwd = self.cwd.as_deref().unwrap_or(Path::new("/"));
        let workspace = workspace.map_or(cwd.to_path_buf(), |named| cwd.join(named));
        paths::roots(&self.home, &workspace)
    }

    /// `path` as an absolute one.
    pub(super) fn absolute(&self, path: &Path) -> Result<PathBuf, JailError> {
        match &self.cwd {
            Some(cwd) => {
                let (from, path) = above(cwd, path);
                Ok(paths::absolute_from(from, path))
            }
            None if path.is_relative() => Err(JailError::NoCwd),
            None => Ok(paths::absolute_from(Path::new("/"), path)),
        }
    }
}

/// Takes `..` at the beginning of a relative path from the current directory, which has no links in it (getcwd(3)).
/// Elsewhere it stays: only the kernel can resolve it behind a link.
fn above<'p>(cwd: &'p Path, path: &'p Path) -> (&'p Path, &'p Path) {
    let (mut from, mut rest) = (cwd, path.strip_prefix(".").unwrap_or(path));
    while let Ok(next) = rest.strip_prefix("..") {
        (from, rest) = (from.parent().unwrap_or(from), next);
    }
    (from, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_may_begin_above_the_current_directory() {
        let cwd = Path::new("/a/b");
        for (path, wanted) in [
            ("../x", ("/a", "x")),
            ("./../x", ("/a", "x")),
            ("../../../x", ("/", "x")),
            ("..", ("/a", "")),
            ("x/../y", ("/a/b", "x/../y")),
            ("../x/../y", ("/a", "x/../y")),
            ("x", ("/a/b", "x")),
        ] {
            let found = above(cwd, Path::new(path));
            assert_eq!(found, (Path::new(wanted.0), Path::new(wanted.1)), "{path}");
        }
    }
}
