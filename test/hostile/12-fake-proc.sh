#!/bin/bash
# CVE-2019-16884, 2019-19921, 2023-27561, 2023-28642, 2025-52881: a false /proc makes writes of the
# runtime land elsewhere.
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
mkdir -p "$T/outside/sys/net/ipv4" "$T/outside/self/attr" "$T/outside/thread-self/attr"
for f in sys/net/ipv4/ip_forward self/attr/exec thread-self/attr/exec; do
	echo untouched >"$T/outside/$f"
done
proof() {
	find "$T/outside" -type f -exec cat {} + | sort -u
}
sysctl='.linux.sysctl = {"net.ipv4.ip_forward": "1"}'

# The image's /proc is a link that leads out.
bundle "$T/c" "$sysctl" /bin/sh -c 'cat /proc/sys/net/ipv4/ip_forward'
rmdir "$T/c/rootfs/proc" && ln -s "../../outside" "$T/c/rootfs/proc"
got=$(oci run -b "$T/c" link 2>&1) && same "a link as /proc: the sysctl is real, or the start refused" 1 "$got"
same "... and nothing outside changed" untouched "$(proof)"
oci delete -f link >/dev/null 2>&1
ln -sfn "$T/outside" "$T/c/rootfs/proc"
got=$(oci run -b "$T/c" link 2>&1)
same "an absolute link as /proc changes nothing outside" untouched "$(proof)"
oci delete -f link >/dev/null 2>&1

# /proc is a directory of the attacker, by bind or tmpfs.
bundle "$T/d" "$sysctl | .mounts |= map(if .destination == \"/proc\"
	then {destination: \"/proc\", type: \"bind\", source: \"$T/outside\", options: [\"rbind\"]} else . end)" /true
expect "a bind as /proc is no place for sysctls" '*' '' oci run -b "$T/d" bound
same "... they do not land in it" untouched "$(proof)"
oci delete -f bound >/dev/null 2>&1
bundle "$T/e" "$sysctl | .mounts += [{destination: \"/proc/sys\", type: \"bind\", source: \"$T/outside/sys\",
	options: [\"bind\"]}]" /true
expect "a mount over /proc/sys is refused or left alone" '*' '' oci run -b "$T/e" over
same "... and gets no sysctl" untouched "$(proof)"
oci delete -f over >/dev/null 2>&1

# A link inside /proc as a mount's target: /proc/self/../.. and magic links are not followed.
mkdir -p "$T/f/rootfs"
for target in /proc/self/exe /proc/1/root/etc /proc/self/fd/3 /proc/self/cwd/x; do
	bundle "$T/f" ".mounts += [{destination: \"$target\", type: \"bind\", source: \"$T/outside\",
		options: [\"rbind\"]}]" /true
	expect "a mount through $target is refused" '1|125|126|127' '.' oci run -b "$T/f" magic
	oci delete -f magic >/dev/null 2>&1
done
exit 0
