#!/bin/bash
# Without privileges: a user's own namespace with one id, and with a range from /etc/subuid; exec, kill
# and delete by that user; nothing of the host is writable that was not before.
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
id=23456

# The cell's mounts are its own: accounts of this test's making are bound over the machine's.
mkdir -p "$T/etc" "$T/u/run"
(cat /etc/passwd; echo "rootless:x:$id:$id::$T/u:/bin/sh") >"$T/etc/passwd"
(cat /etc/group; echo "rootless:x:$id:") >"$T/etc/group"
echo "rootless:300000:65536" | tee "$T/etc/subuid" >"$T/etc/subgid"
for file in passwd group subuid subgid; do
	[ -e "/etc/$file" ] || give_up "/etc/$file is there"
	mount --bind "$T/etc/$file" "/etc/$file" || give_up "an own /etc/$file"
done

# As that user: the runtime from a place that it may read.
cp "$B/hull-oci" "$T/u/hull-oci"
as_user() {
	setpriv --reuid $id --regid $id --clear-groups env XDG_RUNTIME_DIR="$T/u/run" "$@"
}
oci() {
	as_user timeout --foreground -k 5 $((30 * slow)) "$T/u/hull-oci" "$@" </dev/null
}

one='.linux.namespaces |= (map(select(.type != "network")) + [{type: "user"}]) | del(.linux.resources) | del(.linux.cgroupsPath) |
	.mounts |= map(select(.destination != "/sys" and .destination != "/sys/fs/cgroup") |
		if .options then .options -= ["gid=5"] else . end)'
single="$one | .linux.uidMappings = [{containerID: 0, hostID: $id, size: 1}] | .linux.gidMappings = .linux.uidMappings"
range="$one | .linux.uidMappings = [{containerID: 0, hostID: $id, size: 1}, {containerID: 1, hostID: 300000, size: 65536}] |
	.linux.gidMappings = .linux.uidMappings"

bundle "$T/u/c" "$single" /bin/sh -c 'echo $(id -u) $(cat /proc/self/uid_map); touch /made; exit 3'
chown -R $id:$id "$T/u"
got=$(oci run -b "$T/u/c" r1 2>&1)
same "one id: exit code" 3 $?
same "... root inside, the user outside" "0 0 $id 1" "$got"
same "... what it makes is the user's" $id "$(stat -c %u "$T/u/c/rootfs/made")"
check "records lie in the user's run directory" test -d "$T/u/run/hull-oci"

bundle "$T/u/c" "$range | .process.user = {uid: 33, gid: 33, additionalGids: [7]}" \
	/bin/sh -c 'echo $(id -u) $(id -G) $(wc -l </proc/self/uid_map); echo x 2>/dev/null >/etc/passwd || echo refused'
same "a range: by newuidmap, another user inside" "33 33 7 2 refused" "$(oci run -b "$T/u/c" r2 2>&1 | xargs)"

bundle "$T/u/c" "$range" /bin/sh -c 'while :; do sleep 0.1; done'
oci run -d -b "$T/u/c" r3 >/dev/null 2>&1
same "detached" running "$(oci state r3 | jq -r .status)"
same "exec" "0 5" "$(oci exec r3 id -u) $(oci exec -u 5 r3 id -u)"
expect "exec of what is missing" 127 nosuch oci exec r3 nosuch
check "kill" oci kill r3 KILL
check "... ends it" within 5 sh -c "! kill -0 $(oci state r3 | jq -r .pid) 2>/dev/null || [ $(oci state r3 | jq -r .status) = stopped ]"
check "delete" within 5 oci delete r3
refuse "... and it is gone" oci state r3

bundle "$T/u/c" "$one | .linux.uidMappings = [{containerID: 0, hostID: 0, size: 1}] | .linux.gidMappings = .linux.uidMappings" /true
expect "another's id is refused" '1|125' 'id map|newuidmap|newgidmap' oci run -b "$T/u/c" r4
for file in passwd group subuid subgid; do
	umount "/etc/$file"
done
exit 0
