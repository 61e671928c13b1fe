#!/bin/bash
# The daemon may go at any instant and come back: what runs, runs on; exit codes, logs and names are
# kept; attached streams live on.
# time: 120
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
up
dk run -d --name runs busybox sh -c 'i=0; while :; do i=$((i + 1)); echo tick $i; sleep 0.1; done' >/dev/null
dk run -d --name ends busybox sh -c 'sleep 1; echo last words; exit 23' >/dev/null
dk run -d --name again --restart always busybox sh -c 'sleep 0.4; exit 1' >/dev/null
dk create --name idle busybox true >/dev/null
dk run --name att -i busybox sh -c 'echo before; read x; echo after $x; exit 4' >"$T/att" 2>/dev/null < <(sleep 3; echo input) &
client=$!
within 5 grep -q before "$T/att"
pid=$(dk inspect -f '{{.State.Pid}}' runs)

hulld_stop hull KILL
check "a container runs on without the daemon" kill -0 "$pid"
sleep 1.5
hulld_start hull || exit 1
same "it is found again, the same process" "$pid running" "$(dk inspect -f '{{.State.Pid}} {{.State.Status}}' runs)"
same "what ended meanwhile has its exit code" "exited 23" "$(dk inspect -f '{{.State.Status}} {{.State.ExitCode}}' ends)"
same "... and its last words" "last words" "$(dk logs ends)"
same "what was only created still is" created "$(dk inspect -f '{{.State.Status}}' idle)"
check "restart policies went on" sh -c "[ \$(docker -H unix://$T/hull/run/docker.sock inspect -f '{{.RestartCount}}' again) -ge 2 ]"
wait $client
# Its wait was a request to the daemon and ended with it; its streams were not.
same "an attached client's streams live on" "before after input" "$(grep -v 'error waiting' "$T/att" | xargs)"
same "the log has no gap" "" "$(dk logs runs | awk '{ if ($2 != NR) { print "gap at", NR; exit } }')"
same "exec works again" ok "$(dk exec runs echo ok)"
dk stop -t 1 runs >/dev/null
same "stop works again" exited "$(dk inspect -f '{{.State.Status}}' runs)"

# A keeper is killed: its container ends, nothing else is touched.
dk run -d --name other busybox sleep 100 >/dev/null
dk run -d --name orphan busybox sleep 100 >/dev/null
victim=$(dk inspect -f '{{.State.Pid}}' orphan)
keeper=$(awk '/^PPid/ {print $2}' "/proc/$victim/status")
matches "the container's parent is its keeper" hull-keeper "$(tr '\0' ' ' <"/proc/$keeper/cmdline")"
kill -9 "$keeper"
check "its container is ended" within 5 sh -c "! kill -0 $victim"
check "... recorded as 137" within 5 sh -c "docker -H unix://$T/hull/run/docker.sock inspect -f '{{.State.Status}} {{.State.ExitCode}}' orphan | grep -qx 'exited 137'"
matches "... and why" 'supervisor' "$(dk inspect -f '{{.State.Error}}' orphan)"
same "the others run on" running "$(dk inspect -f '{{.State.Status}}' other)"
dk start orphan >/dev/null
same "it can be started again" running "$(dk inspect -f '{{.State.Status}}' orphan)"
expect "a second daemon on the same directories is refused" '1|125' 'already|lock|running|another' \
	timeout 5 "$B/hulld" --root "$T/hull/root" --run "$T/hull/run"
down
