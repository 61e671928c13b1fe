#!/bin/bash
# An OCI image behind its own kernel: `hull vm run IMAGE`. Streams, environment, directory, user,
# signals and exit codes are as for a container; what is written stays; exec; stop.
# time: 400
# fixtures: kernel busybox
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
"$HULL_TOP/test/fixtures" kernel busybox || give_up "the kernel and the image are there"
h() {
	hull --root "$T/h/root" --run "$T/h/run" "$@"
}
trap 'h vm rm -f $(h vm ls -q) >/dev/null 2>&1; h down >/dev/null 2>&1; at_end' EXIT
image "$T/image.tar" cfg:1 '{"Entrypoint":["sh","-c"],"Cmd":["echo from-image $WHO in $(pwd)"],"Env":["WHO=me"],"WorkingDir":"/etc"}' \
	touch etc/mark
h up >/dev/null 2>&1
expect "no kernel yet: the way to one is told" 0 'Loaded image' h load -i "$HULL_CACHE/busybox.tar"
expect "... by run" 125 "no kernel for machines yet; add one with 'hull vm kernel add" h vm run --rm busybox true
expect "kernel add" 0 '^[0-9a-f]{12}$' h vm kernel add "$HULL_CACHE/kernel/package.deb"
expect "load an image with a config" 0 'cfg:1' h load -i "$T/image.tar"
run=(--accel cpu --net none --memory 256m)

expect "uname is the guest's" 0 "cloud-amd64" h vm run --rm "${run[@]}" busybox uname -r
same "... not the host's" 1 "$(grep -cv "$(uname -r)" <<<"$out")"
expect "the image's config counts" 0 '^from-image me in /etc$' h vm run --rm "${run[@]}" cfg:1
expect "exit code, environment, directory, user, host name" 42 '^v /tmp 65534 box$' \
	h vm run --rm "${run[@]}" -e K=v -w /tmp -u nobody -h box busybox sh -c 'echo $K $(pwd) $(id -u) $(hostname); exit 42'
expect "standard error is its own stream" 3 '^$' sh -c \
	"'$B/hull' --root '$T/h/root' --run '$T/h/run' vm run --rm ${run[*]} busybox sh -c 'echo to-err >&2; exit 3' 2>'$T/err'"
matches "..." '^to-err$' "$(cat "$T/err")"
same "standard input" "$(seq 20000 | sha256sum)" \
	"$(seq 20000 | timeout 60 "$B/hull" --root "$T/h/root" --run "$T/h/run" vm run -i --rm "${run[@]}" busybox sha256sum)"
expect "much output" 0 '^1000000 ' sh -c \
	"'$B/hull' --root '$T/h/root' --run '$T/h/run' vm run --rm ${run[*]} busybox head -c 1000000 /dev/zero | wc -c | sed 's/$/ /'"
expect "a command that is not there" 126\|127 'nosuch' h vm run --rm "${run[@]}" busybox nosuch
expect "a user that is not there" 126 'unable to find user nosuch' h vm run --rm "${run[@]}" -u nosuch busybox true
expect "volumes are refused in one sentence" 125\|1 'disks' sh -c \
	"curl -s --unix-socket '$T/h/run/docker.sock' -H 'Content-Type: application/json' -d '{\"Image\":\"cfg:1\",\"HostConfig\":{\"Runtime\":\"hull-vm\",\"Binds\":[\"/tmp:/x\"]}}' http://d/containers/create; exit 1"

# A terminal: its size, and how it changes.
python3 - "$B/hull" --root "$T/h/root" --run "$T/h/run" vm run --rm -it "${run[@]}" busybox \
	sh -c 'stty size; read x; stty size; tty' >"$T/tty" 2>&1 <<'PY'
import fcntl, os, pty, select, struct, sys, termios, time
pid, fd = pty.fork()
if pid == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("4H", 30, 100, 0, 0))
    os.execv(sys.argv[1], sys.argv[1:])
seen, end, told = b"", time.time() + 90, False
while time.time() < end:
    if not select.select([fd], [], [], 0.5)[0]:
        continue
    try:
        seen += os.read(fd, 4096)
    except OSError:
        break
    if b"30 100" in seen and not told:
        fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("4H", 41, 123, 0, 0))
        time.sleep(1)
        os.write(fd, b"\n")
        told = True
sys.stdout.buffer.write(seen)
PY
matches "-t: the command has the terminal's size" '^30 100' "$(tr -d '\r' <"$T/tty")"
matches "... and follows it" '^41 123' "$(tr -d '\r' <"$T/tty")"

# A longer life.
id=$(h vm run -d --name long "${run[@]}" --disk-size 256m busybox sh -c 'trap "echo bye; exit 9" TERM; echo up; while :; do sleep 0.1; done')
expect "exec waits for a machine that is still booting" 0 '^early' h vm exec long echo early
within 60 sh -c "'$B/hull' --root '$T/h/root' --run '$T/h/run' vm logs long | grep -q up"
matches "logs are the command's" '^up$' "$(h vm logs long)"
matches "ps" "^${id:0:12} +long .* cpu +1 +[0-9.]+ s .*[0-9.]+[kM]?B / [0-9.]+[kM]?B" "$(h vm ps)"
expect "exec: exit code and streams" 5 '^inside long*' h vm exec -e W=inside long sh -c 'echo $W long; exit 5'
expect "exec: standard input" 0 '^sent$' sh -c "echo sent | '$B/hull' --root '$T/h/root' --run '$T/h/run' vm exec -i long cat"
expect "exec: a command that is not there" 127 'nosuch' h vm exec long nosuch
matches "the disk is as large as asked" '^2[0-9]{5}$' "$(h vm exec long df -k / | awk 'END { print $2 }')"
expect "write" 0 '' h vm exec long sh -c 'echo kept >/file; sync'
expect "cp is refused: the files are the machine's" 1 'is a machine' h cp long:/file "$T/"
before=$(date +%s)
expect "stop asks the command" 0 long h vm stop long
check "... which ends at once" test $(($(date +%s) - before)) -lt 8
same "... by its own code" 9 "$(h vm wait long)"
matches "... and last words" '^bye$' "$(h vm logs long)"
check "start again" h vm start long
within 60 h vm exec long true
same "what was written is still there" kept "$(h vm exec long cat /file)"
pid=$(pgrep -f "hulld --root $T/h/root" | head -n 1)
kill -9 "$pid"
within 20 h vm ps
same "exec works behind a new daemon" kept "$(h vm exec long cat /file)"
check "rm -f" h vm rm -f long
same "its disk is gone" "" "$(find "$T/h/root/container" -name disk.ext4)"

# The same image as a container and as a machine.
c=$(h run --rm busybox uname -r) v=$(h vm run --rm "${run[@]}" busybox uname -r)
same "the container has the host's kernel" "$(uname -r)" "$c"
matches "the machine has its own" 'cloud-amd64$' "$v"
