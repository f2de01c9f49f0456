//! TLS that creel ends: clients trust the jail's authority by themselves, and requests are judged.

use super::Jail;
use super::web::{GET_JAVA, JAVA};
use crate::support::{Who, need};

const ENDED: &str = "mode = \"allowlist\"\nallow = [{ host = \"web.test\", ports = [443, 8443], tls = \"terminate\" }]";

/// The variables of certificates taken away: what the program trusts is what the system has.
const BARE: &str = "env -i PATH=$PATH HOME=$HOME";

each!(programs_trust_the_jails_authority_by_themselves);
fn programs_trust_the_jails_authority_by_themselves(who: Who) {
    for program in ["curl", "wget", "git", "node", "openssl", "python3"] {
        need(program);
    }
    let Some(jail) = Jail::new(who, ENDED) else {
        return;
    };
    jail.outside.trust();
    let python = "python3 -c \"import urllib.request as u; \
                  print(u.urlopen('https://web.test/x').read().decode())\"";
    let requests = "python3 -c \"import requests; print(requests.get('https://web.test/x').text)\"";
    let node = "node -e \"fetch('https://web.test/x').then(r => r.text()).then(console.log)\"";
    for script in [
        "curl -sS https://web.test/x".to_owned(),
        format!("{BARE} curl -sS https://web.test/x"),
        "wget -qO- https://web.test/x".into(),
        format!("{BARE} wget -qO- https://web.test/x"),
        python.into(),
        format!("{BARE} {python}"),
        requests.into(),
        node.into(),
    ] {
        let ran = jail.sh(&script).ok();
        assert!(
            ran.stdout.starts_with("GET /x HTTP/1.1"),
            "{script}: {ran:#?}"
        );
    }
    // git asks for references, and the server has none: it was reached.
    for git in ["git", &format!("{BARE} git")] {
        let ran = jail.sh(&format!("{git} ls-remote https://web.test/repo"));
        assert!(ran.stderr.contains("not valid"), "{ran:#?}");
    }
    // Nobody but the jail's authority is trusted for it: the server's own is not seen inside.
    let ran = jail.sh(
        "openssl s_client -connect web.test:443 -servername web.test </dev/null 2>/dev/null | \
         openssl x509 -noout -issuer",
    );
    assert!(ran.stdout.contains("creel jail"), "{ran:#?}");
    // The control: with another authority alone it is no certificate.
    let ran = jail.sh("curl -sS --cacert ca.pem https://web.test/x");
    assert_eq!(ran.status, 60, "{ran:#?}");
}

each!(a_jails_authority_is_its_own);
/// Each jail has an authority that no other has, and its key is in none of its files.
fn a_jails_authority_is_its_own(who: Who) {
    let certificate = || {
        let jail = Jail::new(who, ENDED)?;
        let script = "cat /etc/creel-ca.pem; grep -rlsF 'PRIVATE KEY' /etc /run /tmp /dev/shm ~ >&2; \
                      grep -qF \"$(sed -n 2p /etc/creel-ca.pem)\" /etc/creel-ca-bundle.pem && echo in the bundle";
        let ran = jail.sh(script).ok();
        assert_eq!(ran.stderr, "", "{ran:#?}");
        let bundled = ran
            .stdout
            .strip_suffix("in the bundle\n")
            .map(str::to_owned);
        Some(bundled.unwrap_or_else(|| panic!("{ran:#?}")))
    };
    let (Some(one), Some(other)) = (certificate(), certificate()) else {
        return;
    };
    assert!(one.starts_with("-----BEGIN CERTIFICATE"), "{one}");
    assert_ne!(one, other, "{who:?}");
}

