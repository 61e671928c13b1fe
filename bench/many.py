"""One client that starts many containers at an engine's socket: create and start each, over a few
connections, and waits until all are running.

usage: many.py SOCKET COUNT [CONNECTIONS] [NETWORK]
Prints "created_started_seconds all_running_seconds".
"""
import http.client
import json
import queue
import socket
import sys
import threading
import time


class Client(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=60)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)

    def call(self, method, url, body=None):
        data = None if body is None else json.dumps(body)
        self.request(method, url, data, {"Content-Type": "application/json"} if data else {})
        answer = self.getresponse()
        text = answer.read()
        if answer.status >= 300:
            raise SystemExit("%s %s: %d %s" % (method, url, answer.status, text.decode()))
        return json.loads(text) if text.strip() else None


def main():
    path, count = sys.argv[1], int(sys.argv[2])
    connections = int(sys.argv[3]) if len(sys.argv) > 3 else 8
    network = sys.argv[4] if len(sys.argv) > 4 else "default"
    work = queue.Queue()
    for i in range(count):
        work.put("many%d" % i)
    wrong = []

    def serve():
        client = Client(path)
        try:
            while True:
                name = work.get_nowait()
                made = client.call("POST", "/v1.41/containers/create?name=" + name, {
                    "Image": "busybox:latest", "Cmd": ["sleep", "1000"],
                    "HostConfig": {"NetworkMode": network}})
                client.call("POST", "/v1.41/containers/%s/start" % made["Id"])
        except queue.Empty:
            pass
        except (SystemExit, OSError) as e:
            wrong.append(str(e))

    watcher = Client(path)
    watcher.call("GET", "/v1.41/containers/json")
    begin = time.monotonic()
    threads = [threading.Thread(target=serve) for _ in range(connections)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    started = time.monotonic() - begin
    if wrong:
        raise SystemExit(wrong[0])
    while True:
        running = [c for c in watcher.call("GET", "/v1.41/containers/json") if c["State"] == "running"]
        if len(running) >= count:
            break
        if time.monotonic() - begin > 120:
            raise SystemExit("only %d are running" % len(running))
        time.sleep(0.01)
    print("%.3f %.3f" % (started, time.monotonic() - begin))


main()
