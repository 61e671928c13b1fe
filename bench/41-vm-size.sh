#!/bin/bash
# How large a machine's process is: the stripped program and its libraries, and the private dirty memory
# beside the guest's own RAM, while the guest is idle after its boot.
# time: 300
# shellcheck source=bench/lib.sh
. "$HULL_TOP/bench/lib.sh"
"$HULL_TOP/test/fixtures" kernel initramfs || give_up "the kernel and its initramfs are there"

strip -o "$T/hull-vm" "$B/hull-vm"
bytes=$(stat -c %s "$T/hull-vm")
row "hull-vm, stripped" "< 1.5 MB" "$(awk "BEGIN { printf \"%.2f MB\", $bytes / 1e6 }")" "$(holds "$bytes < 1500000")" \
	"$(readelf -d "$T/hull-vm" | sed -n 's/.*NEEDED.*\[\(.*\)\]/\1/p' | tr '\n' ' ')"

# The guest's RAM is the mapping of a memfd of that name; its pages do not count.
"$B/hull-vm" --accel cpu -q --kernel "$HULL_CACHE/kernel/vmlinux" --initrd "$HULL_CACHE/initramfs" \
	--append "console=ttyS0 quiet run=echo,ready;md5sum,/bin/busybox;sleep,1000" >"$T/said" 2>&1 </dev/null &
pid=$!
within 120 grep -q '/bin/busybox' "$T/said" || give_up "the machine boots" "$(tail -n 5 "$T/said")"
kb=$(awk '/^[0-9a-f]+-/ { ram = $6 ~ /guest-ram/ } /^Private_Dirty:/ && !ram { n += $2 } END { print n }' "/proc/$pid/smaps")
row "private dirty memory, accel cpu" "<= 48 MiB" "$(awk "BEGIN { printf \"%.1f MiB\", $kb / 1024 }")" \
	"$(holds "$kb <= 48 * 1024")" "$(grep -c . <(ls "/proc/$pid/task")) threads"
kill -TERM $pid
wait $pid
