#!/bin/bash
# A container by the runtime's verbs, from create to delete; each verb does what the table of the OCI
# runtime command line says.
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"

expect "--version names the spec" 0 'spec: *1\.[0-9]' oci --version
expect "features is JSON with the spec's range" 0 'ociVersionMax' oci features
check "... that jq reads" sh -c "'$B/hull-oci' features | jq -e '.linux.namespaces | length >= 7'"
mkdir -p "$T/spec" && (cd "$T/spec" && oci spec)
check "spec writes a bundle's configuration" jq -e .ociVersion "$T/spec/config.json"

bundle "$T/c" . /bin/sh -c 'echo out; echo err >&2; cat; exit 7'
got=$(echo input | oci_in run -b "$T/c" run 2>"$T/err")
same "run gives the exit code" 7 $?
same "... standard output and input" "out input" "$(xargs <<<"$got")"
same "... standard error" err "$(cat "$T/err")"
refuse "... and nothing is left of it" oci state run

bundle "$T/s" . /bin/sh -c 'trap "exit 3" TERM; echo up; while :; do sleep 0.1; done'
oci create --pid-file "$T/pid" -b "$T/s" c1 >"$T/c1.out" 2>&1 || give_up "create" "$(cat "$T/c1.out")"
same "create leaves it created" created "$(oci state c1 | jq -r .status)"
same "... with its pid in the file" "$(oci state c1 | jq -r .pid)" "$(cat "$T/pid")"
same "... and nothing of it runs yet" "" "$(cat "$T/c1.out")"
same "state names id and bundle" "c1 $T/s" "$(oci state c1 | jq -r '.id + " " + .bundle')"
refuse "a second create of the same id fails" oci create -b "$T/s" c1
oci start c1
check "start runs it" within 5 grep -q up "$T/c1.out"
same "... and state says so" running "$(oci state c1 | jq -r .status)"
refuse "a second start fails" oci start c1
expect "list has it" 0 'c1.*running' oci list
same "list -q" c1 "$(oci list -q)"
same "list -f json" running "$(oci list -f json | jq -r '.[] | select(.id == "c1") | .status')"

same "exec runs beside it" 5 "$(oci exec c1 sh -c 'exit 5' >/dev/null 2>&1; echo $?)"
same "... in its namespaces" "$(oci exec c1 readlink /proc/1/ns/mnt)" "$(oci exec c1 readlink /proc/self/ns/mnt)"
same "... with variables and directory" "v /tmp" "$(oci exec -e X=v --cwd /tmp c1 sh -c 'echo $X $PWD')"
same "... as a user" "1000 100" "$(oci exec -u 1000:100 c1 sh -c 'echo $(id -u) $(id -g)')"
jq '.process | .args = ["sh", "-c", "echo from file"]' "$T/s/config.json" >"$T/process.json"
same "exec --process" "from file" "$(oci exec --process "$T/process.json" c1)"
oci exec -d --pid-file "$T/exec.pid" c1 sleep 100
check "exec -d leaves it running" kill -0 "$(cat "$T/exec.pid")"
matches "ps lists its processes" 'sleep 100' "$(oci ps c1)"
check "ps -f json" sh -c "'$B/hull-oci' --root '$T/oci' ps -f json c1 | jq -e 'length >= 2'"

oci pause c1
same "pause" paused "$(oci state c1 | jq -r .status)"
refuse "exec into a paused one fails" oci exec c1 true
oci resume c1
same "resume" running "$(oci state c1 | jq -r .status)"

oci update --memory 67108864 --memory-swap 67108864 --pids-limit 50 --cpu-share 512 c1
same "update reaches the cgroup" 50 "$(cat "$(find /sys/fs/cgroup -name pids.max -path '*b[0-9]*' | head -1)")"
printf '{"pids": {"limit": 40}}' | oci_in update -r - c1
same "update -r -" 40 "$(cat "$(find /sys/fs/cgroup -name pids.max -path '*b[0-9]*' | head -1)")"
check "events --stats is JSON with the pids" sh -c \
	"'$B/hull-oci' --root '$T/oci' events --stats c1 | jq -e '.type == \"stats\" and .data.pids.current >= 2'"

refuse "delete of a running one fails" oci delete c1
oci kill c1 TERM
check "kill reaches it" within 5 sh -c "'$B/hull-oci' --root '$T/oci' state c1 | jq -e '.status == \"stopped\"'"
refuse "kill of a stopped one fails" oci kill c1 KILL
oci delete c1
refuse "delete removes it" oci state c1
check "... with what was executed beside it" sh -c "! kill -0 $(cat "$T/exec.pid") 2>/dev/null"

for how in SIGTERM term 15 TERM; do
	oci create -b "$T/s" "k$how" >/dev/null 2>&1
	oci start "k$how"
	sleep 0.2
	check "kill $how" oci kill "k$how" "$how"
	check "... ends it" within 5 sh -c "'$B/hull-oci' --root '$T/oci' state k$how | grep -q stopped"
	oci delete "k$how"
done

oci run -d -b "$T/s" d1 >/dev/null 2>&1
same "run -d returns while it runs" running "$(oci state d1 | jq -r .status)"
oci delete -f d1
refuse "delete -f ends and removes it" oci state d1
check "delete -f of none is no error" oci delete -f d1
exit 0
