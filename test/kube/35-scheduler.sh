#!/bin/bash
# Which node a pod gets, and what is said when it gets none: affinity, spread, taints, gates, preemption.
# The nodes are objects only, with no kubelet behind them: a pod that gets one stays Pending.
# time: 120
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
ip link set lo up
cluster_up

for n in 1 2 3; do
	kc create -f - >/dev/null <<-YAML || give_up "nodes are made"
		apiVersion: v1
		kind: Node
		metadata:
		  name: m$n
		  labels: {pool: thought, kubernetes.io/hostname: m$n, zone: z$((n % 2))}
	YAML
	kc patch node "m$n" --subresource=status --type=merge -p '{"status":{"allocatable":{"cpu":"2","memory":"4Gi",
		"pods":"10","example.com/gpu":"1"}}}' >/dev/null || give_up "nodes have room"
done

# pod NAME LABELS SPEC: flow mappings; the pod is for the nodes above.
pod() {
	kc create -f - >/dev/null <<-YAML
		apiVersion: v1
		kind: Pod
		metadata: {name: $1, labels: {$2}}
		spec: {nodeSelector: {pool: thought}, ${3:+$3,}
		  containers: [{name: c, image: busybox, resources: {${4:-}}}]}
	YAML
}
node() {
	kc get pod "$1" -o 'jsonpath={.spec.nodeName}'
}
placed() {
	[ -n "$(node "$1")" ]
}
why() {
	kc get pod "$1" -o 'jsonpath={.status.conditions[?(@.type=="PodScheduled")].message}'
}
says() {
	why "$1" | grep -Fq "$2"
}
away() {
	kc delete pod --all --force --grace-period=0 >/dev/null 2>&1
}

# anti-affinity, required: one on each node, and none for the fourth
apart='affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{labelSelector: {matchLabels: {app: a}},
  topologyKey: kubernetes.io/hostname}]}}'
for n in 1 2 3 4; do pod "a$n" 'app: a' "$apart"; done
for n in 1 2 3; do check "pod $n that keeps apart gets a node" within 10 placed "a$n"; done
same "... each another" 3 "$(for n in 1 2 3; do node "a$n"; echo; done | sort -u | grep -c m)"
check "the fourth is told why it gets none" within 10 says a4 "3 node(s) didn't match pod anti-affinity rules"
matches "... with how many nodes there are" '^0/4 nodes are available: 1 node\(s\) didn.t match Pod.s node affinity/selector, 3' \
	"$(why a4)"
matches "... and describe shows it" 'FailedScheduling.*default-scheduler' "$(kc describe pod a4 | tr -s ' \n' ' ')"
pod plain 'app: a'
check "who has no such wish is kept off, too" within 10 says plain "3 node(s) didn't satisfy existing pods anti-affinity rules"
kc delete pod a1 --force --grace-period=0 >/dev/null 2>&1
check "room that is made is used" within 20 sh -c \
	"'$KUBECTL' get pods a4 plain -o 'jsonpath={.items[*].spec.nodeName}' | grep -q m"
away

# affinity
pod first 'app: b'
check "a pod gets a node" within 10 placed first
pod near 'app: c' 'affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{labelSelector: {matchLabels: {app: b}},
  topologyKey: kubernetes.io/hostname}]}}'
check "who wants to be near it gets the same" within 10 placed near
same "... indeed" "$(node first)" "$(node near)"
away

# spread
even='topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: s}}}]'
for n in 1 2 3 4; do
	pod "s$n" 'app: s' "$even"
	check "pod $n that spreads gets a node" within 10 placed "s$n"
done
same "two of four are in the zone of one node" 2 "$(for n in 1 2 3 4; do node "s$n"; echo; done | grep -c m2)"
away

# taints, extended resources, gates
for n in 1 2 3; do kc taint node "m$n" dedicated=db:NoSchedule >/dev/null; done
pod t 'app: t'
check "a taint that is not tolerated is named" within 10 says t '3 node(s) had untolerated taint {dedicated: db}'
kc taint node m2 dedicated- >/dev/null
check "when it goes, the pod gets the node" within 20 is m2 node t
kc taint node m1 m3 dedicated- >/dev/null
pod gpu 'app: g' '' 'limits: {example.com/gpu: 2}'
check "a resource of somebody else's is counted" within 10 says gpu '3 Insufficient example.com/gpu'
pod gated 'app: g' 'schedulingGates: [{name: example.com/wait}]'
check "a gate shows" within 10 is SchedulingGated kc get pod gated -o \
	'jsonpath={.status.conditions[?(@.type=="PodScheduled")].reason}'
kc patch pod gated --type=json -p '[{"op":"remove","path":"/spec/schedulingGates"}]' >/dev/null
check "... and opens" within 10 placed gated
pod claim 'app: v' 'volumes: [{name: v, persistentVolumeClaim: {claimName: none}}]'
check "a claim that is missing is named" within 10 says claim 'persistentvolumeclaim "none" not found'
away

# preemption
kc create priorityclass high --value=1000 >/dev/null
kc create priorityclass meek --value=2000 --preemption-policy=Never >/dev/null
for n in 1 2 3; do pod "low$n" 'app: low' '' 'requests: {cpu: 1500m}'; done
for n in 1 2 3; do check "pod $n fills its node" within 10 placed "low$n"; done
pod polite 'app: p' 'priorityClassName: meek' 'requests: {cpu: 1}'
check "who never preempts says so" within 10 says polite 'preemption: not eligible due to preemptionPolicy=Never.'
matches "... and which request would fit" 'It would fit with requests for cpu of at most 500m' "$(why polite)"
kc delete pod polite --force --grace-period=0 >/dev/null 2>&1
pod big 'app: p' 'priorityClassName: high' 'requests: {cpu: 1}'
nominated() {
	kc get pod big -o 'jsonpath={.status.nominatedNodeName}' | grep m
}
check "a pod of a higher priority has a node cleared" within 10 nominated
victim=$(kc get pods -l app=low -o 'jsonpath={.items[?(@.metadata.deletionTimestamp)].metadata.name}')
matches "... of one pod" '^low[123]$' "$victim"
expect "... which says why" 0 PreemptionByScheduler kc get pod "$victim" -o 'jsonpath={.status.conditions[*].reason}'
check "... and has an event" within 10 sh -c "'$KUBECTL' get events | grep -q 'Preempted.*$victim'"
node=$(kc get pod big -o 'jsonpath={.status.nominatedNodeName}')
kc delete pod "$victim" --force --grace-period=0 >/dev/null 2>&1
check "when it is gone, the node is taken" within 20 is "$node" node big
pod huge 'app: p' 'priorityClassName: high' 'requests: {cpu: 64}'
check "no eviction makes room for what is too big" within 10 says huge 'preemption: 0/4 nodes are available'
away
kc delete node m1 m2 m3 >/dev/null
