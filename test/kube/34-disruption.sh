#!/bin/bash
# Budgets hold a drain back until it may go on; a quota says what is used: by the stock kubectl.
# time: 240
# shellcheck source=test/lib.sh
. "$HULL_TOP/test/lib.sh"
ip link set lo up
cluster_up

cat >"$T/web.yaml" <<YAML
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: c, image: "busybox:latest", imagePullPolicy: IfNotPresent, command: [sleep, "3600"]}]
YAML
kc apply -f "$T/web.yaml" >/dev/null
expect "two pods" 0 'rolled out' kc rollout status deployment/web --timeout=60s
expect "a budget" 0 'created' kc create poddisruptionbudget web --selector=app=web --min-available=2
check "... allows nothing" within 10 is 0 field pdb/web .status.disruptionsAllowed
expect "... and shows it" 0 'web +2 +N/A +0 ' kc get pdb web
node=$(kc get nodes -o 'jsonpath={.items[0].metadata.name}')
expect "a drain is held back" 1 "Cannot evict pod as it would violate the pod's disruption budget" \
	kc drain "$node" --ignore-daemonsets --delete-emptydir-data --timeout=6s
same "... both pods stay" 2 "$(field deployment/web .status.readyReplicas)"
kc patch pdb web --type=merge -p '{"spec":{"minAvailable":"50%"}}' >/dev/null
check "a share allows one" within 10 is 1 field pdb/web .status.disruptionsAllowed
kc uncordon "$node" >/dev/null
pod=$(kc get pods -l app=web -o 'jsonpath={.items[0].metadata.name}')
evict() {
	kc create --raw "/api/v1/namespaces/default/pods/$1/eviction" -f - <<JSON
{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"$1","namespace":"default"}}
JSON
}
expect "one pod may be evicted" 0 '' evict "$pod"
check "... and is replaced" within 30 is 2 field deployment/web .status.readyReplicas
check "... after which another may go" within 10 is 1 field pdb/web .status.disruptionsAllowed
kc delete pdb web >/dev/null
expect "without a budget the node drains" 0 drained kc drain "$node" --ignore-daemonsets --delete-emptydir-data --timeout=40s
kc uncordon "$node" >/dev/null

# taints
cordoned() {
	kc get node "$node" -o 'jsonpath={.spec.taints[*].key}' | grep -q unschedulable
}
check "a cordoned node is tainted" kc cordon "$node"
check "..." within 10 cordoned
kc uncordon "$node" >/dev/null
free_again() {
	! cordoned
}
check "... and free again" within 10 free_again
expect "pods run again" 0 'rolled out' kc rollout status deployment/web --timeout=60s
pod=$(kc get pods -l app=web -o 'jsonpath={.items[0].metadata.name}')
kc taint node "$node" away=now:NoExecute >/dev/null
left() {
	! kc get pod "$1" >/dev/null 2>&1
}
check "what bears no taint leaves" within 30 left "$pod"
kc taint node "$node" away- >/dev/null
expect "... and comes back" 0 'rolled out' kc rollout status deployment/web --timeout=60s
kc delete deployment web --cascade=foreground >/dev/null

# quotas
kc create namespace small >/dev/null
expect "a quota" 0 created kc create quota all -n small --hard=configmaps=5,pods=2
check "... counts what there is" within 10 is 1 kc get quota all -n small -o 'jsonpath={.status.used.configmaps}'
kc create configmap one -n small >/dev/null
check "... what comes" within 10 is 2 kc get quota all -n small -o 'jsonpath={.status.used.configmaps}'
expect "... and describe shows it" 0 'configmaps +2 +5' kc describe quota all -n small
kc delete configmap one -n small >/dev/null
check "... and what goes" within 10 is 1 kc get quota all -n small -o 'jsonpath={.status.used.configmaps}'
