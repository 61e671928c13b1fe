#!/bin/bash
# Archives of strangers (CVE-2021-32760, 2024-9676 and the whole class): `..`, absolute names, links
# out, whiteouts out, bombs, lying headers, broken streams, manifests that name other files. What is
# wrong is refused in one sentence and leaves nothing; whatever is taken changes nothing outside.
# time: 300
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
mkdir -p "$T/outside" "$T/images"
echo untouched >"$T/outside/file"
chmod 640 "$T/outside/file"
python3 "$HULL_TOP/test/hostile/layers.py" "$T/images" "$T/outside" || give_up "the images are made"
up
state() {
	find "$T/outside" -printf '%P %m %s %l\n' | sort
	cat "$T/outside/file"
}
kept() {
	find "$T/hull/root/layer" "$T/hull/root/blob" -mindepth 1 -maxdepth 2 ! -name sha256 2>/dev/null | sort
	dk images -q | sort
}
before=$(state)
have=$(kept)

for file in "$T"/images/refused/*.tar; do
	name=$(basename "$file" .tar)
	out=$(dk load -i "$file" 2>&1)
	code=$?
	if [ $code = 0 ] && ! grep -qi 'error' <<<"$out"; then
		not_ok "$name is refused" "$out"
	else
		ok "$name is refused"
	fi
	same "... and leaves nothing behind" "$have" "$(kept)"
	dk image prune -af >/dev/null 2>&1
	have_busybox
	have=$(kept)
	same "... nor outside" "$before" "$(state)"
done

for file in "$T"/images/harmless/*.tar; do
	name=$(basename "$file" .tar)
	dk load -i "$file" >/dev/null 2>&1
	dk run --rm "evil/${name//_/-}:1" /x >/dev/null 2>&1
	same "$name, taken or not, changes nothing outside" "$before" "$(state)"
	refuse "... and no container of it sees the outside" sh -c \
		"docker -H unix://$T/hull/run/docker.sock run --rm -v $HULL_CACHE/busybox.root/bin/busybox:/bb evil/${name//_/-}:1 \
		/bb grep -rs untouched / --exclude-dir=proc --exclude-dir=sys --exclude-dir=dev 2>/dev/null | grep -q untouched"
	dk rmi -f "evil/${name//_/-}:1" >/dev/null 2>&1
done
same "/etc/passwd of the host is what it was" 0 "$(grep -c owned /etc/passwd)"

# A layer unpacks in a confined child: it ends with the attack, the daemon goes on.
check "the daemon serves on" dk run --rm busybox true
check "... and is the same process" kill -0 "${HULLD_PID[hull]}"

# Users of the image that are not numbers or names, a passwd of a million lines.
image "$T/pw.tar" evil/passwd:1 '{}' sh -c 'yes "x:x:1:1::/:/bin/sh" | head -n 1000000 >etc/passwd; true'
dk load -qi "$T/pw.tar" >/dev/null 2>&1
expect "a passwd of a million lines is bounded" '0|125|126|127' '' dk run --rm -u nosuchuser evil/passwd:1 /true
while IFS= read -r user; do
	expect "user '$user' is refused" '125|126' 'user|group' dk run --rm -u "$user" busybox id
done <<'ROWS'
4294967296
-1
0x0
1000:99999999999
1e3
nosuchuser
0:nosuchgroup
ROWS
# Image metadata never becomes engine configuration.
image "$T/label.tar" evil/label:1 '{"Labels":{"io.hull.log":"binary:///bin/evil","run.oci.handler":"krun"},"User":"0:0","Env":["LD_PRELOAD=/x.so"],"Volumes":{"/../../../outside":{},"/etc":{}},"WorkingDir":"/../../.."}' true
dk load -qi "$T/label.tar" >/dev/null 2>&1
dk run --rm evil/label:1 /true >/dev/null 2>&1
same "labels, volumes and directories of an image change nothing outside" "$before" "$(state)"
down
