#!/bin/bash
# CVE-2016-9962, CVE-2024-21626: descriptors of the host leak into the container, or become its working
# directory.
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
echo "host secret" >"$T/secret"

bundle "$T/c" . /bin/sh -c "ls /proc/1/fd; echo --; cat /proc/1/fd/[3-9]* 2>/dev/null"
exec 7<"$T/secret" 8</ 9<"$T"
got=$(oci run -b "$T/c" fds 2>&1 </dev/null)
same "the first process has 0, 1 and 2 only" "0 1 2" "$(sed '/^--/,$d' <<<"$got" | grep -v '^10$' | xargs)"
refuse "no host file can be read through them" grep -q 'host secret' <<<"$got"

bundle "$T/d" . /bin/sleep 60
oci create -b "$T/d" held >/dev/null 2>&1 && oci start held
got=$(oci exec held /bin/sh -c 'ls /proc/self/fd' 2>&1 </dev/null)
same "exec has 0, 1, 2 and what ls opens" "0 1 2 3" "$(xargs <<<"$got")"

relative='cat ./secret ./etc/shadow ../etc/shadow ../../../../../../../../../'"$T"'/secret; pwd'
for n in $(seq 3 20) 100; do
	got=$(oci exec --cwd "/proc/self/fd/$n" held /bin/sh -c "$relative" 2>&1 </dev/null)
	grep -Eq 'host secret|root:[*$!]' <<<"$got" && break
	bundle "$T/c" ".process.cwd = \"/proc/self/fd/$n\"" /bin/sh -c "$relative"
	got=$(oci run -b "$T/c" "cwd$n" 2>&1 </dev/null)
	oci delete -f "cwd$n" >/dev/null 2>&1
	grep -Eq 'host secret|root:[*$!]' <<<"$got" && break
done
refuse "no working directory leads out (3..20, run and exec)" grep -Eq 'host secret|root:[*$!]' <<<"$got"

# A link in the image does the same by another name.
mkdir -p "$T/c/rootfs/w"
for n in 3 4 5 6 7 8 9 10; do
	ln -sfn "/proc/self/fd/$n/" "$T/c/rootfs/w/$n"
	bundle "$T/c" ".process.cwd = \"/w/$n\"" /bin/sh -c "$relative"
	got=$(oci run -b "$T/c" "link$n" 2>&1 </dev/null)
	oci delete -f "link$n" >/dev/null 2>&1
	grep -Eq 'host secret|root:[*$!]' <<<"$got" && break
done
refuse "nor does a link in the image to such a name" grep -Eq 'host secret|root:[*$!]' <<<"$got"
exec 7<&- 8<&- 9<&-

# What is asked for by name is passed, and no more.
bundle "$T/c" . /bin/sh -c 'cat <&3; ls /proc/1/fd'
got=$(oci run --preserve-fds 1 -b "$T/c" keep 3<"$T/secret" 4<"$T" 2>&1 </dev/null)
matches "--preserve-fds 1 passes descriptor 3" 'host secret' "$got"
refuse "... and not descriptor 4" grep -qx 4 <<<"$got"
oci delete -f held
exit 0
