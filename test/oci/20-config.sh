#!/bin/bash
# What config.json asks for is what the container sees.
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
n=0

# sees NAME WANTED JQ_FILTER SHELL: what the shell prints inside.
sees() {
	local got
	n=$((n + 1))
	bundle "$T/c" "$3" /bin/sh -c "$4"
	got=$(oci run -b "$T/c" "x$n" 2>&1)
	same "$1" "$2" "$got"
	oci delete -f "x$n" >/dev/null 2>&1
}
ns='.linux.namespaces'

sees "hostname" box '.hostname = "box"' hostname
sees "domain name" example.org '.domainname = "example.org"' 'cat /proc/sys/kernel/domainname'
sees "first process" 1 . 'echo $$'
sees "own network with a loopback that is up" "lo UP" . \
	'ip -o link | sed "s/.*: \(lo\): <.*\(UP\).*/\1 \2/"'
sees "read-only root" "Read-only" '.root.readonly = true' 'touch /x 2>&1 | grep -o Read-only'
sees "user, group, more groups, umask" "7 8 8 9 0027" \
	'.process.user = {uid: 7, gid: 8, additionalGids: [9], umask: 23}' 'echo $(id -u) $(id -g) $(id -G) $(umask)'
sees "variables and directory" "v /tmp" '.process.env += ["X=v"] | .process.cwd = "/tmp"' 'echo $X $PWD'
sees "a working directory that is made" "/made/here" '.process.cwd = "/made/here"' pwd
sees "resource limits" 77 '.process.rlimits = [{type: "RLIMIT_NOFILE", soft: 77, hard: 77}]' 'ulimit -n'
sees "no new privileges" "NoNewPrivs: 1" . 'grep NoNewPrivs /proc/self/status | xargs'
sees "capabilities: what is named, and no more" "CapEff: 0000000000000001 CapBnd: 0000000000000021" \
	'.process.capabilities |= {bounding: ["CAP_CHOWN", "CAP_KILL"], effective: ["CAP_CHOWN"], permitted: ["CAP_CHOWN"]}' \
	'exec 2>/dev/null; grep -E "Cap(Eff|Bnd)" /proc/self/status | xargs'
sees "oom score" 100 '.process.oomScoreAdj = 100' 'cat /proc/self/oom_score_adj'
sees "sysctl" 1 '.linux.sysctl = {"net.ipv4.ip_forward": "1"}' 'cat /proc/sys/net/ipv4/ip_forward'
sees "masked file" 0 '.linux.maskedPaths += ["/etc/passwd"]' 'wc -c </etc/passwd'
sees "masked directory" "" '.linux.maskedPaths += ["/etc"]' 'ls /etc'
sees "read-only path" Read-only '.linux.readonlyPaths += ["/etc"]' 'touch /etc/x 2>&1 | grep -o Read-only'
sees "tmpfs with size" "1048576" '.mounts += [{destination: "/t", type: "tmpfs", source: "t", options: ["size=1m"]}]' \
	'stat -f -c "%s %b" /t | { read s b; echo $((s * b)); }'
mkdir -p "$T/give/sub" && echo hello >"$T/give/file"
sees "bind" hello ".mounts += [{destination: \"/g\", source: \"$T/give\", options: [\"rbind\"]}]" 'cat /g/file'
sees "bind of one file" hello ".mounts += [{destination: \"/f\", source: \"$T/give/file\", options: [\"bind\"]}]" 'cat /f'
sees "bind, read-only" Read-only \
	".mounts += [{destination: \"/g\", source: \"$T/give\", options: [\"bind\", \"ro\"]}]" \
	'touch /g/x 2>&1 | grep -o Read-only'
mount -t tmpfs sub "$T/give/sub"
sees "recursive read-only reaches the mounts below" "Read-only" \
	".mounts += [{destination: \"/g\", source: \"$T/give\", options: [\"rbind\", \"rro\"]}]" \
	'touch /g/sub/x 2>&1 | grep -o Read-only'
umount "$T/give/sub"
sees "nosuid,nodev,noexec" "nosuid,nodev,noexec" \
	".mounts += [{destination: \"/g\", source: \"$T/give\", options: [\"bind\", \"nosuid\", \"nodev\", \"noexec\"]}]" \
	'grep -o "nosuid,nodev,noexec" /proc/mounts | grep -c . >/dev/null; awk "\$2 == \"/g\" {print \$4}" /proc/mounts | grep -o nosuid,nodev,noexec'
