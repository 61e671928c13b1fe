#!/bin/bash
# `kill -9` of hulld at random moments under load: nothing that runs notices, no half-made container or
# image stays, logs are whole, nothing leaks. KILLS times (default 8; `make soak` does 200).
# time: 240
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
kills=${KILLS:-8}
up
dk run -d --name steady busybox sh -c 'i=0; while :; do i=$((i + 1)); echo tick $i; sleep 0.05; done' >/dev/null
pid=$(dk inspect -f '{{.State.Pid}}' steady)
image "$T/more.tar" more:1 '{}' sh -c 'head -c 20000000 /dev/urandom >noise'
registry_start
skopeo copy -q --dest-tls-verify=false "docker-archive:$T/more.tar" "docker://$REGISTRY/far:1" >/dev/null ||
	give_up "an image is pushed"

# The load: clients that start, execute, load, pull and remove, whatever becomes of them.
load() {
	local n=0
	while [ ! -e "$T/enough" ]; do
		n=$((n + 1))
		case $1 in
		run) dk run --rm busybox sh -c 'echo x; exit 3' ;;
		keep) dk run -d --name "keep$n" --restart on-failure:1 busybox sh -c 'echo kept; exit 1' ;;
		image) dk load -qi "$T/more.tar" && dk rmi more:1 ;;
		pull) dk pull -q "$REGISTRY/far:1" && dk rmi "$REGISTRY/far:1" ;;
		exec) dk exec steady true ;;
		net) dk network create "n$n" && dk run --rm --network "n$n" -p 0:80 busybox true && dk network rm "n$n" ;;
		esac
	done >/dev/null 2>&1 </dev/null
}
clients=()
for kind in run keep image pull exec net; do
	load $kind &
	clients+=($!)
done

RANDOM=${SEED:-7}
lost=0
for _ in $(seq "$kills"); do
	sleep "0.$((RANDOM % 9))$((RANDOM % 10))"
	hulld_stop hull KILL
	hulld_start hull || { lost=1; break; }
done
touch "$T/enough"
for client in "${clients[@]}"; do
	wait "$client"
done
same "the daemon came back each time, $kills times" 0 $lost
check "what ran runs on" kill -0 "$pid"
same "... and is known as the same" "$pid running" "$(dk inspect -f '{{.State.Pid}} {{.State.Status}}' steady)"
same "its log has no gap" "" "$(dk logs steady | awk '{ if ($2 != NR) { print "gap at", NR, $0; exit } }')"
bad=
for c in $(dk ps -aq); do
	dk inspect -f '{{.Name}} {{.State.Status}}' "$c" | grep -Eq ' (running|exited|created|restarting)$' || bad="$bad $c"
done
same "no container is half-made" "" "$bad"
for c in $(dk ps -aq --filter status=exited); do
	[ "$(dk logs "$c" 2>/dev/null | grep -vc '^kept$')" = 0 ] || bad="$bad $c"
done
same "logs are whole" "" "$bad"
same "no image is half-made" "" "$(for i in $(dk images -q); do dk run --rm "$i" /bin/busybox true >/dev/null 2>&1 || echo "$i"; done)"

# Everything goes; then nothing of it may be left in the directories.
everything_goes
dk image prune -af >/dev/null
same "no container's directory stays" "" "$(ls "$T/hull/root/container" 2>/dev/null)"
same "no keeper's directory stays" "" "$(ls "$T/hull/run/keeper" 2>/dev/null)"
same "no layer stays" "" "$(ls "$T/hull/root/layer" 2>/dev/null)"
same "no process but the daemon's stays" "" "$(pgrep -f hull-keeper)"
same "no mount stays" "" "$(grep "$T" /proc/self/mountinfo)"
same "no link stays but the default bridge" 0 "$(ip -o link show type veth | wc -l)"
down
