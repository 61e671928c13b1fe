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
while read -r name why; do
	expect "$why is refused" 1 '.' timeout 30 docker -H "unix://$T/hull/run/docker.sock" pull -q "127.0.0.1:5001/$name:1"
	same "... and leaves nothing" "$before" "$(kept)"
done <<'ROWS'
both a manifest with layers and manifests
mediatype a manifest whose type is not what it says
digestpath a layer digest that is a path
digestshort a digest that is too short
digestlie a manifest that is not what was asked by digest
sizelie a layer that is longer than it says
negative a layer of negative size
schema1 a manifest of schema 1
notjson a manifest that is not JSON
deepjson a manifest nested 100,000 deep
hugemanifest a manifest of 100 MB
foreign a layer that lies elsewhere, by URL
loop a redirect to itself
configlie a configuration with another number of layers
platform an index without this platform
selfindex an index of itself
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
