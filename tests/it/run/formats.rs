//! `--policy FILE.yaml` and `FILE.json5`: the jail is the one that the TOML file asks for.

use serde_json::Value;

use crate::support::{Run, Who, Workspace};

/// For each format a file's name, and the same policy but for the workspace's mode.
fn policies(mode: &str) -> [(&'static str, String); 4] {
    let toml = format!(
        "[filesystem]\nworkspace = '{mode}'\n\
         exec = ['/usr', {{ path = '/bin', optional = true }}, {{ path = '/lib', optional = true }}, \
         {{ path = '/lib64', optional = true }}]\n\
         [environment]\nset = {{ PATH = '/usr/bin:/bin', NORWAY = 'no' }}\n\
         [limits]\npids = 31\ncpus = 0.5\n"
    );
    let yaml = format!(
        "filesystem:\n  workspace: {mode}\n  exec:\n  - /usr\n  - {{path: /bin, optional: true}}\n  \
         - {{path: /lib, optional: true}}\n  - {{path: /lib64, optional: true}}\n\
         environment:\n  set: {{PATH: '/usr/bin:/bin', NORWAY: \"no\"}}\n\
         limits: {{pids: 31, cpus: .5}}\n"
    );
    let json5 = format!(
        "// As the others.\n{{filesystem: {{workspace: '{mode}', exec: ['/usr',\n\
         {{path: '/bin', optional: true}}, {{path: '/lib', optional: true}},\n\
         {{path: '/lib64', optional: true}},]}},\n\
         environment: {{set: {{PATH: '/usr/bin:/bin', NORWAY: 'no'}}}},\n\
         limits: {{pids: 0x1f, cpus: .5}}}}\n"
    );
    let json = r#"{"filesystem": {"workspace": "MODE", "exec": ["/usr",
        {"path": "/bin", "optional": true}, {"path": "/lib", "optional": true},
        {"path": "/lib64", "optional": true}]},
        "environment": {"set": {"PATH": "/usr/bin:/bin", "NORWAY": "no"}},
        "limits": {"pids": 31, "cpus": 0.5}}"#
        .replace("MODE", mode);
    [
        ("p.toml", toml),
        ("p.yaml", yaml),
        ("p.json5", json5),
        ("p.json", json),
    ]
}

/// Without the file and line of the rule that asked for each act.
fn without_rules(acts: &Value) -> Value {
    match acts {
        Value::Array(all) => all.iter().map(without_rules).collect(),
        Value::Object(all) => {
            let all = all.iter().filter(|(key, _)| *key != "rule");
            all.map(|(key, value)| (key.clone(), without_rules(value)))
                .collect()
        }
        other => other.clone(),
    }
}

each!(the_same_jail_from_each_format);
fn the_same_jail_from_each_format(who: Who) {
    let workspace = Workspace::new(who);
    let mut acts: Vec<Value> = vec![];
    for (name, text) in policies("ro") {
        let path = workspace.outside().join(name);
        std::fs::write(&path, text).expect("write");
        let run = || Run::new(who, &workspace).policy(&path);
        let ran = run().sh("echo $NORWAY; touch made");
        assert_eq!(ran.stdout, "no\n", "{name}: {ran:#?}");
        assert!(
            ran.stderr.contains("Read-only file system"),
            "{name}: {ran:#?}"
        );
        assert!(!workspace.path().join("made").exists(), "{name}");
        let plan = run().flags(["--dry-run", "--json"]).sh("true").ok();
        let plan: Value = serde_json::from_str(&plan.stdout).expect("JSON");
        acts.push(without_rules(&plan["acts"]));
    }
    assert!(acts[0].as_array().is_some_and(|acts| acts.len() > 5));
    assert!(acts.iter().all(|other| other == &acts[0]));
    // Control: what is granted is made.
    for (name, text) in policies("rw") {
        let path = workspace.outside().join(name);
        std::fs::write(&path, text).expect("write");
        let made = format!("made-{name}");
        Run::new(who, &workspace)
            .policy(&path)
            .sh(&format!("touch {made}"))
            .ok();
        assert!(workspace.path().join(made).exists(), "{name}");
    }
}

#[test]
fn a_mistake_is_told_with_its_place_in_each_format() {
    for (name, text, expected) in [
        (
            "p.yaml",
            "limits:\n  pids: &a 3\n",
            "p.yaml:2:9: anchors (&name) are not supported",
        ),
        (
            "p.yml",
            "network:\n  mode: no\n",
            "p.yml:2:9: 'no' is a boolean in YAML 1.1",
        ),
        (
            "p.json5",
            "{limits: {pids: 1,\n pids: 2}}",
            "p.json5:2:2: key 'pids' exists already",
        ),
        (
            "p.jsonc",
            "{limits: {pidz: 1}}",
            "p.jsonc:1:11: unknown key 'pidz' in [limits]",
        ),
    ] {
        let workspace = Workspace::new(Who::User);
        let path = workspace.outside().join(name);
        std::fs::write(&path, text).expect("write");
        let ran = Run::new(Who::User, &workspace).policy(&path).sh("true");
        assert_eq!(ran.status, 125, "{ran:#?}");
        assert!(ran.stderr.contains(expected), "{ran:#?}");
    }
}
