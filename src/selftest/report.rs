//! The printed report: a line for each row, for people or as JSON, and the counts.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::facts::Facts;
use super::layer::Layer;

/// The verdict on one row.
#[derive(Debug, Clone)]
pub struct Judged {
    pub group: &'static str,
    pub name: &'static str,
    pub state: State,
    /// The result, in words.
    pub got: String,
    /// The layers that stop it on this host.
    pub layers: Vec<Layer>,
    pub why: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// As it should be.
    Ok,
    Failed,
    /// Its only layer was taken away, and it got through, as it should.
    Through,
    /// Its only layer was taken away, and still it was stopped: the row proves nothing.
    Held,
    /// The row does not apply on this host.
    NotApplicable,
}

/// The report on the whole suite.
#[derive(Debug)]
pub struct Report {
    without: Option<Layer>,
    kernel: String,
    landlock_abi: u32,
    notes: Vec<String>,
    rows: Vec<Judged>,
}

impl Report {
    pub fn new(without: Option<Layer>, facts: &Facts, notes: Vec<String>) -> Report {
        let (kernel, landlock_abi) = (facts.kernel.clone(), facts.landlock_abi);
        Report {
            without,
            kernel,
            landlock_abi,
            notes,
            rows: vec![],
        }
    }

    pub fn add(&mut self, row: Judged) {
        self.rows.push(row);
    }

    fn count(&self, states: &[State]) -> usize {
        self.rows
            .iter()
            .filter(|row| states.contains(&row.state))
            .count()
    }

    /// Rows whose state is wrong for a whole jail; a weakened run has some by design.
    pub fn failed(&self) -> usize {
        self.count(&[State::Failed, State::Through, State::Held])
    }

    fn passed(&self) -> usize {
        self.count(&[State::Ok])
    }

    /// The report for people. [`Detail::Full`] adds why each row is there.
    pub fn text(&self, detail: Detail) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        for note in &self.notes {
            let _ = writeln!(text, "note  {note}");
        }
        for row in &self.rows {
            let mark = match row.state {
                State::Ok => "ok",
                State::Failed => "FAIL",
                State::Through => "THROUGH",
                State::Held => "HELD",
                State::NotApplicable => "n/a",
            };
            let layers: Vec<&str> = row.layers.iter().map(|layer| layer.name()).collect();
            let got = match (row.state, layers.as_slice()) {
                (State::NotApplicable, _) => format!("({})", row.got),
                (_, []) => row.got.clone(),
                (_, [only]) => format!("{} ({only})", row.got),
                (_, several) => format!("{} ({}: in depth)", row.got, several.join(", ")),
            };
            let _ = writeln!(text, "{mark:5} {:11} {:42} {got}", row.group, row.name);
            if detail == Detail::Full {
                let _ = writeln!(text, "      {:11} why: {}", "", row.why);
            }
        }
        if let Some(layer) = self.without {
            let (through, held) = (self.count(&[State::Through]), self.count(&[State::Held]));
            let _ = writeln!(
                text,
                "weakened {}: expected {} through, got {through} through, {} unexpected",
                layer.name(),
                through + held,
                held + self.count(&[State::Failed]),
            );
        }
        let _ = writeln!(text, "{} passed, {} failed", self.passed(), self.failed());
        text
    }

    /// The report for programs.
    pub fn json(&self) -> Value {
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|row| {
                json!({
                    "group": row.group,
                    "name": row.name,
                    "state": match row.state {
                        State::Ok => "ok",
                        State::Failed => "failed",
                        State::Through => "through",
                        State::Held => "held",
                        State::NotApplicable => "not_applicable",
                    },
                    "got": row.got,
                    "layers": row.layers.iter().map(|layer| layer.name()).collect::<Vec<_>>(),
                    "why": row.why,
                })
            })
            .collect();
        json!({
            "version": 1,
            "creel": env!("CARGO_PKG_VERSION"),
            "kernel": self.kernel,
            "landlock_abi": self.landlock_abi,
            "without": self.without.map(Layer::name),
            "notes": self.notes,
            "passed": self.passed(),
            "failed": self.failed(),
            "through": self.count(&[State::Through]),
            "held": self.count(&[State::Held]),
            "not_applicable": self.count(&[State::NotApplicable]),
            "rows": rows,
        })
    }
}

/// How much [`Report::text`] prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    Lines,
    Full,
}
