//! The literal part of Starlark: calls whose arguments are named strings and lists of strings.
//!
//! Owns parsing a text into statements. Anything else becomes one statement of unknown meaning: it is not
//! run. Nesting is limited, and no text makes it panic.

use creel_policy::error::{PolicyError, RulesFault};
use creel_policy::tree::Text;

/// The maximum nesting of lists, and of brackets in unknown statements.
const MAX_DEPTH: usize = 16;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Literal {
    Text(String),
    List(Vec<Literal>),
}

/// One statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The byte offset of its start.
    pub start: usize,
    pub what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A function name and named arguments.
    Call(String, Vec<(String, Literal)>),
    /// Anything else, up to the end of its line or of its brackets.
    Other,
}

/// The statements of a text.
pub fn read(text: &Text) -> Result<Vec<Statement>, PolicyError> {
    let mut scan = Scan { text, at: 0 };
    let mut statements = vec![];
    loop {
        scan.blank();
        while scan.eat(b';') {
            scan.blank();
        }
        if scan.peek().is_none() {
            return Ok(statements);
        }
        let start = scan.at;
        let what = match scan.call() {
            Some((name, arguments)) => What::Call(name, arguments),
            None => {
                scan.at = start;
                scan.skip()?;
                What::Other
            }
        };
        statements.push(Statement { start, what });
    }
}

struct Scan<'t, 'a> {
    text: &'t Text<'a>,
    at: usize,
}

