#!/bin/bash
# A whole Debian 12 of its own packages, systemd included, on an ext4 file system: on NVMe without an
# initrd, and on virtio with one. Somebody at its console works in it, reboots it, and it is killed.
# CPUS processors (default 2), one on virtio.
# time: 600
# fixtures: debian_vm
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
"$HULL_TOP/test/fixtures" debian_vm >/dev/null || give_up "the Debian machine is there"
disk="$T/root.ext4" cpus=${CPUS:-2}
cp --sparse=always "$HULL_CACHE/debian-vm.ext4" "$disk"
h() {
	hull --root "$T/h/root" --run "$T/h/run" "$@"
}
trap 'h vm rm -f $(h vm ls -q) >/dev/null 2>&1; h down >/dev/null 2>&1; kill "$server" 2>/dev/null; at_end' EXIT
expect "up" 0 'hulld is up' h up

mkdir "$T/www" && echo "from the host's loopback" >"$T/www/hello"
python3 -m http.server -b 127.0.0.1 -d "$T/www" 8000 >/dev/null 2>&1 &
server=$!
within 10 curl -sf http://127.0.0.1:8000/hello >/dev/null

# at_console OPTION... <STEPS: runs a machine on that disk and does the steps at its console.
at_console() {
	sed "s/@CPUS@/$cpus/" | python3 "$HULL_TOP/test/vm/console.py" "$T/log" 150 "$B/hull" --root "$T/h/root" --run "$T/h/run" vm run \
		--name debian --accel cpu --kernel "$HULL_CACHE/debian-vm.vmlinuz" --memory 1g --net user "$@"
}

# Only the machine's own process is meant; its root is the run directory's.
cat >"$T/unplug" <<SH
pid=\$("$B/hull" --root "$T/h/root" --run "$T/h/run" vm inspect debian | jq '.[0].State.Pid')
pkill -KILL -P "\$pid" hull-vm
SH

echo '"$B/hull" --root "$T/h/root" --run "$T/h/run" vm stop -t 100 debian' >"$T/press"
export T B

at_console --cpus "$cpus" --disk "$disk,format=raw,bus=nvme" --allow-loopback --append 'console=ttyS0 root=/dev/nvme0n1 rw' <<'STEPS'
# Boots to login on NVMe without an initrd.
expect login: $
send root
expect root@machine:~#
send bind 'set enable-bracketed-paste off'; stty -echo cols 200; PS1=
want systemd is content: ^running: systemctl is-system-running --wait
want its processors are there: ^@CPUS@: nproc

# What one does with a Debian.
want python3 computes: ^333283335000: python3 -c 'print(sum(i * i for i in range(10000)))'
sh python3 has its modules: python3 -c 'import json, ssl, hashlib, threading; assert json.loads("[1.5]") == [1.5]'
sh a C program is written: printf '#include <stdio.h>\n#include <math.h>\nint main(void) { printf("%%.6f\\n", sqrt(2)); }\n' >/root/a.c
want gcc compiles it: ^1.414214: gcc -O2 -o /root/a /root/a.c -lm && /root/a
want openssl digests: ba7816bf8f01cfea: printf abc | openssl dgst -sha256
want openssl makes a key: key ok: openssl genrsa 2048 2>/dev/null | openssl rsa -check -noout
want openssl encrypts and decrypts: ^kept: echo kept | openssl enc -aes-256-ctr -pbkdf2 -k word | openssl enc -d -aes-256-ctr -pbkdf2 -k word
sh a key for ssh: mkdir -p -m 700 /root/.ssh && ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519 && cp /root/.ssh/id_ed25519.pub /root/.ssh/authorized_keys
want ssh logs in: ^by ssh on machine: ssh -o StrictHostKeyChecking=no localhost 'echo by ssh on $(hostname)' 2>/dev/null

