//! Errors of the command line, in one sentence.

use std::ffi::OsString;
use std::fmt::Write as _;

use super::failure::Failure;
use super::hint::quoted;
use creel_session::exit;

/// clap's error, cut to its first sentence and its suggestion. `whole`: builds clap's definition of the
/// command line.
pub fn failure(
    error: &clap::Error,
    arguments: &[OsString],
    whole: fn() -> clap::Command,
) -> Failure {
    use clap::error::{ContextKind, ContextValue};
    let run = arguments
        .get(1)
        .is_some_and(|verb| verb == "run" || verb == "exec");
    if let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidArg)
        && run
        && error.kind() == clap::error::ErrorKind::UnknownArgument
        && !word.starts_with('-')
    {
        if word.contains(":/") && arguments.iter().any(|argument| argument == "-v") {
            return Failure::new(format!(
                "-v prints more about the jail; to map a path write --volume {}",
                quoted(word)
            ));
        }
        let line = match arguments.get(1).is_some_and(|verb| verb == "exec") {
            true => "creel exec [FLAGS] NAME -- CMD".to_owned(),
            false => with_dashes(word, arguments, whole),
        };
        return Failure::new(format!("the command goes after `--`: {line}"));
    }
    let rendered = error.render().to_string();
    let mut parts = rendered
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty());
    let first = parts.next().unwrap_or("the command line is not understood");
    let mut text = first.trim_start_matches("error: ").to_owned();
    for line in parts {
        if let Some(tip) = line.strip_prefix("tip: ") {
            // `--memroy` is a flag that was spelt wrong, and no word of the command.
            if !tip.starts_with("to pass") {
                let _ = write!(text, "; {tip}");
            }
        } else if ["<", "--", "[possible values: "]
            .iter()
            .any(|start| line.starts_with(start))
        {
            let _ = write!(text, " {line}");
        }
    }
    let _ = write!(text, "; see `{} --help`", verbs(arguments, whole()));
    of_verb(Failure::new(text), arguments)
}

/// The verbs at the start of the command line: `creel policy check`.
fn verbs(arguments: &[OsString], whole: clap::Command) -> String {
    let mut text = "creel".to_owned();
    let mut command = &whole;
    for word in arguments.iter().skip(1) {
        let Some(verb) = command.find_subcommand(word).filter(|v| !v.is_hide_set()) else {
            break;
        };
        let _ = write!(text, " {}", verb.get_name());
        command = verb;
    }
    text
}

/// Sets the exit status that the command line's verb has for failures.
pub fn of_verb(failure: Failure, arguments: &[OsString]) -> Failure {
    match arguments.get(1) {
        Some(verb) if verb == "policy" => failure.with_status(exit::WRONG),
        _ => failure,
    }
}

/// The command line with `--` before the first `word` that is not a flag's value.
fn with_dashes(word: &str, arguments: &[OsString], whole: fn() -> clap::Command) -> String {
    let understood = |at: &usize| {
        let mut all = arguments.to_vec();
        all.insert(*at, "--".into());
        whole().try_get_matches_from(all).is_ok()
    };
    let mut places = (2..arguments.len()).filter(|at| arguments[*at] == word);
    let Some(at) = places.find(understood) else {
        return format!("creel run -- {}", quoted(word));
    };
    let words = |words: &[OsString]| -> String {
        let words = words.iter();
        words
            .map(|word| format!(" {}", quoted(&word.to_string_lossy())))
            .collect()
    };
    format!(
        "creel run{} --{}",
        words(&arguments[2..at]),
        words(&arguments[at..])
    )
}
