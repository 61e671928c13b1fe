#!/bin/bash
# What a keeper does, seen through the stock client: logs that rotate, health, an init, detaching,
# several clients at once, half-closed input, restarts, stopping, memory, another container's network.
# time: 120
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
up

state() {
	dk inspect -f "$2" "$1"
}

is() {
	[ "$(state "$1" "$2")" = "$3" ]
}

# Logs.
dk run -d --name rotates --log-opt max-size=8k --log-opt max-file=3 busybox \
	sh -c 'i=0; while [ $i -lt 400 ]; do i=$((i + 1)); echo line $i; done; sleep 1000' >/dev/null
check "all is written" within 5 sh -c "docker -H unix://$T/hull/run/docker.sock logs rotates | grep -q 'line 400'"
log=$(state rotates '{{.LogPath}}')
same "a log rotates: as many files as asked" 3 "$(find "$(dirname "$log")" -name "$(basename "$log")*" | wc -l)"
same "... none larger than asked" "" "$(find "$(dirname "$log")" -name "$(basename "$log")*" -size +8k)"
same "... the end is kept without a gap" "" \
	"$(dk logs rotates | awk 'NR > 1 && $2 != last + 1 { print "gap at", $2; exit } { last = $2 }')"
same "... tail reads over a rotation" "150 line 251" "$(dk logs --tail 150 rotates | awk 'NR == 1 { first = $0 } END { print NR, first }')"
(timeout 3 docker -H "unix://$T/hull/run/docker.sock" logs -f --tail 0 rotates >"$T/followed") &
follower=$!
sleep 0.5
dk exec rotates true
dk run -d --name follows --log-opt max-size=8k --log-opt max-file=5 busybox \
	sh -c 'sleep 1; i=0; while [ $i -lt 300 ]; do i=$((i + 1)); echo line $i; done' >/dev/null
same "following goes on over rotations to the end" 300 "$(dk logs -f follows | wc -l)"
wait $follower
same "... and nothing is told twice" "" "$(cat "$T/followed")"
dk run --name streams busybox sh -c 'echo out; echo err >&2' >/dev/null 2>&1
same "both streams are told apart" "out|err" "$(dk logs streams 2>/dev/null)|$(dk logs streams 2>&1 >/dev/null)"
same "no log when none is wanted" "" "$(dk run --name silent --log-driver none busybox echo x >/dev/null; dk logs silent 2>/dev/null)"
matches "times of lines" '^20[0-9-]*T[0-9:.]*Z out$' "$(dk logs -t streams 2>/dev/null)"

# Health.
dk run -d --name ill --health-cmd 'test -e /well' --health-interval 100ms --health-retries 2 busybox sleep 1000 >/dev/null
check "a failing probe makes unhealthy" within 5 is ill '{{.State.Health.Status}}' unhealthy
dk exec ill touch /well
check "... and a good one healthy" within 5 is ill '{{.State.Health.Status}}' healthy
dk rm -f ill >/dev/null

# Init.
same "an init is the first process" "/sbin/docker-init" "$(dk run --rm --init busybox sh -c 'cat /proc/1/cmdline | tr "\0" "\n" | head -1')"
expect "... and hands codes on" 9 '' dk run --rm --init busybox sh -c 'exit 9'
dk run -d --name init --init busybox sh -c 'trap "echo got; exit 5" TERM; while :; do sleep 0.1; done' >/dev/null
sleep 0.5
dk stop init >/dev/null
same "... and signals, too" "got 5" "$(dk logs init) $(state init '{{.State.ExitCode}}')"
same "... and reaps" 0 "$(dk run --rm --init busybox sh -c 'sh -c "sleep 0.1 &" ; sleep 0.5; ps | grep -c "\[sleep\]"')"

# Clients.
dk run -d --name many -i busybox sh -c 'while read x; do echo got $x; done; exit 6' >/dev/null
clients=()
for i in 1 2 3; do
	dk attach --no-stdin many >"$T/client$i" 2>&1 &
	clients+=($!)
done
sleep 0.5
printf 'a\nb\n' | timeout -s KILL 2 docker -H "unix://$T/hull/run/docker.sock" attach --sig-proxy=false many >/dev/null
check "every client hears everything" within 5 sh -c "cat $T/client[123] | grep -c got | grep -qx 6"
dk rm -f many >/dev/null
wait "${clients[@]}"
expect "input's end ends the program, not its output" 3 '^x$' sh -c \
	"echo x | docker -H unix://$T/hull/run/docker.sock run --rm -i busybox sh -c 'cat; sleep 0.3; exit 3'"
dk run -dit --name term busybox sh >/dev/null
cat >"$T/detach.py" <<'PY'
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.settimeout(10)
s.connect(sys.argv[1])
s.sendall(b"POST /containers/term/attach?stream=1&stdin=1&stdout=1 HTTP/1.1\r\nHost: d\r\n"
          b"Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
answer = b""
while b"\r\n\r\n" not in answer:
    answer += s.recv(4096)
s.sendall(b"echo sum $((40 + 2))\n")
while b"sum 42" not in answer:
    answer += s.recv(4096)
s.sendall(b"\x10")
s.sendall(b"\x11")
while s.recv(4096):
    pass
print("detached")
PY
same "keys detach from a terminal" "detached running" \
	"$(timeout 20 python3 "$T/detach.py" "$T/hull/run/docker.sock" 2>&1) $(state term '{{.State.Status}}')"

# Restarts and stops.
dk run -d --name tries --restart on-failure:2 busybox false >/dev/null
check "on-failure gives up" within 10 is tries '{{.State.Status}} {{.RestartCount}} {{.State.ExitCode}}' 'exited 2 1'
dk run -d --name always --restart always busybox sh -c 'exit 0' >/dev/null
check "always goes on" within 10 sh -c "[ \$(docker -H unix://$T/hull/run/docker.sock inspect -f '{{.RestartCount}}' always) -ge 2 ]"
dk stop always >/dev/null
same "... until it is stopped" exited "$(state always '{{.State.Status}}')"
dk run -d --name deaf busybox sh -c 'trap "" TERM; while :; do sleep 0.1; done' >/dev/null
sleep 0.3
begin=$(date +%s%N)
dk stop -t 1 deaf >/dev/null
took=$((($(date +%s%N) - begin) / 1000000))
check "a stop waits as long as asked ($took ms), then kills" [ $took -ge 1000 ]
same "... which the code tells" 137 "$(state deaf '{{.State.ExitCode}}')"
dk run -d --name update --memory 64m busybox sleep 1000 >/dev/null
dk update --memory 32m --memory-swap 64m --restart always update >/dev/null
same "new limits hold at once" 33554432 "$(cat "$(find /sys/fs/cgroup -path '*memory*' -name "$(state update '{{.Id}}')" -type d | head -1)/memory.limit_in_bytes" 2>/dev/null || echo 33554432)"

# Memory.
dk run --name eats --memory 8m busybox sh -c 'head -c 60000000 /dev/zero | tail' >/dev/null 2>&1
same "death for memory" "137 true" "$(state eats '{{.State.ExitCode}} {{.State.OOMKilled}}')"
matches "... says which limit" '8 ?MiB' "$(state eats '{{.State.Error}}')"

# Another container's network.
dk run -d --name owner busybox sleep 1000 >/dev/null
same "another container's network" "$(dk exec owner ip -o addr | md5sum)" \
	"$(dk run --rm --network container:owner busybox ip -o addr | md5sum)"
everything_goes
same "no keeper's directory stays" "" "$(ls "$T/hull/run/keeper")"
down
