#!/bin/bash
# `kill -9` of keepers: the container of a killed keeper ends (137, "supervisor killed"), its restart
# policy applies, its clients are let go, and nothing else is touched; also while no daemon runs.
# KILLS random ones at the end (default 6; `make soak` does 200).
# time: 180
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
# The leak checker looks from a process of its own, which bears the keeper's name: killed, it leaves the
# keeper waiting for ever.
export ASAN_OPTIONS=$ASAN_OPTIONS:detect_leaks=0
kills=${KILLS:-6}
up

state() {
	dk inspect -f '{{.State.Status}} {{.State.ExitCode}}' "$1"
}

is() {
	[ "$(state "$1")" = "$2" ]
}

pid_of() {
	dk inspect -f '{{.State.Pid}}' "$1"
}

# The parent of a container's first process is its keeper.
keeper_of() {
	awk '/^PPid:/ { print $2 }' "/proc/$(pid_of "$1")/status"
}

groups_of() {
	find /sys/fs/cgroup -type d -name "*$1*"
}

ticking='i=0; while :; do i=$((i + 1)); echo tick $i; sleep 0.05; done'
dk run -d --name bystander busybox sh -c "$ticking" >/dev/null
bystander=$(pid_of bystander)

# One that shall not come back.
id=$(dk run -d --name once busybox sh -c 'sleep 1000 & sleep 1001')
pid=$(pid_of once)
kill -9 "$(keeper_of once)"
check "a container ends with its keeper" within 5 is once "exited 137"
matches "... and says why" 'supervisor killed' "$(dk inspect -f '{{.State.Error}}' once)"
refuse "... its first process is gone" kill -0 "$pid"
refuse "... and so are the others" pgrep -f 'sleep 100[01]'
same "... no cgroup of it stays" "" "$(groups_of "$id")"
same "... no keeper's directory stays" "" "$(ls -d "$T/hull/run/keeper/$id" 2>/dev/null)"
expect "... it can be started again" 0 once dk start once
check "... and runs" within 5 is once "running 0"
dk rm -f once >/dev/null

# One that shall.
dk run -d --name again --restart always busybox sh -c "$ticking" >/dev/null
pid=$(pid_of again)
kill -9 "$(keeper_of again)"
came_back() {
	[ "$(state again)" = "running 0" ] && [ "$(pid_of again)" != "$pid" ]
}
check "with a restart policy it comes back" within 10 came_back
matches "... the restart is counted" '^[1-9]' "$(dk inspect -f '{{.RestartCount}}' again)"

# Clients of a killed keeper.
dk run --name attached busybox sh -c 'echo begun; sleep 1000' >"$T/attached" 2>&1 &
client=$!
check "a client is attached" within 10 grep -q begun "$T/attached"
dk exec attached sleep 1000 >/dev/null 2>&1 &
executing=$!
within 5 sh -c "[ \$(pgrep -fc '^sleep 1000') -ge 2 ]"
kill -9 "$(keeper_of attached)"
wait $client
same "its attached client ends with 137" 137 $?
refuse "its exec's client ends, too" wait $executing
dk rm -f attached >/dev/null

# While no daemon runs: what ends by itself keeps its code, what lost its keeper is found.
dk run -d --name code busybox sh -c 'sleep 1; echo last words; exit 42' >/dev/null
dk run -d --name retry --restart on-failure:2 busybox sh -c 'echo try; exit 3' >/dev/null
dk run -d --name orphan busybox sleep 1000 >/dev/null
dk run -d --name goes-on busybox sh -c "$ticking" >/dev/null
dk attach --no-stdin goes-on >"$T/stream" 2>/dev/null &
stream=$!
check "a client follows" within 10 grep -q tick "$T/stream"
keeper=$(keeper_of orphan)
hulld_stop hull KILL
lines=$(wc -l <"$T/stream")
kill -9 "$keeper"
sleep 2
more=$(wc -l <"$T/stream")
check "an attached client reads on without the daemon" [ "$more" -gt "$lines" ]
hulld_start hull
same "an exit without the daemon is kept" "exited 42" "$(state code)"
same "... with its last words" "last words" "$(dk logs code)"
check "restarts without the daemon are made" within 5 is retry "exited 3"
same "... as often as asked" 3 "$(dk logs retry | grep -c try)"
check "a keeper killed without the daemon is noticed" within 5 is orphan "exited 137"
check "what runs is taken over" is goes-on "running 0"
dk kill goes-on >/dev/null
wait $stream
same "... and its log has no gap" "" \
	"$(dk logs goes-on | awk '{ if ($2 != NR) { print "gap at", NR, $0; exit } }')"

# At random, among several.
for i in 1 2 3 4; do
	dk run -d --name "many$i" --restart always busybox sh -c "$ticking" >/dev/null
done
RANDOM=${SEED:-11}
for _ in $(seq "$kills"); do
	keeper=$(keeper_of "many$((RANDOM % 4 + 1))") && [ "${keeper:-0}" -gt 1 ] && kill -9 "$keeper"
	sleep "0.$((RANDOM % 10))"
done
for i in 1 2 3 4; do
	check "container $i of 4 runs after $kills kills" within 90 is "many$i" "running 0"
done
same "the bystander is the same process" "$bystander running 0" "$(pid_of bystander) $(state bystander)"
same "... and its log has no gap" "" \
	"$(dk logs bystander | awk '{ if ($2 != NR) { print "gap at", NR, $0; exit } }')"

everything_goes
same "no container's directory stays" "" "$(ls "$T/hull/root/container" 2>/dev/null)"
same "no keeper's directory stays" "" "$(ls "$T/hull/run/keeper" 2>/dev/null)"
refuse "no keeper stays" pgrep -f hull-keeper
same "no mount stays" "" "$(grep "$T" /proc/self/mountinfo)"
# The kernel takes a dead network namespace apart in its own time.
check "no link stays" within 5 sh -c '[ "$(ip -o link show type veth | wc -l)" = 0 ]'
down
