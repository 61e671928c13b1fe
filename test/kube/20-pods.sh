#!/bin/bash
# Pods by the stock kubectl: what runs, what is told, what is left.
# time: 240
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
ip link set lo up
cluster_up

phase() {
	kc get pod "$1" -o 'jsonpath={.status.phase}'
}

gone() {
	! kc get pod "$1" -o name
}

# one pod
expect "run" 0 'pod/one created' kc run one --image=busybox:latest --image-pull-policy=IfNotPresent -- \
	sh -c 'echo hello; trap "exit 0" TERM; while :; do sleep 0.1; done'
check "it becomes ready" kc wait --for=condition=Ready pod/one --timeout=30s
same "its log" hello "$(kc logs one)"
matches "it has an address and a node" '10\.[0-9.]+ +[a-z0-9-]+ ' "$(kc get pod one -o wide --no-headers)"
matches "describe tells what happened" 'Scheduled.*|Started container one' "$(kc describe pod one | tail -n 5)"
same "exec gives output and exit code" "out 3" "$(kc exec one -- sh -c 'echo out; exit 3' 2>/dev/null | xargs) $(kc exec one -- sh -c 'exit 3' 2>/dev/null; echo $?)"
same "exec with input" "through" "$(echo through | kc exec -i one -- cat)"
echo content >"$T/file"
check "cp into it" kc cp "$T/file" one:/tmp/file
check "cp out of it" kc cp one:/tmp/file "$T/back"
same "... the same bytes" content "$(cat "$T/back")"
same "its token is there" "ca.crt namespace token" \
	"$(kc exec one -- ls /var/run/secrets/kubernetes.io/serviceaccount | xargs)"
expect "delete" 0 'pod "one" deleted' kc delete pod one
check "it is gone" gone one
same "nothing of it is left in the engine" "" "$(H=hull dk ps -aq)"

# ends
kc run good --image=busybox:latest --image-pull-policy=IfNotPresent --restart=Never -- sh -c 'echo done' >/dev/null
check "a pod that ends well has succeeded" within 20 is Succeeded phase good
kc run bad --image=busybox:latest --image-pull-policy=IfNotPresent --restart=Never -- sh -c 'exit 4' >/dev/null
check "one that ends badly has failed" within 20 is Failed phase bad
same "... with its exit code" 4 \
	"$(kc get pod bad -o 'jsonpath={.status.containerStatuses[0].state.terminated.exitCode}')"
kc run absent --image=busybox:latest --image-pull-policy=IfNotPresent --restart=Never -- /no/such/program >/dev/null
check "one whose program is not there has failed" within 20 is Failed phase absent
matches "... and says so" '/no/such/program.*StartError' "$(kc get pod absent -o 'jsonpath={.status.containerStatuses[0].state.terminated}')"
kc run loop --image=busybox:latest --image-pull-policy=IfNotPresent -- sh -c 'echo again; exit 1' >/dev/null
reason() {
	kc get pod "$1" -o 'jsonpath={.status.containerStatuses[0].state.waiting.reason}'
}
check "one that always fails is held back" within 30 is CrashLoopBackOff reason loop
same "... the log of the one before" again "$(kc logs loop --previous)"
kc run none --image=nowhere.invalid/none:1 --image-pull-policy=Never >/dev/null
check "an image that is not there" within 20 is ErrImageNeverPull reason none
matches "... and what to do" 'load it first' "$(kc describe pod none)"
kc run huge --image=busybox:latest --overrides='{"spec":{"containers":[{"name":"huge","image":"busybox:latest",
	"resources":{"requests":{"cpu":"1000"}}}]}}' >/dev/null
why() {
	kc get pod huge -o 'jsonpath={.status.conditions[?(@.type=="PodScheduled")].message}'
}
check "a pod that fits nowhere is told why" within 20 sh -c "'$KUBECTL' describe pod huge | grep -q 'Insufficient cpu'"
matches "... and what would fit" 'would fit with requests for cpu of at most [0-9]+m' "$(why)"
kc delete pod --all --now >/dev/null

