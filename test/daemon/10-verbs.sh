#!/bin/bash
# The verbs of one node, by the stock docker client: what each prints, returns and leaves.
# time: 180
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
up

# run
got=$(dk run --rm -i busybox sh -c 'echo out; echo err >&2; cat; exit 7' 2>"$T/err" <<<"input")
same "run gives the exit code" 7 $?
same "... output and input" "out input" "$(xargs <<<"$got")"
same "... and the error stream apart" err "$(cat "$T/err")"
same "--rm removes it" "" "$(dk ps -aq)"
for code in 0 1 42 125 126 127 137 255; do
	dk run --rm busybox sh -c "exit $code" >/dev/null 2>&1 </dev/null
	same "exit code $code arrives" $code $?
done
same "much output arrives whole" "$(seq 200000 | md5sum)" "$(dk run --rm busybox seq 200000 | md5sum)"
same "much input arrives whole" "$(seq 200000 | md5sum)" "$(seq 200000 | dk run --rm -i busybox md5sum)"
same "variables, directory, user, host name" "v /tmp 1000 box" \
	"$(dk run --rm -e X=v -w /tmp -u 1000 -h box busybox sh -c 'echo $X $PWD $(id -u) $(hostname)')"
same "entry point and arguments" "a b" "$(dk run --rm --entrypoint /bin/echo busybox a b)"
same "a read-only root" "Read-only" "$(dk run --rm --read-only busybox sh -c 'touch /x 2>&1 | grep -o Read-only')"
same "a terminal" "yes 30 100" "$(script -qec "stty rows 30 cols 100; docker -H unix://$T/hull/run/docker.sock run --rm -it \
	busybox sh -c 'sleep 0.5; test -t 0 && echo yes \$(stty size)'" /dev/null </dev/null | tr -d '\r' | tail -n 1 | sed 's,^^@,,')"
same "--init puts an init first" "yes" "$(dk run --rm --init busybox sh -c '[ $$ != 1 ] && echo yes')"

# detached life
id=$(dk run -d --name one -l tier=web busybox sh -c 'echo started; trap "echo ended; exit 5" TERM; while :; do sleep 0.1; done')
matches "run -d prints the id" '^[0-9a-f]{64}$' "$id"
check "logs" within 5 sh -c "docker -H unix://$T/hull/run/docker.sock logs one | grep -q started"
matches "ps shows it" "^${id:0:12} +busybox.*Up .*one$" "$(dk ps | tail -n 1)"
same "ps filters by label" "${id:0:12}" "$(dk ps -q --filter label=tier=web)"
same "inspect" "running /one true" "$(dk inspect -f '{{.State.Status}} {{.Name}} {{.State.Running}}' one)"
same "a short id will do" "$id" "$(dk inspect -f '{{.Id}}' "${id:0:8}")"
same "exec" "6 /one-dir" "$(dk exec one mkdir /one-dir && dk exec -w /one-dir one sh -c 'pwd; exit 6' >"$T/x"; echo $? "$(cat "$T/x")")"
same "exec with input" hi "$(echo hi | dk exec -i one cat)"
same "exec as another user" 33 "$(dk exec -u 33 one id -u)"
matches "top" 'sleep 0.1|sh -c' "$(dk top one)"
matches "stats" 'one .*[MK]iB' "$(dk stats --no-stream one)"
dk pause one >/dev/null
same "pause" paused "$(dk inspect -f '{{.State.Status}}' one)"
dk unpause one >/dev/null
same "unpause" running "$(dk inspect -f '{{.State.Status}}' one)"
dk rename one uno
same "rename" /uno "$(dk inspect -f '{{.Name}}' "$id")"
dk update --memory 64m --memory-swap 64m uno >/dev/null
same "update" 67108864 "$(dk inspect -f '{{.HostConfig.Memory}}' uno)"
dk wait uno >"$T/waited" &
sleep 0.3
same "stop" uno "$(dk stop -t 5 uno)"
check "wait gives its exit code" within 5 grep -qx 5 "$T/waited"
same "... and inspect" "exited 5" "$(dk inspect -f '{{.State.Status}} {{.State.ExitCode}}' uno)"
matches "logs after the end" 'started.*ended' "$(dk logs uno | xargs)"
same "start again" uno "$(dk start uno)"
dk kill -s KILL uno >/dev/null
check "kill" within 5 sh -c "docker -H unix://$T/hull/run/docker.sock inspect -f '{{.State.ExitCode}}' uno | grep -qx 137"
same "rm" uno "$(dk rm uno)"
expect "... it is gone" 1 'No such (container|object)' dk inspect uno

