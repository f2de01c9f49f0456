//! Records of decisions: a line of JSON for each, and a summary by destination.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::Way;
use super::log::{Class, Lines, Log, Unrecorded};
use super::reason::Reason;
use super::refusal::Refusal;
use super::summary::{DESTINATIONS, Destination, HOST, LastRefusal};
use creel_policy::error::escaped_json;
use creel_policy::net::{Host, Rule};

/// Maximum lines of refused DNS queries per name, and maximum names with such lines. A jail can send any
/// number of queries with any text; the rest is only in the summary.
const LINES_OF_A_NAME: u32 = 3;
const NAMES_WITH_LINES: usize = 1000;

/// The event that a line records.
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
    /// The last line, if lines are missing.
    Missing,
}

/// A requested destination, and the outcome.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    /// How the destination was requested.
    pub way: Way,
    /// The canonical name or address; the text as sent if it is no host.
    pub host: String,
    /// The port; 0 if the client named none.
    pub port: u16,
    /// The address that was dialled.
    pub address: Option<IpAddr>,
    /// File and line of the rules that allowed it.
    pub rule: Option<String>,
    /// Why it was refused or closed early.
    pub refused: Option<String>,
    /// The same, for programs.
    pub reason: Option<Reason>,
    /// The method of a request, at most 32 characters.
    pub method: Option<String>,
    /// The path of a request without its query, at most 1024 characters.
    pub path: Option<String>,
    /// Bytes to the jail, and from it.
    pub bytes_in: u64,
    /// Bytes from the jail.
    pub bytes_out: u64,
    #[serde(skip)]
    since: Instant,
}

/// The origins of the rules, one per list, separated by commas.
pub fn rules(rules: &[&Rule]) -> String {
    let mut places: Vec<String> = rules.iter().map(|rule| rule.origin.to_string()).collect();
    places.dedup();
    places.join(", ")
}

impl Entry {
    /// An entry for a valid destination.
    pub fn new(way: Way, host: &Host, port: u16) -> Entry {
        Entry::unknown(way, &host.to_string(), port)
    }

    /// An entry for text that may be no host.
    pub fn unknown(way: Way, said: &str, port: u16) -> Entry {
        Entry {
            way,
            host: said.chars().take(HOST).collect(),
            port,
            address: None,
            rule: None,
            refused: None,
            reason: None,
            method: None,
            path: None,
            bytes_in: 0,
            bytes_out: 0,
            since: Instant::now(),
        }
    }

    /// The entry as admitted by `rule`, the origins of the rules.
    pub fn allowed(mut self, rule: String) -> Entry {
        self.rule = Some(rule);
        self
    }

    /// The entry with a refusal.
    pub fn refused(mut self, refusal: &Refusal) -> Entry {
        self.refuse(refusal);
        self
    }

    /// Notes a refusal, unless one is noted already.
    pub fn refuse(&mut self, refusal: &Refusal) {
        // The first refusal ended it; later ones follow from that.
        if self.refused.is_none() {
            self.refused = Some(refusal.to_string());
            self.reason = Some(Reason::of(refusal));
        }
    }

    /// The entry of one request on this connection, with its own refusal alone.
    pub fn request(&self, method: &str, path: &str, refusal: Option<&Refusal>) -> Entry {
        let mut entry = self.clone();
        // A query string may hold secrets, which must not be in a log.
        let path = path.split('?').next().unwrap_or_default();
        entry.method = Some(method.chars().take(32).collect());
        entry.path = Some(path.chars().take(1024).collect());
        entry.refused = refusal.map(Refusal::to_string);
        entry.reason = refusal.map(Reason::of);
        entry
    }
}

/// By host and port.
type Summary = BTreeMap<(String, u16), Destination>;

/// Keeps the records of one jail.
#[derive(Default)]
pub struct Records {
    log: Option<Log>,
    allowed: RefCell<Summary>,
    refused: RefCell<Summary>,
    /// Lines of refused DNS queries, by name.
    questions: RefCell<HashMap<String, u32>>,
}

impl Records {
    /// Writes lines to `log`, if there is one.
    pub fn new(log: Option<std::fs::File>) -> Records {
        Records {
            log: log.map(Log::new),
            ..Records::default()
        }
    }

    /// Writes the line of an event, and counts it. On an error nothing may be admitted; the event is counted
    /// as refused.
    pub fn write(&self, entry: &Entry, event: Event) -> Result<(), Unrecorded> {
        let written = self.write_line(entry, event);
        match (&written, event) {
            (Err(unrecorded), Event::Open | Event::Request) => {
                let mut refused = entry.clone();
                refused.refuse(&unrecorded.refusal());
                if event == Event::Open {
                    refused.rule = None;
                }
                self.sum(&refused, Event::Refused);
            }
            _ => self.sum(entry, event),
        }
        written
    }

