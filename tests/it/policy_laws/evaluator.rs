//! The shipped evaluator, and variants of it that each have one fault: the laws are held against the
//! first and must break on every other. A fault is put in at the seams of the public interface (what
//! a layer means, the meet, the closing, the decision), so that nothing of it is in the product.

use std::collections::BTreeMap;

use creel_policy::decide::{Why, decide};
use creel_policy::effective::close;
use creel_policy::layer::{Case, Layer, Rank};
use creel_policy::path_set::PathSet;
use creel_policy::rights::{Rights, Roots};
use creel_policy::tools::{Ruling, Tool};
use creel_policy::{Limits, preset};

use super::given::{Given, roots};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    AllowBeforeDeny,
    AliasForgotten,
    EmptyListAllows,
    EditWithoutWrite,
    NeedsForgotten,
    AskForgotten,
    AnyoneUnprotects,
    AnyoneElevates,
    ReadUnited,
    AllowedPathsOfOneSide,
    DenyOfOneSide,
    ProtectIntersected,
    DeniedPathsOfOneSide,
    ToolListsUnited,
    CommandsUnited,
    ArgumentsOfOneSide,
    WorkspaceLooser,
    MemoryLarger,
    RateLarger,
    AskLooser,
    SecurityLooser,
    EnvironmentOfTheSecond,
    PassUnited,
    DegradationUnited,
    ProvenanceOfTheFirst,
    SilenceGrantsWrite,
    PrefixWithoutSlash,
    ProtectForgotten,
    ParentIgnored,
}

impl Fault {
    pub const ALL: [Fault; 29] = [
        Self::AllowBeforeDeny,
        Self::AliasForgotten,
        Self::EmptyListAllows,
        Self::EditWithoutWrite,
        Self::NeedsForgotten,
        Self::AskForgotten,
        Self::AnyoneUnprotects,
        Self::AnyoneElevates,
        Self::ReadUnited,
        Self::AllowedPathsOfOneSide,
        Self::DenyOfOneSide,
        Self::ProtectIntersected,
        Self::DeniedPathsOfOneSide,
        Self::ToolListsUnited,
        Self::CommandsUnited,
        Self::ArgumentsOfOneSide,
        Self::WorkspaceLooser,
        Self::MemoryLarger,
        Self::RateLarger,
        Self::AskLooser,
        Self::SecurityLooser,
        Self::EnvironmentOfTheSecond,
        Self::PassUnited,
        Self::DegradationUnited,
        Self::ProvenanceOfTheFirst,
        Self::SilenceGrantsWrite,
        Self::PrefixWithoutSlash,
        Self::ProtectForgotten,
        Self::ParentIgnored,
    ];
}

pub struct Evaluator {
    pub roots: Roots,
    pub base: Limits,
    fault: Option<Fault>,
}

impl Evaluator {
    pub fn shipped() -> Evaluator {
        Evaluator {
            roots: roots(),
            base: preset::limits().expect("the default parses"),
            fault: None,
        }
    }

    pub fn faulty(fault: Fault) -> Evaluator {
        Evaluator {
            fault: Some(fault),
            ..Evaluator::shipped()
        }
    }

    pub fn of(&self, (rank, layer): &Given) -> Rights {
        let mut rights = Rights::of(layer, *rank, &self.roots);
        let platform = |layer: &Layer| Rights::of(layer, Rank::Platform, &self.roots);
        match self.fault {
            Some(Fault::AllowBeforeDeny) => {
                let lists = rights.tools.allow.clone();
                let listed = |name: &str| lists.keys().flatten().any(|p| p.matches(name));
                rights.tools.deny.retain(|p, _| !listed(p.text()));
            }
            Some(Fault::AliasForgotten) => {
                let real = |text: &str| Tool::ALL.iter().any(|t| t.name() == text);
                rights
                    .tools
                    .deny
                    .retain(|p, _| real(p.text()) || Tool::ALL.iter().any(|t| p.matches(t.name())));
            }
            Some(Fault::EmptyListAllows) if rights.write == PathSet::none() => {
                rights.write = PathSet::All;
            }
            Some(Fault::AskForgotten) => {
                rights.each.values_mut().for_each(|each| each.ask = None);
            }
            Some(Fault::AnyoneUnprotects) => rights.unprotect = platform(layer).unprotect,
            Some(Fault::AnyoneElevates) => rights.elevated = platform(layer).elevated,
            _ => {}
        }
        rights
    }

