//! Serves one admitted connection: detects its protocol, judges it, and relays it.
//!
//! No byte of the client leaves before it is judged, and judged bytes leave unchanged. TLS must name the
//! granted host; requests go to [`http`](super::http); other bytes are relayed if a rule grants that.
//!
//! ```text
//! a rule says `tcp`                 dial ── relay
//! rules ask for TLS or HTTP         detect ── judge ── dial ── relay
//! either side may send first        detect and dial, the server's bytes flow ── judge ── relay
//! ```
//!
//! If a range was granted and the client dialled an address, the server name may be missing; if present, it
//! must be granted itself. A hello that may contain another, encrypted one (ECH) is refused unless creel
//! terminates the TLS: then nothing of it is forwarded.

use std::future::pending;
use std::io::ErrorKind;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::admission::HeadBudget;
use super::client_hello::{ClientHello, Encrypted};
use super::gate::{Direction, Pass};
use super::http::{self, version::Scheme};
use super::protocol_detect::{self, Detected};
use super::refusal::Refusal;
use super::rewind::Rewind;
use super::splice::{self, Half, reset};
use super::tls;
use creel_policy::net::decide::{Spoken, Transport};
use creel_policy::net::{Answer, Host, Name, Protocol, Tls};
use creel_sys::splice::shutdown_write;

/// Time limit from the client's first byte until its protocol is detected.
const CLEAR: Duration = Duration::from_secs(10);
/// A client that sends first does so at once. Only after this delay is the server dialled before the
/// protocol is known.
const GRACE: Duration = Duration::from_millis(2);

/// The side that may send first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Client,
    Either,
    /// Either; the protocol is not inspected.
    Unheard,
}

/// The client's bytes up to the detection of its protocol, and the protocol.
struct Said {
    bytes: Vec<u8>,
    first: Detected,
    /// The budget of the bytes, while they are held here.
    held: Option<HeadBudget>,
}

/// A server connection that was dialled before the protocol was known.
struct Begun {
    outside: TcpStream,
    back: Half,
}

/// Why nothing is relayed: a refusal, or `None` if a side is gone.
type Ended = Option<Refusal>;

/// TLS alerts, always fatal (RFC 8446, 6).
#[derive(Debug, Clone, Copy)]
enum Alert {
    AccessDenied = 49,
    DecodeError = 50,
    UnrecognizedName = 112,
}

/// Serves the client's connection to its end. `early`: bytes already read from the client.
pub async fn carry(pass: Pass, client: TcpStream, early: Vec<u8>) {
    let grip = Rc::clone(pass.grip());
    tokio::select! {
        biased;
        () = converse(pass, client, early) => {}
        // Parts that relay bytes notice it themselves, and reset both sides.
        _ = grip.ended() => {}
    }
}

async fn converse(pass: Pass, client: TcpStream, early: Vec<u8>) {
    let _ = client.set_nodelay(true);
    pass.bound_inside(&client);
    let heard = match order(&pass) {
        Order::Unheard => {
            let first = Detected::Other;
            let said = Said {
                bytes: early,
                first,
                held: None,
            };
            return forward(pass, client, said, None).await;
        }
        Order::Client => match timeout(pass.gate().idle(), hear(&pass, &client, early)).await {
            Ok(Ok(said)) if said.bytes.is_empty() => Err(None),
            Ok(said) => said.map(|said| (said, None)),
            Err(_) => Err(Some(pass.idle_refusal())),
        },
        Order::Either => tokio::select! {
            heard = either(&pass, &client, early) => heard,
            // The client may have got bytes, and must not take the end for theirs.
            refusal = pass.grip().ended() => Err(Some(refusal)),
        },
    };
    let (said, begun) = match heard {
        Ok(heard) => heard,
        Err(Some(refusal)) => return refuse(&pass, client, &refusal),
        Err(None) => return,
    };
    match &said.first {
        Detected::Tls(hello) => match judge_tls(&pass, hello) {
            Ok(()) if pass.tls() == Tls::Terminate => {
                // It owns the pass, and records its own refusals.
                let _ = Box::pin(tls::serve(pass, client, said.bytes)).await;
            }
            Ok(()) => forward(pass, client, said, begun).await,
            Err((refusal, alert)) => refuse_tls(&pass, client, &refusal, alert),
        },
        Detected::Flawed(flaw) => {
            refuse_tls(&pass, client, &Refusal::Hello(*flaw), Alert::DecodeError);
        }
        Detected::Http(version) => {
            let version = *version;
            if begun.is_some_and(|begun| begun.back.has_moved()) {
                return refuse(&pass, client, &Refusal::ServerFirst);
            }
            let client = Rewind::new(said.bytes, client);
            // Boxed, so that a connection that is only spliced has no memory for it.
            Box::pin(http::serve(pass, client, Scheme::Http, version)).await;
        }
        Detected::Other | Detected::More => match pass.judge(&Spoken::Other) {
            Ok(()) => forward(pass, client, said, begun).await,
            Err(refusal) => refuse(&pass, client, &refusal),
        },
    }
}

