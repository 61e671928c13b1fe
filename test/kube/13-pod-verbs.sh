#!/bin/bash
# The verbs that need running pods: run, logs, exec, cp, debug, drain and evict, with what they say
# when something is not as it should be.
# time: 240
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
command -v kubectl >/dev/null || {
	ok "skipped: there is no kubectl"
	exit 0
}
cluster_up
node=$(kc get node -o 'jsonpath={.items[0].metadata.name}')
local_image=(--image=busybox --image-pull-policy=Never)

# one EXIT REGEX ARG...: kubectl with these words, which name the case too.
one() {
	local exit=$1 regex=$2
	shift 2
	expect "$*" "$exit" "$regex" kc "$@"
}

# --- run, wait, logs, exec -----------------------------------------------------------------------

one 0 '^pod/p created$' run p "${local_image[@]}" --restart=Never --labels=a=b --env=X=Y --port=80 --command -- sh -c 'trap exit TERM; echo hello; sleep 1000 & wait'
one 0 '^pod/p condition met$' wait pod/p --for=condition=Ready --timeout=20s
one 0 '^pod/p condition met$' wait pod/p --for=jsonpath='{.status.phase}'=Running --timeout=5s
one 1 'timed out waiting for the condition on pods/p' wait pod/p --for=condition=Nosuch --timeout=1s
one 1 'pods "nosuch" not found' wait pod/nosuch --for=condition=Ready --timeout=1s
one 0 '^hello$' logs p
one 0 '^[0-9-]+T[0-9:.]+Z hello$' logs p --tail=1 --timestamps
one 0 '^hel$' logs p --limit-bytes=3
one 0 '^\[pod/p/p\] hello$' logs -l a=b --all-containers --prefix
one 1 '\(BadRequest\): previous terminated container "p" in pod "p" not found' logs p -p
one 1 'container nosuch is not valid for pod p' logs p -c nosuch
one 1 'pods "nosuch" not found' logs nosuch
one 7 'command terminated with exit code 7' exec p -- sh -c 'exit 7'
one 1 "'nosuch': executable file not found in" exec p -- nosuch
one 1 'container nosuch is not valid for pod p' exec p -c nosuch -- true
one 0 '^Y$' exec p -- sh -c 'echo $X'
echo foo >"$T/up"
expect "cp there and back" 0 '^foo$' bash -c "'$KUBECTL' cp '$T/up' p:/tmp/up && '$KUBECTL' cp p:/tmp/up '$T/down' >/dev/null && cat '$T/down'"
one 0 '^hi$' run once "${local_image[@]}" --restart=Never --rm -i --quiet --command -- sh -c 'sleep 1; echo hi'
one 1 'pods "once" not found' get pod once
one 3 'terminated \(Error\)' run failed "${local_image[@]}" --restart=Never --attach --command -- sh -c 'exit 3'
one 0 '^pod/dry$' run dry --image=i --dry-run=server -o name
one 1 'The Pod "Bad" is invalid' run Bad --image=i
one 0 '^p +[0-9]+m +[0-9]+Mi' top pod p
one 0 "^$node +[0-9]+m" top node
one 0 'Started container p' events --for pod/p
same "events of one second stand in their order" "Pulled Created Started" \
	"$(kc describe pod p | sed -n '/^Events/,$p' | awk 'NR > 3 && $2 != "Scheduled" { print $2 }' | xargs)"

# --- debug ---------------------------------------------------------------------------------------

for KUBECTL in $(kubectls); do
	case $KUBECTL in *.28 | *.29 | *.30 | *.31) continue ;; esac
	v=${KUBECTL##*.}
	expect "1.$v: debug a pod" 0 '' kc debug p "${local_image[@]}" -c "d$v" -- sh -c 'echo debugging; sleep 1000'
	within 10 eval 'kc logs p -c "d$v" | grep -q debugging'
	expect "1.$v: ... is a container of it" 0 '^debugging$' kc logs p -c "d$v"
	expect "1.$v: ... that describe shows" 0 "^  d$v:" kc describe pod p
	expect "1.$v: debug a copy" 0 '' kc debug p "${local_image[@]}" --copy-to="copy$v" -c extra -- sleep 1000
	expect "1.$v: ... has both" 0 '^p extra$' kc get pod "copy$v" -o 'jsonpath={.spec.containers[*].name}'
	expect "1.$v: debug a node" 0 "on node $node" kc debug "node/$node" "${local_image[@]}" -- ls /host
	pod=$(kc get pods -o name | grep "pod/node-debugger-$node" | head -n 1)
	within 20 eval 'kc get "$pod" -o "jsonpath={.status.phase}" | grep -q Succeeded'
	expect "1.$v: ... sees its files" 0 '^etc$' kc logs "$pod"
	kc delete "$pod" "pod/copy$v" --now --wait=false >/dev/null
done
kc debug p "${local_image[@]}" --target=p -c see --profile=general -- ps >/dev/null 2>&1
within 20 eval 'kc logs p -c see | grep -q "sleep 1000"'
expect "debug sees the container's processes" 0 'sleep 1000' kc logs p -c see
one 1 'existing ephemeral containers "see" may not be changed' debug p "${local_image[@]}" -c see --profile=general -- true

one 1 'targetContainerName: Not found: "nosuch"' debug p "${local_image[@]}" -c other --target=nosuch -- true

# --- evict, drain --------------------------------------------------------------------------------

cat >"$T/dep.yaml" <<'YAML'
apiVersion: apps/v1
kind: Deployment
metadata: {name: d}
spec:
  selector: {matchLabels: {app: d}}
  template:
    metadata: {labels: {app: d}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: x, image: busybox, imagePullPolicy: Never, command: [sleep, "1000"]}]
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: ds}
spec:
  selector: {matchLabels: {app: ds}}
  template:
    metadata: {labels: {app: ds}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: x, image: busybox, imagePullPolicy: Never, command: [sleep, "1000"]}]
      volumes: [{name: v, emptyDir: {}}]
YAML
kc apply -f "$T/dep.yaml" >/dev/null
one 0 'successfully rolled out' rollout status deploy/d --timeout=20s
one 0 'successfully rolled out' rollout status ds/ds --timeout=20s
kc create pdb d --selector=app=d --min-available=1 >/dev/null
one 0 "node/$node cordoned \(dry run\)" drain "$node" --dry-run=client --force --ignore-daemonsets --delete-emptydir-data
one 1 'cannot delete .*Pods that declare no controller \(use --force to override\)' drain "$node"
one 1 'DaemonSet-managed Pods \(use --ignore-daemonsets to ignore\)' drain "$node" --force
within 10 eval 'kc get pdb d -o "jsonpath={.status.currentHealthy}" | grep -q 1'
one 1 "error when evicting pods/\"d-.*will retry after 5s\): Cannot evict pod as it would violate the pod's disruption budget" drain "$node" --pod-selector=app=d --timeout=1s
kc delete pdb d >/dev/null
one 0 "node/$node drained" drain "$node" --force --ignore-daemonsets --delete-emptydir-data --timeout=60s --grace-period=1
matches "what a drain leaves" '^ds-' "$(kc get pods --no-headers --field-selector=status.phase=Running)"
one 0 'node\(s\) were unschedulable' describe pod -l app=d
one 0 uncordoned uncordon "$node"
one 0 'successfully rolled out' rollout status deploy/d --timeout=20s
down
