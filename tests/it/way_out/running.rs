//! A jail at work, seen from outside: its processes, and what is in their memory.

use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::os::unix::fs::FileExt;
use std::process::{Child, ChildStdout, Stdio};

use super::Jail;
use crate::support::children_of;
use crate::support::{
    state_of,
    wait::{self, PATIENCE},
};

/// A run that goes on while a test looks at it; it ends with this.
pub struct Running {
    creel: Child,
    said: BufReader<ChildStdout>,
}

impl Jail {
    /// Starts `python3 -c SCRIPT`. It is told to go on by a file `go` in the workspace.
    pub fn start(&self, script: &str) -> Running {
        let mut creel = self
            .run()
            .command(["/usr/bin/python3", "-c", script])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("creel starts");
        let said = BufReader::new(creel.stdout.take().expect("a pipe"));
        Running { creel, said }
    }
}

impl Running {
    /// The next line that the command says; empty where it has ended.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).expect("text");
        line.trim_end().to_owned()
    }

    /// Waits for its end; what it said meanwhile.
    pub fn rest(&mut self) -> Vec<String> {
        let lines = self.said.by_ref().lines();
        let lines = lines.map(|line| line.expect("text")).collect();
        assert!(self.creel.wait().expect("its end").success(), "{lines:?}");
        lines
    }

    pub fn supervisor(&self) -> u32 {
        self.creel.id()
    }

    /// The relay, found by its name among the supervisor's children.
    pub fn relay(&self) -> u32 {
        let relay = |pid: &u32| {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm"));
            name.is_ok_and(|name| name == "creel-relay\n")
        };
        let mut found = self.family().into_iter().filter(relay);
        found.next().expect("a relay")
    }

    /// All that descends from the supervisor, in and outside of the jail.
    pub fn family(&self) -> Vec<u32> {
        let mut family = vec![];
        let mut above = vec![self.supervisor()];
        while let Some(parent) = above.pop() {
            let children = children_of(parent);
            family.extend(&children);
            above.extend(children);
        }
        family
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // All that is its own ends with it.
        let _ = self.creel.kill();
        let _ = self.creel.wait();
    }
}

/// A line of /proc/PID/status, in KiB.
pub fn kib(pid: u32, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let number = line.and_then(|line| line.split_ascii_whitespace().nth(1).map(str::to_owned));
    number.expect("a field").parse().expect("a number")
}

/// Whether these bytes are anywhere in what a process can read.
pub fn has_in_memory(pid: u32, wanted: &[u8]) -> bool {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("a process");
    let memory = File::open(format!("/proc/{pid}/mem")).expect("memory");
    let mut looked = 0;
    for line in maps.lines() {
        let mut fields = line.split_ascii_whitespace();
        let (range, rights) = (fields.next().expect("a range"), fields.next());
        if !rights.is_some_and(|r| r.starts_with('r')) || line.contains("[v") {
            continue;
        }
        let (start, end) = range.split_once('-').expect("a range");
        let number = |text| u64::from_str_radix(text, 16).expect("an address");
        let (start, end) = (number(start), number(end));
        let mut bytes = vec![0; (end - start) as usize];
        // Memory that cannot be read belongs to a device, or is gone.
        if memory.read_exact_at(&mut bytes, start).is_ok() {
            looked += bytes.len();
            let first = wanted[0];
            let mut rest = &bytes[..];
            while let Some(at) = rest.iter().position(|byte| *byte == first) {
                if rest[at..].starts_with(wanted) {
                    return true;
                }
                rest = &rest[at + 1..];
            }
        }
    }
    assert!(looked > 0, "nothing of {pid} can be read");
    false
}

/// Waits until a process is gone.
pub fn ended(pid: u32) -> bool {
    wait::within(PATIENCE, || matches!(state_of(pid), None | Some('Z')))
}
