//! One admitted connection, from its first bytes on: what is spoken is found out, judged, and carried.
//!
//! Nothing that the client says leaves before it is judged, and what was judged is what leaves, byte for
//! byte. TLS must say the name that was granted; requests go to [`http`](super::http); the rest is bytes,
//! where a rule grants that.
//!
//! ```text
//! a rule says `tcp`                 dial ── relay
//! TLS or HTTP alone is granted      hear ── judge ── dial ── relay
//! either side may speak first       hear and dial, the server's bytes flow ── judge ── relay
//! ```
//!
//! If a range was granted and the client dialled an address, no name is known to compare with: a
//! server name must then be granted itself, and may be missing. A hello with another one encrypted in it
//! is refused unless creel ends the TLS: then nothing of it is forwarded.

use std::future::pending;
use std::io::ErrorKind;
use std::pin::pin;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::first::{self, First};
use super::gate::{Direction, Pass, Refusal};
use super::hello::{Encrypted, Hello};
use super::http::{self, Scheme};
use super::lobby::Held;
use super::prefixed::Prefixed;
use super::splice::{self, Half, IDLE, reset};
use super::tls;
use creel_policy::net::judge::{Spoken, Transport};
use creel_policy::net::{Answer, Host, Name, Protocol, Tls};
use creel_sys::splice::shutdown_write;

/// How long a client may take from its first byte until it is clear what it speaks.
const CLEAR: Duration = Duration::from_secs(10);
/// A client that speaks first does so at once; only where it does not is the server dialled before
/// anything is known.
const GRACE: Duration = Duration::from_millis(2);

/// The side that may send first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Client,
    Either,
    /// Nobody looks at what is said.
    Unheard,
}

/// The client's bytes until its protocol is known.
struct Said {
    bytes: Vec<u8>,
    first: First,
    /// The budget of the bytes, as long as nobody else has them.
    held: Option<Held>,
}

/// A server that was dialled before the client spoke.
struct Begun {
    outside: TcpStream,
    back: Half,
}

/// Why nothing is carried: a refusal, or nobody is there any more.
type Ended = Option<Refusal>;

/// TLS alerts, always fatal (RFC 8446, 6).
#[derive(Debug, Clone, Copy)]
enum Alert {
    AccessDenied = 49,
    DecodeError = 50,
    UnrecognizedName = 112,
}

/// Carries the client's connection to its end. `early` was read from it already.
pub async fn carry(pass: Pass, client: TcpStream, early: Vec<u8>) {
    let _ = client.set_nodelay(true);
    pass.bound_inside(&client);
    let heard = match order(&pass) {
        Order::Unheard => {
            let first = First::Other;
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
            Err(_) => Err(Some(IDLE)),
        },
        Order::Either => either(&pass, &client, early).await,
    };
    let (said, begun) = match heard {
        Ok(heard) => heard,
        Err(Some(refusal)) => return refuse(&pass, client, &refusal),
        Err(None) => return,
    };
    match &said.first {
        First::Tls(hello) => match judge_tls(&pass, hello) {
            Ok(()) if pass.tls() == Tls::Terminate => {
                // It has the pass, and says itself what it refused.
                let _ = Box::pin(tls::serve(pass, client, said.bytes)).await;
            }
            Ok(()) => forward(pass, client, said, begun).await,
            Err((refusal, alert)) => refuse_tls(&pass, client, &refusal, alert),
        },
        First::Flawed(flaw) => {
            let refusal = Refusal::Spoken(format!("the TLS client's hello is refused: {flaw}"));
            refuse_tls(&pass, client, &refusal, Alert::DecodeError);
        }
        First::Http(version) => {
            let version = *version;
            if begun.is_some_and(|begun| begun.back.has_moved()) {
                let refusal = "a request on a connection where the server spoke first";
                return refuse(&pass, client, &Refusal::Spoken(refusal.into()));
            }
            let client = Prefixed::new(said.bytes, client);
            // Boxed: a connection that is only spliced need not have room for it.
            Box::pin(http::serve(pass, client, Scheme::Http, version)).await;
        }
        First::Other | First::More => match pass.judge(&Spoken::Other) {
            Ok(()) => forward(pass, client, said, begun).await,
            Err(refusal) => refuse(&pass, client, &refusal),
        },
    }
}

