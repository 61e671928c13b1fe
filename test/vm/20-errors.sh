#!/bin/bash
# What a machine cannot be made of: each is refused with one sentence that names it, a non-zero exit, and
# nothing left behind.
# time: 300
# fixtures: kernel initramfs
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
"$HULL_TOP/test/fixtures" kernel initramfs || give_up "the kernel and its initramfs are there"
K="$HULL_CACHE/kernel" I="$HULL_CACHE/initramfs"

# refused NAME REGEX OPTION...: exit code 125, the last line of output says why, and it is the only one.
refused() {
	local name=$1 regex=$2
	shift 2
	out=$(timeout 60 "$B/hull-vm" -q "$@" 2>&1 </dev/null)
	local code=$?
	if [ $code != 125 ]; then
		not_ok "$name" "exit code $code, not 125" "$out"
	elif [ "$(wc -l <<<"$out")" != 1 ]; then
		not_ok "$name" "more than one sentence" "$out"
	else
		matches "$name" "$regex" "$out"
	fi
}

# patched OFFSET BYTES: the packaged kernel with those bytes there, in $T/patched.
patched() {
	cp "$K/vmlinuz" "$T/patched"
	# shellcheck disable=SC2059 # the bytes are escapes
	printf "$2" | dd of="$T/patched" bs=1 seek=$(($1)) conv=notrunc status=none
}

