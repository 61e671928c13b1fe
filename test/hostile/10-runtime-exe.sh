#!/bin/bash
# CVE-2019-5736: a container overwrites the host's runtime through /proc/PID/exe: it opens the runtime's
# file by that magic link while the runtime is inside, and writes to it once it has ended.
# Nothing here depends on who is faster: a seccomp agent holds whoever is about to execute inside until
# the attacker has that process's file open. No runtime stays behind, which would keep its file busy.
# time: 60
# shellcheck source=test/lib.sh disable=SC2016,SC2317
. "$HULL_TOP/test/lib.sh"
mkdir "$T/bin"
cp "$B/hull-oci" "$T/bin/hull-oci" || give_up "a copy of the runtime to be attacked"
B=$T/bin
before=$(sha256sum <"$B/hull-oci")
mkfifo "$T/go" "$T/stay"
python3 "$HULL_TOP/test/prog/hold.py" "$T/agent" <"$T/go" >"$T/agent.out" 2>&1 &
agent=$!
exec 9>"$T/go"
within 10 grep -q ready "$T/agent.out" || give_up "the agent starts" "$(cat "$T/agent.out")"
held=0

hold=".linux.seccomp = {defaultAction: \"SCMP_ACT_ALLOW\", listenerPath: \"$T/agent\",
	syscalls: [{names: [\"execve\", \"execveat\"], action: \"SCMP_ACT_NOTIFY\"}]}"
# What it takes to look at every process of the own pid namespace, whoever made it.
ptrace='.process.capabilities.bounding += ["CAP_DAC_OVERRIDE", "CAP_SYS_PTRACE"] |
	.process.capabilities.effective = .process.capabilities.bounding |
	.process.capabilities.permitted = .process.capabilities.bounding'

# is_held NAME: one more process stands right before its execve; its pid inside is $pid.
is_held() {
	held=$((held + 1))
	within 20 eval '[ "$(grep -c ^held "$T/agent.out")" -ge $held ]' ||
		give_up "$1 is held at its execve" "$(tail -n 5 "$T/agent.out" "$T/$victim.out" "$T/err")"
	pid=$(sed -n 's/^held //p' "$T/agent.out" | sed -n "${held}p")
}

goes_on() {
	echo >&9
}

# a_round: the attacker looks at all processes and attacks all files once more.
a_round() {
	touch "$T/$victim/rootfs/round"
	within 20 test ! -e "$T/$victim/rootfs/round" || give_up "the attacker goes on" "$(cat "$T/$victim.out")"
}

# seized [REGEX]: the attacker has a file of that name that process $pid executes or executed.
seized() {
	grep -Eq "^SEIZED $pid ${1-}" "$T/$victim.out"
}

# attacker ID FILTER: a container whose first process is the attacker.
attacker() {
	victim=$1
	bundle "$T/$1" "$2 | $hold" /grab
	cp "$(prog grab)" "$T/$1/rootfs/grab"
	printf '#!/proc/self/exe\n' >"$T/$1/rootfs/evil"
	chmod 755 "$T/$1/rootfs/evil"
	oci create -b "$T/$1" "$1" >"$T/$1.out" 2>"$T/err" || give_up "$1 is made" "$(cat "$T/$1.out" "$T/err")"
	oci start "$1" >>"$T/err" 2>&1 &
	is_held "$1"
	goes_on
	wait $!
	within 20 grep -q ready "$T/$1.out" || give_up "$1 runs" "$(cat "$T/$1.out" "$T/err")"
}

gone() {
	oci kill "$1" KILL
	oci delete -f "$1"
}

# attacked NAME COMMAND...: while it is held inside, its program is seized; then the command goes on to
# its end, whatever that is.
attacked() {
	local name=$1 runtime
	shift
	"$@" >>"$T/err" 2>&1 &
	runtime=$!
	is_held "$name"
	check "$name: the runtime's program is seized" within 20 seized
	goes_on
	wait "$runtime"
}

attacker strong "$ptrace"
attacked "exec" oci exec strong /true
attacked "exec, once more" oci exec strong /true
# By its own magic link, and by a script's, the runtime would become a readable program inside.
own='leads to this runtime.s own program: permission denied'
expect "exec of /proc/self/exe is refused" '1|126|127|255' "'/proc/self/exe': .*$own" oci exec strong /proc/self/exe --version
expect "exec of #!/proc/self/exe is refused" '1|126|127|255' "'/evil': .*$own" oci exec strong /evil
# Another container is made in the attacker's pid namespace.
bundle "$T/beside" "$hold | (.linux.namespaces[] | select(.type == \"pid\")).path =
	\"/proc/$(oci state strong | jq .pid)/ns/pid\"" /true
attacked "run beside the attacker" oci run -b "$T/beside" beside

# What nobody protects is seized and overwritten in just the same way: the attack works.
cp "$T/strong/rootfs/bin/busybox" "$T/strong/rootfs/busybox.decoy"
oci_in exec strong /busybox.decoy cat <"$T/stay" >>"$T/err" 2>&1 &
runtime=$!
exec 8>"$T/stay"
is_held "the decoy"
goes_on
check "a decoy is seized" within 20 seized /busybox.decoy
exec 8>&-
wait "$runtime"
check "... and written to" within 20 grep -q "^HIT /busybox.decoy$" "$T/strong.out"
a_round
same "nothing of the host's was" "" "$(grep HIT "$T/strong.out" | grep -Ev '^HIT /(true|busybox.decoy)$')"
gone strong

# Without the right to trace, and in a user namespace with all rights, not even a look is granted.
users='.linux.namespaces += [{type: "user"}] | .linux.uidMappings = [{containerID: 0, hostID: 0, size: 65536}] |
	.linux.gidMappings = .linux.uidMappings'
while IFS='|' read -r id filter; do
	attacker "$id" "$filter"
	oci exec "$id" /true >>"$T/err" 2>&1 &
	is_held "exec"
	a_round
	refuse "$id: not even seized" seized
	goes_on
	wait $!
	gone "$id"
done <<ROWS
plain|.
mapped|$(tr '\n' ' ' <<<"$ptrace | $users")
ROWS

for first in "/proc/self/exe --version" /evil; do
	# shellcheck disable=SC2086 # words
	bundle "$T/strong" "$ptrace" $first
	expect "${first% *} as the first process is refused" '1|126|127|255' "'${first% *}': .*$own" \
		oci run -b "$T/strong" magic
	oci delete -f magic >/dev/null 2>&1
done
exec 9>&-
wait "$agent"
same "the runtime's file is what it was" "$before" "$(sha256sum <"$B/hull-oci")"
exit 0
