//! `creel net`: what a session may connect to, and who may connect to it, while it runs.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use clap::Subcommand;
use serde_json::{Value, json};

use super::{NameArgs, client, failure, look, store};
use crate::cli::answer;
use crate::cli::failure::Failure;
use crate::cli::network;
use creel_plan::request::Publish;
use creel_policy::error::escaped;
use creel_session::SessionError;
use creel_session::declare::PublishOn;
use creel_session::keep::wire::{Ask, NetChange, Tell};

/// Show and change the network of a session while it runs
#[derive(clap::Args)]
#[command(
    after_help = "A change is in force when the verb exits with 0. It lasts until the session ends. A platform's or an \
    operator's policy bounds what can be allowed."
)]
pub struct NetArgs {
    #[command(subcommand)]
    act: Act,
}

#[derive(Subcommand)]
enum Act {
    /// Print the rules and the published ports, and who changed them when
    Show(ShowArgs),
    /// Let the session connect to these hosts [default ports: 80 and 443]
    Allow(HostsArgs),
    /// Refuse these hosts, and end the connections to them [default ports: every one]
    Deny(HostsArgs),
    /// Go back to the rules that the session was made with; published ports stay
    Reset(NameArgs),
    /// Let the host connect to servers in the session [default address: the host's loopback]
    Publish(PublishArgs),
    /// Close published ports, and end the connections through them
    Unpublish(UnpublishArgs),
}

#[derive(clap::Args)]
struct ShowArgs {
    #[command(flatten)]
    name: NameArgs,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct HostsArgs {
    #[command(flatten)]
    name: NameArgs,

    /// Names, `*.NAME`, addresses or ranges, each with ports if wanted
    #[arg(value_name = "HOST[:PORT]", required = true)]
    hosts: Vec<String>,
}

#[derive(clap::Args)]
struct PublishArgs {
    #[command(flatten)]
    name: NameArgs,

    /// The port of the host, and the one in the session
    #[arg(value_name = "[ADDR:]HOSTPORT[:PORT]", required = true, value_parser = network::publish)]
    ports: Vec<Publish>,

    /// Allow addresses other than loopback, where other machines may connect
    #[arg(long)]
    publish_anyway: bool,
}

#[derive(clap::Args)]
struct UnpublishArgs {
    #[command(flatten)]
    name: NameArgs,

    /// The port of the host
    #[arg(value_name = "[ADDR:]HOSTPORT", required = true, value_parser = entrance)]
    ports: Vec<SocketAddr>,
}

/// Parses `8080`, `127.0.0.2:8080` or `[::1]:8080`.
fn entrance(text: &str) -> Result<SocketAddr, String> {
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port != 0);
    match port(text) {
        Some(port) => Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)),
        None => text.parse().map_err(|_| {
            format!("'{text}' does not have the form [ADDR:]HOSTPORT; write for example 8080")
        }),
    }
}

pub fn run(args: &NetArgs) -> Result<u8, Failure> {
    let (name, change) = match &args.act {
        Act::Show(args) => return show(args),
        Act::Allow(args) => {
            let destinations = args.hosts.clone();
            (&args.name, NetChange::Allow { destinations })
        }
        Act::Deny(args) => {
            let destinations = args.hosts.clone();
            (&args.name, NetChange::Deny { destinations })
        }
        Act::Reset(name) => (name, NetChange::Reset),
        Act::Publish(args) => {
            let publish = args.ports.clone();
            let on = match args.publish_anyway {
                true => PublishOn::Any,
                false => PublishOn::Loopback,
            };
            (&args.name, NetChange::Publish { publish, on })
        }
        Act::Unpublish(args) => {
            let addresses = args.ports.clone();
            (&args.name, NetChange::Unpublish { addresses })
        }
    };
    let client = client(&store()?, &name.name)?;
    match client.ask(&Ask::Net { change }).map_err(|e| failure(&e))? {
        Tell::Done => Ok(0),
        _ => Err(failure(&SessionError::Silent {
            name: name.name.clone(),
        })),
    }
}

fn show(args: &ShowArgs) -> Result<u8, Failure> {
    let name = &args.name.name;
    let client = client(&store()?, name)?;
    let asked = client.ask(&Ask::Inspect).map_err(|e| failure(&e))?;
    let Tell::Inspected { session } = asked else {
        return Err(failure(&SessionError::Silent { name: name.clone() }));
    };
    let network = &session["network"];
    match args.json {
        true => answer::print_json(&json!({ "version": 1, "network": network }))?,
        false => answer::print(&text(network))?,
    }
    Ok(0)
}

fn text(network: &Value) -> String {
    if network.is_null() {
        return "network  none but loopback, and no published port\n".into();
    }
    let plain = |value: &Value| {
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        escaped(text.chars()).to_string()
    };
    let mut out = format!("network  {}\n", plain(&network["mode"]));
    if network["relay"] != "running" {
        out += "relay    ended: nothing is connected to any more\n";
    }
    let lists = network["lists"].as_array().map_or(&[][..], Vec::as_slice);
    for (number, list) in lists.iter().enumerate() {
        if number > 0 {
            out += "and, from another layer, one of\n";
        }
        for rule in list.as_array().into_iter().flatten() {
            let _ = writeln!(out, "allow    {}", plain(rule));
        }
    }
    for rule in network["deny"].as_array().into_iter().flatten() {
        let _ = writeln!(out, "deny     {}", plain(rule));
    }
    for port in network["publish"].as_array().into_iter().flatten() {
        let (address, port) = (plain(&port["address"]), &port["port"]);
        let _ = writeln!(out, "publish  {address} to port {port}");
    }
    let _ = writeln!(out, "changes  {}", network["changes"]);
    for made in network["log"].as_array().into_iter().flatten() {
        let what = made["what"].as_array().into_iter().flatten();
        let what: Vec<String> = what.map(plain).collect();
        let (age, verb) = (look::age(made["time"].as_u64()), plain(&made["verb"]));
        let (uid, pid) = (&made["uid"], &made["pid"]);
        let _ = writeln!(
            out,
            "  {age} ago, uid {uid}, pid {pid}: {verb} {}",
            what.join(" ")
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entrance_is_a_port_of_the_host() {
        for (text, address) in [
            ("8080", "127.0.0.1:8080"),
            ("127.0.0.2:8080", "127.0.0.2:8080"),
            ("[::1]:8080", "[::1]:8080"),
        ] {
            assert_eq!(entrance(text).unwrap().to_string(), address);
        }
        for text in ["", "0", "8080:80", "x", "65536"] {
            assert!(entrance(text).is_err(), "{text}");
        }
    }
}