refused "no kernel named" 'no kernel: name one with --kernel'
refused "a kernel that is not there" "cannot open kernel '/nowhere'.*No such file" --kernel /nowhere
refused "a directory as kernel" "'$T' is not a file" --accel cpu --kernel "$T"
: >"$T/empty"
refused "an empty kernel" "empty' is empty" --accel cpu --kernel "$T/empty"
head -c 100000 /dev/urandom >"$T/noise"
refused "noise as kernel" "noise' is no kernel: it is neither" --accel cpu --kernel "$T/noise"
head -c 300000 "$K/vmlinuz" >"$T/cut"
refused "a bzImage that is cut off" "cut' is cut off" --accel cpu --kernel "$T/cut"
head -c 30000000 "$K/vmlinux" >"$T/cut"
refused "a vmlinux that is cut off" "cut' is cut off or damaged" --accel cpu --kernel "$T/cut"
payload=$(python3 -c 'import struct, sys
z = open(sys.argv[1], "rb").read()
print((z[0x1f1] + 1) * 512 + struct.unpack_from("<I", z, 0x248)[0])' "$K/vmlinuz")
patched "$payload + 4" '\377\377\377\377'
refused "a damaged payload" "cannot unpack '.*patched': .*LZ4" --accel cpu --kernel "$T/patched"
patched "$payload" 'BZh9'
refused "a payload packed with bzip2" "packed with bzip2; LZ4, gzip, zstd and xz can be" --accel cpu --kernel "$T/patched"
patched 0x236 '\0\0'
refused "a 32-bit kernel" "patched' is a 32-bit kernel" --accel cpu --kernel "$T/patched"
patched 0x206 '\0\2'
refused "an ancient kernel" "boot protocol 2.0, older than 2.8" --accel cpu --kernel "$T/patched"
patched 0x24c '\377\377\377\177'
refused "a payload beyond the file" "patched' is cut off: its kernel would end" --accel cpu --kernel "$T/patched"
cp "$K/vmlinux" "$T/arm" && printf '\267\0' | dd of="$T/arm" bs=1 seek=18 conv=notrunc status=none
refused "a kernel for another processor" "arm' is a kernel for ARM64; one for x86-64 is needed" --accel cpu --kernel "$T/arm"
refused "a program as kernel" "no kernel|which is not above 1 MiB" --accel cpu --kernel /bin/true

refused "too little memory for the kernel" "vmlinux' ends at [0-9]+ MiB of memory, the machine has 32 MiB: give it more" \
	--accel cpu --memory 32M --kernel "$K/vmlinux"
truncate -s 200M "$T/big"
refused "too little memory for the initrd" "initrd '.*big' of 200 MiB does not fit.*128 MiB: give it more memory" \
	--accel cpu --memory 128M --kernel "$K/vmlinux" --initrd "$T/big"
refused "an initrd that is not there" "cannot open initrd '/nowhere'" --accel cpu --kernel "$K/vmlinux" --initrd /nowhere
refused "too much memory" "cannot have [0-9]+ bytes of memory: from 1 MiB to 64 GiB" --accel cpu --memory 65G --kernel "$K/vmlinux"
refused "no memory" "cannot have 0 bytes of memory" --accel cpu --memory 0 --kernel "$K/vmlinux"
refused "a size that is none" "memory.*'much'" --memory much --kernel "$K/vmlinux"
refused "no processor" "1 to 32 vCPUs, not 0" --cpus 0 --kernel "$K/vmlinux"
refused "too many processors" "1 to 32 vCPUs, not 33" --cpus 33 --kernel "$K/vmlinux"
refused "a command line that is too long" "command line has 3000 bytes, it may have 2047" --accel cpu --kernel "$K/vmlinux" \
	--append "$(head -c 3000 /dev/zero | tr '\0' x)"
refused "an unknown accelerator" "unknown accelerator 'tcg': there are 'auto', 'kvm' and 'cpu'" --accel tcg --kernel "$K/vmlinux"
refused "an unknown option" "unknown option '--acel'; did you mean '--accel'" --acel cpu
refused "an operand" "unexpected 'extra'" --kernel "$K/vmlinux" extra
refused "an unknown way to boot" "unknown boot protocol 'bios': there are 'auto', 'pvh', 'linux64'" --boot bios --kernel "$K/vmlinux"

refused "a disk that is not there" "'/nowhere'.*No such file" --accel cpu --kernel "$K/vmlinux" --disk /nowhere,format=raw
truncate -s 1M "$T/disk"
refused "a disk whose format is not named" "disk '.*disk': its format is not guessed" --accel cpu --kernel "$K/vmlinux" --disk "$T/disk"
refused "a disk of an unknown format" "'vmdk'" --accel cpu --kernel "$K/vmlinux" --disk "$T/disk,format=vmdk"
refused "a disk on an unknown bus" "unknown bus 'ide': there are 'virtio', 'nvme'" --accel cpu --kernel "$K/vmlinux" \
	--disk "$T/disk,format=raw,bus=ide"
refused "raw noise as qcow2" "disk|qcow2" --accel cpu --kernel "$K/vmlinux" --disk "$T/noise,format=qcow2"

# A kernel whose configuration lies beside it, as the package has it, and says what it cannot reach.
package=("$K"/package/boot/vmlinuz-*)
refused "a kernel without the driver of its disk" "has no driver of its own for a virtio disk .CONFIG_VIRTIO_PCI=m" \
	--accel cpu --kernel "${package[0]}" --disk "$T/disk,format=raw,bus=virtio"

# A disk that a running machine writes.
"$B/hull-vm" --accel cpu -q --kernel "$K/vmlinux" --initrd "$I" --disk "$T/disk,format=raw" \
	--append "console=ttyS0 quiet run=sleep,1000" >"$T/running" 2>&1 </dev/null &
pid=$!
within 20 grep -q '^Seccomp:.*2' "/proc/$pid/status"
refused "a disk in use" "disk'.*in use" --accel cpu --kernel "$K/vmlinux" --disk "$T/disk,format=raw"
kill -KILL $pid
wait $pid 2>/dev/null
out=$(timeout 60 "$B/hull-vm" --accel cpu -q --kernel "$K/vmlinux" --initrd "$I" --disk "$T/disk,format=raw" \
	--append "console=ttyS0 quiet run=true" 2>&1 </dev/null)
same "the lock ends with its holder, even when that is killed" 0 $?

# No right to /dev/kvm: kvm is refused, auto goes on without it and says why.
cp "$K/vmlinux" "$T/vmlinux" && chmod 644 "$T/vmlinux"
chmod 711 "$T"
if [ -e /dev/kvm ]; then
	as_nobody() {
		setpriv --reuid 65534 --regid 65534 --clear-groups "$@"
	}
	cp "$B/hull-vm" "$T/hull-vm" && chmod 755 "$T/hull-vm"
	out=$(as_nobody "$T/hull-vm" --accel kvm --kernel "$T/vmlinux" 2>&1 </dev/null)
	same "no right to /dev/kvm: exit code" 125 $?
	matches "... and the reason" "accelerator 'kvm': cannot open '/dev/kvm': Permission denied" "$out"
	out=$(as_nobody timeout 20 "$T/hull-vm" --kernel "$T/vmlinux" --memory 32M 2>&1 </dev/null)
	matches "auto goes on without it" "ends at .* MiB of memory" "$out"
fi
out=$(timeout 60 "$B/hull-vm" --kernel "$K/vmlinux" --initrd "$I" --append "console=ttyS0 quiet run=true" 2>&1 </dev/null)
same "auto takes an accelerator that boots" 0 $?
lines=$(grep -c 'kvm is not used: ' <<<"$out")
case $lines in
0 | 1) ok "... and says in at most one line why it is not kvm" ;;
*) not_ok "... and says in at most one line why it is not kvm" "$out" ;;
esac
