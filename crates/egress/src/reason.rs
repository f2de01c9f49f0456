//! The reason of a refusal as data, the same in the log, on the channel to the supervisor and in the
//! verdict.
//!
//! The supervisor reads it from the relay, which serves a jail and may have been taken over: a code that
//! is none is an error there, and texts are bounded.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::refusal::Refusal;
use creel_policy::Origin;

/// Maximum characters of a file's name: PATH_MAX.
const FILE: usize = 4096;

/// Why something was refused, for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// The cause.
    pub code: Code,
    /// The rule or the limit of the policy that the refusal is about; `None` if there is none.
    pub rule: Option<RuleLine>,
}

/// A stable code (`docs/errors.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Code(&'static str);

/// The place of a rule: the file as its [`Origin`] names it, and the line, from 1; `None` if the source has
/// no lines, as the command line has none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleLine {
    /// The file, at most 4096 characters.
    pub file: String,
    /// The line, from 1.
    pub line: Option<u32>,
}

impl Reason {
    /// The code and the rule of a refusal.
    pub fn of(refusal: &Refusal) -> Reason {
        Reason {
            code: Code(refusal.code()),
            rule: refusal.rule().map(RuleLine::of),
        }
    }

    /// The reason of another error of creel's, by its code and the place in a policy that it is about.
    pub fn of_error(code: &'static str, rule: Option<&Origin>) -> Reason {
        Reason {
            code: Code(code),
            rule: rule.map(RuleLine::of),
        }
    }

    /// As received from the relay, with bounded texts.
    pub fn bounded(self) -> Reason {
        let rule = self.rule.map(|rule| RuleLine {
            file: rule.file.chars().take(FILE).collect(),
            line: rule.line,
        });
        Reason { rule, ..self }
    }
}

impl Code {
    /// The code, in lower case with hyphens.
    pub fn as_str(self) -> &'static str {
        self.0
    }
}

impl<'de> Deserialize<'de> for Code {
    /// Only a code of a [`Refusal`] is one.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Code, D::Error> {
        let text = String::deserialize(deserializer)?;
        let known = Refusal::all_codes().find(|code| *code == text);
        known
            .map(Code)
            .ok_or_else(|| D::Error::custom("unknown code"))
    }
}

impl RuleLine {
    /// The place of an origin, with a bounded file name.
    pub fn of(origin: &Origin) -> RuleLine {
        RuleLine {
            file: origin.source.chars().take(FILE).collect(),
            line: (origin.line > 0).then_some(origin.line),
        }
    }
}
