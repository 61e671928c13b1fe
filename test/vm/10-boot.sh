#!/bin/bash
# Debian's own kernel on the software CPU: from the first instruction to a shell and to power-off; with
# each way in, on small and large machines, with one and several processors, from memory and from disks.
# time: 900
# fixtures: kernel initramfs
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
"$HULL_TOP/test/fixtures" kernel initramfs || give_up "the kernel and its initramfs are there"
K="$HULL_CACHE/kernel" I="$HULL_CACHE/initramfs"
limit=$((120 * slow))

# vm OPTION... -- RUN: boots, runs RUN (spaces are commas) and switches off; the console is in $out, the
# exit code in $code.
vm() {
	local options=()
	while [ "$1" != -- ]; do
		options+=("$1")
		shift
	done
	out=$(set -o pipefail; timeout "$limit" "$B/hull-vm" --accel cpu -q --kernel "$K/vmlinux" --initrd "$I" \
		--append "console=ttyS0 quiet panic=-1 run=$2" "${options[@]}" 2>&1 </dev/null | tr -d '\r')
	code=$?
}

# ends NAME REGEX: the last machine switched itself off and said that.
ends() {
	if [ "$code" != 0 ]; then
		not_ok "$1" "exit code $code" "$(tail -n 20 <<<"$out")"
	else
		matches "$1" "$2" "$out"
	fi
}

for protocol in pvh linux64; do
	vm --boot $protocol -- 'uname,-sm;echo,2+3=$((2+3))'
	ends "boots a vmlinux by $protocol, runs a script, powers off" '^Linux x86_64$'
	matches "... the script's arithmetic is right ($protocol)" '^2\+3=5$' "$out"
done
for protocol in pvh linux64; do
	vm --boot $protocol --kernel "$K/vmlinuz" -- 'cat,/proc/version'
	ends "boots the packaged bzImage by $protocol" '^Linux version 6'
done

