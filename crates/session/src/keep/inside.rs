//! The keeper's answers to its own jail, whose processes ask with the client there: `creel what`.
//!
//! Every asker is taken for hostile. A request is one small message, an answer says no more than the jail's own
//! processes may know, and both are bounded in number, size and time.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{RecvFlags, SendFlags, SocketFlags, accept_with, recv, send};
use tokio::io::Interest;
use tokio::sync::Semaphore;

use super::session::Keeper;
use crate::exit;
use creel_jail::client::{Answer, arguments};
use creel_plan::{Act, card};
use creel_sys::{client::MOST, readiness};

/// Clients that are answered at once.
const AT_ONCE: usize = 4;
/// The time that a client has for its request and for reading its answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// The time from one client to the next: at most 50 are answered in a second, whatever the jail does.
const PACE: Duration = Duration::from_millis(20);

/// Answers clients for ever. Without a socket there are none: the policy grants the host's directory of that name.
pub(super) async fn accept(keeper: &Rc<Keeper>, socket: Option<OwnedFd>) -> Infallible {
    let Some(Ok(listener)) = socket.map(readiness::to_read) else {
        return std::future::pending().await;
    };
    let places = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            continue;
        };
        let one = listener.async_io(Interest::READABLE, |socket| {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            Ok(accept_with(socket, flags)?)
        });
        if let Ok(client) = one.await {
            // A client must not hold up the end of the session.
            let keeper = Rc::downgrade(keeper);
            tokio::task::spawn_local(async move {
                let _ = tokio::time::timeout(PATIENCE, serve(keeper, client)).await;
                drop(place);
            });
        }
        tokio::time::sleep(PACE).await;
    }
}

async fn serve(keeper: Weak<Keeper>, client: OwnedFd) -> io::Result<()> {
    let client = readiness::to_use(client)?;
    // One byte more: a longer message is none. Descriptors that come with it are closed by the kernel (unix(7)).
    let mut request = [0; MOST + 1];
    let read = client.async_io(Interest::READABLE, |socket| {
        Ok(recv(socket, &mut request[..], RecvFlags::DONTWAIT)?.1)
    });
    let length = read.await?;
    let answer = match (keeper.upgrade(), length) {
        (None, _) | (_, 0) => return Ok(()),
        (Some(keeper), length) => answer(&keeper, &request[..length.min(MOST)]),
    };
    for message in answer.messages() {
        let sent = client.async_io(Interest::WRITABLE, |socket| {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            Ok(send(socket, &message, flags)?)
        });
        sent.await?;
    }
    Ok(())
}

fn answer(keeper: &Keeper, request: &[u8]) -> Answer {
    let done = |out: String| Answer {
        out,
        err: String::new(),
        exit_status: 0,
    };
    let words = arguments(request);
    match words.as_deref() {
        Some([word]) if *word == b"what" => done(what(keeper)),
        Some([]) => done(HELP.into()),
        Some([word]) if HELPS.contains(word) => done(HELP.into()),
        _ => Answer {
            out: String::new(),
            err: "creel: a session has `creel what` alone, which says what its commands may do; sessions and \
                runs are made outside\n"
                .into(),
            exit_status: exit::OWN_FAILURE,
        },
    }
}

const HELPS: [&[u8]; 3] = [b"help", b"--help", b"-h"];
const HELP: &str = "Usage: creel what\n\n\
    Prints what the commands of this session may do: files, hosts and limits, as they are now, and how to get more.\n";

/// The card, and what has changed since it was written.
fn what(keeper: &Keeper) -> String {
    let card = keeper.plan.jail.build.iter().find_map(|act| match act {
        Act::File { path, contents, .. } if *path == *Path::new(card::CARD) => {
            Some(contents.clone())
        }
        _ => None,
    });
    let mut text = card.unwrap_or_default();
    let changed = keeper.net.changed(&keeper.declared.policy.network);
    if let Some(network) = changed {
        text +=
            "\nThe network has been changed since. Now in force, instead of the hosts above:\n\n";
        let mut line = |what: &str, rule: String| {
            let _ = writeln!(text, "- {what} {rule}");
        };
        for rule in network.lists.iter().flat_map(|list| &list.rules) {
            line("may be connected to:", rule.to_string());
        }
        for rule in &network.deny {
            line("refused:", rule.to_string());
        }
    }
    let _ = writeln!(
        text,
        "\nCommands that run in this session: {}.",
        keeper.running.borrow().len()
    );
    text
}
