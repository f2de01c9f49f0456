//! A stand-in for systemd's user manager on a bus: it serves the one call that creel makes, with the
//! answer that the test chooses. `examples/user-manager.rs` makes a program of it.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use creel_sys::bus::Bus;
use zbus::message::{Message, Type};
use zbus::zvariant::{ObjectPath, OwnedValue};

const PATH: &str = "/org/freedesktop/systemd1";
const INTERFACE: &str = "org.freedesktop.systemd1.Manager";

/// The arguments of a `StartTransientUnit` call.
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

/// The manager's answer to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The job ends with this result, such as `done` or `failed`.
    Job(&'static str),
    /// An error with this text.
    Refusal(&'static str),
    /// A job that does not end.
    Never,
}

/// Called before the job ends.
pub type Act = Box<dyn Fn(&Call) + Send>;

/// Starts a manager on the bus and returns its calls. It has its name when this returns, and ends with the bus.
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

/// Serves one message; `None` when the bus is gone.
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
    // The test may have dropped the receiver.
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
    // First the end of another job, then after a while that of this one.
    bus.send(&ended(6, "canceled")).ok()?;
    bus.send(&reply.expect("a reply")).ok()?;
    if let Answer::Job(result) = answer {
        std::thread::sleep(Duration::from_millis(20));
        bus.send(&ended(7, result)).ok()?;
    }
    Some(())
}
