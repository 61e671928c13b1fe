#!/bin/bash
# What the state of a cluster takes: 64 clients that keep their connections make objects of 2 KB, each
# acknowledged only when it is on the disk. Ours is the whole Kubernetes API (TLS, client certificates,
# validation); etcd beside it is the bare store, plain, through its JSON gateway, on the same disk. In
# turn, since the machine may be busy otherwise.
# time: 300
# shellcheck source=bench/lib.sh disable=SC2016
. "$HULL_TOP/bench/lib.sh"
rounds=${ROUNDS:-5}
requests=${REQUESTS:-4000}
etcd_program=$(command -v "${ETCD:-etcd}") || give_up "etcd is installed"
writes=$(tool writes -lgnutls) || give_up "the load generator is built"
cluster_up
certificate_of_admin
"$etcd_program" --data-dir "$T/etcd.data" --listen-client-urls http://127.0.0.1:12379 --advertise-client-urls \
	http://127.0.0.1:12379 --listen-peer-urls http://127.0.0.1:12380 >"$T/etcd.log" 2>&1 &
etcd=$!
within 20 curl -sf http://127.0.0.1:12379/health -o /dev/null || give_up "etcd answers" "$(tail "$T/etcd.log")"
for round in $(seq "$rounds"); do
	for way in $([ $((round % 2)) = 0 ] && echo kube etcd || echo etcd kube); do
		case $way in
		kube) set -- kube 127.0.0.1 6443 64 "$requests" 2048 "$T/client-certificate" "$T/client-key" ;;
		etcd) set -- etcd 127.0.0.1 12379 64 "$requests" 2046 ;;
		esac
		"$writes" "$@" >>"$T/$way" || give_up "all writes are acknowledged, $way"
	done
done
kill $etcd
made=$(kc get configmaps -o name | grep -c '/w-')
[ "$made" = $((rounds * requests)) ] || not_ok "what was acknowledged is there ($made)"
median() {
	sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'
}
shown() {
	cut -d' ' -f"$2" "$T/$1" | median
}
# ratio FIELD: ours over etcd's, round by round; the median of that.
ratio() {
	paste -d' ' "$T/etcd" "$T/kube" | awk -v f="$1" '{ printf "%.3f\n", $(f + 3) / $f }' | median
}
rate=$(ratio 1) half=$(ratio 2) most=$(ratio 3)
row "durable writes a second : etcd" ">= 2" "$rate" "$(holds "$rate >= 2")" "$(shown kube 1), etcd $(shown etcd 1)"
row "p50 of a write : etcd" "<= 1" "$half" "$(holds "$half <= 1")" "$(shown kube 2) us, etcd $(shown etcd 2) us"
row "p99 of a write : etcd" "<= 1" "$most" "$(holds "$most <= 1")" "$(shown kube 3) us, etcd $(shown etcd 3) us"
