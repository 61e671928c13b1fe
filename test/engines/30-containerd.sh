#!/bin/bash
# containerd by its client ctr, told to use hull-oci: run, exec, limits, pause, metrics, delete, OOM.
# time: 180
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
command -v ctr >/dev/null || give_up "containerd is installed"

mkdir -p "$T/d"
cat >"$T/d/config.toml" <<-CONF
	version = 2
	root = "$T/d/root"
	state = "$T/d/state"
	disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.btrfs",
		"io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs",
		"io.containerd.snapshotter.v1.devmapper", "io.containerd.internal.v1.opt"]
	[grpc]
	  address = "/run/c.sock"
CONF
containerd -c "$T/d/config.toml" >"$T/d/log" 2>&1 &
daemon=$!
ct() {
	timeout -k 5 $((60 * slow)) ctr -a /run/c.sock "$@"
}
within 10 ct version || give_up "containerd answers" "$(tail "$T/d/log")"
foreign '^file /run/(c\.sock|containerd|runc|hull-oci)' '^cgroup .*/default$' '^mount .*/d/' '^file /var/lib/containerd' \
	'^file /run/shim'
ct image import --snapshotter native "$HULL_CACHE/busybox.tar" >"$T/import" 2>&1 ||
	give_up "an image is imported" "$(cat "$T/import")"
img=$(ct image ls -q | head -n 1)
with=(--snapshotter native --runc-binary "$B/hull-oci" --runc-root /run/hull-oci)
events() {
	ct events >"$T/events" 2>&1 &
	events=$!
	sleep 0.3
}

same "run: output" hello "$(ct run --rm "${with[@]}" "$img" r1 echo hello 2>&1)"
ct run --rm "${with[@]}" "$img" r2 sh -c 'exit 7' >/dev/null 2>&1
same "run: exit code" 7 $?
matches "run: a program that is missing is named" '/no/such/program' \
	"$(ct run --rm "${with[@]}" "$img" r3 /no/such/program 2>&1)"
same "limits are seen inside" "67108864 512 20000" "$(ct run --rm "${with[@]}" --memory-limit 67108864 \
	--cpu-quota 20000 --cpu-period 100000 --cpu-shares 512 \
	--mount type=bind,src=/sys/fs/cgroup,dst=/cg,options=rbind:ro "$img" r4 sh -c '
	p() { sed -n "s/^[0-9]*:$1://p" /proc/self/cgroup; }
	if [ -e /cg/memory ]; then
	cat /cg/memory$(p memory)/memory.limit_in_bytes /cg/cpu$(p cpu)/cpu.shares /cg/cpu$(p cpu)/cpu.cfs_quota_us
	else cat /cg$(sed s/0:://  /proc/self/cgroup)/memory.max; echo 512 20000; fi' 2>&1 | xargs)"
events
ct run --rm "${with[@]}" --memory-limit 16777216 "$img" r5 \
	sh -c 'x=xxxxxxxxxxxxxxxx; while :; do x=$x$x; done' >/dev/null 2>&1
same "a process over its limit is killed" 137 $?
check "... and containerd tells of it" within 3 grep -q '/tasks/oom' "$T/events"
kill "$events" && wait "$events" 2>/dev/null

check "run -d" ct run -d "${with[@]}" "$img" long sh -c 'while :; do sleep 0.1; done'
matches "it runs" 'long .*RUNNING' "$(ct task ls)"
same "exec: output" inside "$(ct task exec --exec-id e1 long echo inside 2>&1)"
ct task exec --exec-id e2 long sh -c 'exit 9' >/dev/null 2>&1
same "exec: exit code" 9 $?
matches "ps" '[0-9]+' "$(ct task ps long)"
matches "metrics" 'pids\.current +[1-9]|pids' "$(ct task metrics long 2>&1)"
check "pause" ct task pause long
matches "... shows" 'long .*PAUSED' "$(ct task ls)"
check "resume" ct task resume long
matches "... shows" 'long .*RUNNING' "$(ct task ls)"
check "kill" ct task kill -s KILL long
check "... ends it" within 5 sh -c "ctr -a /run/c.sock task ls | grep 'long .*STOPPED'"
check "task delete" sh -c "ctr -a /run/c.sock task delete long; ! ctr -a /run/c.sock task ls -q | grep long"
check "container delete" ct container delete long
same "a pseudo terminal" tty "$(script -qec "ctr -a /run/c.sock run --rm -t ${with[*]} $img term sh -c 'test -t 0 && echo tty'" \
	/dev/null 2>&1 | tr -d '\r' | grep -o 'tty$')"
check "the image is removed" ct image rm "$img"
kill "$daemon" && wait "$daemon" 2>/dev/null
exit 0
