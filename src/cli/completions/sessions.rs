//! Names of sessions in completions: what `creel ps` lists, asked when a name is completed. The generated scripts know
//! only what the command line is made of.

use std::fmt::Write as _;

use clap::{Arg, ArgAction, Command};
use clap_complete::Shell;

/// The part of a command line up to a verb that takes the names of sessions.
#[derive(Debug, PartialEq, Eq)]
struct Verb {
    /// `exec`, or `net allow`.
    words: Vec<String>,
    /// How many names it takes.
    takes: Takes,
    /// Flags that are followed by a value.
    valued: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    One,
    Many,
}

/// The verbs whose first argument is the name of a session that is there.
fn verbs(whole: &Command) -> Vec<Verb> {
    let mut found = vec![];
    let mut left: Vec<(Vec<String>, &Command)> = vec![(vec![], whole)];
    while let Some((words, command)) = left.pop() {
        for verb in command.get_subcommands().filter(|v| !v.is_hide_set()) {
            let mut words = words.clone();
            words.push(verb.get_name().to_owned());
            let first = verb.get_positionals().next();
            // The name of `creel create` is a new one.
            let takes = match first.map(|arg| arg.get_id().as_str()) {
                Some("name") if words != ["create"] => Some(Takes::One),
                Some("names") => Some(Takes::Many),
                _ => None,
            };
            if let Some(takes) = takes {
                let valued = verb.get_arguments().filter(has_value).flat_map(flags);
                found.push(Verb {
                    words: words.clone(),
                    takes,
                    valued: valued.collect(),
                });
            }
            left.push((words, verb));
        }
    }
    found.sort_by(|a, b| a.words.cmp(&b.words));
    found
}

fn has_value(arg: &&Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Set | ArgAction::Append)
}

fn flags(arg: &Arg) -> Vec<String> {
    let short = arg.get_short().map(|short| format!("-{short}"));
    let long = arg.get_long().map(|long| format!("--{long}"));
    short.into_iter().chain(long).collect()
}

/// The generated script with names of sessions; as it is for shells that have none.
pub fn added(shell: Shell, script: String, whole: &Command) -> String {
    let verbs = verbs(whole);
    match shell {
        Shell::Bash => script + &bash(&verbs),
        Shell::Zsh => zsh(&script),
        Shell::Fish => script + &fish(&verbs),
        _ => script,
    }
}

/// A function around the generated one.
fn bash(verbs: &[Verb]) -> String {
    let mut cases = String::new();
    for verb in verbs {
        let one = match verb.takes {
            Takes::One => 1,
            Takes::Many => 999,
        };
        let (words, valued) = (verb.words.join(" "), verb.valued.join(" "));
        let first = 1 + verb.words.len();
        let _ = writeln!(
            cases,
            "        \"{words} \"*) first={first} most={one} valued=\" {valued} \" ;;"
        );
    }
    format!(
        "\n_creel_with_sessions() {{\n    \
        _creel \"$@\"\n    \
        local word=\"${{COMP_WORDS[COMP_CWORD]}}\" first most valued at names=0\n    \
        case \"${{COMP_WORDS[*]:1:COMP_CWORD}} \" in\n{cases}        *) return ;;\n    esac\n    \
        (( COMP_CWORD >= first )) && [[ $word != -* ]] || return\n    \
        for (( at = first; at < COMP_CWORD; at++ )); do\n        \
            case \"${{COMP_WORDS[at]}}\" in\n            \
                --) return ;;\n            \
                -*) [[ $valued == *\" ${{COMP_WORDS[at]}} \"* ]] && (( ++at == COMP_CWORD )) && return ;;\n            \
                *) (( ++names )) ;;\n        \
            esac\n    \
        done\n    \
        (( names < most )) || return\n    \
        COMPREPLY=( $(compgen -W \"$(creel ps --all --quiet 2>/dev/null)\" -- \"$word\") )\n\
        }}\n\n\
        complete -F _creel_with_sessions -o bashdefault -o default creel\n"
    )
}

/// Another function for the arguments that are names of sessions.
fn zsh(script: &str) -> String {
    let names = "\n_creel_sessions() {\n    \
        local -a names\n    \
        names=(${(f)\"$(creel ps --all --quiet 2>/dev/null)\"})\n    \
        compadd -a names\n\
        }\n";
    let script = script
        .replace(
            " -- The session:_default'",
            " -- The session:_creel_sessions'",
        )
        .replace(
            " -- The sessions:_default'",
            " -- The sessions:_creel_sessions'",
        );
    match script.split_once('\n') {
        Some((first, rest)) => format!("{first}\n{names}{rest}"),
        None => script,
    }
}

/// A line for each verb.
fn fish(verbs: &[Verb]) -> String {
    let mut lines = "\n".to_owned();
    for verb in verbs {
        let condition = match verb.words.as_slice() {
            [verb] => format!("__fish_creel_using_subcommand {verb}"),
            [family, verb] => format!(
                "__fish_creel_using_subcommand {family}; and __fish_seen_subcommand_from {verb}"
            ),
            _ => continue,
        };
        let _ = writeln!(
            lines,
            "complete -c creel -n \"{condition}\" -f -a \"(creel ps --all --quiet 2>/dev/null)\" -d Session"
        );
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_of_sessions_are_found_in_the_definition() {
        let mut whole = crate::cli::command();
        whole.build();
        let found = verbs(&whole);
        let of = |words: &str| found.iter().find(|verb| verb.words.join(" ") == words);
        let takes = |words: &str| of(words).map(|verb| verb.takes);
        assert_eq!(takes("exec"), Some(Takes::One));
        assert_eq!(takes("rm"), Some(Takes::Many));
        assert_eq!(takes("net allow"), Some(Takes::One));
        assert_eq!(takes("file read"), Some(Takes::One));
        for other in ["create", "run", "ps", "policy show", "help"] {
            assert_eq!(takes(other), None, "{other}");
        }
        let valued = &of("exec").unwrap().valued;
        assert!(valued.iter().any(|flag| flag == "--workdir"));
        assert!(!valued.iter().any(|flag| flag == "--tty"));
    }
}
