# Attempts by every way out of a jail, each with a line that says what happened:
#   dns: the response's code (3 is NXDOMAIN)
#   plain, tls: getaddrinfo's error, connect's or the connection's errno, or what follows
#   connect, absolute: the proxy's status; where it was 200, what follows
#   socks: the proxy's reply code; where it was 0, what follows
# What follows is the TLS alert, the errno, `EOF`, or the status of the HTTP response, with `proxy` where
# creel wrote it. Raw sockets only: no library mends what is odd, and no variable is heeded.
# ruff: noqa: E701, E702
import errno, json, socket, ssl, struct, sys, time

SERVICE, HTTP, SOCKS = '198.18.0.1', 3128, 1080


def name(code):
    return errno.errorcode.get(code, str(code))


class Said(Exception):
    pass


def raw(text):
    """Bytes as they are sent: UTF-8, and U+DC80.. for what is none."""
    return text.encode('utf-8', 'surrogateescape')


def exactly(s, length):
    """So many bytes, or fewer where the end comes first."""
    data = b''
    while len(data) < length:
        more = s.recv(length - len(data))
        if not more: break
        data += more
    return data


def head(s):
    data = b''
    while b'\r\n\r\n' not in data:
        more = s.recv(4096)
        if not more: raise Said('EOF')
        data += more
    return data


def status(s):
    """Of one response; its reason and body must agree where it is creel's own."""
    data = head(s)
    code = data.split(b' ')[1].decode()
    fields, body = data.split(b'\r\n\r\n', 1)
    why = [f.split(b': ', 1)[1] for f in fields.split(b'\r\n') if f.lower().startswith(b'x-creel-denied:')]
    if not why: return code
    while len(body) < len(why[0]) + 8:
        more = s.recv(4096)
        if not more: break
        body += more
    if body != b'creel: ' + why[0] + b'\n': return code + ' without its reason'
    print('why:', why[0].decode(), file=sys.stderr)
    return code + ' creel'


def request(host, path, port=80, form='path', method='GET'):
    host = raw(host)
    target = raw(path)
    if form == 'url': target = b'http://' + host + (b'' if port == 80 else b':%d' % port) + target
    return b'%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n' % (raw(method), target, host)