while read -r cpus memory least most; do
	vm --cpus "$cpus" --memory "$memory" -- 'echo,cpus=$(nproc);grep,MemTotal,/proc/meminfo'
	ends "$cpus processors, $memory: boots" "^cpus=$cpus\$"
	total=$(sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' <<<"$out")
	if [ "${total:-0}" -ge "$least" ] && [ "${total:-0}" -le "$most" ]; then
		ok "... and has its memory ($memory: $total kB)"
	else
		not_ok "... and has its memory ($memory)" "found ${total:-nothing}, wanted $least to $most"
	fi
done <<'ROWS'
1 96M 40000 98304
2 512M 440000 524288
4 3G 2900000 3145728
1 8G 7900000 8388608
4 8G 7900000 8388608
ROWS

# All processors work, interrupts arrive on each, and the clock goes right.
vm --cpus 4 -- 'for,i,in,0,1,2,3;do,taskset,$((1<<i)),sh,-c,"n=0;while,[,\$n,-lt,2000,];do,n=\$((n+1));done;echo,cpu$i,\$n";done'
matches "four processors each run what is put on them" 'cpu0 2000.*cpu1 2000.*cpu2 2000.*cpu3 2000' "$(tr '\n' ' ' <<<"$out")"
vm -- 'date,+now=%s;sleep,2;date,+then=%s'
now=$(sed -n 's/^now=//p' <<<"$out") later=$(sed -n 's/^then=//p' <<<"$out")
matches "the clock is the host's" '^(0|-?[0-9]{1,2})$' "$(($(date +%s) - ${later:-0}))"
matches "two seconds of sleep are two seconds" '^[23]$' "$((${later:-0} - ${now:-0}))"
vm -- 'cat,/proc/interrupts;cat,/sys/class/rtc/rtc0/name;ls,/sys/bus/pci/devices'
ends "the serial port has its interrupt" '4: .*IO-APIC.*ttyS0'
matches "... the clock chip is found" '^rtc_cmos' "$out"
matches "... power events have theirs" '9: .*IO-APIC.*fasteoi.*acpi' "$out"

# Reboot in place: the same process boots again; with --no-reboot it ends.
cat >"$T/steps" <<'STEPS'
expect # $
send reboot -f
expect # $
sh a second kernel runs after reboot -f: true
send poweroff -f
ends the machine powers off: 0
STEPS
python3 "$HULL_TOP/test/vm/console.py" "$T/log" 60 "$B/hull-vm" --accel cpu -q --kernel "$K/vmlinux" \
	--initrd "$I" --append "console=ttyS0 quiet panic=-1" <"$T/steps" || tail -n 20 "$T/log" | sed 's/^/    /'
vm --no-reboot -- 'reboot,-f'
same "a reboot ends a machine with --no-reboot" 0 "$code"

# A panic is an exit code, told through pvpanic, whose driver is a module of the same package.
mkdir -p "$T/modules"
cp "$K"/package/lib/modules/*/kernel/drivers/misc/pvpanic/pvpanic{,-mmio}.ko "$T/modules"
{ cat "$I" && (cd "$T/modules" && find . | cpio -o -H newc --quiet); } >"$T/initramfs"
vm --initrd "$T/initramfs" -- 'insmod,/pvpanic.ko;insmod,/pvpanic-mmio.ko;echo,c>/proc/sysrq-trigger'
same "a panic ends the machine with 1" 1 "$code"
matches "... and says so" "the guest's kernel panicked" "$out"
matches "... after the kernel's last words" 'Kernel panic - not syncing: sysrq' "$out"

# Disks: the root on NVMe with no initrd, read and written.
mkdir -p "$T/disk" && cp -a "$HULL_CACHE/busybox.root/." "$T/disk/"
printf '#!/bin/sh\nmount -t proc proc /proc\nmount -t devtmpfs dev /dev\nmount -o remount,rw /\ncat /note\necho written >/note2\nsync\nmount -o remount,ro /\npoweroff -f\n' >"$T/disk/sbin-init"
chmod 755 "$T/disk/sbin-init"
echo "kept on the disk" >"$T/disk/note"
mke2fs -q -t ext4 -d "$T/disk" "$T/root.img" 64M
out=$(timeout "$limit" "$B/hull-vm" --accel cpu -q --kernel "$K/vmlinux" --disk "$T/root.img,format=raw,bus=nvme" \
	--append "console=ttyS0 quiet panic=-1 root=/dev/nvme0n1 init=/sbin-init" 2>&1 </dev/null | tr -d '\r')
matches "a root on NVMe boots with no initrd" '^kept on the disk' "$out"
check "the file system is clean afterwards" e2fsck -fn "$T/root.img"
same "what the guest wrote is on the disk" written "$(debugfs -R 'cat /note2' "$T/root.img" 2>/dev/null)"

# The host's side: no rights, no names, nothing left.
"$B/hull-vm" --accel cpu -q --kernel "$K/vmlinux" --initrd "$I" \
	--append "console=ttyS0 quiet run=echo,ready;sleep,1000" >"$T/sleeping" 2>&1 </dev/null &
pid=$!
within 90 grep -q "^ready" "$T/sleeping"
same "a running machine has no capability" 0000000000000000 "$(sed -n 's/^CapEff:\t//p' "/proc/$pid/status")"
same "... all its threads are filtered" "$filter" "$(sed -n 's/^Seccomp:\t//p' /proc/$pid/task/*/status | sort -u)"
for ns in user mnt net ipc uts; do
	if [ "$(readlink "/proc/$pid/ns/$ns")" != "$(readlink /proc/self/ns/$ns)" ]; then
		ok "... it has a $ns namespace of its own"
	else
		not_ok "... it has a $ns namespace of its own"
	fi
done
same "... its root directory is empty" "" "$(ls -A "/proc/$pid/root")"
# An idle guest costs next to nothing: less than a tenth of a processor for two seconds.
before=$(awk '{print $14 + $15}' "/proc/$pid/stat")
sleep 2
used=$(($(awk '{print $14 + $15}' "/proc/$pid/stat") - before))
if [ $used -lt 20 ]; then ok "an idle guest costs no host processor ($used ticks in 2 s)"; else not_ok "an idle guest costs no host processor" "$used ticks in 2 s"; fi
kill -TERM $pid
wait $pid
same "SIGTERM ends it with 143" 143 $?
