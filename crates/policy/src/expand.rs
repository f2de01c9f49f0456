//! Expands the patterns of each layer to names, once, before the layers meet.
//!
//! Owns what a pattern in a list of grants or denials becomes: the names that it matches now, each with
//! the pattern's place. The pattern of a denial is also kept, because no mount covers names created
//! later; `plan` decides what that means. It asks its caller for the names, and refuses nothing: a
//! grant's pattern that matches nothing is reported. Names of grants are kept with the directory in which
//! they matched, because a name may lead elsewhere by the time it is opened.

use super::glob::{Pattern, Sense, is_pattern};
use super::grant::{Absent, Grant};
use super::layer::{Files, Layer};
use super::origin::Origin;
use super::path_set::clean;
use super::rights::Roots;
use super::stack::Stack;
use super::tools::Tool;

/// A pattern that the caller must look up.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    /// Absolute.
    pub pattern: String,
    /// As written in the policy.
    pub written: String,
    /// Whether the pattern matches hidden names.
    pub sense: Sense,
    /// The place of the pattern.
    pub origin: Origin,
}

impl Wanted {
    /// The key under which the result is stored.
    pub fn key(&self) -> String {
        let word = match self.sense {
            Sense::Grant => "grant",
            Sense::Denial => "deny",
        };
        format!("{word} {}", self.pattern)
    }
}

/// A pattern of grants that matches nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmet {
    /// As written in the policy.
    pub written: String,
    /// Whether the grant is optional.
    pub absent: Absent,
    /// The place of the pattern.
    pub origin: Origin,
}

/// The absolute pattern for a policy's text. Wildcard characters in the roots' own paths are escaped.
pub fn rooted(text: &str, roots: &Roots) -> String {
    roots.escaped().expand(text).to_string()
}

impl Stack {
    /// The patterns for which [`Stack::expand`] asks, in that order.
    pub fn wanted(&self, roots: &Roots) -> Vec<Wanted> {
        let mut all = vec![];
        let mut add = |list: &[Grant], sense| {
            let wanted = list.iter().map(|grant| Text::of(grant, sense, roots));
            all.extend(wanted.filter_map(|text| match text {
                Text::Pattern(wanted, _) => Some(wanted),
                Text::Name | Text::Literal(_) => None,
            }));
        };
        for (_, layer) in &self.layers {
            let files = &layer.filesystem;
            for list in [&files.read, &files.write, &files.load, &files.exec] {
                add(list.as_deref().unwrap_or_default(), Sense::Grant);
            }
            add(&files.deny, Sense::Denial);
            add(&files.protect, Sense::Denial);
            for settings in layer.tools.each.values() {
                let allowed = settings.allowed_paths.as_deref();
                add(allowed.unwrap_or_default(), Sense::Grant);
                add(&settings.denied_paths, Sense::Denial);
            }
        }
        all
    }

    /// Replaces the patterns of every layer by the names that `find` returns, in that order.
    pub fn expand<E>(
        &mut self,
        roots: &Roots,
        mut find: impl FnMut(&Wanted) -> Result<Vec<String>, E>,
    ) -> Result<Vec<Unmet>, E> {
        let mut unmet = vec![];
        for (_, layer) in &mut self.layers {
            let mut names = Names {
                roots,
                find: &mut find,
                unmet: &mut unmet,
            };
            names.of_layer(layer)?;
        }
        Ok(unmet)
    }
}

struct Names<'a, F> {
    roots: &'a Roots,
    find: &'a mut F,
    unmet: &'a mut Vec<Unmet>,
}

impl<E, F: FnMut(&Wanted) -> Result<Vec<String>, E>> Names<'_, F> {
    fn of_layer(&mut self, layer: &mut Layer) -> Result<(), E> {
        let files = &mut layer.filesystem;
        let Files {
            read,
            write,
            load,
            exec,
            ..
        } = files;
        for list in [read, write, load, exec].into_iter().flatten() {
            self.grants(list)?;
        }
        files.deny_patterns.extend(self.denials(&mut files.deny)?);
        let kept = self.denials(&mut files.protect)?;
        files.protect_patterns.extend(kept);
        for (tool, settings) in &mut layer.tools.each {
            if let Some(list) = &mut settings.allowed_paths {
                self.grants(list)?;
            }
            let kept = self.denials(&mut settings.denied_paths)?;
            match tool {
                Tool::Read | Tool::Exec => files.deny_patterns.extend(kept),
                Tool::Write | Tool::Edit | Tool::ApplyPatch => files.protect_patterns.extend(kept),
                // Kept as data: these tools touch no files.
                Tool::Process | Tool::Browser | Tool::Message | Tool::Fetch => {}
            }
        }
        Ok(())
    }

    fn grants(&mut self, list: &mut Vec<Grant>) -> Result<(), E> {
        let mut names = vec![];
        for grant in std::mem::take(list) {
            let before = names.len();
            let turned = self.names(&grant, Sense::Grant, &mut names)?;
            if turned == Turned::Pattern && names.len() == before {
                self.unmet.push(Unmet {
                    written: grant.path,
                    absent: grant.absent,
                    origin: grant.origin,
                });
            }
        }
        *list = names;
        Ok(())
    }

    /// Expands a list of denials and returns the patterns to keep.
    fn denials(&mut self, list: &mut Vec<Grant>) -> Result<Vec<Grant>, E> {
        let (mut names, mut kept) = (vec![], vec![]);
        for grant in std::mem::take(list) {
            if self.names(&grant, Sense::Denial, &mut names)? != Turned::Name {
                kept.push(grant);
            }
        }
        *list = names;
        Ok(kept)
    }

    fn names(&mut self, grant: &Grant, sense: Sense, all: &mut Vec<Grant>) -> Result<Turned, E> {
        // With a root, if the pattern has one.
        let written = |path: String| match grant.path.starts_with(['~', '$']) {
            true => self.roots.shorten(&clean(&path)),
            false => clean(&path),
        };
        let (wanted, pattern) = match Text::of(grant, sense, self.roots) {
            Text::Name => {
                all.push(grant.clone());
                return Ok(Turned::Name);
            }
            Text::Literal(path) => {
                all.push(Grant {
                    path: written(path),
                    ..grant.clone()
                });
                return Ok(Turned::Name);
            }
            Text::Pattern(wanted, pattern) => (wanted, pattern),
        };
        let names = (self.find)(&wanted)?;
        let base = (sense == Sense::Grant).then(|| pattern.base());
        all.extend(names.into_iter().map(|path| Grant {
            path: written(path),
            base: base.clone(),
            ..grant.clone()
        }));
        Ok(Turned::Pattern)
    }
}

