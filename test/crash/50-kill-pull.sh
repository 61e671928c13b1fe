#!/bin/bash
# `kill -9` of hulld while it pulls: in the middle of a layer, and KILLS times at random (default 5). The
# next pull completes; nothing half-made is seen, and nothing of the broken ones stays.
# time: 120
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
kills=${KILLS:-5}
registry_start
mkdir -p "$T/noise" && head -c 20000000 /dev/urandom >"$T/noise/noise" && sum=$(sha256sum <"$T/noise/noise")
python3 "$HULL_TOP/test/image/layers.py" "$T/box.tar" box:1 '{"Cmd":["sha256sum","/noise"]}' \
	"$HULL_CACHE/busybox.root:gzip" "$T/noise:gzip" || give_up "an image of two layers"
skopeo copy -q --dest-tls-verify=false "docker-archive:$T/box.tar" "docker://$REGISTRY/box:1" >/dev/null ||
	give_up "the image is in the registry"
python3 "$HULL_TOP/test/image/proxy.py" 5045 5000 hold >"$T/asked" 2>"$T/proxy.err" &
proxy=$!
within 10 curl -s -o "$T/x" http://127.0.0.1:5045/v2/ || give_up "a proxy answers" "$(cat "$T/proxy.err")"
name=127.0.0.1:5045/box:1
hulld_start
kept() {
	(cd "$T/hull/root" && find layer image blob/sha256 -mindepth 1 -maxdepth 1 ! -name images.json ! -name probe | sort)
	dk images -q --no-trunc
}
is_clean() {
	[ "$(kept)" = "$empty" ]
}
# What is neither a blob of its digest nor a layer with its note, by name.
half_made() {
	local at
	find "$T"/hull/root/{tmp,blob/tmp} -mindepth 1 -maxdepth 1
	for at in "$T"/hull/root/layer/*; do
		[ ! -e "$at" ] || [ -s "$at/layer.json" ] || echo "$at"
	done
	find "$T/hull/root/blob" -type f | while read -r at; do
		[ "$(sha256sum <"$at")" = "${at##*/}  -" ] || echo "$at"
	done
}
whole() {
	find "$T/hull/root/layer" -maxdepth 2 -name layer.json | grep -vc /tmp-
}
empty=$(kept)
base=$(curl -s -H 'Accept: application/vnd.docker.distribution.manifest.v2+json' \
	"http://$REGISTRY/v2/box/manifests/1" | jq -r '.layers[0].digest')

dk pull -q "$name" >"$T/pull" 2>&1 &
client=$!
check "the registry stands still in the middle of a layer" within 20 grep -q '^holding' "$T/asked"
check "... the other is complete" within 20 eval '[ "$(whole)" = 1 ]'
check "... this one is being unpacked" within 20 eval 'find "$T"/hull/root/layer/tmp-*/fs -name noise -size +1M | grep -q .'
hulld_stop hull KILL
refuse "the client sees the end" wait $client
check "no process of it stays" within 10 eval '! pgrep -x hull-unpack'
hulld_start || exit 1
same "nothing half-made stays" "" "$(half_made)"
same "... and no image" "" "$(dk images -q)"
expect "... so that none runs" 125 'No such image|not found|Unable to find' dk run --pull never --rm "$name"
check "the next pull completes" dk pull -q "$name"
same "... and is whole" "$sum" "$(dk run --rm "$name" | sed 's#/noise#-#')"
same "what was complete was not asked for again" 1 "$(grep -c "^GET .*/blobs/$base " "$T/asked")"
dk rmi "$name" >/dev/null
check "nothing stays when it goes" within 5 is_clean

RANDOM=${SEED:-7}
name=$REGISTRY/box:1
lost=
for _ in $(seq "$kills"); do
	dk pull -q "$name" >"$T/pull" 2>&1 &
	sleep "0.$((RANDOM % 5))$((RANDOM % 10))"
	hulld_stop hull KILL
	wait $!
	hulld_start || { lost=yes; break; }
	# What is there is there in full, whenever that was.
	if [ -n "$(dk images -q)" ]; then
		[ "$(dk run --rm "$name" | sed 's#/noise#-#')" = "$sum" ] || lost="$lost half"
		dk rmi "$name" >/dev/null
	fi
	lost="$lost$(half_made)"
done
same "$kills kills at random: all or nothing" "" "$lost"
check "the pull after them completes" dk pull -q "$name"
same "... and is whole" "$sum" "$(dk run --rm "$name" | sed 's#/noise#-#')"
dk rmi "$name" >/dev/null
dk image prune -af >/dev/null
check "nothing stays when it goes" within 5 is_clean
kill "$proxy"
wait "$proxy" 2>/dev/null
down
