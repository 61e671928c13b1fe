#!/bin/bash
# Stateful sets, daemon sets, jobs and what owns what, by the stock kubectl.
# time: 240
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
ip link set lo up
cluster_up

pod_spec='terminationGracePeriodSeconds: 1, containers: [{name: c, image: "busybox:latest", imagePullPolicy: IfNotPresent'

# stateful sets
cat >"$T/db.yaml" <<YAML
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {clusterIP: None, selector: {app: db}, ports: [{port: 80}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  replicas: 2
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {$pod_spec, command: [sleep, "3600"]}]}
YAML
expect "a stateful set is made" 0 'created' kc apply -f "$T/db.yaml"
expect "... and rolls out" 0 'complete|rolled out' kc rollout status statefulset/db --timeout=60s
same "its pods have numbers" "db-0 db-1" "$(kc get pods -l app=db -o 'jsonpath={.items[*].metadata.name}')"
same "... and are called so" "db-1" "$(kc exec db-1 -- hostname)"
uid=$(field pod/db-0 .metadata.uid)
kc delete pod db-0 >/dev/null
check "a deleted one comes back under its name" within 30 is Running field pod/db-0 .status.phase
refuse "... as another pod" is "$uid" field pod/db-0 .metadata.uid
kc set env statefulset/db COLOR=blue >/dev/null
expect "a new template goes through all" 0 'complete|rolled out' kc rollout status statefulset/db --timeout=90s
same "... each has it" blue "$(kc exec db-0 -- sh -c 'echo $COLOR')"
matches "history" '^2 ' "$(kc rollout history statefulset/db | grep '^2')"
kc scale statefulset/db --replicas=1 >/dev/null
gone() {
	! kc get "$1" >/dev/null 2>&1
}
check "the highest number goes first" within 30 gone pod/db-1

# daemon sets
cat >"$T/agent.yaml" <<YAML
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec: {$pod_spec, command: [sleep, "3600"]}]}
YAML
expect "a daemon set is made" 0 'created' kc apply -f "$T/agent.yaml"
expect "... and rolls out" 0 'rolled out' kc rollout status daemonset/agent --timeout=60s
same "one pod on the one node" 1 "$(field daemonset/agent .status.numberReady)"
kc set env daemonset/agent COLOR=red >/dev/null
expect "it rolls" 0 'rolled out' kc rollout status daemonset/agent --timeout=60s
expect "... and back" 0 'rolled back' kc rollout undo daemonset/agent

# jobs
cat >"$T/job.yaml" <<YAML
apiVersion: batch/v1
kind: Job
metadata: {name: sum}
spec:
  completions: 3
  parallelism: 2
  completionMode: Indexed
  template:
    spec: {restartPolicy: Never, $pod_spec, command: [sh, -c, "echo index \$JOB_COMPLETION_INDEX"]}]}
---
apiVersion: batch/v1
kind: Job
metadata: {name: bad}
spec:
  backoffLimit: 0
  template:
    spec: {restartPolicy: Never, $pod_spec, command: ["false"]}]}
YAML
expect "jobs are made" 0 'job.batch/sum created' kc apply -f "$T/job.yaml"
expect "a job completes" 0 'condition met' kc wait --for=condition=complete job/sum --timeout=60s
same "... every number of it" 0-2 "$(field job/sum .status.completedIndexes)"
same "... and counts" 3 "$(field job/sum .status.succeeded)"
matches "a pod knows its number" 'index 1' "$(kc logs -l batch.kubernetes.io/job-completion-index=1)"
expect "a job fails" 0 'condition met' kc wait --for=condition=failed job/bad --timeout=60s
same "... and says why" BackoffLimitExceeded "$(field job/bad '.status.conditions[?(@.type=="Failed")].reason')"
expect "a cron job is made" 0 'created' kc create cronjob tick --image=busybox:latest --schedule='0 0 1 1 *' -- true
expect "a job from it" 0 'created' kc create job --from=cronjob/tick now
expect "... completes" 0 'condition met' kc wait --for=condition=complete job/now --timeout=60s
expect "jobs go with their pods" 0 deleted kc delete job sum bad
none() {
	[ -z "$(kc get pods -l "$1" -o name)" ]
}
check "..." within 30 none batch.kubernetes.io/job-name=sum

# who owns whom
kc create deployment own --image=busybox:latest -- sleep 3600 >/dev/null
check "a set is made" within 20 kc get rs -l app=own -o name
expect "a deployment goes alone" 0 deleted kc delete deployment own --cascade=orphan
same "... its set stays" 1 "$(kc get rs -l app=own -o name | wc -l)"
same "... without an owner" "" "$(kc get rs -l app=own -o 'jsonpath={.items[0].metadata.ownerReferences}')"
expect "the set goes, its pods first" 0 deleted kc delete rs -l app=own --cascade=foreground
check "..." within 30 none app=own
