#!/bin/bash
# What a service costs: requests from pod to pod directly, and through a cluster address, in turn; with
# ten services and with ten thousand. Each request is a connection of its own (rules are looked at once
# per connection); kept connections are shown beside.
# time: 600
# shellcheck source=bench/lib.sh disable=SC2016
. "$HULL_TOP/bench/lib.sh"
many=${COUNT:-10000}
rounds=${ROUNDS:-31}
requests=${REQUESTS:-4000}
load=$(tool load) || give_up "the load generator is built"
hulld_start hull --kube-listen 127.0.0.1:6443 || exit 1
export KUBECONFIG=$T/hull/root/kube/kubeconfig
k() {
	timeout -k 5 60 kubectl "$@"
}
within 10 k get --raw /healthz || give_up "the API answers" "$(tail -n 20 "$T/hull/log")"
hull --root "$T/hull/root" --run "$T/hull/run" --owner kube load -qi "$HULL_CACHE/busybox.tar" >/dev/null ||
	give_up "the busybox image loads for pods"
for name in server client; do
	k apply -f - >/dev/null <<-YAML || give_up "manifests apply"
		apiVersion: v1
		kind: Pod
		metadata: {name: $name, labels: {app: $name}}
		spec:
		  terminationGracePeriodSeconds: 0
		  containers:
		  - {name: main, image: busybox, imagePullPolicy: IfNotPresent, command: [sleep, '1000000']}
	YAML
done
k wait --for=condition=Ready pod --all --timeout=60s >/dev/null || give_up "pods get ready"

# net POD: its network namespace.
net() {
	local ip n
	ip=$(k get pod "$1" -o 'jsonpath={.status.podIP}')
	for n in "$T"/hull/run/sandbox/*/net; do
		nsenter "--net=$n" ip -4 addr show eth0 | grep -q " $ip/32" && echo "$n"
	done
}
server=$(k get pod server -o 'jsonpath={.status.podIP}')
client=$(net client)
nsenter "--net=$(net server)" "$load" serve 8080 &
serving=$!
echo 1 >/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_close

# services FROM TO: makes them, and waits until the last one answers.
services() {
	local address
	python3 "$HULL_TOP/bench/services.py" "$KUBECONFIG" "$1" "$2" || give_up "services are made"
	address=$(k get service "s-$(($2 - 1))" -o 'jsonpath={.spec.clusterIP}')
	within 120 nsenter "--net=$client" "$load" ask "$address" 80 1 1 || give_up "the last one answers"
}

median() {
	sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'
}

# ratio FILE FIELD: service over direct, round by round; the median of that.
ratio() {
	paste -d' ' "$T/direct$1" "$T/service$1" | awk -v f="$2" '{ printf "%.4f\n", $(f + 3) / $f }' | median
}

shown() {
	cut -d' ' -f"$2" "$T/$1" | median
}

# compare COUNT: rounds of both ways in turn. What they cost beside each other is compared within a
# round, since the machine may be busy otherwise.
compare() {
	local address round way
	address=$(k get service s-5 -o 'jsonpath={.spec.clusterIP}')
	rm -f "$T"/direct* "$T"/service*
	ask() {
		nsenter "--net=$client" "$load" ask "$@"
	}
	for round in $(seq "$rounds"); do
		for way in $([ $((round % 2)) = 0 ] && echo direct service || echo service direct); do
			set -- "$1" "$server" 8080
			[ "$way" = direct ] || set -- "$1" "$address" 80
			ask "$2" "$3" 16 "$requests" >>"$T/$way" || give_up "requests, $way"
			ask "$2" "$3" 16 "$requests" keep >>"$T/$way.keep" || give_up "kept requests, $way"
		done
	done
	p99=$(ratio '' 3) rate=$(ratio '' 1) keep=$(ratio .keep 1)
	row "p99 through a service : direct, $1 services" "<= 1.10" "$p99" "$(holds "$p99 <= 1.10")" \
		"$(shown service 3) us, direct $(shown direct 3) us"
	row "connections a second : direct, $1 services" ">= 0.90" "$rate" "$(holds "$rate >= 0.90")" \
		"$(shown service 1), direct $(shown direct 1)"
	row "requests a second, kept : direct, $1 services" ">= 0.90" "$keep" "$(holds "$keep >= 0.90")" \
		"$(shown service.keep 1), direct $(shown direct.keep 1)"
}

services 0 10
compare 10
few=$p99
begin=$(date +%s%N)
services 10 "$many"
made=$((($(date +%s%N) - begin) / 1000000))
compare "$many"
flat=$(awk "BEGIN { printf \"%.3f\", $p99 / $few }")
row "p99 : direct, $many services over 10" "<= 1.10" "$flat" "$(holds "$flat <= 1.10")" \
	"$many services made and served in $made ms; hulld $(awk '/^VmRSS/ {print $2}' "/proc/${HULLD_PID[hull]}/status") kB"
kill $serving
k delete pod --all --wait=false >/dev/null
no_pods() { [ -z "$(k get pods -o name)" ]; }
within 30 no_pods || not_ok "pods go"
