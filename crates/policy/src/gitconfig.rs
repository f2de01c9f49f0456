//! git's configuration files, git-config(1): the values that name a program or a file which git uses.
//!
//! Owns the syntax and the table of keys. It reads no file and resolves no path. Where git would stop at
//! an invalid line, this parser continues with the next one, so that it never finds less than git does.

mod command;

pub use command::{Role, Word, beneath_home, words};

/// One variable that a file sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Lower case: `core`.
    pub section: String,
    /// As written, without the quotes.
    pub subsection: Option<Vec<u8>>,
    /// Lower case: `hookspath`.
    pub key: String,
    /// Empty if the key stands alone, which means true.
    pub value: Vec<u8>,
    /// 1-based.
    pub line: u32,
}

/// The kind of object that a value names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// Another configuration file; relative to this one unless it is absolute.
    Include,
    /// A directory of hooks, relative to the worktree or the repository.
    Hooks,
    /// A file or directory, relative to the worktree.
    Path,
    /// A shell command, run in the worktree.
    Command,
    /// A shell command if it begins with `!` or contains a slash; otherwise a word that git knows.
    Marked,
    /// The worktree itself; relative to the configuration.
    Worktree,
}

/// Each row: what the value names, the key, and when git uses it.
macro_rules! keys {
    ($($names:ident $key:literal: $when:literal;)+) => { &[$(($key, Names::$names, $when)),+] };
}

/// Keys whose values git uses. `*` matches any subsection or, in last position, any key.
pub const KEYS: &[(&str, Names, &str)] = keys! {
    Include "include.path": "git reads the named file as a part of this one";
    Include "includeif.*.path": "the same, under a condition that the jail may bring about";
    Hooks "core.hookspath": "hooks that git runs";
    Worktree "core.worktree": "the directory that relative paths start from";
    Command "core.fsmonitor": "status, add and commit run it";
    Command "core.sshcommand": "fetch and push run it";
    Command "core.gitproxy": "fetch runs it";
    Command "core.editor": "commit runs it";
    Command "core.pager": "log and diff run it";
    Command "core.askpass": "fetch and push run it";
    Command "core.alternaterefscommand": "fetch runs it";
    Path "core.attributesfile": "chooses filters that git runs";
    Path "core.excludesfile": "hides files from git status";
    Command "sequence.editor": "rebase runs it";
    Command "interactive.difffilter": "add runs it";
    Command "pager.*": "the command of that name runs it";
    Marked "alias.*": "git runs it as a command of its own";
    Marked "alias.*.command": "git runs it as a command of its own";
    Command "filter.*.clean": "add and status run it";
    Command "filter.*.smudge": "checkout runs it";
    Command "filter.*.process": "add, status and checkout run it";
    Command "gc.recentobjectshook": "gc runs it";
    Command "diff.external": "diff runs it";
    Command "diff.*.command": "diff runs it";
    Command "diff.*.textconv": "diff and log run it";
    Command "merge.*.driver": "merge runs it";
    Command "difftool.*.cmd": "difftool runs it";
    Command "difftool.*.path": "difftool runs it";
    Command "mergetool.*.cmd": "mergetool runs it";
    Command "mergetool.*.path": "mergetool runs it";
    Command "guitool.*.cmd": "gui runs it";
    Command "browser.*.cmd": "help runs it";
    Command "browser.*.path": "help runs it";
    Command "man.*.cmd": "help runs it";
    Command "man.*.path": "help runs it";
    Command "gpg.program": "commit, tag and log run it";
    Command "gpg.*.program": "commit, tag and log run it";
    Command "gpg.ssh.defaultkeycommand": "commit runs it";
    Path "gpg.ssh.allowedsignersfile": "lists the keys whose signatures are valid";
    Marked "credential.helper": "fetch and push run it";
    Marked "credential.*.helper": "fetch and push run it";
    Command "uploadpack.packobjectshook": "a fetch from this repository runs it";
    Command "remote.*.uploadpack": "fetch runs it";
    Command "remote.*.receivepack": "push runs it";
    Marked "submodule.*.update": "submodule update runs it";
    Command "hook.*.command": "git runs it as a hook";
    Command "trailer.*.cmd": "commit runs it";
    Command "trailer.*.command": "commit runs it";
    Marked "sendemail.*": "send-email runs its commands";
    Marked "sendemail.*.*": "send-email runs its commands";
    Command "tar.*.command": "archive runs it";
    Command "lfs.customtransfer.*.path": "git-lfs runs it";
    Path "init.templatedir": "hooks of every repository that is created later";
    Path "commit.template": "the beginning of a commit's message";
};

