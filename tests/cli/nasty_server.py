"""An HTTP server on loopback that behaves as badly as it is told to, and remembers what it was asked.

The first part of a path names the behaviour, and the last the file: /drop/owner/repo/resolve/main/f.
Files are bytes in `files`; behaviours are the methods go_NAME of the handler.
"""
import base64
import hashlib
import random
import socket
import ssl
import subprocess
import threading
import time
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 0

    def log_message(self, *args):
        pass

    def do_GET(self):
        path = self.path
        self.proxied = path.startswith("http://")
        if self.proxied:
            path = "/" + path.split("/", 3)[3]
        parts = path.split("?")[0].strip("/").split("/")
        self.mode, self.name = parts[0], parts[-1]
        s = self.server.owner
        with s.lock:
            s.log.append({"path": self.path, "mode": self.mode, "range": self.headers.get("Range"),
                          "if_range": self.headers.get("If-Range"), "proxied": self.proxied,
                          "token": self.headers.get("Authorization"),
                          "agent": self.headers.get("User-Agent")})
            self.turn = s.turns[self.mode] = s.turns.get(self.mode, 0) + 1
            self.data, self.etag = s.files.get(self.name, (None, None))
        try:
            if self.data is None:
                return self.plain(404, b"no such file")
            getattr(self, "go_" + self.mode.replace("-", "_"))()
        except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
            self.close_connection = True

    def do_CONNECT(self):
        s = self.server.owner
        s.log.append({"path": self.path, "mode": "connect", "proxied": True})
        basic = base64.b64encode((s.password or "").encode()).decode()
        if s.password and self.headers.get("Proxy-Authorization") != f"Basic {basic}":
            self.close_connection = True
            return self.plain(407, b"who are you", [("Proxy-Authenticate", 'Basic realm="x"')])
        host, port = self.path.rsplit(":", 1)
        with socket.create_connection((s.connect_to or host, int(port))) as there:
            self.send_response(200)
            self.end_headers()
            pump(self.connection, there)
        self.close_connection = True

    # ---- the parts of an answer

    def range(self):
        """(first, last) of what is asked for, or None for all."""
        want = self.headers.get("Range")
        if not want or (self.headers.get("If-Range") not in (None, self.etag)):
            return None
        first, last = want[len("bytes="):].split("-")
        return int(first), min(int(last), len(self.data) - 1)

    def head(self, status, length, more=()):
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for key, value in more:
            self.send_header(key, value)
        self.end_headers()

    def plain(self, status, body=b"", more=()):
        self.head(status, len(body), more)
        self.wfile.write(body)

    def cut(self):
        """Ends the connection as a broken line would."""
        self.close_connection = True
        try:
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def partial(self, first, last, length=None, total=None, shift=0, body=None):
        body = self.data[first:last + 1] if body is None else body
        self.head(206, len(body) if length is None else length,
                  [("Content-Range", f"bytes {first + shift}-{last + shift}/{total or len(self.data)}"),
                   ("ETag", self.etag)])
        return body

    # ---- behaviours

    def go_good(self, pace=None):
        r = self.range()
        if r is None:
            self.head(200, len(self.data), [("ETag", self.etag), ("Accept-Ranges", "bytes")])
            body = self.data
        elif r[0] > r[1]:
            return self.plain(416, b"", [("Content-Range", f"bytes */{len(self.data)}")])
        else:
            body = self.partial(*r)
        if pace:
            for at in range(0, len(body), 16384):
                self.wfile.write(body[at:at + 16384])
                self.server.owner.sent += len(body[at:at + 16384])
                time.sleep(pace)
        else:
            self.wfile.write(body)

    def go_slow(self):
        self.go_good(pace=0.004)

    def go_held(self):
        """Half of each part, and the rest once the gate opens."""
        body = self.partial(*self.range())
        half = (len(body) + 1) // 2
        self.wfile.write(body[:half])
        self.server.owner.gate.wait(300 if half < len(body) else 0)
        self.wfile.write(body[half:])

    def go_no_ranges(self):
        self.head(200, len(self.data), [("ETag", self.etag)])
        self.wfile.write(self.data)

    def go_no_ranges_slow(self):
        self.head(200, len(self.data), [("ETag", self.etag)])
        for at in range(0, len(self.data), 65536):
            self.wfile.write(self.data[at:at + 65536])
            time.sleep(0.02)

    def go_no_ranges_drop(self):
        self.head(200, len(self.data), [("ETag", self.etag)])
        self.wfile.write(self.data[:len(self.data) // 2] if self.turn < 4 else self.data)
        if self.turn < 4:
            self.cut()

    def go_chunked(self):
        self.head(200, None, [("Transfer-Encoding", "chunked")])
        for at in range(0, len(self.data), 100000):
            body = self.data[at:at + 100000]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(body), body))
        self.wfile.write(b"0\r\n\r\n")

    def go_endless(self):
        """Never says how much there is, and never stops: whoever listens fills a disk."""
        self.head(200, None, [("Connection", "close")])
        self.wfile.write(self.data)
        self.pour()

    def go_endless_page(self):
        self.head(302, None, [("Location", "/good/" + self.name), ("Connection", "close")])
        self.pour()

    def pour(self):
        for _ in range(64):  # 64 MiB: far more than anybody should take
            self.wfile.write(bytes(1 << 20))
        self.cut()

    def go_no_versions(self):
        r = self.range()
        if r is None:
            return self.plain(200, self.data)
        body = self.data[r[0]:r[1] + 1]
        self.plain(206, body, [("Content-Range", f"bytes {r[0]}-{r[1]}/{len(self.data)}")])

    def go_drop(self):
        body = self.partial(*self.range())
        n = random.randrange(70000, 200000)
        self.wfile.write(body[:n])
        if n < len(body):
            self.cut()

    def go_stall(self):
        body = self.partial(*self.range())
        if self.turn not in (4, 7):
            self.wfile.write(body)
        else:
            self.wfile.write(body[:len(body) // 2])
            time.sleep(4)
            self.cut()

    def go_drip(self):
        body = self.partial(*self.range())
        for i in range(40):
            self.wfile.write(body[i:i + 1])
            time.sleep(0.2)
        self.cut()

    def go_mute(self):
        time.sleep(6)
        self.cut()

    def go_short(self):
        """Says more bytes than it sends."""
        body = self.partial(*self.range(), length=None if self.turn == 1 else 10**7)
        self.wfile.write(body[:1000])
        self.cut()

    def go_more(self):
        first, last = self.range()
        if self.turn == 1:
            return self.wfile.write(self.partial(first, last))
        body = self.data[first:last + 1] + b"and more"
        self.partial(first, last, body=body)
        self.wfile.write(body)

    def go_less(self):
        """A length that fits what is sent, and is less than what was asked for."""
        first, last = self.range()
        if self.turn == 1:
            return self.wfile.write(self.partial(first, last))
        self.wfile.write(self.partial(first, last, body=self.data[first:first + 10]))

    def go_other_range(self):
        self.wfile.write(self.partial(*self.range(), shift=0 if self.turn == 1 else 1000))

    def go_other_range_once(self):
        self.wfile.write(self.partial(*self.range(), shift=1000 if self.turn in (2, 3) else 0))

    def go_absurd_range(self):
        body = self.data[:10]
        self.plain(206, body, [("Content-Range", "bytes 18446744073709551615-99999999999999999999/-1"),
                               ("ETag", self.etag)])

    def go_huge(self):
        self.wfile.write(self.partial(*self.range(), total=10**15))

    def go_unranged(self):
        """Asked for a range it says 206 the first time, and sends the whole ever after."""
        if self.turn == 1:
            return self.go_good()
        self.go_no_ranges()

    def go_416(self):
        if self.turn == 1:
            return self.go_good()
        self.plain(416, b"", [("Content-Range", f"bytes */{len(self.data)}")])

    def go_circle(self):
        to = self.path.replace("/circle/", "/circle2/") if "/circle/" in self.path else "/circle/" + self.name
        self.plain(302, b"", [("Location", to)])

    go_circle2 = go_circle

    def go_nowhere(self):
        self.plain(302, b"")

    def go_file(self):
        self.plain(302, b"", [("Location", "file:///etc/passwd")])

    def go_away(self):
        """As a hub does it: the hash and a link to another host, good for three requests."""
        to = f"{self.server.owner.other}/signed/{self.name}?secret=s3cr3t{self.turn}"
        self.plain(302, b"elsewhere", [("Location", to), ("ETag", '"of-the-hub"'), (
            "X-Linked-Etag", f'"{self.server.owner.sha256(self.name)}"')])

    def go_signed(self):
        with self.server.owner.lock:
            uses = self.server.owner.turns[self.path] = self.server.owner.turns.get(self.path, 0) + 1
        if uses > 3:
            return self.plain(403, b"expired")
        self.go_good()

    def go_wrong(self):
        data = bytearray(self.data)
        data[len(data) * 3 // 4] ^= 1
        self.data = bytes(data)
        self.go_good()

    def go_wrong_claim(self):
        self.etag = '"' + "0" * 64 + '"'
        self.go_good()

    def go_claim(self):
        self.etag = '"' + self.server.owner.sha256(self.name) + '"'
        self.go_good()

    def go_changes(self):
        """Another file under the same name, from the fifth request on."""
        if self.turn >= 5:
            self.data, self.etag = self.server.owner.files["later.gguf"]
        self.go_claim_now()

    def go_changes_size(self):
        if self.turn >= 5:
            self.data, self.etag = self.server.owner.files["larger.gguf"]
        self.go_claim_now()

    def go_claim_now(self):
        self.etag = '"' + hashlib.sha256(self.data).hexdigest() + '"'
        self.go_good()

    def go_restless(self):
        """Another file for each request."""
        self.etag = f'"v{self.turn}"'
        self.go_good()

    def go_busy(self):
        if self.turn in (1, 4):
            return self.plain(503, b"later", [("Retry-After", "1")])
        if self.turn == 5:
            return self.plain(429, b"later", [("Retry-After", "Wed, 21 Oct 2015 07:28:00 GMT")])
        self.go_good()

    def go_patient(self):
        """Wants two seconds between two tries, by a number and by a date."""
        if self.turn == 2:
            return self.plain(503, b"later", [("Retry-After", "2")])
        if self.turn == 3:
            when = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 3))
            return self.plain(429, b"later", [("Retry-After", when)])
        self.go_good()

    def go_later(self):
        """Once it has begun it asks for years: as a number, as a date, in no known form."""
        words = {2: "3153600000", 3: "Fri, 01 Jan 2100 00:00:00 GMT", 4: "9" * 40, 5: "soon"}
        if self.turn not in words:
            return self.go_good()
        self.plain(503 if self.turn == 2 else 429, b"later", [("Retry-After", words[self.turn])])

    def go_packed(self):
        """Says that it has packed the file, as a proxy on the way might."""
        self.plain(200, zlib.compress(self.data), [("Content-Encoding", "gzip"), ("ETag", self.etag)])

    def go_nothing(self):
        self.close_connection = True
        self.send_response(204)
        self.end_headers()

    def go_down(self):
        self.plain(500, b"down")

    def go_forbidden(self):
        self.plain(403, b"no")

    def go_gated(self):
        if self.headers.get("Authorization") != "Bearer t0ps3cr3t":
            return self.plain(401, b"who are you")
        self.go_away()

    def go_page(self):
        body = b"<!DOCTYPE html><html>Please log in</html>" * 4000
        self.plain(200, body)

    def go_pointer(self):
        self.plain(200, b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")

    def go_garbage(self):
        self.wfile.write(b"\x00\xff not HTTP at all\n" * 100)
        self.cut()

    def go_flood(self):
        self.wfile.write(b"HTTP/1.1 206 Partial\r\n" + b"X-Flood: " + b"x" * 8000 + b"\r\n")
        for _ in range(400):
            self.wfile.write(b"X-Flood: " + b"x" * 8000 + b"\r\n")
        self.cut()


def pump(a, b):
    """Bytes between two sockets, both ways, until one ends."""
    def one(x, y):
        try:
            while data := x.recv(65536):
                y.sendall(data)
            y.shutdown(socket.SHUT_WR)
        except OSError:
            pass
    t = threading.Thread(target=one, args=(a, b), daemon=True)
    t.start()
    one(b, a)
    t.join(5)


class Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *args):
        pass  # clients that go away are what this is for


class Listener6(Listener):
    address_family = socket.AF_INET6


class Server:
    """`files`: name -> (bytes, entity tag); `log`: what was asked; `turns`: how often, by behaviour."""

    def __init__(self, certificate=None, host="127.0.0.1"):
        self.files, self.log, self.turns = {}, [], {}
        self.sent = 0  # bytes, by the behaviours that are slow
        self.password = None  # "name:password" that a client of the proxy must know
        self.lock = threading.Lock()
        self.gate = threading.Event()
        self.other = self.connect_to = None
        self.http = (Listener6 if ":" in host else Listener)((host, 0), Handler)
        self.http.owner = self
        self.port = self.http.server_address[1]
        self.url = f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.http.socket = context.wrap_socket(self.http.socket, server_side=True,
                                                   do_handshake_on_connect=False)
            self.url = f"https://localhost:{self.port}"
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.05},
                         daemon=True).start()

    def sha256(self, name):
        return hashlib.sha256(self.files[name][0]).hexdigest()

    def forget(self):
        with self.lock:
            self.log.clear()
            self.turns.clear()
            self.sent = 0
            self.gate.clear()

    def close(self):
        self.http.shutdown()
        self.http.server_close()


def make_certificate(path, key="rsa:2048"):
    """A certificate for localhost and its key in one file, signed by itself."""
    subprocess.run(["openssl", "req", "-x509", "-newkey", key, "-nodes", "-days", "2", "-keyout",
                    path, "-out", path + ".crt", "-subj", "/CN=localhost", "-addext",
                    "subjectAltName=DNS:localhost,IP:127.0.0.1"], check=True,
                   stderr=subprocess.DEVNULL)
    with open(path, "ab") as f, open(path + ".crt", "rb") as c:
        f.write(c.read())
    return path
