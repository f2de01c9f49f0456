//! `creel selftest`.
use std::process::ExitCode;
use super::hint::Failure;

/// Check confinement on this kernel
#[derive(clap::Args)]
pub struct SelftestArgs {}

pub fn run(_: &SelftestArgs) -> Result<ExitCode, Failure> {
    Ok(ExitCode::SUCCESS)
}
