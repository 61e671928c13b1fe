#!/bin/bash
# linux.seccomp does what it says: actions, conditions, flags, the agent, the cache.
# time: 60
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
n=0

sees() {
	n=$((n + 1))
	bundle "$T/c" ".linux.seccomp = $3" /bin/sh -c "$4"
	same "$1" "$2" "$(oci run -b "$T/c" "x$n" 2>&1 </dev/null)"
}
sees "an errno of one's own" "File exists" \
	'{defaultAction: "SCMP_ACT_ALLOW", syscalls: [{names: ["mkdir", "mkdirat"], action: "SCMP_ACT_ERRNO", errnoRet: 17}]}' \
	'mkdir /new 2>&1 | grep -o "File exists"'
sees "names that nobody knows are skipped" ok \
	'{defaultAction: "SCMP_ACT_ALLOW", syscalls: [{names: ["no_such_call"], action: "SCMP_ACT_KILL"}]}' 'echo ok'
sees "a condition on an argument" "1 0" \
	'{defaultAction: "SCMP_ACT_ALLOW", architectures: ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_AARCH64"],
	syscalls: [{names: ["kill"], action: "SCMP_ACT_ERRNO", args: [{index: 1, value: 10, op: "SCMP_CMP_EQ"}]}]}' \
	'kill -USR1 1 2>/dev/null; a=$?; kill -WINCH 1; echo $a $?'
sees "flags" ok '{defaultAction: "SCMP_ACT_ALLOW", flags: ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
	"SECCOMP_FILTER_FLAG_TSYNC"], syscalls: [{names: ["mkdir"], action: "SCMP_ACT_ERRNO"}]}' 'echo ok'
n=$((n + 1))
bundle "$T/c" '.linux.seccomp = {defaultAction: "SCMP_ACT_ALLOW", syscalls: [{names: ["mkdir", "mkdirat"],
	action: "SCMP_ACT_KILL_PROCESS"}]}' /bin/sh -c 'exec mkdir /x'
oci run -b "$T/c" "x$n" >/dev/null 2>&1 </dev/null
same "kill" 159 $?

for bad in '{defaultAction: "SCMP_ACT_MAYBE"}|SCMP_ACT_MAYBE' \
	'{defaultAction: "SCMP_ACT_ALLOW", architectures: ["SCMP_ARCH_VAX"]}|SCMP_ARCH_VAX' \
	'{defaultAction: "SCMP_ACT_ALLOW", flags: ["FAST"]}|FAST' \
	'{defaultAction: "SCMP_ACT_ALLOW", syscalls: [{names: ["mkdir"], action: "SCMP_ACT_NOTIFY"}]}|listenerPath' \
	'{defaultAction: "SCMP_ACT_ALLOW", syscalls: [{names: ["kill"], action: "SCMP_ACT_ERRNO", args: [{index: 9, value: 1, op: "SCMP_CMP_EQ"}]}]}|argument 9'; do
	bundle "$T/c" ".linux.seccomp = ${bad%|*}" /true
	expect "refused, and named: ${bad##*|}" '1|125|255' "${bad##*|}" oci run -b "$T/c" bad
done

# The agent.
python3 "$HULL_TOP/test/prog/agent.py" "$T/agent" >"$T/agent.out" 2>&1 &
agent=$!
within 5 grep -q ready "$T/agent.out" || give_up "the agent starts" "$(cat "$T/agent.out")"
bundle "$T/c" ".linux.seccomp = {defaultAction: \"SCMP_ACT_ALLOW\", listenerPath: \"$T/agent\", listenerMetadata: \"meta\",
	syscalls: [{names: [\"mkdir\"], action: \"SCMP_ACT_NOTIFY\"}]}" /bin/sh -c \
	'mkdir /x-fake; echo $?; ls -d /x-fake 2>/dev/null; mkdir /y 2>&1 | grep -o "cross-device"'
same "a system call is answered by the agent" "0 cross-device" "$(oci run -b "$T/c" notify 2>&1 </dev/null | tr '[:upper:]\n' '[:lower:] ' | sed 's/ $//')"
same "... who was told whose it is" '["seccompFd"] meta notify' \
	"$(sed 1d "$T/agent.out" | head -n 1 | jq -r '(.fds | tostring) + " " + .metadata + " " + .id')"
check "... and ends with the container" within 5 sh -c "! kill -0 $agent"
wait "$agent" 2>/dev/null

# The cache: a second start of the same filter compiles nothing, and a damaged entry harms nobody.
profile='.linux.seccomp = {defaultAction: "SCMP_ACT_ALLOW", syscalls: [{names: ["mkdir", "mkdirat"], action: "SCMP_ACT_ERRNO", errnoRet: 28}]}'
bundle "$T/c" "$profile" /bin/sh -c 'mkdir /new 2>&1 | grep -o "No space"'
same "compiled" "No space" "$(oci run -b "$T/c" c1 2>&1 </dev/null)"
cache=$T/oci/.seccomp
[ -d "$cache" ] || give_up "there is a cache in the state directory" "$(ls -a "$T/oci")"
same "the cache is ours alone" 700 "$(stat -c %a "$cache")"
same "from the cache, without a compiler" "No space 0" "$(ASAN_OPTIONS=detect_leaks=0 strace -f -e trace=fork,vfork,clone,clone3 -o "$T/trace" \
	"$B/hull-oci" --root "$T/oci" run -b "$T/c" c2 2>&1 </dev/null) $(($(grep -c clone "$T/trace") > 20))"
for file in "$T"/oci/.seccomp/*; do
	[ -f "$file" ] || continue
	head -c 200 /dev/urandom >"$file"
done
same "damaged: compiled again" "No space" "$(oci run -b "$T/c" c3 2>&1 </dev/null)"
chmod 777 "$cache"
same "writable by others: not used" "No space" "$(oci run -b "$T/c" c4 2>&1 </dev/null)"
chmod 700 "$cache"
exit 0
