#!/bin/bash
# Where a container's cgroup lies, who joins it, and that it goes.
# time: 90
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
[ -d /sys/fs/cgroup/pids ] && top=/sys/fs/cgroup/pids || top=/sys/fs/cgroup
own=$(sed -n 's/^[0-9]*:pids://p' /proc/self/cgroup)
[ -d /sys/fs/cgroup/pids ] || own=
n=0

# lies NAME CGROUPS_PATH WANTED [ARG...]: a container of that path lies there.
lies() {
	local name=$1 path=$2 wanted=$3
	shift 3
	n=$((n + 1))
	bundle "$T/c" ".linux.cgroupsPath = $path" /bin/sleep 1000
	if ! oci "$@" create --pid-file "$T/pid" -b "$T/c" "x$n" >"$T/out" 2>&1 </dev/null; then
		not_ok "$name" "$(cat "$T/out")"
		return
	fi
	wanted=${wanted//ID/x$n}
	same "$name" "$(cat "$T/pid")" "$(cat "$top$wanted/cgroup.procs" 2>&1)"
	oci delete -f "x$n"
	same "... and goes" "" "$(ls -d "$top$wanted" 2>/dev/null)"
}
lies "an absolute path" '"/one/two"' /one/two
lies "a relative path lies below the caller's own" '"three"' "${own%/}/three"
lies "no path: the id, below the caller's own" null "${own%/}/ID"
lies "dots do not leave the hierarchy" '"/a/../../../../four"' /four
lies "systemd's names without systemd" '"user-7.slice:pre:name"' "/user.slice/user-7.slice/pre-name.scope" --systemd-cgroup
lies "the same names as a plain path" '"user-7.slice:pre:name"' "${own%/}/user-7.slice:pre:name"
rmdir "$top/user.slice/user-7.slice" "$top/user.slice" "$top/one" 2>/dev/null
find /sys/fs/cgroup -mindepth 2 -maxdepth 3 -type d \( -name one -o -name 'user*.slice' \) | sort -r | xargs -r rmdir 2>/dev/null
bundle "$T/c" '.linux.cgroupsPath = "no:slice"'
expect "systemd's names must be three" '1|125|255' 'slice:prefix:name' oci --systemd-cgroup create -b "$T/c" bad
bundle "$T/c" '.linux.cgroupsPath = "/"'
expect "the top itself is refused" '1|125|255' 'top of the hierarchy' oci create -b "$T/c" bad

# Another's cgroup is not taken over.
bundle "$T/a" '.linux.cgroupsPath = "/taken"' /bin/sleep 1000
oci run -d -b "$T/a" first >/dev/null 2>&1 </dev/null
bundle "$T/c" '.linux.cgroupsPath = "/taken"' /bin/sleep 1000
expect "a cgroup with somebody in it is refused" '1|125|255' "'.*/taken' has processes" oci run -d -b "$T/c" second
same "... and who is in it lives on" running "$(oci state first | jq -r .status)"
oci delete -f first

# Everything that runs is in there, whatever it does.
bundle "$T/c" . /bin/sh -c 'sleep 1000 & sleep 1000 & (setsid sleep 1000 &) ; wait'
oci run -d -b "$T/c" k >/dev/null 2>&1 </dev/null
oci exec -d k sleep 1000 >/dev/null 2>&1 </dev/null
g="$top$(jq -r .linux.cgroupsPath "$T/c/config.json")"
check "children, orphans and an exec are in the cgroup" within 5 sh -c "[ \$(wc -l <$g/cgroup.procs) = 5 ]"
pids=$(cat "$g/cgroup.procs")
check "pause stops all" oci pause k
same "... which state tells" paused "$(oci state k | jq -r .status)"
oci kill k KILL
oci resume k 2>/dev/null
oci delete -f k
# shellcheck disable=SC2086 # a list
same "delete -f ends all" "" "$(kill -0 $pids 2>&1 | grep -v 'No such process')"
same "... and removes the cgroup" "" "$(find /sys/fs/cgroup -type d -path "*$(jq -r .linux.cgroupsPath "$T/c/config.json")")"

# A container without its own pid namespace, whose first process ends: the others end with it.
bundle "$T/c" '.linux.namespaces |= map(select(.type != "pid"))' /bin/sh -c 'sleep 1000 & sleep 1000 & exit 0'
oci run -b "$T/c" h >/dev/null 2>&1 </dev/null
g=$(jq -r .linux.cgroupsPath "$T/c/config.json")
same "without a pid namespace nothing stays either" "" "$(find /sys/fs/cgroup -type d -path "*$g")"

# One that forks without end while it is killed.
bundle "$T/c" '.linux.resources.pids = {limit: 60} | .linux.namespaces |= map(select(.type != "pid"))' \
	/bin/sh -c 'f() { while :; do (f &) 2>/dev/null; sleep 0.02; done; }; f'
oci run -d -b "$T/c" f >/dev/null 2>&1 </dev/null
sleep 0.3
oci kill -a f KILL 2>/dev/null || oci kill f KILL
check "one that forks without end is killed and removed" within 10 oci delete -f f
g=$(jq -r .linux.cgroupsPath "$T/c/config.json")
same "... with its cgroup" "" "$(find /sys/fs/cgroup -type d -path "*$g")"

# Cgroups that the container makes itself.
bundle "$T/c" '.mounts |= map(if .type == "cgroup" then .options -= ["ro"] else . end) |
	.linux.namespaces += [{type: "cgroup"}] | .process.capabilities |= map_values(. + ["CAP_SYS_ADMIN"])' /bin/sh -c '
	cd /sys/fs/cgroup/pids 2>/dev/null || cd /sys/fs/cgroup
	mkdir -p a/b && echo made; sleep 1000 & echo $! >a/b/cgroup.procs; wait'
oci run -d -b "$T/c" s >"$T/out" 2>&1 </dev/null
check "a container may make cgroups of its own" within 5 grep -q made "$T/out"
check "exec into one of them" oci exec --cgroup a s true
expect "... but not out of its own" '1|125|255' "'\.\.'" oci exec --cgroup ../.. s true
check "they go with it" oci delete -f s
g=$(jq -r .linux.cgroupsPath "$T/c/config.json")
same "... all of them" "" "$(find /sys/fs/cgroup -type d -path "*$g*")"

# What it sees of them.
if [ -d /sys/fs/cgroup/pids ]; then
	bundle "$T/c" '.linux.resources.pids = {limit: 33}' /bin/sh -c \
		'cat /sys/fs/cgroup/pids/pids.max; mkdir /sys/fs/cgroup/pids/x 2>&1 | grep -o Read-only'
	same "the mount shows its own cgroup, read-only" "33 Read-only" "$(oci run -b "$T/c" m 2>&1 </dev/null | xargs)"
	bundle "$T/c" '.linux.resources.pids = {limit: 33} | .linux.namespaces |= map(select(.type != "cgroup"))' \
		/bin/sh -c 'cat /sys/fs/cgroup/pids/pids.max; touch /sys/fs/cgroup/x 2>&1 | grep -o Read-only'
	same "... also without a cgroup namespace" "33 Read-only" "$(oci run -b "$T/c" m2 2>&1 </dev/null | xargs)"
fi
exit 0