# attach
dk run -d --name att -i busybox sh -c 'read x; echo got $x; exit 3' >/dev/null
same "attach carries input and output" "got word" "$( (echo word; sleep 1) | dk attach att)"
check "... and the exit code stays" within 5 sh -c "docker -H unix://$T/hull/run/docker.sock inspect -f '{{.State.ExitCode}}' att | grep -qx 3"
dk rm -f att >/dev/null
dk create --name made busybox echo made >/dev/null
same "create, then start -a" made "$(dk start -a made)"
same "start -a gives it again" made "$(dk start -a made)"

# cp, diff, export
echo hello >"$T/hello"
mkdir -p "$T/tree/deep" && echo leaf >"$T/tree/deep/leaf" && ln -s leaf "$T/tree/deep/link"
check "cp in" dk cp "$T/hello" made:/tmp/hello
check "cp a tree in" dk cp "$T/tree" made:/tmp/
check "cp a tree out" dk cp made:/tmp/tree "$T/back"
same "... as it was" "leaf leaf" "$(cat "$T/back/deep/leaf") $(readlink "$T/back/deep/link")"
same "cp to a stream" hello "$(dk cp made:/tmp/hello - | tar xO)"
same "... and from one" 0 "$(tar c -C "$T" hello | dk cp - made:/root; echo $?)"
expect "cp of nothing" 1 'nosuch|Could not find' dk cp made:/nosuch "$T/x"
matches "diff" 'A /tmp/tree/deep/leaf' "$(dk diff made)"
matches "export has the whole root" '^(\./)?bin/busybox$' "$(dk export made | tar t)"
dk rm -f made >/dev/null

# restart policies
dk run -d --name again --restart on-failure:2 busybox sh -c 'echo run; exit 9' >/dev/null
check "on-failure:2 runs it three times" within 15 sh -c "[ \$(docker -H unix://$T/hull/run/docker.sock logs again | grep -c run) = 3 ]"
check "... counts and ends" within 10 sh -c \
	"docker -H unix://$T/hull/run/docker.sock inspect -f '{{.State.Status}} {{.RestartCount}}' again | grep -qx 'exited 2'"
dk run -d --name ever --restart always busybox sh -c 'sleep 0.3; exit 0' >/dev/null
check "always starts it again" within 15 sh -c "[ \$(docker -H unix://$T/hull/run/docker.sock inspect -f '{{.RestartCount}}' ever) -ge 2 ]"
dk stop -t 0 ever >/dev/null
sleep 1
same "... until it is stopped" false "$(dk inspect -f '{{.State.Running}}' ever)"
dk rm -f again ever >/dev/null

# logs
dk run -d --name log busybox sh -c 'for i in 1 2 3 4 5; do echo line $i; done; echo bad >&2; sleep 1; echo late' >/dev/null
same "logs -f ends with the container" "late" "$(dk logs -f log 2>/dev/null | tail -n 1)"
same "logs --tail" "line 5 late" "$(dk logs --tail 3 log 2>/dev/null | xargs)"
same "logs keeps the streams apart" bad "$(dk logs log 2>&1 >/dev/null)"
matches "logs -t" '^[0-9]{4}-[0-9]{2}-[0-9]{2}T.*Z line 1' "$(dk logs -t log 2>/dev/null | head -n 1)"
sleep 1.2
same "logs --since now" "" "$(dk logs --since 0s log 2>&1)"
dk rm -f log >/dev/null
dk run -d --name big --log-opt max-size=10k --log-opt max-file=2 busybox sh -c 'seq 100000; echo end' >/dev/null
check "a log is rotated" within 10 sh -c "docker -H unix://$T/hull/run/docker.sock logs --tail 1 big | grep -qx end"
check "... and stays small" sh -c "[ \$(du -sk $T/hull/root/container/*/ | awk '{s += \$1} END {print s}') -lt 200 ]"
dk rm -f big >/dev/null

# events
dk events --since 0s --format '{{.Type}} {{.Action}}' >"$T/events" 2>&1 &
events=$!
sleep 0.5
dk run --rm --name ev busybox true
check "events tell the whole life" within 5 grep -q 'container destroy' "$T/events"
matches "... in order" 'container create .*container start .*container die .*container destroy' "$(tr '\n' ' ' <"$T/events")"
kill $events
wait $events 2>/dev/null
same "nothing is left" "" "$(dk ps -aq)"
down
