//! Words of a command that git passes to the shell: which of them name files that it runs or reads.
//!
//! Owns what is known without a shell. It expands nothing, and omits words that a shell would expand.

/// A word of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// The bytes of the word, without quotes.
    pub text: Vec<u8>,
    /// The shell's use of the word.
    pub role: Role,
}

/// The role of a word in a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The name of a program; without a slash, the shell searches it in PATH.
    Program,
    /// The file that an interpreter runs, as in `sh cleaner`, with or without a slash.
    Script,
    /// Anything else, which may be a file.
    Argument,
}

/// Characters that end a word.
const ENDS: &[u8] = b" \t\r\n;|&()<>`";
/// Words that can precede the name of a program.
const LEADERS: [&[u8]; 17] = [
    b"!", b"{", b"if", b"then", b"elif", b"else", b"while", b"until", b"do", b"exec", b"command",
    b"env", b"time", b"nice", b"nohup", b"xargs", b"sudo",
];
/// Programs whose first argument is a file that they run; also with a version, `python3.11`.
const INTERPRETERS: [&str; 17] = [
    "sh", "ash", "bash", "dash", "ksh", "zsh", "fish", ".", "source", "python", "perl", "ruby",
    "node", "php", "lua", "tclsh", "Rscript",
];
/// The depth to which quoted words are parsed as commands: `sh -c "sh -c 'x'"`.
const MOST_QUOTED: u32 = 4;

/// The words of a shell command that can be determined without a shell. Words with variables or
/// substitutions are left out, because their value is not known. Quoted text is a word, and may also be a
/// command.
pub fn words(command: &[u8]) -> Vec<Word> {
    let mut all = vec![];
    let command = command.strip_prefix(b"!").unwrap_or(command);
    split(command, MOST_QUOTED, &mut all);
    all
}

/// A word while it is read.
#[derive(Default)]
struct Reading {
    text: Vec<u8>,
    /// Quoted parts, which may be commands.
    quoted: Vec<Vec<u8>>,
    /// The offset of the first quote or escape; `A=` before it is an assignment.
    plain: Option<usize>,
    /// The shell would substitute part of the word.
    unknown: bool,
}

fn split(command: &[u8], depth: u32, all: &mut Vec<Word>) {
    let mut role = Role::Program;
    let mut before: Vec<u8> = vec![];
    let mut rest = command;
    while let Some((&first, after)) = rest.split_first() {
        if ENDS.contains(&first) {
            if b"\n;|&()`".contains(&first) {
                role = Role::Program;
                before.clear();
            }
            rest = after;
            continue;
        }
        let word = read(&mut rest);
        let text = &word.text;
        // `sh -c './x'`, `-ec`.
        let command = is_c(&before);
        let is = match role {
            Role::Argument if command => Role::Program,
            _ if text.starts_with(b"-") => Role::Argument,
            role => role,
        };
        let name = text.iter().position(|b| *b == b'=');
        let assigns = name.filter(|at| {
            let plain = word.plain.is_none_or(|quote| *at < quote);
            *at > 0 && plain && !text[..*at].contains(&b'/')
        });
        match assigns {
            // `BASH_ENV=x`, `--rcfile=x`.
            Some(at) if !word.unknown || is_home(&text[at + 1..]) => {
                push(all, text[at + 1..].to_vec(), Role::Argument);
            }
            // The name of one of git's own commands is not a file.
            None if is == Role::Argument && is_git(&before) && is_plain(text) => {}
            None if !word.unknown || is_home(text) => push(all, text.clone(), is),
            _ => {}
        }
        let further = word.quoted.iter().filter(|_| depth > 0);
        for text in further.filter(|text| command || text.iter().any(|b| ENDS.contains(b))) {
            split(text, depth - 1, all);
        }
        let leads =
            assigns.is_some() || text.starts_with(b"-") || LEADERS.contains(&text.as_slice());
        role = match role {
            Role::Program if leads => Role::Program,
            Role::Program if runs_a_file(text) => Role::Script,
            _ => Role::Argument,
        };
        before = word.text;
    }
}

/// Reads one word, up to a character of [`ENDS`].
fn read(rest: &mut &[u8]) -> Reading {
    let mut word = Reading::default();
    while let Some((&byte, after)) = rest.split_first() {
        match byte {
            _ if ENDS.contains(&byte) => break,
            b'\'' | b'"' => {
                word.plain.get_or_insert(word.text.len());
                *rest = after;
                let inside = quoted(rest, byte, &mut word);
                word.text.extend_from_slice(&inside);
                word.quoted.push(inside);
            }
            b'\\' => {
                word.plain.get_or_insert(word.text.len());
                *rest = after;
                if let Some((&next, after)) = rest.split_first() {
                    *rest = after;
                    if next != b'\n' {
                        word.text.push(next);
                    }
                }
            }
            _ => {
                word.unknown |= b"%*?{}$".contains(&byte);
                word.text.push(byte);
                *rest = after;
            }
        }
    }
    word
}

