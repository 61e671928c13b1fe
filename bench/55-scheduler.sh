#!/bin/bash
# How many pods a second get a node: 5,000 nodes and 50,000 pods as objects in the store of one process,
# bindings committed. Without demands on other pods, and with required anti-affinity on each node.
# time: 300
# shellcheck source=bench/lib.sh disable=SC2016
. "$HULL_TOP/bench/lib.sh"
program=$HULL_BUILD/bench-scheduler
[ -x "$program" ] || ninja -C "$HULL_BUILD" bench-scheduler >&2 || give_up "the benchmark is built"
for way in basic anti-affinity; do
	mkdir -p "$T/$way"
	read -r rate seconds < <("$program" "$T/$way" "${NODES:-5000}" "${PODS:-50000}" "$way" 2>/dev/null)
	[ -n "$rate" ] || give_up "pods get nodes, $way"
	case $way in basic) bar=5000 peer="680-810" ;; *) bar=500 peer=60 ;; esac
	row "pods scheduled a second, $way" ">= $bar" "$rate" "$(holds "$rate >= $bar")" \
		"$seconds s; kube-scheduler's own gate $peer"
done