def hello(a):
    """A ClientHello of OpenSSL's, with another server name and further extensions, in records so long."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False; context.verify_mode = ssl.CERT_NONE
    out = ssl.MemoryBIO()
    session = context.wrap_bio(ssl.MemoryBIO(), out)
    try: session.do_handshake()
    except ssl.SSLWantReadError: pass
    body = out.read()[9:]
    at = 34; at += 1 + body[at]
    at += 2 + struct.unpack('>H', body[at:at + 2])[0]
    at += 1 + body[at]
    rest, extensions = body[at + 2:], b''
    for sni in a.get('names', [a['sni']] if a.get('sni') is not None else []):
        entry = b'\0' + struct.pack('>H', len(raw(sni))) + raw(sni)
        block = struct.pack('>H', len(entry)) + entry
        extensions += struct.pack('>HH', 0, len(block)) + block
    if a.get('ech'):
        # A client without a key: HKDF-SHA256, AES-128-GCM, and noise.
        noise = b'\0\0\1\0\1\7' + b'\0\x20' + bytes(32) + b'\0\x90' + bytes(144)
        extensions += struct.pack('>HH', 0xfe0d, len(noise)) + noise
    extensions += rest
    body = body[:at] + struct.pack('>H', len(extensions)) + extensions
    message = b'\1' + struct.pack('>I', len(body))[1:] + body
    size = a.get('record', 16384)
    parts = [message[i:i + size] for i in range(0, len(message), size)]
    return b''.join(b'\x16\3\1' + struct.pack('>H', len(p)) + p for p in parts)


def by_hand(s, a):
    """Says a hello made by hand: an alert of creel's, or the beginning of a server's answer."""
    for byte in [hello(a)] if not a.get('split') else [bytes([b]) for b in hello(a)]: s.sendall(byte)
    data = exactly(s, 7)
    if len(data) < 7: raise Said('EOF')
    return {21: 'alert %d' % data[6], 22: 'server hello'}.get(data[0], 'no TLS')


def talk(s, a, port):
    """What follows on a connection: TLS where the port says so, and a request."""
    said = a.get('host_field', a.get('sni') or a['host'])
    if a.get('hello'): return by_hand(s, a)
    if port == 443 and not a.get('clear') or a.get('tls'):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False; context.verify_mode = ssl.CERT_NONE
        sni = a['host'].rstrip('.')
        try: s = context.wrap_socket(s, server_hostname=None if is_address(sni) else sni)
        except ssl.SSLEOFError: raise Said('EOF')
        except ssl.SSLError as e:
            raise Said('alert ' + {'TLSV1_UNRECOGNIZED_NAME': '112'}.get(e.reason, e.reason))
    s.sendall(request(said, a.get('path', '/'), port, method=a.get('method', 'GET')))
    return status(s)


def is_address(text):
    if text.startswith('['): return True
    try: return bool(socket.inet_aton(text))
    except (OSError, UnicodeError): return False


def to(address, port):
    s = socket.socket(socket.AF_INET6 if ':' in address else socket.AF_INET)
    s.settimeout(8)
    s.connect((address, port))
    return s


def dns(a):
    labels = b''.join(bytes([len(l) & 255]) + l for l in raw(a['host']).rstrip(b'.').split(b'.'))
    kind = {'A': 1, 'AAAA': 28, 'TXT': 16, 'HTTPS': 65}[a.get('type', 'A')]
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(8)
    s.connect((a.get('server', '203.0.113.53'), 53))
    s.send(struct.pack('>6H', 7, 0x100, 1, 0, 0, 0) + labels + b'\0' + struct.pack('>2H', kind, 1))
    return str(s.recv(4096)[3] & 15)


def direct(a, port):
    host = a.get('at', a['host']).strip('[]')
    try: found = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)
    except socket.gaierror as e:
        names = {v: k for k, v in vars(socket).items() if k.startswith('EAI_')}
        raise Said(names.get(e.errno, str(e.errno)))
    except (UnicodeError, ValueError): raise Said('unsaid')
    return talk(to(found[0][4][0], port), a, port)


def connect(a):
    s, port = to(SERVICE, HTTP), a.get('port', 443)
    s.sendall(b'CONNECT %s:%d HTTP/1.1\r\nHost: %s:%d\r\n\r\n' % (raw(a['host']), port, raw(a['host']), port))
    # Only its own head is read: what follows it is the tunnel's.
    data = exactly(s, 39)
    if data == b'HTTP/1.1 200 Connection established\r\n\r\n': return talk(s, a, port)
    class Again:
        def recv(self, n):
            nonlocal data
            given, data = data, b''
            return given or s.recv(n)
    return status(Again())


def absolute(a):
    s = to(SERVICE, HTTP)
    sent = request(a['host'], a.get('path', '/'), a.get('port', 80), 'url', a.get('method', 'GET'))
    if 'host_field' in a: sent = sent.replace(b'Host: ' + raw(a['host']), b'Host: ' + raw(a['host_field']))
    s.sendall(sent)
    return status(s)


def socks(a):
    s, host, port = to(SERVICE, SOCKS), a['host'], a.get('port', 443)
    s.sendall(b'\5\1\0')
    if exactly(s, 2) != b'\5\0': raise Said('no greeting')
    where = b'\3' + bytes([len(raw(host)) & 255]) + raw(host)
    for family, kind in ((socket.AF_INET, b'\1'), (socket.AF_INET6, b'\4')):
        try: where = kind + socket.inet_pton(family, host.strip('[]'))
        except (OSError, ValueError): pass
    s.sendall(b'\5\1\0' + where + struct.pack('>H', port))
    reply = exactly(s, 10)
    if not reply: raise Said('EOF')
    if reply[1]: return str(reply[1])
    return talk(s, a, port)


WAYS = {
    'dns': dns,
    'plain': lambda a: direct(a, a.get('port', 80)),
    'tls': lambda a: direct(a, a.get('port', 443)),
    'connect': connect, 'absolute': absolute, 'socks': socks,
}


def attempt(a):
    start = time.monotonic()
    try: said = WAYS[a['way']](a)
    except Said as e: said = str(e)
    except socket.timeout: said = 'silence'
    except ssl.SSLError as e: said = 'TLS: %s' % e.reason
    except OSError as e: said = name(e.errno)
    slow = ' SLOW' if time.monotonic() - start > 4 else ''
    print(a['way'] + ': ' + said + slow, flush=True)


for one in json.loads(ATTEMPTS): attempt(one)  # noqa: F821
