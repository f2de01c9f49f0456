//! Unmodified programs reach what is granted.

use super::{Jail, PLAIN};
use crate::support::{Who, need};

const WEB: &str = "mode = \"allowlist\"\nallow = [\"web.test\"]";

#[test]
fn curl_reaches_a_granted_name_by_every_way() {
    need("curl");
    for who in Who::all() {
        let Some(jail) = Jail::new(who, WEB) else {
            return;
        };
        let ways = [
            (
                "transparent, plain",
                format!("{PLAIN} curl -sS http://web.test/hello"),
            ),
            (
                "transparent, TLS",
                format!("{PLAIN} curl -sS --cacert ca.pem https://web.test/hello"),
            ),
            ("absolute form", "curl -sS http://web.test/hello".into()),
            (
                "CONNECT",
                "curl -sS --cacert ca.pem https://web.test/hello".into(),
            ),
            (
                "SOCKS5",
                "curl -sS --cacert ca.pem --proxy $ALL_PROXY https://web.test/hello".into(),
            ),
        ];
        for (way, script) in ways {
            let ran = jail.sh(&script);
            assert!(
                ran.status == 0 && ran.stdout.starts_with("GET /hello HTTP/1.1"),
                "{who:?} {way}: {ran:#?}"
            );
            let reached = &ran.verdict["network"]["destinations"][0];
            assert_eq!(reached["host"], "web.test", "{who:?} {way}: {ran:#?}");
        }
        let other: Vec<_> = jail.outside.questions();
        assert!(other.iter().all(|name| name == "web.test"), "{other:?}");
    }
}

#[test]
fn python_and_wget_and_openssl_reach_a_granted_name() {
    need("wget");
    need("openssl");
    let Some(jail) = Jail::new(Who::Root, WEB) else {
        return;
    };
    for (what, script) in [
        (
            "python",
            "import ssl, urllib.request as u\n\
             c = ssl.create_default_context(cafile='ca.pem')\n\
             o = u.build_opener(u.ProxyHandler({}), u.HTTPSHandler(context=c))\n\
             print(o.open('https://web.test/hello').read().decode())",
        ),
        (
            "python through the proxy",
            "import ssl, urllib.request as u\n\
             c = ssl.create_default_context(cafile='ca.pem')\n\
             print(u.urlopen('https://web.test/hello', context=c).read().decode())",
        ),
    ] {
        jail.sh("true").ok();
        let ran = jail.python(script).ok();
        assert!(ran.stdout.starts_with("GET /hello"), "{what}: {ran:#?}");
    }
    let wget = format!("{PLAIN} wget -qO- --ca-certificate=ca.pem https://web.test/hello");
    assert!(jail.sh(&wget).ok().stdout.starts_with("GET /hello"));
    let openssl = format!(
        "{PLAIN} printf 'GET /hello HTTP/1.1\\r\\nHost: web.test\\r\\nConnection: close\\r\\n\\r\\n' | \
         timeout 5 openssl s_client -quiet -CAfile ca.pem -servername web.test -connect web.test:443 2>/dev/null | head -1"
    );
    assert!(jail.sh(&openssl).stdout.starts_with("HTTP/1.1 200"));
}

/// Programs that ask for what this machine can reach see a machine with a network.
#[test]
fn a_name_is_found_by_either_family_alone() {
    let Some(jail) = Jail::new(Who::User, WEB) else {
        return;
    };
    let script = "import socket as s\n\
        for f in (s.AF_INET, s.AF_INET6):\n\
        \x20   print(s.getaddrinfo('web.test', 443, f, s.SOCK_STREAM, 0, s.AI_ADDRCONFIG)[0][4][0])";
    let ran = jail.python(script).ok();
    assert_eq!(ran.stdout, "198.18.1.0\nfd63:7265:656c::100\n", "{ran:#?}");
    let four = format!("{PLAIN} curl -4 -sS http://web.test/hello");
    assert!(jail.sh(&four).ok().stdout.starts_with("GET /hello"));
}

#[test]
fn a_large_download_and_upload_arrive_whole() {
    let Some(jail) = Jail::new(Who::Root, WEB) else {
        return;
    };
    let down = format!(
        "{PLAIN} curl -sS --cacert ca.pem https://web.test/big/104857600 | sha256sum; \
         head -c 104857600 /dev/zero | tr '\\0' x | sha256sum"
    );
    let ran = jail.sh(&down).ok();
    let sums: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(sums[0], sums[1], "{ran:#?}");
    let up = format!(
        "{PLAIN} head -c 104857600 /dev/zero > /tmp/zero; \
         curl -sS --cacert ca.pem -T /tmp/zero https://web.test/sum; echo; sha256sum < /tmp/zero"
    );
    let ran = jail
        .flags(&["--disk", "256MiB", "--memory", "1GiB"])
        .sh(&up)
        .ok();
    let sums: Vec<&str> = ran.stdout.lines().collect();
    assert!(
        sums[1].starts_with(sums[0]) && sums[0].len() == 64,
        "{ran:#?}"
    );
}
