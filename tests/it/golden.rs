//! Files that hold what was found before: goldens, answers to what stands in the file itself, pages of
//! the documents. `CREEL_WRITE=1` writes them anew, for somebody to read.

use std::path::{Path, PathBuf};

/// A path of the repository.
fn rooted(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn writes() -> bool {
    std::env::var_os("CREEL_WRITE").is_some()
}

/// Whether the file holds `found`.
pub fn holds(path: &str, found: &str) -> bool {
    let path = rooted(path);
    if writes() {
        std::fs::write(&path, found).expect("the golden is writable");
    }
    std::fs::read_to_string(&path).unwrap_or_default() == found
}

/// A file that holds `found` and nothing else.
pub fn hold(path: &str, found: &str) {
    assert!(
        holds(path, found),
        "{path} is behind: CREEL_WRITE=1 writes it\n{found}"
    );
}

/// A file of blocks, each a line `===` with the rest of it as its head, a question, and from the first
/// line `--- ` on what `answer` says of the head and the question.
pub fn hold_answers(path: &str, least: usize, answer: impl Fn(&str, &str) -> String) {
    let kept = std::fs::read_to_string(rooted(path)).expect(path);
    let mut count = 0;
    let mut found = String::new();
    for block in kept.split("===").skip(1) {
        let (head, rest) = block.split_once('\n').expect("a head");
        let question = rest.split("--- ").next().unwrap_or_default();
        let said = format!("{head}\n{question}{}", answer(head.trim(), question));
        if !writes() {
            assert_eq!(block, said, "{path}: CREEL_WRITE=1 writes it");
        }
        found = found + "===" + &said;
        count += 1;
    }
    assert!(count > least, "{path} has {count} blocks");
    hold(path, &found);
}
