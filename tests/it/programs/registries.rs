//! The recipes of docs/recipes.md: package managers download and use a package under the policies that are
//! written there, from registries of the test's own on the host's loopback.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::support::{Ran, Run, Who, Workspace, need};

/// `registry.py`, until dropped.
struct Registry {
    server: Child,
    /// `host.creel.internal` and its port.
    authority: String,
}

impl Registry {
    fn new() -> Registry {
        let mut server = Command::new(need("python3"))
            .args(["-c", include_str!("registry.py")])
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 starts");
        let mut port = String::new();
        let out = server.stdout.take().expect("a pipe");
        BufReader::new(out).read_line(&mut port).expect("its port");
        let authority = format!("host.creel.internal:{}", port.trim());
        Registry { server, authority }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.server.kill().expect("kill");
        self.server.wait().expect("wait");
    }
}

/// The policy under this heading of the page.
fn recipe(heading: &str) -> String {
    let page = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/recipes.md");
    let page = std::fs::read_to_string(page).expect("docs/recipes.md");
    let (_, section) = page
        .split_once(&format!("\n## {heading}\n"))
        .unwrap_or_else(|| panic!("no '{heading}' in docs/recipes.md"));
    let (_, policy) = section.split_once("```toml\n").expect("a policy");
    policy.split("```").next().expect("an end").to_owned()
}

/// A package manager at work, and what it prints where it got the package.
struct Job<'a> {
    heading: &'a str,
    /// Files in the workspace.
    files: &'a [(&'a str, &'a str)],
    /// Variables; `{at}` is the registry's authority, in files as well.
    env: &'a [&'a str],
    script: &'a str,
    says: &'a str,
}

impl Job<'_> {
    /// Under the recipe, with the registry in the place of the public one or beside no rule at all.
    fn run(&self, run: Run, workspace: &Workspace, policy: &str, registry: &Registry) -> Ran {
        let named = |text: &str| text.replace("{at}", &registry.authority);
        for (name, text) in self.files {
            workspace.write(name, &named(text));
        }
        let env = self.env.iter().flat_map(|one| ["--env".into(), named(one)]);
        run.policy_text(workspace, "recipe", policy)
            .flags(env)
            .argv(["/bin/sh", "-ec", self.script])
    }

    fn works_as_written(&self, who: Who) {
        let registry = Registry::new();
        let written = recipe(self.heading);
        let rule = format!("allow = [\n    \"{}\",", registry.authority);
        let granted = written.replacen("allow = [", &rule, 1);
        assert_ne!(granted, written, "{written}");
        for (policy, works) in [(&granted, true), (&written, false)] {
            let workspace = Workspace::new(who);
            let ran = self.run(Run::new(who, &workspace), &workspace, policy, &registry);
            let worked = ran.status == 0 && ran.stdout.contains(self.says);
            assert_eq!(worked, works, "{who:?} {policy}: {ran:#?}");
        }
    }
}

const CARGO: Job = Job {
    heading: "cargo",
    files: &[
        (
            "Cargo.toml",
            "[package]\nname = \"app\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\
             [dependencies]\ngreet = { version = \"1\", registry = \"own\" }\n",
        ),
        (
            "src/main.rs",
            "fn main() { println!(\"{}\", greet::greet()); }\n",
        ),
    ],
    env: &[
        "CARGO_REGISTRIES_OWN_INDEX=sparse+http://{at}/index/",
        // Before cargo 1.68, such as Debian 12's, indexes over HTTP were an unstable feature.
        "RUSTC_BOOTSTRAP=1",
        "CARGO_UNSTABLE_SPARSE_REGISTRY=true",
    ],
    script: "cargo run --quiet",
    says: "hello",
};

each!(cargo_downloads_and_builds_a_crate);
fn cargo_downloads_and_builds_a_crate(who: Who) {
    need("cargo");
    CARGO.works_as_written(who);
}

