//! The network of a session changes while it runs: by its operator, as far as the ceiling goes, and never from inside.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use super::{Said, Session, said};
use crate::support::outside::Outside;
use crate::support::{Who, is_root, wait};

/// Without proxies' variables.
const PLAIN: &str = "unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY; ";
/// Ports of servers that send without an end: bytes, and a body of HTTP.
const STREAM: u16 = 7000;
const BODY: u16 = 7080;

/// Sessions in a network of the test's own.
struct World {
    outside: Outside,
    session: Session,
}

impl World {
    /// With `[network]` of this text; not made yet. `None`: a network of the test's own needs root.
    fn new(who: Who, network: &str) -> Option<World> {
        if !is_root() {
            eprintln!("skipped: a network of the test's own needs root");
            return None;
        }
        let session = Session::named(who);
        let names = ["web.test", "other.test", "third.test"];
        let outside = Outside::enter(&names, session.workspace.outside());
        outside.serve(STREAM, |mut client, _| {
            loop {
                client.write_all(b"x\n")?;
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        outside.serve(BODY, |mut client, _| {
            let mut head = [0; 4096];
            let _ = client.read(&mut head)?;
            client.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n")?;
            loop {
                client.write_all(b"x\n")?;
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let policy = format!(
            "extends = [\"default\"]\n[network]\nresolvers = [\"127.0.0.53:53\"]\n{network}\n"
        );
        std::fs::write(session.workspace.outside().join("policy.toml"), policy).expect("write");
        Some(World { outside, session })
    }

    fn policy(&self) -> String {
        let path = self.session.workspace.outside().join("policy.toml");
        path.to_str().expect("text").to_owned()
    }

    fn made(who: Who, network: &str) -> Option<World> {
        let world = World::new(who, network)?;
        world.session.create(&["--policy", &world.policy()]).ok();
        Some(world)
    }
}

impl Session {
    /// `creel net ACT NAME MORE`
    fn net(&self, act: &str, more: &[&str]) -> Said {
        let mut command = self.creel("net");
        command.args([act, &self.name]).args(more);
        said(command)
    }

    /// The status of a request, or the word for the failure.
    fn get(&self, url: &str) -> String {
        let script = format!(
            "{PLAIN} curl -sS -m 10 -o /dev/null -w '%{{http_code}}' http://{url} 2>/dev/null || echo \" curl $?\""
        );
        self.sh(&script).out.trim().to_owned()
    }

    fn resolves(&self, name: &str) -> bool {
        let script = format!("import socket; socket.getaddrinfo('{name}', 80)");
        self.exec(&[], &["python3", "-c", &script]).status == 0
    }

    /// A job that prints `got` when the first bytes have come, and the cause of the end.
    fn reader(&self, name: &str, port: u16) -> String {
        let script = format!(
            "import socket\n\
            s = socket.create_connection(('{name}', {port}))\n\
            print('got', s.recv(1), flush=True)\n\
            try:\n  \
              while s.recv(4096): pass\n  \
              print('end')\n\
            except OSError as e: print(type(e).__name__)"
        );
        self.job("got", &["python3", "-c", &script])
    }

    /// A detached command that has printed the word.
    fn job(&self, word: &str, argv: &[&str]) -> String {
        let number = self.exec(&["--detach"], argv).ok().out;
        let number = number.trim().to_owned();
        wait::until(word, || self.verb("logs", &[&number]).out.contains(word));
        number
    }

    /// The last line of a job that has ended.
    fn end_of(&self, job: &str) -> String {
        let attached = self.verb("attach", &[job]);
        attached.out.lines().last().unwrap_or_default().to_owned()
    }

    fn runs(&self, job: &str) -> bool {
        let session = self.inspect();
        let jobs = session["commands"].as_array().expect("commands");
        let number: u64 = job.parse().expect("a number");
        jobs.iter()
            .any(|one| one["number"] == number && one["state"] == "running")
    }

    #[track_caller]
    fn refused(&self, said: Said, code: &str, text: &str) {
        let said = said.status(125);
        assert!(said.err.contains(text), "{said:?}");
        let events = self.verb("logs", &[]).ok().out;
        let last = events.lines().rfind(|line| line.contains("\"refused\""));
        let code = format!("\"code\":\"{code}\"");
        assert!(last.is_some_and(|line| line.contains(&code)), "{events}");
    }
}

const ONE: &str = "mode = \"allowlist\"\nallow = [\"web.test\"]\n";

each!(a_host_is_allowed_denied_and_allowed_again);
fn a_host_is_allowed_denied_and_allowed_again(who: Who) {
    let Some(World { session, .. }) = World::made(who, ONE) else {
        return;
    };
    let reached = |name: &str| (session.resolves(name), session.get(name));
    let open = (true, "200".to_owned());
    let shut = (false, "000 curl 6".to_owned());
    assert_eq!(reached("web.test"), open);
    assert_eq!(reached("other.test"), shut);
    session.net("allow", &["other.test"]).ok();
    assert_eq!(reached("other.test"), open);
    assert_eq!(reached("third.test"), shut);
    session.net("deny", &["other.test", "web.test"]).ok();
    assert_eq!(reached("other.test"), shut);
    assert_eq!(reached("web.test"), shut);
    session.net("allow", &["other.test"]).ok();
    assert_eq!(reached("other.test"), open);
    assert_eq!(reached("web.test"), shut);
    session.net("reset", &[]).ok();
    assert_eq!(reached("other.test"), shut);
    assert_eq!(reached("web.test"), open);
    // By every way in: the proxies ask the same rules.
    let proxied = "curl -s -m 10 -o /dev/null -w '%{http_code}' http://other.test";
    assert_eq!(session.sh(proxied).out, "403");
    session.net("allow", &["other.test"]).ok();
    assert_eq!(session.sh(proxied).out, "200");
    // It is the same session, and the receipt says that it has changed.
    let changed = session.inspect();
    let layers = changed["receipt"]["layers"].as_array().expect("layers");
    let is_network = |layer: &&serde_json::Value| layer["name"] == "network";
    let network = layers.iter().find(is_network).expect("a row");
    let detail = network["detail"].as_str().expect("text");
    assert!(
        detail.ends_with("; changed 5 times since the start"),
        "{detail}"
    );
    assert_eq!(changed["network"]["changes"], 5);
    let log = &changed["network"]["log"][1];
    assert_eq!(log["what"], serde_json::json!(["other.test", "web.test"]));
    assert_eq!(
        (&log["verb"], &log["uid"]),
        (&"deny".into(), &who.account().0.into())
    );
    let events = session.verb("logs", &[]).ok().out;
    assert!(
        events.contains("\"event\":\"net\",\"verb\":\"reset\""),
        "{events}"
    );
    let shown = session.net("show", &[]).ok().out;
    assert!(shown.contains("allow    other.test:80,443\n"), "{shown}");
}

// No port was served at the start, and the kernel lets the jail bind none below 1024 everywhere.
each!(a_session_with_an_empty_list_gets_a_network);
fn a_session_with_an_empty_list_gets_a_network(who: Who) {
    let Some(World { session, .. }) = World::made(who, "mode = \"allowlist\"\nallow = []") else {
        return;
    };
    assert_eq!(session.get("web.test"), "000 curl 6");
    session.net("allow", &["*.test"]).ok();
    assert_eq!(session.get("web.test"), "200");
    // Reset at once, before the client knows that it is connected or after.
    let reset = session.get("93.184.216.34");
    assert!(
        ["000 curl 7", "000 curl 56"].contains(&reset.as_str()),
        "{reset}"
    );
    session.net("allow", &["93.184.216.0/24:80"]).ok();
    assert_eq!(session.get("93.184.216.34"), "200");
    // The session's verdict has the refusals, with the change as their rule.
    session.net("deny", &["web.test"]).ok();
    assert_eq!(session.get("web.test"), "000 curl 6");
    session.verb("stop", &[]).ok();
    let verdict = &session.inspect()["verdict"];
    let denials = verdict["denials"].as_array().expect("denials");
    let web = denials.iter().find(|one| one["host"] == "web.test");
    let web = web.expect("a denial");
    assert_eq!(web["reason"]["code"], "net-denied");
    assert_eq!(web["text"], "denied by creel net deny");
    let layers = verdict["receipt"]["layers"].to_string();
    assert!(
        layers.contains("changed 3 times since the start"),
        "{layers}"
    );
}

each!(connections_of_every_kind_are_ended);
fn connections_of_every_kind_are_ended(who: Who) {
    let network = "mode = \"allowlist\"\nallow = [{ host = \"web.test\", tls = \"terminate\" }, \
        { host = \"other.test\", ports = 9000, protocol = \"udp\" }]";
    let Some(World { session, outside }) = World::new(who, network) else {
        return;
    };
    outside.trust();
    outside.echo(9000);
    let policy = session.workspace.outside().join("policy.toml");
    session
        .create(&["--policy", policy.to_str().expect("text")])
        .ok();
    let https = "import http.client, ssl\n\
        c = http.client.HTTPSConnection('web.test', 443)\n\
        c.request('GET', '/'); print('got', c.getresponse().read()[:1], flush=True)\n\
        try: print('end', c.sock.recv(1))\n\
        except OSError as e: print(type(e).__name__)";
    let kept = session.job("got", &["python3", "-c", https]);
    let datagrams = "import socket, time\n\
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
        s.connect((socket.gethostbyname('other.test'), 9000)); s.settimeout(0.2)\n\
        missed = 0\n\
        while missed < 10:\n  \
          s.send(b'x')\n  \
          try: s.recv(1); missed = 0; print('got', flush=True)\n  \
          except OSError: missed += 1\n  \
          time.sleep(0.05)\n\
        print('silent')";
    let flow = session.job("got", &["python3", "-c", datagrams]);
    session.net("deny", &["third.test"]).ok();
    assert!(session.runs(&kept) && session.runs(&flow));
    session.net("deny", &["web.test", "other.test"]).ok();
    // Python hides whether TLS ended with an alert. HTTP has lengths.
    let end = session.end_of(&kept);
    assert!(
        ["end b''", "ConnectionResetError"].contains(&end.as_str()),
        "{end}"
    );
    assert_eq!(session.end_of(&flow), "silent");
}

each!(a_denial_ends_the_connections_that_it_concerns);
fn a_denial_ends_the_connections_that_it_concerns(who: Who) {
    let Some(World { session, .. }) = World::made(who, ONE) else {
        return;
    };
    // Ports that the relay was not started with.
    let open = ["web.test:7000,7080", "other.test:7000"];
    session.net("allow", &open).ok();
    let (cut, kept) = (
        session.reader("web.test", STREAM),
        session.reader("other.test", STREAM),
    );
    // Transparent, the HTTP proxy, a tunnel through it.
    let curl = |flags: &str| format!("{flags} http://web.test:{BODY}/");
    let scripts = [
        format!("{PLAIN} exec {}", curl("curl -sSN")),
        format!("exec {}", curl("curl -sSN")),
        format!("exec {}", curl("curl -sSNp")),
    ];
    let bodies = scripts.map(|script| session.job("x", &["sh", "-c", &script]));
    session.net("deny", &["web.test"]).ok();
    assert_eq!(session.end_of(&cut), "ConnectionResetError");
    for body in &bodies {
        let ended = session.verb("attach", &[body]);
        // CURLE_PARTIAL_FILE, CURLE_RECV_ERROR: nothing takes it for whole.
        assert!([18, 56].contains(&ended.status), "{}", ended.status);
    }
    // The control: another host's goes on.
    assert!(session.runs(&kept));
    session.net("deny", &["*"]).ok();
    assert_eq!(session.end_of(&kept), "ConnectionResetError");
    // A rule that was taken back no longer allows; one that stays serves a new connection.
    session.net("reset", &[]).ok();
    session.net("allow", &["other.test:7000"]).ok();
    let kept = session.reader("other.test", STREAM);
    session.net("reset", &[]).ok();
    assert_eq!(session.end_of(&kept), "ConnectionResetError");
}

each!(an_address_that_is_denied_ends_connections_to_its_names);
fn an_address_that_is_denied_ends_connections_to_its_names(who: Who) {
    let Some(World { session, .. }) = World::made(who, ONE) else {
        return;
    };
    session.net("allow", &["web.test:7000"]).ok();
    let cut = session.reader("web.test", STREAM);
    session.net("deny", &["93.184.216.0/24:7001"]).ok();
    assert!(session.runs(&cut));
    session.net("deny", &["93.184.216.0/24"]).ok();
    assert_eq!(session.end_of(&cut), "ConnectionResetError");
    // Over HTTP the refusal has words.
    assert_eq!(session.get("web.test"), "403");
}

each!(nothing_is_allowed_beyond_the_ceiling);
fn nothing_is_allowed_beyond_the_ceiling(who: Who) {
    let Some(world) = World::new(who, ONE) else {
        return;
    };
    let session = &world.session;
    let home = session.workspace.outside().join("config/creel");
    std::fs::create_dir_all(&home).expect("mkdir");
    std::fs::copy(world.policy(), home.join("policy.toml")).expect("copy");
    let create = |name: &str, more: &[&str]| {
        let mut command = session.creel("create");
        command.env("XDG_CONFIG_HOME", home.parent().expect("a directory"));
        command.args(["--name", name]).args(more);
        said(command)
    };
    let degraded = match crate::support::has_cgroups(who) {
        true => &[][..],
        false => {
            let policy = std::fs::read_to_string(world.policy()).expect("read");
            let policy = format!("allow_degraded = [\"cgroup\"]\n{policy}");
            std::fs::write(home.join("policy.toml"), policy).expect("write");
            &["--allow-degraded", "cgroup"]
        }
    };
    create(&session.name, degraded).ok();
    let why = "other.test:80,443: the platform's or operator's policy does not grant it; add it to `network.allow` there";
    // The same words as at the start.
    let at_start = create(
        "never",
        &[degraded, &["--allow-net", "other.test"]].concat(),
    );
    assert!(
        at_start
            .status(125)
            .err
            .contains(&format!("--allow-net {why}"))
    );
    let live = session.net("allow", &["other.test"]);
    session.refused(live, "ask-beyond-policy", &format!("creel net allow {why}"));
    let wider = session.net("allow", &["web.test:7000"]);
    session.refused(wider, "ask-beyond-policy", "web.test:7000");
    assert_eq!(session.get("other.test"), "000 curl 6");
    // The control: what it grants can be taken and given back.
    assert_eq!(session.get("web.test"), "200");
    session.net("deny", &["web.test"]).ok();
    assert_eq!(session.get("web.test"), "000 curl 6");
    session.net("allow", &["web.test"]).ok();
    assert_eq!(session.get("web.test"), "200");
    let port = free_port().to_string();
    let open = ["--publish-anyway", &format!("0.0.0.0:{port}:80")];
    let open = session.net("publish", &open);
    session.refused(open, "ask-published", "on loopback only");
    session.net("publish", &[&port]).ok();
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

const SERVER: &str = "import socket\n\
    s = socket.create_server(('127.0.0.1', 7000))\n\
    print('ready', flush=True)\n\
    held = []\n\
    while True:\n  \
      c, _ = s.accept(); c.sendall(b'hello'); held = held[-2:] + [c]";

/// The first words of a server behind a port.
fn hello(port: u16) -> std::io::Result<(String, TcpStream)> {
    let mut client = TcpStream::connect(("127.0.0.1", port))?;
    client.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut said = [0; 5];
    client.read_exact(&mut said)?;
    Ok((String::from_utf8_lossy(&said).into_owned(), client))
}

each!(a_port_is_published_and_closed_again);
fn a_port_is_published_and_closed_again(who: Who) {
    let Some(World { session, .. }) = World::made(who, ONE) else {
        return;
    };
    session.job("ready", &["python3", "-c", SERVER]);
    let port = free_port();
    let ports = format!("{port}:7000");
    assert!(hello(port).is_err());
    session.net("publish", &[&ports]).ok();
    // More than there are sockets.
    for _ in 0..150 {
        assert_eq!(hello(port).expect("an answer").0, "hello");
    }
    // Once more is no error, and neither is another port; another session cannot have it.
    session.net("publish", &[&ports]).ok();
    let second = free_port();
    session.net("publish", &[&format!("{second}:7000")]).ok();
    let held = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = held.local_addr().expect("an address");
    let refused = session.net("publish", &[&taken.port().to_string()]);
    session.refused(refused, "session-net-publish", "Address already in use");
    drop(held);
    let open = session.net("publish", &["0.0.0.0:18098:80"]);
    session.refused(open, "ask-open-published", "--publish-anyway");
    // The end of one ends its connections, and no others.
    let (_, mut one) = hello(port).expect("an answer");
    let (_, mut other) = hello(second).expect("an answer");
    session.net("unpublish", &[&port.to_string()]).ok();
    let cut = one.read(&mut [0; 1]).map_err(|e| e.kind());
    assert_eq!(cut, Err(std::io::ErrorKind::ConnectionReset));
    let refused = TcpStream::connect(("127.0.0.1", port)).map_err(|e| e.kind());
    assert_eq!(refused.err(), Some(std::io::ErrorKind::ConnectionRefused));
    other.set_nonblocking(true).expect("nonblocking");
    let open = other.read(&mut [0; 1]).map_err(|e| e.kind());
    assert_eq!(open, Err(std::io::ErrorKind::WouldBlock));
    assert_eq!(hello(second).expect("an answer").0, "hello");
    let none = session.net("unpublish", &[&port.to_string()]);
    session.refused(none, "session-not-published", "creel net show");
    // The number of a job does not tell how many sockets were made.
    let job = session.exec(&["--detach"], &["/bin/true"]).ok().out;
    assert!(job.trim().parse::<u32>().expect("a number") < 20, "{job}");
}

each!(two_sessions_have_a_network_each);
fn two_sessions_have_a_network_each(who: Who) {
    let Some(World { session, outside }) = World::made(who, ONE) else {
        return;
    };
    let other = Session::named(who);
    let policy = session.workspace.outside().join("policy.toml");
    other
        .create(&["--policy", policy.to_str().expect("text")])
        .ok();
    other.net("allow", &["web.test:7000"]).ok();
    let kept = other.reader("web.test", STREAM);
    session.net("allow", &["other.test"]).ok();
    session.net("deny", &["web.test"]).ok();
    assert_eq!(
        (session.get("web.test"), session.get("other.test")),
        ("000 curl 6".into(), "200".into())
    );
    assert_eq!(
        (other.get("web.test"), other.get("other.test")),
        ("200".into(), "000 curl 6".into())
    );
    assert!(other.runs(&kept));
    assert_eq!(other.inspect()["network"]["changes"], 1);
    drop(outside);
}

each!(a_session_without_a_network_says_what_to_do);
fn a_session_without_a_network_says_what_to_do(who: Who) {
    let session = Session::new(who);
    let flag = format!("--replace --name {} --allow-net HOST", session.name);
    session.refused(
        session.net("allow", &["web.test"]),
        "session-no-relay",
        &flag,
    );
    session.refused(
        session.net("publish", &["8080"]),
        "session-no-relay",
        "--publish PORT",
    );
    assert_eq!(session.inspect()["network"], serde_json::Value::Null);
    assert!(session.net("show", &[]).ok().out.contains("none"));
    // One for published ports alone has no route and no resolver.
    let port = free_port();
    session
        .create(&["--replace", "--publish", &format!("{port}:7000")])
        .ok();
    session.refused(
        session.net("allow", &["web.test"]),
        "session-no-relay",
        &flag,
    );
    session.job("ready", &["python3", "-c", SERVER]);
    assert_eq!(hello(port).expect("an answer").0, "hello");
    let second = free_port();
    session.net("publish", &[&format!("{second}:7000")]).ok();
    assert_eq!(hello(second).expect("an answer").0, "hello");
}

each!(what_is_no_destination_or_held_is_refused);
fn what_is_no_destination_or_held_is_refused(who: Who) {
    let network = "mode = \"allowlist\"\nallow = [\"web.test\"]\ndeny = [\"other.test\"]";
    let Some(World { session, .. }) = World::made(who, network) else {
        return;
    };
    for text in [
        "*",
        "",
        "127.0.0.1:80",
        "http://web.test",
        "web.test:0",
        "a\nb",
    ] {
        session.refused(
            session.net("allow", &[text]),
            "session-destination",
            ": it ",
        );
    }
    session.refused(session.net("deny", &["a b"]), "session-destination", "a b");
    // All or nothing, and the rule has its place.
    let both = session.net("allow", &["third.test", "other.test"]);
    session.refused(both, "session-net-denied", "policy.toml:");
    assert_eq!(session.get("third.test"), "000 curl 6");
    session.net("deny", &["*.test"]).ok();
    let held = session.net("allow", &["web.test"]);
    session.refused(
        held,
        "session-net-denied",
        "*.test is denied by creel net deny",
    );
    // A server of the jail's own has the port.
    session.net("reset", &[]).ok();
    session.job(
        "ready",
        &["python3", "-c", &SERVER.replace("127.0.0.1", "0.0.0.0")],
    );
    let taken = session.net("allow", &["*.test:7000"]);
    session.refused(taken, "session-net-port", "port 7000");
    session.net("allow", &["*.test:7001"]).ok();
    let many: Vec<String> = (0..101).map(|n| format!("n{n}.test")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    session.refused(
        session.net("deny", &many),
        "session-net-changes",
        "creel net reset",
    );
    session.net("deny", &many[..90]).ok();
}

each!(changes_at_once_are_made_one_after_another);
fn changes_at_once_are_made_one_after_another(who: Who) {
    let Some(World { session, .. }) = World::made(who, ONE) else {
        return;
    };
    let start = |n: usize| {
        let mut command = session.creel("net");
        command
            .args(["allow", &session.name])
            .arg(format!("n{n}.test:{}", 8000 + n));
        command.spawn().expect("creel starts")
    };
    let all: Vec<_> = (0..12).map(start).collect();
    for mut one in all {
        assert!(one.wait().expect("wait").success());
    }
    let network = &session.inspect()["network"];
    assert_eq!(network["changes"], 12);
    assert_eq!(network["lists"][0].as_array().expect("a list").len(), 13);
    // The way in which it was made is the same, so it is kept.
    let policy = session.workspace.outside().join("policy.toml");
    session
        .create(&["--policy", policy.to_str().expect("text")])
        .ok();
    assert_eq!(session.inspect()["network"]["changes"], 12);
    // While it is paused, nothing is made in it; what is denied needs nothing there.
    session.verb("pause", &[]).ok();
    let paused = session.net("allow", &["web.test:9000"]);
    session.refused(paused, "session-paused", "creel resume");
    session.net("deny", &["web.test"]).ok();
    session.verb("resume", &[]).ok();
    assert_eq!(session.get("web.test"), "000 curl 6");
}

/// To the relay of a session of the test's own.
fn signal(relay: u32, number: i32) {
    let pid = i32::try_from(relay).expect("a pid");
    // SAFETY: two integers.
    assert_eq!(unsafe { libc::kill(pid, number) }, 0);
}

each!(without_its_relay_a_session_has_no_network_and_says_so);
fn without_its_relay_a_session_has_no_network_and_says_so(who: Who) {
    let Some(World { session, .. }) = World::made(who, ONE) else {
        return;
    };
    let keeper = u32::try_from(session.keeper()).expect("a pid");
    let relay = crate::way_out::relay_of(keeper).expect("a relay");
    signal(relay, libc::SIGKILL);
    wait::until("it is noticed", || {
        session.inspect()["network"]["relay"] == "ended"
    });
    let gone = session.net("allow", &["other.test"]);
    session.refused(gone, "session-relay-gone", "creel create --replace");
    let gone = session.net("deny", &["web.test"]);
    session.refused(gone, "session-relay-gone", "creel create --replace");
    session.exec(&[], &["/bin/true"]).ok();
}

each!(a_relay_that_does_not_answer_is_ended);
fn a_relay_that_does_not_answer_is_ended(who: Who) {
    let Some(World { session, .. }) = World::made(who, ONE) else {
        return;
    };
    let keeper = u32::try_from(session.keeper()).expect("a pid");
    let relay = crate::way_out::relay_of(keeper).expect("a relay");
    signal(relay, libc::SIGSTOP);
    let gone = session.net("deny", &["web.test"]);
    session.refused(gone, "session-relay-gone", "creel create --replace");
    wait::until("it is gone", || crate::way_out::relay_of(keeper).is_none());
    assert_eq!(session.get("web.test"), "000 curl 6");
}

// A process of the jail sees neither the keeper's socket nor the relay's, and the verb does not work from inside.
each!(the_jail_cannot_change_its_network);
fn the_jail_cannot_change_its_network(who: Who) {
    let Some(World { session, .. }) = World::made(who, ONE) else {
        return;
    };
    let socket = session.directory().join("socket");
    assert!(socket.exists(), "the control: {socket:?}");
    let look = format!(
        "import os, socket\n\
        def tried(act):\n  \
          try: act(); return 'done'\n  \
          except OSError as e: return e.errno\n\
        s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n\
        print(tried(lambda: s.connect('{socket}')), tried(lambda: os.stat('{socket}')))\n\
        print(sorted(os.listdir('/run/creel')))\n\
        print([l.split()[-1] for l in open('/proc/net/unix').read().splitlines()[1:] if '/' in l])\n\
        print([p for p in os.listdir('/proc') if p.isdigit() and tried(lambda: os.listdir(f'/proc/{{p}}/fd')) == 'done' and int(p) != os.getpid()])",
        socket = socket.display()
    );
    let seen = session.exec(&[], &["python3", "-c", &look]).ok().out;
    // The client's socket is made in the network in which the building begins: as root the jail's own.
    let sockets = match who {
        Who::Root => "['run/creel/socket']",
        Who::User => "[]",
    };
    let files = "['bin', 'card.md', 'socket']";
    assert_eq!(seen, format!("2 2\n{files}\n{sockets}\n[]\n"));
    assert_eq!(session.inspect()["network"]["changes"], 0);
}
