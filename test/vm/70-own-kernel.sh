#!/bin/bash
# A kernel of ours (test/guest/own) on each accelerator: every queue of every device, interrupts, many
# processors; and on the software CPU the races that the manual forbids, and a walk through exceptions,
# paging and debug registers, compared with QEMU.
# time: 240
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
"$HULL_TOP/test/guest/own/make" "$T/kernel" || give_up "our kernel compiles"

# A tap whose other end answers for 10.0.2.2; a peer for the vsock.
if ! ip tuntap add tap7 mode tap || ! ip addr add 10.0.2.2/24 dev tap7 || ! ip link set tap7 up; then
	give_up "a tap"
fi
mkdir -m 777 "$T/dir"
socat "UNIX-LISTEN:$T/dir/vsock_1024,fork" SYSTEM:'read line; echo "$line" >>'"$T/heard"'; echo welcome' &
peer=$!
trap 'kill "$peer" 2>/dev/null; ip link del tap7 2>/dev/null; at_end' EXIT
within 10 test -S "$T/dir/vsock_1024"
chmod 777 "$T/dir/vsock_1024"

# own ACCEL OPTION...: runs our kernel; the console is in $out, the exit code in $code.
own() {
	local accel=$1
	shift
	out=$(set -o pipefail; timeout $((100 * slow)) "$B/hull-vm" -q --accel "$accel" --kernel "$T/kernel" "$@" 2>&1 </dev/null | tr -d '\r')
	code=$?
}

# tells NAME LEAST: passes on what our kernel found; LEAST cases were tried, it switched itself off.
tells() {
	sed -n "s/^\(not \)\{0,1\}ok - /&$1: /p" <<<"$out"
	if [ "$code" = 0 ] && [ "$(grep -c '^ok - ' <<<"$out")" -ge "$2" ] && grep -q '^our kernel is done' <<<"$out"; then
		ok "$1: went to its end"
	else
		not_ok "$1: went to its end" "exit code $code" "$(tail -n 5 <<<"$out")"
	fi
}

usable=(cpu)
if [ -w /dev/kvm ] && own kvm && [ "$code" = 0 ]; then
	usable+=(kvm)
else
	ok "skipped on kvm: it is not usable here"
fi
for accel in "${usable[@]}"; do
	for kind in raw qcow2; do
		for bus in virtio nvme; do
			qemu-img create -q -f "$kind" "$T/$bus" 1M
			printf "host's bytes%500s" "" >"$T/first"
			qemu-io -f "$kind" -c "write -q -s $T/first 0 512" "$T/$bus"
		done
		own "$accel" --disk "$T/virtio,format=$kind,bus=virtio" --disk "$T/nvme,format=$kind,bus=nvme" \
			--net tap=tap7 --dir "$T/dir" --vsock --append devices
		tells "$accel, $kind" 36
		expect "... the image is sound" '0|63' . qemu-img check "$T/nvme"
	done
	# Every queue and register as a hostile driver would have it; reset, each device works as new.
	rm -f "$T/dir/vsock"
	own "$accel" --cpus 2 --disk "$T/virtio,format=qcow2,bus=virtio" --disk "$T/nvme,format=qcow2,bus=nvme" \
		--net tap=tap7 --dir "$T/dir" --vsock --append hostile
	tells "$accel, hostile" 100
	rm -f "$T/dir/vsock"
	out=$( (sleep 1; echo typed) | timeout $((60 * slow)) "$B/hull-vm" -q --accel "$accel" --kernel "$T/kernel" --console virtio --append devices 2>&1 | tr -d '\r')
	matches "$accel: the virtio console prints" '^console: type a line' "$out"
	matches "$accel: ... and reads" '^console: got typed' "$out"
	matches "$accel: ... by interrupts" '^ok - console: both interrupts' "$out"
	own "$accel" --append panic
	same "$accel: a panic is an exit code" 1 "$code"
	own "$accel" --cpus 32 --memory 64G --append others
	tells "$accel: 32 processors, 64 GiB" 1
	"$B/hull-vm" -q --accel "$accel" --kernel "$T/kernel" --append idle >"$T/idle" 2>&1 </dev/null &
	pid=$!
	within 20 grep -q 'our kernel' "$T/idle"
	sleep 0.5
	before=$(awk '{print $14 + $15}' "/proc/$pid/stat")
	sleep 2
	used=$(($(awk '{print $14 + $15}' "/proc/$pid/stat") - before))
	if [ "$used" -le 4 ]; then
		ok "$accel: an idle machine costs the host nothing"
	else
		not_ok "$accel: an idle machine costs the host nothing" "$used ticks in two seconds"
	fi
	kill "$pid"
	wait "$pid"
done
matches "the vsock's peer heard the guest" '^over vsock' "$(cat "$T/heard")"

own cpu --cpus 4 --append litmus
tells "litmus" 14

# The walk: whole, as the manual has it (test/guest/own/walk.txt); and what QEMU's translator checks, as
# QEMU prints it.
own cpu --append walk
same "the walk is the manual's" "" "$(diff "$HULL_TOP/test/guest/own/walk.txt" <(sed 1d <<<"$out"))"
own cpu --append 'walk tcg'
if command -v qemu-system-x86_64 >/dev/null; then
	timeout $((60 * slow)) qemu-system-x86_64 -M q35 -accel tcg -cpu max -m 256 -kernel "$T/kernel" -append 'walk tcg' \
		-serial stdio -display none -no-reboot -monitor none </dev/null 2>&1 | tr -d '\r' >"$T/qemu"
	check "QEMU walked to the end" grep -q '^our kernel is done' "$T/qemu"
	same "the walk is QEMU's ($(wc -l <"$T/qemu") lines)" "" "$(diff "$T/qemu" <(echo "$out"))"
else
	not_ok "QEMU is there to compare with"
fi
for accel in "${usable[@]}"; do
	own "$accel" --boot pvh --append devices
	tells "$accel, entered by PVH" 4
done
