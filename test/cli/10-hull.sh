#!/bin/bash
# The command line `hull`, verb by verb: it starts its own daemon, needs no docker client, and says what
# it does; exit codes are the container's, or 125, 126, 127.
# time: 180
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
h() {
	hull --root "$T/h/root" --run "$T/h/run" "$@"
}
trap 'h down >/dev/null 2>&1; at_end' EXIT

expect "help lists the verbs" 0 '^  inspect  ' h --help
for verb in run exec ps logs attach stop rm cp inspect stats images pull push load save import rmi up down status; do
	expect "help of $verb" 0 "^usage: hull $verb" h "$verb" --help
done
expect "an unknown verb is told, with the nearest" 125 "unknown verb 'rnu'; did you mean 'run'" h rnu
expect "an unknown option too" 125 "nosuch" h run --nosuch x
expect "a missing operand" 125 'usage: hull cp' h cp x
expect "status of no daemon" 1 'not running.*hull up' h status

# The daemon comes by itself.
expect "up starts the daemon, and says so" 0 'starting hulld' h up
matches "... and where docker finds it" "DOCKER_HOST=unix://$T/h/run/docker.sock" "$(h up 2>&1)"
expect "status" 0 'kept alive by +hull supervise' h status

# Images.
expect "load" 0 'busybox:latest' h load -i "$HULL_CACHE/busybox.tar"
same "... says so once" 1 "$(grep -c 'Loaded image' <<<"$out")"
expect "a refusal of the daemon ends with 1, and no table" 1 '^hull: [Nn]o such container' h stats --no-stream nosuch
head -c 4096 /dev/urandom >"$T/noise"
expect "... as a load of what is no archive does" 1 "^hull: '$T/noise': it is not a tar archive, plain or compressed\$" h load "$T/noise"
expect "... and an import" 1 "^hull: '$T/noise': the archive to import: it is not a tar archive, plain or compressed\$" h import "$T/noise"
expect "... from standard input" 1 "^hull: standard input: the archive to import: it is not a tar" \
	sh -c "echo hello | '$B/hull' --root '$T/h/root' --run '$T/h/run' import -"
matches "images" 'busybox +latest' "$(h images)"
check "save" h save -o "$T/saved.tar" busybox
check "rmi" h rmi busybox
expect "run of an image that is not there" 125 'nosuch' h run --rm --pull never nosuch:1 true
expect "load of what was saved" 0 'busybox:latest' h load "$T/saved.tar"
expect "import" 0 'sha256:' h import "$HULL_CACHE/busybox.tar" flat:1
tar -C "$HULL_CACHE/busybox.root" -c . >"$T/root.tar"
expect "import of a root" 0 'sha256:' h import "$T/root.tar" flat:2
same "... runs" hi "$(h run --rm flat:2 echo hi)"
check "rmi of several" h rmi flat:1 flat:2
registry_start 5031
check "tag" h tag busybox "$REGISTRY/box:1"
check "push" h push "$REGISTRY/box:1"
check "rmi of the tag" h rmi "$REGISTRY/box:1"
check "pull" h pull "$REGISTRY/box:1"
expect "pull of what is not there" 1 'nosuch' h pull "$REGISTRY/nosuch:1"
h rmi "$REGISTRY/box:1" busybox >/dev/null
matches "bars, on a terminal" '\[[=>]* *\] .*/|complete' \
	"$(script -qec "'$B/hull' --root $T/h/root --run $T/h/run pull $REGISTRY/box:1" /dev/null </dev/null)"
h tag "$REGISTRY/box:1" busybox

