//! `creel policy schema`: the JSON Schema of a policy file, for editors.

use crate::cli::answer::print_json;
use crate::cli::failure::Failure;
use creel_policy::file;

/// Print the JSON Schema of a policy file, for completion in editors
#[derive(clap::Args)]
pub struct SchemaArgs {}

pub fn run(_: &SchemaArgs) -> Result<u8, Failure> {
    print_json(&file::schema())?;
    Ok(0)
}
