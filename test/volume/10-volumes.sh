#!/bin/bash
# Volumes: named, bound and temporary ones.
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
up
inside() {
	dk run --rm "$@" 2>&1
}

dk volume create vol >/dev/null
inside -v vol:/data busybox sh -c 'echo kept >/data/file'
same "a named volume outlives its container" kept "$(inside -v vol:/data busybox cat /data/file)"
same "... two at a time see the same" kept "$(inside -v vol:/a -v vol:/b busybox cat /b/file)"
same "read-only" Read-only "$(inside -v vol:/data:ro busybox touch /data/x | grep -o Read-only)"
matches "inspect tells where it lies" "^$T/hull/root/" "$(dk volume inspect -f '{{.Mountpoint}}' vol)"
matches "list" '^vol$' "$(dk volume ls -q)"
dk create --name user -v vol:/data busybox >/dev/null
expect "a volume in use is not removed" 1 'in use' dk volume rm vol
dk rm user >/dev/null
check "... then it is" dk volume rm vol
expect "... and is gone" 1 '[Nn]o such volume' dk volume inspect vol

mkdir -p "$T/bind" && echo host >"$T/bind/file"
same "a bound directory" host "$(inside -v "$T/bind:/b" busybox cat /b/file)"
inside -v "$T/bind:/b" busybox sh -c 'echo back >/b/made'
same "... is the host's own" back "$(cat "$T/bind/made")"
same "a bound file" host "$(inside -v "$T/bind/file:/f" busybox cat /f)"
same "--mount of a bind, read-only" Read-only \
	"$(inside --mount "type=bind,source=$T/bind,target=/b,readonly" busybox touch /b/x | grep -o Read-only)"
expect "--mount of what is not there is refused" 125 "nosuch" \
	dk run --rm --mount "type=bind,source=$T/nosuch,target=/b" busybox true
inside -v "$T/new/dir:/b" busybox touch /b/x
check "-v of what is not there makes a directory" test -e "$T/new/dir/x"
same "tmpfs" tmpfs "$(inside --mount type=tmpfs,target=/t,tmpfs-size=1m busybox sh -c 'grep " /t " /proc/mounts | cut -d" " -f3')"

# What the image has at the place of a new volume is copied into it, once.
image "$T/seed.tar" seed:1 '{"Volumes":{"/seeded":{}}}' sh -c 'mkdir seeded && echo seed >seeded/file && chown 7:8 seeded/file'
dk load -qi "$T/seed.tar" >/dev/null
same "a new volume begins with what the image has there" "seed 7 8" "$(inside -v sv:/seeded seed:1 sh -c 'cat /seeded/file; stat -c "%u %g" /seeded/file' | xargs)"
inside -v sv:/seeded seed:1 sh -c 'echo changed >/seeded/file'
same "... only the first time" changed "$(inside -v sv:/seeded seed:1 cat /seeded/file)"
dk run --name anon seed:1 true
same "the image's own volumes are made" 2 "$(dk volume ls -q | wc -l)"
dk rm -v anon >/dev/null
same "... and go with rm -v" sv "$(dk volume ls -q)"
dk run -d --name from -v sv:/x busybox sleep 100 >/dev/null
same "--volumes-from" changed "$(inside --volumes-from from busybox cat /x/file)"
dk rm -f from >/dev/null
dk volume prune -af >/dev/null 2>&1 || dk volume prune -f >/dev/null
same "prune" "" "$(dk volume ls -q)"
down