/// The side that may send first: the client, if the rules ask for TLS or HTTP.
fn order(pass: &Pass) -> Order {
    let policy = pass.gate().policy.now();
    if pass.tls() == Tls::Terminate {
        return Order::Client;
    }
    let known = matches!(pass.port, 80 | 443);
    let rules = match policy.judge(&pass.host, pass.port, Transport::Tcp) {
        Answer::Allow(rules) => rules,
        // An answer allowed the destination, not a rule.
        _ if known => return Order::Client,
        _ => return Order::Either,
    };
    let speaks = |protocol| rules.iter().any(|rule| rule.protocol == protocol);
    if rules.iter().all(|rule| rule.protocol == Protocol::Tcp) {
        Order::Unheard
    } else if speaks(Protocol::Tls)
        || speaks(Protocol::Http)
        || speaks(Protocol::Auto) && known
        || rules.iter().any(|rule| rule.http.is_some())
    {
        Order::Client
    } else {
        Order::Either
    }
}

/// Reads until the client's protocol is detected. `bytes` is empty if the client closed without sending.
async fn hear(pass: &Pass, client: &TcpStream, mut bytes: Vec<u8>) -> Result<Said, Ended> {
    let mut held = HeadBudget::new(&pass.gate().meter.admission);
    // No time limit runs before the first byte.
    if bytes.is_empty() && more(client, &mut held, &mut bytes).await? == 0 {
        let first = protocol_detect::read_all(&bytes);
        let held = None;
        return Ok(Said { bytes, first, held });
    }
    let clear = async {
        loop {
            match protocol_detect::read(&bytes) {
                Detected::More => {}
                first => return Ok(first),
            }
            if more(client, &mut held, &mut bytes).await? == 0 {
                return Ok::<Detected, Ended>(protocol_detect::read_all(&bytes));
            }
        }
    };
    let first = match timeout(CLEAR, clear).await {
        Ok(first) => first?,
        Err(_) => return Err(Some(Refusal::Undetected)),
    };
    let held = Some(held);
    Ok(Said { bytes, first, held })
}

/// Waits for the client's next bytes and appends them to `bytes`; 0 is the end.
async fn more(
    client: &TcpStream,
    held: &mut HeadBudget,
    bytes: &mut Vec<u8>,
) -> Result<usize, Ended> {
    held.reserve(bytes).map_err(Some)?;
    loop {
        // Readiness can be spurious: an accepted socket is assumed to be readable.
        client.readable().await.map_err(|_| None)?;
        match client.try_read_buf(bytes) {
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            read => return read.map_err(|_| None),
        }
    }
}

/// Dials while the client may still send first, and relays the server's bytes meanwhile.
async fn either(
    pass: &Pass,
    client: &TcpStream,
    early: Vec<u8>,
) -> Result<(Said, Option<Begun>), Ended> {
    let mut hearing = pin!(hear(pass, client, early));
    if let Ok(said) = timeout(GRACE, hearing.as_mut()).await {
        return Ok((said?, None));
    }
    let mut dialling = pin!(pass.dial());
    let outside = tokio::select! {
        said = hearing.as_mut() => {
            let said = said?;
            // Keeps this dial: the server may have seen the connection already, and should not see another.
            pass.keep(dialling.await.map_err(Some)?);
            return Ok((said, None));
        }
        dialled = dialling.as_mut() => dialled.map_err(Some)?,
    };
    let mut back = Half::new(Direction::In);
    loop {
        let stirs = back.stirs();
        let open = !back.is_done();
        let flow = async {
            match open {
                true => splice::carry_half(pass, &outside, client, &mut back).await,
                // The server's side is done, so only the client can send.
                false => pending().await,
            }
        };
        tokio::select! {
            biased;
            said = hearing.as_mut() => {
                let said = said?;
                return Ok((said, Some(Begun { outside, back })));
            }
            flowed = flow => flowed?,
            () = sleep(pass.gate().idle()) => {}
        }
        // Nothing moved in this time.
        if open && !back.is_done() && back.stirs() == stirs {
            return Err(Some(pass.idle_refusal()));
        }
    }
}

