//! Parses the network flags `--allow-net` and `--publish`.

use std::net::{IpAddr, SocketAddr};

use super::failure::Failure;
use creel_plan::request::Publish;
use creel_policy::Origin;
use creel_policy::net::Rule;

/// The rules for the destinations of `--allow-net`.
pub fn rules(texts: &[String]) -> Result<Vec<Rule>, Failure> {
    let origin = Origin {
        source: "command line".into(),
        line: 0,
    };
    let rule = |text: &String| {
        let rule = Rule::of_flag(text, origin.clone());
        rule.map_err(|fault| {
            Failure::new(format!("--allow-net {}: it {fault}", text.escape_debug()))
        })
    };
    texts.iter().map(rule).collect()
}

/// Parses `8080`, `8080:80`, `127.0.0.2:8080:80` or `[::1]:8080:80`.
pub fn publish(text: &str) -> Result<Publish, String> {
    let wrong = || {
        format!("'{text}' does not have the form [ADDR:]HOSTPORT[:PORT]; write for example 8080:80")
    };
    let number = |text: &str| text.parse::<u16>().ok().filter(|port| *port != 0);
    let (address, ports) = match text.rsplit_once("]:") {
        Some((address, ports)) => (address.strip_prefix('[').ok_or_else(wrong)?, ports),
        None => match text.split_once(':') {
            Some((address, ports)) if address.contains('.') => (address, ports),
            _ => ("127.0.0.1", text),
        },
    };
    let (host, inside) = ports.split_once(':').unwrap_or((ports, ports));
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    Ok(Publish {
        address: SocketAddr::new(address, number(host).ok_or_else(wrong)?),
        port: number(inside).ok_or_else(wrong)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_wide_or_no_destination_is_refused() {
        assert!(rules(&["a.example".into(), "b.example:22".into()]).is_ok());
        for text in ["*:443", "", "127.0.0.1"] {
            assert!(rules(&[text.into()]).is_err(), "{text}");
        }
    }
}
