#!/bin/bash
# Errors that explain themselves, through the daemon: one clear sentence each, the exit code of the
# docker client (125 the engine's, 126 cannot be executed, 127 not found, 128 + n a signal).
# time: 240
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
cat >"$T/make" <<'MAKE'
printf 'echo hi\n' >no-shebang
printf '#!/bin/nosuch -x\n' >bad-interpreter
printf '#!/bin/sh\r\necho hi\r\n' >crlf
printf '#!/bin/sh\n' >not-executable
: >empty
cp true arm && printf '\267\000' | dd of=arm bs=1 seek=18 conv=notrunc 2>/dev/null
echo 'int main(void) { return 0; }' | cc -o dynamic -xc -
chmod 755 no-shebang bad-interpreter crlf empty arm dynamic
chmod 644 not-executable
mkdir a-directory
MAKE
image "$T/bad.tar" bad:1 '{}' sh "$T/make" || give_up "an image of bad programs"
cp "$(prog eat)" "$T/eat"
up
dk load -qi "$T/bad.tar" >/dev/null || give_up "... loads"

# says NAME EXIT REGEX ARG...: docker run of that.
says() {
	local name=$1 exit=$2 regex=$3
	shift 3
	expect "$name" "$exit" "$regex" dk run --rm "$@"
	# The client adds its own hint (before version 23 also that it waited in vain); the daemon's sentence is one line.
	# shellcheck disable=SC2154 # expect sets it
	same "... in one sentence ($name)" 1 "$(grep -v "^Run 'docker run --help'\|^See 'docker run --help'\|^Unable to find image\|^Usage:\|error waiting for container: context canceled" <<<"$out" | sed '/^$/d' | wc -l)"
}
says "a program that is not there" 127 "nosuch.*(not found|no such|does not exist)" bad:1 nosuch
says "a path that is not there" 127 "/no/such" bad:1 /no/such
says "an interpreter that is not there" '126|127' '/bad-interpreter.*/bin/nosuch' bad:1 /bad-interpreter
says "a script with CRLF lines" '126|127' '/crlf.*(CR ?LF|carriage return|line ending)' bad:1 /crlf
says "a program for another machine" 126 '/arm.*(arm64|aarch64)' bad:1 /arm
says "a dynamic program without its loader" '126|127' '/dynamic.*/lib64/ld-linux-x86-64' bad:1 /dynamic
says "a file that is not executable" 126 '/not-executable.*(executable|permission)' bad:1 /not-executable
says "a directory" 126 '/a-directory.*directory' bad:1 /a-directory
says "an empty file" 126 '/empty.*empty' bad:1 /empty
dk run --rm busybox sh -c 'kill -TERM 1; sleep 5' >/dev/null 2>&1 &
dk run --rm --name sig -d busybox sleep 100 >/dev/null
dk wait sig >"$T/waited" &
sleep 0.3
dk kill -s TERM sig >/dev/null 2>&1
dk kill -s KILL sig >/dev/null 2>&1
within 5 test -s "$T/waited"
same "killed by a signal is 128 + n" 137 "$(cat "$T/waited")"

# Memory: which limit, how much, at the start and later.
dk run --name oom -m 32m --memory-swap 32m -v "$T/eat:/eat" busybox /eat >"$T/out" 2>&1
same "killed for memory is 137" 137 $?
matches "... and says which limit" '(memory).*(32 ?Mi?B|33554432)' "$(dk inspect -f '{{.State.Error}}' oom)"
dk rm oom >/dev/null
# Through a client that stays, the sentence of the start itself:
says "no memory to start in" '125|126|127|137' '([Mm]emory).*(limit|kB|KiB|bytes)' -m 64k busybox true

