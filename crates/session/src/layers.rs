//! The sources of policies: the layers' paths, `--policy FILE|NAME`, and the reading of both.
//!
//! | rank | place | may |
//! |---|---|---|
//! | platform | `/etc/creel/policy.*` | grant |
//! | operator | `$XDG_CONFIG_HOME/creel/policy.*`, else the first `--policy`, else the default preset | grant |
//! | agent | `$XDG_CONFIG_HOME/creel/agents/NAME.*`, by `--agent NAME` | narrow |
//! | renter | `--renter FILE` | narrow |
//! | project | `.creel/policy.*` in the workspace | narrow |
//! | command line | every further `--policy` | narrow |
//!
//! The extension is one of the three formats. Two files at one place are an error, and so are a file with
//! another extension and an unreadable place: no policy is ignored silently.

mod error;
mod find;
mod patterns;
mod protect;
mod read;
pub mod source;

use std::path::Path;

pub use error::LayerError;
pub use find::{Named, Put, Source, search_dirs, sources};
pub use patterns::{Expanded, Names};
pub use protect::Read;
pub use read::{bytes, is_plain, is_preset, read, text};

use creel_policy::effective::{Note, Weight};
use creel_policy::layer::Rank;
use creel_policy::rights::Roots;
use creel_policy::stack::{Outcome, Stack};
use creel_policy::{Limits, PolicyError, WorkspaceMode, file, preset};

/// The layers of one command, after reading.
pub struct Layers {
    /// The layers, by rank.
    pub stack: Stack,
    /// Whether the platform or the operator has a policy: the command line must lie within it.
    pub ceiling: bool,
    /// Further results of reading them.
    pub read: Read,
    /// The expansion of their patterns.
    pub expanded: Expanded,
}

impl Layers {
    /// Reads every existing layer. `None` if only the default preset applies, which need not be read.
    pub fn load(named: &Named, roots: &Roots) -> Result<Option<Layers>, LayerError> {
        if named.none {
            return Ok(None);
        }
        let sources = sources(named, roots)?;
        if let [only] = sources.as_slice()
            && named.policies.is_empty()
            && only.path == Path::new(preset::DEFAULT)
        {
            return Ok(None);
        }
        Layers::of(&sources, roots, Names::Here).map(Some)
    }

    /// Reads these sources and expands their patterns.
    pub fn of(sources: &[Source], roots: &Roots, names: Names<'_>) -> Result<Layers, LayerError> {
        let mut layers = vec![];
        let mut read = Read::default();
        for source in sources {
            layers.push((source.rank, source.read(&mut read)?));
        }
        let ceiling = sources
            .iter()
            .any(|source| source.rank <= Rank::Operator && source.put == Put::Placed);
        let mut stack = Stack { layers };
        let expanded = names.expand(&mut stack, roots)?;
        Ok(Layers {
            stack,
            ceiling,
            read,
            expanded,
        })
    }

    /// Takes the operator's policy as text, and reads no policy of this machine: no platform's policy bounds it,
    /// and the caller's request may grant in addition. It may extend shipped policies. Errors and receipts show `name`
    /// in place of a file's path, and its extension gives the format of the text.
    pub fn of_text(name: &str, text: &str, roots: &Roots) -> Result<Layers, LayerError> {
        let layer = read::over_presets(file::read(name, text)?, "a policy given as text")?;
        let mut stack = Stack {
            layers: vec![(Rank::Operator, layer)],
        };
        let expanded = Names::Here.expand(&mut stack, roots)?;
        Ok(Layers {
            stack,
            ceiling: false,
            read: Read::default(),
            expanded,
        })
    }

    /// Merges the layers.
    pub fn resolve(&self, roots: &Roots) -> Result<Outcome, LayerError> {
        self.resolve_in(roots, None)
    }

    /// As [`Layers::resolve`], with the workspace mode of the command line.
    pub fn resolve_in(
        &self,
        roots: &Roots,
        workspace: Option<WorkspaceMode>,
    ) -> Result<Outcome, LayerError> {
        let mut outcome = self.stack.resolve_in(&limits()?, roots, workspace);
        let unmet = self.expanded.unmet.iter().map(|one| Note {
            key: one.written.clone(),
            text: "matches no path here and grants nothing".into(),
            origin: Some(one.origin.clone()),
            weight: Weight::Told,
        });
        outcome.effective.notes.extend(unmet);
        let denials = self
            .stack
            .layers
            .iter()
            .flat_map(|(_, layer)| &layer.tools.deny);
        let misspelt = denials.filter_map(|deny| {
            let (name, near) = (&deny.value, deny.value.meant()?);
            Some(Note {
                key: "tools.deny".into(),
                text: format!(
                    "creel does not know the tool '{name}', so this denies nothing; did you mean '{near}'?"
                ),
                origin: Some(deny.origin.clone()),
                weight: Weight::Open,
            })
        });
        outcome.effective.notes.extend(misspelt);
        Ok(outcome)
    }
}

/// The limits of a policy that sets none.
pub fn limits() -> Result<Limits, PolicyError> {
    preset::limits()
}
