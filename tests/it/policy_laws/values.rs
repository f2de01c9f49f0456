//! Values of the model: the least of all that were named, the part that all name, the part that anybody denies.

use std::collections::BTreeSet;

use creel_policy::layer::{Layer, Rank};
use creel_policy::rights::Rights;
use creel_policy::{Limits, Sourced};

use super::given::Given;

/// The first field of closed rights that is not what the layers say by themselves.
pub fn differs(layers: &[Given], rights: &Rights, base: &Limits) -> Option<&'static str> {
    let all = || layers.iter().map(|(_, layer)| layer);
    macro_rules! limits {
        ($($field:ident),+) => {
            $({
                // The default policy's counts where nobody who grants named one.
                let named = layers.iter().any(|(rank, l)| *rank <= Rank::Operator && l.limits.$field.is_some());
                let said = all().filter_map(|l| l.limits.$field.as_ref()).map(|v| v.value);
                let least = said.chain((!named).then_some(base.$field.value)).min();
                if rights.limits.$field.as_ref().map(|v| v.value) != least {
                    return Some(stringify!($field));
                }
            })+
        };
    }
    limits!(
        memory,
        memory_high,
        cpus,
        pids,
        timeout,
        cpu_time,
        disk,
        inodes,
        file_size,
        open_files,
        output,
        grace
    );
    let mode = all()
        .filter_map(|l| l.filesystem.workspace.as_ref())
        .map(|m| m.value)
        .min();
    if rights.workspace.as_ref().map(|m| m.value) != mode {
        return Some("workspace");
    }
    let pass = agreed(layers, |l| {
        let list = l.environment.pass.as_ref()?;
        Some(list.iter().map(|name| name.value.clone()).collect())
    });
    if rights
        .pass
        .as_ref()
        .map(|names| names.keys().cloned().collect())
        != Some(pass)
    {
        return Some("pass");
    }
    // A variable is set by somebody who grants, and otherwise by nobody.
    let pairs = |layer: &Layer| -> Vec<(String, String)> {
        let set = layer.environment.set.iter().flatten();
        set.map(|(name, value)| (name.clone(), value.value.clone()))
            .collect()
    };
    let granted = layers
        .iter()
        .filter(|(rank, _)| *rank <= Rank::Operator)
        .flat_map(|(_, l)| pairs(l));
    let same = |(name, value): &(String, String)| {
        all()
            .flat_map(pairs)
            .all(|(n, v)| n != *name || v == *value)
    };
    let set: BTreeSet<_> = granted.filter(same).collect();
    let found = rights
        .set
        .set()
        .map(|(name, value)| (name.clone(), value.value.clone()));
    if found.collect::<BTreeSet<_>>() != set {
        return Some("set");
    }
    let degraded = agreed(layers, |l| {
        Some(l.allow_degraded.as_ref()?.keys().copied().collect())
    });
    if rights
        .allow_degraded
        .iter()
        .flatten()
        .map(|(d, _)| *d)
        .collect::<BTreeSet<_>>()
        != degraded
    {
        return Some("allow_degraded");
    }
    let elevated = elevates(layers);
    if rights.elevated.as_ref().map(|e| e.value) != Some(elevated) {
        return Some("elevated");
    }
    None
}

/// Part that everybody names who names the key, and somebody who grants does.
fn agreed<T: Ord + Clone>(
    layers: &[Given],
    list: impl Fn(&Layer) -> Option<BTreeSet<T>>,
) -> BTreeSet<T> {
    let granted = layers
        .iter()
        .any(|(rank, l)| *rank <= Rank::Operator && list(l).is_some());
    let lists: Vec<BTreeSet<T>> = layers.iter().filter_map(|(_, l)| list(l)).collect();
    let everything = lists.iter().flatten().cloned();
    everything
        .filter(|item| granted && lists.iter().all(|list| list.contains(item)))
        .collect()
}

/// Somebody who may says so, and nobody says no.
fn elevates(layers: &[Given]) -> bool {
    let said = |layer: &Layer| -> Vec<Sourced<bool>> {
        let each = layer.tools.each.values().map(|own| &own.elevated);
        each.chain([&layer.tools.elevated])
            .flatten()
            .cloned()
            .collect()
    };
    let yes =
        |(rank, layer): &Given| *rank <= Rank::Operator && said(layer).iter().any(|e| e.value);
    let no = |(_, layer): &Given| said(layer).iter().any(|e| !e.value);
    layers.iter().any(yes) && !layers.iter().any(no)
}
