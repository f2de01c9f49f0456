//! `creel policy schema`: what a policy file may hold, for editors.

use super::print_json;
use crate::cli::hint::Failure;
use creel_policy::file;

/// Print the JSON Schema of a policy file, for completion in editors
#[derive(clap::Args)]
pub struct SchemaArgs {}

pub fn run(_: &SchemaArgs) -> Result<u8, Failure> {
    print_json(&file::schema())?;
    Ok(0)
}
