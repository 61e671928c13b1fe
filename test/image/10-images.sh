#!/bin/bash
# Images: load, save, import, tag, list, inspect, history, remove; docker archives, OCI layouts, plain
# tars; layers in every compression; whiteouts, links, attributes, sparse files.
# time: 120
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
foreign '^file /var/lib/containers' # skopeo's
up
inside() {
	dk run --rm "$@" 2>&1
}
inspect() {
	dk image inspect -f "$1" "${2:-busybox:latest}"
}

id=$(inspect '{{.Id}}')
matches "an image has an id" '^sha256:[0-9a-f]{64}$' "$id"
same "... which is its configuration's digest" "$id" "sha256:$(tar tf "$HULL_CACHE/busybox.tar" | sed -n 's/\.json$//p' | grep -v manifest)"
matches "images lists it" 'busybox +latest' "$(dk images)"
same "inspect" "amd64 linux [sh]" "$(inspect '{{.Architecture}} {{.Os}} {{.Config.Cmd}}')"
matches "history" 'tool/image-tar' "$(dk history --no-trunc busybox)"
dk tag busybox other/name:v1
same "tag" "$id" "$(inspect '{{.Id}}' other/name:v1)"
same "by short id" "$id" "$(inspect '{{.Id}}' "$(cut -c8-19 <<<"$id")")"
dk save busybox -o "$T/saved.tar"
check "save writes an archive with both forms" sh -c "tar tf $T/saved.tar | grep -q manifest.json"
dk rmi other/name:v1 >/dev/null
check "rmi of one tag keeps the image" dk image inspect busybox
dk rmi busybox >/dev/null
expect "rmi of the last removes it" 1 'No such image' dk image inspect busybox
same "... its layers too" 0 "$(find "$T/hull/root/layer" -mindepth 1 -maxdepth 1 | wc -l)"
dk load -qi "$T/saved.tar" >/dev/null
same "load of what was saved gives the same image" "$id" "$(inspect '{{.Id}}')"
same "... that runs" hi "$(inside busybox echo hi)"

# The same image in other clothes, made by foreign tools.
skopeo copy -q "docker-archive:$HULL_CACHE/busybox.tar" "oci:$T/layout:busybox:oci" >/dev/null
tar -C "$T/layout" -cf "$T/oci.tar" .
check "load of an OCI layout" dk load -qi "$T/oci.tar"
same "... runs" hi "$(inside busybox:oci echo hi || inside "$(dk images -q | head -n 1)" echo hi)"
gzip -k "$HULL_CACHE/busybox.tar" -c >"$T/b.tar.gz"
check "load of a compressed archive" dk load -qi "$T/b.tar.gz"
echo hello >"$T/text"
expect "import of what is no tar names the input" 1 \
	'^Error response from daemon: the archive to import: it is not a tar archive, plain or compressed$' dk import "$T/text" imported:1
head -c 40000 "$HULL_CACHE/busybox.tar" >"$T/cut.tar"
expect "... of a cut one too" 1 '^Error response from daemon: the archive to import: damaged tar archive: Truncated tar archive' \
	dk import "$T/cut.tar" imported:1
same "... and nothing of it stays" 2 "$(dk images -q | wc -l)"
tar -C "$HULL_CACHE/busybox.root" -cf - . | dk import -c 'CMD ["echo", "from import"]' - imported:1 >/dev/null
same "import of a plain tar" "from import" "$(inside imported:1)"
dk rmi imported:1 >/dev/null

# Two layers: what the upper one takes away, replaces and adds.
mkdir -p "$T/l1/gone" "$T/l1/opaque" "$T/l1/dir" && echo low >"$T/l1/dir/replaced" && touch "$T/l1/gone/x" "$T/l1/opaque/low" "$T/l1/file"
cp -a "$HULL_CACHE/busybox.root/." "$T/l1"
mkdir -p "$T/l2/opaque" "$T/l2/dir" && touch "$T/l2/.wh.gone" "$T/l2/.wh.file" "$T/l2/opaque/.wh..wh..opq" "$T/l2/opaque/high"
echo high >"$T/l2/dir/replaced"
ln "$T/l2/dir/replaced" "$T/l2/dir/hard" && ln -s replaced "$T/l2/dir/soft"
mknod "$T/l2/dir/null" c 1 3 && mkfifo "$T/l2/dir/fifo" && truncate -s 100M "$T/l2/dir/sparse"
cp "$T/l1/bin/busybox" "$T/l2/dir/suid" && chown 5:6 "$T/l2/dir/suid" && chmod 4755 "$T/l2/dir/suid"
python3 "$HULL_TOP/test/image/layers.py" "$T/two.tar" two:1 '{"Cmd":["sh"]}' "$T/l1:gzip" "$T/l2:zstd" || give_up "an image of two layers"
expect "an image of two layers, gzip and zstd, loads" 0 'two:1' dk load -i "$T/two.tar"
same "whiteouts and opaque directories" "high no no" \
	"$(inside two:1 sh -c 'echo $(ls /opaque) $([ -e /gone ] && echo yes || echo no) $([ -e /file ] && echo yes || echo no)')"
