#!/bin/bash
# `kill -9` of hulld and of a machine's processes at random: other machines do not notice, disks hold all that
# was flushed, what was killed has its exit code and starts again, and nothing is left.
# KILLS times (default 6; `make soak` does 60).
# time: 300
# fixtures: kernel initramfs busybox
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
"$HULL_TOP/test/fixtures" kernel initramfs busybox || give_up "the kernel, its initramfs and an image are there"
kills=${KILLS:-6}
h() {
	hull --root "$T/hull/root" --run "$T/hull/run" "$@"
}
trap 'h vm rm -f $(h vm ls -q) >/dev/null 2>&1 || true; at_end' EXIT
hulld_start || exit 1
h load -q -i "$HULL_CACHE/busybox.tar" >/dev/null
h vm kernel add "$HULL_CACHE/kernel/package.deb" >/dev/null || give_up "a kernel is kept"

# Each writes numbered blocks, flushes them, and tells then. `raw` and `qcow` lie on NVMe.
writes='n=0;while,n=$((n+1));do,printf,%-512s,block.$n|dd,of=/dev/nvme0n1,bs=512,seek=$n,conv=fsync,2>/dev/null;echo,told,$n;done'
truncate -s 64M "$T/raw"
qemu-img create -q -f qcow2 "$T/qcow" 64M
machine() {
	h vm run -d --name "$1" --accel cpu --kernel "$HULL_CACHE/kernel/vmlinux" --initrd "$HULL_CACHE/initramfs" \
		--memory 128m --disk "$T/$1,format=$2,bus=nvme" --append "console=ttyS0 quiet panic=-1 run=$writes" >/dev/null
}
machine raw raw || give_up "a machine on a raw disk"
machine qcow qcow2 || give_up "a machine on a qcow2 disk"
beat='n=0; while n=$((n + 1)); do echo beat $n; sleep 0.1; done'
h vm run -d --name steady --accel cpu --memory 128m -p 127.0.0.1:8088:80 busybox sh -c "httpd -p 80 -h /etc; $beat" >/dev/null ||
	give_up "a machine of an image"
says() {
	[ "$(h vm logs "$1" | grep -c "^$2")" -gt "${3:-0}" ]
}
within 60 says raw told
within 60 says qcow told
within 60 says steady beat

# Of the machine NAME: its hull-mate, and with PROGRAM one of that one's children.
process_of() {
	local mate
	mate=$(h vm inspect "$1" | jq '.[0].State.Pid')
	case $2 in
	hull-keeper) awk '/^PPid:/ { print $2 }' "/proc/$mate/status" ;;
	hull-mate) echo "$mate" ;;
	*) pgrep -P "$mate" -x "$2" ;;
	esac
}

# kept NAME FORMAT TOLD: each told block is on its disk.
kept() {
	local flat="$T/$1"
	if [ "$2" = qcow2 ]; then
		flat="$T/flat"
		qemu-img check -q "$T/$1" >"$T/check" 2>&1
		matches "the image of $1 is consistent" '^[03]$' "$?"
		qemu-img convert -f qcow2 -O raw "$T/$1" "$flat"
	fi
	same "every block that $1 told of is on its disk ($3)" "" "$(
		dd if="$flat" bs=512 skip=1 count="$3" 2>/dev/null |
			tr -d '\0' | fold -w 512 | awk -v n="$3" '{ if ($1 != "block." NR) { print "block", NR, "is", $1; exit } }
				END { if (NR != n) print NR, "blocks of", n }'
	)"
}

RANDOM=${SEED:-3}
programs=(hull-vm hull-mate hull-keeper)
steady_pid=$(process_of steady hull-vm)
for round in $(seq "$kills"); do
	beats=$(h vm logs steady | grep -c ^beat)
	name=$([ $((round % 2)) = 0 ] && echo raw || echo qcow)
	format=$([ "$name" = raw ] && echo raw || echo qcow2)
	program=${programs[RANDOM % 3]}
	victim=$(process_of "$name" "$program")
	machine=$(process_of "$name" hull-vm)
	sleep "0.$((RANDOM % 10))"
	[ $((RANDOM % 2)) = 0 ] || hulld_stop hull KILL # sometimes it is not there to see it
	kill -9 "$victim"
	[ $((RANDOM % 2)) = 0 ] || hulld_stop hull KILL
	[ -n "${HULLD_PID[hull]-}" ] || hulld_start || exit 1
	# Whom a dead keeper leaves alone, the daemon ends.
	within 20 sh -c "! kill -0 $machine 2>/dev/null" || not_ok "round $round: the machine ends with its $program"
	ended() {
		[ "$(h vm inspect "$name" | jq -r '.[0].State.Status')" = exited ]
	}
	if within 20 ended; then
		same "round $round: $program of $name killed: its exit code" 137 "$(h vm inspect "$name" | jq '.[0].State.ExitCode')"
	else
		not_ok "round $round: $program of $name killed: it ends" "$(h vm ls)"
	fi
	kept "$name" "$format" "$(h vm logs "$name" | sed -n 's/^told \([0-9]*\).*/\1/p' | tail -n 1)"
	same "... the other machine is the same process" "$steady_pid" "$(process_of steady hull-vm)"
	check "... and goes on" within 20 says steady beat "$beats"
	told=$(h vm logs "$name" | grep -c ^told)
	expect "... $name starts again" 0 "^$name" h vm start "$name"
	check "... and works" within 60 says "$name" told "$told"
done
expect "the steady machine answers through its port" 0 '^root:' curl -s -m 10 http://127.0.0.1:8088/passwd
expect "... and its agent" 0 '^again' h vm exec steady echo again
same "... its log has no gap" "" "$(h vm logs steady | awk '/^beat/ { if ($2 != ++n) { print "gap at", n, $0; exit } }')"
expect "all are removed" 0 . h vm rm -f raw qcow steady
down
check "no process is left" within 10 sh -c "! pgrep -x 'hull-vm|hull-mate|hull-slirp|hull-keeper' >/dev/null"
same "no directory of a machine is left" "" \
	"$(find "$T/hull/root/container" "$T/hull/run/keeper" -mindepth 1 -maxdepth 1 2>/dev/null)"
