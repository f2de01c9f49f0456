//! Paths, as other programs write them.
//!
//! Relative paths are the workspace's. What cannot be said in creel's words is left out of a grant;
//! out of a denial nothing may be left, so there a glob becomes the directory that it lies in.

use crate::policy::error::PathFault;
use crate::policy::file::path_fault;
use crate::policy::glob::is_pattern;

/// Directories that hold far more than a rule means.
const WHOLE: [&str; 7] = ["/", "~", "$WORKSPACE", "/home", "/root", "/usr", "/Users"];

/// The path of a grant.
pub fn granted(text: &str) -> Result<String, PathFault> {
    let path = rooted(text);
    // `/a/**` is all beneath /a; `/a/*` is less.
    let path = path.strip_suffix("/**").map_or(path.clone(), whole);
    checked(path)
}

/// The path of a denial: a glob's directory, where that is not a whole root.
pub fn denied(text: &str) -> Result<String, PathFault> {
    let path = rooted(text);
    let Some(glob) = path.find(['*', '?', '[', '{']) else {
        return checked(path);
    };
    // A brace is a glob in some programs and a character in others.
    let literal = path.get(..glob).unwrap_or_default();
    let directory = literal.rfind('/').map_or("", |slash| &literal[..slash]);
    let directory = whole(directory);
    let explicit = path
        .strip_suffix("/**")
        .is_some_and(|tree| tree == directory);
    if is_whole(&directory) && !explicit {
        return Err(PathFault::Glob);
    }
    checked(directory)
}

/// Whether it is one of the directories that everything lies in.
pub fn is_whole(path: &str) -> bool {
    WHOLE.contains(&path)
}

fn whole(directory: &str) -> String {
    match directory {
        "" => "/".into(),
        directory => directory.into(),
    }
}

/// With the beginning that creel knows it by.
fn rooted(text: &str) -> String {
    let text = match text.strip_prefix("${HOME}").or(text.strip_prefix("$HOME")) {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => format!("~{rest}"),
        _ => text.to_owned(),
    };
    let path = match text.as_bytes().first() {
        None | Some(b'/' | b'~' | b'$') => text,
        _ => {
            let rest: Vec<&str> = text
                .split('/')
                .filter(|p| !p.is_empty() && *p != ".")
                .collect();
            match rest.is_empty() {
                true => "$WORKSPACE".into(),
                false => format!("$WORKSPACE/{}", rest.join("/")),
            }
        }
    };
    match path.trim_end_matches('/') {
        "" if !path.is_empty() => "/".into(),
        trimmed => trimmed.to_owned(),
    }
}

fn checked(path: String) -> Result<String, PathFault> {
    match path_fault(&path) {
        Some(fault) => Err(fault),
        // What a wildcard meets differs from program to program.
        None if is_pattern(&path) => Err(PathFault::Glob),
        None => Ok(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denial_is_never_narrower_than_its_glob() {
        let ok = |path: &str| Ok(path.to_owned());
        for (text, grant, denial) in [
            (".", ok("$WORKSPACE"), ok("$WORKSPACE")),
            ("./src/", ok("$WORKSPACE/src"), ok("$WORKSPACE/src")),
            ("$HOME/.ssh", ok("~/.ssh"), ok("~/.ssh")),
            ("/a/**", ok("/a"), ok("/a")),
            ("/a/*", Err(PathFault::Glob), ok("/a")),
            ("~/k/*.pem", Err(PathFault::Glob), ok("~/k")),
            ("~/**", ok("~"), ok("~")),
            ("**/.env", Err(PathFault::Glob), Err(PathFault::Glob)),
            ("/*", Err(PathFault::Glob), Err(PathFault::Glob)),
            ("/a/../b", Err(PathFault::Parent), Err(PathFault::Parent)),
            ("", Err(PathFault::Empty), Err(PathFault::Empty)),
            ("/a/{b,c}/d", ok("/a/{b,c}/d"), ok("/a")),
        ] {
            assert_eq!(granted(text), grant, "{text}");
            assert_eq!(denied(text), denial, "{text}");
        }
    }
}
