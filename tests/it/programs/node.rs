//! Node and npm: a server and its client, workers, tests, scripts.

use super::{belongs_to_its_owner, coding};
use crate::support::{Run, Who, Workspace, grouped, need};

#[track_caller]
fn node(who: Who, workspace: &Workspace, script: &str) -> String {
    let node = need("node");
    Run::new(who, workspace)
        .policy("coding")
        .argv([node.as_os_str(), "-e".as_ref(), script.as_ref()])
        .ok()
        .stdout
}

each!(node_serves_and_fetches_over_loopback);
fn node_serves_and_fetches_over_loopback(who: Who) {
    let workspace = Workspace::new(who);
    let script = "
const http = require('http');
const server = http.createServer((q, r) => r.end('hello ' + q.url)).listen(0, '127.0.0.1', async () => {
  const answer = await fetch(`http://127.0.0.1:${server.address().port}/there`);
  console.log(answer.status, await answer.text()); server.closeAllConnections(); server.close();
});";
    assert_eq!(node(who, &workspace, script), "200 hello /there\n");
}

each!(node_runs_workers_and_children);
fn node_runs_workers_and_children(who: Who) {
    let workspace = Workspace::new(who);
    let script = "
const { Worker } = require('worker_threads');
const { execFileSync } = require('child_process');
new Worker('require(\"worker_threads\").parentPort.postMessage(6 * 7)', { eval: true })
  .on('message', (m) => console.log(m, execFileSync('echo', ['child']).toString().trim()));";
    assert_eq!(node(who, &workspace, script), "42 child\n");
}

each!(node_compiles_and_runs_wasm_and_hot_code);
fn node_compiles_and_runs_wasm_and_hot_code(who: Who) {
    let workspace = Workspace::new(who);
    // The smallest module: a magic number and a version. V8 maps memory executable for it.
    let script = "
const m = new WebAssembly.Module(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0]));
let sum = 0; for (let i = 0; i < 1e6; i++) sum += i % 7;
console.log(new WebAssembly.Instance(m) instanceof WebAssembly.Instance, sum);";
    assert_eq!(node(who, &workspace, script), "true 2999997\n");
}

each!(node_watches_files);
fn node_watches_files(who: Who) {
    let workspace = Workspace::new(who);
    let script = "
const fs = require('fs');
const w = fs.watch('.', (event, name) => { console.log(event, name); w.close(); clearInterval(t); });
const t = setInterval(() => fs.writeFileSync('seen', ''), 20);";
    assert_eq!(node(who, &workspace, script), "rename seen\n");
}

each!(node_runs_its_test_runner);
fn node_runs_its_test_runner(who: Who) {
    need("node");
    let workspace = Workspace::new(who);
    workspace.write(
        "sum.test.js",
        "const test = require('node:test'); const assert = require('node:assert');
             test('adds', () => assert.strictEqual(1 + 1, 2));",
    );
    let ran = coding(who, &workspace, "node --test --test-reporter=tap");
    assert!(
        ran.stdout.contains("# pass 1") && ran.stdout.contains("# fail 0"),
        "{ran:#?}"
    );
}

each!(npm_initialises_installs_a_local_package_and_runs_scripts);
fn npm_initialises_installs_a_local_package_and_runs_scripts(who: Who) {
    need("npm");
    let workspace = Workspace::new(who);
    workspace.write(
        "dep/package.json",
        r#"{"name":"dep","version":"1.0.0","bin":{"dep":"cli.js"}}"#,
    );
    workspace.write(
        "dep/cli.js",
        "#!/usr/bin/env node\nconsole.log('from dep')\n",
    );
    let ran = coding(
        who,
        &workspace,
        "mkdir app; cd app; npm init -y >/dev/null; npm pkg set scripts.say=dep
             npm install --offline --no-audit --no-fund --silent ../dep; npm run --silent say",
    );
    assert_eq!(ran.stdout, "from dep\n");
    belongs_to_its_owner(who, &workspace);
}

each!(node_sizes_itself_by_the_jails_limits);
fn node_sizes_itself_by_the_jails_limits(who: Who) {
    let node = need("node");
    if !grouped(who) {
        return;
    }
    let workspace = Workspace::new(who);
    for (memory, bytes) in [("300MiB", "314572800\n"), ("1GiB", "1073741824\n")] {
        let ran = Run::new(who, &workspace)
            .flags(["--memory", memory])
            .argv([
                node.as_os_str(),
                "-p".as_ref(),
                "process.constrainedMemory()".as_ref(),
            ])
            .ok();
        assert_eq!(ran.stdout, bytes, "{ran:#?}");
    }
}