same "what is above replaces" "high high high" "$(inside two:1 sh -c 'cat /dir/replaced /dir/hard /dir/soft' | xargs)"
same "hard links are links" 2 "$(inside two:1 stat -c %h /dir/hard)"
same "devices, fifos" "1:3 fifo" "$(inside two:1 sh -c 'stat -c %t:%T /dir/null; stat -c %F /dir/fifo' | xargs)"
same "owners and set-user-id" "5 6 4755" "$(inside two:1 stat -c '%u %g %a' /dir/suid)"
same "sparse files are sparse" "104857600 yes" \
	"$(inside two:1 sh -c 'set -- $(stat -c "%s %b" /dir/sparse); echo $1 $([ $2 -lt 1000 ] && echo yes)')"
# Attributes stay from load to run, through a commit, and out again. The capability is NET_BIND_SERVICE.
cap=0100000200040000000000000000000000000000 note=$(printf 'a note' | od -An -tx1 | tr -d ' ')
mkdir -p "$T/l3/folder" && cp "$T/l1/bin/busybox" "$T/l3/busybox.cap" && cp "$T/l1/bin/busybox" "$T/l3/busybox.up" && echo text >"$T/l3/noted"
python3 - "$T/l3" $cap "$note" <<'PY' || give_up "attributes on this disk"
import os, sys
top, cap, note = sys.argv[1], bytes.fromhex(sys.argv[2]), bytes.fromhex(sys.argv[3])
for name, key, value in (("busybox.cap", "security.capability", cap), ("busybox.up", "security.capability", cap),
                         ("noted", "user.note", note), ("folder", "user.dir", b"\0\xff\n")):
    os.setxattr(top + "/" + name, key, value)
PY
python3 "$HULL_TOP/test/image/layers.py" "$T/attr.tar" attr:1 '{"Cmd":["sh"]}' "$T/l1:gzip" "$T/l3:gzip" &&
	dk load -qi "$T/attr.tar" >/dev/null
has_cap() {
	dk run --rm -u 1000 "$1" "/busybox.$2" grep CapEff /proc/self/status 2>&1 | xargs
}
same "a file's capability works" "CapEff: 0000000000000400" "$(has_cap attr:1 cap)"
# Touched and appended to in the container: copied up with what they have.
dk run --name touched attr:1 sh -c 'touch /busybox.up; echo more >>/noted; touch /folder/new' >/dev/null
dk commit touched attr:2 >/dev/null
dk rm touched >/dev/null
same "... after a copy-up and a commit too" "CapEff: 0000000000000400" "$(has_cap attr:2 up)"
dk save attr:2 -o "$T/attr2.tar"
dk rmi attr:1 attr:2 >/dev/null
cat >"$T/attrs.py" <<'PY'
import io, json, sys, tarfile
image = tarfile.open(sys.argv[1])
layers = json.load(image.extractfile("manifest.json"))[0]["Layers"]
for at in (-2, -1):
    for member in tarfile.open(fileobj=io.BytesIO(image.extractfile(layers[at]).read())):
        for name, value in sorted(member.pax_headers.items()):
            if name.startswith("SCHILY.xattr."):
                print(at, member.name.removeprefix("./"), name[13:], value.encode("utf-8", "surrogateescape").hex())
PY
same "save has them, of both layers" "-1 busybox.up security.capability $cap
-1 folder user.dir 00ff0a
-1 noted user.note $note
-2 busybox.cap security.capability $cap
-2 busybox.up security.capability $cap
-2 folder user.dir 00ff0a
-2 noted user.note $note" "$(python3 "$T/attrs.py" "$T/attr2.tar" | sort)"
dk load -qi "$T/attr2.tar" >/dev/null
same "load of what was saved: still" "CapEff: 0000000000000400" "$(has_cap attr:2 up)"
# shellcheck disable=SC2046 # a list of files
same "... and the note, in both layers" "a note,a note" "$(python3 -c 'import os, sys
print(",".join(os.getxattr(at, "user.note").decode() for at in sys.argv[1:]))' $(find "$T/hull/root/layer" -path '*/fs/noted'))"
dk rmi attr:2 >/dev/null

two=$(find "$T/hull/root/layer" -mindepth 1 -maxdepth 1 | wc -l)
sed 's/two:1/two:2/' "$T/two.tar" >"$T/two2.tar"
dk load -qi "$T/two2.tar" >/dev/null
same "the same layers are kept once" "$two" "$(find "$T/hull/root/layer" -mindepth 1 -maxdepth 1 | wc -l)"
dk rmi two:2 >/dev/null
dk run -d --name user two:1 sleep 100 >/dev/null
dk rmi two:2 >/dev/null
expect "an image in use is not removed" 1 'in use|being used|container' dk rmi two:1
dk rm -f user >/dev/null
dk image prune -af >/dev/null
same "prune -a leaves nothing" "0 0" "$(dk images -q | wc -l) $(find "$T/hull/root/layer" -mindepth 1 -maxdepth 1 | wc -l)"
same "... no blob either" 0 "$(find "$T/hull/root/blob" -type f | wc -l)"
down
