//! The `--log-net` file: lines in the order of events, with a limit on the bytes of a run.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{self, Write as _};

use serde::{Deserialize, Serialize};

use super::refusal::Refusal;

/// Maximum bytes of a jail's lines: of refusals, of which a jail can cause any number, and of admissions.
/// Beyond the first limit a refusal has no line; beyond the second nothing is admitted.
const REFUSED_BYTES: u64 = 16 << 20;
const ADMITTED_BYTES: u64 = 256 << 20;

/// Why a line was not written, so that its action must not happen.
#[derive(Debug)]
pub enum Unrecorded {
    /// write(2) failed.
    Failed(io::Error),
    /// The log has reached its limit.
    Full,
}

impl Unrecorded {
    /// The refusal of the action that needed the line.
    pub fn refusal(&self) -> Refusal {
        match self {
            Unrecorded::Failed(_) => Refusal::Unrecorded,
            Unrecorded::Full => Refusal::LogFull,
        }
    }
}

/// Counts of missing lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lines {
    /// Lines that could not be written; actions that needed one were not admitted.
    pub unwritten: u64,
    /// Lines beyond the limits: of refusals, and of what was refused for lack of a line.
    pub dropped: u64,
}

/// The kind of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Something was refused.
    Refused,
    /// Something was admitted.
    Admitted,
    /// The end of an admitted connection. Always written: each has one `Admitted` line before.
    End,
}

/// The open log, its use and its missing lines.
#[derive(Debug)]
pub struct Log {
    file: RefCell<File>,
    /// The last line was cut off before its newline.
    torn: Cell<bool>,
    /// Bytes written, of refusals and of admissions.
    used: [Cell<u64>; 2],
    lines: Cell<Lines>,
}

impl Log {
    /// Appends to `file`, which has no lines of this run yet.
    pub fn new(file: File) -> Log {
        Log {
            file: RefCell::new(file),
            torn: Cell::default(),
            used: Default::default(),
            lines: Cell::default(),
        }
    }

    /// Writes a line. Beyond the limit it drops a refusal's line, and fails for an admission.
    pub fn write(&self, text: Vec<u8>, class: Class) -> Result<(), Unrecorded> {
        let (used, most) = self.account(class);
        let after = used.get() + text.len() as u64 + 1;
        if after > most && class != Class::End {
            self.count(|lines| lines.dropped += 1);
            return match class {
                Class::Refused => Ok(()),
                _ => Err(Unrecorded::Full),
            };
        }
        used.set(after);
        self.append(text).map_err(|error| {
            self.count(|lines| lines.unwritten += 1);
            Unrecorded::Failed(error)
        })
    }

    /// The missing lines so far.
    pub fn lines(&self) -> Lines {
        self.lines.get()
    }

    /// Writes the last line. Errors are ignored: the verdict has the same counts.
    pub fn end(&self, text: Vec<u8>) {
        let _ = self.append(text);
    }

    fn account(&self, class: Class) -> (&Cell<u64>, u64) {
        let [refused, admitted] = &self.used;
        match class {
            Class::Refused => (refused, REFUSED_BYTES),
            Class::Admitted | Class::End => (admitted, ADMITTED_BYTES),
        }
    }

    fn count(&self, add: impl FnOnce(&mut Lines)) {
        let mut lines = self.lines.get();
        add(&mut lines);
        self.lines.set(lines);
    }

    /// One write per line, so that lines of several jails in one file stay whole. A line that a full disk
    /// cut off is ended before the next one.
    fn append(&self, mut text: Vec<u8>) -> io::Result<()> {
        text.push(b'\n');
        if self.torn.get() {
            text.insert(0, b'\n');
        }
        let mut file = self.file.borrow_mut();
        let mut rest = text.as_slice();
        while !rest.is_empty() {
            match file.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    rest = rest.get(written..).unwrap_or_default();
                    self.torn.set(!rest.is_empty());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// As if lines of this class had used up all but ten bytes.
    #[cfg(test)]
    pub fn fill(&self, class: Class) {
        let (used, most) = self.account(class);
        used.set(most - 10);
    }
}
