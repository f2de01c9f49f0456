//! Advice for known programs that fail because of the policy.

use super::words::Words;
use creel_policy::Policy;
use creel_policy::net::Mode;
use creel_session::Verdict;

/// One cause of failure, for a few programs.
struct Row {
    /// Program names, each with arguments of which the command must have one; an empty list matches always.
    programs: &'static [(&'static str, &'static [&'static str])],
    stands: fn(&Policy, i32) -> bool,
    /// Takes the program's name.
    text: fn(&str) -> String,
}

/// The second parameter of `stands` is the command's exit code, which is not 0.
const ROWS: [Row; 4] = [
    Row {
        programs: &[("strace", &[])],
        stands: |_, _| true,
        text: |_| {
            "strace does not work in a jail: it stops processes as they exit, and they could then outlive the jail; run it outside, or use gdb under `--policy coding`"
                .into()
        },
    },
    Row {
        programs: &[
            ("dlv", &[]),
            ("gdb", &[]),
            ("gdbserver", &[]),
            ("lldb", &[]),
            ("ltrace", &[]),
            ("rr", &[]),
        ],
        stands: |policy, _| !policy.debug.value,
        text: |name| {
            format!(
                "this policy does not let {name} trace processes; `debug = true` in [process] lets it trace within the jail, as `--policy coding` does"
            )
        },
    },
    // These programs only report that a name does not resolve.
    Row {
        programs: &[
            ("curl", &[]),
            ("gh", &[]),
            ("git", &["clone", "fetch", "ls-remote", "pull", "push"]),
            ("npm", &["ci", "i", "install"]),
            ("pip", &["download", "install"]),
            ("pip3", &["download", "install"]),
            ("pnpm", &["add", "i", "install"]),
            ("rsync", &[]),
            ("scp", &[]),
            ("ssh", &[]),
            ("wget", &[]),
            ("yarn", &["add", "install"]),
        ],
        stands: |policy, _| policy.network.mode == Mode::None,
        text: |_| "the policy grants no network; --allow-net HOST grants one host".into(),
    },
    // git exits with 128 on a fatal error, such as a commit without an author's name.
    Row {
        programs: &[("git", &["commit"])],
        stands: |policy, code| code == 128 && !policy.environment.git_identity.value,
        text: |_| {
            "git has a name for commits here only if the repository sets one; `git_identity = true` in [environment] \
             passes yours, as `--policy coding` does"
                .into()
        },
    },
];

/// The advice for a command that failed; empty if it exited with 0 or by a signal.
pub fn of(words: &Words, policy: &Policy, verdict: &Verdict) -> Vec<String> {
    let Some(code) = verdict.code.filter(|code| *code != 0) else {
        return vec![];
    };
    let concerns = |row: &&Row| {
        let mut programs = row.programs.iter();
        programs
            .any(|(name, needs)| *name == words.program && (needs.is_empty() || words.say(needs)))
    };
    ROWS.iter()
        .filter(concerns)
        .filter(|row| (row.stands)(policy, code))
        .map(|row| (row.text)(&words.program))
        .collect()
}