impl Scan<'_, '_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_str().as_bytes().get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let here = self.peek() == Some(byte);
        self.at += usize::from(here);
        here
    }

    /// Skips blanks, line ends and comments.
    fn blank(&mut self) {
        while let Some(byte) = self.peek() {
            match byte {
                b'#' => self.line(),
                b' ' | b'\t' | b'\n' | b'\r' => self.at += 1,
                _ => return,
            }
        }
    }

    fn line(&mut self) {
        while self.peek().is_some_and(|byte| byte != b'\n') {
            self.at += 1;
        }
    }

    fn name(&mut self) -> Option<String> {
        let start = self.at;
        while self
            .peek()
            .is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_')
        {
            self.at += 1;
        }
        let name = self.text.as_str().get(start..self.at)?;
        (!name.is_empty()).then(|| name.to_owned())
    }

    /// Parses `name(key = literal, ...)`, if nothing follows on its line.
    fn call(&mut self) -> Option<(String, Vec<(String, Literal)>)> {
        let name = self.name()?;
        self.blank();
        if !self.eat(b'(') {
            return None;
        }
        let mut arguments: Vec<(String, Literal)> = vec![];
        loop {
            self.blank();
            if self.eat(b')') {
                break;
            }
            let key = self.name()?;
            self.blank();
            if !self.eat(b'=') {
                return None;
            }
            self.blank();
            let value = self.literal(0)?;
            if arguments.iter().any(|(known, _)| *known == key) {
                return None;
            }
            arguments.push((key, value));
            self.blank();
            if !self.eat(b',') {
                self.blank();
                if !self.eat(b')') {
                    return None;
                }
                break;
            }
        }
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r')) {
            self.at += 1;
        }
        matches!(self.peek(), None | Some(b'\n' | b'#' | b';')).then_some((name, arguments))
    }

    fn literal(&mut self, depth: usize) -> Option<Literal> {
        if depth > MAX_DEPTH {
            return None;
        }
        match self.peek()? {
            b'"' | b'\'' => self.string().map(Literal::Text),
            b'[' => {
                self.at += 1;
                let mut all = vec![];
                loop {
                    self.blank();
                    if self.eat(b']') {
                        return Some(Literal::List(all));
                    }
                    all.push(self.literal(depth + 1)?);
                    self.blank();
                    if !self.eat(b',') {
                        self.blank();
                        return self.eat(b']').then_some(Literal::List(all));
                    }
                }
            }
            _ => None,
        }
    }

    /// Parses a string of one line, with the escapes for single characters.
    fn string(&mut self) -> Option<String> {
        let quote = self.peek()?;
        let rest = self.text.as_str().get(self.at + 1..)?;
        // Three quotes start a string of several lines.
        if rest.as_bytes().starts_with(&[quote, quote]) {
            return None;
        }
        let mut out = String::new();
        let mut chars = rest.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '\n' => return None,
                '\\' => match chars.next()?.1 {
                    'n' => out.push('\n'),
                    't' => out.push('\t'),
                    c @ ('\\' | '"' | '\'') => out.push(c),
                    _ => return None,
                },
                c if c == char::from(quote) => {
                    self.at += 1 + at + 1;
                    return Some(out);
                }
                c => out.push(c),
            }
        }
        None
    }

    /// Skips a statement that is not a call: the rest of its line, and more while brackets are open.
    fn skip(&mut self) -> Result<(), PolicyError> {
        let mut open = 0usize;
        while let Some(byte) = self.peek() {
            match byte {
                b'\n' if open == 0 => return Ok(()),
                b'#' => {
                    self.line();
                    continue;
                }
                b'"' | b'\'' => {
                    let at = self.at;
                    self.skip_string(byte)
                        .ok_or_else(|| self.fault(at, RulesFault::OpenString))?;
                    continue;
                }
                b'(' | b'[' | b'{' => open += 1,
                b')' | b']' | b'}' => open = open.saturating_sub(1),
                0..=8 | 11 | 12 | 14..=31 | 127 => {
                    return Err(self.fault(self.at, RulesFault::Character));
                }
                _ => {}
            }
            if open > MAX_DEPTH {
                return Err(self.fault(self.at, RulesFault::TooDeep));
            }
            self.at += 1;
        }
        match open {
            0 => Ok(()),
            _ => Err(self.fault(self.at, RulesFault::OpenBracket)),
        }
    }

    fn skip_string(&mut self, quote: u8) -> Option<()> {
        let bytes = self.text.as_str().as_bytes();
        let triple = bytes.get(self.at..)?.starts_with(&[quote; 3]);
        self.at += if triple { 3 } else { 1 };
        while let Some(byte) = self.peek() {
            match byte {
                b'\\' => self.at += 2,
                b'\n' if !triple => return None,
                byte if byte == quote && !triple => {
                    self.at += 1;
                    return Some(());
                }
                byte if byte == quote && bytes.get(self.at..)?.starts_with(&[quote; 3]) => {
                    self.at += 3;
                    return Some(());
                }
                _ => self.at += 1,
            }
        }
        None
    }

    fn fault(&self, at: usize, fault: RulesFault) -> PolicyError {
        PolicyError::Rules {
            at: self.text.place(at),
            fault,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<bool> {
        let lines = Text::new("p.rules", text);
        let statements = read(&lines).unwrap_or_else(|error| panic!("{error}"));
        statements
            .iter()
            .map(|s| matches!(s.what, What::Call(..)))
            .collect()
    }

    #[test]
    fn literal_calls_are_read_and_nothing_else() {
        assert_eq!(
            kinds("# c\nf()\nf(a = 'x', b=[\"y\", ['z']],)  # d\n"),
            [true, true]
        );
        assert_eq!(
            kinds("x = [\n 1,\n]\nf(a = x)\nf(a='x')"),
            [false, false, true]
        );
        assert_eq!(
            kinds("f(a='x') + 1\nf('x')\nf(a='x', a='y')"),
            [false, false, false]
        );
        assert_eq!(
            kinds("'''doc\nf(a='x')\n'''\nf(a=\"\"\"x\"\"\")"),
            [false, false]
        );
        assert_eq!(kinds("for x in y:\n    f(a='x')"), [false, true]);
        assert_eq!(kinds(""), [false; 0]);
        let nested = |n: usize| format!("f(a={}{})", "[".repeat(n), "]".repeat(n));
        assert_eq!(kinds(&nested(17)), [true]);
        assert!(read(&Text::new("p.rules", &nested(18))).is_err());
    }

    #[test]
    fn what_does_not_end_is_an_error() {
        for text in [
            "x = 'a",
            "x = (",
            "\u{1}",
            &"(".repeat(99),
            "'''",
            "x = '\\",
        ] {
            assert!(read(&Text::new("p.rules", text)).is_err(), "{text}");
        }
    }
}
