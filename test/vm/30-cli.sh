#!/bin/bash
# `hull vm` on machines of a kernel and an initramfs: the console, the life of a machine, kernels, and
# what is told when something is wrong.
# time: 400
# fixtures: kernel initramfs
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
"$HULL_TOP/test/fixtures" kernel initramfs || give_up "the kernel and its initramfs are there"
K="$HULL_CACHE/kernel/vmlinux" I="$HULL_CACHE/initramfs"
h() {
	hull --root "$T/h/root" --run "$T/h/run" "$@"
}
trap 'h vm rm -f $(h vm ls -q) >/dev/null 2>&1; h down >/dev/null 2>&1; at_end' EXIT

expect "help lists the verbs" 0 '^  console ' h vm --help
for verb in run start ls ps logs console exec stop kill wait rm inspect pause resume kernel; do
	expect "help of vm $verb" 0 "^usage: hull vm $verb" h vm "$verb" --help
done
expect "an unknown verb is told, with the nearest" 125 "unknown verb 'rnu'; did you mean 'run'" h vm rnu
expect "up" 0 'hulld is up' h up

# What is wrong costs one sentence.
while IFS='|' read -r name regex words; do
	# shellcheck disable=SC2086 # words
	expect "run: $name" 125 "^hull: .*$regex" h vm run --accel cpu $words
	same "... in one line" 1 "$(wc -l <<<"$out")"
done <<ROWS
nothing to boot|say what to boot|
a kernel that is not there|cannot read kernel '/nonexistent|--kernel /nonexistent
a kernel's name that is not kept|no kernel 'zzzz'|--kernel zzzz
an initrd that is not there|cannot read initrd|--kernel $K --initrd /nonexistent
a disk without its format|format is not guessed|--kernel $K --disk /dev/null
a disk of an unknown kind|unknown bus|--kernel $K --disk /dev/null,format=raw,bus=ide
a disk that is not there|cannot read disk|--kernel $K --disk /nonexistent,format=raw
a wrong word of a disk|unknown word 'zz'|--kernel $K --disk /dev/null,zz
no processors|number of CPUs 99|--kernel $K --cpus 99
too little memory|memory size of 1.0 MiB: 32 to 65536 MiB|--kernel $K --memory 1m
an unknown accelerator|unknown accelerator 'qemu'|--accel qemu --kernel $K
an unknown network|unknown network|--kernel $K --net bridge
a port that is none|say .ADDRESS:.HOST:GUEST|--kernel $K --publish 80
a port without the network|published by the user network|--kernel $K --net none --publish 1080:80
no such image|nosuch|--pull never nosuch:1
ROWS
same "... and nothing is left" "" "$(h vm ls -q)"

# The console is ours: input, output, exit code.
run=(--accel cpu --kernel "$K" --initrd "$I" --memory 256m)
expect "a machine runs a script, switches off and is removed" 0 'sum=5' \
	h vm run --rm "${run[@]}" --append 'console=ttyS0 quiet panic=-1 run=echo,sum=$((2+3))'
expect "... with more of everything" 0 'cpus=2' \
	h vm run --rm "${run[@]}" --cpus 2 --append 'console=ttyS0 quiet panic=-1 run=echo,cpus=$(nproc)'
truncate -s 64M "$T/disk" "$T/disk2"
expect "disks arrive in order, read-only ones stay so" 0 '^1:0 131072' \
	h vm run --rm "${run[@]}" --disk "$T/disk,format=raw,ro,bus=nvme" --disk "$T/disk2,format=raw,bus=nvme" \
	--append 'console=ttyS0 quiet panic=-1 run=echo,$(cat,/sys/block/nvme0n1/ro):$(cat,/sys/block/nvme1n1/ro),$(cat,/sys/block/nvme1n1/size)'