impl Entry {
    /// The object that the value names, if git uses it.
    pub fn names(&self) -> Option<Names> {
        KEYS.iter()
            .find(|(pattern, ..)| self.is(pattern))
            .map(|(_, names, _)| *names)
    }

    /// The key as git prints it, `filter.x.clean`.
    pub fn name(&self) -> String {
        let Entry { section, key, .. } = self;
        match self.subsection.as_deref().map(String::from_utf8_lossy) {
            None => format!("{section}.{key}"),
            Some(sub) => format!("{section}.{sub}.{key}"),
        }
    }

    fn is(&self, pattern: &str) -> bool {
        let Some((section, rest)) = pattern.split_once('.') else {
            return false;
        };
        if section != self.section {
            return false;
        }
        let (wanted, key) = match rest.rsplit_once('.') {
            None => (None, rest),
            Some((sub, key)) => (Some(sub), key),
        };
        let same = match (wanted, &self.subsection) {
            (None, None) | (Some("*"), Some(_)) => true,
            (Some(wanted), Some(sub)) => match wanted.strip_suffix('*') {
                Some(start) => sub.starts_with(start.as_bytes()),
                None => sub.eq_ignore_ascii_case(wanted.as_bytes()),
            },
            _ => false,
        };
        same && (key == "*" || key == self.key)
    }
}

/// Parses a variable as `git -c` and GIT_CONFIG_KEY_n name it: `filter.x.clean`. `line` is its number in
/// the list. `None` if the name has no dot.
pub fn variable(name: &[u8], value: &[u8], line: u32) -> Option<Entry> {
    let first = name.iter().position(|b| *b == b'.')?;
    let last = name.iter().rposition(|b| *b == b'.')?;
    let lower = |text: &[u8]| String::from_utf8_lossy(text).to_ascii_lowercase();
    Some(Entry {
        section: lower(&name[..first]),
        subsection: (first < last).then(|| name[first + 1..last].to_vec()),
        key: lower(&name[last + 1..]),
        value: value.to_vec(),
        line,
    })
}

/// The entries of GIT_CONFIG_PARAMETERS: `'name'='value'`, or the older form `'name=value'`.
pub fn parameters(text: &[u8]) -> Vec<Entry> {
    let mut all = vec![];
    let mut rest = text;
    let mut line = 0;
    loop {
        rest = rest.trim_ascii_start();
        if rest.is_empty() {
            return all;
        }
        line += 1;
        let whole = rest;
        let name = unquoted(&mut rest);
        let entry = match rest.strip_prefix(b"=") {
            Some(after) => {
                rest = after;
                let value = unquoted(&mut rest);
                variable(&name, &value, line)
            }
            None => match name.iter().position(|b| *b == b'=') {
                Some(at) => variable(&name[..at], &name[at + 1..], line),
                None => variable(&name, b"", line),
            },
        };
        all.extend(entry);
        // Skip text that is not a quoted word.
        if rest.len() == whole.len() {
            rest = &rest[1..];
        }
    }
}

/// Like git's sq_dequote: `'it'\''s'`.
fn unquoted(rest: &mut &[u8]) -> Vec<u8> {
    let mut text = vec![];
    loop {
        if let Some(after) = rest.strip_prefix(b"'") {
            let end = after
                .iter()
                .position(|b| *b == b'\'')
                .unwrap_or(after.len());
            text.extend_from_slice(&after[..end]);
            *rest = after.get(end + 1..).unwrap_or_default();
        } else if let [b'\\', byte, after @ ..] = rest {
            text.push(*byte);
            *rest = after;
        } else {
            return text;
        }
    }
}

/// The variables that a file sets, in file order.
pub fn parse(text: &[u8]) -> Vec<Entry> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let mut reader = Reader {
        rest: text,
        line: 1,
    };
    let (mut section, mut subsection) = (String::new(), None);
    let mut all = vec![];
    while let Some(byte) = reader.next() {
        match byte {
            b'#' | b';' => reader.skip_line(),
            b'[' => match reader.header() {
                Some(header) => (section, subsection) = header,
                None => reader.skip_line(),
            },
            byte if byte.is_ascii_alphabetic() => {
                let line = reader.line;
                let Some((key, value)) = reader.variable(byte) else {
                    reader.skip_line();
                    continue;
                };
                all.push(Entry {
                    section: section.clone(),
                    subsection: subsection.clone(),
                    key,
                    value,
                    line,
                });
            }
            _ => {}
        }
    }
    all
}

struct Reader<'a> {
    rest: &'a [u8],
    line: u32,
}

