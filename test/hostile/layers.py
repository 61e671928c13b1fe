"""Writes hostile images for 20-layers.sh: one docker archive per attack into a directory.

usage: layers.py DIR OUTSIDE [bombs]     OUTSIDE: a directory of the host that no image may change
Each file is called WHAT.tar; what must be refused is in the list `refused`, what may be taken as long
as nothing outside changes in `harmless`.
"""
import io
import os
import sys
import tarfile

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "image"))
import layers as make  # noqa: E402

outside = sys.argv[2]
up = "../" * 12


def entry(tar, name, data=b"", kind=tarfile.REGTYPE, **more):
    info = tarfile.TarInfo(name)
    info.type = kind
    info.size = len(data)
    info.mode = more.pop("mode", 0o644)
    for key, value in more.items():
        setattr(info, key, value)
    tar.addfile(info, io.BytesIO(data) if data else None)


def layer(fill, form=tarfile.PAX_FORMAT):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        fill(tar)
    return out.getvalue()


def dot_dot(t):
    entry(t, up + outside.lstrip("/") + "/file", b"owned")


def dot_dot_inside(t):
    entry(t, "a/b/" + up + outside.lstrip("/") + "/file", b"owned")


def absolute(t):
    entry(t, outside + "/file", b"owned")


def through_symlink(t):
    entry(t, "link", kind=tarfile.SYMTYPE, linkname=outside)
    entry(t, "link/file", b"owned")


def through_relative_symlink(t):
    entry(t, "link", kind=tarfile.SYMTYPE, linkname=up + outside.lstrip("/"))
    entry(t, "link/new", b"owned")


def symlink_swap(t):
    entry(t, "d", kind=tarfile.DIRTYPE, mode=0o755)
    entry(t, "d/x", b"1")
    entry(t, "d", kind=tarfile.SYMTYPE, linkname=outside)
    entry(t, "d/file", b"owned")


def chmod_through_symlink(t):
    entry(t, "link", kind=tarfile.SYMTYPE, linkname=outside + "/file")
    entry(t, "link", kind=tarfile.DIRTYPE, mode=0o777)
    entry(t, "link2", kind=tarfile.SYMTYPE, linkname=outside)
    entry(t, "link2/.", kind=tarfile.DIRTYPE, mode=0o777)


def hard_link_out(t):
    entry(t, "hard", kind=tarfile.LNKTYPE, linkname=up + outside.lstrip("/") + "/file")
    entry(t, "hard", b"owned")


def hard_link_absolute(t):
    entry(t, "hard", kind=tarfile.LNKTYPE, linkname=outside + "/file")


def hard_link_through_symlink(t):
    entry(t, "link", kind=tarfile.SYMTYPE, linkname=outside)
    entry(t, "hard", kind=tarfile.LNKTYPE, linkname="link/file")
    entry(t, "hard", b"owned")


def whiteout_out(t):
    entry(t, "link", kind=tarfile.SYMTYPE, linkname=outside)
    entry(t, "link/.wh.file")


def whiteout_dot_dot(t):
    entry(t, ".wh..")
    entry(t, "x/.wh...")
    entry(t, up + outside.lstrip("/") + "/.wh.file")


def opaque_out(t):
    entry(t, "link", kind=tarfile.SYMTYPE, linkname=outside)
    entry(t, "link/.wh..wh..opq")


def whiteout_directory(t):
    entry(t, ".wh.x", kind=tarfile.DIRTYPE)
    entry(t, ".wh.x/file", b"x")


def deep(t):
    entry(t, "/".join(["d"] * 3000) + "/file", b"x")


def long_name(t):
    entry(t, "n" * 300, b"x")


def long_path(t):
    entry(t, "/".join(["d" * 200] * 50), b"x")


def new_line(t):
    entry(t, "a\nb", b"x")


def nul_name(t):
    entry(t, "bad\0name", b"x", pax_headers={"path": "pax\0path"})


def many_same(t):
    for _ in range(20000):
        entry(t, "same", b"x")


def huge_pax(t):
    entry(t, "x", b"x", pax_headers={"comment": "c" * (8 << 20)})


def huge_xattr(t):
    entry(t, "x", b"x", pax_headers={"SCHILY.xattr.user.big": "v" * (1 << 20)})


def xattr_trusted(t):
    entry(t, "d", kind=tarfile.DIRTYPE, mode=0o755,
          pax_headers={"SCHILY.xattr.trusted.overlay.redirect": "/../../../.." + outside,
                       "SCHILY.xattr.trusted.overlay.opaque": "y"})
    entry(t, "d/x", b"x")


def size_lie(t):
    info = tarfile.TarInfo("liar")
    info.size = 1 << 40
    t.addfile(info, None)


def negative_size(t):
    raw = bytearray(tarfile.TarInfo("neg").tobuf(tarfile.GNU_FORMAT))
    raw[124:136] = b"\xff" * 12
    total = 256 + sum(raw[:148]) + sum(raw[156:512])
    raw[148:156] = b"%06o\0 " % total
    t.fileobj.write(bytes(raw))


def device_node(t):
    entry(t, "sda", kind=tarfile.BLKTYPE, devmajor=8, devminor=0, mode=0o666)


def pax_size(t):
    entry(t, "pax", b"x" * 600, pax_headers={"size": "-5"})


