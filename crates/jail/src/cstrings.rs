//! The text of a plan as the kernel takes it.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

pub fn option(key: &str, value: &str) -> (CString, CString) {
    (text(key), text(value))
}

pub fn relative(path: &Path) -> CString {
    let path = path.as_os_str().as_bytes();
    bytes(path.strip_prefix(b"/").unwrap_or(path).to_vec())
}

pub fn absolute(path: &Path) -> CString {
    bytes(path.as_os_str().as_bytes().to_vec())
}

pub fn text(text: &str) -> CString {
    bytes(text.as_bytes().to_vec())
}

/// `resolve` has refused every NUL in what callers write, and the kernel gives none in paths.
pub fn bytes(bytes: Vec<u8>) -> CString {
    CString::new(bytes).unwrap_or_default()
}