# Names, images, networks, ports.
says "an unknown image, no registry" 125 'nosuchimage|lookup|resolve|registry|reach|connect' nosuchimage:1 true
says "a bad reference" 125 'invalid reference|reference' 'Bad//Name:1' true
says "a bad name" 125 'bad name|name' --name 'bad name' busybox true
says "an unknown network" 125 'nosuchnet' --network nosuchnet busybox true
says "an unknown user" '125|126' 'nosuchuser' -u nosuchuser busybox true
says "a source that is not there" 125 "nosuchdir" --mount "type=bind,source=$T/nosuchdir,target=/x" busybox true
says "a sysctl of the host" '125|126' 'kernel.sysrq' --sysctl kernel.sysrq=1 busybox true
says "a device that is not there" '125|126' '/dev/nosuch' --device /dev/nosuch busybox true
says "a working directory that is a file" '126|127|125' '/bin/busybox.*directory|directory.*/bin/busybox' -w /bin/busybox busybox true
socat TCP-LISTEN:8300,reuseaddr,fork EXEC:/bin/true &
listener=$!
sleep 0.3
says "a port in use" 125 '8300.*(in use|already)' -p 8300:80 busybox true
kill $listener
dk run -d --name taken busybox sleep 100 >/dev/null
expect "a name in use" 125 'taken.*(in use|already)' dk run --name taken busybox true
dk rm -f taken >/dev/null
expect "exec into none" 1 '[Nn]o such container' dk exec nosuch true
dk create --name idle busybox true >/dev/null
expect "exec into one that does not run" 1 'not running' dk exec idle true
expect "exec of nothing" '126|127' 'nosuch' sh -c "docker -H unix://$T/hull/run/docker.sock run -d --name ex busybox sleep 100 >/dev/null; docker -H unix://$T/hull/run/docker.sock exec ex nosuch"
dk rm -f ex idle >/dev/null

# Registries.
registry_start
image "$T/box.tar" box:1 '{}' sh -c 'head -c 500000 /dev/urandom >noise'
skopeo copy -q --dest-tls-verify=false "docker-archive:$T/box.tar" "docker://$REGISTRY/box:1" >/dev/null
expect "an unknown image of a registry" 1 'nosuch.*(not found|unknown|no such|does not exist)|not found' dk pull "$REGISTRY/nosuch:1"
expect "an unknown tag" 1 '(nosuch|not found|unknown)' dk pull "$REGISTRY/box:nosuch"
blob=$(find "$T/registry.5000" -name data -size +100k | head -n 1)
cp "$blob" "$T/blob"
printf 'damage' | dd of="$blob" bs=1 seek=5000 conv=notrunc 2>/dev/null
expect "a corrupt layer" 1 '(corrupt|digest|mismatch|does not match|damaged)' dk pull "$REGISTRY/box:1"
same "... leaves nothing" "" "$(dk images -q "$REGISTRY/box")"
# The unpacking process is killed at every moment of its life: none may stay and be waited for.
same "... and says so each of 20 times" 20 "$(for _ in $(seq 20); do
	timeout $((20 * slow)) docker -H "unix://$T/hull/run/docker.sock" pull -q "$REGISTRY/box:1" 2>&1; done | grep -c 'digest mismatch')"
head -c 100000 "$T/blob" >"$blob"
expect "a layer that is too short" 1 '(short|digest|mismatch|end|truncated|incomplete|size|does not match|remaining)' dk pull "$REGISTRY/box:1"
cp "$T/blob" "$blob"
check "... and once it is whole, it comes" dk pull -q "$REGISTRY/box:1"
registry_stop
expect "a registry that refuses" 1 '(127.0.0.1:5000).*(refused|connect)|(refused|connect).*127.0.0.1:5000' dk pull "$REGISTRY/box:2"

# A full disk.
mkdir -p "$T/small"
mount -t tmpfs -o size=6m small "$T/small"
mkdir -p "$T/small/full"
"$B/hulld" --root "$T/small/full/root" --run "$T/small/full/run" >"$T/small.log" 2>&1 </dev/null &
small=$!
if within 10 curl -sf --unix-socket "$T/small/full/run/docker.sock" http://d/_ping; then
	expect "a full disk" 1 '(full|[Nn]o space)' docker -H "unix://$T/small/full/run/docker.sock" load -i "$HULL_CACHE/debian.tar"
	check "... and the daemon goes on" curl -sf --unix-socket "$T/small/full/run/docker.sock" http://d/_ping
	same "... with nothing half-made" "" "$(ls "$T/small/full/root/layer" 2>/dev/null)"
else
	not_ok "a daemon on a small disk answers" "$(tail "$T/small.log")"
fi
kill -QUIT $small
wait $small 2>/dev/null
umount "$T/small"

# Bad JSON, from a client and from a file.
matches "bad JSON in a request" 'line|column|position|offset|JSON|json' "$(api POST /v1.41/containers/create '{"Image": "busybox", }')"
matches "... is a 400" '^400$' "$(api POST /v1.41/containers/create '{"Image": ' | tail -n 1)"
matches "a wrong type names the key" 'Cmd|Env|Memory' "$(api POST /v1.41/containers/create '{"Image": "busybox", "HostConfig": {"Memory": "much"}}')"
down
