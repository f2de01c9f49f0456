//! Rules on methods and paths, over every way that HTTP comes: what is judged is what is sent, and a
//! path that servers read in different ways is no path (E7).

use creel_egress::credential::Vault;

use super::terminated::{Ending, Outside, get_one, get_two};
use super::*;

const PLAIN: [&str; 4] = ["transparent", "absolute", "connect", "socks5"];

const GRANTED: [&str; 6] = [
    "/api/a",
    "/api/",
    "/api/a%20b",
    "/api/a?next=/../admin",
    "/api/%C3%A4",
    "/api/a.b...c",
];

const REFUSED: [&str; 6] = ["/", "/admin", "/apis/a", "/API/a", "/x/api/a", "/?/api/a"];

const AMBIGUOUS: [&str; 17] = [
    "/api/../admin",
    "/api/..",
    "/api/./a",
    "/api/%2e%2e/admin",
    "/api/%2E%2E/admin",
    "/api/.%2e/admin",
    "/api/..;/admin",
    "/api;/../admin",
    "/api//admin",
    "//api/a",
    "/api/%2fadmin",
    "/api/..%2fadmin",
    "/api/..%5cadmin",
    "/api/\\..\\admin",
    "/api/%252e%252e/admin",
    "/api/a%00",
    "/api/a%0d%0ab",
];

fn only_get_below_api() -> Http {
    Http::new(
        BTreeSet::from(["GET".to_owned()]),
        BTreeSet::from(["/api/*".to_owned()]),
    )
    .expect("a rule")
}

#[test]
fn a_path_is_judged_on_every_way() {
    local(async {
        let outside = server::http().await;
        let port = outside.port;
        let mut setup = Setup::at(&[port]);
        setup.http = Some(only_get_below_api());
        let world = setup.start().await;
        for way in PLAIN {
            for path in GRANTED {
                assert_eq!(
                    ask(&world, way, port, "GET", path).await,
                    200,
                    "{way} {path}"
                );
                // Byte for byte.
                let seen = outside.seen.last();
                assert!(
                    seen.starts_with(&format!("GET {path} HTTP/1.1\n")),
                    "{path}: {seen}"
                );
            }
            let before = outside.seen.count();
            for path in REFUSED {
                assert_eq!(
                    ask(&world, way, port, "GET", path).await,
                    403,
                    "{way} {path}"
                );
            }
            for path in AMBIGUOUS {
                assert_eq!(
                    ask(&world, way, port, "GET", path).await,
                    400,
                    "{way} {path}"
                );
            }
            for method in ["POST", "HEAD", "get", "GETT", "OPTIONS", "PRI"] {
                let code = ask(&world, way, port, method, "/api/a").await;
                assert!(matches!(code, 400 | 403), "{way} {method} {code}");
            }
            for path in ["/api/\u{1}", "/api/a b", "/api/\u{7f}", "/api/a\0"] {
                assert_eq!(
                    ask(&world, way, port, "GET", path).await,
                    400,
                    "{way} {path:?}"
                );
            }
            assert_eq!(
                outside.seen.count(),
                before,
                "{way}: {}",
                outside.seen.last()
            );
        }
        assert!(world.said("read in different ways") && world.coded("net-ambiguous-path"));
    });
}

#[test]
fn a_path_is_judged_inside_tls_in_both_versions() {
    local(async {
        let outside = Outside::new();
        let server = outside.https("good.example", &["h2", "http/1.1"]).await;
        let port = server.port;
        let mut setup = Setup::at(&[port]);
        setup.http = Some(only_get_below_api());
        let ending = Ending::new(&outside, Vault::default(), setup).await;
        let both = async |path: &str| {
            let to = ("good.example", port);
            let own = format!("good.example:{port}");
            let (one, _) = get_one(ending.tls(to, "http/1.1").await, &own, path).await;
            let uri = format!("https://{own}{path}");
            let (two, _) = get_two(ending.tls(to, "h2").await, &uri).await;
            (one, two)
        };
        for path in GRANTED {
            assert_eq!(both(path).await, (200, 200), "{path}");
        }
        let before = server.seen.count();
        for path in REFUSED {
            assert_eq!(both(path).await, (403, 403), "{path}");
        }
        for path in AMBIGUOUS {
            // The client's own library refuses to say a backslash.
            if !path.contains('\\') {
                assert_eq!(both(path).await, (400, 400), "{path}");
            }
        }
        assert_eq!(server.seen.count(), before);
    });
}

/// The status of one request, whose first line is as given.
async fn ask(world: &World, way: &str, port: u16, method: &str, path: &str) -> u16 {
    let own = format!("good.example:{port}");
    let mut target = path.to_owned();
    let mut client = match way {
        "transparent" => world.transparent("good.example", port, Version::One).await,
        "absolute" => {
            target = format!("http://{own}{path}");
            dial(world.proxy).await
        }
        "connect" => {
            let mut client = dial(world.proxy).await;
            let connect = format!("CONNECT {own} HTTP/1.1\r\n\r\n");
            client.write_all(connect.as_bytes()).await.unwrap();
            assert_eq!(status(&answer(&mut client).await), 200);
            client
        }
        _ => {
            let mut client = dial(world.socks).await;
            let hello = [
                &[5, 1, 0, 5, 1, 0, 3, 12],
                &b"good.example"[..],
                &port.to_be_bytes(),
            ];
            client.write_all(&hello.concat()).await.unwrap();
            let mut reply = [0; 12];
            client.read_exact(&mut reply).await.unwrap();
            assert_eq!(reply[3], 0);
            client
        }
    };
    let text = format!("{method} {target} HTTP/1.1\r\nHost: {own}\r\nConnection: close\r\n\r\n");
    let _ = client.write_all(text.as_bytes()).await;
    status(&rest(&mut client).await)
}
