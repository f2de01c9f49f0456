//! D-Bus over a unix socket, one message after another on the caller's own thread (D-Bus
//! Specification 0.43).
//!
//! zbus encodes and decodes the messages. Its connections are not used, because each starts threads, and only
//! a process with one thread may make jails. The rest of a connection is here: three lines of SASL, the
//! length of each message, and a deadline.

use std::io::{self, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use zbus::message::Message;
use zbus::zvariant::Endian;
use zbus::zvariant::serialized::{Context, Data};

/// The most bytes of a message; no answer of systemd's is this long.
const LONGEST: usize = 1 << 20;
/// Bytes in the fixed part of a message.
const HEADER: usize = 16;

/// The socket of a bus, and the deadline for its answers.
pub struct Bus {
    socket: UnixStream,
    deadline: Instant,
}

/// The address of the user's bus, as sd_bus_open_user(3) finds it; `None` where there is no socket.
pub fn find() -> Option<String> {
    if let Some(named) = std::env::var_os("DBUS_SESSION_BUS_ADDRESS") {
        return named.into_string().ok().filter(|text| !text.is_empty());
    }
    let runtime = std::env::var_os("XDG_RUNTIME_DIR")
        .map(PathBuf::from)
        .unwrap_or_else(|| format!("/run/user/{}", super::host::ids().0).into());
    let path = runtime.join("bus");
    // No runtime directory has a path with characters that an address must escape.
    let text = path.to_str().filter(|text| text.bytes().all(is_plain))?;
    path.exists().then(|| format!("unix:path={text}"))
}

impl Bus {
    /// Connects to the first of the addresses that works (`unix:path=/run/user/1000/bus`).
    pub fn connect(addresses: &str, patience: Duration) -> io::Result<Bus> {
        let mut failed = io::Error::from(io::ErrorKind::Unsupported);
        for address in addresses.split(';').filter_map(parse) {
            match address.and_then(|address| connect(&address)) {
                Ok(socket) => return Ok(Bus::over(socket, patience)),
                Err(e) => failed = e,
            }
        }
        Err(failed)
    }

    /// Uses a socket that is connected already.
    pub fn over(socket: UnixStream, patience: Duration) -> Bus {
        Bus {
            socket,
            deadline: Instant::now() + patience,
        }
    }

    /// Authenticates by user id, which the peer checks with the kernel (SASL EXTERNAL).
    pub fn authenticate(&mut self) -> io::Result<()> {
        let uid = rustix::process::geteuid().as_raw().to_string();
        let hex: String = uid.bytes().map(|digit| format!("{digit:02x}")).collect();
        self.write(format!("\0AUTH EXTERNAL {hex}\r\n").as_bytes())?;
        let mut line = vec![];
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            self.read(&mut byte)?;
            line.push(byte[0]);
            if line.len() > LONGEST {
                return Err(garbage());
            }
        }
        if !line.starts_with(b"OK ") {
            return Err(match line.starts_with(b"REJECTED") {
                true => io::ErrorKind::PermissionDenied.into(),
                false => garbage(),
            });
        }
        self.write(b"BEGIN\r\n")
    }

    /// Sends a whole message before the deadline.
    pub fn send(&mut self, message: &Message) -> io::Result<()> {
        self.write(message.data())
    }

    /// Receives the next message of any kind; `InvalidData` if the bytes are no message.
    pub fn receive(&mut self) -> io::Result<Message> {
        let mut bytes = vec![0; HEADER];
        self.read(&mut bytes)?;
        let (endian, number): (_, fn([u8; 4]) -> u32) = match bytes[0] {
            b'l' => (Endian::Little, u32::from_le_bytes),
            b'B' => (Endian::Big, u32::from_be_bytes),
            _ => return Err(garbage()),
        };
        let at = |at: usize| number([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let (body, fields) = (at(4) as usize, at(12) as usize);
        let length = HEADER + fields.next_multiple_of(8) + body;
        if length > LONGEST {
            return Err(garbage());
        }
        bytes.resize(length, 0);
        self.read(&mut bytes[HEADER..])?;
        let data = Data::new(bytes, Context::new_dbus(endian, 0));
        // SAFETY: the contract warns of a wrong encoding. The lengths were compared above, so every part lies
        // within the bytes, and zvariant checks each part as it reads it.
        unsafe { Message::from_bytes(data) }.map_err(|_| garbage())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.set_write_timeout(Some(self.left()?))?;
        self.socket.write_all(bytes)
    }

    /// Fills `bytes` before the deadline, which a slow peer does not extend.
    fn read(&mut self, mut bytes: &mut [u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            self.socket.set_read_timeout(Some(self.left()?))?;
            match self.socket.read(bytes) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(length) => bytes = &mut bytes[length..],
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn left(&self) -> io::Result<Duration> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        match left.is_zero() {
            true => Err(io::ErrorKind::TimedOut.into()),
            false => Ok(left),
        }
    }
}

fn garbage() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

/// Parses one address; `None` if it is not a unix socket's.
fn parse(address: &str) -> Option<io::Result<SocketAddr>> {
    address.strip_prefix("unix:")?.split(',').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        match key {
            "path" => Some(SocketAddr::from_pathname(PathBuf::from(
                std::ffi::OsString::from_vec(unescape(value)),
            ))),
            "abstract" => Some(SocketAddr::from_abstract_name(unescape(value))),
            _ => None,
        }
    })
}

/// `%20` is a space ("Server Addresses").
fn unescape(text: &str) -> Vec<u8> {
    let mut plain = vec![];
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..2).filter(|_| *first == b'%');
        let code = code.and_then(|c| u8::from_str_radix(std::str::from_utf8(c).ok()?, 16).ok());
        plain.push(code.unwrap_or(*first));
        rest = if code.is_some() { &after[2..] } else { after };
    }
    plain
}

