#!/bin/bash
# The Engine API on the wire: headers, versions, errors, taken-over connections, waits.
# time: 90
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
up
sock="$T/hull/run/docker.sock"
wire() {
	python3 "$HULL_TOP/test/docker/wire.py" "$sock" "$@" 2>&1
}

# headers(PATH [CURL ARGS]): the reply's head
headers() {
	curl -s -m 20 --unix-socket "$sock" -o /dev/null -D - "http://d$1" "${@:2}" | tr -d '\r'
}

# every reply
for path in /_ping /version /containers/json /nothing /v1.23/info /containers/nosuch/json; do
	h=$(headers "$path")
	matches "$path tells the API version" '^Api-Version: 1.51$' "$h"
	matches "... and the kind of system" '^Ostype: linux$' "$h"
done
matches "ping by HEAD" 'Builder-Version: 1' "$(headers /_ping -I)"
same "ping" "OK" "$(curl -s --unix-socket "$sock" http://d/v1.24/_ping)"

# refusals
same "an old client" 'client version 1.23 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version 400' \
	"$(api GET /v1.23/info | jq -r '.message? // .' | xargs)"
matches "a client too new" 'client version 1.99 is too new.* 400' "$(api GET /v1.99/info | xargs)"
same "no such page" '{message:page not found} 404' "$(api GET /nothing | xargs)"
same "no such container" '404' "$(api GET /containers/nosuch/json | tail -n 1)"
matches "... in words" 'o such container: nosuch' "$(api GET /containers/nosuch/json)"
matches "no such image" 'o such image: nosuch:latest.* 404' "$(api POST /containers/create '{"Image":"nosuch"}' | xargs)"
matches "broken JSON says where" 'line 1.* 400' "$(api POST /containers/create '{"Image":' | xargs)"
matches "a wrong type says which key" 'Image.*number.* 400' "$(api POST /containers/create '{"Image":5}' | xargs)"
same "no swarm" 503 "$(api GET /services | tail -n 1)"
same "no plugins" '[] 200' "$(api GET /plugins | xargs)"
same "no sessions" 404 "$(api POST /session | tail -n 1)"
matches "no builds yet, said so" 'not supported.* 501' "$(api POST /build | xargs)"
matches "an unknown filter" '400' "$(api GET '/containers/json?filters=%7B%22nosuch%22:%5B%22x%22%5D%7D' | tail -n 1)"
same "a bad number" 400 "$(api GET '/containers/json?limit=x' | tail -n 1)"
same "half-closed clients are answered" "HTTP/1.1 200 OK" "$(wire half /version)"

# clients of other times
for version in 1.24 1.41 1.43 1.51; do
	DOCKER_API_VERSION=$version check "docker speaking $version" dk run --rm busybox true
done

# life, by status
id=$(api POST /containers/create '{"Image":"busybox","Cmd":["sh","-c","read x; echo got $x; echo bad >&2; exit 4"],"OpenStdin":true,"StdinOnce":true}' |
	head -n 1 | jq -r .Id)
matches "create gives the id" '^[0-9a-f]{64}$' "$id"
same "created" 'created 0001-01-01T00:00:00Z' \
	"$(api GET "/containers/$id/json" | head -n 1 | jq -r '.State | .Status + " " + .StartedAt')"
matches "a bad wait condition" '400' "$(api POST "/containers/$id/wait?condition=x" | tail -n 1)"
wire wait "$id" >"$T/waited" &
waiter=$!
wire attach "$id" upgrade $'word\n' >"$T/attached" &
attacher=$!
sleep 0.5
same "start" 204 "$(api POST "/containers/$id/start" | tail -n 1)"
wait $waiter $attacher
same "attach before start: taken over, framed, nothing lost" \
	"HTTP/1.1 101 UPGRADED 1 got word 2 bad" "$(xargs <"$T/attached")"
same "wait: headers at once, code at the end" "HTTP/1.1 200 OK 0 4" \
	"$(head -n 1 "$T/waited") $(grep -o '{.*}' "$T/waited" | jq .StatusCode)"
wire attach "$id" plain $'old\n' >"$T/attached" &
attacher=$!
sleep 0.5
api POST "/containers/$id/start" >/dev/null
wait $attacher
same "attach of old: 200 and raw" "HTTP/1.1 200 OK 1 got old 2 bad" "$(xargs <"$T/attached")"
within 5 sh -c "[ \$(docker -H unix://$sock inspect -f '{{.State.Running}}' $id) = false ]"
same "stop of what is stopped" 304 "$(api POST "/containers/$id/stop" | tail -n 1)"
same "kill of what is stopped" 409 "$(api POST "/containers/$id/kill" | tail -n 1)"
same "remove" 204 "$(api DELETE "/containers/$id" | tail -n 1)"

id=$(dk run -d busybox sleep 300)
same "start of what runs" 304 "$(api POST "/containers/$id/start" | tail -n 1)"
same "remove of what runs" 409 "$(api DELETE "/containers/$id" | tail -n 1)"

# a thousand clients that leave
before=$(find "/proc/${HULLD_PID[hull]}/fd" | wc -l)
wire abandon "/containers/$id/wait?condition=next-exit" 1000
few() {
	[ "$(find "/proc/${HULLD_PID[hull]}/fd" | wc -l)" -le $((before + 3)) ]
}
check "1,000 abandoned waits leave no descriptor" within 10 few
for _ in 1 2 3 4 5; do
	timeout 0.3 curl -sN --unix-socket "$sock" "http://d/containers/$id/logs?follow=1&stdout=1" >/dev/null
	timeout 0.3 curl -sN --unix-socket "$sock" http://d/events >/dev/null
	timeout 0.3 curl -sN --unix-socket "$sock" "http://d/containers/$id/stats" >/dev/null
done
check "... nor do follows, events and stats" within 10 few

# an attached stream outlives the daemon
dk run -d -i --name out busybox cat >/dev/null
mkfifo "$T/in"
dk attach out <"$T/in" >"$T/out" 2>&1 &
attached=$!
exec 9>"$T/in"
echo one >&9
check "attached" within 5 grep -qx one "$T/out"
hulld_stop hull KILL
echo two >&9
check "the stream lives without the daemon" within 5 grep -qx two "$T/out"
hulld_start
echo three >&9
check "... and after it is back" within 5 grep -qx three "$T/out"
exec 9>&-
kill $attached 2>/dev/null
wait $attached 2>/dev/null

# owners
curl -s --unix-socket "$sock" -H 'X-Hull-Owner: cli' -H 'Content-Type: application/json' \
	-d '{"Image":"busybox"}' "http://d/containers/create?name=theirs" >"$T/theirs"
own=$(curl -s --unix-socket "$sock" -H 'X-Hull-Owner: cli' 'http://d/containers/json?all=1' | jq -r '.[].Names[]')
same "a container of hull's" "/theirs" "$own"
same "... is not docker's" "" "$(dk ps -aq --filter name=theirs)"
same "... nor can docker remove it" 404 "$(api DELETE /containers/theirs | tail -n 1)"
same "an unknown owner" 400 "$(curl -s -o /dev/null -w '%{http_code}' --unix-socket "$sock" -H 'X-Hull-Owner: x' http://d/info)"
curl -s --unix-socket "$sock" -X DELETE -H 'X-Hull-Owner: cli' http://d/containers/theirs
down
