#!/bin/bash
# Debian's dockerd with its containerd, told to use hull-oci as its runtime: run, exec, limits, pause,
# update, stats, delete; no networks of its own.
# time: 240
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
command -v dockerd >/dev/null || give_up "dockerd is installed"

mkdir -p "$T/d"
dockerd --data-root "$T/d/root" --exec-root /run/d --pidfile /run/d.pid -H unix:///run/d.sock --bridge none \
	--iptables=false --ip6tables=false --ip-forward=false --ip-masq=false --storage-driver vfs \
	--add-runtime "hull=$B/hull-oci" --default-runtime hull >"$T/d/log" 2>&1 &
daemon=$!
foreign '^file /run/(d|d\.sock|d\.pid|docker|containerd|runc|hull-oci|xtables.lock)' '^cgroup .*/docker$' \
	'^mount (/run/d|.*/d/root)' '^link docker0' '^nft table' '^file /var/lib/docker' '^file /etc/docker'
d() {
	timeout -k 5 $((60 * slow)) docker -H unix:///run/d.sock "$@"
}
within 20 d version || give_up "dockerd answers" "$(tail "$T/d/log")"
d load -qi "$HULL_CACHE/busybox.tar" >"$T/load" 2>&1 || give_up "the image loads" "$(cat "$T/load")"
img=busybox:latest
same "dockerd uses hull-oci" hull "$(d info -f '{{.DefaultRuntime}}')"

same "run: output" hello "$(d run --rm --network none "$img" echo hello 2>&1)"
d run --rm --network none "$img" sh -c 'exit 7' >/dev/null 2>&1
same "run: exit code" 7 $?
d run --rm --network none "$img" /no/such/program >"$T/out" 2>&1
same "run: a program that is missing ends with 127" 127 $?
matches "... and is named" /no/such/program "$(cat "$T/out")"
d run --rm --network none "$img" /etc/passwd >"$T/out" 2>&1
same "run: a file that is no program ends with 126" 126 $?
same "run: input" back "$(echo back | timeout 30 docker -H unix:///run/d.sock run --rm -i --network none "$img" cat 2>&1)"
same "run: host network" "$(ip -o link | wc -l)" "$(d run --rm --network host "$img" grep -c : /proc/net/dev 2>&1)"
same "run: privileged has all devices' rights" ok \
	"$(d run --rm --privileged --network none "$img" sh -c 'mknod /n b 7 0 && echo ok' 2>&1)"
same "run: seccomp refuses what the profile does not name" 1 \
	"$(d run --rm --network none "$img" sh -c 'unshare -U true 2>/dev/null; echo $?' 2>&1)"
same "run: --init" 'docker-init|tini' \
	"$(d run --rm --init --network none "$img" sh -c 'tr "\0" " " </proc/1/cmdline' 2>&1 | grep -Eq 'docker-init|tini' && echo 'docker-init|tini')"

same "limits are seen inside" "67108864 20000 100000 512 33 0" \
	"$(d run --rm --memory 64m --memory-swap 64m --cpu-quota 20000 --cpu-period 100000 --cpu-shares 512 \
		--pids-limit 33 --cpuset-cpus 0 --network none "$img" sh -c 'cd /sys/fs/cgroup; if [ -e memory ]; then
		cat memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us cpu/cpu.shares pids/pids.max
		else cat memory.max; tr " " "\n" <cpu.max; echo 512; cat pids.max; fi
		sed -n "s/Cpus_allowed_list:.//p" /proc/self/status' 2>&1 | xargs)"
d run --name hog --memory 16m --memory-swap 16m --network none "$img" \
	sh -c 'x=xxxxxxxxxxxxxxxx; while :; do x=$x$x; done' >/dev/null 2>&1
same "a process over its limit is killed" 137 $?
same "... and the daemon knows why" true "$(d inspect -f '{{.State.OOMKilled}}' hog)"
d rm hog >/dev/null

d run -d --name long --network none "$img" sh -c 'while :; do sleep 0.1; done' >"$T/id" 2>&1 ||
	not_ok "run -d" "$(cat "$T/id")"
same "it runs" running "$(d inspect -f '{{.State.Status}}' long)"
same "exec: output" inside "$(d exec long echo inside 2>&1)"
d exec long sh -c 'exit 9' >/dev/null 2>&1
same "exec: exit code" 9 $?
same "exec: user" 5 "$(d exec -u 5 long id -u 2>&1)"
d exec long /no/such/program >"$T/out" 2>&1
same "exec: a program that is missing ends with 126 or 127" yes "$([[ "126 127" == *$?* ]] && echo yes)"
matches "top" 'sleep|sh' "$(d top long 2>&1)"
matches "stats" '[0-9.]+% [0-9.]+[kKM]iB' "$(d stats --no-stream --format '{{.CPUPerc}} {{.MemUsage}}' long 2>&1)"
check "pause" d pause long
same "... shows" paused "$(d inspect -f '{{.State.Status}}' long)"
check "unpause" d unpause long
same "... shows" running "$(d inspect -f '{{.State.Status}}' long)"
check "update" d update --memory 33554432 --memory-swap 33554432 --pids-limit 44 --cpuset-cpus 0 long
same "... is seen inside" "33554432 44" "$(d exec long sh -c \
	'cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes 2>/dev/null || cat memory.max; cat pids/pids.max 2>/dev/null ||
	cat pids.max' 2>&1 | xargs)"
check "kill by signal" d kill -s USR1 long
check "stop" d stop -t 0 long
same "... shows" exited "$(d inspect -f '{{.State.Status}}' long)"
check "start again" d start long
check "restart" d restart -t 0 long
check "cp out" sh -c "docker -H unix:///run/d.sock cp long:/etc/passwd - | tar -t | grep passwd"
check "rm -f" d rm -f long
same "nothing is left" "" "$(d ps -aq)"
same "a pseudo terminal" tty "$(d run --rm -t --network none "$img" sh -c 'test -t 0 && echo tty' 2>&1 | tr -d '\r')"

printf 'FROM busybox:latest\nRUN echo built >/built\n' | DOCKER_BUILDKIT=0 timeout 60 docker -H unix:///run/d.sock \
	build -q --network none -t made - >"$T/out" 2>&1
same "build runs its commands" built "$(d run --rm --network none made cat /built 2>&1)"
kill "$daemon" && wait "$daemon" 2>/dev/null
exit 0
