//! A layer as native TOML: the reverse of [`file`](super::file).
//!
//! Owns the order of sections and the quoting. What it writes reads as the same layer, but for the
//! origins, the name and the digest; a test holds it to that. It decides nothing: a layer that no file
//! could have said (an argument with a blank in it) is the fault of whoever made it.

use std::fmt::{Display, Write as _};

use super::layer::{Command, Layer, Settings};
use super::net::rule::ports_text;
use super::net::{Protocol, Rule, Secret, Tls};
use super::{Absent, Grant, Sourced};

/// A line that is longer is broken after each element.
const WIDTH: usize = 96;

/// `layer` as the text of a policy file.
pub fn toml(layer: &Layer) -> String {
    let mut out = Writer::default();
    if !layer.extends.is_empty() {
        out.list(
            "extends",
            layer.extends.iter().map(|base| quoted(&base.value)),
        );
    }
    if let Some(degraded) = &layer.allow_degraded {
        out.list("allow_degraded", degraded.keys().map(|d| quoted(d.name())));
    }
    tools(&mut out, layer);
    files(&mut out, layer);
    network(&mut out, layer);
    environment(&mut out, layer);
    limits(&mut out, layer);
    out.section("process");
    out.plain("debug", &layer.process.debug);
    out.section("session");
    out.word("mode", &layer.session.mode, |mode| mode.name());
    out.word("scope", &layer.session.scope, |scope| scope.name());
    out.section("tests");
    for (key, cases) in [("allow", &layer.tests.allow), ("deny", &layer.tests.deny)] {
        if !cases.is_empty() {
            out.list(
                key,
                cases.iter().map(|case| quoted(&case.value.to_string())),
            );
        }
    }
    out.text
}

fn tools(out: &mut Writer, layer: &Layer) {
    let tools = &layer.tools;
    out.section("tools");
    out.word("profile", &tools.profile, |profile| profile.name());
    if let Some(allow) = &tools.allow {
        out.list("allow", allow.value.iter().map(|p| quoted(p.text())));
    }
    if !tools.deny.is_empty() {
        out.list("deny", tools.deny.iter().map(|p| quoted(p.value.text())));
    }
    out.plain("elevated", &tools.elevated);
    out.plain("max_iterations", &tools.max_iterations);
    for (tool, settings) in &tools.each {
        out.open(&format!("tools.{}", tool.name()));
        settings_of(out, settings);
    }
}

fn settings_of(out: &mut Writer, settings: &Settings) {
    out.plain("enabled", &settings.enabled);
    out.plain("elevated", &settings.elevated);
    out.word("security", &settings.security, |word| word.name());
    out.word("ask", &settings.ask, |word| word.name());
    out.word("target", &settings.target, |word| word.name());
    if let Some(channels) = &settings.channels {
        out.list("channels", channels.iter().map(|name| quoted(&name.value)));
    }
    if let Some(languages) = &settings.languages {
        out.list(
            "languages",
            languages.iter().map(|l| quoted(l.value.name())),
        );
    }
    if let Some(commands) = &settings.commands {
        out.list("commands", commands.iter().map(command));
    }
    out.grants("allowed_paths", settings.allowed_paths.as_deref());
    out.grants("denied_paths", said(&settings.denied_paths));
    out.quoted("timeout", &settings.timeout);
    out.plain("rate", &settings.rate);
    out.plain("max_iterations", &settings.max_iterations);
}

fn command(command: &Command) -> String {
    let program = quoted(&command.program);
    if command.args.is_empty() {
        return program;
    }
    let args: Vec<String> = command
        .args
        .iter()
        .map(|a| quoted(&a.to_string()))
        .collect();
    format!("{{ command = {program}, args = [{}] }}", args.join(", "))
}

fn files(out: &mut Writer, layer: &Layer) {
    let files = &layer.filesystem;
    out.section("filesystem");
    out.word("workspace", &files.workspace, |mode| mode.name());
    out.grants("read", files.read.as_deref());
    out.grants("write", files.write.as_deref());
    out.grants("load", files.load.as_deref());
    out.grants("exec", files.exec.as_deref());
    out.grants("deny", said(&files.deny));
    out.grants("protect", said(&files.protect));
    out.grants("unprotect", said(&files.unprotect));
}

