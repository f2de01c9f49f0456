//! All integration tests in one binary: each further one would link the whole graph again.
//!
//! They run the real `creel` on the real kernel, as root and as an ordinary user; see
//! [`support`] for how, and `scripts/test` for what a machine needs.

mod attacks;
mod house;
mod leaks;
mod plan_order;
mod policy_laws;
mod programs;
mod run;
mod selftest;
mod support;
mod verdict;
