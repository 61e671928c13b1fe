#!/bin/bash
# Deployments and services by the stock kubectl: made, scaled, rolled, healed, balanced, named.
# time: 240
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
      terminationGracePeriodSeconds: 1
      containers:
      - name: c
        image: busybox:latest
        imagePullPolicy: IfNotPresent
        command: [sh, -c, "mkdir /w; hostname > /w/index.html; exec httpd -f -p 8080 -h /w"]
        readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: NodePort, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
YAML
kc apply -f "$T/web.yaml" >/dev/null || kc apply --validate=false -f "$T/web.yaml" >/dev/null
expect "a deployment rolls out" 0 'successfully rolled out' kc rollout status deploy/web --timeout=60s
same "three pods" 3 "$(kc get pods -l app=web --no-headers | grep -c Running)"
ends() {
	kc get endpoints web -o 'jsonpath={.subsets[*].addresses[*].ip}' | wc -w
}
check "three endpoints" within 20 is 3 ends

# the service
ip=$(kc get service web -o 'jsonpath={.spec.clusterIP}')
port=$(kc get service web -o 'jsonpath={.spec.ports[0].nodePort}')
names() {
	for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do curl -s -m 5 "http://$1/"; done | sort -u | wc -l
}
check "the cluster address reaches a pod" within 10 curl -sf -m 3 "http://$ip/"
check "... every pod" within 30 is 3 names "$ip"
check "a node port does, too" curl -sf -m 5 "http://127.0.0.1:$port/"
kc run client --image=busybox:latest --image-pull-policy=IfNotPresent --restart=Never -- \
	wget -qO- http://web.default.svc.cluster.local/ >/dev/null
check "a pod reaches it by name" within 30 is Succeeded kc get pod client -o 'jsonpath={.status.phase}'
matches "... and gets an answer" '^web-' "$(kc logs client)"

# healing
one=$(kc get pods -l app=web -o name | head -n 1)
kc delete "$one" >/dev/null
check "a deleted pod is replaced" within 30 is 3 ends
refuse "... by another" kc get "$one"

# scaling and rolling
expect "scale" 0 scaled kc scale deploy/web --replicas=5
check "five endpoints" within 30 is 5 ends
kc scale deploy/web --replicas=2 >/dev/null
check "two endpoints" within 30 is 2 ends
kc set env deploy/web COLOR=blue >/dev/null
expect "a new template rolls out" 0 'successfully rolled out' kc rollout status deploy/web --timeout=60s
count() {
	kc get pods -l app=web --no-headers | wc -l
}
check "... the old pods leave" within 30 is 2 count
same "the new ones have it" "blue blue" "$(for p in $(kc get pods -l app=web -o name); do
	kc exec "$p" -- sh -c 'echo $COLOR'; done | xargs)"
matches "history has two revisions" '^2 ' "$(kc rollout history deploy/web | grep '^2')"
kc rollout undo deploy/web >/dev/null
expect "undo" 0 'successfully rolled out' kc rollout status deploy/web --timeout=60s
same "two replica sets are there" 2 "$(kc get rs -l app=web --no-headers | wc -l)"

# the end
kc delete deploy/web >/dev/null
check "its pods go with a deployment" within 40 sh -c "[ -z \"\$('$KUBECTL' get pods -l app=web -o name)\" ]"
refuse "nobody answers at the service's address any more" curl -sf -m 3 "http://$ip/"
kc create namespace passing >/dev/null
kc -n passing create configmap x --from-literal=a=b >/dev/null
check "a namespace goes with what is in it" kc delete namespace passing --timeout=30s
kc delete pod --all --now >/dev/null