# Running.
got=$(h run --rm -i busybox sh -c 'echo out; echo err >&2; cat; exit 7' 2>"$T/err" <<<"input")
same "run gives the exit code" 7 $?
same "... output and input" "out input" "$(xargs <<<"$got")"
same "... and the error stream apart" err "$(cat "$T/err")"
expect "a program that is not there" 127 "nosuch" h run --rm busybox nosuch
# shellcheck disable=SC2154 # expect sets it
same "... in one line" 1 "$(wc -l <<<"$out")"
expect "what is not executable" 126 "/bin.*directory" h run --rm busybox /bin
expect "... without --rm, too" 126 "/bin.*directory" h run --name left busybox /bin
expect "... and detached" 126 "/bin.*directory" h run -d --rm busybox /bin
h rm left >/dev/null
same "... nothing of them stays" "" "$(h ps -aq)"
same "variables, directory, user, host name" "v /tmp 1000 box" \
	"$(h run --rm -e X=v -w /tmp -u 1000 -h box busybox sh -c 'echo $X $PWD $(id -u) $(hostname)')"
echo '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}' >"$T/profile"
expect "a seccomp profile from a file" 1 'Operation not permitted' h run --rm --security-opt "seccomp=$T/profile" busybox mkdir /x
expect "... that is not there" 125 'nosuch.json' h run --rm --security-opt seccomp=/nosuch.json busybox true
expect "killed for memory is 137, and says which limit" 137 'killed for memory: limit 8 MiB' \
	h run --name hungry -m 8m busybox sh -c 'x=$(cat /dev/zero | tr "\0" a)'
check "... and is removed" h rm hungry
expect "... with --rm, too" 137 '^hull: killed for memory: limit 8 MiB' \
	h run --rm -m 8m busybox sh -c 'x=$(cat /dev/zero | tr "\0" a)'
same "a terminal" "yes 30 100" "$(script -qec "stty rows 30 cols 100; '$B/hull' --root $T/h/root --run $T/h/run \
	run --rm -it busybox sh -c 'sleep 0.5; test -t 0 && echo yes \$(stty size)'" /dev/null </dev/null | tr -d '\r' | tail -n 1 | sed 's,^^@,,')"
id=$(h run -d --name one busybox sh -c 'echo started; trap "echo ended; exit 5" TERM; while :; do sleep 0.1; done')
matches "run -d prints the id" '^[0-9a-f]{64}$' "$id"
logged() {
	h logs one | grep -q started
}
check "logs" within 5 logged
matches "ps" "^${id:0:12} +one +busybox .* Up " "$(h ps | tail -n 1)"
same "exec gives the exit code" 6 "$(h exec one sh -c 'exit 6'; echo $?)"
same "exec with input" hi "$(echo hi | h exec -i one cat)"
expect "exec of nothing" 127 nosuch h exec one nosuch
same "inspect" "/one running" "$(h inspect one | jq -r '.[0] | .Name + " " + .State.Status')"
matches "stats" 'one' "$(h stats --no-stream one)"
matches "top" 'sleep|sh -c' "$(h top one)"
echo hello >"$T/hello"
check "cp in" h cp "$T/hello" one:/tmp/
same "... is there" hello "$(h exec one cat /tmp/hello)"
check "cp out" h cp one:/tmp/hello "$T/back"
same "... as it was" hello "$(cat "$T/back")"
expect "cp of nothing" 1 nosuch h cp one:/nosuch "$T/x"
(h attach --no-stdin one >"$T/attached"; echo $? >"$T/code") &
sleep 0.5
check "stop" h stop -t 5 one
check "attach ends with its exit code" within 5 grep -qx 5 "$T/code"
matches "... having shown its last words" ended "$(cat "$T/attached")"
matches "logs after the end" 'started.*ended' "$(h logs one | xargs)"

# The daemon is killed: what hull started is kept alive.
h run -d --name two busybox sleep 300 >/dev/null
kill -9 "$(pgrep -f "hulld --root $T/h/root")"
back() {
	h ps --filter name=two | grep -q 'two .*Up '
}
check "a killed daemon is back, with what ran" within 10 back
expect "a container that is not there" 1 'nosuch' h stop nosuch
expect "rm of what runs" 1 'two|running' h rm two
check "rm -f" h rm -f one two
same "nothing is left" "" "$(h ps -aq)"
expect "down" 0 'hulld is down' h down
expect "... twice" 0 'not running' h down
expect "status after it" 1 'not running' h status
