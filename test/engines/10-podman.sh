#!/bin/bash
# podman, told to use hull-oci: run, exec, limits, pause, update, delete. Everything of podman's lies
# below the test's own directory.
# time: 240
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
command -v podman >/dev/null || give_up "podman is installed"

mkdir -p "$T/p"
cat >"$T/containers.conf" <<-CONF
	[containers]
	log_driver = "k8s-file"
	[engine]
	cgroup_manager = "cgroupfs"
	events_logger = "file"
	runtime = "hull-oci"
	runtime_supports_json = ["hull-oci"]
	[engine.runtimes]
	hull-oci = ["$B/hull-oci"]
CONF
printf '{"default": [{"type": "insecureAcceptAnything"}]}' >"$T/policy.json"
export CONTAINERS_CONF="$T/containers.conf"
echo "{}" >"$DOCKER_CONFIG/config.json"
pod() {
	timeout -k 5 $((60 * slow)) podman --root "$T/p/root" --runroot "$T/p/run" --tmpdir "$T/p/tmp" \
		--storage-driver vfs "$@"
}
# What podman itself leaves: its locks, its parent cgroup, its network's lock.
foreign '^file /run/(runc|hull-oci|libpod|lock|containers|crun|netns)' '^cgroup .*/libpod_parent' '^file /var/lib/(containers|cni)' \
	'^cgroup .*/conmon$' '^file /tmp/(podman|libpod|containers|storage)' '^file /run/.*_lock'

pod load -q --signature-policy "$T/policy.json" -i "$HULL_CACHE/busybox.tar" >"$T/load" 2>&1 ||
	pod load -q -i "$HULL_CACHE/busybox.tar" >"$T/load" 2>&1 || give_up "podman loads an image" "$(cat "$T/load")"
img=$(pod images -q | head -n 1)
matches "podman uses hull-oci" hull-oci "$(pod info --format '{{.Host.OCIRuntime.Name}} {{.Host.OCIRuntime.Path}}')"

common=(--network none)
same "run: output" hello "$(pod run --rm "${common[@]}" "$img" echo hello 2>"$T/err")" || cat "$T/err"
pod run --rm "${common[@]}" "$img" sh -c 'exit 7' >/dev/null 2>&1
same "run: exit code" 7 $?
pod run --rm "${common[@]}" "$img" /no/such/program >"$T/out" 2>&1
same "run: a program that is missing ends with 127" 127 $?
same "run: input" back "$(echo back | timeout 30 podman --root "$T/p/root" --runroot "$T/p/run" --tmpdir "$T/p/tmp" \
	--storage-driver vfs run --rm -i "${common[@]}" "$img" cat 2>&1)"
same "run: host network" "$(ip -o link | wc -l)" \
	"$(pod run --rm --network host "$img" sh -c 'grep -c : /proc/net/dev' 2>&1)"
same "run: user and environment" "5 v" "$(pod run --rm -u 5 -e X=v "${common[@]}" "$img" sh -c 'echo $(id -u) $X' 2>&1)"
same "run: read-only root" 1 \
	"$(pod run --rm --read-only "${common[@]}" "$img" sh -c 'touch /x 2>/dev/null; echo $?' 2>&1)"
same "run: privileged has all devices' rights" ok \
	"$(pod run --rm --privileged "${common[@]}" "$img" sh -c 'mknod /n b 7 0 && echo ok' 2>&1)"

sees() {
	local name=$1 wanted=$2
	shift 2
	same "run: $name" "$wanted" "$(pod run --rm "${common[@]}" "$@" 2>&1 | tr -d '\r' | xargs)"
}
sees "a user namespace" "0 0 100000 65536" --uidmap 0:100000:65536 --gidmap 0:100000:65536 "$img" \
	sh -c 'echo $(id -u) $(cat /proc/self/uid_map)'
