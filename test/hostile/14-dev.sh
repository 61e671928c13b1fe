#!/bin/bash
# CVE-2025-31133, 2025-52565, 2026-41579, 2026-47766: /dev, /dev/null, /dev/console or /dev/pts are not
# what they seem; masking or the console then touches something else.
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
mkdir -p "$T/outside" "$T/evil"
echo untouched >"$T/outside/file"

# The image's /dev is a link out of it.
bundle "$T/c" . /bin/sh -c 'ls -l /dev/null'
rmdir "$T/c/rootfs/dev" && ln -s "../../outside" "$T/c/rootfs/dev"
oci run -b "$T/c" devlink >/dev/null 2>&1
oci delete -f devlink >/dev/null 2>&1
same "a link as /dev: nothing is made outside" file "$(ls "$T/outside")"

# /dev is the attacker's directory and its null is a link or a plain file.
for kind in link file fifo; do
	rm -f "$T/evil/null"
	case $kind in
	link) ln -s "$T/outside/file" "$T/evil/null" ;;
	file) echo "false null" >"$T/evil/null" ;;
	fifo) mkfifo "$T/evil/null" ;;
	esac
	bundle "$T/d" ".mounts |= map(select(.destination | startswith(\"/dev\") | not)) |
		.mounts += [{destination: \"/dev\", type: \"bind\", source: \"$T/evil\", options: [\"rbind\", \"rw\"]}] |
		.linux.maskedPaths = [\"/proc/keys\", \"/etc/passwd\"]" /bin/sh -c '
		for f in /proc/keys /etc/passwd; do
			[ "$(stat -c %t:%T $f)" = 1:3 ] || { [ -s $f ] && echo "$f is not masked"; }
			(echo attack >$f) 2>&-
		done; true'
	got=$(oci run -b "$T/d" "null$kind" 2>&1 </dev/null)
	code=$?
	oci delete -f "null$kind" >/dev/null 2>&1
	refuse "a $kind as /dev/null masks nothing falsely (code $code)" grep -q 'not masked' <<<"$got"
	same "... and nothing is written through it" "untouched" "$(cat "$T/outside/file")"
done

# The console: a link planted where /dev/console is going to be.
cat >"$T/console.py" <<'PY'
import array, os, socket, sys
s = socket.socket(socket.AF_UNIX)
s.bind(sys.argv[1])
s.listen(1)
s.settimeout(10)
c, _ = s.accept()
fds = array.array("i")
data, anc, _, _ = c.recvmsg(4096, socket.CMSG_SPACE(16))
for level, kind, body in anc:
    fds.frombytes(body[:len(body) - len(body) % 4])
out = b""
while True:
    try:
        more = os.read(fds[0], 4096)
    except OSError:
        break
    if not more:
        break
    out += more
sys.stdout.write(out.decode())
PY
bundle "$T/t" ".process.terminal = true | .mounts |= map(select(.destination | startswith(\"/dev\") | not)) |
	.mounts += [{destination: \"/dev\", type: \"bind\", source: \"$T/evil\", options: [\"rbind\", \"rw\"]}]" \
	/bin/sh -c 'tty; ls -l /dev/console'
rm -f "$T/evil/null"
mknod -m 666 "$T/evil/null" c 1 3
ln -s "$T/outside/file" "$T/evil/console"
mkdir -p "$T/evil/pts" && ln -s "$T/outside/file" "$T/evil/ptmx"
python3 "$T/console.py" "$T/console.sock" >"$T/tty.out" 2>&1 &
within 5 test -S "$T/console.sock"
oci run --console-socket "$T/console.sock" -b "$T/t" console >"$T/said" 2>&1
oci delete -f console >/dev/null 2>&1
kill %1 2>/dev/null
wait
same "a link as /dev/console leads nowhere" untouched "$(cat "$T/outside/file")"
check "... and the file is not mounted over" sh -c "! grep -q '$T/outside/file' /proc/self/mountinfo"
exit 0
