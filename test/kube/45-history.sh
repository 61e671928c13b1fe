#!/bin/bash
# `kill -9` of hulld at random moments under writers, watchers and listers: what was acknowledged stays,
# watches go on where they were without losing, repeating or reordering, and pods do not notice.
# KILLS times (default 5; `make soak` does 200).
# time: 240
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
kills=${KILLS:-5}
ip link set lo up
cluster_up
for part in client-certificate client-key certificate-authority; do
	sed -n "s/^ *$part-data: *//p" "$KUBECONFIG" | base64 -d >"$T/$part"
done
kc create namespace history >/dev/null
kc create deployment steady --image=busybox:latest --replicas=3 --dry-run=client -o json -- \
	sh -c 'trap "exit 0" TERM; while :; do sleep 0.1; done' |
	jq '.spec.template.spec.containers[0].imagePullPolicy = "IfNotPresent"' | kc apply -f - >/dev/null
check "three pods run" kc rollout status deployment steady --timeout=60s

containers() {
	kc get pods -o 'jsonpath={range .items[*]}{.metadata.uid} {.status.containerStatuses[*].containerID} {.status.containerStatuses[*].restartCount}{"\n"}{end}' | sort
}
in_engine() {
	dk ps -aq --no-trunc | sort
}
before=$(containers) engine=$(in_engine)
matches "... each with a container" '^3$' "$(grep -c 'docker://\|hull://' <<<"$before")"

timeout -k 5 $((1400 * slow)) /usr/bin/python3 -W ignore "$HULL_TOP/test/kube/history.py" "$T/client-certificate" \
	"$T/client-key" "$T/certificate-authority" "$T/enough" >"$T/history" 2>&1 &
history=$!
RANDOM=${SEED:-5}
lost=0
for _ in $(seq "$kills"); do
	sleep "$((RANDOM % 2)).$((RANDOM % 900 + 100))"
	hulld_stop hull KILL
	hulld_start hull --kube-listen 127.0.0.1:6443 || break
	same_now() {
		[ "$(containers)" = "$before" ]
	}
	within 20 same_now || lost=$((lost + 1))
done
touch "$T/enough"
wait $history || not_ok "the history is judged" "$(tail -n 20 "$T/history")"
cat "$T/history"
same "after each of $kills kills the pods had the same containers, none started again" 0 "$lost"
check "... and have" kc rollout status deployment steady --timeout=60s
same "... the engine too: none is doubled" "$engine" "$(in_engine)"
