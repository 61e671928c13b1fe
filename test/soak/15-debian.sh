#!/bin/bash
# A whole Debian on two processors, several times: test/vm/55-debian-root.sh. Once in about nine runs on a loaded
# host the second processor went on without getting anywhere (doc/status.md).
# time: 3000
# fixtures: debian_vm
for _ in $(seq "${ROUNDS:-8}"); do
	mkdir -p round && (cd round && CPUS=2 "$HULL_TOP/test/vm/55-debian-root.sh")
	rm -rf round
done
