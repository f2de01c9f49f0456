//! Questions to the person at the terminal. Without a terminal or an answer, the answer is no.
//!
//! A jail's output is on the same screen: it may look like a question, or be meant to hide one. So no
//! output of the jail is shown while a question is open, changes that it may have made to the terminal are
//! undone first, and the answer that allows contains letters that the jail cannot know. Output that still
//! comes through a pipe of the caller's (`| tee`) may be shown over all of that. So the answer names the
//! destination as well, and a person who copies the answer from another question denies this one.

use std::fs::File;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use creel_egress::protocol::Consent;
use creel_egress::target::Target;
use creel_policy::net::Host;
use creel_sys::{host, pty, readiness, signal};

/// How long a question is open.
const PATIENCE: Duration = Duration::from_secs(30);

/// Undoes changes that a jail may have made to a terminal, in this order.
const BEGIN: &str = concat!(
    // Unfinished input: CAN and ST (ECMA-48, 8.3.6 and 8.3.143) end a sequence or string, `<` the mode of a
    // VT52, which knows none of the following, and 4i a printer that receives the screen's text.
    "\x18\x1b\\\x1b<\x1b[4i",
    // A held-back update (2026), an open link (OSC 8), colours with one set to another (OSC 104, 110, 111;
    // `R` on Linux's own), a screen with the two exchanged (DECSCNM).
    "\x1b[?2026l\x1b]8;;\x1b\\\x1b]104\x1b\\\x1b]110\x1b\\\x1b]111\x1b\\\x1b]R\x1b\\\x1b[?5l",
    // Reports beyond the keys that are pressed: the mouse, a change of focus, of size and of colours,
    // pasted text in brackets, and keys as sequences (xterm's and kitty's).
    "\x1b[?9l\x1b[?1000l\x1b[?1001l\x1b[?1002l\x1b[?1003l\x1b[?1004l\x1b[?1005l\x1b[?1006l\x1b[?1015l\x1b[?1016l",
    "\x1b[?2004l\x1b[?2031l\x1b[?2048l\x1b[>4;0m\x1b[<99u\x1b[=0;1u",
    // Rows that do not scroll would hide a part of the question: a soft reset (DECSTR) and, for terminals
    // without it, no origin mode (DECOM), no margins at the sides (DECLRMM) or above and below (DECSTBM),
    // no insertion (IRM).
    "\x1b[!p\x1b[?6l\x1b[?69l\x1b[r\x1b[4l",
    // No colours and no concealed text (SGR 0), letters as letters (SI, and ASCII in G0), long lines
    // wrapped (DECAWM), the cursor shown; and from the last row a new line, with the rest erased (ED).
    "\x1b[0m\x0f\x1b(B\x1b[?7h\x1b[?25h\x1b[9999;1H\n\x1b[J",
);

/// The ports that an answer need not name.
const WEB: [u16; 2] = [80, 443];

/// The longest answer: letters, a name of 253 bytes, a port, some space.
const LONGEST: usize = 512;

/// Asks whether the jail may connect to `host` and `port`. Unanswered without a terminal, an answer or a
/// valid name.
pub async fn may(host: &str, port: u16) -> Consent {
    let Some(terminal) = pty::of_caller() else {
        return Consent::Unanswered;
    };
    tokio::time::timeout(PATIENCE, question(terminal, host, port))
        .await
        .unwrap_or(Consent::Unanswered)
}

async fn question(terminal: File, host: &str, port: u16) -> Consent {
    use std::io::Write as _;
    // A valid host name contains no terminal sequences. A question is not asked for any other.
    let Ok(host) = Host::parse(host.as_bytes()) else {
        return Consent::Unanswered;
    };
    let Some(word) = host::random_word() else {
        return Consent::Unanswered;
    };
    let mut screen = &terminal;
    let text = format!("{BEGIN}{}", wording(&word, &host, port));
    // Another job may have the terminal by now. That is an error here, and does not stop creel.
    let Ok(held) = signal::Held::of_terminals() else {
        return Consent::Unanswered;
    };
    // The terminal is raw if the jail has it. Input typed before the question is not an answer to it.
    let Ok(_lines) = pty::Lines::enter(terminal.as_fd()) else {
        return Consent::Unanswered;
    };
    if screen.write_all(text.as_bytes()).is_err() {
        return Consent::Unanswered;
    }
    drop(held);
    let Ok(keys) = readiness::to_read(OwnedFd::from(terminal)) else {
        return Consent::Unanswered;
    };
    let mut line = vec![];
    loop {
        let Ok(mut ready) = keys.readable().await else {
            return Consent::Unanswered;
        };
        let mut bytes = [0; 64];
        let Ok(held) = signal::Held::of_terminals() else {
            return Consent::Unanswered;
        };
        let read = rustix::io::read(keys.get_ref(), &mut bytes);
        drop(held);
        match read {
            Ok(0) => return Consent::Unanswered,
            Ok(count) => line.extend_from_slice(&bytes[..count]),
            Err(creel_sys::Errno::AGAIN) => ready.clear_ready(),
            Err(_) => return Consent::Unanswered,
        }
        if line.iter().any(|key| matches!(key, b'\n' | b'\r')) || line.len() > LONGEST {
            return match allows(&line, &word, &host, port) {
                true => Consent::Allowed,
                false => Consent::Denied,
            };
        }
    }
}

