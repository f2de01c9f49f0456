// A server outside: HTTP/1.1 and HTTP/2 over TLS, WebSocket and server-sent events.
//     node peer.mjs CERTIFICATE KEY PORT LOG
import { createHash } from 'node:crypto';
import { appendFileSync, readFileSync } from 'node:fs';
import { createSecureServer } from 'node:http2';

const [certificate, key, port, log] = process.argv.slice(2);
const server = createSecureServer({
  cert: readFileSync(certificate),
  key: readFileSync(key),
  allowHTTP1: true,
});

server.on('request', (request, response) => {
  const { method, url, headers, httpVersion } = request;
  appendFileSync(log, JSON.stringify({ method, url, headers, httpVersion }) + '\n');
  if (url === '/events') {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    let number = 0;
    const timer = setInterval(() => {
      response.write(`data: ${number}\n\n`);
      if (++number === 3) { clearInterval(timer); response.end(); }
    }, 50);
    return;
  }
  const hash = createHash('sha256');
  request.on('data', (bytes) => hash.update(bytes));
  request.on('end', () => {
    const sum = hash.digest('hex');
    response.end(JSON.stringify({ method, url, httpVersion, sum, headers }));
  });
});

// RFC 6455: every frame is sent back, until one that closes. Frames here are shorter than 64 KiB.
server.on('upgrade', (request, socket) => {
  const accept = createHash('sha1')
    .update(request.headers['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11')
    .digest('base64');
  socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
    `Sec-WebSocket-Accept: ${accept}\r\n\r\n`);
  let read = Buffer.alloc(0);
  socket.on('error', () => {});
  socket.on('data', (bytes) => {
    read = Buffer.concat([read, bytes]);
    for (;;) {
      if (read.length < 2) return;
      const long = (read[1] & 127) === 126;
      const start = long ? 4 : 2;
      if (read.length < start) return;
      const length = long ? read.readUInt16BE(2) : read[1] & 127;
      const end = start + 4 + length;
      if (read.length < end) return;
      const mask = read.subarray(start, start + 4);
      const data = Buffer.from(read.subarray(start + 4, end).map((byte, at) => byte ^ mask[at % 4]));
      const head = Buffer.from(read.subarray(0, start));
      head[1] &= 127;
      socket.write(Buffer.concat([head, data]));
      if ((head[0] & 15) === 8) return socket.end();
      read = read.subarray(end);
    }
  });
});

server.listen(Number(port), '0.0.0.0');
