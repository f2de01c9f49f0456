//! The file of `--log-net`: lines in the order of what they tell, and a bound for all that a run writes.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{self, Write as _};

use serde::{Deserialize, Serialize};

use super::gate::Refusal;

/// Bytes of lines of one jail: of what was refused, which a jail is as often as it likes, and of what was
/// admitted. Beyond the first a refusal has no line; beyond the second nothing is admitted.
const REFUSED_BYTES: u64 = 16 << 20;
const ADMITTED_BYTES: u64 = 256 << 20;

/// Why something has no line, and hence was not done.
#[derive(Debug)]
pub enum Unrecorded {
    Failed(io::Error),
    Full,
}

impl Unrecorded {
    pub fn refusal(&self) -> Refusal {
        Refusal::Closed(match self {
            Unrecorded::Failed(_) => "its record cannot be written",
            Unrecorded::Full => "the records of this run have reached their limit",
        })
    }
}

/// Lines that are missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lines {
    /// They could not be written; what waited for one was not admitted.
    pub unwritten: u64,
    /// They were left out beyond the bound: of refusals, and of what was refused for want of a line.
    pub dropped: u64,
}

/// The event of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    Refused,
    Admitted,
    /// The end of an admitted connection: each admitted connection has one, and each has its line.
    End,
}

#[derive(Debug)]
pub struct Log {
    file: RefCell<File>,
    /// The last line has no end.
    torn: Cell<bool>,
    /// Bytes written, of what was refused and of what was admitted.
    used: [Cell<u64>; 2],
    lines: Cell<Lines>,
}

impl Log {
    pub fn new(file: File) -> Log {
        Log {
            file: RefCell::new(file),
            torn: Cell::default(),
            used: Default::default(),
            lines: Cell::default(),
        }
    }

    /// Writes a line, or leaves out that of a refusal.
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

    /// The number of missing lines so far.
    pub fn lines(&self) -> Lines {
        self.lines.get()
    }

    /// Writes the last line. Where it cannot be written, the verdict says the same.
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

    /// One write a line: lines of several jails in one file stay whole. What a full disk cut off ends
    /// before the next line begins.
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
