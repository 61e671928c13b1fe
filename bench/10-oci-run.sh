#!/bin/bash
# `run` of a static `true`, whole process: hull-oci beside crun, runc and the floor, interleaved, one
# setting for all: cgroup v1 hierarchies (the v2 one is hidden, since Debian's crun refuses a hybrid),
# runc's default spec without rlimits and terminal, new network namespace.
# time: 300
# shellcheck source=bench/lib.sh
. "$HULL_TOP/bench/lib.sh"
rounds=${ROUNDS:-150}

umount /sys/fs/cgroup/unified 2>/dev/null && rmdir /sys/fs/cgroup/unified
for peer in hull crun runc; do
	bundle "$T/$peer" ".root.readonly = true | .linux.cgroupsPath = \"/bench-$peer\"" /sbin/quick
	# crun 1.8.1 cannot start a program that lies in the root directory itself.
	mkdir -p "$T/$peer/rootfs/sbin" && mv "$T/$peer/rootfs/true" "$T/$peer/rootfs/sbin/quick"
done
mkdir -p "$T/floor"
root_dir "$T/floor" && mkdir -p "$T/floor/sbin" && mv "$T/floor/true" "$T/floor/sbin/quick"
mkdir -p "$T/state"

"$(tool race)" "$rounds" \
	hull "$B/hull-oci" --root "$T/state/hull" run -b "$T/hull" hull ::: \
	floor "$(tool floor)" "$T/floor" bench-floor /sbin/quick ::: \
	crun /usr/bin/crun --root "$T/state/crun" run -b "$T/crun" crun ::: \
	runc /usr/sbin/runc --root "$T/state/runc" run -b "$T/runc" runc >"$T/times" 2>"$T/said" ||
	give_up "every runtime runs true" "$(cat "$T/said")"

while read -r name median least p95; do
	printf '  %-6s median %6.2f ms, least %6.2f, 95 %% %6.2f\n' "$name" \
		"$(ms "$median")" "$(ms "$least")" "$(ms "$p95")"
	declare "$name=$median"
done <"$T/times"
# shellcheck disable=SC2154 # declared by name above
{
	ratio=$(awk "BEGIN { printf \"%.2f\", $hull / $crun }")
	row "hull-oci run true / crun" "<= 0.45" "$ratio" "$(holds "$hull / $crun <= 0.45")" \
		"hull $hull us, crun $crun us, runc $runc us"
	ratio=$(awk "BEGIN { printf \"%.2f\", $hull / $floor }")
	row "hull-oci run true / floor" "<= 1.5" "$ratio" "$(holds "$hull / $floor <= 1.5")" \
		"hull $hull us, floor $floor us"
}
