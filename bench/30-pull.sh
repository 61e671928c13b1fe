#!/bin/bash
# A pull from a registry on loopback: Hull beside podman and dockerd, the same image (a Debian root as
# gzip layers), each into an empty store, in turn.
# time: 300
# shellcheck source=bench/lib.sh disable=SC2016
. "$HULL_TOP/bench/lib.sh"
foreign '^link docker0' '^nft table ip6? (nat|filter)' '^file /run/(docker|containerd|containers|crun|runc|libpod|user|lock)' \
	'^cgroup .*/docker' '^mount .*/(dockerd|podman)' '^file /(etc|var/lib)/(docker|containerd|cni|containers)' '^file /var/tmp/containers'
registry_start
skopeo copy -q --dest-tls-verify=false "docker-archive:$HULL_CACHE/debian.tar" "docker://$REGISTRY/debian:12" ||
	give_up "an image in the registry"
image="$REGISTRY/debian:12"

mkdir -p "$T/dockerd" "$T/podman"
dockerd -H "unix://$T/dockerd/run/docker.sock" --data-root "$T/dockerd/root" --exec-root "$T/dockerd/run/exec" \
	-p "$T/dockerd/pid" --insecure-registry "$REGISTRY" >"$T/dockerd/log" 2>&1 &
dockerd=$!
within 30 curl -sf --unix-socket "$T/dockerd/run/docker.sock" http://d/_ping
hulld_start hull --insecure-registry "$REGISTRY" || hulld_start hull || exit 1

# seconds COMMAND...
seconds() {
	local begin
	begin=$(date +%s%N)
	"$@" >"$T/said" 2>&1 || give_up "$H: $* succeeds" "$(cat "$T/said")" >&2
	awk "BEGIN { printf \"%.3f\n\", ($(date +%s%N) - $begin) / 1000000000 }"
}
podman_() {
	podman --root "$T/podman/root" --runroot "$T/podman/run" --storage-driver overlay "$@"
}
for _ in 1 2 3 4 5; do
	H=hull seconds dk pull -q "$image" >>"$T/t.hull"
	H=hull dk rmi -f "$image" >/dev/null
	H=dockerd seconds dk pull -q "$image" >>"$T/t.dockerd"
	H=dockerd dk rmi -f "$image" >/dev/null
	seconds podman_ pull -q --tls-verify=false "$image" >>"$T/t.podman"
	podman_ rmi -f "$image" >/dev/null 2>&1
done
median() {
	sort -n "$T/t.$1" | sed -n 3p
}
hull=$(median hull) docker=$(median dockerd) podman=$(median podman)
best=$(awk "BEGIN { print ($docker < $podman) ? $docker : $podman }")
row "pull of a Debian root, one gzip layer" "< both peers" "$hull s" "$(holds "$hull < $best")" \
	"dockerd $docker s, podman $podman s"
kill $dockerd
wait $dockerd 2>/dev/null
podman_ system reset -f >/dev/null 2>&1
umount -R "$T/podman/root/overlay" 2>/dev/null
down
