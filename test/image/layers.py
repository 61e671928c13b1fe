"""Makes images, good and bad, for the tests: docker archives and OCI layouts of given layers.

usage: layers.py FILE NAME:TAG CONFIG_JSON LAYER[:gzip|:zstd|:plain]...   LAYER is a directory or a tar
As a module it gives the same from bytes, with everything that a test wants to be wrong.
"""
import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile


def sha(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def pack(data, how):
    if how == "gzip":
        return gzip.compress(data, 6, mtime=0)
    if how == "zstd":
        return subprocess.run(["zstd", "-q", "-c"], input=data, stdout=subprocess.PIPE, check=True).stdout
    return data


def tar_of(path):
    if not os.path.isdir(path):
        with open(path, "rb") as f:
            return f.read()
    return subprocess.run(["tar", "-C", path, "--numeric-owner", "--xattrs", "--xattrs-include=user.*",
                           "--xattrs-include=security.capability", "--sparse", "-cf", "-", "."],
                          stdout=subprocess.PIPE, check=True).stdout


def archive(files):
    """A tar of {name: bytes}."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            info.mode = 0o644
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def image_config(config, layers):
    return json.dumps({"architecture": "amd64", "os": "linux", "config": config,
                       "rootfs": {"type": "layers", "diff_ids": [sha(l) for l in layers]}}).encode()


def docker_archive(name, config, layers):
    """layers: [(tar bytes, packing)]"""
    blob = image_config(config, [l for l, _ in layers])
    files = {}
    names = []
    for i, (data, how) in enumerate(layers):
        names.append("layer%d.tar" % i)
        files[names[-1]] = pack(data, how)
    files[sha(blob)[7:] + ".json"] = blob
    files["manifest.json"] = json.dumps([{"Config": sha(blob)[7:] + ".json", "RepoTags": [name],
                                          "Layers": names}]).encode()
    return archive(files)


if __name__ == "__main__":
    given = []
    for arg in sys.argv[4:]:
        path, _, how = arg.partition(":")
        given.append((tar_of(path), how))
    with open(sys.argv[1], "wb") as f:
        f.write(docker_archive(sys.argv[2], json.loads(sys.argv[3]), given))
