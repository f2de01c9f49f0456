//! Path mappings on the command line: `SRC:DST`, a path of the host and its path in the jail.
//!
//! A DST begins with a slash, so the last `:/` of a text divides it. A name may have these two characters as
//! well: a text that names an existing file and whose SRC does not exist is that name, and if both exist, the
//! text is refused.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::cli::failure::Failure;
use creel_session::declare::AskedPath;

/// Parses `PATH` or `SRC:DST`. SRC may be empty.
pub fn divided(flag: &str, text: &OsStr) -> Result<AskedPath, Failure> {
    let bytes = text.as_bytes();
    let Some(colon) = bytes.windows(2).rposition(|pair| pair == b":/") else {
        return Ok(text.into());
    };
    let (path, at) = (part(&bytes[..colon]), part(&bytes[colon + 1..]));
    let there = |name: &Path| name.symlink_metadata().is_ok();
    match (
        there(text.as_ref()),
        path.as_os_str().is_empty() || there(&path),
    ) {
        (true, false) => Ok(text.into()),
        (true, true) => Err(Failure::new(format!(
            "{flag} {text}: a file has this whole name; for {path} at {at} in the jail write {path}/:{at}, and for the file use a policy file",
            text = text.to_string_lossy(),
            path = path.display(),
            at = at.display(),
        ))),
        (false, _) => Ok(AskedPath { path, at: Some(at) }),
    }
}

/// Parses the values of a flag that grants paths.
pub fn all(flag: &str, texts: &[PathBuf]) -> Result<Vec<AskedPath>, Failure> {
    let named = |text: &PathBuf| match divided(flag, text.as_os_str())? {
        named if named.path.as_os_str().is_empty() => Err(Failure::new(format!(
            "{flag} {}: no path of the host is named; write {flag} SRC:DST",
            text.display()
        ))),
        AskedPath { at: Some(at), .. } if flag != "--volume" && has_mode(&at) => {
            Err(Failure::new(format!(
                "{flag} {}: {flag} takes no mode, and the path in the jail would end in it; write {flag} SRC:DST, or --volume SRC:DST:ro",
                text.display()
            )))
        }
        AskedPath { at: None, .. } if is_mapped_to_relative(text) => Err(Failure::new(format!(
            "{flag} {}: the path in the jail, behind the colon, begins with a slash",
            text.display()
        ))),
        named => Ok(named),
    };
    texts.iter().map(named).collect()
}

fn has_mode(at: &Path) -> bool {
    let bytes = at.as_os_str().as_bytes();
    bytes.ends_with(b":ro") || bytes.ends_with(b":rw")
}

/// Whether a text is no path, and what stands before its last colon is one.
fn is_mapped_to_relative(text: &Path) -> bool {
    let there = |name: &Path| name.symlink_metadata().is_ok();
    let bytes = text.as_os_str().as_bytes();
    let colon = bytes.iter().rposition(|byte| *byte == b':');
    !there(text) && colon.is_some_and(|colon| colon > 0 && there(&part(&bytes[..colon])))
}

/// The trees that `--volume` grants: to read, and to read and write.
pub fn volumes(texts: &[OsString]) -> Result<[Vec<AskedPath>; 2], Failure> {
    let mut granted = [vec![], vec![]];
    for text in texts {
        let bytes = text.as_bytes();
        let (rest, which) = match bytes {
            [rest @ .., b':', b'r', b'o'] => (rest, 0),
            [rest @ .., b':', b'r', b'w'] => (rest, 1),
            all => (all, 1),
        };
        let named = all("--volume", &[part(rest)])?;
        if named.iter().any(|one| one.at.is_none()) {
            return Err(Failure::new(format!(
                "--volume {}: write SRC:DST, SRC:DST:ro or SRC:DST:rw, with an absolute DST",
                text.to_string_lossy()
            )));
        }
        granted[which].extend(named);
    }
    Ok(granted)
}

fn part(bytes: &[u8]) -> PathBuf {
    OsStr::from_bytes(bytes).into()
}
