"""A registry with habits: stands before a real one, on loopback, until it is killed.

usage: proxy.py PORT REAL_PORT [token] [cut] [hold] [drop]
`token`  asks for a bearer token, which /token gives to who sends user:password
`cut`    the first answer to each blob breaks off in its middle
`hold`   the first answer to each blob above 10 MB stands still in its middle until the client is gone
`drop`   the second piece of an upload is swallowed: neither it nor an answer goes on
Prints one line per request: method, path, range=..., status; and "holding PATH".
"""
import base64
import contextlib
import http.client
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

port, real, habits = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
cut = set()
pieces = []


class Proxy(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def say(self, status):
        print(self.command, self.path, "range=" + self.headers.get("Range", self.headers.get("Content-Range", "-")), status, flush=True)

    def answer(self, status, body, **headers):
        self.say(status)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def refused(self):
        given = self.headers.get("Authorization", "")
        if self.path.startswith("/token"):
            if given == "Basic " + base64.b64encode(b"user:password").decode():
                self.answer(200, json.dumps({"token": "sesame"}).encode(), Content_Type="application/json")
            else:
                self.answer(401, b"{}")
        elif "token" in habits and given != "Bearer sesame":
            realm = 'Bearer realm="http://127.0.0.1:%d/token",service="box",scope="repository:%s:pull"' % (
                port, "/".join(self.path.split("/")[2:-2]))
            self.answer(401, b'{"errors":[{"code":"UNAUTHORIZED","message":"a token is needed"}]}',
                        WWW_Authenticate=realm)
        else:
            return False
        return True

    def serve(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        if self.refused():
            return
        if self.command == "PATCH" and "drop" in habits:
            pieces.append(self.path)
            if len(pieces) == 2:
                self.say("dropped")
                self.close_connection = True
                return
        to = http.client.HTTPConnection("127.0.0.1", real)
        headers = {k: v for k, v in self.headers.items() if k not in ("Authorization", "Transfer-Encoding")}
        headers["Content-Length"] = str(len(body))
        to.request(self.command, self.path, body, headers)
        reply = to.getresponse()
        data = reply.read()
        self.say(reply.status)
        self.send_response(reply.status)
        for name, value in reply.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "date"):
                self.send_header(name, value)
        self.end_headers()
        least = 100000 if "cut" in habits else 10000000 if "hold" in habits else sys.maxsize
        if "/blobs/sha256:" in self.path and self.path not in cut and len(data) > least:
            cut.add(self.path)
            self.wfile.write(data[:len(data) // 2])
            self.close_connection = True
            if "hold" in habits:
                print("holding", self.path, flush=True)
                with contextlib.suppress(OSError):
                    self.connection.recv(1)
        elif self.command != "HEAD":
            self.wfile.write(data)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = serve

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", port), Proxy).serve_forever()
