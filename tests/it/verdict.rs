//! `docs/verdict.schema.json` says what a verdict is, and real ones are held against it.

use std::path::Path;

use serde_json::Value;

use crate::support::{Ran, Run, Who, Workspace};

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn schema() -> Value {
    serde_json::from_str(&read("docs/verdict.schema.json")).expect("the schema is JSON")
}

/// Everything that is wrong with a verdict, one a line.
fn faults(schema: &Value, verdict: &Value) -> String {
    let validator = jsonschema::validator_for(schema).expect("the schema is a schema");
    let faults: Vec<String> = validator
        .iter_errors(verdict)
        .map(|e| format!("{}: {e}", e.instance_path()))
        .collect();
    faults.join("\n")
}

#[track_caller]
fn hold(schema: &Value, ran: &Ran, kind: &str, status: i32) {
    assert_eq!((ran.kind(), ran.status), (kind, status), "{ran:#?}");
    assert_eq!(ran.verdict["exit_status"], status, "{ran:#?}");
    let faults = faults(schema, &ran.verdict);
    assert!(faults.is_empty(), "{kind}:\n{faults}\n{:#}", ran.verdict);
}

each!(real_verdicts_are_what_the_schema_says);
fn real_verdicts_are_what_the_schema_says(who: Who) {
    let schema = schema();
    let workspace = Workspace::new(who);
    let run = |flags: &[&str]| Run::new(who, &workspace).flags(flags);

    hold(&schema, &run(&[]).sh("exit 3"), "exited", 3);
    hold(&schema, &run(&[]).sh("kill -TERM $$"), "signaled", 143);
    hold(
        &schema,
        &run(&["--timeout", "200ms"]).argv(["/bin/sleep", "30"]),
        "timeout",
        124,
    );
    hold(
        &schema,
        &run(&["--output-limit", "4KiB"]).argv(["/usr/bin/yes"]),
        "output",
        137,
    );
    // In the jail and readable, but nothing there may be executed.
    let denied = run(&[]).argv(["/etc/hosts"]);
    hold(&schema, &denied, "denied", 126);
    assert_eq!(denied.verdict["reason"]["code"], "end-not-executable");
    let absent = run(&[]).argv(["/usr/bin/no-such-program"]);
    hold(&schema, &absent, "setup_failed", 127);
    assert_eq!(absent.verdict["reason"]["code"], "end-not-found");
    let text = "extends = 'default'\n[limits]\nmemry = '1GiB'\n";
    let policy = run(&[]).policy_text(&workspace, "wrong", text).sh("true");
    hold(&schema, &policy, "setup_failed", 125);
    let reason = &policy.verdict["reason"];
    assert_eq!(reason["code"], "unknown-key", "{reason}");
    assert_eq!(reason["rule"]["line"], 3, "{reason}");
    // The value of a flag is no matter of a policy.
    let flag = run(&["--env", "NO_SUCH_VARIABLE"]).sh("true");
    hold(&schema, &flag, "setup_failed", 125);
    assert!(flag.verdict["reason"].is_null(), "{flag:#?}");
    hold(
        &schema,
        &run(&["--read", "/no/such/path"]).sh("true"),
        "setup_failed",
        125,
    );
    // A tmpfs is part of the jail's memory, so this one is smaller than that.
    let full = run(&["--disk", "1MiB"]).sh("head -c 4194304 /dev/zero > /tmp/file");
    hold(&schema, &full, "exited", 1);
    assert_eq!(full.verdict["limits_hit"][0]["name"], "disk");

    if who == Who::User {
        eprintln!(
            "skipped: the memory and pids limits of an ordinary user need a delegated cgroup"
        );
        return;
    }
    let hungry = "bytearray(1 << 30)";
    hold(
        &schema,
        &run(&["--memory", "64MiB"]).python(hungry),
        "oom",
        137,
    );
    run(&["--memory", "2GiB"]).python(hungry).ok();
}

#[test]
fn the_schema_refuses_what_is_not_a_verdict() {
    let schema = schema();
    let workspace = Workspace::new(Who::User);
    let good = Run::new(Who::User, &workspace).sh("true").verdict;
    assert_eq!(faults(&schema, &good), "");
    let wrong = |change: fn(&mut Value)| {
        let mut verdict = good.clone();
        change(&mut verdict);
        assert!(!faults(&schema, &verdict).is_empty(), "{verdict:#}");
    };
    wrong(|v| v["extra"] = 1.into());
    wrong(|v| v["usage"]["extra"] = 1.into());
    wrong(|v| v["receipt"]["extra"] = 1.into());
    wrong(|v| v["kind"] = "escaped".into());
    wrong(|v| v["kind"] = "signaled".into());
    wrong(|v| v["code"] = Value::Null);
    wrong(|v| v["version"] = 1.into());
    wrong(|v| v["limits_hit"] = Value::Null);
    wrong(|v| v["exit_status"] = 256.into());
    wrong(|v| drop(v.as_object_mut().map(|o| o.remove("receipt"))));
}

#[test]
fn the_description_names_every_field_and_every_kind() {
    let text = read("docs/verdict.md");
    let mut names = vec![];
    collect(&schema(), &mut names);
    assert!(names.len() > 30, "{names:?}");
    let missing: Vec<&String> = names
        .iter()
        .filter(|n| !text.contains(&format!("`{n}`")))
        .collect();
    assert!(
        missing.is_empty(),
        "docs/verdict.md does not say what these are: {missing:?}"
    );
}

/// The names of all properties, and all words of all enumerations.
fn collect(schema: &Value, names: &mut Vec<String>) {
    match schema {
        Value::Object(object) => {
            for (key, value) in object {
                match (key.as_str(), value) {
                    ("properties" | "$defs", Value::Object(properties)) => {
                        if key == "properties" {
                            names.extend(properties.keys().cloned());
                        }
                        properties.values().for_each(|v| collect(v, names));
                    }
                    ("enum", Value::Array(words)) => {
                        names.extend(words.iter().filter_map(|w| w.as_str().map(str::to_owned)));
                    }
                    _ => collect(value, names),
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|v| collect(v, names)),
        _ => {}
    }
}
