#!/bin/bash
# docker login, push and pull against a registry that asks for a password; save, load, import, commit.
# time: 120
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
# user:password, hashed by htpasswd -B
printf '%s\n' 'user:$2y$05$fzXtN2SLJPxCL5hmc0v.6OB2qT5E0gJUFpAFCcP4tdKwKc7gtCY.m' >"$T/htpasswd"
if command -v htpasswd >/dev/null; then
	htpasswd -bBc "$T/htpasswd" user password 2>/dev/null
else
	python3 - >"$T/htpasswd" <<-'PY'
		import crypt
		print("user:" + crypt.crypt("password", crypt.mksalt(crypt.METHOD_BLOWFISH)))
	PY
fi
registry_start 5017 "auth: {htpasswd: {realm: r, path: $T/htpasswd}}"
up

expect "login with a wrong password" 1 'incorrect username or password' \
	dk login -u user -p wrong "$REGISTRY"
check "login" dk login -u user -p password "$REGISTRY"
dk tag busybox "$REGISTRY/a/box:1"
check "push" dk push "$REGISTRY/a/box:1"
dk rmi "$REGISTRY/a/box:1" >/dev/null
check "pull" dk pull "$REGISTRY/a/box:1"
same "the pulled one is the pushed one" "$(dk inspect -f '{{.Id}}' busybox)" "$(dk inspect -f '{{.Id}}' "$REGISTRY/a/box:1")"
matches "it has a digest" "^$REGISTRY/a/box@sha256:[0-9a-f]{64}" "$(dk inspect -f '{{index .RepoDigests 0}}' "$REGISTRY/a/box:1")"
dk logout "$REGISTRY" >/dev/null
expect "push without credentials" 1 'unauthorized|authentication|denied|no basic auth' dk push "$REGISTRY/a/box:1"
same "... which is a status of its own" 403 "$(api POST "/images/create?fromImage=$REGISTRY/none&tag=1" | tail -n 1)"
expect "pull of what is not there" 1 'resolve host' dk pull busybox.invalid/none
dk login -u user -p password "$REGISTRY" >/dev/null 2>&1
expect "pull of an unknown tag" 1 'not found|manifest unknown' dk pull "$REGISTRY/a/box:nosuch"
dk rmi "$REGISTRY/a/box:1" >/dev/null
same "run pulls what it needs" hi "$(dk run --rm "$REGISTRY/a/box:1" echo hi 2>/dev/null)"

dk save busybox "$REGISTRY/a/box:1" >"$T/both.tar"
dk rmi -f busybox "$REGISTRY/a/box:1" >/dev/null
matches "load gives all names back" "Loaded image: busybox:latest.*Loaded image: $REGISTRY/a/box:1|Loaded image: $REGISTRY/a/box:1.*Loaded image: busybox:latest" \
	"$(dk load <"$T/both.tar" | xargs)"

dk run --name made busybox sh -c 'echo kept >/file' >/dev/null
matches "commit" '^sha256:[0-9a-f]{64}$' "$(dk commit -m why -a me -c 'ENV A=b' -c 'CMD ["cat","/file"]' made made:1)"
same "run of what was committed" "kept" "$(dk run --rm made:1)"
matches "history" 'why' "$(dk history made:1)"
dk export made | dk import -m imported - flat:1 >"$T/import"
matches "import" '^sha256:[0-9a-f]{64}$' "$(tail -n 1 "$T/import")"
same "run of what was imported" "kept" "$(dk run --rm flat:1 cat /file)"
dk rm made >/dev/null
dk run -d --name runs -v inner:/vol busybox sh -c 'touch /vol/secret; echo kept >/file; sleep 100' >/dev/null
within 10 dk exec runs cat /file
check "export of a running container" dk export -o "$T/runs.tar" runs
same "... has its root, and places of what is mounted there" "etc/hosts file proc/ vol/" \
	"$(tar tf "$T/runs.tar" | grep -E '^(file$|proc/|vol/|etc/hosts)' | sort | xargs)"
dk rm -f -v runs >/dev/null
dk volume rm inner >/dev/null
dk rmi made:1 flat:1 >"$T/rmi"
matches "rmi untags and deletes" 'Untagged: made:1.*Deleted: sha256:' "$(xargs <"$T/rmi")"
check "images can be listed" dk images
check "system df" dk system df -v
check "system prune" dk system prune -af
same "prune takes what nobody uses" "" "$(dk images -q)"
down