chown 1234:1234 "$T/give/file"
sees "idmapped mount" "5 5" ".mounts += [{destination: \"/g\", source: \"$T/give\", options: [\"bind\", \"idmap\"],
	uidMappings: [{containerID: 1234, hostID: 5, size: 1}], gidMappings: [{containerID: 1234, hostID: 5, size: 1}]}]" \
	'stat -c "%u %g" /g/file'
sees "user namespace" "0 0 100000 65536" "$ns += [{type: \"user\"}] | .linux.uidMappings = [{containerID: 0, hostID: 100000, size: 65536}] |
	.linux.gidMappings = .linux.uidMappings" 'echo $(id -u) $(cat /proc/self/uid_map)' 
sees "cgroup namespace" "/" "$ns += [{type: \"cgroup\"}]" 'sed -n "s/.*:pids://p" /proc/self/cgroup'
sees "time namespace" "yes" "$ns += [{type: \"time\"}] | .linux.timeOffsets = {boottime: {secs: 864000, nanosecs: 0}}" \
	'[ $(cut -d. -f1 /proc/uptime) -gt 864000 ] && echo yes'
ip netns add joined && ip netns exec joined ip link set lo up
sees "a network joined by path" "$(stat -Lc %i /run/netns/joined)" \
	"$ns |= map(if .type == \"network\" then .path = \"/run/netns/joined\" else . end)" \
	'readlink /proc/self/ns/net | tr -dc 0-9'
ip netns del joined
umount /run/netns
rmdir /run/netns
sees "pids limit" "can't fork" '.linux.resources.pids = {limit: 5}' \
	'(for i in 1 2 3 4 5 6; do sleep 1 & done; wait) 2>/tmp/err
	while read -r line; do case $line in *"t fork"*) echo "can'"'"'t fork"; break ;; esac; done </tmp/err'
sees "memory limit" 33554432 '.linux.resources.memory = {limit: 33554432}' \
	'cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max'
sees "cpu quota" 20000 '.linux.resources.cpu = {quota: 20000, period: 100000}' \
	'cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null || cut -d" " -f1 /sys/fs/cgroup/cpu.max'
sees "device rules: what is not allowed is denied" "Operation not permitted" \
	'.linux.resources.devices = [{allow: false, access: "rwm"}, {allow: true, type: "c", major: 1, minor: 3, access: "rw"}] |
	.linux.devices = [{path: "/dev/own", type: "c", major: 1, minor: 11, fileMode: 438}]' \
	'echo x >/dev/null && cat /dev/own 2>&1 | head -c 100 | grep -o "Operation not permitted"'
sees "a device of its own" "7:9" '.linux.devices = [{path: "/dev/own", type: "b", major: 7, minor: 9, fileMode: 384}]' \
	'stat -c %t:%T /dev/own'
sees "seccomp refuses a call" "Operation not permitted" \
	'.linux.seccomp = {defaultAction: "SCMP_ACT_ALLOW", syscalls: [{names: ["mkdir", "mkdirat"], action: "SCMP_ACT_ERRNO", errnoRet: 1}]}' \
	'mkdir /x 2>&1 | grep -o "Operation not permitted"'
sees "seccomp by argument" "yes" \
	'.linux.seccomp = {defaultAction: "SCMP_ACT_ALLOW", syscalls: [{names: ["kill"], action: "SCMP_ACT_ERRNO", errnoRet: 13, args: [{index: 1, value: 10, op: "SCMP_CMP_EQ"}]}]}' \
	'trap : USR2; kill -USR2 $$ && kill -USR1 $$ 2>/dev/null || echo yes'
sees "personality" "i686" '.linux.personality = {domain: "LINUX32"}' 'uname -m'
mkdir -p "$T/hooks"
for stage in prestart createRuntime createContainer startContainer poststart poststop; do
	hooks="${hooks-}${hooks:+, }$stage: [{path: \"/bin/sh\", args: [\"sh\", \"-c\", \"cat >/dev/null; echo $stage >>$T/hooks/order; true\"]}]"
done
sees "hooks do not disturb" "done" ".hooks = {$hooks} | .mounts += [{destination: \"$T/hooks\", source: \"$T/hooks\", options: [\"bind\"]}]" 'echo done'
same "... and run in order" "prestart createRuntime createContainer startContainer poststart poststop" \
	"$(xargs <"$T/hooks/order")"
bundle "$T/tiny" '.linux.resources.memory = {limit: 1048576, swap: 1048576}' /true
for i in 1 2 3 4 5; do
	oci run -b "$T/tiny" "tiny$i" >"$T/said" 2>&1 || break
done
same "a limit of 1 MiB still starts true, five times" 0 $?
exit 0
