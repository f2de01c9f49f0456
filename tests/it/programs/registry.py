"""Registries of one package, greet 1.0.0, for cargo, npm, pip, maven, go and gradle. Prints its port."""
import base64, hashlib, http.server, io, json, tarfile, zipfile


def tar(files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            # Some crates ship files that others may not read.
            info.size, info.mode = len(text), 0o640
            archive.addfile(info, io.BytesIO(text.encode()))
    return out.getvalue()


def zipped(files):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return out.getvalue()


CRATE = tar({
    "greet-1.0.0/Cargo.toml": '[package]\nname = "greet"\nversion = "1.0.0"\nedition = "2021"\n',
    "greet-1.0.0/src/lib.rs": 'pub fn greet() -> &\'static str { "hello" }\n',
})
NPM = tar({
    "package/package.json": '{"name": "greet", "version": "1.0.0"}',
    "package/index.js": 'module.exports = "hello"',
})
INFO = "greet-1.0.0.dist-info"
WHEEL = zipped({
    "greet.py": "def greet(): return 'hello'\n",
    f"{INFO}/METADATA": "Metadata-Version: 2.1\nName: greet\nVersion: 1.0.0\n",
    f"{INFO}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    f"{INFO}/RECORD": "",
})
POM = (
    "<project><modelVersion>4.0.0</modelVersion><groupId>test</groupId><artifactId>greet</artifactId>"
    "<version>1.0.0</version><packaging>pom</packaging></project>"
).encode()

JAR = zipped({"META-INF/MANIFEST.MF": "Manifest-Version: 1.0\n"})
MODULE = "greet.test/greet"
MOD = f"module {MODULE}\n"
GO = zipped({
    f"{MODULE}@v1.0.0/go.mod": MOD,
    f"{MODULE}@v1.0.0/greet.go": 'package greet\n\nfunc Greet() string { return "hello" }\n',
})


def files(base):
    index = {"name": "greet", "vers": "1.0.0", "deps": [], "features": {}, "yanked": False,
             "cksum": hashlib.sha256(CRATE).hexdigest()}
    sha = base64.b64encode(hashlib.sha512(NPM).digest()).decode()
    npm = {"name": "greet", "version": "1.0.0",
           "dist": {"tarball": f"{base}/npm/greet.tgz", "integrity": f"sha512-{sha}"}}
    all_npm = {"name": "greet", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": npm}}
    java = "/maven/test/greet/1.0.0/greet-1.0.0"
    go = f"/go/{MODULE}/@v/v1.0.0"
    return {
        "/index/config.json": json.dumps({"dl": f"{base}/dl"}).encode(),
        "/index/gr/ee/greet": json.dumps(index).encode() + b"\n",
        "/dl/greet/1.0.0/download": CRATE,
        "/npm/greet": json.dumps(all_npm).encode(),
        "/npm/greet.tgz": NPM,
        "/simple/greet/": b'<a href="/greet-1.0.0-py3-none-any.whl">greet-1.0.0-py3-none-any.whl</a>',
        "/greet-1.0.0-py3-none-any.whl": WHEEL,
        f"{java}.pom": POM,
        f"{java}.pom.sha1": hashlib.sha1(POM).hexdigest().encode(),
        f"{java}.jar": JAR,
        f"{go}.info": json.dumps({"Version": "v1.0.0"}).encode(),
        f"{go}.mod": MOD.encode(),
        f"{go}.zip": GO,
    }


class Registry(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = files("http://" + self.headers["Host"]).get(self.path.split("?")[0])
        self.send_response(404 if body is None else 200)
        self.send_header("Content-Type", "text/html" if self.path.startswith("/simple") else "application/octet-stream")
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body or b"")

    # gradle asks first whether a file is there.
    do_HEAD = do_GET

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Registry)
print(server.server_port, flush=True)
server.serve_forever()