each!(java_trusts_the_jails_authority_by_itself);
fn java_trusts_the_jails_authority_by_itself(who: Who) {
    need("java");
    let Some(jail) = Jail::new(who, ENDED) else {
        return;
    };
    let jail = jail.extends("coding");
    jail.outside.trust();
    jail.write("Get.java", GET_JAVA);
    let ran = jail.sh(&format!("{JAVA} Get.java https://web.test/x")).ok();
    assert_eq!(ran.stdout, "GET /x HTTP/1.1\nGET /x HTTP/1.1\n", "{ran:#?}");
}

/// A Java that keeps certificates of its own is told of the jail's.
#[test]
fn java_reads_the_jails_key_store_with_and_without_its_password() {
    need("java");
    let Some(jail) = Jail::new(Who::Root, ENDED) else {
        return;
    };
    let jail = jail.extends("coding");
    jail.outside.trust();
    jail.write("Get.java", GET_JAVA);
    let trust = "-Djavax.net.ssl.trustStore=/etc/creel-ca.jks";
    let password = "-Djavax.net.ssl.trustStorePassword=changeit";
    for flags in [trust.to_owned(), format!("{trust} {password}")] {
        let ran = jail
            .sh(&format!("{JAVA} {flags} Get.java https://web.test/y"))
            .ok();
        assert_eq!(ran.stdout, "GET /y HTTP/1.1\nGET /y HTTP/1.1\n", "{ran:#?}");
    }
    // The control: it is this that is read.
    let ran = jail.sh(&format!(
        "{JAVA} {trust} {password}s Get.java https://web.test/y"
    ));
    assert_ne!(ran.status, 0, "{ran:#?}");
    assert!(
        ran.stderr.contains("problem accessing trust store"),
        "{ran:#?}"
    );
}

#[test]
fn methods_and_paths_are_judged_in_both_versions_of_http() {
    need("node");
    let network = "mode = \"allowlist\"\n\
        allow = [{ host = \"web.test\", ports = [443, 8443], tls = \"terminate\", \
                  methods = [\"GET\"], paths = [\"/granted/*\"] }]";
    let Some(jail) = Jail::new(Who::Root, network) else {
        return;
    };
    jail.outside.trust();
    let (_peer, log) = jail.peer(8443);
    let python = "python3 -c \"import sys, urllib.request as u, urllib.error\n\
        r = u.Request('URL', method='METHOD')\n\
        try: print(u.urlopen(r).status)\n\
        except urllib.error.HTTPError as e: print(e.code)\"";
    let node = "node -e \"fetch('URL', { method: 'METHOD' }).then(r => console.log(r.status))\"";
    let clients = [
        "curl -sS --http1.1 -o /dev/null -w '%{http_code}\\n' -X METHOD URL",
        "curl -sS --http2 -o /dev/null -w '%{http_code}\\n' -X METHOD URL",
        python,
        node,
    ];
    for client in clients {
        for (method, path, codes) in [
            ("GET", "granted/x", &["200\n"][..]),
            ("GET", "other/x", &["403\n"]),
            ("POST", "granted/x", &["403\n"]),
            ("DELETE", "granted/x", &["403\n"]),
            // Servers read dots in different ways, and so it is no request; some clients resolve them.
            ("GET", "granted/../other/x", &["400\n", "403\n"]),
            ("GET", "granted/%2e%2e/other", &["400\n", "403\n"]),
        ] {
            let url = format!("https://web.test:8443/{path}");
            let client = client.replace("curl", "curl --path-as-is");
            let ran = jail.sh(&client.replace("METHOD", method).replace("URL", &url));
            let said = ran.stdout.as_str();
            assert!(codes.contains(&said), "{client} {method} {path}: {ran:#?}");
        }
    }
    let seen = std::fs::read_to_string(log).expect("a log");
    let granted = |line: &str| line.starts_with(r#"{"method":"GET","url":"/granted/x""#);
    assert!(seen.lines().all(granted), "{seen}");
    assert_eq!(seen.lines().count(), clients.len(), "{seen}");
    assert!(seen.contains(r#""httpVersion":"2.0""#), "{seen}");
}
