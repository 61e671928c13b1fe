#!/bin/bash
# Every key of linux.resources on a host whose only hierarchy is cgroup v2, with all its controllers
# (36-cgroup-v2-machine makes such a host): files hold what was asked, and the kernel enforces it.
# time: 120
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
grep -qw memory /sys/fs/cgroup/cgroup.subtree_control 2>/dev/null ||
	{ ok "skipped: this host's memory controller is not on cgroup v2"; exit 0; }
# shellcheck source=test/oci/holds.sh
. "$HULL_TOP/test/oci/holds.sh"

# refused NAME RESOURCES REGEX
refused() {
	n=$((n + 1))
	bundle "$T/c" ".linux.resources += $2"
	expect "$1" '1|125|255' "$3" oci create -b "$T/c" "x$n"
	oci delete -f "x$n" >/dev/null 2>&1
}

holds "memory: limit and reservation" '{memory: {limit: 67108864, reservation: 33554432}}' \
	memory.max=67108864 memory.low=33554432
[ ! -e /sys/fs/cgroup/init/memory.swap.max ] ||
	holds "memory: swap is counted apart" '{memory: {limit: 67108864, swap: 134217728}}' \
		memory.max=67108864 memory.swap.max=67108864
holds "cpu: quota and period" '{cpu: {quota: 20000, period: 50000}}' "cpu.max=20000 50000"
# Shares and weights meet at their least, their default and their most; between them runs a curve.
holds "cpu: shares become a weight" '{cpu: {shares: 1024}}' cpu.weight=100
holds "cpu: the least" '{cpu: {shares: 2}}' cpu.weight=1
holds "cpu: the most" '{cpu: {shares: 262144}}' cpu.weight=10000
holds "cpu: idle" '{cpu: {idle: 1}}' cpu.idle=1
holds "cpu: burst" '{cpu: {quota: 20000, period: 50000, burst: 10000}}' cpu.max.burst=10000
holds "cpu: cpus and mems" '{cpu: {cpus: "0", mems: "0"}}' cpuset.cpus=0 cpuset.mems=0
holds "pids" '{pids: {limit: 20}}' pids.max=20
holds "pids without end" '{pids: {limit: -1}}' pids.max=max
disk=$(lsblk -dno MAJ:MIN /dev/nvme0n1 2>/dev/null | tr -d ' ')
[ -z "$disk" ] || holds "block I/O throttles in one file" "{blockIO: {
	throttleReadBpsDevice: [{major: ${disk%:*}, minor: ${disk#*:}, rate: 1048576}],
	throttleWriteIOPSDevice: [{major: ${disk%:*}, minor: ${disk#*:}, rate: 20}]}}" \
	"io.max=$disk rbps=1048576 wbps=max riops=max wiops=20"
[ ! -e /sys/fs/cgroup/init/hugetlb.2MB.max ] ||
	holds "huge pages" '{hugepageLimits: [{pageSize: "2MB", limit: 4194304}]}' hugetlb.2MB.max=4194304
holds "raw files" '{unified: {"memory.high": "50331648", "pids.max": "7"}}' memory.high=50331648 pids.max=7
holds "zeros mean not set" '{memory: {limit: 0}, cpu: {shares: 0}, pids: {limit: 0}}' \
	cpu.weight=100 pids.max=max memory.max=max
refused "swappiness is v1's" '{memory: {limit: 67108864, swappiness: 10}}' 'swappiness.*cgroup v2'
refused "swap below memory" '{memory: {limit: 67108864, swap: 1048576}}' 'swap'
refused "raw files that do not exist" '{unified: {"memory.nonsense": "1"}}' 'memory.nonsense'

same "none of them leaves its cgroup" "" "$(find /sys/fs/cgroup -mindepth 1 -maxdepth 1 -type d -name 'b[0-9]*')"

# The kernel enforces them.
bundle "$T/c" '.linux.resources.pids = {limit: 3}' /bin/sh -c 'sleep 5 & sleep 5 & sleep 5 & sleep 5 & wait'
expect "too many processes do not start" '*' 'fork' oci run -b "$T/c" many
bundle "$T/c" '.linux.resources.cpu = {quota: 10000, period: 100000}' /bin/sh -c \
	'i=0; while [ $i -lt 60000 ]; do i=$((i + 1)); done; cat /sys/fs/cgroup/cpu.stat'
oci run -b "$T/c" slow >"$T/out" 2>&1 </dev/null
matches "a quota throttles" '^nr_throttled [1-9]' "$(cat "$T/out")"
bundle "$T/c" '.linux.resources.memory = {limit: 67108864}' /bin/sleep 1000
oci run -d -b "$T/c" u >"$T/out" 2>&1 </dev/null || not_ok "a container to update" "$(cat "$T/out")"
check "update" oci update --memory 134217728 --pids-limit 50 --cpu-quota 30000 u
same "... memory" 134217728 "$(cat "$(group)/memory.max")"
same "... pids" 50 "$(cat "$(group)/pids.max")"
matches "... cpu" '^30000 ' "$(cat "$(group)/cpu.max")"
check "exec joins the limits" oci exec u /bin/true
same "events --stats shows the limit" 134217728 "$(oci events --stats u | jq -r .data.memory.usage.limit)"
oci delete -f u
exit 0