# order, volumes, environment
cat >"$T/order.yaml" <<'YAML'
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {greeting: hello, file.txt: "from the map\n"}
---
apiVersion: v1
kind: Secret
metadata: {name: hidden}
stringData: {word: sesame}
---
apiVersion: v1
kind: Pod
metadata: {name: order, labels: {app: order}}
spec:
  restartPolicy: Never
  initContainers:
  - {name: first, image: "busybox:latest", imagePullPolicy: IfNotPresent, command: [sh, -c, "echo 1 > /shared/order"],
     volumeMounts: [{name: shared, mountPath: /shared}]}
  - {name: second, image: "busybox:latest", imagePullPolicy: IfNotPresent, command: [sh, -c, "echo 2 >> /shared/order"],
     volumeMounts: [{name: shared, mountPath: /shared}]}
  containers:
  - name: main
    image: busybox:latest
    imagePullPolicy: IfNotPresent
    command: [sh, -c]
    args: ["cat /shared/order /map/file.txt /secret/word; echo; echo $(GREETING) $(ME) $greeting; id -u; cat /labels/labels"]
    env:
    - {name: ME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: GREETING, valueFrom: {configMapKeyRef: {name: settings, key: greeting}}}
    envFrom: [{configMapRef: {name: settings}}]
    securityContext: {runAsUser: 1234}
    volumeMounts:
    - {name: shared, mountPath: /shared}
    - {name: map, mountPath: /map}
    - {name: secret, mountPath: /secret}
    - {name: labels, mountPath: /labels}
  volumes:
  - {name: shared, emptyDir: {}}
  - {name: map, configMap: {name: settings}}
  - {name: secret, secret: {secretName: hidden}}
  - {name: labels, downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}}
YAML
if [ "$("$KUBECTL" version --client 2>/dev/null | grep -c 1.20)" = 0 ]; then validate=--validate=true; else validate=--validate=false; fi
kc apply "$validate" -f "$T/order.yaml" >/dev/null
check "init containers run one after the other" within 30 is Succeeded phase order
same "volumes, variables and user" '1 2 from the map sesame hello order hello 1234 app="order"' "$(kc logs order -c main | xargs -d '\n' echo | tr -s ' ')"

# probes
cat >"$T/probes.yaml" <<'YAML'
apiVersion: v1
kind: Pod
metadata: {name: probed}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: c
    image: busybox:latest
    imagePullPolicy: IfNotPresent
    command: [sh, -c, "mkdir /w; echo hi > /w/index.html; touch /ready; exec httpd -f -p 8080 -h /w"]
    ports: [{name: http, containerPort: 8080}]
    readinessProbe: {exec: {command: [test, -f, /ready]}, periodSeconds: 1, failureThreshold: 1}
    livenessProbe: {httpGet: {path: /index.html, port: http}, periodSeconds: 1, failureThreshold: 2, terminationGracePeriodSeconds: 1}
    startupProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
YAML
kc apply "$validate" -f "$T/probes.yaml" >/dev/null
ready() {
	kc get pod probed -o 'jsonpath={.status.containerStatuses[0].ready}'
}
restarts() {
	kc get pod probed -o 'jsonpath={.status.containerStatuses[0].restartCount}'
}
check "a pod whose probes are well is ready" within 30 is true ready
kc exec probed -- rm /ready
check "readiness is taken away" within 20 is false ready
kc exec probed -- touch /ready
check "... and given back" within 20 is true ready
kc exec probed -- rm /w/index.html
check "a failed liveness probe restarts it" within 40 is 1 restarts

# a restart of the daemon
kc run stays --image=busybox:latest --image-pull-policy=IfNotPresent -- sh -c 'while :; do sleep 0.1; done' >/dev/null
check "another pod" kc wait --for=condition=Ready pod/stays --timeout=30s
before=$(kc get pod stays -o 'jsonpath={.status.containerStatuses[0].containerID} {.metadata.uid}')
hulld_stop hull KILL
cluster_up
check "after kill -9 the pod is ready again" kc wait --for=condition=Ready pod/stays --timeout=30s
same "... the same container" "$before" \
	"$(kc get pod stays -o 'jsonpath={.status.containerStatuses[0].containerID} {.metadata.uid}')"
same "... not restarted" 0 "$(kc get pod stays -o 'jsonpath={.status.containerStatuses[0].restartCount}')"
kc delete pod --all --now >/dev/null
check "all pods can be deleted" within 30 sh -c "[ -z \"\$('$KUBECTL' get pods -o name)\" ]"
