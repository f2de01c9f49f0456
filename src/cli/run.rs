//! `creel run`: runs one command in one jail, from the flags to the messages at the end.

mod advice;
pub mod args;
mod ending;
mod git;
mod mapped;
pub mod request;
mod words;

use std::time::{Duration, Instant};

use self::args::RunArgs;
pub use self::ending::lines;
pub use self::request::asked;
use self::words::Words;
use super::answer;
use super::failure::Failure;
use super::hint::{self, say};
use super::session::create;
use super::status::Status;
use super::workspace::{after_run, check as check_commit};
use creel_plan::Plan;
use creel_policy::error::escaped_json;
use creel_session::declare::only_loopback;
use creel_session::execute::{outlets, streams};
use creel_session::left::Extent;
use creel_session::workspace::Store as Changes;
use creel_session::{Asked, Declared, Detail, Layers, Place, Verdict, declare};
use creel_sys::host;

pub fn run(args: &RunArgs) -> Result<u8, Failure> {
    let started = Instant::now();
    if args.detach {
        return create::run_detached(args);
    }
    streams::check()?;
    if !args.jail.publish_anyway {
        only_loopback(&args.jail.publish)?;
    }
    let mut status = Status::open(args.status_fd, args.status_file.as_deref())?;
    let id = host::random_id();
    match attempt(args, &id, started, &mut status) {
        Ok(Attempt::Planned) => Ok(0),
        Ok(Attempt::Judged(verdict, patience, remarks)) => {
            ending::announce(args, &verdict, &remarks);
            status.write(&verdict.to_json(), patience)?;
            Ok(verdict.exit_status)
        }
        Err(failure) => {
            let (reason, text) = (failure.reason.clone(), failure.text.clone());
            let verdict = Verdict::setup_failed(id, failure.status, reason, text);
            status.write(&verdict.to_json(), hint::PATIENCE)?;
            Err(failure)
        }
    }
}

enum Attempt {
    Planned,
    /// The verdict, how long to wait for its reader, and the messages beside it.
    Judged(Box<Verdict>, Duration, ending::Remarks),
}

fn attempt(
    args: &RunArgs,
    id: &str,
    started: Instant,
    status: &mut Status,
) -> Result<Attempt, Failure> {
    let mut declared = declared(args, id, false)?;
    if !args.dry_run {
        Changes::of_caller().assign(id, &mut declared);
        check_commit(args.commit, declared.request.changes.is_some())?;
    }
    let (planned, refused) = match args.dry_run {
        true => declared.show()?,
        false => (declared.plan()?, vec![]),
    };
    if let (Some(path), Some(directory)) = (&args.status_file, status.directory()) {
        outlets::check_status(path, directory, &planned.plan)
            .map_err(Failure::from)
            .and_then(|place| status.settle(place))
            .inspect_err(|_| status.leave_file())?;
    }
    if args.dry_run {
        print_plan(&planned.plan, args.json)?;
        // A refused layer fails a dry run as it fails a run.
        return match refused.into_iter().next() {
            Some(error) => Err(error.into()),
            None => Ok(Attempt::Planned),
        };
    }
    let prepared = planned.settle(&declared)?;
    let patience = prepared.patience();
    let log = args.log_net.as_deref();
    let log = log
        .map(|path| outlets::open_log(path, &prepared.plan))
        .transpose()?;
    let words = Words::of(&args.command);
    let mut of_git = vec![];
    if !args.quiet {
        let unheld = ending::unheld(&declared, &prepared);
        unheld.iter().for_each(|line| say(line));
        of_git = git::notes(&words, &declared, &prepared);
    }
    let detail = match args.verbose || args.status_fd.is_some() || args.status_file.is_some() {
        true => Detail::Full,
        false => Detail::OfFailures,
    };
    let finished = prepared.start(&declared, log, started, detail)?.watch();
    hint::hear_signals();
    let finished = finished?;
    hint::wait_at_most(finished.patience());
    let extent = match args.review_all {
        true => Extent::Whole,
        false => Extent::Budget,
    };
    let verdict = finished.verdict(&declared, extent)?;
    if declared.request.changes.is_some() {
        // With --quiet, too: the workspace is not as the command left it.
        after_run(id, args.commit.unwrap_or_default(), verdict.exit_status);
    }
    if verdict.exit_status != 0 && verdict.limit.is_none() {
        of_git.iter().for_each(|line| say(line));
    }
    let remarks = ending::Remarks::of(args, &words, &declared, &verdict);
    Ok(Attempt::Judged(Box::new(verdict), patience, remarks))
}

/// Combines all policy layers with the requests of the command line. `stays`: for a session.
pub fn declared(args: &RunArgs, id: &str, stays: bool) -> Result<Declared, Failure> {
    let asked = Asked {
        stays,
        ..asked(args)?
    };
    let place = Place::here();
    let roots = place.roots(asked.workspace.as_deref());
    let layers = Layers::load(&args.jail.policies.named(), &roots)?;
    let mut tell = |line: &str| {
        if !args.quiet {
            say(line);
        }
    };
    Ok(declare(&asked, id, layers.as_ref(), &place, &mut tell)?)
}

fn print_plan(plan: &Plan, json: bool) -> Result<(), Failure> {
    let text = match json {
        true => escaped_json(serde_json::to_string_pretty(plan)?) + "\n",
        false => plan.to_text(),
    };
    answer::print(&text)
}