impl Reader<'_> {
    /// CR LF counts as one byte, LF.
    fn next(&mut self) -> Option<u8> {
        if self.rest.starts_with(b"\r\n") {
            self.rest = &self.rest[1..];
        }
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        self.line += u32::from(*first == b'\n');
        Some(*first)
    }

    fn peek(&self) -> Option<u8> {
        match self.rest.starts_with(b"\r\n") {
            true => Some(b'\n'),
            false => self.rest.first().copied(),
        }
    }

    fn skip_line(&mut self) {
        while self.peek().is_some_and(|byte| byte != b'\n') {
            self.next();
        }
    }

    /// Reads a header after `[`: `core]`, `filter "x"]` or the older form `filter.x]`.
    fn header(&mut self) -> Option<(String, Option<Vec<u8>>)> {
        let mut name = String::new();
        loop {
            match self.next()? {
                b']' => break,
                b' ' | b'\t' | b'\r' => {
                    let sub = self.quoted()?;
                    // `[filter.x "y"]` means `[filter "x.y"]`.
                    return Some(match name.split_once('.') {
                        Some((section, first)) => {
                            let whole = [first.as_bytes(), b".", sub.as_slice()].concat();
                            (section.to_owned(), Some(whole))
                        }
                        None => (name, Some(sub)),
                    });
                }
                byte if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.' => {
                    name.push(char::from(byte.to_ascii_lowercase()));
                }
                _ => return None,
            }
        }
        Some(match name.split_once('.') {
            Some((section, sub)) => (section.to_owned(), Some(sub.as_bytes().to_vec())),
            None => (name, None),
        })
    }

    /// Reads `"x"]`, skipping anything before the first quote in its line.
    fn quoted(&mut self) -> Option<Vec<u8>> {
        loop {
            match self.next()? {
                b'"' => break,
                b'\n' => return None,
                _ => {}
            }
        }
        let mut text = vec![];
        loop {
            match self.next()? {
                b'\n' => return None,
                b'"' => break,
                b'\\' => text.push(self.next()?),
                byte => text.push(byte),
            }
        }
        (self.next()? == b']').then_some(text)
    }

    /// Reads `hooksPath = value` after its first letter.
    fn variable(&mut self, first: u8) -> Option<(String, Vec<u8>)> {
        let mut key = String::from(char::from(first.to_ascii_lowercase()));
        while let Some(byte) = self.peek()
            && (byte.is_ascii_alphanumeric() || byte == b'-')
        {
            self.next();
            key.push(char::from(byte.to_ascii_lowercase()));
        }
        while let Some(b' ' | b'\t' | b'\r') = self.peek() {
            self.next();
        }
        match self.peek() {
            Some(b'=') => {
                self.next();
                Some((key, self.value()?))
            }
            None | Some(b'\n' | b'#' | b';') => Some((key, vec![])),
            Some(_) => None,
        }
    }

    fn value(&mut self) -> Option<Vec<u8>> {
        let mut text = vec![];
        // The length without trailing white space.
        let (mut kept, mut quoted) = (0, false);
        while let Some(byte) = self.peek() {
            if byte == b'\n' {
                break;
            }
            self.next();
            match byte {
                b'#' | b';' if !quoted => {
                    self.skip_line();
                    break;
                }
                b' ' | b'\t' | b'\r' if !quoted => {
                    if !text.is_empty() {
                        text.push(byte);
                    }
                    continue;
                }
                b'"' => {
                    quoted = !quoted;
                    kept = text.len();
                    continue;
                }
                b'\\' => match self.next()? {
                    b'\n' => continue,
                    b't' => text.push(b'\t'),
                    b'b' => text.push(8),
                    b'n' => text.push(b'\n'),
                    byte => text.push(byte),
                },
                byte => text.push(byte),
            }
            kept = text.len();
        }
        text.truncate(kept);
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<String> {
        let all = parse(text.as_bytes());
        all.iter()
            .map(|e| {
                let value = String::from_utf8_lossy(&e.value).into_owned();
                format!("{}:{}={value}", e.line, e.name())
            })
            .collect()
    }

    /// The output of git itself for these files, `git config --list`.
    #[test]
    fn files_are_read_as_git_reads_them() {
        for (text, expected) in [
            (
                "[core]\n\thooksPath = .githooks\n",
                &["2:core.hookspath=.githooks"][..],
            ),
            (
                "\u{feff}[CORE]\r\nHooksPath=\t a b \t\r\n",
                &["2:core.hookspath=a b"],
            ),
            (
                "[core] bare\n[a]x=1 # c\ny=2;d",
                &["1:core.bare=", "2:a.x=1", "3:a.y=2"],
            ),
            (
                "[filter \"A \\\"b\\\\\"]\nclean = x\n",
                &["2:filter.A \"b\\.clean=x"],
            ),
            ("[filter.UP]\nclean = x\n", &["2:filter.up.clean=x"]),
            (
                "[Filter.X \"Y.z\"]\nclean = x\n",
                &["2:filter.x.Y.z.clean=x"],
            ),
            ("[filter.a.B]\nclean = x\n", &["2:filter.a.b.clean=x"]),
            ("[filter. \"y\"]\nclean = x\n", &["2:filter..y.clean=x"]),
            (
                "[filter\r\"y\"]\nclean\r= x \r\r\n",
                &["2:filter.y.clean=x"],
            ),
            ("[alias]\nx = \"!a; b # c\" # d\n", &["2:alias.x=!a; b # c"]),
            (
                "[alias]\nx = a\\\n b\ny = \\\"q\\\"\\t\\\\\n",
                &["2:alias.x=a b", "4:alias.y=\"q\"\t\\"],
            ),
            (
                "[a]\nx = \" kept \" \nz = \"a\"  \"b\"",
                &["2:a.x= kept ", "3:a.z=a  b"],
            ),
            // git stops here; what follows counts all the same.
            ("[a]\n!\nb.c = 1\nx y\n[b\nv = 1\n[c]\nw=2\n", &["8:c.w=2"]),
            ("", &[]),
            ("[a", &[]),
            ("[a \"b", &[]),
        ] {
            assert_eq!(shown(text), expected, "{text:?}");
        }
    }

    #[test]
    fn keys_are_found_in_every_spelling() {
        let names = |text: &str| parse(text.as_bytes()).first().and_then(Entry::names);
        for (text, expected) in [
            ("[CORE]\nHOOKSPATH=x", Some(Names::Hooks)),
            ("[includeIf \"gitdir:~/x/\"]\npath=x", Some(Names::Include)),
            ("[include]\npath=x", Some(Names::Include)),
            ("[filter \"lfs\"]\nprocess=x", Some(Names::Command)),
            ("[filter.x]\nclean=x", Some(Names::Command)),
            ("[filter.x \"y\"]\nclean=x", Some(Names::Command)),
            ("[includeIf.gitdir \"x\"]\npath=x", Some(Names::Include)),
            ("[lfs.customtransfer \"x\"]\npath=x", Some(Names::Command)),
            ("[alias]\nanything=!x", Some(Names::Marked)),
            (
                "[credential \"https://x.example\"]\nhelper=x",
                Some(Names::Marked),
            ),
            ("[lfs \"customtransfer.x\"]\npath=x", Some(Names::Command)),
            ("[gpg \"ssh\"]\nallowedSignersFile=x", Some(Names::Path)),
            ("[core \"x\"]\nhooksPath=x", None),
            ("[filter]\nclean=x", None),
            ("[remote \"o\"]\nurl=x", None),
            ("[user]\nname=x", None),
        ] {
            assert_eq!(names(text), expected, "{text}");
        }
    }

    #[test]
    fn every_key_of_the_table_is_one_that_can_be_written() {
        for (pattern, names, reason) in KEYS {
            assert!(!reason.is_empty());
            assert_eq!(*pattern, pattern.to_ascii_lowercase(), "{names:?}");
            assert!(pattern.contains('.'));
        }
    }

    #[test]
    fn variables_of_the_environment_are_read_as_git_reads_them() {
        let shown = |text: &str| -> Vec<String> {
            let all = parameters(text.as_bytes());
            let text = |entry: &Entry| {
                format!("{}={}", entry.name(), String::from_utf8_lossy(&entry.value))
            };
            all.iter().map(text).collect()
        };
        for (text, expected) in [
            ("'core.hooksPath=.h'", &["core.hookspath=.h"][..]),
            (
                "'Filter.X.y.Clean'='it'\\''s' 'core.bare'= 'a.b'",
                &["filter.X.y.clean=it's", "core.bare=", "a.b="],
            ),
            ("junk 'a.b=c", &["a.b=c"]),
            ("'nodot=x'", &[]),
            ("", &[]),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn no_text_is_too_strange() {
        let mut seed = 7_u32;
        let parts = [
            "[", "]", "\"", "\\", "\n", "\r\n", "a", "=", " ", "#", ".", "\t", "é",
        ];
        for _ in 0..20_000 {
            let text: String = (0..12)
                .map(|_| {
                    seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    parts[(seed >> 16) as usize % parts.len()]
                })
                .collect();
            parse(text.as_bytes());
            words(text.as_bytes());
            parameters(text.as_bytes());
        }
    }
}
