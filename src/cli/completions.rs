//! `creel completions SHELL` and `creel man [DIR]`, generated from the same definitions as the help.

mod sessions;

use std::path::PathBuf;

use super::answer;
use super::failure::Failure;

/// Print shell completions
#[derive(clap::Args)]
pub struct CompletionsArgs {
    /// The shell
    shell: clap_complete::Shell,
}

/// Print the manual page, or write a page for every verb into a directory
#[derive(clap::Args)]
pub struct ManArgs {
    /// Directory for the pages creel.1, creel-run.1, ...
    directory: Option<PathBuf>,
}

pub fn completions(args: &CompletionsArgs, mut whole: clap::Command) -> Result<u8, Failure> {
    let mut script = vec![];
    clap_complete::generate(args.shell, &mut whole, "creel", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    answer::print(&sessions::added(args.shell, script, &whole))?;
    Ok(0)
}

pub fn man(args: &ManArgs, whole: clap::Command) -> Result<u8, Failure> {
    let mut command = whole;
    match &args.directory {
        None => {
            let mut page = vec![];
            clap_mangen::Man::new(command).render(&mut page)?;
            answer::print(&page)?;
        }
        Some(directory) => {
            command.build();
            std::fs::create_dir_all(directory)
                .and_then(|()| clap_mangen::generate_to(command, directory))
                .map_err(|error| {
                    let directory = directory.display();
                    Failure::new(format!(
                        "the pages cannot be written to {directory}: {error}; name another directory"
                    ))
                })?;
        }
    }
    Ok(0)
}
