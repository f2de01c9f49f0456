//! `creel run` and its contracts.

mod clocks;
mod contract;
mod degraded;
mod early;
mod environment;
mod executable;
mod forged;
mod formats;
mod git;
mod grants;
mod input;
mod limits;
mod mapped;
mod plan;
mod signals;
mod status;
mod stopped;
mod streams;
mod terminal;
mod typed;
mod ulimits;
mod workspace;
