#!/bin/bash
# Many watchers: 500, each over TLS, on 20,000 pods of 2 KB of which 100 a second change. Every event
# comes to every watcher, once and in order, or the client says which did not.
# time: 300
# shellcheck source=bench/lib.sh disable=SC2016
. "$HULL_TOP/bench/lib.sh"
watchers=${WATCHERS:-500}
pods=${PODS:-20000}
rate=${RATE:-100}
watch=$(tool watch -lgnutls) || give_up "the load generator is built"
ulimit -n 8192
cluster_up
certificate_of_admin
read -r events half most longest busy rss each < <("$watch" 127.0.0.1 6443 "$T/client-certificate" "$T/client-key" \
	"${HULLD_PID[hull]}" "$pods" "$watchers" "$rate" "${SECONDS_LONG:-20}")
unset KUBECONFIG # nobody ran these pods: they go with the daemon
[ -n "${each-}" ] || give_up "every event came to every watcher, once and in order"
row "events to $watchers watchers" "all, in order" "$events" 1 "$rate changes a second"
row "p99 of an event, from the change being due" "<= 200 ms" "$most ms" "$(holds "$most <= 200")" \
	"p50 $half ms, longest $longest ms"
row "... hulld meanwhile" "-" "$busy % of a CPU" 1 "$rss MB, $each KB a watch"
