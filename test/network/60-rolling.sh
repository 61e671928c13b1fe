#!/bin/bash
# A rolling update under load: each request is a connection of its own through a service while all its
# pods are exchanged; a pod that is told to end goes on serving for a while. None fails.
# time: 180
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
mkdir -p "$HULL_BUILD/bench"
load=$HULL_BUILD/bench/load
cc -std=gnu17 -D_GNU_SOURCE -O2 -Wall -static -o "$load" "$HULL_TOP/bench/load.c" || give_up "the load generator is built"
image "$T/load.tar" load:1 '{"Cmd":["/load","serve","8080"]}' cp "$load" load || give_up "an image is made"
hulld_start hull --kube-listen 127.0.0.1:6443 || exit 1
export KUBECONFIG=$T/hull/root/kube/kubeconfig
k() {
	timeout -k 5 $((60 * slow)) kubectl "$@"
}
within 10 k get --raw /healthz || give_up "the API answers"
hull --root "$T/hull/root" --run "$T/hull/run" --owner kube load -qi "$T/load.tar" >/dev/null ||
	give_up "the image loads for pods"
k apply -f - >/dev/null <<'YAML' || give_up "manifests apply"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  strategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 2
      containers:
      - name: web
        image: load:1
        imagePullPolicy: IfNotPresent
        readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
YAML
check "it is rolled out" k rollout status deployment web --timeout=60s
address=$(k get service web -o 'jsonpath={.spec.clusterIP}')
before=$(k get pods -l app=web -o 'jsonpath={.items[*].metadata.name}')

# Requests go on until the update is through, and are a hundred thousand at least.
rm -f "$T/through"
(
	sum=0
	until [ -e "$T/through" ] && [ $sum -ge 100000 ]; do
		"$load" ask "$address" 80 8 10000 >/dev/null 2>"$T/why" || { echo "failed after $sum"; exit; }
		sum=$((sum + 10000))
	done
	echo "none failed"
) >"$T/outcome" &
asking=$!
sleep 1
k rollout restart deployment web >/dev/null
check "it is updated" k rollout status deployment web --timeout=90s
ended() {
	local name
	for name in $before; do
		! k get pod "$name" || return 1
	done
}
check "the pods of before are gone" within 30 ended
touch "$T/through"
wait $asking
same "no request of a hundred thousand failed" "none failed" "$(cat "$T/outcome" "$T/why")"
k delete deployment web --wait=false >/dev/null
no_pods() { [ -z "$(k get pods -o name)" ]; }
check "pods go" within 30 no_pods
