#!/bin/bash
# A load that scales its deployment up within seconds and down again, by the stock kubectl.
# time: 120
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
ip link set lo up
cluster_up

# ready LEAST MOST: so many pods of it are ready.
ready() {
	local n
	n=$(field deployment/burn .status.readyReplicas)
	[ "${n:-0}" -ge "$1" ] && [ "${n:-0}" -le "$2" ]
}
cat >"$T/burn.yaml" <<YAML
apiVersion: apps/v1
kind: Deployment
metadata: {name: burn}
spec:
  selector: {matchLabels: {app: burn}}
  template:
    metadata: {labels: {app: burn}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: c
        image: busybox:latest
        imagePullPolicy: IfNotPresent
        command: [sh, -c, "while :; do if [ -e /tmp/load ]; then :; else sleep 0.2; fi; done"]
        resources: {requests: {cpu: 100m}}
YAML
kc apply -f "$T/burn.yaml" >/dev/null
expect "a deployment that can burn" 0 'rolled out' kc rollout status deployment/burn --timeout=60s
expect "it is autoscaled" 0 'autoscaled' kc autoscale deployment burn --min=1 --max=3 --cpu-percent=60
kc patch hpa burn --type=merge -p '{"spec":{"behavior":{"scaleDown":{"stabilizationWindowSeconds":3}}}}' >/dev/null
active() {
	[ "$(field hpa/burn '.status.conditions[?(@.type=="ScalingActive")].status')" = True ]
}
check "its load is known" within 20 active
check "... and stays at one" ready 1 1
kc exec deploy/burn -- touch /tmp/load
begin=$(date +%s%N)
check "a step of load: more ready pods within 8 s" within $((8 * ${HULL_SLOW:-1})) ready 2 3
echo "# from load to more ready pods: $((($(date +%s%N) - begin) / 1000000)) ms"
expect "kubectl get hpa shows it" 0 'Deployment/burn.*%/60%' kc get hpa burn
expect "describe hpa says why" 0 'SuccessfulRescale.*New size: [23]; reason: cpu resource utilization \(percentage of request\) above target' kc describe hpa burn
expect "... and what is so" 0 'ScalingActive +True +ValidMetricFound' kc describe hpa burn
matches "the old version shows it too" '"targetCPUUtilizationPercentage": ?60' \
	"$(kc get --raw /apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers/burn)"
for pod in $(kc get pods -l app=burn -o name); do
	kc exec "$pod" -- rm -f /tmp/load 2>/dev/null
done
check "without load it shrinks" within 40 ready 1 1
expect "... and says so" 0 'New size: 1; reason: All metrics below target' kc describe hpa burn