/// Reads quoted text, up to the closing quote.
fn quoted(rest: &mut &[u8], quote: u8, word: &mut Reading) -> Vec<u8> {
    let mut text = vec![];
    while let Some((&byte, after)) = rest.split_first() {
        *rest = after;
        match byte {
            _ if byte == quote => break,
            b'\\' if quote == b'"' => {
                let Some((&next, after)) = rest.split_first() else {
                    break;
                };
                *rest = after;
                // Before any other character, a backslash stands for itself.
                if !b"$`\"\\\n".contains(&next) {
                    text.push(byte);
                }
                text.push(next);
            }
            _ => {
                // git puts single quotes of its own around the value of `%f`, wherever it stands.
                word.unknown |= byte == b'%' || quote == b'"' && b"$`".contains(&byte);
                text.push(byte);
            }
        }
    }
    text
}

fn push(all: &mut Vec<Word>, text: Vec<u8>, role: Role) {
    if !text.is_empty() {
        all.push(Word { text, role });
    }
}

fn is_plain(word: &[u8]) -> bool {
    word.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-')
}

/// Whether this option takes a command: a group of letters that ends in `c`.
fn is_c(option: &[u8]) -> bool {
    let letters = option.strip_prefix(b"-").unwrap_or_default();
    letters.ends_with(b"c") && letters.iter().all(u8::is_ascii_alphabetic)
}

fn is_git(program: &[u8]) -> bool {
    program == b"git" || program.ends_with(b"/git")
}

fn runs_a_file(program: &[u8]) -> bool {
    let name = program.rsplit(|b| *b == b'/').next().unwrap_or(program);
    let version = |rest: &[u8]| rest.iter().all(|b| b.is_ascii_digit() || *b == b'.');
    INTERPRETERS
        .iter()
        .any(|known| match name.strip_prefix(known.as_bytes()) {
            Some(rest) => version(rest) && (*known != "." || rest.is_empty()),
            None => false,
        })
}

fn is_home(word: &[u8]) -> bool {
    beneath_home(word).is_some_and(|rest| !rest.iter().any(|b| b"%*?{}$`".contains(b)))
}

/// The part of a path after the caller's home, as git or the shell writes it, if it is there.
pub fn beneath_home(path: &[u8]) -> Option<&[u8]> {
    [&b"~/"[..], b"$HOME/", b"${HOME}/"]
        .iter()
        .find_map(|home| path.strip_prefix(*home))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_a_command_are_told_apart() {
        let shown = |command: &str| -> Vec<String> {
            let all = words(command.as_bytes());
            all.iter()
                .map(|w| {
                    let mark = match w.role {
                        Role::Program => "+",
                        Role::Script => "@",
                        Role::Argument => "",
                    };
                    format!("{mark}{}", String::from_utf8_lossy(&w.text))
                })
                .collect()
        };
        for (command, expected) in [
            ("./tools/clean %f", &["+./tools/clean"][..]),
            (
                "!A=1 ./x --y z | b/c && d/e",
                &["1", "+./x", "--y", "z", "+b/c", "+d/e"],
            ),
            ("'./a' \"b c\"", &["+./a", "b c", "+b", "c"]),
            ("!f() { git log; }; f", &["+f", "+git", "+f"]),
            (
                "$HOME/x ${HOME}/y $Z/q ~/z",
                &["+$HOME/x", "${HOME}/y", "~/z"],
            ),
            (
                "sh -c './t/a;t/b'",
                &["+sh", "-c", "+./t/a;t/b", "+./t/a", "+t/b"],
            ),
            ("sh cleaner %f", &["+sh", "@cleaner"]),
            (
                "/usr/bin/python3.11 cleaner x",
                &["+/usr/bin/python3.11", "@cleaner", "x"],
            ),
            (". ./x; source y", &["+.", "@./x", "+source", "@y"]),
            ("sh -x cleaner", &["+sh", "-x", "cleaner"]),
            ("exec env -i A=b ./x", &["+exec", "+env", "-i", "b", "+./x"]),
            (
                "bash --rcfile=conf/rc -c ./x",
                &["+bash", "conf/rc", "-c", "+./x"],
            ),
            (
                "./my\\ tool 'a b'/c\"d\"",
                &["+./my tool", "a b/cd", "+a", "b"],
            ),
            (
                "sh \"-c\" \"sh -c \\\"./q r\\\"\"",
                &[
                    "+sh",
                    "-c",
                    "+sh -c \"./q r\"",
                    "+sh",
                    "-c",
                    "+./q r",
                    "+./q",
                    "r",
                ],
            ),
            ("\"./$X\" 'y$z' \"", &["y$z"]),
            ("git -C x add y", &["+git", "x", "add", "y"]),
            ("", &[]),
        ] {
            assert_eq!(shown(command), expected, "{command}");
        }
    }
}