    pub fn meet(&self, a: &Rights, b: &Rights) -> Rights {
        let mut both = a.meet(b);
        match self.fault {
            Some(Fault::ReadUnited) => both.read = a.read.join(&b.read),
            Some(Fault::DenyOfOneSide) => both.deny = a.deny.clone(),
            Some(Fault::ProtectIntersected) => {
                both.protect
                    .retain(|path, _| a.protect.contains_key(path) && b.protect.contains_key(path));
            }
            Some(Fault::ToolListsUnited) => {
                let lists = || both.tools.allow.clone().into_iter();
                let all: Vec<_> = lists().flat_map(|(patterns, _)| patterns).collect();
                if let Some((_, origin)) = lists().next() {
                    both.tools.allow = BTreeMap::from([(all, origin)]);
                }
            }
            Some(Fault::WorkspaceLooser) => {
                if let (Some(a), Some(b)) = (&a.workspace, &b.workspace) {
                    let looser = if a.value > b.value { a } else { b };
                    both.workspace = Some(looser.clone());
                }
            }
            Some(Fault::MemoryLarger) => {
                if let (Some(a), Some(b)) = (&a.limits.memory, &b.limits.memory) {
                    let larger = if a.value > b.value { a } else { b };
                    both.limits.memory = Some(larger.clone());
                }
            }
            Some(Fault::EnvironmentOfTheSecond) => {
                both.set.named.extend(b.set.named.clone());
            }
            Some(Fault::PassUnited) => {
                if let (Some(ours), Some(theirs)) = (&a.pass, &b.pass) {
                    both.pass = Some(ours.clone().into_iter().chain(theirs.clone()).collect());
                }
            }
            Some(Fault::DegradationUnited) => {
                if let (Some(ours), Some(theirs)) = (&a.allow_degraded, &b.allow_degraded) {
                    let all = ours.clone().into_iter().chain(theirs.clone());
                    both.allow_degraded = Some(all.collect());
                }
            }
            Some(Fault::ProvenanceOfTheFirst) => {
                if a.workspace.is_some() {
                    both.workspace = both.workspace.map(|mode| creel_policy::Sourced {
                        origin: a.workspace.clone().map_or(mode.origin, |mode| mode.origin),
                        ..mode
                    });
                }
            }
            _ => self.meet_tools(a, b, &mut both),
        }
        both
    }

    fn meet_tools(&self, a: &Rights, b: &Rights, both: &mut Rights) {
        for (tool, each) in &mut both.each {
            let (Some(a), Some(b)) = (a.each.get(tool), b.each.get(tool)) else {
                continue;
            };
            match self.fault {
                Some(Fault::AllowedPathsOfOneSide) => each.allowed = a.allowed.clone(),
                Some(Fault::DeniedPathsOfOneSide) => each.denied = a.denied.clone(),
                Some(Fault::CommandsUnited) => {
                    if let (Some(ours), Some(theirs)) = (&a.commands, &b.commands) {
                        let all = ours.clone().into_iter().chain(theirs.clone());
                        each.commands = Some(all.collect());
                    }
                }
                Some(Fault::ArgumentsOfOneSide) => {
                    for (path, allowed) in each.commands.iter_mut().flatten() {
                        if let Some(ours) = a.commands.iter().flatten().find(|(p, _)| *p == path) {
                            allowed.args = ours.1.args.clone();
                        }
                    }
                }
                Some(Fault::RateLarger) => {
                    if let (Some(a), Some(b)) = (&a.rate, &b.rate) {
                        each.rate = Some(if a.value > b.value { a } else { b }.clone());
                    }
                }
                Some(Fault::AskLooser) => {
                    if let (Some(a), Some(b)) = (&a.ask, &b.ask) {
                        each.ask = Some(if a.value > b.value { a } else { b }.clone());
                    }
                }
                Some(Fault::SecurityLooser) => {
                    if let (Some(a), Some(b)) = (&a.security, &b.security) {
                        each.security = Some(if a.value > b.value { a } else { b }.clone());
                    }
                }
                _ => {}
            }
        }
    }

    pub fn close(&self, rights: &Rights) -> Rights {
        let mut closed = close(rights, &self.base);
        if self.fault == Some(Fault::SilenceGrantsWrite) && rights.write == PathSet::All {
            closed.write = PathSet::All;
        }
        closed
    }

    pub fn allows(&self, rights: &Rights, case: &Case) -> bool {
        let decide = |rights: &Rights, case: &Case| decide(rights, &self.roots, case);
        let answer = decide(rights, case);
        let why = match answer {
            creel_policy::decide::Decision::Allowed { .. } => return true,
            creel_policy::decide::Decision::Denied { why } => why,
        };
        let with = |change: &dyn Fn(&mut Rights)| {
            let mut other = rights.clone();
            change(&mut other);
            decide(&other, case).is_allowed()
        };
        let undeny = |rights: &mut Rights, tool: &str| {
            rights.tools.deny.retain(|p, _| !p.matches(tool));
        };
        match (self.fault, why) {
            (Some(Fault::EditWithoutWrite), _) if case.tool == Tool::Edit => {
                with(&|rights| undeny(rights, "write"))
            }
            (Some(Fault::NeedsForgotten), Why::ToolNeeds(_)) => {
                let own = rights.tools.rule(case.tool.name()) == Ruling::Allowed;
                own && with(&|rights| rights.tools = Default::default())
            }
            (Some(Fault::PrefixWithoutSlash), Why::NotGranted) => {
                let path = case.words.first().map(|word| self.roots.expand(word));
                let begins = |tree: &str| path.as_ref().is_some_and(|p| p.starts_with(tree));
                case.tool == Tool::Read && rights.read.host().any(|rule| begins(&rule.path))
            }
            (Some(Fault::ProtectForgotten), Why::Protected(_)) => {
                with(&|rights| rights.protect.clear())
            }
            (Some(Fault::ParentIgnored), Why::Parent) => {
                let words = case.words.iter().map(|word| word.replace("..", "."));
                let words = words.collect();
                let plain = Case { words, ..*case };
                decide(rights, &plain).is_allowed()
            }
            _ => false,
        }
    }

    /// As a stack resolves: those who grant are met and closed, then the others.
    pub fn resolve(&self, layers: &[Given]) -> Rights {
        let met = |rights: Rights, given: &Given| self.meet(&rights, &self.of(given));
        let (grant, narrow): (Vec<&Given>, Vec<&Given>) =
            layers.iter().partition(|(rank, _)| *rank <= Rank::Operator);
        let granted = grant.into_iter().fold(Rights::default(), met);
        narrow.into_iter().fold(self.close(&granted), met)
    }
}
