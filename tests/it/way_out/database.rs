//! Protocols of their own at ports of their own: PostgreSQL, whose client asks for TLS in its own words,
//! and mail, whose server speaks first.

use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::Jail;
use crate::support::outside::Peer;
use crate::support::{Who, is_root};

each!(psql_asks_a_granted_database_with_and_without_tls);
fn psql_asks_a_granted_database_with_and_without_tls(who: Who) {
    let network = "mode = \"allowlist\"\nallow = [\"web.test:5432\"]";
    let Some(jail) = Jail::new(who, network) else {
        return;
    };
    let _server = postgres(&jail);
    let psql = program("psql");
    let ask = |host: &str, tls: &str| {
        jail.argv(&[
            psql.to_str().expect("text"),
            &format!("host={host} user=tester dbname=postgres connect_timeout=10 sslmode={tls}"),
            "-Atc",
            "select 41 + 1, ssl from pg_stat_ssl where pid = pg_backend_pid()",
        ])
    };
    for (tls, said) in [
        ("disable", "42|f\n"),
        ("prefer", "42|t\n"),
        ("require", "42|t\n"),
    ] {
        assert_eq!(ask("web.test", tls).ok().stdout, said, "{who:?}");
        let ran = ask("other.test", tls);
        assert_eq!(ran.status, 2, "{who:?}: {ran:#?}");
    }
}

/// Debian keeps PostgreSQL's programs by version.
fn program(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten();
    let mut found = versions.flatten().map(|v| v.path().join("bin").join(name));
    found
        .find(|path| path.exists())
        .unwrap_or_else(|| panic!("{name} is missing: run scripts/test, which installs it"))
}

/// A cluster of the test's own, run by the account of the rootless tests: it does not start as root.
fn postgres(jail: &Jail) -> Peer {
    assert!(is_root());
    let (uid, gid, _) = Who::User.account();
    let home = jail.elsewhere("postgres");
    std::fs::create_dir(&home).expect("mkdir");
    let outside = &jail.outside;
    for (file, name) in [(&outside.certificate, "certificate"), (&outside.key, "key")] {
        let copy = home.join(name);
        std::fs::copy(&**file, &copy).expect("copy");
        std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o600)).expect("chmod");
        chown(&copy, Some(uid), Some(gid)).expect("chown");
    }
    chown(&home, Some(uid), Some(gid)).expect("chown");
    let theirs = |name: &str| {
        let mut command = Command::new(program(name));
        command.current_dir(&home).uid(uid).gid(gid);
        command.env_clear().env("HOME", &home);
        command
    };
    let made = theirs("initdb")
        .args(["-D", "data", "-A", "trust", "-U", "tester", "--no-sync"])
        .stdout(Stdio::null())
        .status();
    assert!(made.expect("initdb").success());
    let access = home.join("data/pg_hba.conf");
    std::fs::write(access, "host all all all trust\n").expect("write");
    let mut server = theirs("postgres");
    server
        .args(["-D", "data", "-h", "0.0.0.0", "-k"])
        .arg(&home);
    for setting in [
        "ssl=on",
        "ssl_cert_file=../certificate",
        "ssl_key_file=../key",
        "fsync=off",
        "logging_collector=off",
    ] {
        server.args(["-c", setting]);
    }
    server.stderr(Stdio::null());
    outside.start(&mut server, 5432)
}

#[test]
fn a_server_that_speaks_first_is_heard() {
    let network = "mode = \"allowlist\"\nallow = [\"web.test:2525\"]";
    let Some(jail) = Jail::new(Who::User, network) else {
        return;
    };
    jail.outside.serve(2525, |mut client, _| {
        client.write_all(b"220 web.test\r\n")?;
        let mut line = vec![0; 1000];
        loop {
            let length = client.read(&mut line)?;
            match &line[..length] {
                [] => return Ok(()),
                line if line.starts_with(b"quit") => return client.write_all(b"221 bye\r\n"),
                _ => client.write_all(b"250 yes\r\n")?,
            }
        }
    });
    let script = "import smtplib\n\
        for host in ('web.test', 'other.test'):\n\
        \x20   try:\n\
        \x20       mail = smtplib.SMTP(host, 2525, timeout=10)\n\
        \x20       print(mail.noop(), mail.quit())\n\
        \x20   except OSError as e: print(type(e).__name__)";
    let ran = jail.python(script).ok();
    assert_eq!(
        ran.stdout, "(250, b'yes') (221, b'bye')\ngaierror\n",
        "{ran:#?}"
    );
}