fn network(out: &mut Writer, layer: &Layer) {
    let said = &layer.network;
    out.section("network");
    out.word("mode", &said.mode, |mode| mode.name());
    if let Some(rules) = &said.allow {
        out.list("allow", rules.iter().map(rule));
    }
    if !said.deny.is_empty() {
        let texts = said.deny.iter().map(|rule| quoted(&rule.destination()));
        out.list("deny", texts);
    }
    if let Some(resolvers) = &said.resolvers {
        let texts = resolvers.iter().map(|r| quoted(&r.value.to_string()));
        out.list("resolvers", texts);
    }
    let limits = &said.limits;
    out.section("network.limits");
    out.plain("connections", &limits.connections);
    out.plain("rate", &limits.rate);
    out.quoted("bytes_in", &limits.bytes_in);
    out.quoted("bytes_out", &limits.bytes_out);
    out.quoted("bandwidth", &limits.bandwidth);
    out.quoted("idle", &limits.idle);
    for one in &said.credentials {
        out.open("[network.credentials]");
        out.line("host", &quoted(one.host.as_str()));
        out.line("header", &quoted(&one.header));
        out.line("variable", &quoted(&one.variable));
        out.line("secret", &secret(&one.secret));
    }
}

pub(super) fn secret(secret: &Secret) -> String {
    match secret {
        Secret::Variable(name) => format!("{{ env = {} }}", quoted(name)),
        Secret::File(path) => format!("{{ file = {} }}", quoted(path)),
    }
}

/// A rule that allows, as an element of `allow`.
pub(super) fn rule(rule: &Rule) -> String {
    let to = rule.to.to_string();
    let usual = rule.ports == rule.protocol.ports();
    if (rule.protocol, rule.tls, &rule.http) == (Protocol::Auto, Tls::Forward, &None) {
        return quoted(&if usual { to } else { rule.destination() });
    }
    let mut out = format!("{{ host = {}", quoted(&to));
    if !usual {
        let _ = write!(out, ", ports = {}", quoted(&ports_text(&rule.ports)));
    }
    if rule.protocol != Protocol::Auto {
        let _ = write!(out, ", protocol = {}", quoted(rule.protocol.name()));
    }
    if rule.tls != Tls::Forward {
        let _ = write!(out, ", tls = {}", quoted(rule.tls.name()));
    }
    if let Some(http) = &rule.http {
        for (key, words) in [("methods", &http.methods), ("paths", &http.paths)] {
            if !words.is_empty() {
                let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
                let _ = write!(out, ", {key} = [{}]", words.join(", "));
            }
        }
    }
    out + " }"
}

fn environment(out: &mut Writer, layer: &Layer) {
    out.section("environment");
    if let Some(set) = &layer.environment.set {
        let pairs: Vec<String> = set
            .iter()
            .map(|(name, value)| format!("{name} = {}", quoted(&value.value)))
            .collect();
        // An inline table is one line before TOML 1.1.
        match pairs.is_empty() {
            true => out.line("set", "{}"),
            false => out.line("set", &format!("{{ {} }}", pairs.join(", "))),
        }
    }
    if let Some(pass) = &layer.environment.pass {
        out.list("pass", pass.iter().map(|name| quoted(&name.value)));
    }
    out.plain("git_identity", &layer.environment.git_identity);
}

fn limits(out: &mut Writer, layer: &Layer) {
    let limits = &layer.limits;
    out.section("limits");
    out.quoted("memory", &limits.memory);
    out.quoted("memory_high", &limits.memory_high);
    out.plain("cpus", &limits.cpus);
    out.plain("pids", &limits.pids);
    out.quoted("timeout", &limits.timeout);
    out.quoted("cpu_time", &limits.cpu_time);
    out.quoted("disk", &limits.disk);
    out.plain("inodes", &limits.inodes);
    out.quoted("file_size", &limits.file_size);
    out.plain("open_files", &limits.open_files);
    out.quoted("output", &limits.output);
    out.quoted("grace", &limits.grace);
}

/// In these lists, nothing and an empty list are the same.
fn said(grants: &[Grant]) -> Option<&[Grant]> {
    (!grants.is_empty()).then_some(grants)
}

/// Collects lines; a section's header is written with its first key.
#[derive(Default)]
struct Writer {
    text: String,
    pending: Option<String>,
}

impl Writer {
    fn section(&mut self, name: &str) {
        self.pending = Some(name.to_owned());
    }

    /// A header that stands even where nothing follows.
    fn open(&mut self, name: &str) {
        self.section(name);
        self.header();
    }

    fn header(&mut self) {
        if let Some(name) = self.pending.take() {
            let gap = if self.text.is_empty() { "" } else { "\n" };
            let _ = writeln!(self.text, "{gap}[{name}]");
        }
    }

    fn line(&mut self, key: &str, value: &str) {
        self.header();
        let _ = writeln!(self.text, "{key} = {value}");
    }

    fn plain<T: Display>(&mut self, key: &str, value: &Option<Sourced<T>>) {
        if let Some(value) = value {
            self.line(key, &value.value.to_string());
        }
    }

    fn quoted<T: Display>(&mut self, key: &str, value: &Option<Sourced<T>>) {
        if let Some(value) = value {
            self.line(key, &quoted(&value.value.to_string()));
        }
    }

