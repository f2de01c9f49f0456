//! The card of a session, `/run/creel/card.md`: what its commands may do, for the agent that reads it.

use std::fmt::Write as _;

use super::paths::workspace_mode;
use super::view::View;
use creel_policy::net::Mode;
use creel_policy::{PathRule, Policy, WorkspaceMode};

/// The directory of the card, in the jail.
pub const DIRECTORY: &str = "/run/creel";
/// The card.
pub const CARD: &str = "/run/creel/card.md";
/// The directory of the client.
pub const PROGRAMS: &str = "/run/creel/bin";
/// The client.
pub const CLIENT: &str = "/run/creel/bin/creel";
/// The socket at which the keeper hears the client.
pub const SOCKET: &str = "/run/creel/socket";
/// Lines of one list. Paths are a project's to choose, and the root of the jail is small.
const MOST: usize = 40;

/// The card under a policy, for the jail of this view. Its paths are those of the jail.
pub(super) fn card(policy: &Policy, view: &View) -> String {
    let workspace = view.inside(&view.workspace.path);
    let files = &policy.filesystem;
    let limits = &policy.limits;
    let mode = match workspace_mode(policy) {
        WorkspaceMode::None => "empty at the start, and gone at the end",
        WorkspaceMode::ReadOnly => "read only",
        WorkspaceMode::Overlay => {
            "read and write; changes reach the user's files when the user commits them"
        }
        WorkspaceMode::ReadWrite => "read and write",
    };
    let mut text = format!(
        "# This is a creel session\n\n\
        A jail that stays between commands. Its policy is `{}`.\n\n\
        - workspace: {} ({mode})\n\
        - files in /tmp and in the home directory stay until the session ends\n\
        - memory {}, {} processors, {} processes, for all commands together\n\
        - a command: {}, {} of output\n\
        - what a command starts with `&` ends with it\n",
        plain(&policy.name),
        plain(&workspace.to_string_lossy()),
        limits.memory.value,
        limits.cpus.value,
        limits.pids.value,
        limits.timeout.value,
        limits.output.value,
    );
    for (title, rules) in [
        ("may be read", &files.read),
        ("may be written", &files.write),
        ("may be executed", &files.exec),
        ("are denied", &files.deny),
        ("are kept as they are, and not created", &files.protect),
    ] {
        list(&mut text, title, rules.iter().map(|rule| path(rule, view)));
    }
    let network = &policy.network;
    match network.mode {
        Mode::None => text += "\nNetwork: none but loopback.\n",
        _ => {
            let allowed = network.lists.iter().flat_map(|list| &list.rules);
            list(
                &mut text,
                "may be connected to",
                allowed.map(ToString::to_string),
            );
            list(
                &mut text,
                "are refused",
                network.deny.iter().map(ToString::to_string),
            );
            text += "\nThe hosts are those of the session's start. The person who made it can allow and deny others \
                while it runs (`creel net allow NAME HOST`). `creel what` prints those of this moment.\n";
        }
    }
    text += "\nWhatever is not listed is not there. To get more, say what you need and why: the person who made \
        the session can make it anew with `creel create --replace` and a flag such as `--read PATH`, \
        `--write PATH` or `--allow-net HOST`.\n";
    text
}

/// As the policy names it, or where the jail has it instead.
fn path(rule: &PathRule, view: &View) -> String {
    let path = view.on_host.of_rule(rule);
    match path.map(|path| (view.inside(&path).into_owned(), path)) {
        Some((inside, path)) if *inside != *path => inside.to_string_lossy().into_owned(),
        _ => rule.path.as_str().to_owned(),
    }
}

fn list(text: &mut String, title: &str, lines: impl Iterator<Item = String>) {
    let mut lines = lines.peekable();
    if lines.peek().is_none() {
        return;
    }
    let _ = write!(text, "\nPaths or hosts that {title}:\n\n");
    for line in lines.by_ref().take(MOST) {
        let _ = writeln!(text, "- {}", plain(&line));
    }
    let more = lines.count();
    if more > 0 {
        let _ = writeln!(text, "- and {more} more");
    }
}

/// A file's name must not begin a line of its own on the card.
fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .take(512)
        .collect()
}
