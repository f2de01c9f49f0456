//! `creel run` and its contracts.

mod contract;