def link_loop(t):
    entry(t, "a", kind=tarfile.SYMTYPE, linkname="b")
    entry(t, "b", kind=tarfile.SYMTYPE, linkname="a")
    entry(t, "a/x", b"x")


def self_link(t):
    entry(t, "me", kind=tarfile.LNKTYPE, linkname="me")


def passwd_link(t):
    entry(t, "etc", kind=tarfile.DIRTYPE, mode=0o755)
    entry(t, "etc/passwd", kind=tarfile.SYMTYPE, linkname=outside + "/file")


refused = [dot_dot, dot_dot_inside, hard_link_out, through_relative_symlink, whiteout_dot_dot, deep,
           long_name, huge_pax, huge_xattr, size_lie, negative_size, link_loop, self_link]
harmless = [absolute, through_symlink, symlink_swap, chmod_through_symlink, hard_link_absolute,
            hard_link_through_symlink, whiteout_out, opaque_out, whiteout_directory, long_path, new_line,
            nul_name, many_same, xattr_trusted, device_node, pax_size, passwd_link]


def write(kind, name, data):
    with open(os.path.join(sys.argv[1], kind, name + ".tar"), "wb") as f:
        f.write(data)


def image(name, data, how="gzip"):
    return make.docker_archive("evil/%s:1" % name.replace("_", "-"), {"Cmd": ["/x"]}, [(data, how)])


def bombs():
    """Entries without number, a folder named over and over: small to send, endless to unpack."""
    one = tarfile.TarInfo("folder/")
    one.type = tarfile.DIRTYPE
    one.mode = 0o755
    packed = make.pack(one.tobuf(tarfile.USTAR_FORMAT) * 100000, "gzip")
    config = make.image_config({}, [b""])
    yield "bomb_count", make.archive({
        "manifest.json": b'[{"Config":"c.json","RepoTags":["evil/b:1"],"Layers":["l"]}]', "c.json": config,
        "l": packed * 41})


def broken():
    good = layer(lambda t: entry(t, "x", b"x" * 10000))
    whole = make.docker_archive("evil/digest:1", {}, [(good, "gzip")])
    yield "digest", whole.replace(make.sha(good)[7:].encode(), b"0" * 64)
    yield "truncated_gzip", make.docker_archive("evil/trunc:1", {}, [(good, "plain")])[:3000]
    yield "not_a_tar", make.docker_archive("evil/no:1", {}, [(os.urandom(20000), "gzip")])
    half = bytearray(make.pack(good, "gzip"))
    half[len(half) // 2] ^= 0xff
    config = make.image_config({}, [good])
    yield "corrupt_gzip", make.archive({
        "manifest.json": b'[{"Config":"c.json","RepoTags":["evil/c:1"],"Layers":["l"]}]', "c.json": config,
        "l": bytes(half)})
    for name, manifest in {
            "config_dot_dot": '[{"Config":"../../../../etc/passwd","RepoTags":["evil/m:1"],"Layers":["l"]}]',
            "layer_dot_dot": '[{"Config":"c.json","RepoTags":["evil/m:1"],"Layers":["../../../%s/file"]}]' % outside,
            "layer_absolute": '[{"Config":"c.json","RepoTags":["evil/m:1"],"Layers":["%s/file"]}]' % outside,
            "no_layers": '[{"Config":"c.json","RepoTags":["evil/m:1"],"Layers":[]}]',
            "not_json": '[{"Config":',
            "wrong_shape": '{"Config": 7}',
            "bad_tag": '[{"Config":"c.json","RepoTags":["evil/../../x:1"],"Layers":["l"]}]',
            "tag_traversal": '[{"Config":"c.json","RepoTags":["../../../x"],"Layers":["l"]}]'}.items():
        yield name, make.archive({"manifest.json": manifest.encode(), "c.json": config, "l": good})
    yield "manifest_is_a_link", layer(lambda t: (
        entry(t, "c.json", config), entry(t, "l", good),
        entry(t, "manifest.json", kind=tarfile.SYMTYPE, linkname="/etc/passwd")))
    yield "layer_is_a_link", layer(lambda t: (
        entry(t, "c.json", config), entry(t, "l", kind=tarfile.SYMTYPE, linkname=outside + "/file"),
        entry(t, "manifest.json", b'[{"Config":"c.json","RepoTags":["evil/l:1"],"Layers":["l"]}]')))
    yield "deep_json", make.archive({"manifest.json": b"[" * 100000, "c.json": config, "l": good})
    # An OCI layout whose digests are paths.
    for name, digest in {"digest_path": "sha256:../../../../etc/passwd", "digest_algo": "../x:" + "0" * 64,
                         "digest_short": "sha256:00"}.items():
        yield name, make.archive({
            "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
            "index.json": ('{"schemaVersion":2,"manifests":[{"mediaType":'
                           '"application/vnd.oci.image.manifest.v1+json","digest":"%s","size":100}]}'
                           % digest).encode()})


for kind in ("refused", "harmless"):
    os.makedirs(os.path.join(sys.argv[1], kind), exist_ok=True)
for attack in refused:
    write("refused", attack.__name__, image(attack.__name__, layer(attack)))
for attack in harmless:
    write("harmless", attack.__name__, image(attack.__name__, layer(attack)))
for label, blob in list(broken()) + (list(bombs()) if sys.argv[3:] else []):
    write("refused", label, blob)