# In the background: its life by the verbs.
id=$(h vm run -d --name one "${run[@]}" --append 'console=ttyS0 quiet panic=-1' 2>&1)
matches "run -d prints the id" '^[0-9a-f]{64}$' "$id"
within 60 sh -c "'$B/hull' --root '$T/h/root' --run '$T/h/run' vm logs one | grep -q help"
matches "its console is in the log" 'list of built-in' "$(h vm logs one)"
matches "ls" "^${id:0:12} +one" "$(h vm ls)"
matches "ps tells what it uses" "^${id:0:12} +one .* cpu +1 +[0-9.]+ s +[0-9.]+MB / 268MB" "$(h vm ps)"
same "docker's list is not concerned" 0 "$(curl -s --unix-socket "$T/h/run/docker.sock" 'http://d/containers/json?all=1' | jq length)"
matches "inspect" '"Kernel": ' "$(h vm inspect one)"
expect "a second machine of that name is refused" 125 'already in use' h vm run -d --name one "${run[@]}"
check "pause" h vm pause one
matches "... shows" 'Paused' "$(h vm ls)"
check "resume" h vm resume one
expect "exec needs an agent" 125 'no agent' h vm exec one true
# The console, by a terminal: Ctrl-] leaves it, and the machine goes on.
python3 - "$B/hull" --root "$T/h/root" --run "$T/h/run" vm console one >"$T/console" 2>&1 <<'PY'
import os, pty, select, sys, time
pid, fd = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:])
seen, end, sent = b"", time.time() + 60, 0
while time.time() < end:
    if select.select([fd], [], [], 0.5)[0]:
        try:
            seen += os.read(fd, 4096)
        except OSError:
            break
    elif sent == 0:
        os.write(fd, b"echo con-$((40+2))\n"); sent = 1
    if sent == 1 and b"con-42" in seen:
        os.write(fd, b"\x1d"); sent = 2
sys.stdout.buffer.write(seen)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
PY
same "Ctrl-] leaves the console" 0 $?
matches "... which was the machine's" 'con-42' "$(cat "$T/console")"
matches "... and the machine goes on" 'Up' "$(h vm ls)"

# A new daemon finds it.
pid=$(pgrep -f "hulld --root $T/h/root" | head -n 1)
kill -9 "$pid"
within 20 h vm ps
matches "a machine outlives hulld" "^${id:0:12} +one" "$(h vm ps)"
expect "kill" 0 one h vm kill one
expect "wait" 0 '^137$' h vm wait one
check "start again" h vm start one
matches "... it runs" 'one' "$(h vm ps)"
expect "rm of a running one is refused" 1 '' h vm rm one
check "rm -f" h vm rm -f one
same "nothing is left" "" "$(h vm ls -q; ls "$T/h/run/keeper")"

# hull-vm killed: the machine ends, another does not care.
a=$(h vm run -d --name aa "${run[@]}") b=$(h vm run -d --name bb "${run[@]}")
within 20 test -S "$T/h/run/keeper/$a/machine/control"
within 20 test -S "$T/h/run/keeper/$b/machine/control"
vm=$(pgrep -f -- "--dir $T/h/run/keeper/$a/machine" | head -n 1)
kill -9 "$vm"
expect "a killed hull-vm ends its machine" 0 '^137$' h vm wait aa
matches "... and no other" '^[0-9a-f]+ +bb ' "$(h vm ps | tail -n 1)"
expect "stop ends by force what hears neither agent nor power button" 0 '^bb' h vm stop -t 1 bb
same "... and its code says so" 137 "$(h vm wait bb)"
h vm rm -f aa bb >/dev/null

# Kernels.
expect "kernel ls of none" 0 '^ID ' h vm kernel ls
head -c 100000 /dev/urandom >"$T/noise.deb"
expect "kernel add of what is no package" 1 "noise.deb.*not a readable Debian package" h vm kernel add "$T/noise.deb"
expect "kernel add of no file" 1 "cannot open kernel package" h vm kernel add "$T/nosuch.deb"
expect "kernel add" 0 '^[0-9a-f]{12}$' h vm kernel add "$HULL_CACHE/kernel/package.deb"
kernel=$out
matches "kernel ls" "^$kernel +6\\..*-cloud-amd64" "$(h vm kernel ls)"
cmp -s "$T/h/root/kernel/$kernel/vmlinux" "$K"
same "... holds the unpacked kernel" 0 $?
expect "a kept kernel boots by its id" 0 'kept' h vm run --rm --accel cpu --kernel "$kernel" --initrd "$I" \
	--memory 256m --append 'console=ttyS0 quiet panic=-1 run=echo,kept'
expect "kernel rm" 0 "$kernel" h vm kernel rm "$kernel"
expect "... twice" 1 'no kernel' h vm kernel rm "$kernel"
