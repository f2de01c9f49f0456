//! E8: below the proxies and the resolver, with nothing in the environment.

use super::super::Jail;
use super::REACHED;
use super::by_every_way;
use crate::support::Who;

each!(e8_raw_sockets_datagrams_and_other_ports_go_nowhere_at_once);
fn e8_raw_sockets_datagrams_and_other_ports_go_nowhere_at_once(who: Who) {
    let Some(jail) = Jail::new(who, "mode = \"allowlist\"\nallow = [\"web.test\"]") else {
        return;
    };
    let script = r#"
import os, socket, errno, time
def attempt(what, act):
    start = time.time()
    try:
        act(); print(what, 'REACHED')
    except OSError as e:
        slow = ' SLOW' if time.time() - start > 1 else ''
        print(what, errno.errorcode.get(e.errno, e) + slow)
def tcp(port, address='93.184.216.34', family=socket.AF_INET):
    s = socket.socket(family); s.settimeout(5); s.connect((address, port))
def udp(port, address='93.184.216.34', family=socket.AF_INET):
    s = socket.socket(family, socket.SOCK_DGRAM); s.settimeout(5)
    s.connect((address, port)); s.send(b'x'); s.recv(10)
os.environ.clear()
six = ('2001:db8::1', socket.AF_INET6)
granted = socket.getaddrinfo('web.test', 443)[0][4][0]
attempt('ssh', lambda: tcp(22))
attempt('ssh6', lambda: tcp(22, *six))
attempt('granted name, other port', lambda: tcp(22, '198.18.1.0'))
attempt('quic', lambda: udp(443))
attempt('quic6', lambda: udp(443, *six))
attempt('quic to the granted name', lambda: udp(443, '198.18.1.0'))
attempt('ntp', lambda: udp(123))
attempt('raw', lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
attempt('raw6', lambda: socket.socket(socket.AF_INET6, socket.SOCK_RAW, 58))
attempt('packet', lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 3))
attempt('ping', lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 1).sendto(b'\x08\0\xf7\xff\0\0\0\0', ('93.184.216.34', 0)))
attempt('sctp', lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM, 132))
attempt('vsock', lambda: socket.socket(40, socket.SOCK_STREAM))
attempt('netlink route', lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12))
"#;
    let before = jail.outside.packets();
    let ran = jail.python(script).ok();
    assert_eq!(
        ran.stdout,
        "ssh ECONNREFUSED\n\
         ssh6 ECONNREFUSED\n\
         granted name, other port ECONNREFUSED\n\
         quic ECONNREFUSED\n\
         quic6 ECONNREFUSED\n\
         quic to the granted name ECONNREFUSED\n\
         ntp ECONNREFUSED\n\
         raw EPERM\n\
         raw6 EPERM\n\
         packet EAFNOSUPPORT\n\
         ping EACCES\n\
         sctp EINVAL\n\
         vsock EAFNOSUPPORT\n\
         netlink route EAFNOSUPPORT\n",
        "{who:?}: {ran:#?}"
    );
    assert_eq!(jail.outside.packets() - before, 0, "{who:?}: {ran:#?}");
    assert_eq!(jail.outside.questions(), Vec::<String>::new(), "{who:?}");
    jail.holds(&by_every_way("web.test", REACHED));
}
