#!/bin/bash
# Pods: from the request to Ready as a watch shows it, the image being here; then a hundred at once, and
# what the daemon holds with all of them. Also how long a whole cluster takes from nothing.
# time: 300
# shellcheck source=bench/lib.sh disable=SC2016
. "$HULL_TOP/bench/lib.sh"
ip link set lo up
hulld_start first --kube-listen 127.0.0.1:6443 || exit 1
hulld_stop first QUIT # the programs are in the page cache now
KUBECTL=$(kubectls | tail -n 1)
began=$(date +%s%N)
hulld_start hull --kube-listen 127.0.0.1:6443 || exit 1
export KUBECONFIG="$T/hull/root/kube/kubeconfig"
for part in client-certificate client-key; do
	sed -n "s/^ *$part-data: *//p" "$KUBECONFIG" | base64 -d >"$T/$part"
done
names_answer() {
	socat -u /dev/null UDP:10.96.0.10:53,connect-timeout=1 2>/dev/null && curl -s --cert "$T/client-certificate" \
		--key "$T/client-key" -k https://127.0.0.1:6443/api/v1/nodes | grep -q '"Ready","status":"True"\|"status":"True","reason":"KubeletReady"'
}
within 10 names_answer || give_up "the node is ready" "$(tail "$T/hull/log")"
up=$((($(date +%s%N) - began) / 1000000))
row "from nothing to a Ready node" "<= 2000 ms" "$up ms" "$(holds "$up <= 2000")"
cluster_ready() {
	kc get serviceaccount default
}
within 10 cluster_ready
cpu() {
	awk '{ print $14 + $15 }' "/proc/${HULLD_PID[hull]}/stat"
}
idle_seconds=${IDLE_SECONDS:-60}
sleep 2 # what a fresh cluster has to do is done
busy=$(cpu)
sleep "$idle_seconds"
idle=$(awk "BEGIN { printf \"%.2f\", ($(cpu) - $busy) * 100 / $(getconf CLK_TCK) / $idle_seconds }")
row "hulld with a cluster that rests" "<= 1 % of a CPU" "$idle %" "$(holds "$idle <= 1")" "$idle_seconds s"
have_busybox
read -r half most all < <(python3 "$HULL_TOP/bench/pods.py" "$T/client-certificate" "$T/client-key" "${SINGLE:-100}" 100)
[ -n "${all-}" ] || give_up "the pods are made"
row "pod created to Ready, p50" "<= 80 ms" "$half ms" "$(holds "$half <= 80")"
row "pod created to Ready, p99" "<= 250 ms" "$most ms" "$(holds "$most <= 250")"
row "100 pods at once" "<= 4000 ms" "$all ms" "$(holds "$all <= 4000")"
rss=$(awk '/^VmRSS/ { print int($2 / 1024) }' "/proc/${HULLD_PID[hull]}/status")
row "hulld with the cluster and its pods" "<= 45 MB" "$rss MB" "$(holds "$rss <= 45")"
kc delete pod --all --now >/dev/null
