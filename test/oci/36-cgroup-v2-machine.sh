#!/bin/bash
# A whole machine whose only cgroup hierarchy is v2, with every controller: a Debian under QEMU runs
# tests of limits on the same programs. This host shows v2 only in part.
# time: 400
# fixtures: debian_vm
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
scripts="oci/32-memory oci/33-cgroup-v2 oci/35-cgroup-v2-limits daemon/20-limits"
file "$B/hull-oci" | grep -q 'statically linked' || { ok "skipped: this build is not static"; exit 0; }
command -v qemu-system-x86_64 >/dev/null || give_up "QEMU is installed"
"$HULL_TOP/test/fixtures" debian_vm >/dev/null || give_up "the Debian machine is there"

# What the guest needs beside its own system: the tests, the programs, the busybox root, the client.
mkdir -p "$T/disk/build/test-prog" "$T/disk/cache" "$T/disk/tmp" "$T/disk/bin"
for program in true eat; do
	prog "$program" >/dev/null || give_up "test/prog/$program.c compiles"
done
cp "$B"/hull* "$T/disk/build" 2>/dev/null
cp -p "$B/test-prog"/* "$T/disk/build/test-prog"
cp "$(readlink -f "$(command -v docker)")" "$T/disk/bin/docker"
cp -a "$HULL_TOP/test" "$HULL_TOP/tool" "$T/disk"
find "$T/disk/test" -name '*.c' -exec touch -d @1 {} + # nothing is compiled in there
cp -a "$HULL_CACHE/busybox.root" "$HULL_CACHE/busybox.tar" "$T/disk/cache"
cat >"$T/disk/run" <<'SH'
#!/bin/bash
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
ln -s /mnt/bin/docker /usr/local/bin/docker
mount -t proc proc /proc && mount -t sysfs sys /sys && mount -t tmpfs run /run && mount -t tmpfs tmp /tmp
mkdir -p /dev/pts && mount -t devpts pts /dev/pts
mount -t cgroup2 cgroup2 /sys/fs/cgroup && mkdir /sys/fs/cgroup/init && echo 1 >/sys/fs/cgroup/init/cgroup.procs
for c in $(cat /sys/fs/cgroup/cgroup.controllers); do echo "+$c" >/sys/fs/cgroup/cgroup.subtree_control; done
dmesg -n 1
ip link set lo up
echo "controllers: $(cat /sys/fs/cgroup/cgroup.subtree_control)"
export HULL_TOP=/mnt HULL_BUILD=/mnt/build HULL_CACHE=/mnt/cache HULL_SLOW=5
for t in "$@"; do
	mkdir -p "/mnt/tmp/$t" && cd "/mnt/tmp/$t" || continue
	echo "script: $t"
	bash "/mnt/test/$t.sh" </dev/null 2>&1
	echo "ended: $t $?"
done
find /sys/fs/cgroup -mindepth 1 -type d ! -name init | sed 's/^/not ok - left behind: /'
echo the machine is done
sync
echo o >/proc/sysrq-trigger
sleep 10
SH
chmod 755 "$T/disk/run" "$T/disk"
mke2fs -q -t ext4 -d "$T/disk" "$T/disk.ext4" 1G >/dev/null || give_up "a disk for the tests"
timeout -k 5 $((380 * slow)) qemu-system-x86_64 -M q35 -accel tcg -m 1024 -smp 2 -nographic -no-reboot -nic none \
	-kernel "$HULL_CACHE/debian-vm.vmlinuz" \
	-append "console=ttyS0 quiet panic=-1 root=/dev/nvme0n1 rw mitigations=off init=/sbin/run-disk -- $scripts" \
	-drive "file=$HULL_CACHE/debian-vm.ext4,format=raw,if=none,id=a,snapshot=on" -device nvme,drive=a,serial=a \
	-drive "file=$T/disk.ext4,format=raw,if=none,id=b" -device nvme,drive=b,serial=b \
	</dev/null 2>&1 | tr -d '\r' >"$T/console"
grep -E '^(not )?ok - |^    ' "$T/console" | grep -v '^ok - skipped'
matches "the machine has every controller on v2" 'controllers: .*cpu.*memory.*pids' "$(cat "$T/console")"
check "... and it ran to its end" grep -q 'the machine is done' "$T/console"
same "every script ended well" "$(wc -w <<<"$scripts")" "$(grep -c '^ended: .* 0$' "$T/console")"
exit 0
