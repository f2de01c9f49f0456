//! The canonical form of a host, and a rule's text: any bytes get an answer, and a form is its own form.

#![no_main]

use libfuzzer_sys::fuzz_target;

use creel_policy::Origin;
use creel_policy::net::range::canonical;
use creel_policy::net::{Host, Name, Rule};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(host) = Host::parse(bytes) {
        let text = host.to_string();
        assert_eq!(Host::parse(text.as_bytes()), Ok(host.clone()), "{text}");
        assert_eq!(
            Host::parse_authority(host.with_port(443).as_bytes()),
            Ok((host.clone(), Some(443)))
        );
        match &host {
            Host::Name(name) => {
                let legal =
                    |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b);
                assert!(text.bytes().all(legal) && text.len() <= 253, "{text}");
                assert!(text.split('.').all(|label| (1..=63).contains(&label.len())));
                assert_eq!(Name::parse(bytes), Ok(name.clone()));
                // The standard library's own reader of addresses takes no name for one.
                assert!(text.parse::<std::net::IpAddr>().is_err(), "{text}");
            }
            Host::Address(address) => assert_eq!(canonical(*address), *address),
        }
    }
    let _ = Host::parse_authority(bytes);
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(rule) = Rule::of_text(text, Origin::creel())
    {
        let again = Rule::of_text(&rule.destination(), Origin::creel());
        assert_eq!(again, Ok(rule), "{text}");
    }
});
