#!/bin/bash
# What leaks from engines: directories that users can walk (CVE-2021-41103, 2021-41091), sockets that a
# container on the host's network reaches (2020-15257, an open port 2375), names asked outside for an
# internal network (2024-29018), lengths that contradict (2024-41110), programs of the image run by the
# engine (2022-1227), user files that block (2024-9676, GO-2025-3528).
# time: 90
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
outside_up || give_up "a network with an outside"
hulld_start hull --dns 10.99.0.2 || exit 1
have_busybox
image "$T/evil.tar" evil:1 '{"Cmd":["sleep","300"]}' sh -c \
	'rm -f bin/ps; printf "#!/bin/sh\necho ran >/pwned\n" >bin/ps; chmod 755 bin/ps; rm -f etc/passwd; mkfifo etc/passwd' ||
	give_up "an image with a false ps and a user file that blocks"
dk load -qi "$T/evil.tar" >/dev/null

# Directories and sockets. (setpriv itself has its capabilities until it executes: the shell has not.)
id=$(dk run -d --name evil evil:1)
as_nobody() {
	setpriv --reuid 65534 --regid 65534 --clear-groups "$@"
}
chmod 711 "$T" "$T/hull"
for dir in root root/layer root/container run run/keeper; do
	refuse "a user of the host does not look into $dir" as_nobody ls "$T/hull/$dir/"
done
layer=$(find "$T/hull/root/layer" -path '*/fs/bin/busybox' | head -n 1)
refuse "... nor runs what lies in a layer" as_nobody sh -c '"$0" true' "$layer"
refuse "... nor speaks to the daemon" as_nobody curl -sf --unix-socket "$T/hull/run/docker.sock" http://d/_ping
same "a keeper's socket is root's" 600 "$(stat -c %a "$T/hull/run/keeper/$id/sock")"
same "no abstract socket" "" "$(awk '$8 ~ /^@/' /proc/net/unix)"
same "no port is listened on" "" "$(ss -Hltn | grep -v '127.0.0.11')"

# The image's own programs and files.
matches "top tells the processes" sleep "$(dk top evil)"
refuse "... without running the image's ps" dk exec evil test -e /pwned
expect "a user by name, in a file that blocks" '125|126' '.' timeout 20 docker -H "unix://$T/hull/run/docker.sock" run --rm -u nosuch evil:1 true
check "... the daemon goes on" dk ps
dk rm -f evil >/dev/null

# Names of an internal network are not asked outside.
ip netns exec out python3 -c 'import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("10.99.0.2", 53))
while True:
    q, who = s.recvfrom(512)
    print(q.hex(), flush=True)
    s.sendto(q[:2] + b"\x81\x83" + q[4:], who)' >"$T/asked" 2>&1 &
dns=$!
dk network create --internal inner >/dev/null
dk network create outer >/dev/null
hex() {
	printf '%s' "$1" | od -An -tx1 | tr -d ' \n'
}
dk run --rm --network outer busybox nslookup openly.example.org >/dev/null 2>&1
check "a name of the world is asked outside" grep -q "$(hex openly)" "$T/asked"
dk run --rm --network inner busybox nslookup secretly.example.org >/dev/null 2>&1
refuse "... but not from an internal network" grep -q "$(hex secretly)" "$T/asked"
kill $dns
wait $dns 2>/dev/null

# Requests whose length is two things.
raw() {
	printf '%b' "$1" | timeout 5 socat -t 3 - "UNIX-CONNECT:$T/hull/run/docker.sock" | head -n 1 | tr -d '\r'
}
matches "two lengths are refused" '^(HTTP/1.1 400.*)?$' \
	"$(raw 'POST /containers/create HTTP/1.1\r\nHost: d\r\nContent-Length: 2\r\nContent-Length: 60\r\n\r\n{}')"
matches "a negative one, too" '^(HTTP/1.1 4.*)?$' \
	"$(raw 'POST /containers/create HTTP/1.1\r\nHost: d\r\nContent-Length: -1\r\n\r\n{}')"
same "... nothing was made" "" "$(dk ps -aq)"
dk network rm inner outer >/dev/null
down
