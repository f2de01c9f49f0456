//! A command in shared memory (memfd_create(2)), for a process that may not allocate: the strings and the arrays of
//! pointers that execve(2) wants, laid out by the process that hands the command over.
//!
//! ```text
//! words:   length of the whole | rows and columns | counts of the three arrays and of the limits
//! arrays:  candidates, arguments, environment: offsets of strings, each array with a zero at its end
//! limits:  number, soft, hard of each resource limit
//! strings: the working directory first; the last byte of the whole is zero
//! ```
//!
//! The receiver maps a private copy and turns the offsets into pointers there.

use std::ffi::{CStr, CString, c_char};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use super::{Errno, Result};

/// Words before the arrays.
const HEAD: usize = 7;
const WORD: usize = size_of::<u64>();

/// The parts of a command.
#[derive(Debug, Default)]
pub struct Parts {
    /// The paths to execute, in order.
    pub candidates: Vec<CString>,
    /// The arguments.
    pub argv: Vec<CString>,
    /// `NAME=VALUE`.
    pub environment: Vec<CString>,
    /// The working directory.
    pub workdir: CString,
    /// Resource limits: number of the resource, soft and hard limit, setrlimit(2).
    pub limits: Vec<[u64; 3]>,
    /// Rows and columns of the command's own terminal, if it has one.
    pub terminal: Option<[u16; 2]>,
}

/// Writes a command into a new memory file.
pub fn hand(parts: &Parts) -> Result<OwnedFd> {
    let file = rustix::fs::memfd_create(c"creel-command", rustix::fs::MemfdFlags::CLOEXEC)?;
    let bytes = laid_out(parts);
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        let written = rustix::io::write(&file, rest)?;
        rest = rest.get(written..).unwrap_or_default();
    }
    Ok(file)
}

fn laid_out(parts: &Parts) -> Vec<u8> {
    let lists = [&parts.candidates, &parts.argv, &parts.environment];
    let slots: usize = lists.iter().map(|list| list.len() + 1).sum();
    let start = (HEAD + slots + 3 * parts.limits.len()) * WORD;
    let mut strings = parts.workdir.as_bytes_with_nul().to_vec();
    let mut arrays = vec![];
    for list in lists {
        for text in list {
            arrays.push((start + strings.len()) as u64);
            strings.extend(text.as_bytes_with_nul());
        }
        arrays.push(0);
    }
    let (is_terminal, size) = match parts.terminal {
        Some([rows, columns]) => (1, u64::from(rows) << 16 | u64::from(columns)),
        None => (0, 0),
    };
    let mut words = vec![(start + strings.len()) as u64, is_terminal, size];
    words.extend(lists.map(|list| list.len() as u64));
    words.push(parts.limits.len() as u64);
    words.extend(arrays);
    words.extend(parts.limits.iter().flatten());
    let mut bytes: Vec<u8> = words.into_iter().flat_map(u64::to_ne_bytes).collect();
    bytes.extend(strings);
    bytes
}

/// A command that was handed over: a private copy of its memory. Unmapped on drop.
#[derive(Debug)]
pub struct Handed {
    words: *mut u64,
    length: usize,
    /// Offsets in words: candidates, arguments, environment, limits, and the offset of the strings.
    places: [usize; 5],
}

