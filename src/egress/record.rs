//! What becomes known of each decision: a line of JSON each, and a summary by destination.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::io::Write as _;
use std::net::IpAddr;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::Way;
use super::gate::Refusal;
use crate::policy::net::{Host, Rule};

/// Destinations that the summary tells apart; the rest is counted together.
const DESTINATIONS: usize = 200;
/// Lines of refused questions to the resolver, of one name, and names that have any. A jail asks as
/// often as it likes, and what it asks is its own text: the rest is in the summary alone.
const LINES_OF_A_NAME: u32 = 3;
const NAMES_WITH_LINES: usize = 1000;

/// When a line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// Allowed, before anything is dialled.
    Open,
    /// Refused before anything was dialled.
    Refused,
    /// A request on a connection, allowed or refused.
    Request,
    /// The connection's end.
    Close,
}

/// One destination that was asked for, and what became of it.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    pub way: Way,
    /// The name or address, canonical; what was said where it is no host.
    pub host: String,
    pub port: u16,
    /// The address that was dialled.
    pub address: Option<IpAddr>,
    /// File and line of the rules that allowed it.
    pub rule: Option<String>,
    /// Why it was refused or closed early.
    pub refused: Option<String>,
    pub method: Option<String>,
    pub path: Option<String>,
    /// To the jail, and from it.
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub duration_ms: u64,
    #[serde(skip)]
    since: Instant,
}

/// Where the rules were written, the strictest layer's word included.
pub fn rules(rules: &[&Rule]) -> String {
    let mut places: Vec<String> = rules.iter().map(|rule| rule.origin.to_string()).collect();
    places.dedup();
    places.join(", ")
}

impl Entry {
    pub fn new(way: Way, host: &Host, port: u16) -> Entry {
        Entry::unknown(way, &host.to_string(), port)
    }

    /// Of something that may be no host.
    pub fn unknown(way: Way, said: &str, port: u16) -> Entry {
        Entry {
            way,
            host: said.chars().take(256).collect(),
            port,
            address: None,
            rule: None,
            refused: None,
            method: None,
            path: None,
            bytes_in: 0,
            bytes_out: 0,
            duration_ms: 0,
            since: Instant::now(),
        }
    }

    pub fn allowed(mut self, rule: String) -> Entry {
        self.rule = Some(rule);
        self
    }

    pub fn refused(mut self, refusal: &Refusal) -> Entry {
        self.refuse(refusal);
        self
    }

    pub fn refuse(&mut self, refusal: &Refusal) {
        self.refused.get_or_insert(refusal.to_string());
    }

    /// Of one request on this connection, with its own refusal alone.
    pub fn request(&self, method: &str, path: &str, refusal: Option<&Refusal>) -> Entry {
        let mut entry = self.clone();
        // A query may have what should not be in a log.
        let path = path.split('?').next().unwrap_or_default();
        entry.method = Some(method.chars().take(32).collect());
        entry.path = Some(path.chars().take(1024).collect());
        entry.refused = refusal.map(Refusal::to_string);
        entry
    }
}

/// What the verdict says of one destination.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destination {
    pub host: String,
    pub port: u16,
    /// Connections.
    pub allowed: u64,
    /// Connections, requests on them, and connections that were closed before their end.
    pub refused: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// Of the last refusal.
    pub why: Option<String>,
}

/// Keeps the records of one jail.
#[derive(Default)]
pub struct Records {
    log: Option<RefCell<std::fs::File>>,
    summary: RefCell<BTreeMap<(String, u16), Destination>>,
    /// Refused questions that have lines.
    questions: RefCell<HashMap<String, u32>>,
}

impl Records {
    /// With lines to `log`, if there is one.
    pub fn new(log: Option<std::fs::File>) -> Records {
        Records {
            log: log.map(RefCell::new),
            ..Records::default()
        }
    }

