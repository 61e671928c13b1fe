#!/bin/bash
# Registries of strangers (CVE-2021-41190, 2024-3727, 2020-15157): manifests that are two things, digests
# that are paths, sizes that lie, redirects that ask for credentials, realms elsewhere, endless answers.
# time: 180
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
mkdir -p "$T/outside"
python3 "$HULL_TOP/test/hostile/registry.py" 5001 5002 "$HULL_CACHE/busybox.tar" >"$T/asked" 2>"$T/registry.err" &
server=$!
within 10 curl -s http://127.0.0.1:5001/v2/ || give_up "the false registry answers" "$(cat "$T/registry.err")"
hulld_start
kept() {
	find "$T/hull/root/layer" "$T/hull/root/blob" -mindepth 1 -maxdepth 2 ! -name sha256 | sort
	dk images -q | sort
}
before=$(kept)
# Each row: the repository, what it is, and the one sentence that says why it is not taken ("of R" is the
# manifest's name, "D" any digest).
while IFS='|' read -r name why sentence; do
	sentence=$(sed "s#\bof R\b#of 127.0.0.1:5001/$name:1#; s#\bD\b#sha256:[0-9a-f]{64}#g" <<<"$sentence")
	expect "$why is refused" 1 "^(Error response from daemon: )?$sentence\$" dk pull -q "127.0.0.1:5001/$name:1"
	same "... in one line" 1 "$(grep -c . <<<"$out")"
	same "... and leaves nothing" "$before" "$(kept)"
done <<'ROWS'
both|a manifest with layers and manifests|manifest of R has both 'layers' and 'manifests': it would mean two things
mediatype|a manifest whose type is not what it says|manifest of R is one image, but is called 'application/vnd.oci.image.index.v1\+json'
digestpath|a layer digest that is a path|manifest of R: layers\[0\].digest: invalid digest 'sha256:../../../../etc/passwd': expected 'sha256:' and 64 lower-case hexadecimal digits
digestshort|a digest that is too short|manifest of R: layers\[0\].digest: invalid digest 'sha256:00': expected 'sha256:' and 64 lower-case hexadecimal digits
digestlie|a manifest that is not what was asked by digest|manifest of R: digest mismatch: expected sha256:1{64}, the bytes received have D
sizelie|a layer that is longer than it says|layer D: the registry sends more than the 100 bytes announced
negative|a layer of negative size|manifest of R: layers\[0\].size: -1 bytes are out of range
schema1|a manifest of schema 1|manifest of R is in the old schema 1, which has no verifiable configuration; ask its publisher to push it again
notjson|a manifest that is not JSON|manifest of R: not JSON: line 1, column 2: quoted object property name expected
deepjson|a manifest nested 100,000 deep|manifest of R: not JSON: line 1, column 65: nesting too deep
hugemanifest|a manifest of 100 MB|registry 127.0.0.1:5001 sent more than the 8388608 bytes allowed for 'manifests/1'
foreign|a layer that lies elsewhere, by URL|manifest of R: layers\[0\].urls: layers kept on foreign hosts are not fetched
loop|a redirect to itself|registry 127.0.0.1:5001: http://127.0.0.1:5001/v2/loop/manifests/1: Maximum \(10\) redirects followed
elsewhere|a redirect to what is no http|registry 127.0.0.1:5001: ftp://127.0.0.2/blob: Protocol "ftp" not supported or disabled in libcurl
configlie|a configuration with another number of layers|image config D: rootfs.diff_ids has 2 entries, the manifest has 1 layers
platform|an index without this platform|no matching manifest for linux/[a-z0-9]+ in manifest of R; there are: plan9/vax
selfindex|an index of itself, which no digest allows|manifest of R: digest mismatch: expected sha256:3{64}, the bytes received have D
nested|an index inside an index|manifest of R: an index inside an index is not an image
ROWS
check "a good image comes" dk pull -q 127.0.0.1:5001/good:1
dk rmi -f 127.0.0.1:5001/good:1 >/dev/null

# Credentials go to whom they were given for, and to nobody else.
cat >"$DOCKER_CONFIG/config.json" <<'JSON'
{"auths": {"127.0.0.1:5001": {"auth": "dXNlcjpzZWNyZXRwYXNz"}}}
JSON
dk pull -q 127.0.0.1:5001/redirect:1 >/dev/null 2>&1
dk pull -q 127.0.0.1:5001/realm:1 >/dev/null 2>&1
dk pull -q 127.0.0.1:5001/foreign:1 >/dev/null 2>&1
kill $server
wait $server 2>/dev/null
check "the other host was asked" grep -q '^5002' "$T/asked"
same "... without credentials" "" "$(grep '^5002' "$T/asked" | grep -i 'authorization=[^-]')"
check "the daemon serves on" kill -0 "${HULLD_PID[hull]}"
down
