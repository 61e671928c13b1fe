#!/bin/bash
# What pods may use: limits of memory and processor, classes of service, quotas and limit ranges; what happens
# beyond them, and what `describe` says of it.
# time: 240
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
ip link set lo up
cluster_up

# pod NAME RESOURCES COMMAND...: a pod of one container that runs it and is not started again.
pod() {
	local words
	words=$(printf '"%s",' "${@:3}")
	apply <<-YAML
	apiVersion: v1
	kind: Pod
	metadata: {name: $1}
	spec:
	  restartPolicy: Never
	  terminationGracePeriodSeconds: 1
	  containers:
	  - {name: c, image: "busybox:latest", imagePullPolicy: IfNotPresent, command: [${words%,}], resources: $2}
	YAML
}

# beyond the limit
pod eater '{limits: {memory: 24Mi}}' sh -c 'x=a; while :; do x=$x$x; done'
check "who takes more memory than allowed ends" within 30 is Failed get eater '{.status.phase}'
same "... killed for memory" "OOMKilled 137" \
	"$(get eater '{.status.containerStatuses[0].state.terminated.reason} {.status.containerStatuses[0].state.terminated.exitCode}')"
matches "... and describe says so" 'Reason: *OOMKilled' "$(kc describe pod eater)"

# what the kernel was told
pod limited '{limits: {memory: 64Mi, cpu: 500m}, requests: {memory: 32Mi, cpu: 250m}}' sleep 1000
pod best '{}' sleep 1000
pod sure '{limits: {memory: 64Mi, cpu: 500m}}' sleep 1000
check "pods with limits run" kc wait --for=condition=Ready pod/limited pod/best pod/sure --timeout=30s
same "classes of service" "Burstable BestEffort Guaranteed" \
	"$(get limited '{.status.qosClass}') $(get best '{.status.qosClass}') $(get sure '{.status.qosClass}')"
if [ -d /sys/fs/cgroup/memory ]; then
	group() {
		kc exec "$1" -- cat "/sys/fs/cgroup/$2" 2>/dev/null
	}
	same "the limit of memory" 67108864 "$(group limited memory/memory.limit_in_bytes)"
	same "... of the processor" "50000 100000" \
		"$(group limited cpu/cpu.cfs_quota_us) $(group limited cpu/cpu.cfs_period_us)"
	same "... its share" 256 "$(group limited cpu/cpu.shares)"
fi
score() {
	kc exec "$1" -- cat /proc/1/oom_score_adj
}
check "who asked for nothing dies first" [ "$(score best)" = 1000 ]
check "... who asked for little later" [ "$(score limited)" -lt 1000 ]

# quotas and limit ranges
kc create namespace poor >/dev/null
kc create quota small -n poor --hard=pods=2,requests.memory=96Mi,count/configmaps=3 >/dev/null
refused() {
	kc run "$1" -n poor --image=busybox:latest --image-pull-policy=IfNotPresent --restart=Never \
		--overrides="{\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"busybox:latest\",\"command\":[\"sleep\",\"1000\"],
		\"imagePullPolicy\":\"IfNotPresent\",\"resources\":$2}]}}" 2>&1
}
matches "a quota on memory wants to be told how much" 'failed quota: small: must specify requests.memory for: c' "$(refused a '{}')"
matches "within the quota" created "$(refused a '{"requests":{"memory":"64Mi"}}')"
matches "beyond it" 'exceeded quota: small, requested: requests.memory=64Mi, used: requests.memory=64Mi, limited: requests.memory=96Mi' \
	"$(refused b '{"requests":{"memory":"64Mi"}}')"
check "the quota counts" within 10 sh -c "'$KUBECTL' describe quota small -n poor | grep -Eq 'requests.memory +64Mi +96Mi'"
kc delete pod a -n poor --now >/dev/null
check "... and counts back" within 20 sh -c "'$KUBECTL' describe quota small -n poor | grep -Eq 'pods +0 +2'"
kc create namespace fair >/dev/null
apply <<'YAML'
apiVersion: v1
kind: LimitRange
metadata: {name: usual, namespace: fair}
spec:
  limits:
  - type: Container
    default: {memory: 48Mi}
    defaultRequest: {memory: 16Mi}
    max: {memory: 64Mi}
YAML
kc run plain -n fair --image=busybox:latest --image-pull-policy=IfNotPresent -- sleep 1000 >/dev/null
same "a limit range gives what was not said" "48Mi 16Mi" \
	"$(kc get pod plain -n fair -o 'jsonpath={.spec.containers[0].resources.limits.memory} {.spec.containers[0].resources.requests.memory}')"
matches "... and refuses too much" 'maximum memory usage per Container is 64Mi, but limit is 1Gi' \
	"$(kc run big -n fair --image=busybox:latest --overrides='{"spec":{"containers":[{"name":"c","image":"busybox:latest","resources":{"limits":{"memory":"1Gi"}}}]}}' 2>&1)"
matches "describe shows it" 'Container +memory +- +64Mi +16Mi +48Mi' "$(kc describe limits usual -n fair)"

# a deployment that its quota holds back says so
kc create deployment many -n poor --image=busybox:latest --replicas=1 >/dev/null
check "a deployment beyond its quota says why" within 20 sh -c \
	"'$KUBECTL' describe replicaset -n poor | grep -q 'failed quota: small: must specify requests.memory'"

# what a pod may know of itself
apply <<'YAML'
apiVersion: v1
kind: Pod
metadata: {name: facts, labels: {app: facts}}
spec:
  restartPolicy: Never
  containers:
  - name: c
    image: busybox:latest
    imagePullPolicy: IfNotPresent
    command: [sh, -c, "env; cat /info/labels"]
    resources: {limits: {memory: 64Mi, cpu: 1500m}, requests: {cpu: 100m}}
    env:
    - {name: MEMORY, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}}
    - {name: CPU, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}
    - {name: HOST, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
    - {name: BOTH, value: "$(MEMORY)-$(CPU)"}
    volumeMounts: [{name: info, mountPath: /info}]
  volumes: [{name: info, downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}}]
YAML
check "a pod that asks about itself" within 20 is Succeeded get facts '{.status.phase}'
told=$(kc logs facts)
matches "... its limits" 'BOTH=64-2' "$told"
matches "... its node" "HOST=$(kc get nodes -o 'jsonpath={.items[0].metadata.name}')" "$told"
matches "... its labels" 'app="facts"' "$told"
down
