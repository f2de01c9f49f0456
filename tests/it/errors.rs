//! The table of error codes is what the errors say.

use std::collections::BTreeSet;

use creel_egress::{authority, credential, refusal, relay, request_head, resolve, socks, target};
use creel_policy::net::{Why, WhySpoken};
use creel_session::verdict::Fault;

/// Those of every public error; a variant without one does not compile.
fn codes() -> Vec<&'static str> {
    [
        creel_policy::PolicyError::CODES,
        creel_session::LayerError::CODES,
        creel_session::DeclareError::CODES,
        creel_session::ExecuteError::CODES,
        creel_session::SuperviseError::CODES,
        creel_session::SessionError::CODES,
        creel_session::WorkspaceError::CODES,
        creel_session::keep::files::FileError::CODES,
        creel_session::keep::KeepError::CODES,
        Fault::CODES,
        creel_plan::ResolveError::CODES,
        creel_plan::order::OrderError::CODES,
        creel_jail::JailError::CODES,
        creel_jail::scope::ScopeError::CODES,
        Why::CODES,
        WhySpoken::CODES,
        refusal::Refusal::CODES,
        relay::RelayError::CODES,
        credential::VaultError::CODES,
        authority::AuthorityError::CODES,
        resolve::ResolveError::CODES,
        request_head::HeadError::CODES,
        socks::protocol::SocksError::CODES,
        target::TargetError::CODES,
    ]
    .concat()
}

#[test]
fn the_document_has_every_code_with_cause_and_remedy() {
    let text = std::fs::read_to_string("docs/errors.md").expect("docs/errors.md");
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    let listed: Vec<&str> = rows
        .map(|row| {
            let cells: Vec<&str> = row.split(" | ").map(str::trim).collect();
            assert!(
                cells.len() == 3 && cells.iter().all(|c| c.len() > 4),
                "{row}"
            );
            cells[0].trim_start_matches("| `").trim_end_matches('`')
        })
        .collect();
    assert_eq!(listed, sorted_as(&codes(), &listed));
}

/// `codes`, in the order of `listed`, and then those that it lacks.
fn sorted_as<'a>(codes: &[&'a str], listed: &[&str]) -> Vec<&'a str> {
    let mut all = codes.to_vec();
    let place = |code: &&str| listed.iter().position(|l| l == code);
    all.sort_by_key(|code| place(code).unwrap_or(usize::MAX));
    all
}

#[test]
fn no_two_errors_have_one_code() {
    let codes = codes();
    let unique: BTreeSet<&str> = codes.iter().copied().collect();
    assert_eq!(unique.len(), codes.len());
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    assert!(
        codes.iter().all(|code| code.chars().all(plain)),
        "{codes:?}"
    );
}
