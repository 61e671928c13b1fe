"""A registry that lies: each repository is one attack on who pulls from it.

usage: registry.py PORT OTHER_PORT BUSYBOX_TAR
Serves on loopback, the other host at 127.0.0.2, until it is killed. Prints one line per request: port, method, path,
authorization=HEADER or authorization=-. OTHER_PORT plays the other host.
"""
import gzip
import hashlib
import json
import sys
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

port, other = int(sys.argv[1]), int(sys.argv[2])
OCI = "application/vnd.oci.image."
TYPE = OCI + "manifest.v1+json"
INDEX = OCI + "index.v1+json"
said = threading.Lock()


def sha(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


with tarfile.open(sys.argv[3]) as archive:
    layer_tar = archive.extractfile("layer.tar").read()
layer = gzip.compress(layer_tar, 1, mtime=0)
config = json.dumps({"architecture": "amd64", "os": "linux", "config": {"Cmd": ["sh"]},
                     "rootfs": {"type": "layers", "diff_ids": [sha(layer_tar)]}}).encode()
blobs = {sha(layer): layer, sha(config): config}


def manifest(**change):
    layers = [{"mediaType": OCI + "layer.v1.tar+gzip", "digest": sha(layer), "size": len(layer)}]
    layers[0].update(change.pop("layer", {}))
    m = {"schemaVersion": 2, "mediaType": TYPE,
         "config": {"mediaType": OCI + "config.v1+json", "digest": sha(config), "size": len(config)},
         "layers": layers}
    m.update(change)
    return m


def index(entries):
    return {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}


linux = {"os": "linux", "architecture": "amd64"}
good = json.dumps(manifest()).encode()
extra = config.replace(b'"diff_ids": [', b'"diff_ids": ["sha256:%s", ' % (b"0" * 64))
blobs[sha(extra)] = extra
inner = json.dumps(index([{"mediaType": TYPE, "digest": sha(good), "size": len(good), "platform": linux}])).encode()
outer = json.dumps(index([{"mediaType": INDEX, "digest": sha(inner), "size": len(inner), "platform": linux}])).encode()
# name: (type that the header tells, body)
images = {
    "good": (TYPE, good),
    "both": (TYPE, json.dumps(dict(manifest(), manifests=[{"mediaType": TYPE, "digest": sha(good),
                                                           "size": len(good)}])).encode()),
    "mediatype": (INDEX, good),
    "digestpath": (TYPE, json.dumps(manifest(layer={"digest": "sha256:../../../../etc/passwd"})).encode()),
    "digestshort": (TYPE, json.dumps(manifest(layer={"digest": "sha256:00"})).encode()),
    "digestlie": (INDEX, json.dumps(index([{"mediaType": TYPE, "digest": "sha256:" + "1" * 64, "size": len(good),
                                            "platform": {"os": "linux", "architecture": "amd64"}}])).encode()),
    "sizelie": (TYPE, json.dumps(manifest(layer={"size": 100})).encode()),
    "negative": (TYPE, json.dumps(manifest(layer={"size": -1})).encode()),
    "schema1": ("application/vnd.docker.distribution.manifest.v1+json",
                b'{"schemaVersion": 1, "name": "x", "fsLayers": [], "history": []}'),
    "notjson": (TYPE, b"{{{{"),
    "deepjson": (TYPE, b"[" * 100000),
    "foreign": (TYPE, json.dumps(manifest(layer={
        "digest": "sha256:" + "2" * 64, "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "urls": ["http://127.0.0.2:%d/foreign" % other]})).encode()),
    "configlie": (TYPE, json.dumps(manifest(config={"mediaType": OCI + "config.v1+json", "digest": sha(extra),
                                                    "size": len(extra)})).encode()),
    "platform": (INDEX, json.dumps(index([{"mediaType": TYPE, "digest": sha(good), "size": len(good),
                                           "platform": {"os": "plan9", "architecture": "vax"}}])).encode()),
    "nested": (INDEX, outer),
    "redirect": (TYPE, good),
    "realm": (TYPE, good),
}


class Registry(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, code, body=b"", **headers):
        self.send_response(code)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self):
        self.do_GET()

    def endless(self):
        self.send_response(200)
        self.send_header("Content-Type", TYPE)
        self.send_header("Content-Length", str(100 << 20))
        self.end_headers()
        if self.command == "HEAD":
            return
        try:
            for _ in range(100):
                self.wfile.write(b" " * (1 << 20))
        except OSError:
            self.close_connection = True

    def do_GET(self):
        at = self.server.server_address[1]
        with said:
            print(at, self.command, self.path, "authorization=" + self.headers.get("Authorization", "-"), flush=True)
        path = self.path.split("?")[0]
        if path == "/v2/":
            return self.answer(200, b"{}")
        if at == other:
            return self.answer(200, json.dumps({"token": "elsewhere"}).encode() if "token" in path else layer)
        parts = path.split("/")
        if len(parts) < 5 or parts[1] != "v2":
            return self.answer(404, b'{"errors":[{"code":"UNSUPPORTED"}]}')
        name, kind, ref = parts[2], parts[3], parts[4]
        if name == "realm" and "Bearer" not in self.headers.get("Authorization", ""):
            return self.answer(401, b"{}", WWW_Authenticate='Bearer realm="http://127.0.0.2:%d/token",service="x"' % other)
        if name == "loop":
            return self.answer(307, Location=self.path)
        if name == "hugemanifest":
            return self.endless()
        if name == "elsewhere":
            return self.answer(307, Location="ftp://127.0.0.2/blob")
        if kind == "manifests" and name == "selfindex":
            body = json.dumps(index([{"mediaType": INDEX, "digest": "sha256:" + "3" * 64, "size": 300,
                                      "platform": {"os": "linux", "architecture": "amd64"}}])).encode()
            return self.answer(200, body, Content_Type=INDEX)
        if kind == "manifests" and name in images:
            content, body = images[name]
            if name == "nested" and ref == sha(inner):
                body = inner
            if name == "digestlie" and ref.startswith("sha256:"):
                content, body = TYPE, good
            return self.answer(200, body, Content_Type=content, Docker_Content_Digest=sha(body))
        if kind == "blobs" and name == "redirect" and ref == sha(layer):
            return self.answer(307, Location="http://127.0.0.2:%d/blob" % other)
        if kind == "blobs" and ref in blobs:
            return self.answer(200, blobs[ref], Content_Type="application/octet-stream")
        return self.answer(404, b'{"errors":[{"code":"NAME_UNKNOWN","message":"not here"}]}')


servers = [ThreadingHTTPServer(at, Registry) for at in (("127.0.0.1", port), ("127.0.0.2", other))]
threading.Thread(target=servers[1].serve_forever, daemon=True).start()
servers[0].serve_forever()
