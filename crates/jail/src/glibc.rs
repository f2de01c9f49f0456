//! Files that glibc opens by itself, independent of the program's headers: some of its functions load a library by
//! name at their first call. A program without it aborts (a thread that ends without libgcc_s) or fails in
//! ways that nobody connects with a policy.
//!
//! musl opens nothing: name resolution and converters are built in, and its threads end without unwinding.
//! libstdc++ opens nothing either: its locales are libc's. What ld.so opens because of its environment or
//! /etc/ld.so.preload is the caller's choice, and not part of this list.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use creel_plan::host::NamedBy;

/// The name by which programs load it. Since 2.34 it is the file's name; before, a link to `libc-2.33.so`.
pub const NAME: &str = "libc.so.6";
/// Every version opens the first to unwind a thread that is cancelled or calls pthread_exit(3), and for
/// backtrace(3); since 2.28 the second, for names beyond ASCII (`AI_IDN` of getaddrinfo(3), getnameinfo(3)).
const ALWAYS: [&str; 2] = ["libgcc_s.so.1", "libidn2.so.0"];
/// The sources in the jail's nsswitch.conf, which are built into libc since 2.34.
const SOURCES: [&str; 2] = ["libnss_files.so.2", "libnss_dns.so.2"];
/// The directory of iconv(3)'s converters; only ASCII, UTF-8, UCS-2 and UCS-4 are built into libc. There are
/// hundreds; each locale has its own.
const CONVERTERS: &str = "gconv";

/// A program's glibc.
pub struct Libc {
    pub real: PathBuf,
    /// The search paths of the object that loaded it; they also apply to what it opens.
    pub inherited: Vec<PathBuf>,
    pub named_by: NamedBy,
}

impl Libc {
    /// The names of the libraries. glibc works without those that a host lacks.
    pub fn opens(&self) -> Vec<Vec<u8>> {
        let before_2_34 = self.real.file_name() != Some(OsStr::new(NAME));
        let sources = SOURCES.iter().filter(|_| before_2_34);
        let all = ALWAYS.iter().chain(sources);
        all.map(|name| name.as_bytes().into()).collect()
    }

    /// The possible directories: beside libc, or the same below `/usr` if `/lib` is not `/usr/lib`.
    pub fn converters(&self) -> [PathBuf; 2] {
        let directory = self.real.parent().unwrap_or(Path::new("/"));
        let beside = directory.join(CONVERTERS);
        let below = Path::new("/usr").join(beside.strip_prefix("/").unwrap_or(&beside));
        [beside, below]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn libc(real: &str) -> Libc {
        Libc {
            real: real.into(),
            inherited: vec![],
            named_by: NamedBy::System,
        }
    }

    #[test]
    fn old_versions_open_their_sources_of_names_as_well() {
        let new = libc("/usr/lib64/libc.so.6");
        assert_eq!(new.opens(), ALWAYS.map(|name| name.as_bytes().to_vec()));
        let old = libc("/lib/x86_64-linux-gnu/libc-2.31.so");
        assert_eq!(old.opens().len(), 4);
        let [beside, below] = old.converters();
        assert_eq!(beside, Path::new("/lib/x86_64-linux-gnu/gconv"));
        assert_eq!(below, Path::new("/usr/lib/x86_64-linux-gnu/gconv"));
    }
}
