#!/bin/bash
# Clients that go away: `docker run -d` drops its wait, followers are killed; no descriptor may leak.
# CLIENTS times (default 40; `make soak` does 1,000).
# time: 240
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
clients=${CLIENTS:-40}
up
daemon=${HULLD_PID[hull]}
fds() {
	find "/proc/$daemon/fd" -mindepth 1 | wc -l
}
dk run -d --name talker busybox sh -c 'while :; do echo tick; sleep 0.2; done' >/dev/null
# Once round first: what is opened once and kept is not a leak.
dk run -d --name warm busybox true >/dev/null
dk rm -f warm >/dev/null
timeout 0.5 docker -H "unix://$T/hull/run/docker.sock" logs -f talker >/dev/null
sleep 0.5
before=$(fds)
for i in $(seq "$clients"); do
	dk run -d --name "d$i" busybox true >/dev/null
	dk rm -f "d$i" >/dev/null
done
sleep 1
check "$clients docker run -d leak no descriptor ($before before, $(fds) now)" test "$(fds)" -le $((before + 3))
# Killed, not asked to end: a client hands SIGTERM on to the container.
abandon() {
	timeout -s KILL 0.2 docker -H "unix://$T/hull/run/docker.sock" "$@" >/dev/null
} 2>/dev/null
for _ in $(seq "$clients"); do
	abandon logs -f talker &
	abandon events &
	abandon wait talker &
	abandon stats talker &
	(abandon attach --no-stdin talker) 2>/dev/null
	sleep 0.02
done
sleep 2
check "$((clients * 5)) abandoned follows leak none ($before before, $(fds) now)" test "$(fds)" -le $((before + 3))
keeper=$(awk '/^PPid/ {print $2}' "/proc/$(dk inspect -f '{{.State.Pid}}' talker)/status")
check "nor does the keeper hold them" test "$(find "/proc/$keeper/fd" -mindepth 1 | wc -l)" -lt 25
down
