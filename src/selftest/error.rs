//! Why the self-test cannot run.

use std::path::PathBuf;

use super::layer::Layer;
use creel_jail::JailError;
use creel_plan::ResolveError;
use creel_plan::order::OrderError;
use creel_policy::PolicyError;
use creel_session::SuperviseError;
use creel_sys::Errno;

#[derive(Debug, thiserror::Error)]
pub enum SelftestError {
    #[error("the scratch directory {} cannot be used; set TMPDIR to a directory that you own", path.display())]
    Scratch {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("creel cannot find its own program")]
    NoProgram(#[source] std::io::Error),
    #[error("creel's own program {} has a name that is not text", .0.display())]
    NotText(PathBuf),
    #[error("the {} layer is not in force here, so the self-test cannot run without it", .0.name())]
    NotInForce(Layer),
    #[error(transparent)]
    Policy(#[from] PolicyError),
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    #[error("the plan is out of order")]
    Order(#[from] OrderError),
    #[error(transparent)]
    Jail(#[from] JailError),
    #[error(transparent)]
    Supervise(#[from] SuperviseError),
    #[error("{what} failed")]
    System {
        what: &'static str,
        #[source]
        source: Errno,
    },
    #[error("the task cannot be written down")]
    Task(#[from] serde_json::Error),
    #[error("the inner half answered {0:?}, which does not match its instruction")]
    Mumbled(String),
    #[error("the inner half did not run: {0}")]
    NotRun(String),
}