    fn word<T>(
        &mut self,
        key: &str,
        value: &Option<Sourced<T>>,
        name: impl Fn(&T) -> &'static str,
    ) {
        if let Some(value) = value {
            self.line(key, &quoted(name(&value.value)));
        }
    }

    fn grants(&mut self, key: &str, grants: Option<&[Grant]>) {
        if let Some(grants) = grants {
            self.list(key, grants.iter().map(grant));
        }
    }

    fn list(&mut self, key: &str, elements: impl Iterator<Item = String>) {
        let elements: Vec<String> = elements.collect();
        let short = format!("[{}]", elements.join(", "));
        if key.len() + short.len() + 3 <= WIDTH || elements.len() < 2 {
            return self.line(key, &short);
        }
        self.line(key, &format!("[\n    {},\n]", elements.join(",\n    ")));
    }
}

fn grant(grant: &Grant) -> String {
    let path = quoted(&grant.path);
    match grant.absent {
        Absent::Refuse => path,
        Absent::Skip => format!("{{ path = {path}, optional = true }}"),
    }
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{file, preset};

    /// The text of what a text says, read and written once more.
    fn again(text: &str) -> String {
        let layer = file::read("p.toml", text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        toml(&layer)
    }

    #[test]
    fn what_is_written_reads_as_the_same() {
        for name in preset::names() {
            let once = again(preset::text(name).unwrap());
            assert_eq!(again(&once), once, "{name}");
            let layer = file::read("p.toml", preset::text(name).unwrap()).unwrap();
            let read = file::read("p.toml", &once).unwrap();
            let exec = |layer: Layer| layer.filesystem.exec.map(|grants| grants.len());
            assert_eq!(toml(&layer), toml(&read));
            assert_eq!(exec(layer), exec(read), "{name}");
        }
    }

    #[test]
    fn every_key_is_written() {
        let text = "extends = [\"default\", \"a.toml\"]\nallow_degraded = [\"idmap\"]\n\n\
            [tools]\nprofile = \"coding\"\nallow = [\"read\", \"sessions_*\"]\ndeny = [\"browser\"]\n\
            elevated = false\nmax_iterations = 25\n\n\
            [tools.write]\nenabled = true\nask = \"on-miss\"\nallowed_paths = [\"$WORKSPACE/src\"]\n\
            denied_paths = [{ path = \"~/x\", optional = true }]\n\n\
            [tools.exec]\nelevated = false\nsecurity = \"allowlist\"\nlanguages = [\"python\"]\n\
            commands = [\"git\", { command = \"cargo\", args = [\"\", \"test ...\"] }]\n\
            timeout = \"30s\"\nrate = 6\nmax_iterations = 3\n\n\
            [tools.process]\n\n\
            [tools.browser]\ntarget = \"sandbox\"\n\n\
            [tools.message]\nchannels = [\"a\\\"b\\\\\\n\\u0001\"]\n\n\
            [filesystem]\nworkspace = \"ro\"\nread = []\nwrite = [\"/a\"]\nload = [\"/l\"]\n\
            exec = [\"/usr\"]\ndeny = [\"/a/b\"]\nprotect = [\"/a/c\"]\nunprotect = [\"/a/d\"]\n\n\
            [network]\nmode = \"open\"\nallow = [\n    \"*.a.example\",\n    \"[2001:db8::]/32:443\",\n    \
            { host = \"b.example\", ports = \"443,8000-8002\", tls = \"terminate\", methods = [\"GET\"], paths = [\"/v1/*\"] },\n    \
            { host = \"c.example\", protocol = \"tls\" },\n]\ndeny = [\"d.example\", \"*.e.example:25\"]\n\
            resolvers = [\"9.9.9.9:53\"]\n\n\
            [network.limits]\nconnections = 9\nrate = 5\nbytes_in = \"1GiB\"\nbytes_out = \"1MiB\"\nbandwidth = \"2MiB\"\n\
            idle = \"1m\"\n\n\
            [[network.credentials]]\nhost = \"b.example\"\nheader = \"authorization\"\nvariable = \"TOKEN\"\n\
            secret = { env = \"REAL\" }\n\n\
            [environment]\nset = { A = \"\", B = \"x y\" }\npass = []\n\n\
            [limits]\nmemory = \"1GiB\"\nmemory_high = \"90%\"\ncpus = 0.5\npids = 5\ntimeout = \"1h\"\n\
            cpu_time = \"1m\"\ndisk = \"1MiB\"\ninodes = 7\nfile_size = \"2MiB\"\nopen_files = 9\n\
            output = \"1KiB\"\ngrace = \"0s\"\n\n\
            [process]\ndebug = true\n\n\
            [session]\nmode = \"all\"\nscope = \"agent\"\n\n\
            [tests]\nallow = [\"read src/main.rs\"]\ndeny = [\"exec curl\"]\n";
        assert_eq!(again(text), text);
    }
}