each!(what_cargo_downloaded_is_kept_for_a_run_without_a_network);
/// Also of a crate whose files others may not read.
fn what_cargo_downloaded_is_kept_for_a_run_without_a_network(who: Who) {
    need("cargo");
    let registry = Registry::new();
    let workspace = Workspace::new(who);
    let cache = workspace.home().to_string_lossy().into_owned();
    let written = recipe("Downloads that are kept");
    let policy = written.replace("~/.cache/creel/cargo", &cache);
    assert_ne!(policy, written, "{written}");
    let rule = format!("allow = [\"{}\", ", registry.authority);
    let first = policy.replacen("allow = [", &rule, 1);
    let ran = CARGO.run(Run::new(who, &workspace), &workspace, &first, &registry);
    assert!(ran.status == 0 && ran.stdout == "hello\n", "{ran:#?}");
    // Nothing is left but what is kept.
    std::fs::remove_dir_all(workspace.path().join("target")).expect("what was built");
    let offline = |policy: &str| {
        let run = Run::new(who, &workspace).flags(["--env", "CARGO_NET_OFFLINE=true"]);
        CARGO.run(run, &workspace, policy, &registry)
    };
    let ran = offline(&policy);
    assert!(ran.status == 0 && ran.stdout == "hello\n", "{ran:#?}");
    // The control.
    std::fs::remove_dir_all(workspace.path().join("target")).expect("what was built");
    let ran = offline(&recipe("cargo"));
    assert_ne!(ran.status, 0, "{ran:#?}");
}

each!(npm_installs_a_package);
fn npm_installs_a_package(who: Who) {
    need("npm");
    let job = Job {
        heading: "npm",
        files: &[("package.json", "{}")],
        env: &[
            "NPM_CONFIG_REGISTRY=http://{at}/npm/",
            "NPM_CONFIG_FETCH_RETRIES=0",
        ],
        script: "npm install greet && node -p 'require(\"greet\")'",
        says: "hello\n",
    };
    job.works_as_written(who);
}

each!(pip_installs_a_wheel);
fn pip_installs_a_wheel(who: Who) {
    let job = Job {
        heading: "pip",
        files: &[],
        env: &[
            "PIP_INDEX_URL=http://{at}/simple/",
            "PIP_TRUSTED_HOST=host.creel.internal",
            "PIP_RETRIES=0",
        ],
        script: "python3 -m venv .venv && .venv/bin/pip install greet && \
                 .venv/bin/python -c 'import greet; print(greet.greet())'",
        says: "hello\n",
    };
    job.works_as_written(who);
}

each!(maven_resolves_a_pom);
fn maven_resolves_a_pom(who: Who) {
    need("mvn");
    let job = Job {
        heading: "maven",
        files: &[
            (
                "pom.xml",
                "<project><modelVersion>4.0.0</modelVersion><parent><groupId>test</groupId>\
                 <artifactId>greet</artifactId><version>1.0.0</version><relativePath/></parent>\
                 <artifactId>app</artifactId><packaging>pom</packaging></project>",
            ),
            (
                "settings.xml",
                "<settings><mirrors><mirror><id>own</id><mirrorOf>*</mirrorOf>\
                 <url>http://{at}/maven/</url></mirror></mirrors></settings>",
            ),
        ],
        env: &[],
        script: "mvn -B -s settings.xml validate",
        says: "BUILD SUCCESS",
    };
    job.works_as_written(who);
}

each!(go_downloads_a_module);
fn go_downloads_a_module(who: Who) {
    need("go");
    let job = Job {
        heading: "go",
        files: &[
            (
                "go.mod",
                "module app.test/app\n\ngo 1.19\n\nrequire greet.test/greet v1.0.0\n",
            ),
            (
                "main.go",
                "package main\n\nimport \"greet.test/greet\"\n\nfunc main() { println(greet.Greet()) }\n",
            ),
        ],
        env: &["GOPROXY=http://{at}/go", "GONOSUMDB=*", "GOFLAGS=-mod=mod"],
        // println writes to stderr.
        script: "go build -o app ./... && ./app 2>&1",
        says: "hello\n",
    };
    job.works_as_written(who);
}

each!(gradle_downloads_a_jar);
fn gradle_downloads_a_jar(who: Who) {
    need("gradle");
    let job = Job {
        heading: "gradle",
        files: &[(
            "build.gradle",
            "configurations { own }\n\
             repositories { maven { url 'http://{at}/maven/' } }\n\
             dependencies { own 'test:greet:1.0.0' }\n\
             task show { doLast { configurations.own.files.each { println 'got ' + it.name } } }\n",
        )],
        env: &[],
        script: "gradle --no-daemon --quiet show",
        says: "got greet-1.0.0.jar\n",
    };
    job.works_as_written(who);
}
