#!/bin/bash
# CVE-2021-30465, 2024-45310, crun 2019-18837, 2026-30892: mount points that are links, or become links
# while they are used, lead out of the root; making them makes files on the host.
# time: 120
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
mkdir -p "$T/outside/deep" "$T/give"
echo given >"$T/give/file"
outside() {
	find "$T/outside" | sort
	grep -c "$T/outside" /proc/self/mountinfo
}
before=$(outside)

# target LINK DESTINATION: the image has a link LINK -> the host's directory; something is mounted at
# DESTINATION below it.
row=0
while read -r link to destination kind; do
	row=$((row + 1))
	case $kind in
	file) mount="{destination: \"$destination\", type: \"bind\", source: \"$T/give/file\", options: [\"bind\"]}" ;;
	dir) mount="{destination: \"$destination\", type: \"bind\", source: \"$T/give\", options: [\"rbind\"]}" ;;
	tmpfs) mount="{destination: \"$destination\", type: \"tmpfs\", source: \"tmpfs\"}" ;;
	esac
	rm -rf "$T/m"
	bundle "$T/m" ".mounts += [$mount]" /bin/sh -c "cat $destination/file $destination 2>/dev/null; true"
	rm -rf "$T/m/rootfs$link"
	mkdir -p "$(dirname "$T/m/rootfs$link")"
	ln -s "$to" "$T/m/rootfs$link"
	oci run -b "$T/m" "m$row" >"$T/said" 2>&1
	oci delete -f "m$row" >/dev/null 2>&1
	same "$kind at $destination with $link -> $to stays inside" "$before" "$(outside)"
done <<ROWS
/mnt   $T/outside                /mnt         dir
/mnt   $T/outside                /mnt/new     dir
/mnt   $T/outside                /mnt/new     file
/mnt   $T/outside                /mnt/new     tmpfs
/mnt   ../../../../../../..$T/outside  /mnt/a/b  dir
/a/b   $T/outside/deep           /a/b/c       file
/mnt   /proc/1/root$T/outside    /mnt/x       dir
/mnt   /proc/self/root           /mnt/x       tmpfs
/etc   $T/outside                /etc/hosts   file
/dev   $T/outside                /dev/new     dir
/sys   $T/outside                /sys/x       tmpfs
ROWS

# The race: a directory and a link change places while the container starts.
bundle "$T/r" ".mounts += [{destination: \"/race/x\", type: \"tmpfs\", source: \"tmpfs\"},
	{destination: \"/race/y/z\", type: \"bind\", source: \"$T/give\", options: [\"rbind\"]}]" /true
mkdir -p "$T/r/rootfs/race" && ln -s "../../../../../../../..$T/outside" "$T/r/rootfs/race2"
swap=$(prog swap)
"$swap" "$T/r/rootfs/race" "$T/r/rootfs/race2" &
swapper=$!
won=0
for n in $(seq 60); do
	oci run -b "$T/r" "r$n" >/dev/null 2>&1 && won=$((won + 1))
	oci delete -f "r$n" >/dev/null 2>&1
done
kill "$swapper"
wait "$swapper" 2>/dev/null
same "60 starts under a racing link leave the outside alone" "$before" "$(outside)"
check "... and the race was real: some starts went well" test $won -gt 0

# The root itself is a link.
bundle "$T/l" . /true
mv "$T/l/rootfs" "$T/l/real" && ln -s "$T/outside" "$T/l/rootfs"
oci run -b "$T/l" rootlink >/dev/null 2>&1
oci delete -f rootlink >/dev/null 2>&1
same "a link as the root makes nothing outside" "$before" "$(outside)"
exit 0