    /// Counts the event, and writes its line. Where that fails nothing may be admitted.
    pub fn write(&self, entry: &Entry, event: Event) -> std::io::Result<()> {
        #[derive(Serialize)]
        struct Line<'a> {
            /// Microseconds since 1970.
            time_us: u64,
            event: Event,
            #[serde(flatten)]
            entry: &'a Entry,
        }
        let mut entry = entry.clone();
        entry.duration_ms = entry
            .since
            .elapsed()
            .as_millis()
            .try_into()
            .unwrap_or(u64::MAX);
        self.sum(&entry, event);
        if let Some(log) = &self.log
            && self.has_line(&entry, event)
        {
            let now = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default();
            let line = Line {
                time_us: now.as_micros().try_into().unwrap_or(u64::MAX),
                event,
                entry: &entry,
            };
            let mut text = serde_json::to_vec(&line).unwrap_or_default();
            text.push(b'\n');
            // One write a line: lines of several jails in one file stay whole.
            log.borrow_mut().write_all(&text)?;
        }
        Ok(())
    }

    fn has_line(&self, entry: &Entry, event: Event) -> bool {
        if entry.way != Way::Dns || event != Event::Refused {
            return true;
        }
        let mut questions = self.questions.borrow_mut();
        if questions.len() >= NAMES_WITH_LINES && !questions.contains_key(&entry.host) {
            return false;
        }
        let lines = questions.entry(entry.host.clone()).or_default();
        *lines = lines.saturating_add(1);
        *lines <= LINES_OF_A_NAME
    }

    fn sum(&self, entry: &Entry, event: Event) {
        let mut summary = self.summary.borrow_mut();
        let mut key = (entry.host.clone(), entry.port);
        if summary.len() >= DESTINATIONS && !summary.contains_key(&key) {
            key = ("others".into(), 0);
        }
        let sum = summary.entry(key.clone()).or_insert_with(|| Destination {
            host: key.0,
            port: key.1,
            ..Destination::default()
        });
        match event {
            Event::Open => sum.allowed += 1,
            Event::Refused | Event::Request => {}
            Event::Close => {
                sum.bytes_in += entry.bytes_in;
                sum.bytes_out += entry.bytes_out;
            }
        }
        if entry.refused.is_some() {
            sum.refused += 1;
            sum.why.clone_from(&entry.refused);
        }
    }

    /// By destination, for the verdict.
    pub fn summary(&self) -> Vec<Destination> {
        self.summary.borrow().values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(records: &Records, way: Way, said: &str) {
        let entry = Entry::unknown(way, said, 53);
        let entry = entry.refused(&Refusal::NoHost("a test".into()));
        records.write(&entry, Event::Refused).unwrap();
    }

    #[test]
    fn the_summary_is_bounded_and_counts_what_it_does_not_name() {
        let records = Records::default();
        for number in 0..DESTINATIONS + 100 {
            refused(&records, Way::Connect, &format!("n{number}.example"));
            refused(&records, Way::Connect, "n0.example");
        }
        let summary = records.summary();
        assert_eq!(summary.len(), DESTINATIONS + 1);
        let of = |host: &str| summary.iter().find(|sum| sum.host == host).unwrap();
        assert_eq!((of("others").port, of("others").refused), (0, 100));
        assert_eq!(of("n0.example").refused, DESTINATIONS as u64 + 101);
    }

    /// Questions are the jail's own text and cost it nothing; other refusals have a line each.
    #[test]
    fn questions_have_few_lines_and_all_count() {
        let log = tempfile::NamedTempFile::new().unwrap();
        let lines = || std::fs::read_to_string(log.path()).unwrap().lines().count();
        let records = Records::new(Some(log.reopen().unwrap()));
        for _ in 0..10 {
            refused(&records, Way::Dns, "a.example");
        }
        assert_eq!(lines(), LINES_OF_A_NAME as usize);
        assert_eq!(records.summary()[0].refused, 10);
        for _ in 0..10 {
            refused(&records, Way::Connect, "a.example");
        }
        assert_eq!(lines(), LINES_OF_A_NAME as usize + 10);
        let before = lines();
        for number in 0..NAMES_WITH_LINES + 100 {
            refused(&records, Way::Dns, &format!("n{number}.example"));
        }
        // The first name has its lines already.
        assert_eq!(lines() - before, NAMES_WITH_LINES - 1);
    }
}
