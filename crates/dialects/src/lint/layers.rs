//! The layers as files: who may change them, and what they ask for but may not have.

use super::checks::*;
use super::{Keeping, Lint, Origin};
use creel_policy::Degradable;
use creel_policy::layer::{Layer, Mode, Rank, Scope};

impl Lint<'_> {
    pub(super) fn layers(&mut self) {
        let outcome = self.outcome;
        for clip in &outcome.clips {
            let excess = &clip.excess;
            let reason = format!(
                "the {}'s '{}' asks for {}, which the layers above do not grant",
                clip.rank.name(),
                excess.key,
                excess.item.escape_debug()
            );
            self.say(&LAYER_CLIPPED, excess.origin.as_ref(), reason);
        }
        for (rank, layer) in self.layers {
            let named = Layer {
                name: layer.name.clone(),
                digest: layer.digest.clone(),
                ..Layer::default()
            };
            if *layer == named {
                let origin = Origin {
                    source: layer.name.as_str().into(),
                    line: 0,
                };
                let reason = format!("the {}'s layer is empty", rank.name());
                self.say(&LAYER_EMPTY, Some(&origin), reason);
            }
            self.degraded(*rank, layer);
            self.session(layer);
        }
        for (file, keeping) in &self.facts.files {
            let origin = Origin {
                source: file.as_str().into(),
                line: 0,
            };
            match keeping {
                Keeping::Own => {}
                Keeping::WritableByOthers => {
                    let reason = format!("others may write to {file}");
                    let fix = format!("run chmod go-w {file}");
                    self.add(&POLICY_WRITABLE, Some(&origin), reason, fix);
                }
                Keeping::Foreign => {
                    let reason = format!("{file} belongs to another user");
                    self.say(&POLICY_FOREIGN, Some(&origin), reason);
                }
            }
        }
    }

    fn degraded(&mut self, rank: Rank, layer: &Layer) {
        for (degradable, origin) in layer.allow_degraded.iter().flatten() {
            if rank > Rank::Operator {
                let reason = format!(
                    "the {}'s layer allows runs without {}",
                    rank.name(),
                    degradable.name()
                );
                self.say(&DEGRADED_BELOW, Some(origin), reason);
            }
            if *degradable == Degradable::Landlock {
                let reason = "runs without Landlock are allowed".to_owned();
                self.say(&DEGRADED_LANDLOCK, Some(origin), reason);
            }
        }
    }

    fn session(&mut self, layer: &Layer) {
        if let Some(mode) = &layer.session.mode
            && mode.value == Mode::Off
        {
            let reason = "sessions would run outside of a jail".to_owned();
            self.say(&SESSION_OFF, Some(&mode.origin), reason);
        }
        if let Some(scope) = &layer.session.scope
            && scope.value == Scope::Shared
        {
            let reason = "all agents would share one jail".to_owned();
            self.say(&SESSION_SHARED, Some(&scope.origin), reason);
        }
    }
}
