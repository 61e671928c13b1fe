#!/bin/bash
# Every key of linux.resources reaches the kernel; what the host cannot hold is an error that names it.
# time: 120
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
[ -d /sys/fs/cgroup/memory ] || { ok "skipped: this host has no cgroup v1 (33-cgroup-v2 looks at v2)"; exit 0; }
# shellcheck source=test/oci/holds.sh
. "$HULL_TOP/test/oci/holds.sh"

# refused NAME RESOURCES REGEX: an error that matches, and no cgroup stays.
refused() {
	n=$((n + 1))
	bundle "$T/c" ".linux.resources += $2"
	if oci create -b "$T/c" "x$n" >"$T/out" 2>&1 </dev/null; then
		not_ok "$1" "it succeeded"
		oci delete -f "x$n"
		return
	fi
	matches "$1" "$3" "$(cat "$T/out")"
	same "... and leaves no cgroup" "" "$(find /sys/fs/cgroup -path "*$(jq -r .linux.cgroupsPath "$T/c/config.json")" -type d)"
}

holds "memory: limit, swap, reservation, swappiness" \
	'{memory: {limit: 67108864, swap: 134217728, reservation: 33554432, swappiness: 10, kernel: 999}}' \
	memory/memory.limit_in_bytes=67108864 memory/memory.memsw.limit_in_bytes=134217728 \
	memory/memory.soft_limit_in_bytes=33554432 memory/memory.swappiness=10
holds "memory: the killer disabled" '{memory: {limit: 67108864, disableOOMKiller: true}}' \
	"memory/memory.oom_control=oom_kill_disable 1 under_oom 0 oom_kill 0"
holds "cpu: shares, quota, period, burst" \
	'{cpu: {shares: 512, quota: 20000, period: 50000, burst: 10000}}' cpu/cpu.shares=512 \
	cpu/cpu.cfs_quota_us=20000 cpu/cpu.cfs_period_us=50000 cpu/cpu.cfs_burst_us=10000
holds "cpu: idle" '{cpu: {idle: 1}}' cpu/cpu.idle=1
holds "cpu: cpus and mems" '{cpu: {cpus: "0", mems: "0"}}' cpuset/cpuset.cpus=0 cpuset/cpuset.mems=0
holds "pids" '{pids: {limit: 20}}' pids/pids.max=20
holds "pids without end" '{pids: {limit: -1}}' pids/pids.max=max
[ ! -e /dev/loop0 ] || holds "block I/O throttles" '{blockIO: {
	throttleReadBpsDevice: [{major: 7, minor: 0, rate: 1048576}], throttleWriteBpsDevice: [{major: 7, minor: 0, rate: 2097152}],
	throttleReadIOPSDevice: [{major: 7, minor: 0, rate: 10}], throttleWriteIOPSDevice: [{major: 7, minor: 0, rate: 20}]}}' \
	"blkio/blkio.throttle.read_bps_device=7:0 1048576" "blkio/blkio.throttle.write_bps_device=7:0 2097152" \
	"blkio/blkio.throttle.read_iops_device=7:0 10" "blkio/blkio.throttle.write_iops_device=7:0 20"
holds "zeros mean not set" '{memory: {limit: 0}, cpu: {shares: 0}, pids: {limit: 0}, blockIO: {weight: 0}}' \
	cpu/cpu.shares=1024 pids/pids.max=max
echo +hugetlb 2>/dev/null >/sys/fs/cgroup/unified/cgroup.subtree_control &&
	holds "huge pages, on a hybrid host's v2 side" '{hugepageLimits: [{pageSize: "2MB", limit: 4194304}]}' \
		unified/hugetlb.2MB.max=4194304

