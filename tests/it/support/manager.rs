//! A stand-in for systemd's user manager on a bus: it takes the one call that creel makes, and
//! answers as it is told. `examples/user-manager.rs` is a program of it.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use creel_sys::bus::Bus;
use zbus::message::{Message, Type};
use zbus::zvariant::{ObjectPath, OwnedValue};

const PATH: &str = "/org/freedesktop/systemd1";
const INTERFACE: &str = "org.freedesktop.systemd1.Manager";

/// `StartTransientUnit` as it was called.
#[derive(Debug)]
pub struct Call {
    pub name: String,
    pub mode: String,
    pub properties: BTreeMap<String, OwnedValue>,
    pub auxiliary: usize,
}

/// The body of that call, `ssa(sv)a(sa(sv))`.
type Body = (
    String,
    String,
    Vec<(String, OwnedValue)>,
    Vec<(String, Vec<(String, OwnedValue)>)>,
);

/// What the manager does with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The job ends so: `done`, `failed`.
    Job(&'static str),
    /// An error with these words.
    Refusal(&'static str),
    /// A job that does not end.
    Never,
}

/// What is done before the job ends.
pub type Act = Box<dyn Fn(&Call) + Send>;

/// Starts a manager on the bus, which is there when this returns and ends with the bus.
pub fn start(address: &str, answer: Answer, act: Act) -> Receiver<Call> {
    let mut bus = Bus::connect(address, Duration::from_secs(3600)).expect("a bus");
    bus.authenticate().expect("taken in");
    let dbus = |method, body: &(&str, u32)| {
        let call = Message::method_call("/org/freedesktop/DBus", method)?
            .destination("org.freedesktop.DBus")?
            .interface("org.freedesktop.DBus")?;
        match method {
            "Hello" => call.build(&()),
            _ => call.build(body),
        }
    };
    for method in ["Hello", "RequestName"] {
        let call = dbus(method, &("org.freedesktop.systemd1", 4)).expect("a call");
        bus.send(&call).expect("sent");
        loop {
            let answer = bus.receive().expect("an answer");
            assert_ne!(answer.message_type(), Type::Error, "{method}: {answer:?}");
            if answer.message_type() == Type::MethodReturn {
                break;
            }
        }
    }
    let (sender, calls) = channel();
    std::thread::spawn(move || while serve(&mut bus, answer, &act, &sender).is_some() {});
    calls
}

/// Takes one message; `None` when the bus has gone.
fn serve(bus: &mut Bus, answer: Answer, act: &Act, calls: &Sender<Call>) -> Option<()> {
    let message = bus.receive().ok()?;
    let header = message.header();
    if header
        .member()
        .is_none_or(|name| name != "StartTransientUnit")
    {
        return Some(());
    }
    assert_eq!(header.path().map(ObjectPath::as_str), Some(PATH));
    assert_eq!(
        header.interface().map(|name| name.as_str()),
        Some(INTERFACE)
    );
    let (name, mode, properties, auxiliary): Body = message.body().deserialize().expect("a body");
    let call = Call {
        name: name.clone(),
        mode,
        properties: properties.into_iter().collect(),
        auxiliary: auxiliary.len(),
    };
    if let Answer::Refusal(words) = answer {
        let error = "org.freedesktop.DBus.Error.AccessDenied";
        let error = Message::error(&header, error).and_then(|error| error.build(&words));
        return bus.send(&error.expect("an error")).ok();
    }
    act(&call);
    // A test that has what it wanted no longer listens.
    let _ = calls.send(call);
    let job = |number: u32| {
        let path = format!("/org/freedesktop/systemd1/job/{number}");
        ObjectPath::try_from(path).expect("a path")
    };
    let reply = Message::method_return(&header).and_then(|reply| reply.build(&job(7)));
    let ended = |number, result: &str| {
        Message::signal(PATH, INTERFACE, "JobRemoved")
            .and_then(|signal| signal.build(&(number, job(number), &name, result)))
            .expect("a signal")
    };
    // Somebody else's job, and one's own only after a while.
    bus.send(&ended(6, "canceled")).ok()?;
    bus.send(&reply.expect("a reply")).ok()?;
    if let Answer::Job(result) = answer {
        std::thread::sleep(Duration::from_millis(20));
        bus.send(&ended(7, result)).ok()?;
    }
    Some(())
}
