#!/bin/bash
# A rolling update under load: an endpoint leaves before its pod is told to stop, and a server that
# drains when it is told loses no request.
# time: 120
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
ip link set lo up
cluster_up
cat >"$T/web.yaml" <<'YAML'
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 5
      containers:
      - name: c
        image: busybox:latest
        imagePullPolicy: IfNotPresent
        command: [sh, -c, "trap 'sleep 0.3; exit 0' TERM; mkdir /w; hostname > /w/index.html; httpd -f -p 8080 -h /w & while :; do wait; done"]
        readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
YAML
kc apply -f "$T/web.yaml" >/dev/null
expect "a deployment" 0 'successfully rolled out' kc rollout status deploy/web --timeout=60s
ip=$(kc get service web -o 'jsonpath={.spec.clusterIP}')
check "its service answers" within 10 curl -sf -m 3 "http://$ip/"
(
	n=0 bad=0
	while [ ! -e "$T/stop" ]; do
		curl -sf -m 3 -o /dev/null "http://$ip/" || bad=$((bad + 1))
		n=$((n + 1))
	done
	echo "$n $bad" >"$T/sum"
) &
load=$!
for _ in 1 2 3; do
	kc rollout restart deploy/web >/dev/null
	expect "a rollout under load" 0 'successfully rolled out' kc rollout status deploy/web --timeout=60s
done
touch "$T/stop"
wait "$load"
check "there was load" [ "$(cut -d' ' -f1 "$T/sum")" -gt 20 ]
same "no request failed" 0 "$(cut -d' ' -f2 "$T/sum")"
kc delete deploy web >/dev/null
