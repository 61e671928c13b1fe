#!/bin/bash
# The software CPU beside QEMU's translator (TCG): the same unpacked kernel by PVH, the same initramfs, one
# processor, 512 MiB. Measured are the processor seconds of the whole process, user and system; medians
# of interleaved pairs, and of their ratios.
# time: 3000
# shellcheck source=bench/lib.sh disable=SC2016
. "$HULL_TOP/bench/lib.sh"
pairs=${PAIRS:-7}
"$HULL_TOP/test/fixtures" kernel initramfs || give_up "the kernel and its initramfs are there"
K="$HULL_CACHE/kernel/vmlinux" I="$HULL_CACHE/initramfs"
line="console=ttyS0 quiet panic=-1"

# hull RUN, qemu RUN: boots, runs RUN, powers off.
hull() {
	"$B/hull-vm" --accel cpu --cpus 1 --memory 512M --kernel "$K" --initrd "$I" --append "$line run=$1" \
		--no-reboot --quiet --stats
}
qemu() {
	qemu-system-x86_64 -M q35 -accel tcg -cpu max -m 512 -smp 1 -nodefaults -no-user-config -no-reboot \
		-display none -serial stdio -kernel "$K" -initrd "$I" -append "$line run=$1"
}

# seconds COMMAND...: its processor seconds; its output is in $T/said.
seconds() {
	TIMEFORMAT='%U %S'
	{ time "$@" >"$T/said" 2>&1 </dev/null; } 2>&1 | awk '{ printf "%.2f\n", $1 + $2 }'
}

median() {
	sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'
}

# compare NAME BAR RUN REGEX: RUN's output must match on both, or it is no measurement.
compare() {
	local name=$1 bar=$2 run=$3 regex=$4 h q mips
	: >"$T/hull" && : >"$T/qemu" && : >"$T/ratio" && : >"$T/mips"
	for ((i = 0; i < pairs; i++)); do
		q=$(seconds qemu "$run")
		grep -Eq -e "$regex" "$T/said" || give_up "$name runs on QEMU" "$(tail -n 20 "$T/said")"
		h=$(seconds hull "$run")
		grep -Eq -e "$regex" "$T/said" || give_up "$name runs on hull-vm" "$(tail -n 20 "$T/said")"
		sed -n 's/.*(\([0-9]*\) MIPS).*/\1/p' "$T/said" >>"$T/mips"
		echo "$q" >>"$T/qemu"
		echo "$h" >>"$T/hull"
		awk "BEGIN { printf \"%.3f\\n\", $h / $q }" >>"$T/ratio"
	done
	h=$(median <"$T/hull") q=$(median <"$T/qemu") mips=$(median <"$T/mips")
	ratio=$(median <"$T/ratio")
	row "$name / QEMU TCG" "<= $bar" "$ratio" "$(holds "$ratio <= $bar")" "hull $h s ($mips MIPS), qemu $q s"
}

compare "boot to user space and power-off" 3 'uname,-s' '^Linux'
compare "busybox shell loop, 200,000 turns" 4 'i=0;while,[,$i,-lt,200000,];do,i=$((i+1));done;echo,turns=$i' '^turns=200000'
compare "md5sum of 64 MiB" 2 'dd,if=/dev/zero,bs=1M,count=64|md5sum' '^7f614da9329cd3aebf59b91aadc30bf0'
