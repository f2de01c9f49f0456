# A FUSE server (fuse(4), linux/fuse.h): a directory with a file x, read-only, while a command runs.
import ctypes, os, struct, sys
point, owner, argv = sys.argv[1], sys.argv[2], sys.argv[3:]
dev = os.open('/dev/fuse', os.O_RDWR)
libc = ctypes.CDLL(None, use_errno=True)
options = f'fd={dev},rootmode=40000,group_id=0,{owner}'
assert libc.mount(b'none', point.encode(), b'fuse.test', 6, options.encode()) == 0, ctypes.get_errno()
server = os.fork()
if server == 0:
    def attr(node):
        mode, size = (0o40755, 0) if node == 1 else (0o100644, 3)
        return struct.pack('QQQQQQIIIIIIIIII', node, size, 0, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)
    while True:
        try: m = os.read(dev, 1 << 18)
        except OSError: os._exit(0)
        length, op, unique, node = struct.unpack_from('IIQQ', m)
        body, error = b'', 0
        if op == 26: body = struct.pack('IIIIHHIIHHIIHHIIII', 7, 31, 0, 0, 0, 0, 1 << 16, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)[:64]
        elif op == 3: body = struct.pack('QII', 1, 0, 0) + attr(node)
        elif op == 1:
            if m[40:].rstrip(b'\0') == b'x': body = struct.pack('QQQQII', 2, 0, 1, 1, 0, 0) + attr(2)
            else: error = -2
        elif op in (14, 27): body = struct.pack('QII', 0, 0, 0)
        elif op == 28:
            at = struct.unpack_from('Q', m, 48)[0]
            body = b'' if at else struct.pack('QQII', 2, 1, 1, 8) + b'x'.ljust(8, b'\0')
        elif op == 15: body = b'in\n' if struct.unpack_from('Q', m, 48)[0] == 0 else b''
        elif op in (18, 29, 25): pass
        elif op in (2, 42): continue
        else: error = -38
        os.write(dev, struct.pack('IiQ', 16 + len(body), error, unique) + body)
os.close(dev)
code = os.spawnvp(os.P_WAIT, argv[0], argv)
os.kill(server, 9); os.waitpid(server, 0)
sys.exit(code)
