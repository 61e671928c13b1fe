#!/bin/bash
# 200 containers from one client at the docker socket, in the default network; then what they cost while
# they run: a keeper's private dirty memory, the daemon's resident memory, wake-ups at rest.
# time: 300
# shellcheck source=bench/lib.sh disable=SC2016
. "$HULL_TOP/bench/lib.sh"
count=${COUNT:-200}
foreign '^link docker0' '^nft table ip6? (nat|filter)' '^file /run/(docker|containerd)' '^cgroup .*/docker' \
	'^mount .*/dockerd/' '^file /(etc|var/lib)/(docker|containerd|cni)'
up
took=$(python3 "$HULL_TOP/bench/many.py" "$T/hull/run/docker.sock" 1) || give_up "one container starts" "$took"
dk rm -f many0 >/dev/null
took=$(python3 "$HULL_TOP/bench/many.py" "$T/hull/run/docker.sock" "$count" 2>&1) ||
	give_up "$count containers start" "$took" "$(tail -n 20 "$T/hull/log")"
hull=${took#* }

daemon=${HULLD_PID[hull]}
keepers=$(pgrep -x hull-keeper | xargs)
net=$(pgrep -x hull-net | xargs)
same "every container has its keeper" "$count" "$(wc -w <<<"$keepers")"
dirty=$(for k in $keepers; do awk '/^Private_Dirty/ {print $2}' "/proc/$k/smaps_rollup"; done | sort -n | tail -n 1)
resident=$(awk '/^VmRSS/ {print $2}' "/proc/$daemon/status")

# Every thread's voluntary switches are its wake-ups: nothing preempts what sleeps.
wakes() {
	local p
	for p in "$@"; do
		cat /proc/"$p"/task/*/status
	done 2>/dev/null | awk '/^voluntary_ctxt/ {n += $2} END {print n + 0}'
}
sleep 5
# shellcheck disable=SC2086 # lists of pids
before_d=$(wakes $daemon) before_k=$(wakes $keepers) before_n=$(wakes $net)
sleep 20
# shellcheck disable=SC2086
after_d=$(wakes $daemon) after_k=$(wakes $keepers) after_n=$(wakes $net)
rate=$(awk "BEGIN { printf \"%.2f\", ($after_d - $before_d + $after_k - $before_k + $after_n - $before_n) / 20 }")
down

# The peer: as many as fit into the time, its per-container time scaled.
mkdir -p "$T/dockerd"
dockerd -H "unix://$T/dockerd/run/docker.sock" --data-root "$T/dockerd/root" --exec-root "$T/dockerd/run/exec" \
	-p "$T/dockerd/pid" >"$T/dockerd/log" 2>&1 &
dockerd=$!
peer=none
few=30
if within 30 curl -sf --unix-socket "$T/dockerd/run/docker.sock" http://d/_ping; then
	H=dockerd have_busybox
	peer=$(python3 "$HULL_TOP/bench/many.py" "$T/dockerd/run/docker.sock" $few 2>&1)
	peer=$(awk "BEGIN { printf \"dockerd: %.1f s by %d measured\", ${peer#* } / $few * $count, $few }")
	shim=$(pgrep -x containerd-shim | head -n 1)
	shim=$(awk '/^Private_Dirty/ {print $2}' "/proc/$shim/smaps_rollup" 2>/dev/null)
	theirs=$(awk '/^VmRSS/ {print $2}' "/proc/$dockerd/status")
	H=dockerd everything_goes
fi
kill $dockerd
wait $dockerd 2>/dev/null

row "$count containers, one client, all running" "<= 3 s" "$hull s" "$(holds "$hull <= 3")" "$peer"
row "a keeper's Private_Dirty, the largest" "<= 300 kB" "$dirty kB" "$(holds "$dirty <= 300")" "a shim: ${shim-?} kB"
row "hulld resident, $count running" "<= 25 MB" "$(awk "BEGIN { printf \"%.1f MB\", $resident / 1024 }")" \
	"$(holds "$resident <= 25 * 1024")" "dockerd alone: $((${theirs:-0} / 1024)) MB, $few running"
row "wake-ups a second at rest, all processes" "<= 1" "$rate" "$(holds "$rate <= 1")" \
	"hulld $((after_d - before_d)), keepers $((after_k - before_k)), hull-net $((after_n - before_n)) in 20 s"
