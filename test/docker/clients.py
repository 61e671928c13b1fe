"""Docker's Python client on the daemon at argv[1]: prints one line per thing that works."""
import io
import sys
import tarfile

import docker

client = docker.DockerClient(base_url="unix://" + sys.argv[1], timeout=30)


def say(name, value):
    print(name, value, flush=True)


say("ping", client.ping())
say("version", client.version()["ApiVersion"])
say("images", "busybox:latest" in client.images.list()[0].tags)
say("run", client.containers.run("busybox", "echo hello", remove=True).decode().strip())
try:
    client.containers.run("busybox", "sh -c 'exit 3'", remove=True)
except docker.errors.ContainerError as e:
    say("failure", e.exit_status)
try:
    client.containers.get("nosuch")
except docker.errors.NotFound:
    say("missing", "NotFound")
volume = client.volumes.create("pyvol", labels={"a": "b"})
network = client.networks.create("pynet", driver="bridge", labels={"a": "b"})
c = client.containers.run(
    "busybox", "sh -c 'echo begun; cat /v/x; sleep 60'", detach=True, name="py", labels={"a": "b"},
    volumes={"pyvol": {"bind": "/v", "mode": "rw"}}, network="pynet", environment={"K": "V"},
    mem_limit="64m", ports={"80/tcp": None},
)
say("status", c.status)
c.reload()
say("reloaded", c.status)
say("listed", [x.name for x in client.containers.list(filters={"label": "a=b"})])
say("networks", list(c.attrs["NetworkSettings"]["Networks"]))
say("ports", bool(c.ports["80/tcp"][0]["HostPort"]))
say("exec", c.exec_run("sh -c 'echo $K; exit 4'"))
out, err = c.exec_run("sh -c 'echo o; echo e >&2'", demux=True).output
say("demux", (out, err))
data = io.BytesIO()
with tarfile.open(fileobj=data, mode="w") as tar:
    info = tarfile.TarInfo("x")
    info.size = 4
    tar.addfile(info, io.BytesIO(b"data"))
say("put", c.put_archive("/tmp", data.getvalue()))
stream, stat = c.get_archive("/tmp/x")
say("get", (stat["name"], stat["size"], len(b"".join(stream)) % 512))
say("top", any("sleep 60" in " ".join(p) for p in c.top()["Processes"]))
say("stats", c.stats(stream=False)["memory_stats"]["limit"])
say("logs", c.logs(stdout=True, stderr=False).decode().split()[0])
c.pause()
c.reload()
say("paused", c.status)
c.unpause()
c.stop(timeout=1)
say("wait", c.wait()["StatusCode"])
c.start()
c.kill()
say("killed", c.wait(condition="not-running")["StatusCode"])
say("diff", {"Path": "/tmp/x", "Kind": 1} in c.diff())
image = c.commit("py", "1")
say("commit", image.tags)
say("saved", len(b"".join(image.save())) > 1000)
c.remove()
client.images.remove("py:1")
network.remove()
volume.remove()
say("events", [e["Action"] for e in client.events(since=1, until=2, decode=True)])
say("left", len(client.containers.list(all=True)))
