#!/bin/bash
# A whole Debian on several processors, again and again: test/vm/55-debian-root.sh. A kick that was lost between a
# spinner's last look and its HLT hung one run of nine on a loaded host.
# time: 3000
# fixtures: debian_vm
for _ in $(seq "${ROUNDS:-8}"); do
	mkdir -p round && (cd round && CPUS=${CPUS:-2} "$HULL_TOP/test/vm/55-debian-root.sh")
	rm -rf round
done
