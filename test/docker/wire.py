"""Raw exchanges with the Engine API that no client makes on purpose. usage: wire.py SOCKET VERB [ARG...]

attach ID upgrade|plain INPUT   attaches with input sent behind the request, prints the reply's first line
                                and the frames as "STREAM TEXT"
wait ID                         prints the seconds until the headers came, then the body
abandon PATH N                  sends N POSTs to PATH, reads nothing, leaves
half PATH                       a request whose sender closes its side at once; prints the status
"""
import socket
import struct
import sys
import time


def connect():
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(20)
    s.connect(sys.argv[1])
    return s


def request(s, method, path, headers="", tail=b""):
    s.sendall(f"{method} {path} HTTP/1.1\r\nHost: d\r\n{headers}\r\n".encode() + tail)


def head(s):
    data = b""
    while b"\r\n\r\n" not in data:
        more = s.recv(4096)
        if not more:
            return data, b""
        data += more
    return data.split(b"\r\n\r\n", 1)


def rest(s, data):
    while more := s.recv(65536):
        data += more
    return data


def attach(ident, how, text):
    s = connect()
    upgrade = "Connection: Upgrade\r\nUpgrade: tcp\r\n" if how == "upgrade" else ""
    query = "stream=1&stdin=1&stdout=1&stderr=1"
    request(s, "POST", f"/v1.42/containers/{ident}/attach?{query}", upgrade, text.encode())
    first, data = head(s)
    print(first.split(b"\r\n")[0].decode())
    s.shutdown(socket.SHUT_WR)
    data = rest(s, data)
    while len(data) >= 8:
        stream, size = struct.unpack(">BxxxI", data[:8])
        print(stream, data[8 : 8 + size].decode().strip())
        data = data[8 + size :]


def wait(ident):
    s = connect()
    begin = time.time()
    request(s, "POST", f"/containers/{ident}/wait?condition=next-exit", "Connection: close\r\n")
    first, data = head(s)
    print(first.split(b"\r\n")[0].decode(), int(time.time() - begin))
    print(rest(s, data).decode())


def abandon(path, n):
    for _ in range(int(n) // 50):
        sockets = [connect() for _ in range(50)]
        for s in sockets:
            request(s, "POST", path)
        for s in sockets:
            head(s)
        for s in sockets:
            s.close()


def half(path):
    s = connect()
    request(s, "GET", path)
    s.shutdown(socket.SHUT_WR)
    print(head(s)[0].split(b"\r\n")[0].decode())


{"attach": attach, "wait": wait, "abandon": abandon, "half": half}[sys.argv[2]](*sys.argv[3:])