/// The path of a grant, before expansion.
enum Text {
    Name,
    /// A pattern that matches this path alone.
    Literal(String),
    Pattern(Wanted, Pattern),
}

impl Text {
    fn of(grant: &Grant, sense: Sense, roots: &Roots) -> Text {
        if !is_pattern(&grant.path) {
            return Text::Name;
        }
        let text = rooted(&grant.path, roots);
        let pattern = Pattern::parse(&text);
        if let Some(path) = pattern.literal() {
            return Text::Literal(path);
        }
        let wanted = Wanted {
            pattern: text,
            written: grant.path.clone(),
            sense,
            origin: grant.origin.clone(),
        };
        Text::Pattern(wanted, pattern)
    }
}

/// The type of a grant's path after expansion.
#[derive(PartialEq, Eq)]
enum Turned {
    Name,
    Pattern,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::Rank;
    use crate::{Filesystem, PathRule, file, preset};
    use std::convert::Infallible;

    const THERE: [&str; 6] = [
        "/home/u/data/a.csv",
        "/home/u/data/b.csv",
        "/home/u/data/.c.csv",
        "/w/[x]/k.pem",
        "/w/[x]/n.txt",
        "/w/x/k.pem",
    ];

    fn resolved(layers: &[&str]) -> (Filesystem, Vec<Unmet>) {
        let roots = Roots {
            home: "/home/u".into(),
            workspace: "/w/[x]".into(),
        };
        let layer = |(at, text): (usize, &&str)| {
            let layer = file::read("p.toml", text).unwrap_or_else(|e| panic!("{text}: {e}"));
            let rank = [Rank::Operator, Rank::Project, Rank::CommandLine][at];
            (rank, layer)
        };
        let mut stack = Stack {
            layers: layers.iter().enumerate().map(layer).collect(),
        };
        let unmet = stack.expand(&roots, |wanted| {
            let pattern = Pattern::parse(&wanted.pattern);
            let met = THERE
                .iter()
                .filter(|path| pattern.meets(path, wanted.sense));
            Ok::<_, Infallible>(met.map(|path| (*path).to_owned()).collect())
        });
        let limits = preset::limits().unwrap();
        let outcome = stack.resolve(&limits, &roots);
        (outcome.effective.policy.filesystem, unmet.unwrap())
    }

    fn paths(rules: &[PathRule]) -> Vec<&str> {
        rules.iter().map(|rule| rule.path.as_str()).collect()
    }

    #[test]
    fn each_layers_patterns_are_expanded_before_they_meet() {
        let wide = "filesystem.read = ['~/data/*.csv']";
        let (files, _) = resolved(&[wide]);
        assert_eq!(
            paths(&files.read),
            ["/home/u/data/a.csv", "/home/u/data/b.csv"]
        );
        assert_eq!(files.read[1].origin.line, 1);
        // As texts neither has the other.
        let (files, _) = resolved(&[wide, "filesystem.read = ['~/data/[!a]*']"]);
        assert_eq!(paths(&files.read), ["/home/u/data/b.csv"]);
        let (files, _) = resolved(&[wide, "filesystem.read = ['~/data/.*']"]);
        assert!(files.read.is_empty(), "{files:?}");
    }

    #[test]
    fn a_denial_keeps_its_pattern_and_the_roots_have_no_wildcards() {
        let (files, unmet) = resolved(&["filesystem.deny = ['$WORKSPACE/*.pem']"]);
        assert_eq!(paths(&files.deny), ["/w/[x]/k.pem"]);
        assert_eq!(paths(&files.deny_patterns), ["/w/[[]x]/*.pem"]);
        assert!(unmet.is_empty());
        let (files, _) = resolved(&["tools.write.denied_paths = ['$WORKSPACE/**/*.txt']"]);
        assert!(paths(&files.protect).contains(&"/w/[x]/n.txt"), "{files:?}");
        assert_eq!(paths(&files.protect_patterns), ["/w/[[]x]/**/*.txt"]);
        let (files, _) = resolved(&["filesystem.deny = ['/w/[[]x]/n.txt']"]);
        assert_eq!(paths(&files.deny), ["/w/[x]/n.txt"]);
        assert!(files.deny_patterns.is_empty());
    }

    #[test]
    fn a_grant_that_meets_nothing_is_told() {
        let (files, unmet) = resolved(&["filesystem.read = ['/nowhere/*']"]);
        assert!(files.read.is_empty());
        assert_eq!(unmet[0].written, "/nowhere/*");
    }
}
