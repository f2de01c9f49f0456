//! A failure of creel's own: one sentence with object, mechanism and remedy, and an exit status.

use std::error::Error;
use std::fmt::Write as _;

use super::hint;
use creel_egress::reason::Reason;
use creel_jail::JailError;
use creel_plan::ResolveError;
use creel_policy::{Origin, PolicyError};
use creel_session::WorkspaceError;
use creel_session::{DeclareError, ExecuteError, LayerError, SuperviseError, exit};

/// Why creel itself failed, and the exit status for that.
#[derive(Debug)]
pub struct Failure {
    pub text: String,
    pub status: u8,
    /// For programs; `None` for a wrong flag, and for a file of the command line's.
    pub reason: Option<Reason>,
}

impl Failure {
    pub fn new(text: impl Into<String>) -> Failure {
        Failure {
            text: text.into(),
            status: exit::OWN_FAILURE,
            reason: None,
        }
    }

    /// Replaces the exit status.
    pub fn with_status(self, status: u8) -> Failure {
        Failure { status, ..self }
    }

    /// The text of an error with its causes, and its remedy if one is known.
    pub fn of(error: &(dyn Error + 'static)) -> Failure {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            if !text.contains(&cause_text) {
                let _ = write!(text, ": {cause_text}");
            }
            source = cause.source();
        }
        if let Some(remedy) = remedy(error) {
            let _ = write!(text, "; {remedy}");
        }
        Failure {
            reason: reason(error),
            ..Failure::new(text)
        }
    }

    /// Prints the text on stderr and returns the exit status.
    pub fn report(self) -> u8 {
        hint::say(&self.text);
        self.status
    }
}

impl<E: Error + 'static> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure::of(&error)
    }
}

/// The code of an error, and the place in a policy that it is about.
fn reason(error: &(dyn Error + 'static)) -> Option<Reason> {
    let of = |code, rule: Option<Origin>| Some(Reason::of_error(code, rule.as_ref()));
    if let Some(error) = error.downcast_ref::<ExecuteError>() {
        return of(error.code(), error.rule().cloned());
    }
    if let Some(error) = error.downcast_ref::<DeclareError>() {
        return of(error.code(), error.rule());
    }
    if let Some(error) = error.downcast_ref::<LayerError>() {
        return of(error.code(), error.rule());
    }
    if let Some(error) = error.downcast_ref::<PolicyError>() {
        return of(error.code(), error.origin());
    }
    if let Some(error) = error.downcast_ref::<ResolveError>() {
        return of(error.code(), error.rule().cloned());
    }
    if let Some(error) = error.downcast_ref::<WorkspaceError>() {
        return of(error.code(), None);
    }
    let jail = error.downcast_ref::<JailError>();
    jail.and_then(|error| of(error.code(), None))
}

/// The remedy, if the error has one that its message does not contain.
fn remedy(error: &(dyn Error + 'static)) -> Option<String> {
    if let Some(error) = error.downcast_ref::<ExecuteError>() {
        return error.remedy();
    }
    match error.downcast_ref::<SuperviseError>() {
        Some(SuperviseError::Jail(error)) => error.remedy(),
        _ => error
            .downcast_ref::<JailError>()
            .and_then(JailError::remedy),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use creel_sys::Errno;

    /// creel is the place of paths that it protects by itself.
    #[test]
    fn a_failure_has_the_text_of_its_error() {
        let (path, real) = ("/w/.vscode".into(), "/etc".into());
        let error = ResolveError::ProtectLink {
            path,
            link: "/w/.vscode".into(),
            real,
            origin: Origin::creel(),
        };
        let text = error.to_string();
        let failure = Failure::of(&ExecuteError::from(error));
        assert!(text.starts_with("creel: /w/.vscode"), "{text}");
        assert_eq!(failure.text, text);
        let reason = failure.reason.expect("a code");
        assert_eq!(reason.code.as_str(), "plan-protect-link");
        assert_eq!(reason.rule.expect("a rule").file, "creel");
    }

    /// A wrapped error keeps its causes and its remedy.
    #[test]
    fn a_remedy_is_found_through_what_wraps_it() {
        let fault = || JailError::State {
            path: "/run/creel/1".into(),
            source: Errno::ROFS.into(),
        };
        let plain = Failure::of(&fault()).text;
        assert!(plain.contains("; "), "{plain}");
        assert_eq!(Failure::of(&ExecuteError::from(fault())).text, plain);
        let supervised = SuperviseError::from(fault());
        assert_eq!(Failure::of(&ExecuteError::from(supervised)).text, plain);
    }
}