/// Checks that a hello names the granted host, and hides no other name.
fn judge_tls(pass: &Pass, hello: &ClientHello) -> Result<(), (Refusal, Alert)> {
    let refuse = |refusal| Err((refusal, Alert::UnrecognizedName));
    let said = match &hello.server_name {
        None => None,
        Some(said) => match Name::parse(said) {
            // RFC 6066, 3: ASCII only. A server that cannot read another name uses its default host.
            Ok(_) if !said.is_ascii() => {
                let why = "the server name is not in ASCII".to_owned();
                return refuse(Refusal::MalformedName(why));
            }
            Ok(name) => Some(name),
            Err(why) => {
                let said = said.escape_ascii().to_string();
                let why = format!("the server name {said:.80} is not valid: {why}");
                return refuse(Refusal::MalformedName(why));
            }
        },
    };
    match (&pass.host, said) {
        (Host::Name(granted), Some(said)) if *granted == said => {}
        (Host::Name(_), Some(said)) => {
            let why = format!("the server name is {said}, which was not granted");
            return refuse(Refusal::OtherName(why));
        }
        (Host::Name(_), None) => {
            let why = "the TLS client sends no server name".to_owned();
            return refuse(Refusal::NoName(why));
        }
        (Host::Address(_), Some(said)) => {
            let policy = pass.gate().policy.now();
            let host = Host::Name(said);
            match policy.judge(&host, pass.port, Transport::Tcp) {
                Answer::Allow(_) => {}
                Answer::Ask => return refuse(Refusal::UnlistedName { host, rule: None }),
                Answer::Deny(why) => {
                    let rule = why.rule().cloned();
                    return refuse(Refusal::UnlistedName { host, rule });
                }
            }
            // The address's rules must not bypass the name's.
            if policy.tls_of(&host, pass.port) == Tls::Terminate {
                return refuse(Refusal::TerminatedName(host));
            }
            if let Err(why) = policy.judge_spoken(&host, pass.port, &Spoken::Tls) {
                let why = Box::new(why);
                return refuse(Refusal::Named { host, why });
            }
        }
        (Host::Address(_), None) => {}
    }
    if hello.encrypted == Encrypted::Maybe && pass.tls() == Tls::Forward {
        return Err((Refusal::EncryptedHello, Alert::AccessDenied));
    }
    pass.judge(&Spoken::Tls)
        .map_err(|refusal| (refusal, Alert::AccessDenied))
}

/// Dials unless that was done already, and relays.
async fn forward(pass: Pass, client: TcpStream, said: Said, begun: Option<Begun>) {
    let begun = match begun {
        Some(begun) => Ok(begun),
        None => pass.dial().await.map(|outside| Begun {
            outside,
            back: Half::new(Direction::In),
        }),
    };
    drop(said.held);
    let counted = pass.count(Direction::Out, said.bytes.len() as u64);
    let Begun { outside, back } = match begun.and_then(|begun| counted.map(|()| begun)) {
        Ok(begun) => begun,
        Err(refusal) => return refuse(&pass, client, &refusal),
    };
    let out = Half::holding(Direction::Out, said.bytes);
    if let Err(refusal) = splice::relay(&pass, client, outside, out, back).await {
        pass.refuse(&refusal);
    }
}

/// Records the refusal and resets the connection, so that the client fails at once.
fn refuse(pass: &Pass, client: TcpStream, refusal: &Refusal) {
    pass.refuse(refusal);
    reset(client);
}

/// Closes with a TLS alert. The client's further bytes stay unread, so a reset follows the alert.
fn refuse_tls(pass: &Pass, client: TcpStream, refusal: &Refusal, alert: Alert) {
    const FATAL: u8 = 2;
    pass.refuse(refusal);
    let _ = client.try_write(&[21, 3, 3, 0, 2, FATAL, alert as u8]);
    let _ = shutdown_write(&client);
}
