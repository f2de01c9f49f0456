//! Destinations: rules that grant more than they seem to, or nothing.

use super::Lint;
use super::checks::*;
use creel_policy::layer::Layer;
use creel_policy::net::range::block;
use creel_policy::net::{Mode, Protocol, Rule, Tls, To};
use creel_policy::words::NameList;

/// Domains under which anyone can register a name: of registries, and of hosting services.
const SHARED: NameList = NameList(
    "ac.uk amazonaws.com azureedge.net azurewebsites.net blogspot.com cloudapp.azure.com
     cloudfront.net co.in co.jp co.kr co.nz co.uk co.za com.au com.br com.cn com.mx com.tr
     duckdns.org firebaseapp.com fly.dev github.io githubusercontent.com gitlab.io herokuapp.com
     ne.jp net.au netlify.app ngrok.io ngrok-free.app nip.io onrender.com or.jp org.au org.uk
     pages.dev railway.app readthedocs.io s3.amazonaws.com sslip.io surge.sh trycloudflare.com
     vercel.app web.app windows.net workers.dev",
);

impl Lint<'_> {
    pub(super) fn network(&mut self) {
        let mode = self.outcome.rights.network.mode();
        for (_, layer) in self.layers {
            let network = &layer.network;
            let rules = network.allow.as_deref().unwrap_or_default();
            if let (Mode::None, Some(first)) = (mode, rules.first()) {
                let reason = "network.allow names hosts, but the jail has no network".to_owned();
                self.say(&NETWORK_IDLE, Some(&first.origin), reason);
            }
            rules.iter().for_each(|rule| self.rule(rule, rules));
            if mode == Mode::Allowlist {
                self.idle_denials(layer);
            }
        }
    }

    fn rule(&mut self, rule: &Rule, all: &[Rule]) {
        let shown = rule.destination();
        match &rule.to {
            To::Under(suffix)
                if !suffix.as_str().contains('.') || SHARED.contains(suffix.as_str()) =>
            {
                let reason = format!("anyone can register names below {shown}");
                self.say(&NETWORK_PUBLIC_SUFFIX, Some(&rule.origin), reason);
            }
            To::Range(range) if block(range.address).is_none() => {
                let reason = format!("{shown} is granted by address");
                self.say(&NETWORK_ADDRESS, Some(&rule.origin), reason);
            }
            _ => {}
        }
        // A rule for a name does not limit access to its address.
        let bounded = |other: &&Rule| {
            let shut = other.http.is_some() || other.tls == Tls::Terminate;
            shut && !other.ports.is_disjoint(&rule.ports) && !matches!(other.to, To::Range(_))
        };
        let direct = matches!(rule.to, To::Range(_)) && rule.protocol != Protocol::None;
        if let (true, Some(name)) = (direct, all.iter().find(bounded)) {
            let name = name.destination();
            let reason = format!(
                "the jail can connect to {shown} by address, and creel then does not check the requests to {name}"
            );
            self.say(&NETWORK_RANGE_DIRECT, Some(&rule.origin), reason);
        }
        if rule.protocol == Protocol::Udp {
            let reason = format!("{shown} is granted over UDP");
            self.say(&NETWORK_UDP, Some(&rule.origin), reason);
        }
        let wider = |other: &&Rule| other.http.is_none() && other.covers(rule);
        if let (Some(_), Some(other)) = (&rule.http, all.iter().find(wider)) {
            let other = other.destination();
            let reason =
                format!("{other} allows any request, so the requests of {shown} have no effect");
            self.say(&NETWORK_HTTP_IDLE, Some(&rule.origin), reason);
        }
    }

    /// Denials that the mode of a list makes useless: a destination on no list needs no denial.
    fn idle_denials(&mut self, layer: &Layer) {
        let outcome = self.outcome;
        let lists = &outcome.rights.network.lists;
        for deny in &layer.network.deny {
            let within = |rule: &Rule| {
                let ports = deny.ports.is_empty() || !deny.ports.is_disjoint(&rule.ports);
                let to = deny.to.spans(&rule.to) || rule.to.spans(&deny.to);
                // A granted name may resolve to any range.
                ports && (to || matches!(deny.to, To::Range(_)))
            };
            if !lists.iter().flat_map(|list| &list.rules).any(within) {
                let shown = deny.destination();
                let reason = format!("no rule allows {shown}, so its denial has no effect");
                self.say(&NETWORK_DENY_IDLE, Some(&deny.origin), reason);
            }
        }
    }
}
