//! Unmodified clients of HTTP reach what is granted, and not what is not.

use super::{Jail, PLAIN, SOCKS};
use crate::support::{Who, binary, need};

pub const WEB: &str = "mode = \"allowlist\"\nallow = [\"web.test\"]";

each!(curl_reaches_a_granted_name_by_every_way);
fn curl_reaches_a_granted_name_by_every_way(who: Who) {
    need("curl");
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
            format!("curl -sS --cacert ca.pem --proxy {SOCKS} https://web.test/hello"),
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
            "requests, through the proxy",
            "import requests\n\
             print(requests.get('https://web.test/hello', verify='ca.pem').text)",
        ),
        (
            "requests",
            "import requests\n\
             s = requests.Session(); s.trust_env = False\n\
             print(s.get('https://web.test/hello', verify='ca.pem').text)",
        ),
        (
            "python through the proxy",
            "import ssl, urllib.request as u\n\
             c = ssl.create_default_context(cafile='ca.pem')\n\
             print(u.urlopen('https://web.test/hello', context=c).read().decode())",
        ),
    ] {
        let ran = jail.python(script).ok();
        assert!(ran.stdout.starts_with("GET /hello"), "{what}: {ran:#?}");
        let ran = jail.python(&script.replace("web.test", "other.test"));
        assert_eq!(ran.status, 1, "{what}: {ran:#?}");
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

each!(node_fetches_a_granted_name);
fn node_fetches_a_granted_name(who: Who) {
    need("node");
    let Some(jail) = Jail::new(who, WEB) else {
        return;
    };
    jail.write(
        "fetch.mjs",
        "for (const url of process.argv.slice(2))\n\
         \x20   console.log(await fetch(url).then((r) => r.text(), (e) => 'no: ' + e.cause.code));",
    );
    let urls = "http://web.test/a https://web.test/b http://other.test/ https://other.test/";
    let script = format!("NODE_EXTRA_CA_CERTS=ca.pem node fetch.mjs {urls}");
    let ran = jail.sh(&script).ok();
    let said: Vec<&str> = ran.stdout.lines().filter(|l| !l.contains(": ")).collect();
    let said: Vec<&str> = said.into_iter().filter(|line| !line.is_empty()).collect();
    assert_eq!(said, ["GET /a HTTP/1.1", "GET /b HTTP/1.1"], "{ran:#?}");
    assert_eq!(ran.stdout.matches("no: ENOTFOUND").count(), 2, "{ran:#?}");
    assert_eq!(jail.outside.connections().len(), 2);
}

/// Java knows neither the proxies' variables nor those of certificates.
#[test]
fn java_reaches_a_granted_name() {
    need("java");
    let Some(jail) = Jail::new(Who::Root, WEB) else {
        return;
    };
    let jail = jail.extends("coding");
    jail.write("Get.java", GET_JAVA);
    let ca = std::fs::read(&*jail.outside.authority).expect("the authority");
    let store = creel_jail::keystore::of_pem(&ca);
    std::fs::write(jail.write("ca.jks", ""), store).expect("write");
    let urls = "http://web.test/a https://web.test/b http://other.test/ https://other.test/";
    let ran = jail
        .sh(&format!(
            "{JAVA} -Djavax.net.ssl.trustStore=ca.jks Get.java {urls}"
        ))
        .ok();
    let said: Vec<&str> = ran.stdout.lines().collect();
    let no = [
        "java.net.ConnectException",
        "java.net.UnknownHostException: other.test",
    ];
    assert_eq!(
        said,
        [
            "GET /a HTTP/1.1",
            "GET /a HTTP/1.1",
            "GET /b HTTP/1.1",
            "GET /b HTTP/1.1",
            no[0],
            no[1],
            no[0],
            no[1]
        ],
        "{ran:#?}"
    );
}

/// Sooner there than it is by default.
pub const JAVA: &str = "java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC";

/// The first line of each URL's answer, by `HttpClient` and by `URLConnection`.
pub const GET_JAVA: &str = r#"
import java.net.*; import java.net.http.*;
public class Get {
    interface Way { String get(String url) throws Exception; }
    public static void main(String[] urls) {
        HttpClient client = HttpClient.newHttpClient();
        Way[] ways = {
            url -> client.send(HttpRequest.newBuilder(URI.create(url)).build(),
                HttpResponse.BodyHandlers.ofString()).body(),
            url -> new String(URI.create(url).toURL().openConnection().getInputStream().readAllBytes()),
        };
        for (String url : urls) for (Way way : ways) {
            try { System.out.println(way.get(url).lines().findFirst().orElse("")); }
            catch (Exception e) { System.out.println(e); }
        }
    }
}
"#;

each!(a_static_client_with_a_resolver_of_its_own_reaches_a_granted_name);
fn a_static_client_with_a_resolver_of_its_own_reaches_a_granted_name(who: Who) {
    let Some(jail) = Jail::new(who, WEB) else {
        return;
    };
    let client = binary().with_file_name("examples").join("fetch");
    let copy = jail.write("fetch", "");
    std::fs::copy(&client, &copy).expect("build it: cargo build --example fetch");
    let elf = std::fs::read(&copy).expect("read");
    assert!(!has_interpreter(&elf), "{} is not static", client.display());
    for resolver in ["198.18.0.1:53", "8.8.8.8:53"] {
        for (port, roots) in [("80", None), ("443", Some("ca.pem"))] {
            let get = |name| {
                let argv = [copy.to_str().expect("text"), name, port, resolver];
                jail.argv(&argv.into_iter().chain(roots).collect::<Vec<_>>())
            };
            let ran = get("web.test").ok();
            assert!(ran.stdout.contains("GET /static HTTP/1.1"), "{ran:#?}");
            let ran = get("other.test");
            assert_eq!(ran.status, 1, "{ran:#?}");
            assert!(ran.stderr.contains("other.test does not exist"), "{ran:#?}");
        }
    }
}

/// Whether a loader is named in an ELF file's program headers: PT_INTERP, elf(5).
fn has_interpreter(elf: &[u8]) -> bool {
    let number = |at: usize, length: usize| {
        let bytes = elf[at..at + length].iter().rev();
        bytes.fold(0, |sum, byte| sum << 8 | usize::from(*byte))
    };
    let (first, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    (0..count).any(|header| number(first + header * size, 4) == 3)
}