    fn write_line(&self, entry: &Entry, event: Event) -> Result<(), Unrecorded> {
        let Some(log) = &self.log else { return Ok(()) };
        if !self.has_line(entry, event) {
            return Ok(());
        }
        #[derive(Serialize)]
        struct Line<'a> {
            /// Microseconds since 1970.
            time_us: u64,
            event: Event,
            #[serde(flatten)]
            entry: &'a Entry,
            duration_ms: u64,
        }
        let duration = entry.since.elapsed().as_millis();
        let text = serde_json::to_string(&Line {
            time_us: now(),
            event,
            entry,
            duration_ms: duration.try_into().unwrap_or(u64::MAX),
        });
        log.write(
            escaped_json(text.unwrap_or_default()).into_bytes(),
            match (event, &entry.refused) {
                (Event::Refused, _) | (Event::Request, Some(_)) => Class::Refused,
                (Event::Close, _) => Class::End,
                _ => Class::Admitted,
            },
        )
    }

    /// Ends the log with a line about missing lines, if there are any; returns their counts.
    pub fn finish(&self) -> Lines {
        #[derive(Serialize)]
        struct Last {
            time_us: u64,
            event: Event,
            #[serde(flatten)]
            lines: Lines,
        }
        let Some(log) = &self.log else {
            return Lines::default();
        };
        let lines = log.lines();
        if lines != Lines::default() {
            let (time_us, event) = (now(), Event::Missing);
            let last = Last {
                time_us,
                event,
                lines,
            };
            log.end(serde_json::to_vec(&last).unwrap_or_default());
        }
        lines
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
        let key = (entry.host.clone(), entry.port);
        let mut allowed = self.allowed.borrow_mut();
        // An admitted entry has a rule, however it ends.
        let was_allowed = entry.rule.is_some() || allowed.contains_key(&key);
        let mut refused = self.refused.borrow_mut();
        let sum = match was_allowed {
            false => place(&mut refused, key),
            true => {
                let before = match allowed.contains_key(&key) {
                    true => None,
                    false => refused.remove(&key),
                };
                let sum = place(&mut allowed, key);
                if let Some(before) = before {
                    sum.refused += before.refused;
                    sum.why = before.why;
                }
                sum
            }
        };
        match event {
            Event::Open => sum.allowed += 1,
            Event::Refused | Event::Request | Event::Missing => {}
            Event::Close => {
                sum.bytes_in += entry.bytes_in;
                sum.bytes_out += entry.bytes_out;
            }
        }
        if let (Some(text), Some(reason)) = (&entry.refused, &entry.reason) {
            sum.refused += 1;
            sum.why = Some(LastRefusal::new(entry.way, reason.clone(), text));
        }
    }

    /// The summary by destination, for the verdict.
    pub fn summary(&self) -> Vec<Destination> {
        let (allowed, refused) = (self.allowed.borrow(), self.refused.borrow());
        let mut all: Vec<Destination> = allowed.values().chain(refused.values()).cloned().collect();
        // Stable: of the two `others` entries the allowed one comes first.
        all.sort_by(|a, b| (&a.host, a.port).cmp(&(&b.host, b.port)));
        all
    }
}

/// Microseconds since 1970.
fn now() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    now.as_micros().try_into().unwrap_or(u64::MAX)
}

