#!/bin/bash
# buildah, told to use hull-oci: commands in a working container, a build with RUN, limits.
# time: 180
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
command -v buildah >/dev/null || give_up "buildah is installed"

printf '[containers]\n[engine]\ncgroup_manager = "cgroupfs"\n' >"$T/containers.conf"
printf '{"default": [{"type": "insecureAcceptAnything"}]}' >"$T/policy.json"
export CONTAINERS_CONF="$T/containers.conf" BUILDAH_ISOLATION=oci BUILDAH_RUNTIME="$B/hull-oci"
echo '{}' >"$DOCKER_CONFIG/config.json"
bah() {
	timeout -k 5 $((60 * slow)) buildah --root "$T/b/root" --runroot "$T/b/run" --storage-driver vfs "$@"
}
foreign '^file /run/(runc|hull-oci|containers|lock|libpod|netns)' '^file /tmp/(buildah|containers|storage)' \
	'^file /var/lib/(containers|cni)' '^file /var/tmp/(buildah|storage)'

c=$(bah from --signature-policy "$T/policy.json" --network none --memory 64m --memory-swap 64m --cpu-shares 512 \
	"docker-archive:$HULL_CACHE/busybox.tar" 2>"$T/err") || give_up "buildah takes an image" "$(cat "$T/err")"
run() {
	bah run --runtime "$B/hull-oci" --isolation oci --network none "$@" 2>&1
}
same "run: output" hello "$(run "$c" echo hello)"
run "$c" sh -c 'exit 7' >/dev/null
same "run: exit code" 7 $?
same "run: user and environment" "5 v" "$(run --user 5 --env X=v "$c" sh -c 'echo $(id -u) $X')"
same "run: a file stays in the working container" kept \
	"$(run "$c" sh -c 'echo kept >/file' && run "$c" cat /file)"
mkdir "$T/give" && echo given >"$T/give/file"
same "run: a volume" given "$(run --volume "$T/give:/give:ro" "$c" cat /give/file)"
matches "run: a program that is missing is named" '/no/such/program' "$(run "$c" /no/such/program)"
same "limits are seen inside" "67108864 512" "$(run --mount type=bind,source=/sys/fs/cgroup,target=/cg "$c" sh -c '
	m=$(sed -n "s/.*:memory://p" /proc/self/cgroup) c=$(sed -n "s/^[0-9]*:.*\bcpu\b[^:]*://p" /proc/self/cgroup | head -1)
	cat "/cg/memory$m/memory.limit_in_bytes" "/cg/cpu$c/cpu.shares"' | xargs)"
bah rm "$c" >/dev/null

mkdir "$T/ctx" && echo data >"$T/ctx/data" && cat >"$T/ctx/Dockerfile" <<'END'
FROM base
COPY data /data
RUN tr a-z A-Z </data >/DATA && chmod 600 /DATA
RUN --mount=type=tmpfs,target=/t echo x >/t/x && test -e /t/x
RUN test ! -e /t/x
USER 7
RUN test "$(id -u)" = 7
END
c=$(bah from --signature-policy "$T/policy.json" "docker-archive:$HULL_CACHE/busybox.tar" 2>"$T/err")
bah commit -q --signature-policy "$T/policy.json" "$c" base >/dev/null 2>&1
bah rm "$c" >/dev/null
if out=$(bah bud --signature-policy "$T/policy.json" --pull-never --runtime "$B/hull-oci" --isolation oci \
	--network none --memory 64m -t made "$T/ctx" 2>&1); then
	ok "a build runs its commands"
else
	not_ok "a build runs its commands" "$out"
fi
c=$(bah from --pull-never made 2>/dev/null)
same "... and its result holds them" DATA "$(run --user 0 "$c" cat /DATA)"
if out=$(printf 'FROM base\nRUN exit 3\n' | bah bud --signature-policy "$T/policy.json" --pull-never \
	--runtime "$B/hull-oci" --isolation oci --network none - 2>&1); then
	not_ok "a build whose command fails" "it succeeded: $out"
else
	matches "a build whose command fails, fails with its code" 'exit status 3' "$out"
fi
bah rm -a >/dev/null
check "images are removed" bah rmi -a -f
exit 0
