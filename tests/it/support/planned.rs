//! Machines that are not there: what a fixture does not say is absent.

use std::convert::Infallible;

use creel_plan::questions::ask;
use creel_plan::{Fact, Host, Request};
use creel_policy::Policy;

/// Answers with "absent" whatever the fixture does not have.
pub fn fill(policy: &Policy, request: &Request, host: &mut Host) {
    let filled = ask(policy, request, host, |want, host| {
        host.paths.entry(want.path).or_insert(Fact::Absent);
        Ok::<(), Infallible>(())
    });
    filled.expect("it answers");
}