refused "swap below memory" '{memory: {limit: 67108864, swap: 1048576}}' "memory.swap.*1048576.*memory.memsw.limit_in_bytes"
refused "a processor that is not there" '{cpu: {cpus: "4000"}}' "cpu.cpus.*'4000'.*cpuset.cpus"
refused "a page size that is none" '{hugepageLimits: [{pageSize: "../x", limit: 1}]}' 'page size|hugetlb'
refused "raw v2 files by path" '{unified: {"../x": "1"}}' "'../x'"
refused "raw v2 files of a controller that is v1's" '{unified: {"memory.high": "1"}}' 'memory.high'
[ -d /sys/fs/cgroup/net_cls ] || refused "a controller that the host lacks" '{network: {classID: 5}}' "'net_cls'"
refused "an unknown kind of device" '{devices: [{allow: true, type: "z", access: "r"}]}' "type 'z'"

# Devices, looked at from inside.
inside() {
	local got
	n=$((n + 1))
	bundle "$T/c" "$3" /bin/sh -c "$4"
	got=$(oci run -b "$T/c" "x$n" 2>&1 </dev/null)
	same "$1" "$2" "$got"
	oci delete -f "x$n" >/dev/null 2>&1
}
caps='.process.capabilities |= map_values(. + ["CAP_MKNOD"])'
inside "devices: the usual ones open, others do not" "null yes full yes loop no" "$caps" '
	mknod /tmp/loop b 7 0; for d in /dev/null /dev/full /tmp/loop; do
	if (: <$d) 2>/dev/null; then echo ${d##*/} yes; else echo ${d##*/} no; fi; done | xargs'
[ ! -e /dev/fuse ] || inside "devices: a rule opens one more" "yes" \
	"$caps | .linux.resources.devices += [{allow: true, type: \"c\", major: 10, minor: 229, access: \"rw\"}]" '
	mknod /tmp/fuse c 10 229; if (: <>/tmp/fuse) 2>/dev/null; then echo yes; else echo no; fi'
[ ! -e /dev/net/tun ] || inside "devices: all of them, when a rule says so" "0" \
	"$caps | .linux.resources.devices = [{allow: true, access: \"rwm\"}]" 'mknod /tmp/tun c 10 200; (: </tmp/tun); echo $?'

# Update.
bundle "$T/c" '.linux.resources += {memory: {limit: 67108864, swap: 67108864}}' /bin/sleep 1000
oci run -d -b "$T/c" u >/dev/null 2>&1 </dev/null
check "update: memory above its old swap limit" oci update --memory 134217728 --memory-swap 134217728 u
same "... holds" "134217728 134217728" "$(cat "$(group memory)"/memory.{,memsw.}limit_in_bytes | xargs)"
check "update: memory below" oci update --memory 33554432 --memory-swap 33554432 u
same "... holds" "33554432 33554432" "$(cat "$(group memory)"/memory.{,memsw.}limit_in_bytes | xargs)"
check "update: no limit" oci update --memory -1 --memory-swap -1 u
same "... holds" 1 "$(($(cat "$(group memory)/memory.limit_in_bytes") > 1 << 50))"
same "a cpuset is not made for nobody" no "$([ -d "$(group cpuset)" ] && echo yes || echo no)"
check "update: cpus" oci update --cpuset-cpus 0 --cpuset-mems 0 u
same "... holds, and the process moved" "0 0" "$(cat "$(group cpuset)/cpuset.cpus") $(oci exec u sed -n \
	's/Cpus_allowed_list:.//p' /proc/1/status)"
check "update: cpu" oci update --cpu-share 300 --cpu-quota 50000 --cpu-period 100000 u
same "... holds" "300 50000 100000" "$(cat "$(group cpu)"/cpu.{shares,cfs_quota_us,cfs_period_us} | xargs)"
echo '{"memory": {"limit": 1024, "checkBeforeUpdate": true}}' >"$T/u.json"
expect "update: less than what is in use is refused" '1|125|255' 'in use' oci update -r "$T/u.json" u
check "events --stats tells the numbers" sh -c "'$B/hull-oci' --root '$T/oci' events --stats u | jq -e '
	.data.pids.current == 1 and .data.cpu.usage.total > 0 and .data.memory.usage.max > 0 and
	(.data.memory.raw | has(\"total_rss\")) and .data.cpuset.cpus == [0]'"
oci delete -f u
same "delete removes the cpuset too" no "$([ -d "$(group cpuset)" ] && echo yes || echo no)"
exit 0