# A package from a repository of its own.
sh a package is built: mkdir -p /root/p/DEBIAN /root/p/usr/bin /root/repo && printf 'Package: hello-hull\nVersion: 1.0\nArchitecture: all\nMaintainer: nobody <nobody@localhost>\nDescription: greets\n' >/root/p/DEBIAN/control && printf '#!/bin/sh\necho hello from a package\n' >/root/p/usr/bin/hello-hull && chmod 755 /root/p/usr/bin/hello-hull && dpkg-deb --build /root/p /root/repo/hello-hull.deb
sh a repository is made: cd /root/repo && { dpkg-deb -f hello-hull.deb; echo Filename: ./hello-hull.deb; echo Size: $(stat -c %s hello-hull.deb); echo SHA256: $(sha256sum hello-hull.deb | cut -d' ' -f1); } >Packages && chmod 755 /root && echo 'deb [trusted=yes] file:/root/repo ./' >/etc/apt/sources.list && cd
sh apt updates: apt-get -q update
sh apt installs: apt-get -q -y install hello-hull
want the package runs: ^hello from a package: hello-hull
sh apt removes: apt-get -q -y purge hello-hull

# The network.
want it has its address: 10\.0\.2\.15: networkctl status --no-pager | cat
want the host's loopback is in reach: ^from the host's loopback: curl -s -m 20 http://10.0.2.2:8000/hello

# Files survive a reboot.
sh files are written: mkdir /root/files && for i in $(seq 40); do head -c $((i * 20011)) /dev/urandom >/root/files/$i; done && cd /root/files && sha256sum * >/root/sums && cd
send reboot
expect Linux version 6
expect login: $
send root
expect root@machine:~#
send bind 'set enable-bracketed-paste off'; stty -echo cols 200; PS1=
sh checksums match after a reboot: cd /root/files && sha256sum --quiet -c /root/sums && cd
want the same machine went on: ^@CPUS@: nproc

# Killed while it writes: what was flushed is there.
sh a file is flushed: dd if=/dev/urandom of=/root/flushed bs=64k count=64 conv=fsync 2>/dev/null && sha256sum /root/flushed >/root/flushed.sum && sync /root/flushed.sum /root
send for i in $(seq 400); do head -c 300000 /dev/urandom >/root/late$i; done
expect $
host the plug is pulled: sleep 1; sh unplug
ends hull tells of the kill: 137
STEPS
check "... and nothing of it runs" within 10 sh -c "! pgrep -x 'hull-vm|hull-slirp|hull-mate' >/dev/null"
e2fsck -fy "$disk" >"$T/fsck" 2>&1
matches "after the kill the journal is replayed" 'recovering journal' "$(cat "$T/fsck")"
# What a replay brings along is no damage: orphans, and the counts that ext4 writes when it is unmounted.
same "... and nothing else is to be mended" "" "$(grep -vE \
	'^e2fsck |recovering journal|^Pass [0-9]|^Clearing orphaned|^Setting free (inodes|blocks) count|^Free (inodes|blocks) count wrong|^Fix. yes|FILE SYSTEM WAS MODIFIED|[0-9]+ files .*blocks$|^$' \
	"$T/fsck")"
check "... and it is clean then" e2fsck -fn "$disk"
debugfs -R 'dump /root/flushed flushed' "$disk" 2>/dev/null
debugfs -R 'cat /root/flushed.sum' "$disk" 2>/dev/null >"$T/flushed.sum"
matches "the sum of what was flushed is there" '^[0-9a-f]{64} ' "$(cat "$T/flushed.sum")"
same "what was flushed is whole" "$(cut -d' ' -f1 "$T/flushed.sum")" "$(sha256sum <flushed | cut -d' ' -f1)"
expect "the machine is removed" 0 '^debian' h vm rm debian

at_console --disk "$disk,format=raw,bus=virtio" --initrd "$HULL_CACHE/debian-vm.initrd" \
	--append 'console=ttyS0 root=/dev/vda rw' <<'STEPS'
# The same disk on virtio with an initrd.
expect Begin: Mounting root file system
expect login: $
send root
expect root@machine:~#
send bind 'set enable-bracketed-paste off'; stty -echo cols 200; PS1=
want systemd is content on virtio: ^running: systemctl is-system-running --wait
want the root is on virtio: ^/dev/vda: findmnt -no SOURCE /
sh checksums match there: cd /root/files && sha256sum --quiet -c /root/sums && sha256sum --quiet -c /root/flushed.sum && cd
want it has its address on virtio: 10\.0\.2\.15: networkctl status --no-pager | cat
want the host's loopback is out of reach: ^7: curl -s -m 20 http://10.0.2.2:8000/hello; echo $?
host stop presses the power button: sh press
ends it powers off by itself: 0
STEPS
check "the file system is clean after power-off" e2fsck -fn "$disk"
expect "the machine is removed again" 0 '^debian' h vm rm debian
