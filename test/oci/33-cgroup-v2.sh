#!/bin/bash
# The machine seen as pure cgroup v2 (in a mount namespace of the test's own): joining, pausing,
# killing, device rules as eBPF, raw files, paths. Controllers are those that v2 has here.
# time: 90
# shellcheck source=test/lib.sh disable=SC2016
if [ "${1-}" != v2 ]; then
	exec unshare -m --propagation private bash "$0" v2
fi
. "$HULL_TOP/test/lib.sh"
if [ ! -e /sys/fs/cgroup/cgroup.controllers ]; then
	umount -R /sys/fs/cgroup 2>/dev/null
	mount -t cgroup2 none /sys/fs/cgroup || give_up "a view of pure cgroup v2"
fi
n=0
group() {
	echo "/sys/fs/cgroup$(jq -r .linux.cgroupsPath "$T/c/config.json")"
}

bundle "$T/c" . /bin/sh -c 'sleep 1000 & sleep 1000 & (setsid sleep 1000 &); wait'
oci run -d -b "$T/c" k >"$T/out" 2>&1 </dev/null || give_up "run on cgroup v2" "$(cat "$T/out")"
oci exec -d k sleep 1000 >/dev/null 2>&1 </dev/null
check "children, orphans and an exec are in the cgroup" within 5 sh -c "[ \$(wc -l <'$(group)/cgroup.procs') = 5 ]"
check "pause" oci pause k
matches "... freezes" 'frozen 1' "$(cat "$(group)/cgroup.events")"
same "... shows" paused "$(oci state k | jq -r .status)"
check "resume" oci resume k
matches "... thaws" 'frozen 0' "$(cat "$(group)/cgroup.events")"
check "events --stats" sh -c "'$B/hull-oci' --root '$T/oci' events --stats k | jq -e '.data.cpu.usage.total > 0'"
oci pause k
pids=$(cat "$(group)/cgroup.procs")
check "delete -f of a paused one" oci delete -f k
# shellcheck disable=SC2086 # a list
same "... ends all" "" "$(kill -0 $pids 2>&1 | grep -v 'No such process')"
same "... and removes the cgroup" no "$([ -d "$(group)" ] && echo yes || echo no)"

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
[ ! -e /dev/net/tun ] || inside "devices: a rule opens one more" "yes" \
	"$caps | .linux.resources.devices += [{allow: true, type: \"c\", major: 10, minor: 200, access: \"rw\"}]" \
	'mknod /tmp/tun c 10 200; if (: </tmp/tun) 2>/dev/null; then echo yes; else echo no; fi'
inside "the mount is its own cgroup, read-only" "1 Read-only" . \
	'read x </sys/fs/cgroup/cgroup.procs; echo $x $(mkdir /sys/fs/cgroup/x 2>&1 | grep -o Read-only)'
bundle "$T/c" '.linux.resources.unified = {"cgroup.max.depth": "3"}' /bin/sleep 1000
oci run -d -b "$T/c" u >"$T/out" 2>&1 </dev/null
same "raw files" 3 "$(cat "$(group)/cgroup.max.depth" 2>&1)"
oci delete -f u
bundle "$T/c" '.linux.resources.network = {classID: 5}' /true
expect "what only v1 has is an error that says so" '1|125|255' "'net_cls'" oci run -b "$T/c" bad
if ! grep -qw memory /sys/fs/cgroup/cgroup.controllers; then
	bundle "$T/c" '.linux.resources.memory = {limit: 67108864}' /true
	expect "a controller that is missing is an error that says so" '1|125|255' "'memory'" oci run -b "$T/c" bad
fi
exit 0
