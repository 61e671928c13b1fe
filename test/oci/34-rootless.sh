#!/bin/bash
# Without privilege: a user namespace, no cgroup to write to. What was not asked for is left out, what
# was asked for and cannot be had is an error that says so.
# time: 60
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"

chmod 711 "$T"
mkdir -p "$T/u/state" && chown -R 1000:1000 "$T/u"
cp "$B/hull-oci" "$T/u/hull-oci" # the build may lie where nobody else may look
as_user() {
	env -i PATH="$PATH" XDG_RUNTIME_DIR="$T/u" setpriv --reuid 1000 --regid 1000 --clear-groups \
		timeout 30 "$@"
}
user_oci() {
	as_user "$T/u/hull-oci" --root "$T/u/state" "$@"
}
rootless='.linux.namespaces |= map(select(.type != "network")) + [{type: "user"}] |
	.linux.uidMappings = [{containerID: 0, hostID: 1000, size: 1}] |
	.linux.gidMappings = [{containerID: 0, hostID: 1000, size: 1}] | del(.linux.cgroupsPath) |
	.mounts |= map(select(.type != "sysfs") | .options |= if . then map(select(startswith("gid=") | not)) else . end) |
	.mounts += [{destination: "/sys", type: "bind", source: "/sys", options: ["rbind", "nosuid", "noexec", "nodev", "ro"]}]'
make() {
	bundle "$T/c" "$rootless | .mounts |= (map(select(.type != \"cgroup\"))) | ${1:-.}" "${@:2}"
	chown -R 1000:1000 "$T/c"
}

make . /bin/sh -c 'echo $(id -u) $(cat /proc/self/uid_map)'
same "run as nobody's root" "0 0 1000 1" "$(user_oci run -b "$T/c" r1 2>&1 </dev/null)"
make . /bin/sh -c 'exit 7'
user_oci run -b "$T/c" r2 >/dev/null 2>&1 </dev/null
same "... and its exit code" 7 $?
make . /bin/sh -c '(: </dev/null) && (: </dev/full) && echo opens'
same "devices are there, although no rule can be set" opens "$(user_oci run -b "$T/c" r3 2>&1 </dev/null)"
make '.linux.resources.memory = {limit: 67108864}' /true
expect "a limit that cannot be had is an error that says so" '1|125|255' 'cgroup.*memory|memory.*cgroup' \
	user_oci run -b "$T/c" r4
make . /bin/sleep 1000
user_oci run -d -b "$T/c" r5 >/dev/null 2>&1 </dev/null
same "run -d" running "$(user_oci state r5 | jq -r .status)"
same "exec" in "$(user_oci exec r5 echo in 2>&1 </dev/null)"
expect "pause says why it cannot" '1|125|255' 'cgroup' user_oci pause r5
check "delete -f" user_oci delete -f r5
refuse "... removes it" user_oci state r5

# A cgroup that was handed over to the user is used.
if [ -d /sys/fs/cgroup/pids ]; then
	for c in pids memory freezer cpu; do
		mkdir "/sys/fs/cgroup/$c/handed" && chown -R 1000:1000 "/sys/fs/cgroup/$c/handed"
	done
	make '.linux.cgroupsPath = "/handed/box" | .linux.resources.pids = {limit: 20}' /bin/sleep 1000
	if user_oci run -d -b "$T/c" r6 >"$T/out" 2>&1 </dev/null; then
		same "a cgroup that was handed over holds the limit" 20 "$(cat /sys/fs/cgroup/pids/handed/box/pids.max)"
		check "pause works there" user_oci pause r6
		same "... and shows" paused "$(user_oci state r6 | jq -r .status)"
	else
		not_ok "a cgroup that was handed over is used" "$(cat "$T/out")"
	fi
	check "... and is removed" user_oci delete -f r6
	rmdir /sys/fs/cgroup/*/handed
fi
exit 0
