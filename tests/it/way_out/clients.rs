//! Proxy variables work in every client: it reaches granted hosts through them, is refused
//! the rest, and goes to the jail's own loopback without them. docs/network.md names these clients.

use super::Jail;
use super::web::WEB;
use crate::support::{Who, need};

/// A server on the jail's own loopback, which prints its port.
const OWN: &str = r#"
import http.server as h
class Own(h.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"own")
    def log_message(self, *a): pass
s = h.ThreadingHTTPServer(("127.0.0.1", 0), Own)
print(s.server_port, flush=True); s.serve_forever()
"#;
/// Starts it; its port is `$P`.
const SERVE: &str = "exec 3< <(python3 own.py); read -r P <&3; export P URL; ";

/// Clients by name, as a script of bash that prints what is at `$URL`.
fn clients() -> Vec<(&'static str, &'static str)> {
    vec![
        ("curl", "curl -fsS \"$URL\""),
        ("wget", "wget -qO- --tries=1 \"$URL\""),
        (
            "urllib",
            "python3 -c 'import os, urllib.request as u; print(u.urlopen(os.environ[\"URL\"]).read().decode())'",
        ),
        (
            "requests",
            "python3 -c 'import os, requests as r; a = r.get(os.environ[\"URL\"]); a.raise_for_status(); print(a.text)'",
        ),
        (
            "httpx",
            "python3 -c 'import os, httpx as r; a = r.get(os.environ[\"URL\"]); a.raise_for_status(); print(a.text)'",
        ),
        (
            "httpx, asynchronous",
            "python3 -c 'import os, asyncio, httpx\n\
             async def go():\n\
             \x20   async with httpx.AsyncClient() as c:\n\
             \x20       a = await c.get(os.environ[\"URL\"]); a.raise_for_status(); print(a.text)\n\
             asyncio.run(go())'",
        ),
        (
            "aiohttp",
            "python3 -c 'import os, asyncio, aiohttp\n\
             async def go():\n\
             \x20   async with aiohttp.ClientSession(trust_env=True, raise_for_status=True) as c:\n\
             \x20       print(await (await c.get(os.environ[\"URL\"])).text())\n\
             asyncio.run(go())'",
        ),
        (
            "node",
            "node --input-type=module -e 'const r = await fetch(process.env.URL); if (!r.ok) process.exit(1); console.log(await r.text())'",
        ),
        // Understood where node is new enough (24); else the same as above.
        (
            "node by the proxy",
            "NODE_USE_ENV_PROXY=1 node --input-type=module -e 'const r = await fetch(process.env.URL); if (!r.ok) process.exit(1); console.log(await r.text())'",
        ),
    ]
}

each!(every_client_takes_the_variables);
fn every_client_takes_the_variables(who: Who) {
    for program in ["curl", "wget", "node"] {
        need(program);
    }
    let Some(jail) = Jail::new(who, WEB) else {
        return;
    };
    jail.write("own.py", OWN);
    for (client, script) in clients() {
        let ran = |url: &str| {
            let script = format!("{SERVE}URL={url}; TMPDIR=${{TMPDIR:-/tmp}}; {script}");
            jail.argv(&["/bin/bash", "-c", &script])
        };
        let granted = ran("http://web.test/hello");
        assert!(
            granted.status == 0 && granted.stdout.starts_with("GET /hello"),
            "{who:?} {client}: {granted:#?}"
        );
        // The control.
        let other = ran("http://other.test/hello");
        assert_ne!(other.status, 0, "{who:?} {client}: {other:#?}");
        let denials = other.verdict["denials"].to_string();
        assert!(
            denials.contains("other.test"),
            "{who:?} {client}: {denials}"
        );
        for own in ["http://127.0.0.1:$P/", "http://localhost:$P/"] {
            let ran = ran(own);
            assert_eq!(
                ran.stdout.trim_end(),
                "own",
                "{who:?} {client} {own}: {ran:#?}"
            );
            let asked = &ran.verdict["network"]["destinations"];
            assert_eq!(asked.as_array().map_or(0, Vec::len), 0, "{client} {own}");
        }
    }
}
