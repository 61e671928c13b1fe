#!/bin/bash
# CVE-2022-29162, 2022-24769, 2022-27649, 2022-27650: inheritable capabilities. CVE-2023-25809: the
# cgroup tree is writable. CVE-2022-0811: sysctls of the host. GO-2025-3528, crun exec -u: ids that are
# not numbers.
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"

bundle "$T/c" '.linux.namespaces += [{type: "user"}] | .linux.namespaces |= map(select(.type != "user"))' /bin/sleep 100
oci create -b "$T/c" c >/dev/null 2>&1
oci start c || give_up "a container runs"
same "the first process inherits no capability" "CapInh: 0000000000000000" \
	"$(oci exec c grep CapInh /proc/1/status | xargs)"
for add in CAP_NET_ADMIN CAP_KILL; do
	same "exec --cap $add gives no inheritable one" "CapInh: 0000000000000000" \
		"$(oci exec --cap $add c grep CapInh /proc/self/status | xargs)"
done
refuse "the container's cgroups cannot be written" oci exec c sh -c '
	for f in /sys/fs/cgroup/*/cgroup.procs /sys/fs/cgroup/*/release_agent /sys/fs/cgroup/*/tasks /sys/fs/cgroup/cgroup.procs; do
		[ -e $f ] && echo 0 >$f && exit 0
	done 2>/dev/null; exit 1'
refuse "nor can a group be made" oci exec c sh -c 'mkdir /sys/fs/cgroup/x /sys/fs/cgroup/*/x 2>/dev/null'

while IFS= read -r user; do
	expect "exec -u '$user' is refused" '1|125|126|127|255' 'user|uid|gid|id|number' oci exec -u "$user" c id -u
done <<'ROWS'
0x0
0:0junk
-1
+0
4294967296
4294967295
18446744073709551616
1000:99999999999
1e3
:0
0:
0 0
0:0:0
ROWS
expect "exec -u 1000:100 is taken as it stands" 0 '^uid=1000.* gid=100' oci exec -u 1000:100 c id
oci delete -f c

while read -r key value; do
	bundle "$T/s" ".linux.sysctl = {\"$key\": \"$value\"}" /true
	expect "the sysctl '$key' is refused" '1|125|126|127' 'sysctl' oci run -b "$T/s" s
	oci delete -f s >/dev/null 2>&1
done <<'ROWS'
kernel.core_pattern |/bin/evil
kernel.sysrq 1
vm.overcommit_memory 1
fs.file-max 1
net/../kernel/core_pattern x
net.ipv4.../../../kernel/sysrq 1
kernel.shmmax/../core_pattern x
ROWS
bundle "$T/s" '.linux.sysctl = {"net.ipv4.ip_forward": "1"} | .linux.namespaces |= map(select(.type != "network"))' /true
expect "a network sysctl without an own network is refused" '1|125|126|127' 'sysctl' oci run -b "$T/s" s
oci delete -f s >/dev/null 2>&1
exit 0
