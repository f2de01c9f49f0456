//! All integration tests in one binary: each further binary would link all dependencies again.
//!
//! They run the real `creel` on the real kernel, as root and as an ordinary user; see [`support`].
//! `scripts/test` installs the programs that they need.

#[macro_use]
mod each;

mod agents;
mod attacks;
mod egress;
mod egress_http;
mod embed;
mod errors;
mod faces;
mod field;
mod formats;
mod golden;
mod hosts;
mod house;
mod import;
mod leaks;
mod pattern_walk;
mod plan_hosts;
mod plan_mounts;
mod plan_order;
mod plan_questions;
mod plan_trust;
mod policy;
mod policy_answers;
mod policy_compare;
mod policy_errors;
mod policy_laws;
mod policy_lint;
mod policy_pages;
mod policy_size;
mod policy_speed;
mod policy_tools;
mod presets;
mod programs;
mod relay_confined;
mod run;
mod scope;
mod selftest;
mod sessions;
mod supervised;
mod support;
mod verdict;
mod way_out;

#[global_allocator]
static HEAP: support::heap::Heap = support::heap::Heap;
