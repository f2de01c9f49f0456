//! The protocol between the client of a session, `creel` in its jail, and the session's keeper. The other side is
//! `client/main.rs` of creel-sys.

use creel_sys::client::MOST;

/// Clients that wait for the keeper; connect(2) of a further one waits.
pub const BACKLOG: i32 = 8;

/// The arguments of a request: `None` if it is none.
pub fn arguments(request: &[u8]) -> Option<Vec<&[u8]>> {
    match request {
        [1] => Some(vec![]),
        [1, words @ .., 0] => Some(words.split(|byte| *byte == 0).collect()),
        _ => None,
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Text for stdout.
    pub out: String,
    /// Text for stderr.
    pub err: String,
    /// The exit status of the client.
    pub exit_status: u8,
}

impl Answer {
    /// Its messages, in order.
    pub fn messages(&self) -> impl Iterator<Item = Vec<u8>> {
        let end = [0, self.exit_status];
        let stdout = self.out.as_bytes().chunks(MOST - 1).map(|part| (1, part));
        let stderr = self.err.as_bytes().chunks(MOST - 1).map(|part| (2, part));
        let text = stdout.chain(stderr);
        text.map(|(to, part)| [&[to], part].concat())
            .chain([end.to_vec()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_a_list_of_arguments() {
        let none: [&[u8]; 0] = [];
        assert_eq!(arguments(b"\x01").as_deref(), Some(&none[..]));
        let one = arguments(b"\x01what\0");
        assert_eq!(one.as_deref(), Some(&[&b"what"[..]][..]));
        let two = arguments(b"\x01a\0\xff\0");
        assert_eq!(two.as_deref(), Some(&[&b"a"[..], b"\xff"][..]));
        let empty = arguments(b"\x01a\0\0");
        assert_eq!(empty.as_deref(), Some(&[&b"a"[..], b""][..]));
        for broken in [&b""[..], b"what\0", b"\x01what", b"\x02what\0"] {
            assert_eq!(arguments(broken), None);
        }
    }

    #[test]
    fn an_answer_is_cut_into_messages_and_ends_with_its_status() {
        let answer = Answer {
            out: "x".repeat(MOST),
            err: "no".into(),
            exit_status: 3,
        };
        let messages: Vec<_> = answer.messages().collect();
        assert!(messages.iter().all(|message| message.len() <= MOST));
        assert_eq!(messages.len(), 4);
        assert_eq!(messages[1], [1, b'x']);
        assert_eq!(messages[2..], [vec![2, b'n', b'o'], vec![0, 3]]);
    }
}
