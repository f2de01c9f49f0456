//! Hosts described by fixtures; a path that a fixture does not list is absent.

use std::convert::Infallible;

use creel_plan::questions::ask;
use creel_plan::{Fact, Host, Request};
use creel_policy::{Policy, Roots};
use creel_session::declare::Place;

/// The values of `~` and `$WORKSPACE` for this request on this host.
pub fn roots(request: &Request, host: &Host) -> Roots {
    Place::of(host).roots(request.workspace.as_deref())
}

/// Adds every path that the plan asks for and the fixture does not have, as absent.
pub fn fill(policy: &Policy, request: &Request, host: &mut Host) {
    let filled = ask(policy, request, host, |want, host| {
        host.paths.entry(want.path).or_insert(Fact::Absent);
        Ok::<(), Infallible>(())
    });
    filled.expect("it answers");
}
