#!/bin/bash
# docker cp and a hostile container (CVE-2018-15664, 2019-14271, 2021-41089, 2019-10152, 2026-41568):
# links that lead out, or change places while the copy runs. Volumes and first copy-ups that follow
# links (2023-0778, 2020-1726, 2022-23648).
# time: 180
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
mkdir -p "$T/outside"
echo "host secret" >"$T/outside/file"
state() {
	find "$T/outside" -printf '%P %m %u %s %l\n' | sort
	cat "$T/outside/file"
}
before=$(state)
image "$T/race.tar" race:1 "{\"Volumes\":{\"/vol\":{}}}" sh -c "cp $(prog swap) swap; mkdir a; echo inside >a/file
	ln -s ../../../../../../../../..$T/outside b; ln -s $T/outside abs; ln -s $T/outside vol"
up
dk load -qi "$T/race.tar" >/dev/null || give_up "an image with links loads"
dk run -d --name cont race:1 /swap /a /b >/dev/null
echo evil >"$T/evil"

leaked=0
for _ in $(seq 40); do
	rm -rf "$T/got"
	dk cp cont:/a/file "$T/got" >/dev/null 2>&1
	grep -q 'host secret' "$T/got" 2>/dev/null && leaked=1
	dk cp "$T/evil" cont:/a/file >/dev/null 2>&1
	dk cp "$T/evil" cont:/a/new >/dev/null 2>&1
done
same "40 copies out under a racing link never read the host" 0 $leaked
same "... and copies in never write it" "$before" "$(state)"
for path in /abs/file /b/file /proc/1/root/../../../.. /proc/self/cwd /abs "/a/../../../../../..$T/outside/file"; do
	rm -rf "$T/got"
	timeout 10 docker -H "unix://$T/hull/run/docker.sock" cp "cont:$path" "$T/got" >/dev/null 2>&1
	refuse "cp of $path does not give the host's" sh -c "[ ! -L '$T/got' ] && grep -rqs 'host secret' '$T/got'"
	timeout 10 docker -H "unix://$T/hull/run/docker.sock" cp "$T/evil" "cont:$path" >/dev/null 2>&1
	same "... nor changes it" "$before" "$(state)"
done
# The same when it does not run: there is no namespace to be inside of.
dk kill cont >/dev/null 2>&1
for path in /abs/file /b/file /vol/file; do
	rm -rf "$T/got"
	dk cp "cont:$path" "$T/got" >/dev/null 2>&1
	refuse "cp of $path from a stopped one does not give the host's" grep -qs 'host secret' "$T/got"
	dk cp "$T/evil" "cont:$path" >/dev/null 2>&1
	same "... nor changes it" "$before" "$(state)"
done
dk rm -f -v cont >/dev/null
dk run --rm race:1 sh -c 'cat /vol/file' >"$T/vol" 2>&1
refuse "an image's volume that is a link is not filled from the host" grep -q 'host secret' "$T/vol"
dk run --rm -v nv:/abs race:1 sh -c 'cat /abs/file' >"$T/vol" 2>&1
refuse "nor is a named one at a link" grep -q 'host secret' "$T/vol"
same "... and nothing outside changed" "$before" "$(state)"

# An archive sent to a container, with names that lead out.
dk create --name quiet busybox >/dev/null
python3 - "$T/evil.tar" "$T/outside" <<'PY'
import io, sys, tarfile
with tarfile.open(sys.argv[1], "w") as t:
    for name in ("../" * 12 + sys.argv[2].lstrip("/") + "/file", sys.argv[2] + "/file2"):
        i = tarfile.TarInfo(name)
        i.size = 4
        t.addfile(i, io.BytesIO(b"evil"))
    i = tarfile.TarInfo("l")
    i.type, i.linkname = tarfile.SYMTYPE, sys.argv[2]
    t.addfile(i)
    i = tarfile.TarInfo("l/file")
    i.size = 4
    t.addfile(i, io.BytesIO(b"evil"))
PY
dk cp - quiet:/tmp <"$T/evil.tar" >/dev/null 2>&1
same "an archive with names that lead out changes nothing outside" "$before" "$(state)"
dk rm -f quiet >/dev/null
dk volume prune -af >/dev/null 2>&1
down
