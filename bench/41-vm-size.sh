#!/bin/bash
# How large a machine's process is: the stripped program and its libraries, and the private dirty memory
# beside the guest's own RAM: of busybox, of a whole Debian with its helpers, and with KVM.
# time: 600
# shellcheck source=bench/lib.sh
. "$HULL_TOP/bench/lib.sh"
"$HULL_TOP/test/fixtures" kernel initramfs debian_vm >/dev/null || give_up "the kernel and its initramfs are there"

strip -o "$T/hull-vm" "$B/hull-vm"
bytes=$(stat -c %s "$T/hull-vm")
row "hull-vm, stripped" "< 1.5 MB" "$(awk "BEGIN { printf \"%.2f MB\", $bytes / 1e6 }")" "$(holds "$bytes < 1500000")" \
	"$(readelf -d "$T/hull-vm" | sed -n 's/.*NEEDED.*\[\(.*\)\]/\1/p' | tr '\n' ' ')"

# private PID...: their private dirty memory in kB. The guest's RAM is the mapping of a memfd of that name;
# its pages do not count.
private() {
	local pid
	for pid in "$@"; do
		awk '/^[0-9a-f]+-/ { ram = $6 ~ /guest-ram/ } /^Private_Dirty:/ && !ram { n += $2 } END { print n }' "/proc/$pid/smaps"
	done | awk '{ n += $1 } END { print n }'
}

# memory NAME MIB PID...: one row.
memory() {
	local name=$1 most=$2 kb
	shift 2
	kb=$(private "$@")
	row "private dirty memory, $name" "<= $most MiB" "$(awk "BEGIN { printf \"%.1f MiB\", $kb / 1024 }")" \
		"$(holds "$kb <= $most * 1024")" "$(for pid in "$@"; do echo "$(cat "/proc/$pid/comm") $(private "$pid") kB"; done | xargs)"
}

"$B/hull-vm" --accel cpu -q --kernel "$HULL_CACHE/kernel/vmlinux" --initrd "$HULL_CACHE/initramfs" \
	--append "console=ttyS0 quiet run=echo,ready;md5sum,/bin/busybox;sleep,1000" >"$T/said" 2>&1 </dev/null &
pid=$!
within 120 grep -q '/bin/busybox' "$T/said" || give_up "the machine boots" "$(tail -n 5 "$T/said")"
memory "accel cpu, busybox" 48 $pid
kill -TERM $pid
wait $pid

# A whole Debian, logged into and worked in, with all that minds it.
h() {
	"$B/hull" --root "$T/h/root" --run "$T/h/run" "$@"
}
trap 'h vm rm -f debian >/dev/null 2>&1; h down >/dev/null 2>&1' EXIT
cp --sparse=always "$HULL_CACHE/debian-vm.ext4" "$T/root.ext4"
h up >/dev/null 2>&1
measured() {
	local mate
	mate=$(h vm inspect debian | jq '.[0].State.Pid')
	memory "accel cpu, Debian with systemd at work" 48 "$(awk '/^PPid:/ { print $2 }' "/proc/$mate/status")" "$mate" \
		"$(pgrep -P "$mate" -x hull-slirp)" "$(pgrep -P "$mate" -x hull-vm)"
}
cat >"$T/steps" <<'STEPS'
expect login: $
send root
expect root@machine:~#
sh the system is up: systemctl is-system-running --wait >/dev/null
sh python works: python3 -c 'import json, ssl, hashlib, threading'
sh gcc works: echo 'int main(void) { return 0; }' >a.c && gcc -O2 -o a a.c && ./a
sh openssl works: openssl genrsa 2048 >key 2>/dev/null
sh files are written: dd if=/dev/zero of=/root/zeros bs=1M count=64 conv=fsync 2>/dev/null
host it is measured: touch at-work && while [ -e at-work ]; do sleep 0.1; done
STEPS
(cd "$T" && python3 "$HULL_TOP/test/vm/console.py" "$T/console.log" 200 "$B/hull" --root "$T/h/root" --run "$T/h/run" vm run \
	--name debian --accel cpu --cpus 2 --kernel "$HULL_CACHE/debian-vm.vmlinuz" --memory 1g --net user \
	--disk "$T/root.ext4,format=raw,bus=nvme" --append 'console=ttyS0 root=/dev/nvme0n1 rw' <"$T/steps" >"$T/console") &
console=$!
within 280 test -e "$T/at-work" || give_up "Debian works" "$(cat "$T/console")"
measured
rm "$T/at-work"
wait $console

# KVM where it is usable: a kernel of ours that drove every device. It need not be fast for that.
"$HULL_TOP/test/guest/own/make" "$T/own" || give_up "our kernel compiles"
truncate -s 16M "$T/disk"
"$B/hull-vm" --accel kvm -q --kernel "$T/own" --disk "$T/disk,format=raw,bus=nvme" --append "devices idle" >"$T/said" 2>&1 </dev/null &
pid=$!
if within 20 grep -q 'goes down' "$T/said"; then
	memory "accel kvm, a kernel of ours at rest" 8 $pid
else
	echo "accel kvm is not usable here: $(tail -n 1 "$T/said")"
fi
kill -TERM $pid 2>/dev/null
wait $pid
exit 0
