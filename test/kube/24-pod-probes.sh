#!/bin/bash
# Probes of every kind, against real servers: HTTP with headers, a connection, a command, gRPC (etcd serves its
# health); a startup probe that others wait for; and where images come from: policies and pull secrets.
# time: 240
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
ip link set lo up
cluster_up

ready() {
	get "$1" '{.status.containerStatuses[0].ready}'
}

# pod NAME PROBES COMMAND [MORE]: a pod that runs the command; MORE is of its spec.
pod() {
	kc apply -f - >/dev/null <<-YAML
	apiVersion: v1
	kind: Pod
	metadata: {name: $1}
	spec:
	  terminationGracePeriodSeconds: 1
	  containers:
	  - name: c
	    image: busybox:latest
	    imagePullPolicy: IfNotPresent
	    command: [sh, -c, "$3"]
	    $2
	$4
	YAML
}

web='mkdir /w; echo ok > /w/index.html; httpd -p 8080 -h /w; sleep 1000'
pod http 'readinessProbe: {httpGet: {port: 8080, path: /index.html, httpHeaders: [{name: X-Test, value: a}]}, periodSeconds: 1, failureThreshold: 1}' "$web" ''
pod named 'readinessProbe: {httpGet: {port: web}, periodSeconds: 1, failureThreshold: 1}
    ports: [{name: web, containerPort: 8080}]' "$web" ''
pod tcp 'readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1, failureThreshold: 1}' "$web" ''
pod dead 'readinessProbe: {tcpSocket: {port: 8081}, periodSeconds: 1, failureThreshold: 1}' 'sleep 1000' ''
pod slow 'startupProbe: {exec: {command: [cat, /up]}, periodSeconds: 1, failureThreshold: 60}
    livenessProbe: {exec: {command: [cat, /alive]}, periodSeconds: 1, failureThreshold: 1}' 'sleep 1000' ''
pod never 'startupProbe: {exec: {command: ["false"]}, periodSeconds: 1, failureThreshold: 2}' 'sleep 1000' ''
pod long 'livenessProbe: {exec: {command: [sleep, "100"]}, timeoutSeconds: 1, periodSeconds: 1, failureThreshold: 1}' 'sleep 1000' ''
for name in http named tcp; do
	check "a probe by $name" within 30 is true ready $name
done
kc exec http -- rm /w/index.html
check "... a page that is gone takes readiness away" within 20 is false ready http
matches "... and describe tells the answer" 'Readiness probe failed: HTTP probe failed with statuscode: 404' "$(kc describe pod http)"
matches "a port where nobody listens" 'Readiness probe failed: .*refused' "$(kc describe pod dead)"
same "... is not ready" false "$(ready dead)"
same "until it has started, liveness is not asked" "0 false" \
	"$(get slow '{.status.containerStatuses[0].restartCount} {.status.containerStatuses[0].started}')"
kc exec slow -- sh -c 'touch /alive /up'
check "... then it has" within 20 is true get slow '{.status.containerStatuses[0].started}'
kc exec slow -- rm /alive
check "... and is ended when it is dead" within 20 is 1 get slow '{.status.containerStatuses[0].restartCount}'
matches "... describe says why" 'Container c failed liveness probe, will be restarted' "$(kc describe pod slow)"
check "what never starts is made again" within 20 sh -c \
	"'$KUBECTL' describe pod never | grep -q 'failed startup probe, will be restarted'"
check "a probe that takes too long has failed" within 20 sh -c \
	"'$KUBECTL' describe pod long | grep -Eq 'Liveness probe failed: .*(timed out|timeout)'"
kc delete pod --all --now >/dev/null

etcd --data-dir "$T/etcd" --listen-client-urls http://127.0.0.1:23790 --advertise-client-urls http://127.0.0.1:23790 \
	--listen-peer-urls http://127.0.0.1:23800 --initial-advertise-peer-urls http://127.0.0.1:23800 \
	--initial-cluster default=http://127.0.0.1:23800 >"$T/etcd.log" 2>&1 &
etcd=$!
pod grpc 'readinessProbe: {grpc: {port: 23790}, periodSeconds: 1, failureThreshold: 1}' 'sleep 1000' '  hostNetwork: true'
pod absent 'readinessProbe: {grpc: {port: 23790, service: nobody}, periodSeconds: 1, failureThreshold: 1}' 'sleep 1000' '  hostNetwork: true'
check "a server that says over gRPC that it serves" within 30 is true ready grpc
same "... a service that it does not know" false "$(ready absent)"
check "... is told" within 20 sh -c "'$KUBECTL' describe pod absent | grep -q 'Readiness probe failed: rpc error: code = 5 desc = unknown service'"
kill $etcd
wait $etcd
check "... when it has ended, readiness goes" within 20 is false ready grpc
kc delete pod --all --now >/dev/null

# images: a registry that wants to know who asks
python3 -W ignore - >"$T/htpasswd" <<'PY'
import crypt
print("user:" + crypt.crypt("password", crypt.mksalt(crypt.METHOD_BLOWFISH, rounds=32)))
PY
registry_start 5019 "auth: {htpasswd: {realm: r, path: $T/htpasswd}}"
export DOCKER_CONFIG=$T/docker
H=hull dk login -u user -p password "$REGISTRY" >/dev/null 2>&1
H=hull dk tag busybox:latest "$REGISTRY/a/box:1"
H=hull dk push -q "$REGISTRY/a/box:1" >/dev/null 2>&1
H=hull dk rmi "$REGISTRY/a/box:1" >/dev/null
waits() {
	get "$1" '{.status.containerStatuses[0].state.waiting.reason}'
}
run() {
	kc run "$1" --image="$REGISTRY/a/box:1" --restart=Never "${@:2}" -- sleep 1000 >/dev/null
}
run stranger
check "an image that wants credentials" within 20 sh -c "'$KUBECTL' describe pod stranger | grep -q 'Failed to pull image'"
check "... is asked for less and less often" within 30 is ImagePullBackOff waits stranger
kc create secret docker-registry known --docker-server="$REGISTRY" --docker-username=user --docker-password=password >/dev/null
run friend --overrides='{"spec":{"imagePullSecrets":[{"name":"known"}]}}'
check "with a pull secret" kc wait --for=condition=Ready pod/friend --timeout=40s
matches "... describe tells of it" "Successfully pulled image \"$REGISTRY/a/box:1\" in [0-9.]+m?s" "$(kc describe pod friend)"
kc patch serviceaccount default -p '{"imagePullSecrets":[{"name":"known"}]}' >/dev/null
H=hull dk rmi -f "$REGISTRY/a/box:1" >/dev/null 2>&1
run heir
check "... or by its service account" kc wait --for=condition=Ready pod/heir --timeout=40s
run typo --image-pull-policy=IfNotPresent --overrides='{"spec":{"containers":[{"name":"typo","image":"127.0.0.1:5019/a/bx:1"}]}}'
check "a name that is not there" within 20 sh -c "'$KUBECTL' describe pod typo | grep -Eq 'Failed to pull image \"127.0.0.1:5019/a/bx:1\": .*(not found|unknown)'"
run wrong --overrides='{"spec":{"containers":[{"name":"wrong","image":"Not A Name"}]}}'
check "a name that is none" within 20 is InvalidImageName waits wrong
down
