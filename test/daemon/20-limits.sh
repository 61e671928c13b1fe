#!/bin/bash
# Limits and rights of containers: memory, processor, pids, capabilities, seccomp, sysctls, devices.
# time: 120
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
up
inside() {
	dk run --rm "$@" 2>&1
}

image "$T/tiny.tar" tiny:1 '{"Cmd":["/true"]}' cp "$(prog eat)" eat
dk load -qi "$T/tiny.tar" >/dev/null
for _ in 1 2 3; do
	out=$(inside -m 1m tiny:1 /true) || break
done
same "a limit of 1 MiB still starts true" 0 "$?$out"
same "the limit is in its cgroup" 33554432 \
	"$(inside -m 32m busybox sh -c 'cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max')"
dk run --name oom -m 32m --memory-swap 32m tiny:1 /eat >"$T/oom" 2>&1
same "out of memory ends it with 137" 137 $?
same "... and inspect says so" true "$(dk inspect -f '{{.State.OOMKilled}}' oom)"
matches "... and says which limit" 'memory.*32' "$(dk inspect -f '{{.State.Error}}' oom)"
dk rm oom >/dev/null
same "cpu quota" 50000 "$(inside --cpus 0.5 busybox sh -c 'cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null || cut -d" " -f1 /sys/fs/cgroup/cpu.max')"
same "cpu set" 0 "$(inside --cpuset-cpus 0 busybox sh -c "sed -n 's/Cpus_allowed_list:.//p' /proc/self/status")"
matches "pids limit" "can't fork" "$(inside --pids-limit 5 busybox sh -c '(for i in 1 2 3 4 5 6; do sleep 1 & done; wait)')"
same "the 14 default capabilities" "CapEff: 00000000a80425fb" "$(inside busybox grep CapEff /proc/self/status | xargs)"
same "none inheritable" "CapInh: 0000000000000000" "$(inside busybox grep CapInh /proc/self/status | xargs)"
same "--cap-drop ALL --cap-add CHOWN" "CapEff: 0000000000000001" \
	"$(inside --cap-drop ALL --cap-add CHOWN busybox grep CapEff /proc/self/status | xargs)"
same "another user has none" "CapEff: 0000000000000000" "$(inside -u 1000 busybox grep CapEff /proc/self/status | xargs)"
same "a seccomp filter by default" "Seccomp: 2" "$(inside busybox grep Seccomp: /proc/self/status | xargs)"
refuse "... which refuses unshare" inside busybox unshare -U true
same "seccomp=unconfined" "Seccomp: 0" "$(inside --security-opt seccomp=unconfined busybox grep Seccomp: /proc/self/status | xargs)"
same "no-new-privileges" "NoNewPrivs: 1" "$(inside --security-opt no-new-privileges busybox grep NoNewPrivs /proc/self/status | xargs)"
same "sysctl" 1 "$(inside --sysctl net.ipv4.ip_forward=1 busybox cat /proc/sys/net/ipv4/ip_forward)"
same "ulimit" 77 "$(inside --ulimit nofile=77:77 busybox sh -c 'ulimit -n')"
same "shm size" 1024 "$(inside --shm-size 1m busybox df -k /dev/shm | awk 'END {print $2}')"
same "tmpfs" 1024 "$(inside --tmpfs /t:size=1m busybox df -k /t | awk 'END {print $2}')"
same "device" "5:0" "$(inside --device /dev/tty:/dev/mine busybox stat -c %t:%T /dev/mine)"
same "privileged sees devices and has all rights" "yes" "$(inside --privileged busybox sh -c '[ -e /dev/kmsg ] && mount -t tmpfs x /tmp && echo yes')"
same "own pids, host's on demand" "1 more" \
	"$(inside busybox sh -c 'echo $$') $([ "$(inside --pid host busybox sh -c 'echo $$')" != 1 ] && echo more)"
same "another container's ipc and pids" "yes" "$(dk run -d --name peer busybox sleep 60 >/dev/null; inside --pid container:peer busybox sh -c 'grep -q sleep /proc/1/cmdline && echo yes'; dk rm -f peer >/dev/null)"
matches "secrets of the kernel are masked" '^0$' "$(inside busybox sh -c 'cat /proc/keys /proc/timer_list | wc -c')"
same "/proc/sys is read-only" Read-only "$(inside busybox sh -c '(echo 1 >/proc/sys/kernel/panic) 2>&1' | grep -o Read-only)"
down
