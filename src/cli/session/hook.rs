//! `creel hook`: answers an agent's question before it uses a tool, so that its commands run in a session.

use std::ffi::OsString;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::{Value, json};

use crate::cli::answer;
use crate::cli::failure::Failure;
use crate::cli::hint::quoted;

/// The exit status with which a hook of Claude Code blocks the tool: with any other but 0 the tool is used as if there
/// were no hook.
pub const BLOCKS: u8 = 2;

/// Bytes of a question.
const LONGEST: u64 = 16 << 20;

/// Serve an agent's hook, so that its commands run in a session
#[derive(clap::Args)]
pub struct HookArgs {
    #[command(subcommand)]
    agent: Agent,
}

#[derive(Subcommand)]
enum Agent {
    /// Claude Code's PreToolUse: reads the question on stdin and rewrites the command of the tool Bash
    ClaudeCode(ClaudeArgs),
}

#[derive(clap::Args)]
struct ClaudeArgs {
    /// Add the hook to this settings file, such as .claude/settings.json, in place of serving it
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,

    /// Also allow the rewritten command, so that Claude Code does not ask for it
    #[arg(long)]
    allow: bool,
}

/// Whether creel is called as a hook.
pub fn serves(arguments: &[OsString]) -> bool {
    arguments.get(1).is_some_and(|verb| verb == "hook")
}

pub fn run(args: &HookArgs) -> Result<u8, Failure> {
    let Agent::ClaudeCode(args) = &args.agent;
    let own = std::env::current_exe()?;
    match &args.write {
        Some(file) => write(file, &own, args.allow)?,
        // Claude Code runs the command as it is, on the host, unless the status is 2.
        None => serve(&own, args.allow).map_err(|failure| failure.with_status(BLOCKS))?,
    }
    Ok(0)
}

fn serve(own: &Path, allow: bool) -> Result<(), Failure> {
    let mut text = vec![];
    std::io::stdin()
        .lock()
        .take(LONGEST)
        .read_to_end(&mut text)?;
    let question: Value = serde_json::from_slice(&text).map_err(|error| {
        Failure::new(format!(
            "the command is blocked: stdin is no question of Claude Code's hook that creel can read: {error}"
        ))
    })?;
    match answered(&question, own, allow)? {
        Some(answer) => answer::print(&format!("{answer}\n")),
        None => Ok(()),
    }
}

/// The answer to PreToolUse; `None` for another tool. A question about a command that cannot be rewritten is an error.
fn answered(question: &Value, own: &Path, allow: bool) -> Result<Option<Value>, Failure> {
    match question["tool_name"].as_str() {
        Some("Bash") => {}
        Some(_) => return Ok(None),
        None => {
            return Err(Failure::new(
                "the command is blocked: the question of Claude Code's hook names no tool",
            ));
        }
    }
    let script = question["tool_input"]["command"].as_str().ok_or_else(|| {
        Failure::new("the command is blocked: the question of Claude Code's hook has no command")
    })?;
    let session = question["session_id"].as_str().unwrap_or("claude-code");
    let mut input = question["tool_input"].clone();
    input["command"] = json!(format!(
        "{} shell --session {} -c {}",
        quoted(&own.to_string_lossy()),
        quoted(session),
        quoted(script)
    ));
    let mut output = json!({ "hookEventName": "PreToolUse", "updatedInput": input });
    if allow {
        output["permissionDecision"] = json!("allow");
        output["permissionDecisionReason"] = json!("it runs in a creel session");
    }
    Ok(Some(json!({ "hookSpecificOutput": output })))
}

/// Whether an entry of the settings is creel's hook and nothing else.
fn is_own(entry: &Value) -> bool {
    let hooks = entry["hooks"].as_array();
    let own = |hook: &Value| {
        let command = hook["command"].as_str().unwrap_or_default();
        let command = command.strip_suffix(" --allow").unwrap_or(command);
        let program = command.strip_suffix(" hook claude-code");
        program.is_some_and(|program| program.trim_matches('\'').ends_with("creel"))
    };
    hooks.is_some_and(|hooks| !hooks.is_empty() && hooks.iter().all(own))
}

/// Adds the hook to settings, once.
fn write(file: &Path, own: &Path, allow: bool) -> Result<(), Failure> {
    let shown = file.display();
    let mut settings: Value = match std::fs::read_to_string(file) {
        Ok(text) => serde_json::from_str(&text)
            .map_err(|error| Failure::new(format!("{shown} is no JSON: {error}")))?,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => json!({}),
        Err(e) => return Err(Failure::new(format!("{shown}: {e}"))),
    };
    let allow = if allow { " --allow" } else { "" };
    let command = format!("{} hook claude-code{allow}", quoted(&own.to_string_lossy()));
    let entry = json!({ "matcher": "Bash", "hooks": [{ "type": "command", "command": command }] });
    let wrong = || {
        Failure::new(format!(
            "{shown}: `hooks.PreToolUse` is no list; add the hook by hand: {entry}"
        ))
    };
    let root = settings.as_object_mut().ok_or_else(wrong)?;
    let hooks = root.entry("hooks").or_insert_with(|| json!({}));
    let hooks = hooks.as_object_mut().ok_or_else(wrong)?;
    let before = hooks.entry("PreToolUse").or_insert_with(|| json!([]));
    let before = before.as_array_mut().ok_or_else(wrong)?;
    // One hook of creel's, whatever flags an earlier one had.
    before.retain(|other| !is_own(other));
    before.push(entry.clone());
    if let Some(above) = file.parent() {
        std::fs::create_dir_all(above)?;
    }
    let text = serde_json::to_string_pretty(&settings)? + "\n";
    std::fs::write(file, text).map_err(|e| Failure::new(format!("{shown}: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_rewritten_and_another_tool_is_not() {
        let question = json!({
            "session_id": "a b", "tool_name": "Bash",
            "tool_input": { "command": "echo 'x'", "timeout": 5 },
        });
        let of = |question: &Value, allow| answered(question, Path::new("/opt/creel"), allow);
        let answer = of(&question, false).unwrap().unwrap();
        let output = &answer["hookSpecificOutput"];
        let input = &output["updatedInput"];
        assert_eq!(
            input["command"],
            r"/opt/creel shell --session 'a b' -c 'echo '\''x'\'''"
        );
        assert_eq!(
            (&input["timeout"], &output["permissionDecision"]),
            (&json!(5), &Value::Null)
        );
        let answer = of(&question, true).unwrap().unwrap();
        assert_eq!(answer["hookSpecificOutput"]["permissionDecision"], "allow");
        assert!(of(&json!({ "tool_name": "Read" }), true).unwrap().is_none());
        for broken in [
            json!({ "tool_name": "Bash", "tool_input": "ls" }),
            json!({ "tool_name": "Bash", "tool_input": { "command": ["ls"] } }),
            json!({ "tool_name": "Bash" }),
            json!({}),
            json!([]),
        ] {
            assert!(of(&broken, false).is_err(), "{broken}");
        }
    }
}
