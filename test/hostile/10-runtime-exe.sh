#!/bin/bash
# CVE-2019-5736: a container overwrites the host's runtime through /proc/PID/exe.
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
before=$(sha256sum "$B/hull-oci")

# The container looks at every process that appears beside it and writes into its program.
bundle "$T/c" '.process.capabilities.bounding += ["CAP_DAC_OVERRIDE", "CAP_SYS_PTRACE"] |
	.process.capabilities.effective = .process.capabilities.bounding |
	.process.capabilities.permitted = .process.capabilities.bounding' /bin/sh -c '
	echo ready
	while :; do
		for p in /proc/[0-9]*; do
			case $(readlink $p/exe 2>/dev/null) in
			/bin/busybox | "") ;;
			*) for i in 1 2 3 4 5; do (echo overwritten >$p/exe) 2>/dev/null && echo HIT $p; done ;;
			esac
		done
	done'
oci run -b "$T/c" victim >"$T/out" 2>&1 &
within 10 grep -q ready "$T/out" || give_up "the attacker runs" "$(cat "$T/out")"
for _ in $(seq 30); do
	oci exec victim /bin/true
done
same "no process of the runtime can be written through /proc" "" "$(grep HIT "$T/out")"
oci kill victim KILL
wait
oci delete -f victim 2>/dev/null

# The entry point is the runtime itself, by its own magic link.
bundle "$T/c2" . /proc/self/exe --version
oci run -b "$T/c2" magic >"$T/out2" 2>&1
printf '#!/proc/self/exe\n' >"$T/c2/rootfs/evil"
chmod 755 "$T/c2/rootfs/evil"
bundle "$T/c2" . /evil
oci run -b "$T/c2" magic2 >>"$T/out2" 2>&1
refuse "the runtime does not run itself from inside" grep -Eqi 'spec: *1\.|hull-oci version' "$T/out2"
same "the runtime's file is what it was" "$before" "$(sha256sum "$B/hull-oci")"
oci delete -f magic 2>/dev/null
oci delete -f magic2 2>/dev/null
exit 0
