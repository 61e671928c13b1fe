#!/bin/bash
# A qcow2 disk under a real kernel's NVMe driver: a root over a backing file, what is flushed survives a
# kill, qemu-img and e2fsck agree, a disk in use is refused; and give-back of space.
# time: 300
# fixtures: busybox kernel
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
"$HULL_TOP/test/fixtures" busybox kernel || give_up "the kernel and a root are there"
command -v qemu-img >/dev/null || give_up "qemu-img is there"
K="$HULL_CACHE/kernel"
limit=$((120 * slow))

mkdir -p "$T/disk" && cp -a "$HULL_CACHE/busybox.root/." "$T/disk/"
cat >"$T/disk/first" <<'SCRIPT'
#!/bin/sh
mount -t proc proc /proc
mount -t devtmpfs dev /dev
mount -o remount,rw /
dd if=/dev/urandom of=/kept bs=64k count=100 2>/dev/null
md5sum </kept >/kept.sum
sync
echo flushed $(cat /kept.sum)
while :; do dd if=/dev/urandom of=/lost bs=64k count=50 2>/dev/null; done
SCRIPT
cat >"$T/disk/second" <<'SCRIPT'
#!/bin/sh
mount -t proc proc /proc
mount -t devtmpfs dev /dev
mount -o remount,rw /
echo kept $(md5sum </kept) $(cat /kept.sum)
rm /kept /lost
sync
fstrim -v /
mount -o remount,ro /
poweroff -f
SCRIPT
chmod 755 "$T/disk/first" "$T/disk/second"
mke2fs -q -t ext4 -d "$T/disk" "$T/base.img" 64M
qemu-img create -q -f qcow2 -b base.img -F raw "$T/root.qcow2"
sum=$(sha256sum <"$T/base.img")

# boot INIT: the root on NVMe, no initrd.
boot() {
	"$B/hull-vm" --accel cpu -q --kernel "$K/vmlinux" --disk "$T/root.qcow2,format=qcow2,bus=nvme" \
		--append "console=ttyS0 quiet panic=-1 root=/dev/nvme0n1 init=/$1" 2>&1 </dev/null
}

boot first >"$T/first.out" &
within "$limit" grep -q '^flushed' "$T/first.out"
pid=$(pgrep -f "^$B/hull-vm .*$T/root.qcow2")
matches "a disk in use is refused, by name" 'root.qcow2. is in use' "$(boot first)"
sleep 1
kill -KILL "$pid"
wait
qemu-img check -q "$T/root.qcow2" >"$T/check" 2>&1
matches "after a kill the image is consistent (space may be lost)" '^[03]$' "$?"
qemu-img convert -O raw "$T/root.qcow2" "$T/flat.img"
e2fsck -fp "$T/flat.img" >/dev/null
matches "... its journal replays, the file system is clean" '^[01]$' "$?"
debugfs -R 'cat /kept' "$T/flat.img" 2>/dev/null >"$T/kept"
same "... what was flushed is there" "$(sed -n 's/^flushed \([0-9a-f]*\).*/\1/p' "$T/first.out")" \
	"$(md5sum <"$T/kept" | cut -d' ' -f1)"
out=$(boot second | tr -d '\r')
matches "the machine boots again from it" '^kept ([0-9a-f]+) +- \1' "$out"
matches "... gives unused space back" 'trimmed' "$out"
check "... and leaves an image without fault" qemu-img check -q -r leaks "$T/root.qcow2"
qemu-img convert -O raw "$T/root.qcow2" "$T/flat.img"
check "... the file system is clean" e2fsck -fn "$T/flat.img"
same "the backing file is untouched" "$sum" "$(sha256sum <"$T/base.img")"