/// Whether the server must wait until the client spoke: where only TLS or HTTP is granted.
fn order(pass: &Pass) -> Order {
    let policy = &pass.gate().policy;
    if pass.tls() == Tls::Terminate {
        return Order::Client;
    }
    let known = matches!(pass.port, 80 | 443);
    let rules = match policy.judge(&pass.host, pass.port, Transport::Tcp) {
        Answer::Allow(rules) => rules,
        // Somebody was asked.
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

/// Reads until it is clear what the client speaks. `bytes` is empty where it said nothing and never
/// will.
async fn hear(pass: &Pass, client: &TcpStream, mut bytes: Vec<u8>) -> Result<Said, Ended> {
    let mut held = Held::new(pass.gate());
    // As long as it says nothing, no clock runs.
    if bytes.is_empty() && more(client, &mut held, &mut bytes).await? == 0 {
        let first = first::read_all(&bytes);
        let held = None;
        return Ok(Said { bytes, first, held });
    }
    let clear = async {
        loop {
            match first::read(&bytes) {
                First::More => {}
                first => return Ok(first),
            }
            if more(client, &mut held, &mut bytes).await? == 0 {
                return Ok::<First, Ended>(first::read_all(&bytes));
            }
        }
    };
    let first = match timeout(CLEAR, clear).await {
        Ok(first) => first?,
        Err(_) => {
            let refusal = "the client did not say within 10 seconds what it speaks; `protocol = \"tcp\"` \
                           in the rule carries what nobody looks at";
            return Err(Some(Refusal::Spoken(refusal.into())));
        }
    };
    let held = Some(held);
    Ok(Said { bytes, first, held })
}

/// Reads what the client says next, as soon as it does; 0 is its end.
async fn more(client: &TcpStream, held: &mut Held, bytes: &mut Vec<u8>) -> Result<usize, Ended> {
    held.reserve(bytes).map_err(Some)?;
    loop {
        // Ready need not mean that there is anything: an accepted socket is taken to be.
        client.readable().await.map_err(|_| None)?;
        match client.try_read_buf(bytes) {
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            read => return read.map_err(|_| None),
        }
    }
}

/// Dials while the client may still speak first, and lets through what the server says meanwhile.
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
            // The server may have seen this connection already, and is not to see another.
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
                // The client still sends its remaining bytes.
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
        // Nothing but time passed.
        if open && !back.is_done() && back.stirs() == stirs {
            return Err(Some(IDLE));
        }
    }
}

/// Whether a hello says the name that was granted, and hides no other.
fn judge_tls(pass: &Pass, hello: &Hello) -> Result<(), (Refusal, Alert)> {
    let refuse = |why: String, alert| Err((Refusal::Spoken(why), alert));
    let said = match &hello.server_name {
        None => None,
        Some(said) => match Name::parse(said) {
            // RFC 6066, 3. A server that reads no other takes its default host.
            Ok(_) if !said.is_ascii() => {
                return refuse(
                    "the server name is not in ASCII".into(),
                    Alert::UnrecognizedName,
                );
            }
            Ok(name) => Some(name),
            Err(why) => {
                let said = said.escape_ascii().to_string();
                let why = format!("the server name {said:.80} is none: {why}");
                return refuse(why, Alert::UnrecognizedName);
            }
        },
    };
    match (&pass.host, said) {
        (Host::Name(granted), Some(said)) if *granted == said => {}
        (Host::Name(_), Some(said)) => {
            let why = format!("the server name is {said}, which is not what was granted");
            return refuse(why, Alert::UnrecognizedName);
        }
        (Host::Name(_), None) => {
            return refuse(
                "the TLS client says no server name".into(),
                Alert::UnrecognizedName,
            );
        }
        (Host::Address(_), Some(said)) => {
            let policy = &pass.gate().policy;
            let host = Host::Name(said);
            if !matches!(
                policy.judge(&host, pass.port, Transport::Tcp),
                Answer::Allow(_)
            ) {
                let why = format!("the server name is {host}, which no rule allows");
                return refuse(why, Alert::UnrecognizedName);
            }
            // The address's rules must not undo what the name's ask for.
            if policy.tls_of(&host, pass.port) == Tls::Terminate {
                let why = format!(
                    "TLS to {host} is ended by creel, and here it was dialled by its address"
                );
                return refuse(why, Alert::UnrecognizedName);
            }
            if let Err(why) = policy.judge_spoken(&host, pass.port, &Spoken::Tls) {
                let why = format!("the server name is {host}: {why}");
                return refuse(why, Alert::UnrecognizedName);
            }
        }
        (Host::Address(_), None) => {}
    }
    if hello.encrypted == Encrypted::Maybe && pass.tls() == Tls::Forward {
        let why = "the hello may have another name encrypted in it (ECH): have the client not do so, or \
                   `tls = \"terminate\"` in the rule";
        return refuse(why.into(), Alert::AccessDenied);
    }
    pass.judge(&Spoken::Tls)
        .map_err(|refusal| (refusal, Alert::AccessDenied))
}

/// Dials where that was not done, and relays.
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

/// Closes so that the client fails at once.
fn refuse(pass: &Pass, client: TcpStream, refusal: &Refusal) {
    pass.refuse(refusal);
    reset(client);
}

/// Closes with a word that a TLS client understands. What it sent on is not read, which makes a reset
/// behind it.
fn refuse_tls(pass: &Pass, client: TcpStream, refusal: &Refusal, alert: Alert) {
    const FATAL: u8 = 2;
    pass.refuse(refusal);
    let _ = client.try_write(&[21, 3, 3, 0, 2, FATAL, alert as u8]);
    let _ = shutdown_write(&client);
}