/// The destination's own entry, or the shared `others` entry if the summary is full.
fn place(summary: &mut Summary, mut key: (String, u16)) -> &mut Destination {
    if summary.len() >= DESTINATIONS && !summary.contains_key(&key) {
        key = ("others".into(), 0);
    }
    summary.entry(key.clone()).or_insert_with(|| Destination {
        host: key.0,
        port: key.1,
        ..Destination::default()
    })
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read as _, Write as _};

    use super::*;

    fn entry(host: &str) -> Entry {
        Entry::unknown(Way::Connect, host, 443)
    }

    #[test]
    fn refused_names_take_no_place_of_what_was_allowed() {
        let records = Records::default();
        let no = |host: &str| entry(host).refused(&Refusal::Unanswered);
        records.write(&no("web.test"), Event::Refused).unwrap();
        for number in 0..2 * DESTINATIONS {
            let host = format!("n{number}.test");
            records.write(&no(&host), Event::Refused).unwrap();
        }
        let mut sent = entry("web.test").allowed("a rule".into());
        records.write(&sent, Event::Open).unwrap();
        sent.bytes_out = 5;
        records.write(&sent, Event::Close).unwrap();
        let summary = records.summary();
        assert_eq!(summary.len(), 1 + DESTINATIONS);
        let web = summary.iter().find(|one| one.host == "web.test").unwrap();
        assert_eq!(
            (web.host.as_str(), web.allowed, web.refused, web.bytes_out),
            ("web.test", 1, 1, 5)
        );
        let others = summary.iter().find(|one| one.host == "others").unwrap();
        assert_eq!(
            (others.allowed, others.refused),
            (0, DESTINATIONS as u64 + 1)
        );
        // It is one place, whatever becomes of it later.
        records.write(&no("web.test"), Event::Refused).unwrap();
        let summary = records.summary();
        let webs = summary.iter().filter(|one| one.host == "web.test");
        assert_eq!(webs.map(|web| web.refused).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn the_line_after_one_that_was_cut_off_is_whole() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let writer = std::os::fd::OwnedFd::from(writer);
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        let mut log = File::from(writer);
        // Room for one page, and a line is longer than that.
        let mut filled = 0;
        while let Ok(written) = log.write(&[b' '; 4096]) {
            filled += written;
        }
        reader.read_exact(&mut vec![0; 4096]).unwrap();
        let records = Records::new(Some(log));
        let long = entry("a.test").request("GET", &"\u{10ffff}".repeat(1024), None);
        let cut = records.write(&long, Event::Request).unwrap_err();
        let Unrecorded::Failed(error) = cut else {
            panic!("{cut:?}")
        };
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
        reader.read_exact(&mut vec![0; filled - 4096]).unwrap();
        records.write(&entry("b.test"), Event::Open).unwrap();
        records.write(&entry("c.test"), Event::Open).unwrap();
        drop(records);
        let mut text = String::new();
        let mut bytes = vec![];
        reader.read_to_end(&mut bytes).unwrap();
        text.push_str(&String::from_utf8_lossy(&bytes));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{lines:?}");
        for (line, host) in lines[1..].iter().zip(["b.test", "c.test"]) {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(line["host"], host);
        }
    }

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

    /// A file that takes no byte: what is read-only, for one.
    fn closed() -> Records {
        let log = tempfile::NamedTempFile::new().unwrap();
        Records::new(Some(File::open(log.path()).unwrap()))
    }

    #[test]
    fn what_cannot_be_recorded_is_counted_as_refused_and_not_as_reached() {
        let records = closed();
        let open = entry("a.test").allowed("a rule".into());
        records.write(&open, Event::Open).unwrap_err();
        let summary = records.summary();
        assert_eq!((summary[0].allowed, summary[0].refused), (0, 1));
        let why = summary[0].why.clone().unwrap();
        assert_eq!(why.text, "closed by creel: its record cannot be written");
        assert_eq!(why.reason.code.as_str(), "net-unrecorded");
        assert_eq!(records.finish().unwritten, 1);
        // Control: a file that takes it.
        let log = tempfile::NamedTempFile::new().unwrap();
        let records = Records::new(Some(log.reopen().unwrap()));
        records.write(&open, Event::Open).unwrap();
        let summary = records.summary();
        assert_eq!((summary[0].allowed, summary[0].refused), (1, 0));
        assert_eq!(records.finish(), Lines::default());
        assert_eq!(
            std::fs::read_to_string(log.path()).unwrap().lines().count(),
            1
        );
    }

    #[test]
    fn the_lines_have_a_bound_beyond_which_nothing_is_admitted() {
        let log = tempfile::NamedTempFile::new().unwrap();
        let records = Records::new(Some(log.reopen().unwrap()));
        let last = || {
            let text = std::fs::read_to_string(log.path()).unwrap();
            let line = text.lines().last().unwrap().to_owned();
            serde_json::from_str::<serde_json::Value>(&line).unwrap()
        };
        // Refusals take no room of what is admitted.
        records.log.as_ref().unwrap().fill(Class::Refused);
        refused(&records, Way::Connect, "no.test");
        let open = entry("a.test").allowed("a rule".into());
        records.write(&open, Event::Open).unwrap();
        assert_eq!(last()["host"], "a.test");
        records.log.as_ref().unwrap().fill(Class::Admitted);
        let full = records.write(&open, Event::Open).unwrap_err();
        assert!(matches!(full, Unrecorded::Full), "{full:?}");
        let request = open.request("GET", "/", None);
        records.write(&request, Event::Request).unwrap_err();
        // An admitted connection has its end, all the same.
        records.write(&open, Event::Close).unwrap();
        assert_eq!(last()["event"], "close");
        let lines = records.finish();
        assert_eq!((lines.dropped, lines.unwritten), (3, 0));
        assert_eq!(last()["event"], "missing");
        assert_eq!(last()["dropped"], 3);
        let summary = records.summary();
        let a = summary.iter().find(|one| one.host == "a.test").unwrap();
        assert_eq!((a.allowed, a.refused), (1, 2));
    }
}