sees "no capabilities" 0000000000000000 --cap-drop all "$img" sh -c 'sed -n "s/CapEff:.//p" /proc/self/status'
sees "the host's processes" yes --pid host "$img" sh -c 'test $$ != 1 && echo yes'
sees "sysctl" 77 --sysctl kernel.msgmax=77 "$img" cat /proc/sys/kernel/msgmax
sees "tmpfs and shm" "1048576 2097152" --tmpfs /t:size=1m --shm-size 2m "$img" sh -c \
	'for d in /t /dev/shm; do stat -f -c "%s %b" $d | { read s b; echo $((s * b)); }; done'
sees "hostname" box --hostname box "$img" hostname
sees "masked paths" 0 "$img" sh -c 'wc -c </proc/timer_list'
[ ! -e /dev/net/tun ] || sees "a device" yes --device /dev/net/tun "$img" sh -c 'test -c /dev/net/tun && (: </dev/net/tun) && echo yes'
sees "an unconfined process" 0 --security-opt seccomp=unconfined "$img" sh -c 'sed -n "s/Seccomp:.//p" /proc/self/status'
sees "a filtered one" 2 "$img" sh -c 'sed -n "s/Seccomp:.//p" /proc/self/status'
mkdir -p "$T/vol" && echo given >"$T/vol/file"
sees "a volume, read-only" "given no" -v "$T/vol:/vol:ro" "$img" sh -c 'cat /vol/file; touch /vol/x 2>/dev/null || echo no'
sees "working directory" /tmp -w /tmp "$img" pwd

same "limits are seen inside" "67108864 20000 100000 512 33" \
	"$(pod run --rm --memory 64m --memory-swap 64m --cpu-quota 20000 --cpu-period 100000 --cpu-shares 512 \
		--pids-limit 33 "${common[@]}" "$img" sh -c 'cd /sys/fs/cgroup; if [ -e memory ]; then
		cat memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us cpu/cpu.shares pids/pids.max
		else cat memory.max; tr " " "\n" <cpu.max; echo 512; cat pids.max; fi' 2>&1 | xargs)"
pod run --name hog --memory 16m --memory-swap 16m "${common[@]}" "$img" \
	sh -c 'x=xxxxxxxxxxxxxxxx; while :; do x=$x$x; done' >/dev/null 2>&1
same "a process over its limit is killed" 137 $?
pod rm hog >/dev/null 2>&1

pod run -d --name long "${common[@]}" "$img" sh -c 'while :; do sleep 0.1; done' >"$T/id" 2>&1 ||
	not_ok "run -d" "$(cat "$T/id")"
same "it runs" running "$(pod inspect -f '{{.State.Status}}' long)"
same "exec: output" inside "$(pod exec long echo inside 2>&1)"
pod exec long sh -c 'exit 9' >/dev/null 2>&1
same "exec: exit code" 9 $?
matches "top" 'sleep|sh' "$(pod top long 2>&1)"
matches "stats" '[0-9]+%.*' "$(pod stats --no-stream --format '{{.CPUPerc}} {{.MemUsage}}' long 2>&1)"
check "pause" pod pause long
same "... shows" paused "$(pod inspect -f '{{.State.Status}}' long)"
check "unpause" pod unpause long
same "... shows" running "$(pod inspect -f '{{.State.Status}}' long)"
check "update" pod update --memory 33554432 --memory-swap 33554432 long
same "... is seen inside" 33554432 "$(pod exec long sh -c \
	'cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max')"
check "cp out" sh -c "podman --root '$T/p/root' --runroot '$T/p/run' --tmpdir '$T/p/tmp' --storage-driver vfs \
	cp long:/etc/passwd '$T/passwd' && grep -q root '$T/passwd'"
check "kill by signal" pod kill -s USR1 long
check "stop" pod stop -t 0 long
same "... shows" exited "$(pod inspect -f '{{.State.Status}}' long)"
check "start again" pod start long
check "rm -f" pod rm -f -t 0 long
same "nothing is left" "" "$(pod ps -aq)"
same "a pseudo terminal" tty "$(pod run --rm -t "${common[@]}" "$img" sh -c 'test -t 0 && echo tty' 2>&1 | tr -d '\r')"
check "rmi" pod rmi -f "$img"
exit 0