/// Whether an address may have the byte unescaped.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_/.\\*".contains(&byte)
}

/// connect(2) without waiting; `EAGAIN` if the peer has no room for another connection.
fn connect(address: &SocketAddr) -> io::Result<UnixStream> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    let address = match (address.as_pathname(), address.as_abstract_name()) {
        (Some(path), _) => rustix::net::SocketAddrUnix::new(path)?,
        (_, Some(name)) => rustix::net::SocketAddrUnix::new_abstract_name(name)?,
        _ => return Err(io::ErrorKind::InvalidInput.into()),
    };
    rustix::net::connect(&socket, &address)?;
    let socket = UnixStream::from(socket);
    socket.set_nonblocking(false)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_paths_or_abstract_names() {
        let path = |text: &str| {
            let address = parse(text)?.ok()?;
            address.as_pathname().map(|p| p.display().to_string())
        };
        assert_eq!(
            path("unix:path=/run/user/1000/bus,guid=0a1b").as_deref(),
            Some("/run/user/1000/bus")
        );
        assert_eq!(
            path("unix:guid=0a1b,path=/tmp/a%20b%2fc").as_deref(),
            Some("/tmp/a b/c")
        );
        let address = parse("unix:abstract=/tmp/dbus-x")
            .expect("one")
            .expect("good");
        assert_eq!(address.as_abstract_name(), Some(b"/tmp/dbus-x".as_slice()));
        for other in [
            "tcp:host=localhost,port=1",
            "unix:runtime=yes",
            "",
            "path=/x",
        ] {
            assert!(parse(other).is_none(), "{other}");
        }
    }

    #[test]
    fn a_bus_that_is_not_there_is_an_error_at_once() {
        let wait = Duration::from_secs(1);
        let missing = Bus::connect("unix:path=/no/such/bus", wait).err();
        assert_eq!(missing.map(|e| e.kind()), Some(io::ErrorKind::NotFound));
        let other = Bus::connect("tcp:host=localhost,port=1", wait).err();
        assert_eq!(other.map(|e| e.kind()), Some(io::ErrorKind::Unsupported));
    }
}
