#!/bin/bash
# The guest that walks through the system side of the processor (test/guest/system.asm: real, protected,
# virtual-8086, long and compatibility mode; segments, gates, tasks, paging, debug registers) on QEMU's
# translator. The unit test of virt/vm/cpu holds Hull to system.txt; here QEMU is, but for the steps below.
# time: 60
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
guest=$HULL_TOP/test/guest
nasm -f bin -o "$T/system" "$guest/system.asm" || give_up "the guest is assembled"
nasm -D TCG -f bin -o "$T/tcg" "$guest/system.asm" || give_up "the guest is assembled for QEMU"

# What the unit test runs is this source: the header's numbers are its bytes, and zeros behind them.
sed -n '/guest_system\[\]/,/^};/p' "$HULL_TOP/src/virt/vm/cpu/guest_system.h" | tr ',' '\n' | grep -xE '[0-9]+' >"$T/header"
od -An -v -tu1 -w1 "$T/system" | tr -d ' ' | head -n "$(wc -l <"$T/header")" >"$T/bytes"
same "the unit test's header is up to date" "" "$(cmp "$T/header" "$T/bytes" 2>&1)"
same "... with its transcript" "$(cat "$guest/system.txt")" "$(sed -n '/guest_system_says/,$p' "$HULL_TOP/src/virt/vm/cpu/guest_system.h" |
	sed -n '2,$p' | sed -n 's/^"\(.*\)";\{0,1\}$/\1/p' | tr -d '\n' | sed 's/\\n/\n/g')"

# What QEMU 7.2 does otherwise, by the address of the step, or by the selector that LAR was asked about. The
# manual (SDM) is with Hull, and so is Bochs.
declare -A otherwise=(
	[0094]="real mode: no limit of a segment"
	[0efe]="no limit" [0f25]="no limit" [0f46]="no limit of a segment that grows down" [0f65]="no right to read"
	[0f8c]="no right to write"
	[0008]="LAR: accessed bit of a code segment" [0010]="LAR: bits that the manual leaves undefined" [0018]="LAR: the same"
	[0023]="LAR: the same" [0030]="LAR: the same" [0048]="LAR: accessed bit"
	[152f]="an unknown MSR reads as 0" [154b]="left out: paging without protection is taken" [156b]="left out: CR4's reserved bits are taken"
	[1583]="LOCK MOV is taken" [1723]="left out: an instruction breakpoint crashes QEMU" [17a0]="no general detect" [00000400]="DR7.GD stays"
	[181a]="INT1 is #UD" [181c]="... and does not go on" [1866]="no alignment check" [19f3]="DS is not nulled on the way out to ring 3"
	[13178]="error code of an IDT entry in long mode" [1319a]="the same" [131be]="SS is nulled by an IST stack, though CPL stays"
	[13218]="#GP where the stack is not canonical" [13246]="the target of a jump is not canonical, told after it" [13275]="SS as above"
	[13335]="a reserved bit is told as not present" [134ea]="a code segment with L and D is taken"
	[135cc]="STAR, LSTAR: not canonical is taken" [135f8]="the same at SYSRET" [136f4]="WRFSBASE: the same"
	[1379e]="left out: PAE can be cleared" [137c9]="left out: paging can be switched off" [137f1]="CR8's reserved bits are taken"
	[138ff]="SS as above" [3b4e]="null DS is not checked" [3aa7]="null ES is not checked"
)

# plain: without RF, which QEMU's translator does not push.
plain() {
	awk '{ at = /^E/ ? 4 : /^L/ ? 4 : 0
		if (at && substr($at, 4, 1) ~ /[1357]/)
			$at = substr($at, 1, 3) (substr($at, 4, 1) - 1) substr($at, 5)
		print }' "$1"
}

timeout $((30 * slow)) qemu-system-x86_64 -accel tcg -cpu max,vendor=GenuineIntel -m 64 -bios "$T/tcg" -debugcon stdio \
	-display none -no-reboot </dev/null >"$T/qemu" 2>"$T/errors"
same "QEMU went to the end" Z "$(tail -n 1 "$T/qemu")"
plain "$T/qemu" >"$T/theirs"
plain "$guest/system.txt" >"$T/ours"
diff "$T/ours" "$T/theirs" >"$T/diff"
declare -A met=()
unknown="" differ=0
while read -r line; do
	differ=$((differ + 1))
	# Behind the selector, or the line's first word.
	key=$(sed -E 's/^[REL][^:]*:0*([0-9a-f]{4,}) .*/\1/; t; s/ .*//' <<<"$line")
	if [ -n "${otherwise[$key]-}" ]; then
		met[$key]=1
	else
		unknown+=$line$'\n'
	fi
done < <(sed -n 's/^< //p' "$T/diff")
same "every step that QEMU does otherwise is known ($differ of $(wc -l <"$T/ours") lines)" "" "$unknown"
same "... and QEMU says nothing more" "" "$(awk -v n="$differ" '/^>/ { m++ } END { if (m > n) print m, n }' "$T/diff")"
same "... and each known one is there" "${#otherwise[@]}" "${#met[@]}"
