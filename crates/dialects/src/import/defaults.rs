//! The defaults of OpenClaw's sandbox, by version of OpenClaw.
//!
//! `meta.lastTouchedVersion` in a configuration names the version that wrote it. Lists are known only for
//! some versions. Between two known versions, the lists of both apply; without a version, all do. So
//! nothing that one of them denies is granted.

use super::source::{inner, text};
use creel_policy::tree::Table;
use creel_policy::words::NameList;

/// Year, month, and number in the month.
type Version = [u32; 3];

/// The lists of one version.
#[derive(Debug, PartialEq, Eq)]
pub struct Defaults {
    /// The version from which they were taken.
    version: Version,
    pub allow: NameList,
    pub deny: NameList,
}

/// Oldest first.
const ALL: [Defaults; 2] = [
    Defaults {
        version: [2026, 8, 0],
        allow: NameList(
            "exec process read write edit apply_patch image sessions_* subagents session_status",
        ),
        deny: NameList("browser canvas nodes cron gateway"),
    },
    Defaults {
        version: [2026, 9, 6],
        allow: NameList(
            "exec process read ls write edit apply_patch view_image sessions_list
             sessions_history sessions_search sessions_send sessions_spawn sessions_yield
             subagents session_status",
        ),
        deny: NameList(
            "browser canvas computer mobile_ui nodes automations gateway a2a buzz clickclack
             discord feishu googlechat imessage irc line matrix mattermost msteams nextcloud-talk
             nostr qa-channel raft reef signal slack sms synology-chat telegram tlon twitch
             whatsapp zalo zalouser",
        ),
    },
];

/// The tables that apply to a configuration, and a text with its version.
pub fn of(top: &Table) -> (&'static [Defaults], String) {
    let told = inner(top, &["meta"]).and_then(|meta| text(meta, "lastTouchedVersion"));
    match told.and_then(|told| Some((told, parse(told)?))) {
        Some((told, version)) => (holding(version), format!("in version {told}")),
        None => (
            &ALL,
            "in every version, since `meta.lastTouchedVersion` names none".into(),
        ),
    }
}

/// The newest table that is not newer, and the next one unless the version is known or after all.
fn holding(version: Version) -> &'static [Defaults] {
    let newer = ALL.partition_point(|table| table.version <= version);
    match newer {
        0 => &ALL[..1],
        at if ALL[at - 1].version == version || at == ALL.len() => &ALL[at - 1..at],
        at => &ALL[at - 1..=at],
    }
}

/// `2026.9.6`, `v2026.9.6-beta.1`: the text after the numbers is ignored.
fn parse(text: &str) -> Option<Version> {
    let text = text.trim().trim_start_matches('v');
    let numbers = text.split(['-', '+']).next()?;
    let mut numbers = numbers.split('.').map(|n| n.parse().ok());
    let version = [numbers.next()??, numbers.next()??, numbers.next()??];
    numbers.next().is_none().then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(version: &str) -> Option<Vec<Version>> {
        let tables = holding(parse(version)?);
        Some(tables.iter().map(|table| table.version).collect())
    }

    #[test]
    fn a_version_that_was_not_read_has_the_lists_of_both_its_neighbours() {
        let (old, new) = ([2026, 8, 0], [2026, 9, 6]);
        assert_eq!(versions("2026.1.29"), Some(vec![old]));
        assert_eq!(versions("2026.8.0"), Some(vec![old]));
        assert_eq!(versions("2026.8.14"), Some(vec![old, new]));
        assert_eq!(versions("2026.9.5-1"), Some(vec![old, new]));
        assert_eq!(versions("v2026.9.6-beta.2"), Some(vec![new]));
        assert_eq!(versions("2027.1.1"), Some(vec![new]));
        for nonsense in [
            "",
            "latest",
            "2026",
            "2026.9",
            "2026.9.x",
            "2026.9.6.1",
            "-1.2.3",
        ] {
            assert_eq!(versions(nonsense), None, "{nonsense}");
        }
    }
}
