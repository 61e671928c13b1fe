#!/bin/bash
# hull-net is confined: a user of its own, no capability, no new privileges, and a filter under which a
# call that it does not need ends it, whatever made it call. The daemon then starts another one.
# time: 120
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
up
dk network create net >/dev/null
dk run -d --name web --network net -p 127.0.0.1:8080:80 busybox \
	sh -c 'while :; do echo hello | nc -l -p 80; done' >/dev/null
force=$(prog force-call) || give_up "the prober is built"

net_pid() {
	pgrep -x hull-net
}

status() {
	awk -v key="$1:" '$1 == key { print $2 }' "/proc/$(net_pid)/status"
}

serves() {
	[ "$(timeout 5 socat -t 3 - TCP:127.0.0.1:8080 </dev/null)" = hello ] &&
		dk exec web nslookup web 127.0.0.11
}

# A fresh one, that the daemon has told everything.
is_back() {
	[ -n "$(net_pid)" ] && [ "$(net_pid)" != "$1" ] && serves
}

# dies NAME NUMBER [ARG...]: the call ends hull-net by SIGSYS, and it is back.
dies() {
	local name=$1 pid
	shift
	pid=$(net_pid)
	same "$name ends it" "killed by signal 31" "$("$force" "$pid" "$@" 2>&1)"
	within 15 is_back "$pid" || give_up "... it is started again"
}

# lives NAME RESULT NUMBER [ARG...]
lives() {
	local name=$1 result=$2
	shift 2
	matches "$name is allowed" "^returned ($result)\$" "$("$force" "$(net_pid)" "$@" 2>&1)"
}

check "names and ports are served" within 10 serves
same "it is nobody on this host" 1212501580 "$(status Uid)"
for set in CapInh CapPrm CapEff CapAmb; do
	same "no capability is left, $set" 0000000000000000 "$(status $set)"
done
same "no new privileges" 1 "$(status NoNewPrivs)"
if sanitized; then
	ok "a sanitized build makes calls of its own: no filter there"
	down
	exit
fi
same "a filter is set" 2 "$(status Seccomp)"

# The numbers are x86-64's and, behind the colon, aarch64's.
nr() {
	if [ "$(uname -m)" = x86_64 ]; then echo "${1%:*}"; else echo "${1#*:}"; fi
}
first=$(net_pid)
lives "getpid()" "$first" "$(nr 39:172)"
lives "socket(AF_INET, SOCK_DGRAM)" '[0-9]+' "$(nr 41:198)" 2 2 0
lives "an open for reading (of no name)" -14 "$(nr 257:56)" -100 0 0
same "what is allowed leaves it as it was" "$first" "$(net_pid)"
check "... and serving" serves
dies "execve()" "$(nr 59:221)" 0 0 0
dies "clone()" "$(nr 56:220)" 17 0 0 0 0
dies "ptrace()" "$(nr 101:117)" 0 0 0 0
dies "kill()" "$(nr 62:129)" 1 0
dies "unlinkat()" "$(nr 263:35)" -100 0 0
dies "an open for writing" "$(nr 257:56)" -100 0 1
dies "socket(AF_UNIX)" "$(nr 41:198)" 1 1 0
dies "socket(AF_NETLINK)" "$(nr 41:198)" 16 3 0
dies "socket(AF_PACKET)" "$(nr 41:198)" 17 3 0
dies "prctl()" "$(nr 157:167)" 4 1 0 0 0
dies "ioctl(TIOCSTI)" "$(nr 16:29)" 0 0x5412 0
if [ "$(uname -m)" = x86_64 ]; then
	dies "a call of the x32 kind" 0x40000027
fi
check "names and ports are served again" serves
down
