//! Paths in other programs' notation.
//!
//! Relative paths are relative to the workspace. A grant that creel cannot express is left out. A denial
//! must not be left out, so a glob that would match less here becomes the directory that contains it. A
//! glob that means the same in both becomes a pattern.

use std::fmt;

use creel_policy::error::PathFault;
use creel_policy::file::path_fault;
use creel_policy::glob::{escape, is_pattern};
use creel_policy::path_set::within;

/// Directories that contain far more than a rule means.
const WHOLE: [&str; 7] = ["/", "~", "$WORKSPACE", "/home", "/root", "/usr", "/Users"];

/// Characters that begin a glob in some program. A brace does in some, and is literal in others.
const WILD: [char; 4] = ['*', '?', '[', '{'];

/// Whether a program has globs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spelling {
    /// `*`, `?`, `[..]`, and `**` for any number of directories.
    Globs,
    /// Every character is itself.
    Plain,
}

/// Why a grant is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unsaid {
    Path(PathFault),
    /// A glob that matches single names, while a path here includes everything beneath it.
    Names,
    /// A glob that creel reads differently.
    Otherwise,
}

impl fmt::Display for Unsaid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(fault) => fault.fmt(f),
            Self::Names => f.write_str(
                "is a glob for names, and a pattern of creel would grant everything below them; list the paths, or end it with '/**'",
            ),
            Self::Otherwise => {
                f.write_str("is a glob with another meaning in creel; list the paths")
            }
        }
    }
}

/// The path or pattern of a grant, or the reason that it cannot be expressed.
pub fn granted(text: &str, spelling: Spelling) -> Result<String, Unsaid> {
    let path = rooted(text);
    if spelling == Spelling::Plain {
        return sound(escape(&path)).map_err(Unsaid::Path);
    }
    // `/a/**` is everything beneath /a; `/a/*` is less.
    let tree = path.strip_suffix("/**").map(whole);
    let is_tree = tree.is_some();
    let path = tree.unwrap_or(path);
    if is_pattern(&path) {
        if !is_tree {
            return Err(Unsaid::Names);
        }
        if !alike(&path) {
            return Err(Unsaid::Otherwise);
        }
    }
    sound(path).map_err(Unsaid::Path)
}

/// The result for a denied path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denied {
    Path(String),
    /// The whole directory that contains a glob.
    Tree(String),
    Pattern(String),
}

impl Denied {
    pub fn path(&self) -> &str {
        match self {
            Self::Path(path) | Self::Tree(path) | Self::Pattern(path) => path,
        }
    }
}

/// The denied operation: reading, or changing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    Sight,
    Change,
    /// Either, in a program that expands its globs once, to the names that exist at its start.
    AtStart,
}

/// The result for a denial. No mount covers a matching name that the jail could create, and the run would
/// be refused. So its directory is denied instead, unless that is a whole root.
pub fn denied(text: &str, denial: Denial) -> Result<Denied, PathFault> {
    let path = rooted(text);
    let Some(glob) = path.find(WILD) else {
        return sound(path).map(Denied::Path);
    };
    let literal = path.get(..glob).unwrap_or_default();
    let directory = whole(literal.rfind('/').map_or("", |slash| &literal[..slash]));
    let tree = path.strip_suffix("/**").map_or(path.clone(), whole);
    if tree == directory {
        return sound(tree).map(Denied::Tree);
    }
    let created = match denial {
        Denial::Change => true,
        Denial::Sight => directory.starts_with("$WORKSPACE/"),
        Denial::AtStart => false,
    };
    let all = tree.strip_suffix("/*") == Some(&directory);
    if !is_whole(&directory) && (created || all || !alike(&tree)) {
        return sound(directory).map(Denied::Tree);
    }
    match alike(&tree) && directory != "/" {
        true => sound(tree).map(Denied::Pattern),
        false => Err(PathFault::Glob),
    }
}

/// A path in which every character is literal.
pub fn literal(text: &str) -> Result<String, PathFault> {
    sound(escape(&rooted(text)))
}

/// The jail's own directories: granting one gives no access to the host.
pub fn is_own(path: &str) -> bool {
    matches!(path, "/tmp" | "/var/tmp" | "/dev/shm" | "~")
}

/// Whether no policy may grant the path.
pub fn is_never(path: &str) -> bool {
    let roots = ["/proc", "/sys", "/dev", "/run", "/var/run"];
    path == "/" || roots.iter().any(|root| within(path, root))
}

/// Whether the path is one of the directories that contain everything.
pub fn is_whole(path: &str) -> bool {
    WHOLE.contains(&path)
}

fn whole(directory: &str) -> String {
    match directory {
        "" => "/".into(),
        directory => directory.into(),
    }
}

/// Whether a glob means the same in every program that has globs: no braces, no backslash, no `**` next
/// to other characters, and in brackets only letters, digits, `_` and ranges of them. `[!a]` is a set of
/// a regular expression in some programs, and contains the `!`.
fn alike(path: &str) -> bool {
    path.split('/').all(|part| {
        let stars = part == "**" || !part.contains("**");
        stars && !part.contains(['{', '}', '\\']) && brackets(part)
    })
}

