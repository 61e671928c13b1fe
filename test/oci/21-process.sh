#!/bin/bash
# More of what config.json and the command line ask of a process and its mounts: scheduler, I/O priority,
# affinity, tmpcopyup, recursive idmapping, handed descriptors, a console, a pid file.
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
n=0

# sees NAME WANTED JQ_FILTER SHELL: what the shell prints inside.
sees() {
	local got
	n=$((n + 1))
	bundle "$T/c" "$3" /bin/sh -c "$4"
	got=$(oci run -b "$T/c" "p$n" 2>&1)
	same "$1" "$2" "$got"
	oci delete -f "p$n" >/dev/null 2>&1
}

# The fields of /proc/self/stat behind the name: 19 is the nice value, 41 the policy.
sees "scheduler: batch, nice" "3 7" '.process.scheduler = {policy: "SCHED_BATCH", nice: 7}' \
	'set -- $(sed "s/.*) //" /proc/self/stat); shift 16; nice=$1; shift 22; echo $1 $nice'
sees "I/O priority" "best-effort: prio 6" '.process.ioPriority = {class: "IOPRIO_CLASS_BE", priority: 6}' 'ionice -p $$'
sees "tmpcopyup keeps what was there" "root:x yes" \
	'.mounts += [{destination: "/etc", type: "tmpfs", source: "t", options: ["tmpcopyup"]}]' \
	'echo "$(cut -d: -f1,2 /etc/passwd | head -n 1) $(grep -q " /etc tmpfs " /proc/mounts && echo yes)"'
mkdir -p "$T/give/sub"
mount -t tmpfs sub "$T/give/sub" && touch "$T/give/sub/file" && chown 1234:1234 "$T/give/sub/file"
sees "recursive idmapping reaches the mounts below" "5 5" ".mounts += [{destination: \"/g\", source: \"$T/give\",
	options: [\"rbind\", \"ridmap\"], uidMappings: [{containerID: 1234, hostID: 5, size: 1}],
	gidMappings: [{containerID: 1234, hostID: 5, size: 1}]}]" 'stat -c "%u %g" /g/sub/file'
umount "$T/give/sub"
echo handed >"$T/handed"
bundle "$T/c" . /bin/sh -c 'read x <&3; echo $x'
same "--preserve-fds hands them down" handed "$(oci run --preserve-fds 1 -b "$T/c" fds 2>&1 3<"$T/handed")"
bundle "$T/c" . /bin/sh -c 'read x <&3; echo $LISTEN_FDS $x'
same "... and so does LISTEN_FDS" "1 handed" "$(LISTEN_FDS=1 oci run -b "$T/c" listen 2>&1 3<"$T/handed")"

# The affinity is that of processes that come later, as the specification has it.
bundle "$T/c" '.process.execCPUAffinity = {initial: "0", final: "0"}' /bin/sleep 100
oci run -d -b "$T/c" later >/dev/null 2>&1
same "affinity of an exec" 0 "$(oci exec later sed -n 's/Cpus_allowed_list:[[:space:]]*//p' /proc/self/status)"
oci delete -f later

# Detached: a pid file, and a console whose master comes over a socket.
bundle "$T/c" '.process.terminal = true | .process.consoleSize = {height: 30, width: 100}' \
	/bin/sh -c 'test -t 0 && echo "terminal $(stty size)"; sleep 100'
cat >"$T/console.py" <<'PY'
import os, socket, sys
s = socket.socket(socket.AF_UNIX)
s.bind(sys.argv[1])
s.listen()
fds = socket.recv_fds(s.accept()[0], 4096, 4)[1]
text = b""
while b"\n" not in text:
    text += os.read(fds[0], 4096)
print(len(fds), text.decode().split("\r\n")[0], flush=True)
PY
python3 "$T/console.py" "$T/console.sock" >"$T/tty" 2>&1 &
within 5 test -S "$T/console.sock"
check "run -d with a console socket" oci run -d --console-socket "$T/console.sock" --pid-file "$T/pid" -b "$T/c" tty
check "the master arrives, of the size asked for" within 5 grep -qx '1 terminal 30 100' "$T/tty"
same "the pid file holds the pid" "$(oci state tty | jq .pid)" "$(cat "$T/pid")"
check "delete -f" oci delete -f tty
wait

# The pidfd of the first process, and of an exec, over a socket: it names that very process, can be
# waited for and signalled.
cat >"$T/pidfd.py" <<'PY'
import re, select, signal, socket, sys
s = socket.socket(socket.AF_UNIX)
s.bind(sys.argv[1])
s.listen()
for _ in range(2):
    fd = socket.recv_fds(s.accept()[0], 4096, 4)[1]
    pid = re.search(r"^Pid:\s*(\d+)", open("/proc/self/fdinfo/%d" % fd[0]).read(), re.M).group(1)
    print(len(fd), pid, len(select.select(fd, [], [], 0)[0]), flush=True)
    sys.stdin.readline()
    signal.pidfd_send_signal(fd[0], signal.SIGKILL)
    print("ended", len(select.select(fd, [], [], 30)[0]), flush=True)
PY
mkfifo "$T/go"
timeout $((30 * slow)) python3 "$T/pidfd.py" "$T/pidfd.sock" <"$T/go" >"$T/pidfds" 2>&1 &
reader=$!
exec 9>"$T/go"
within 5 test -S "$T/pidfd.sock"
bundle "$T/c" . /bin/sh -c 'exec sleep 100 >/dev/null 2>&1'
check "run -d with a pidfd socket" oci run -d --pidfd-socket "$T/pidfd.sock" --pid-file "$T/pid" -b "$T/c" pidfd
first=$(cat "$T/pid")
check "the first process's pidfd arrives" within 5 grep -qx "1 $first 0" "$T/pidfds"
bundle "$T/c" . /bin/sh -c 'exec sleep 100 >/dev/null 2>&1'
oci run -d --pid-file "$T/pid" -b "$T/c" other >/dev/null 2>&1
echo >&9
check "... and ends it" within 5 grep -qx "ended 1" "$T/pidfds"
check "... nobody else" kill -0 "$(cat "$T/pid")"
check "... as state tells" within 5 eval '[ "$(oci state pidfd | jq -r .status)" = stopped ]'
check "exec -d with a pidfd socket" oci exec -d --pidfd-socket "$T/pidfd.sock" --pid-file "$T/exec.pid" other \
	sh -c 'exec sleep 50 >/dev/null 2>&1'
check "an exec's pidfd arrives" within 5 grep -qx "1 $(cat "$T/exec.pid") 0" "$T/pidfds"
echo >&9
check "... and ends it" within 5 eval '[ "$(grep -cx "ended 1" "$T/pidfds")" = 2 ]'
same "... the container runs on" running "$(oci state other | jq -r .status)"
exec 9>&-
wait "$reader"
bundle "$T/c" . /true
expect "a socket that is not there is told" '1|125|126|127|255' "pidfd socket.*nosuch.sock" \
	oci run --pidfd-socket "$T/nosuch.sock" -b "$T/c" none
refuse "... and the container does not stay" oci state none
oci delete -f pidfd
oci delete -f other
exit 0
