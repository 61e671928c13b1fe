#!/bin/bash
# Names that become paths: container ids, cgroup paths, state directories. CVE-2021-43784: lengths that
# overflow on their way into the namespaces.
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
mkdir -p "$T/oci" "$T/victim"
echo '{}' >"$T/victim/state.json"
bundle "$T/c" . /true

while IFS= read -r id; do
	expect "the id '${id:0:20}' is refused by run" '1|125|126|127|2' '.' oci run -b "$T/c" "$id"
	expect "... and by delete" '1|125|126|127|2' '.' oci delete -f "$id"
done <<ROWS
../victim
.
..
a/b
a/../../victim

$(printf 'x%.0s' {1..2000})
a b
$'\n'x
é
ROWS
check "nothing outside the state directory was touched" test -e "$T/victim/state.json"

groups() {
	find /sys/fs/cgroup -type d | sort
}
before=$(groups)
for path in ../../escape /../../escape /a/../../../escape "$(printf '/d%.0s' {1..3000})"; do
	bundle "$T/g" ".linux.cgroupsPath = \"$path\"" /bin/cat /proc/self/cgroup
	oci run -b "$T/g" g >"$T/said" 2>&1
	oci delete -f g >/dev/null 2>&1
	same "the cgroup path '${path:0:20}' leaves no group" "$before" "$(groups)"
done

long=$(printf 'h%.0s' {1..70000})
bundle "$T/h" ".hostname = \"${long:0:300}\"" /true
expect "a host name of 300 letters is refused" '1|125|126|127' 'host' oci run -b "$T/h" h
oci delete -f h >/dev/null 2>&1
jq --arg long "$long" '.linux.namespaces += [{type: "cgroup", path: ("/" + $long)}]' "$T/c/config.json" >"$T/h/config.json"
expect "a namespace path of 70,000 letters is refused" '1|125|126|127' '.' oci run -b "$T/h" h
oci delete -f h >/dev/null 2>&1
jq -n '[range(70000)] | map("u\(.)=v")' >"$T/env.json"
jq --slurpfile e "$T/env.json" '.process.env += $e[0]' "$T/c/config.json" >"$T/h/config.json"
expect "70,000 variables arrive or are refused, nothing between" '0|1|125|126|127' '' oci run -b "$T/h" h
oci delete -f h >/dev/null 2>&1
printf '%s' "$(printf '[%.0s' {1..100000})" >"$T/h/config.json"
expect "a configuration nested 100,000 deep is refused" '1|125|126|127' 'config.json' oci run -b "$T/h" h
exit 0
