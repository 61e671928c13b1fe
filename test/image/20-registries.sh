#!/bin/bash
# Registries and their habits: mirrors, broken connections, tokens, images for several platforms, blobs
# that are there already.
# time: 120
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
registry_start
proxies=()

# proxy PORT [HABIT...]: what it was asked is in $T/asked.PORT.
proxy() {
	python3 "$HULL_TOP/test/image/proxy.py" "$1" 5000 "${@:2}" >"$T/asked.$1" 2>"$T/proxy.$1.err" &
	proxies+=($!)
	within 10 curl -s -o "$T/x" "http://127.0.0.1:$1/v2/" || give_up "a proxy answers" "$(cat "$T/proxy.$1.err")"
}
image "$T/box.tar" box:1 '{"Cmd":["cat","/who"]}' sh -c 'echo box >who; head -c 3000000 /dev/urandom >noise'
for name in box library/box; do
	skopeo copy -q --dest-tls-verify=false "docker-archive:$T/box.tar" "docker://$REGISTRY/$name:1" >/dev/null
done

# A mirror stands in for docker.io, and for a registry by name.
proxy 5041
hulld_start hull --registry-mirror http://127.0.0.1:5041 --registry-mirror far.invalid=http://127.0.0.1:5041 || exit 1
check "a mirror is asked for docker.io" dk pull -q box:1
same "... the image runs under its own name" box "$(dk run --rm box:1)"
check "... it was the mirror" grep -q '^GET /v2/library/box/manifests/1 ' "$T/asked.5041"
check "a mirror of a registry by name" dk pull -q far.invalid/box:1
dk rmi box:1 far.invalid/box:1 >/dev/null

# A connection that breaks: what came is kept, the rest is asked for.
proxy 5042 cut
check "a pull whose layer breaks off in the middle" dk pull -q 127.0.0.1:5042/box:1
check "... goes on where it was" grep -Eq 'blobs/sha256:.* range=bytes=[1-9][0-9]*- 206' "$T/asked.5042"
same "... and is whole" box "$(dk run --rm 127.0.0.1:5042/box:1)"
dk rmi 127.0.0.1:5042/box:1 >/dev/null

# Tokens.
proxy 5043 token
expect "a registry that wants a token, without credentials" 1 'unauthorized|denied|authentication|token|login' \
	dk pull -q 127.0.0.1:5043/box:1
echo '{"auths": {"127.0.0.1:5043": {"auth": "'"$(printf user:password | base64)"'"}}}' >"$DOCKER_CONFIG/config.json"
check "... with them" dk pull -q 127.0.0.1:5043/box:1
check "... it asked for a token" grep -q '^GET /token?.* 200' "$T/asked.5043"
dk rmi 127.0.0.1:5043/box:1 >/dev/null

# Several platforms under one name.
for arch in amd64 arm64; do
	image "$T/$arch.tar" many:$arch '{"Cmd":["cat","/who"]}' sh -c "echo $arch >who"
	skopeo copy -q --dest-tls-verify=false "docker-archive:$T/$arch.tar" "docker://$REGISTRY/many:$arch" >/dev/null
	curl -s -D "$T/head" -o "$T/$arch.json" -H 'Accept: application/vnd.docker.distribution.manifest.v2+json' \
		"http://$REGISTRY/v2/many/manifests/$arch"
	jq -n --arg d "$(tr -d '\r' <"$T/head" | sed -n 's/^[Dd]ocker-[Cc]ontent-[Dd]igest: //p')" --arg a $arch \
		--argjson s "$(stat -c %s "$T/$arch.json")" --slurpfile m "$T/$arch.json" \
		'{mediaType: $m[0].mediaType, digest: $d, size: $s, platform: {os: "linux", architecture: $a}}'
done >"$T/entries"
jq -s '{schemaVersion: 2, mediaType: "application/vnd.docker.distribution.manifest.list.v2+json", manifests: .}' \
	"$T/entries" >"$T/list"
same "a list of two platforms" 201 "$(curl -s -o "$T/x" -w '%{http_code}' -X PUT --data-binary "@$T/list" \
	-H 'Content-Type: application/vnd.docker.distribution.manifest.list.v2+json' "http://$REGISTRY/v2/many/manifests/1")"
check "pull of a list" dk pull -q "$REGISTRY/many:1"
same "... takes this machine's" amd64 "$(dk run --rm "$REGISTRY/many:1")"
check "--platform takes another" dk pull -q --platform linux/arm64 "$REGISTRY/many:1"
same "... that one" arm64 "$(dk run --rm "$REGISTRY/many:1")"
expect "a platform that is not there is told" 1 'plan9|vax' dk pull -q --platform plan9/vax "$REGISTRY/many:1"

# A blob that another repository has is mounted, not sent.
proxy 5044
dk pull -q 127.0.0.1:5044/box:1 >/dev/null
dk tag 127.0.0.1:5044/box:1 127.0.0.1:5044/other/box:1
check "push into another repository" dk push -q 127.0.0.1:5044/other/box:1
check "... mounts the layer" grep -Eq '^POST /v2/other/box/blobs/uploads/\?.*mount=sha256.* 201' "$T/asked.5044"
same "... and it is whole" box "$(dk rmi -f 127.0.0.1:5044/other/box:1 >/dev/null; dk run --rm 127.0.0.1:5044/other/box:1 2>/dev/null)"

# What is larger than 32 MiB goes up in pieces, and one that is lost goes again.
image "$T/big.tar" big:1 '{"Cmd":["sha256sum","/noise"]}' sh -c 'head -c 70000000 /dev/urandom >noise'
dk load -qi "$T/big.tar" >/dev/null
sum=$(dk run --rm big:1)
for at in 5045 "5046 drop"; do
	# shellcheck disable=SC2086 # words
	proxy $at
	at=${at% *}
	dk tag big:1 "127.0.0.1:$at/big$at:1"
	check "push of 70 MB, by port $at" dk push -q "127.0.0.1:$at/big$at:1"
	same "... in pieces, each to its place" "0-33554431 33554432-67108863 67108864-7" \
		"$(sed -n 's/^PATCH .* range=\([0-9-]*\) 202$/\1/p' "$T/asked.$at" | sed 's/^\(67108864-7\).*/\1/' | xargs)"
	dk rmi "127.0.0.1:$at/big$at:1" >/dev/null
done
check "... one of them twice" grep -q '^PATCH .* dropped$' "$T/asked.5046"
dk rmi big:1 >/dev/null
for at in 5045 5046; do
	same "... and they are one again" "$sum" "$(dk run --rm "$REGISTRY/big$at:1" 2>/dev/null)"
	dk rmi "$REGISTRY/big$at:1" >/dev/null
done
kill "${proxies[@]}"
wait "${proxies[@]}" 2>/dev/null
down
