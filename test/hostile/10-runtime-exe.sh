#!/bin/bash
# CVE-2019-5736: a container overwrites the host's runtime through /proc/PID/exe: it opens the runtime's
# file by that magic link while the runtime is inside, and writes to it once it has ended.
# time: 90
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
before=$(sha256sum "$B/hull-oci")
cp -p "$B/hull-oci" "$T/hull-oci.copy"

# The container looks at every process that appears beside it, keeps its program open, and writes into
# it again and again.
all='.process.capabilities.bounding += ["CAP_DAC_OVERRIDE", "CAP_SYS_PTRACE"] |
	.process.capabilities.effective = .process.capabilities.bounding |
	.process.capabilities.permitted = .process.capabilities.bounding'
grab='
	seize() {
		exec 3<$1 || return
		case $(readlink /proc/self/fd/3) in /bin/busybox | /true) return ;; esac
		echo SEIZED
		i=0
		while [ $i -lt 50 ]; do
			(echo overwritten >/proc/self/fd/3) 2>/dev/null && echo HIT
			i=$((i + 1))
			usleep 10000
		done
	}
	echo ready
	while :; do
		for p in /proc/[0-9]*; do
			case $(readlink $p/exe 2>/dev/null) in
			/bin/busybox | "") ;;
			*) (seize $p/exe) 2>/dev/null & ;;
			esac
		done
	done'
bundle "$T/c" "$all" /bin/sh -c "$grab"
oci run -b "$T/c" victim >"$T/out" 2>&1 &
within 10 grep -q ready "$T/out" || give_up "the attacker runs" "$(cat "$T/out")"
# The attacker polls, so an exec may slip by unseen: go on until one was seized, and then some.
for i in $(seq 400); do
	[ "$i" -gt 20 ] && grep -q SEIZED "$T/out" && break
	oci exec victim /bin/true
	# The runtime's own file, started inside by its magic link: it becomes an ordinary, readable program.
	oci exec victim /proc/self/exe --version >/dev/null 2>&1
done
sleep 1
same "no program of the runtime can be written through /proc" "" "$(grep HIT "$T/out" | sort -u)"
check "... and the attack was real: some were seized" grep -q SEIZED "$T/out"
oci kill victim KILL
wait
oci delete -f victim 2>/dev/null

# The entry point is the runtime itself, by its own magic link, and it waits to be overwritten.
bundle "$T/c2" "$all" /proc/self/exe --version
printf '#!/proc/self/exe\n' >"$T/c2/rootfs/evil"
chmod 755 "$T/c2/rootfs/evil"
oci run -b "$T/c2" magic >"$T/out2" 2>&1
bundle "$T/c2" "$all" /evil
oci run -b "$T/c2" magic2 >>"$T/out2" 2>&1
oci delete -f magic >/dev/null 2>&1
oci delete -f magic2 >/dev/null 2>&1
same "the runtime's file is what it was" "$before" "$(sha256sum "$B/hull-oci")"
cmp -s "$T/hull-oci.copy" "$B/hull-oci" || cp -p "$T/hull-oci.copy" "$B/hull-oci"
exit 0
