//! Derives verdicts from outcomes.

use super::attempt::{Answer, Attempt, Outcome, Work};
use super::facts::Facts;
use super::layer::Layer;
use super::report::{Judged, State};
use super::spend;
use creel_session::{Kind, Verdict};
use creel_sys::attempt::errno_name;

/// Judges an attempt. `outcome` is `None` if the inner half did not report it.
pub fn judge_attempt(
    row: &Attempt,
    outcome: Option<&Outcome>,
    facts: &Facts,
    without: Option<Layer>,
) -> Judged {
    let stops: Vec<_> = row
        .stops
        .iter()
        .filter(|s| facts.in_force(s.layer, s.since))
        .collect();
    let judged = |state, got: String| Judged {
        group: row.group,
        name: row.name,
        state,
        got,
        layers: stops.iter().map(|stop| stop.layer).collect(),
        why: row.why,
    };
    if let Some(why) = facts.not_applicable(row, without) {
        return judged(State::NotApplicable, why);
    }
    let gone = without.map_or(&[][..], Layer::gone);
    let Some(outcome) = outcome else {
        return judged(State::Failed, "never attempted".into());
    };
    let text = describe(outcome);
    if let Outcome::CouldNotRun(_) = outcome {
        return judged(State::Failed, text);
    }
    let answered = stops
        .first()
        .is_some_and(|stop| stop.answers.iter().any(|a| is(*a, outcome)));
    // Past the layers that are gone: success, or any answer from behind them.
    if stops.iter().all(|stop| gone.contains(&stop.layer)) {
        return match answered {
            true => judged(
                State::Held,
                format!("{text}, although nothing should stop it"),
            ),
            false => judged(State::Through, text),
        };
    }
    let denied = *outcome != Outcome::GotThrough;
    match without {
        // Exactly the first layer's answer: another one would mean that the first did nothing.
        None if answered => judged(State::Ok, text),
        None => judged(
            State::Failed,
            format!("{text}, expected {}", expected(row, facts)),
        ),
        // Any layer that is left may answer.
        Some(_) if denied => judged(State::Ok, text),
        Some(_) => judged(State::Failed, text),
    }
}

/// Judges ordinary work.
pub fn judge_work(row: &Work, outcome: Option<&Outcome>, without: Option<Layer>) -> Judged {
    let no_proc = without == Some(Layer::PidNamespace) && row.group == "proc";
    let (state, got) = match outcome {
        _ if no_proc => (
            State::NotApplicable,
            "a jail without a pid namespace has no /proc".into(),
        ),
        Some(Outcome::GotThrough) => (State::Ok, "works".to_owned()),
        Some(other) => (State::Failed, describe(other)),
        None => (State::Failed, "never attempted".into()),
    };
    Judged {
        group: row.group,
        name: row.name,
        state,
        got,
        layers: vec![],
        why: "ordinary work",
    }
}

/// Judges an exhaustion by its verdict.
pub fn judge_spend(
    row: &spend::Row,
    verdict: &Verdict,
    facts: &Facts,
    without: Option<Layer>,
) -> Judged {
    let mut layers: Vec<Layer> = row
        .layers
        .iter()
        .copied()
        .filter(|layer| facts.in_force(*layer, 0))
        .collect();
    let instead = row.instead.filter(|_| layers.is_empty() && facts.nproc);
    layers.extend(instead);
    let gone = without.map_or(&[][..], Layer::gone);
    let through = verdict.kind == Kind::Exited && verdict.code == Some(0);
    let stopped = match instead {
        // The program itself reports that it was refused.
        Some(_) => verdict.kind == Kind::Exited && verdict.code == Some(1),
        None => {
            let hit = |name| verdict.limits_hit.iter().any(|limit| limit.name == name);
            verdict.kind == row.kind && row.reached.is_none_or(hit)
        }
    };
    let open = layers.iter().all(|layer| gone.contains(layer));
    let state = match (layers.is_empty(), open) {
        (true, _) => State::NotApplicable,
        (_, true) if through => State::Through,
        (_, true) => State::Held,
        _ if stopped => State::Ok,
        _ => State::Failed,
    };
    let got = match state {
        State::NotApplicable => "needs the cgroup layer, the receipt says so".into(),
        _ if through => "got through".into(),
        _ if stopped && instead.is_some() => "refused".into(),
        _ if stopped && let Some(name) = row.reached => name.into(),
        _ => kind(verdict.kind),
    };
    Judged {
        group: "limits",
        name: row.name,
        state,
        got,
        layers,
        why: "one jail must not starve the host",
    }
}

fn kind(kind: Kind) -> String {
    let name = serde_json::to_value(kind).ok();
    name.and_then(|v| v.as_str().map(str::to_owned))
        .unwrap_or_default()
}

fn is(answer: Answer, outcome: &Outcome) -> bool {
    match (answer, outcome) {
        (Answer::Errno(errno), Outcome::Denied(number)) => errno.raw_os_error() == *number,
        (Answer::Absent, Outcome::Absent) => true,
        (Answer::Signal(signal), Outcome::Killed(number)) => signal == *number,
        _ => false,
    }
}

fn describe(outcome: &Outcome) -> String {
    match outcome {
        Outcome::GotThrough => "got through".into(),
        Outcome::Denied(errno) => errno_name(*errno),
        Outcome::Absent => "nothing there".into(),
        Outcome::CouldNotRun(why) => format!("could not run: {why}"),
        Outcome::Killed(signal) => {
            creel_sys::signal::name(*signal).map_or(format!("signal {signal}"), str::to_owned)
        }
    }
}

fn expected(row: &Attempt, facts: &Facts) -> String {
    let stop = row
        .stops
        .iter()
        .find(|stop| facts.in_force(stop.layer, stop.since));
    let answers = stop.map_or(&[][..], |stop| stop.answers);
    let names: Vec<String> = answers
        .iter()
        .map(|answer| match answer {
            Answer::Errno(errno) => errno_name(errno.raw_os_error()),
            Answer::Absent => "nothing".into(),
            Answer::Signal(signal) => describe(&Outcome::Killed(*signal)),
        })
        .collect();
    names.join(" or ")
}