fn brackets(part: &str) -> bool {
    let mut rest = part;
    while let Some((_, inside)) = rest.split_once('[') {
        let Some((class, after)) = inside.split_once(']') else {
            return false;
        };
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let mut bytes = class.bytes().peekable();
        let mut some = false;
        while let Some(byte) = bytes.next() {
            let ranged = bytes.next_if_eq(&b'-').is_some();
            let ends = !ranged || bytes.next().is_some_and(|to| plain(to) && to >= byte);
            if !plain(byte) || !ends {
                return false;
            }
            some = true;
        }
        if !some {
            return false;
        }
        rest = after;
    }
    !rest.contains(']')
}

/// The path with a leading root in creel's notation.
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

fn sound(path: String) -> Result<String, PathFault> {
    match path_fault(&path) {
        Some(fault) => Err(fault),
        None => Ok(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_is_never_wider_than_its_glob() {
        let ok = |path: &str| Ok(path.to_owned());
        let names = || Err(Unsaid::Names);
        let otherwise = || Err(Unsaid::Otherwise);
        for (text, globs, plain) in [
            (".", ok("$WORKSPACE"), ok("$WORKSPACE")),
            ("./src/", ok("$WORKSPACE/src"), ok("$WORKSPACE/src")),
            ("$HOME/.ssh", ok("~/.ssh"), ok("~/.ssh")),
            ("/a/**", ok("/a"), ok("/a/[*][*]")),
            ("/a/*", names(), ok("/a/[*]")),
            ("~/k/*.pem", names(), ok("~/k/[*].pem")),
            ("/a*/b/**", ok("/a*/b"), ok("/a[*]/b/[*][*]")),
            (
                "**/x/**",
                ok("$WORKSPACE/**/x"),
                ok("$WORKSPACE/[*][*]/x/[*][*]"),
            ),
            ("~/**", ok("~"), ok("~/[*][*]")),
            ("/a**/b/**", otherwise(), ok("/a[*][*]/b/[*][*]")),
            ("/a[b/**", otherwise(), ok("/a[[]b/[*][*]")),
            ("/a[!b]/**", otherwise(), ok("/a[[]!b]/[*][*]")),
            ("/*{a,b}/**", otherwise(), ok("/[*]{a,b}/[*][*]")),
            ("/a/{b,c}/d", ok("/a/{b,c}/d"), ok("/a/{b,c}/d")),
        ] {
            assert_eq!(granted(text, Spelling::Globs), globs, "{text}");
            assert_eq!(granted(text, Spelling::Plain), plain, "{text}");
        }
        for (text, fault) in [("/a/../b", PathFault::Parent), ("", PathFault::Empty)] {
            let unsaid = Err(Unsaid::Path(fault));
            assert_eq!(granted(text, Spelling::Globs), unsaid, "{text}");
        }
    }

    #[test]
    fn a_denial_is_never_narrower_than_its_glob() {
        let path = |path: &str| Ok(Denied::Path(path.to_owned()));
        let tree = |path: &str| Ok(Denied::Tree(path.to_owned()));
        let pattern = |path: &str| Ok(Denied::Pattern(path.to_owned()));
        let glob = || Err(PathFault::Glob);
        for (text, sight, change) in [
            (".", path("$WORKSPACE"), path("$WORKSPACE")),
            ("~/.ssh/", path("~/.ssh"), path("~/.ssh")),
            ("/a/**", tree("/a"), tree("/a")),
            ("/a/*", tree("/a"), tree("/a")),
            ("~/**", tree("~"), tree("~")),
            ("**", tree("$WORKSPACE"), tree("$WORKSPACE")),
            ("~/k/*.pem", pattern("~/k/*.pem"), tree("~/k")),
            ("~/k/*/x/**", pattern("~/k/*/x"), tree("~/k")),
            ("~/*.pem", pattern("~/*.pem"), pattern("~/*.pem")),
            ("src/*.key", tree("$WORKSPACE/src"), tree("$WORKSPACE/src")),
            (
                "**/.env",
                pattern("$WORKSPACE/**/.env"),
                pattern("$WORKSPACE/**/.env"),
            ),
            ("/a/[a.c]x", tree("/a"), tree("/a")),
            ("/a/[a-c0_]", pattern("/a/[a-c0_]"), tree("/a")),
            ("/a/[^b]x", tree("/a"), tree("/a")),
            ("/a/[c-a]x", tree("/a"), tree("/a")),
            ("/a/[]x", tree("/a"), tree("/a")),
            ("/a/x**", tree("/a"), tree("/a")),
            ("/a/{b,c}/d", tree("/a"), tree("/a")),
            ("x**", glob(), glob()),
            ("/*", glob(), glob()),
            ("/**/x", glob(), glob()),
            ("/a/../b", Err(PathFault::Parent), Err(PathFault::Parent)),
            ("/a/../*.b", Err(PathFault::Parent), Err(PathFault::Parent)),
            ("", Err(PathFault::Empty), Err(PathFault::Empty)),
        ] {
            assert_eq!(denied(text, Denial::Sight), sight, "{text}");
            assert_eq!(denied(text, Denial::Change), change, "{text}");
        }
        for (text, at_start) in [
            ("src/*.key", pattern("$WORKSPACE/src/*.key")),
            ("~/k/*.pem", pattern("~/k/*.pem")),
            ("**/.env", pattern("$WORKSPACE/**/.env")),
            ("/a/*", tree("/a")),
            ("/a/{b,c}/d", tree("/a")),
            ("x**", glob()),
            ("src", path("$WORKSPACE/src")),
        ] {
            assert_eq!(denied(text, Denial::AtStart), at_start, "{text}");
        }
    }
}
