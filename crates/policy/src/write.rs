//! Policies as native TOML: the reverse of [`file`](super::file).
//!
//! The output of [`toml()`] for a layer reads as the same
//! layer, except for the origins, the name and the digest; a test checks that. It validates nothing: a
//! layer that no file could contain (an argument with a blank in it) is the caller's error.

use super::file::form::Section;
use super::layer::Layer;
use super::printer::Printer;

/// `layer` as the text of a policy file.
pub fn toml(layer: &Layer) -> String {
    let mut out = Printer::default();
    layer.print(&mut out);
    out.text
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
            [filesystem]\nworkspace = \"ro\"\nworkspace_at = \"/w\"\nread = []\n\
            write = [\"/a\", { path = \"/b\", optional = true, at = \"~/b\" }]\nload = [\"/l\"]\n\
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
