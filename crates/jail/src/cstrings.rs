//! Converts the text of a plan to C strings.

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

/// `resolve` has refused NUL bytes in callers' text, and the kernel's paths contain none.
pub fn bytes(bytes: Vec<u8>) -> CString {
    CString::new(bytes).unwrap_or_default()
}
