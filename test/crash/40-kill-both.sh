#!/bin/bash
# `kill -9` of hulld and of keepers together, under load: the daemon always comes back, whatever is listed
# is in a state that exists, what nobody killed keeps its code and its log, and nothing leaks.
# KILLS times (default 6; `make soak` does 200).
# time: 200
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
# The leak checker looks from a process of its own, which bears the keeper's name: killed, it leaves the
# keeper waiting for ever.
export ASAN_OPTIONS=$ASAN_OPTIONS:detect_leaks=0
kills=${KILLS:-6}
up
expect "a second hulld on the same root is refused" 1 'another hulld is already running on the root' \
	"$B/hulld" --root "$T/hull/root" --run "$T/hull/other"
dk run -d --name steady busybox sh -c 'i=0; while :; do i=$((i + 1)); echo tick $i; sleep 0.05; done' >/dev/null
steady=$(dk inspect -f '{{.State.Pid}}' steady)
spared=$(awk '/^PPid:/ { print $2 }' "/proc/$steady/status")

load() {
	local n=0
	while [ ! -e "$T/enough" ]; do
		n=$((n + 1))
		case $1 in
		run) dk run --rm busybox sh -c 'echo x; exit 3' ;;
		again) dk run -d --name "again$n" --restart on-failure:3 busybox sh -c 'sleep 0.3; exit 1' ;;
		pipe) echo x | dk run --name "pipe$n" -i busybox sh -c 'cat; sleep 0.2' ;;
		exec) dk exec steady true ;;
		esac
	done >/dev/null 2>&1 </dev/null
}
clients=()
for kind in run again pipe exec; do
	load $kind &
	clients+=($!)
done

# Keepers are children of the daemon that made them, or of the cell's first process.
keepers() {
	pgrep -x hull-keeper | grep -vx "$spared"
}
RANDOM=${SEED:-5}
lost=0
for _ in $(seq "$kills"); do
	sleep "0.$((RANDOM % 10))"
	mapfile -t all < <(keepers)
	[ ${#all[@]} = 0 ] || kill -9 "${all[RANDOM % ${#all[@]}]}" 2>/dev/null
	[ $((RANDOM % 2)) = 0 ] || hulld_stop hull KILL
	mapfile -t all < <(keepers)
	[ ${#all[@]} = 0 ] || kill -9 "${all[RANDOM % ${#all[@]}]}" 2>/dev/null
	hulld_stop hull KILL
	hulld_start hull || { lost=1; break; }
done
touch "$T/enough"
for client in "${clients[@]}"; do
	wait "$client"
done
same "the daemon came back each time, $kills times" 0 $lost
settled() {
	[ -z "$(dk ps -q --filter status=restarting)" ] && [ "$(dk ps -q | wc -l)" = 1 ]
}
check "all but one come to their end" within 20 settled
same "what nobody killed is the same process" "$steady running" "$(dk inspect -f '{{.State.Pid}} {{.State.Status}}' steady)"
same "... its log has no gap" "" "$(dk logs steady | awk '{ if ($2 != NR) { print "gap at", NR, $0; exit } }')"
odd=
for c in $(dk ps -aq --filter status=exited); do
	case $(dk inspect -f '{{.Name}} {{.State.ExitCode}}' "$c") in
	/again*' 1' | /pipe*' 0' | *' 3' | *' 137') ;;
	*' 128') ;; # what was killed was the child that made it
	*)
		why=$(dk inspect -f '{{.Name}} {{.State.ExitCode}} {{.State.Error}}' "$c")
		# ... or the process that was to become the container, which bears its name, too, or its
		# keeper before there was anything to end: the start has failed, and says so
		[[ $why =~ ' 125 '.*('was killed before it was done'|'ended without a word'|'its supervisor ended: '.*'has ended')$ ]] || odd="$odd $why"
		;;
	esac
done
same "every exit code is the program's or 137" "" "$odd"
everything_goes
within 5 sh -c '! pgrep -x hull-keeper'
for k in $(pgrep -x hull-keeper); do # what it waits for
	head -v -n 50 "/proc/$k/stack" "/proc/$k/status" "/proc/$k/cmdline"
	ls -l "/proc/$k/fd"
done
same "no keeper stays" "" "$(pgrep -x hull-keeper | xargs)"
same "no container's directory stays" "" "$(ls "$T/hull/root/container" 2>/dev/null)"
same "no keeper's directory stays" "" "$(ls "$T/hull/run/keeper" 2>/dev/null)"
same "no mount stays" "" "$(grep "$T" /proc/self/mountinfo)"
same "no container's cgroup stays" "" "$(find /sys/fs/cgroup -type d -path '*hull-*' | grep -E '/[0-9a-f]{64}$')"
check "no container's link stays" within 5 sh -c '[ "$(ip -o link show type veth | wc -l)" = 0 ]'
down
