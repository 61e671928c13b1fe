#!/bin/bash
# Small memory limits work, and who is killed for memory learns why.
# time: 90
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
n=0

for size in 8388608 4194304 2097152 1048576; do
	bad=0
	bundle "$T/c" ".linux.resources.memory = {limit: $size, swap: $size}" /true
	for _ in 1 2 3 4 5; do
		n=$((n + 1))
		oci run -b "$T/c" "x$n" >"$T/out" 2>&1 </dev/null || bad=$((bad + 1))
	done
	same "true starts within $((size / 1024)) KiB, five times" "0 " "$bad $([ $bad = 0 ] || cat "$T/out")"
done
bundle "$T/c" ".linux.resources.memory = {limit: 1048576, swap: 1048576} | .linux.namespaces |= (. + [{type: \"cgroup\"}] | unique_by(.type))" /true
check "... with a cgroup namespace" oci run -b "$T/c" ns

# Started and killed later.
bundle "$T/c" ".linux.resources.memory = {limit: 8388608, swap: 8388608}" /bin/sh -c \
	'x=xxxxxxxxxxxxxxxx; while :; do x=$x$x; done'
oci run -b "$T/c" hog >"$T/out" 2>&1 </dev/null
same "one that eats more than its limit ends with 137" 137 $?
matches "... and the reason is told: which limit, how much, the peak" 'limit 8 MiB .*, peak 8 MiB' "$(cat "$T/out")"
[ ! -r /dev/kmsg ] || ! dmesg >/dev/null 2>&1 ||
	matches "... and who it was" "process 'sh' \([0-9]+\)" "$(cat "$T/out")"
oci run -d -b "$T/c" hog2 >/dev/null 2>&1 </dev/null
bundle "$T/w" ".linux.resources.memory = {limit: 16777216, swap: 16777216}" /bin/sh -c \
	'while [ ! -e /go ]; do sleep 0.05; done; (x=xxxxxxxxxxxxxxxx; while :; do x=$x$x; done); sleep 1000'
oci run -d -b "$T/w" w >/dev/null 2>&1 </dev/null
oci events --interval 1s w >"$T/events" 2>&1 &
events=$!
sleep 0.3
touch "$T/w/rootfs/go"
check "events tells of the kill" within 5 grep -q '"type":"oom"' "$T/events"
check "... and of numbers" within 5 grep -q '"type":"stats"' "$T/events"
oci delete -f w
check "... and ends with the container" within 5 sh -c "! kill -0 $events"
kill "$events" 2>/dev/null
wait "$events" 2>/dev/null
oci delete -f hog2

# Killed before its program ran.
bundle "$T/c" ".linux.resources.memory = {limit: 65536, swap: 65536}" /bin/sh -c 'echo ran'
oci run -b "$T/c" tiny >"$T/out" 2>&1 </dev/null
code=$?
same "a limit under which nothing can start: no success" yes "$([ $code != 0 ] && echo yes)"
matches "... and says which limit and how much" 'memory.*64 KiB|64 KiB.*memory' "$(cat "$T/out")"
oci delete -f tiny 2>/dev/null
exit 0
