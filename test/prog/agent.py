# A seccomp agent for the tests: waits for one container's listener at the socket argv[1], prints the
# state it was told, and answers every notification: a mkdir of a name that ends in "fake" with
# success without doing it, everything else with EXDEV.
import array, ctypes, fcntl, json, os, socket, struct, sys

server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[1])
server.listen(1)
print("ready", flush=True)
peer, _ = server.accept()
data, ancillary, _, _ = peer.recvmsg(65536, socket.CMSG_LEN(16))
fds = array.array("i")
for level, kind, payload in ancillary:
    if kind == socket.SCM_RIGHTS:
        fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
while True:
    more = peer.recv(65536)
    if not more:
        break
    data += more
state = json.loads(data)
print(json.dumps({"fds": state["fds"], "metadata": state.get("metadata"), "id": state["state"]["id"],
                  "status": state["state"]["status"], "pid": state["pid"]}), flush=True)
RECV, SEND = 0xC0502100, 0xC0182101
while True:
    request = bytearray(80)
    try:
        fcntl.ioctl(fds[0], RECV, request)
    except OSError:
        break
    ident, pid = struct.unpack_from("QI", request)
    address = struct.unpack_from("6Q", request, 32)[0]
    try:
        with open("/proc/%d/mem" % pid, "rb") as memory:
            memory.seek(address)
            name = memory.read(64).split(b"\0")[0]
    except OSError:
        name = b""
    error = 0 if name.endswith(b"fake") else -18
    try:
        fcntl.ioctl(fds[0], SEND, bytearray(struct.pack("QqiI", ident, 0, error, 0)))
    except OSError:
        pass