impl Handed {
    /// Maps the command in `file`. `EINVAL` if the file has another form. Runs after clone.
    pub fn receive(file: BorrowedFd<'_>) -> Result<Handed> {
        let length = usize::try_from(rustix::fs::fstat(file)?.st_size).map_err(|_| Errno::INVAL)?;
        if length < HEAD * WORD {
            return Err(Errno::INVAL);
        }
        // SAFETY: a new mapping touches no memory that exists; it is private, so that the sender's file stays.
        let memory = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE,
                file.as_raw_fd(),
                0,
            )
        };
        if memory == libc::MAP_FAILED {
            return Err(
                Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::NOMEM)
            );
        }
        let mut handed = Handed {
            words: memory.cast(),
            length,
            places: [HEAD; 5],
        };
        handed.arrange().ok_or(Errno::INVAL)?;
        Ok(handed)
    }

    /// Turns offsets into pointers. `None` if an offset or a count leads out of the memory.
    fn arrange(&mut self) -> Option<()> {
        if self.word(0)? != self.length as u64 {
            return None;
        }
        let mut at = HEAD;
        for list in 0..3 {
            self.places[list] = at;
            at = at
                .checked_add(usize::try_from(self.word(3 + list)?).ok()?)?
                .checked_add(1)?;
        }
        self.places[3] = at;
        let limits = usize::try_from(self.word(6)?).ok()?;
        at = at.checked_add(limits.checked_mul(3)?)?;
        self.places[4] = at;
        // Every string ends before the end of the memory, since the last byte is zero.
        let strings = at.checked_mul(WORD).filter(|at| *at < self.length)?;
        // SAFETY: the last byte of the mapping.
        if unsafe { *self.words.cast::<u8>().add(self.length - 1) } != 0 {
            return None;
        }
        for slot in HEAD..self.places[3] {
            let is_end = self.places[1..4].contains(&(slot + 1));
            match (usize::try_from(self.word(slot)?).ok()?, is_end) {
                (0, true) => {}
                (offset, false) if (strings..self.length).contains(&offset) => {
                    // SAFETY: the slot was read above, and the offset lies in the mapping.
                    unsafe { *self.words.add(slot) = self.words.cast::<u8>().add(offset) as u64 };
                }
                _ => return None,
            }
        }
        Some(())
    }

    fn word(&self, at: usize) -> Option<u64> {
        let end = at.checked_add(1)?.checked_mul(WORD)?;
        // SAFETY: the word lies in the mapping, which is aligned to a page.
        (end <= self.length).then(|| unsafe { *self.words.add(at) })
    }

    fn array(&self, list: usize) -> *const *const c_char {
        // SAFETY: `arrange` has checked that the array lies in the mapping.
        unsafe { self.words.add(self.places[list]) as *const *const c_char }
    }

    /// The candidates, in order. Runs after clone.
    pub fn candidates(&self) -> impl Iterator<Item = &CStr> {
        let first = self.array(0);
        (0..self.places[1] - self.places[0] - 1)
            // SAFETY: `arrange` has made each slot a pointer to a terminated string in the mapping.
            .map(move |at| unsafe { CStr::from_ptr(*first.add(at)) })
    }

    /// The working directory. Runs after clone.
    pub fn workdir(&self) -> &CStr {
        // SAFETY: `arrange` has checked that the strings begin in the mapping and end with a zero.
        unsafe { CStr::from_ptr(self.words.add(self.places[4]) as *const c_char) }
    }

    /// The resource limits: number, soft, hard. Runs after clone.
    pub fn limits(&self) -> impl Iterator<Item = [u64; 3]> + '_ {
        (self.places[3]..self.places[4])
            .step_by(3)
            .filter_map(|at| Some([self.word(at)?, self.word(at + 1)?, self.word(at + 2)?]))
    }

    /// Rows and columns of the terminal, if the command has one. Runs after clone.
    pub fn terminal(&self) -> Option<[u16; 2]> {
        match (self.word(1), self.word(2)) {
            (Some(1), Some(size)) => Some([(size >> 16) as u16, size as u16]),
            _ => None,
        }
    }

    /// `execve(2)` of `path` with the command's arguments and environment; returns only on failure. Runs after
    /// clone.
    pub fn exec(&self, path: &CStr) -> Errno {
        // SAFETY: `arrange` has made both arrays null-terminated, of pointers to terminated strings.
        unsafe { libc::execve(path.as_ptr(), self.array(1), self.array(2)) };
        Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
    }
}

impl Drop for Handed {
    fn drop(&mut self) {
        // SAFETY: this value alone has the mapping.
        unsafe { libc::munmap(self.words.cast(), self.length) };
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    fn text(text: &str) -> CString {
        CString::new(text).unwrap()
    }

    fn parts() -> Parts {
        Parts {
            candidates: vec![text("/usr/bin/true"), text("/bin/true")],
            argv: vec![text("true"), text("")],
            environment: vec![text("A=1")],
            workdir: text("/w"),
            limits: vec![[7, 64, 128]],
            terminal: Some([24, 80]),
        }
    }

    #[test]
    fn a_command_arrives_as_it_was_handed_over() {
        let file = hand(&parts()).unwrap();
        let handed = Handed::receive(file.as_fd()).unwrap();
        let candidates: Vec<&CStr> = handed.candidates().collect();
        assert_eq!(candidates, [c"/usr/bin/true", c"/bin/true"]);
        assert_eq!(handed.workdir(), c"/w");
        assert_eq!(handed.limits().collect::<Vec<_>>(), [[7, 64, 128]]);
        assert_eq!(handed.terminal(), Some([24, 80]));
        let nothing = hand(&Parts::default()).unwrap();
        let handed = Handed::receive(nothing.as_fd()).unwrap();
        assert_eq!(handed.candidates().count() + handed.limits().count(), 0);
        assert_eq!((handed.workdir(), handed.terminal()), (c"", None));
    }

    /// Every truncation, and every word replaced: an error, or a command within the memory.
    #[test]
    fn another_form_is_refused() {
        let bytes = laid_out(&parts());
        let received = |bytes: &[u8]| {
            let file = rustix::fs::memfd_create(c"", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
            rustix::io::write(&file, bytes).unwrap();
            Handed::receive(file.as_fd()).map(|handed| {
                let texts = handed.candidates().map(|text| text.to_bytes().len());
                texts.sum::<usize>() + handed.workdir().to_bytes().len() + handed.limits().count()
            })
        };
        assert!(received(&bytes).is_ok());
        for length in 0..bytes.len() {
            assert_eq!(received(&bytes[..length]), Err(Errno::INVAL), "{length}");
        }
        for word in 0..bytes.len() / WORD {
            for value in [0, 1, 2, 1 << 32, u64::MAX, u64::MAX / 8, bytes.len() as u64] {
                let mut changed = bytes.clone();
                changed[word * WORD..(word + 1) * WORD].copy_from_slice(&value.to_ne_bytes());
                let _ = received(&changed);
            }
        }
    }
}
