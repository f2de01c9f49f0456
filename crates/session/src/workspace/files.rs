//! The files beside the layers: each is written whole and durably, or not at all.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;

use rustix::fs::fsync;

use super::error::WorkspaceError;
use super::record::Journal;
use super::upper::{Changes, Result, STAGING, at, fault, read, refuse};

impl Changes {
    /// The journal of a commit that has begun.
    pub(super) fn journal(&self) -> Result<Option<Journal>> {
        let path = self.path.join("journal");
        match read(&self.dir, "journal") {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(fault(&path)(e)),
            Ok(text) => {
                let journal = serde_json::from_slice(&text);
                journal.map(Some).map_err(|e| WorkspaceError::Damaged {
                    path,
                    why: e.to_string(),
                })
            }
        }
    }

    /// Writes the record whole and durably, or not at all.
    pub(super) fn write_record(&self) -> Result<()> {
        let text = serde_json::to_vec(&self.record).unwrap_or_default();
        self.write("record", &text)
    }

    /// The same for the journal: from here on the commit is carried out.
    pub(super) fn write_journal(&self, journal: &Journal) -> Result<()> {
        let text = serde_json::to_vec(journal).unwrap_or_default();
        self.write("journal", &text)
    }

    /// Notes the name of a staging directory before it is made.
    pub(super) fn write_staging(&self, name: &str) -> Result<()> {
        self.write("staging", name.as_bytes())
    }

    /// The staging directory of a commit that was cut off, if one was made.
    pub(super) fn staging(&self) -> Result<Option<String>> {
        let path = self.path.join("staging");
        match read(&self.dir, "staging") {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(fault(&path)(e)),
            Ok(text) => match String::from_utf8(text) {
                Ok(name) if name.starts_with(STAGING) && !name.contains('/') => Ok(Some(name)),
                _ => Err(WorkspaceError::Damaged {
                    path,
                    why: "it names no staging directory".into(),
                }),
            },
        }
    }

    /// Forgets the staging directory, which is removed.
    pub(super) fn forget_staging(&self) -> Result<()> {
        self.forget("staging")
    }

    /// Removes the journal: the commit is carried out.
    pub(super) fn forget_journal(&self) -> Result<()> {
        self.forget("journal")
    }

    fn forget(&self, name: &str) -> Result<()> {
        match fs::remove_file(at(&self.dir, name)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(fault(&self.path.join(name))(e)),
            _ => fsync(&self.dir).map_err(refuse(&self.path)),
        }
    }

    fn write(&self, name: &str, text: &[u8]) -> Result<()> {
        let new = format!(".{name}");
        let _ = fs::remove_file(at(&self.dir, &new));
        let mut options = File::options();
        let options = options.write(true).create_new(true).mode(0o600);
        let written = options.open(at(&self.dir, &new)).and_then(|mut file| {
            io::Write::write_all(&mut file, text)?;
            file.sync_all()?;
            fs::rename(at(&self.dir, &new), at(&self.dir, name))?;
            self.dir.sync_all()
        });
        written.map_err(fault(&self.path.join(name)))
    }
}