/// The question. The text to type has its own line, to be read whole and copied.
fn wording(word: &str, host: &Host, port: u16) -> String {
    let bracketed = match host {
        Host::Address(IpAddr::V6(address)) => format!("[{address}]"),
        host => host.to_string(),
    };
    let place = match WEB.contains(&port) {
        true => bracketed,
        false => format!("{bracketed}:{port}"),
    };
    format!(
        "creel: may the jail connect to {host} port {port}?\n\
        type the next line to allow it, Enter to deny:\n\
        {word} {place}\n> "
    )
}

/// Whether a typed line allows it: the letters, then the destination.
fn allows(line: &[u8], word: &str, host: &Host, port: u16) -> bool {
    // ASCII only: a copied look-alike of a name must not be converted to the name.
    let Some(text) = str::from_utf8(line).ok().filter(|text| text.is_ascii()) else {
        return false;
    };
    // A terminal may mark pasted text (xterm's bracketed paste).
    let text = text.replace("\x1b[200~", "").replace("\x1b[201~", "");
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let [letters, place] = words[..] else {
        return false;
    };
    letters.eq_ignore_ascii_case(word)
        && Target::parse(place.as_bytes()).is_ok_and(|target| {
            let same_port = match target.port {
                Some(named) => named == port,
                None => WEB.contains(&port),
            };
            target.host == *host && same_port
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Host {
        Host::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn what_the_question_says_is_what_allows() {
        let long = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(61));
        for (name, port, place) in [
            ("files.example", 443, "files.example"),
            ("files.example", 80, "files.example"),
            ("files.example", 8443, "files.example:8443"),
            ("192.0.2.1", 443, "192.0.2.1"),
            ("192.0.2.1", 22, "192.0.2.1:22"),
            ("2001:db8::1", 443, "[2001:db8::1]"),
            ("2001:db8::1", 22, "[2001:db8::1]:22"),
            (&long, 65535, &format!("{long}:65535")),
        ] {
            let text = wording("kfxm", &host(name), port);
            let lines: Vec<&str> = text.lines().collect();
            assert_eq!(
                lines,
                [
                    &format!("creel: may the jail connect to {name} port {port}?"),
                    "type the next line to allow it, Enter to deny:",
                    &format!("kfxm {place}"),
                    "> ",
                ]
            );
            let line = format!("{}\n", lines[2]);
            assert!(line.len() < LONGEST);
            assert!(allows(line.as_bytes(), "kfxm", &host(name), port), "{line}");
        }
    }

    #[test]
    fn case_and_space_do_not_matter_and_a_port_may_be_named() {
        for line in [
            "kfxm files.example\n",
            "  KFXM\t Files.Example \r",
            "kfxm files.example:443\n",
            "kfxm files.example.\n",
            "\x1b[200~kfxm files.example\n",
            "\x1b[200~kfxm files.example\x1b[201~\n",
        ] {
            let allowed = allows(line.as_bytes(), "kfxm", &host("files.example"), 443);
            assert!(allowed, "{line:?}");
        }
    }

    #[test]
    fn anything_else_denies() {
        for line in [
            "\n",
            "y\n",
            "yes\n",
            "kfxm\n",
            "files.example\n",
            "kfxn files.example\n",
            "kfxmfiles.example\n",
            "files.example kfxm\n",
            "kfxm files.example and more\n",
            "kfxm files.example kfxm files.example\n",
            "kfxm \"files.example\"\n",
            // The answer that a question over this one would have had.
            "kfxm docs.rs\n",
            "kfxm example\n",
            "kfxm s.example\n",
            "kfxm files.exampl\n",
            "kfxm evil.files.example\n",
            "kfxm files.example:80\n",
            "kfxm files.example:22\n",
            "kfxm files.example:\n",
            "kfxm user@files.example\n",
            "kfxm https://files.example\n",
            "kfxm files.example/\n",
            // Words that only look like it, and that UTS 46 would make the same.
            "kfxm \u{ff46}iles.example\n",
            "kfxm files\u{3002}example\n",
            "kfxm fi\u{ad}les.example\n",
            "\u{212a}fxm files.example\n",
            // Answers of a terminal to a query.
            "\x1b[?62;c\n",
            "\x1b]lkfxm files.example\x1b\\\n",
            "\x1b[Ikfxm files.example\n",
            "kfxm files.example\0\n",
        ] {
            let allowed = allows(line.as_bytes(), "kfxm", &host("files.example"), 443);
            assert!(!allowed, "{line:?}");
        }
        // A port that the question named is named in the answer.
        for line in ["kfxm files.example\n", "kfxm files.example:443\n"] {
            let allowed = allows(line.as_bytes(), "kfxm", &host("files.example"), 22);
            assert!(!allowed, "{line:?}");
        }
        for line in ["kfxm 2001:db8::2\n", "kfxm [2001:db8::2]\n"] {
            let allowed = allows(line.as_bytes(), "kfxm", &host("2001:db8::1"), 443);
            assert!(!allowed, "{line:?}");
        }
        let cut = b"kfxm files.example\xff\n";
        assert!(!allows(cut, "kfxm", &host("files.example"), 443));
    }
}
