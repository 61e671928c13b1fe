#!/bin/bash
# Streams of a running pod by every stock kubectl there is: SPDY and WebSocket, exit codes, much of
# everything, terminals, copies, forwarded ports, logs, proxies; and clients that leave.
# time: 600
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
ip link set lo up
cluster_up

cat >"$T/pod.yaml" <<'YAML'
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: web
    image: busybox:latest
    imagePullPolicy: IfNotPresent
    ports: [{containerPort: 8080}]
    command: [sh, -c, 'mkdir /www; head -c 2000000 /dev/zero | tr "\0" x >/www/big; seq 1000; httpd -h /www -p 8080; while :; do read -r x || sleep 1000; echo "read $x"; done']
    stdin: true
---
apiVersion: v1
kind: Pod
metadata: {name: both}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: a, image: "busybox:latest", imagePullPolicy: IfNotPresent, command: [sleep, "1000"]}
  - {name: b, image: "busybox:latest", imagePullPolicy: IfNotPresent, command: [sleep, "1000"]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
YAML
check "two pods" kc apply -f "$T/pod.yaml"
check "they become ready" kc wait --for=condition=Ready pod/web pod/both --timeout=60s
head -c 2000000 /dev/zero | tr '\0' x | cksum >"$T/big"

# code ARGS...: the exit code of a kubectl
code() {
	kc "$@" >/dev/null 2>&1
	echo $?
}

# forwarded PATH: what a forwarded port gives, through a kubectl of its own
forwarded() {
	local port pid
	"$KUBECTL" port-forward pod/web :8080 >"$T/forward" 2>"$T/forward.err" &
	pid=$!
	within 10 grep -q Forwarding "$T/forward"
	port=$(sed -n 's/.*127\.0\.0\.1:\([0-9]*\).*/\1/p' "$T/forward" | head -n 1)
	for _ in 1 2 3; do curl -s -m 20 "http://127.0.0.1:$port$1" | cksum; done
	kill "$pid" 2>/dev/null
	wait "$pid" 2>/dev/null
}

streams() {
	same "exec: output" out "$(kc exec web -- echo out)"
	same "exec: errors apart" err "$(kc exec web -- sh -c 'echo out; echo err >&2' 2>&1 >/dev/null)"
	same "exec: exit codes" "0 3 137" \
		"$(code exec web -- true) $(code exec web -- sh -c 'exit 3') $(code exec web -- sh -c 'kill -9 $$')"
	same "exec: no such command" 126 "$(code exec web -- sh -c 'exec /dev/null')"
	same "exec: stdin has an end" 2 "$(printf 'a\nb\n' | kc exec -i web -- wc -l)"
	same "exec: 50 MB there and back" "$(head -c 50000000 /dev/zero | tr '\0' x | cksum)" \
		"$(head -c 50000000 /dev/zero | tr '\0' x | kc exec -i web -- cat | cksum)"
	same "exec: output before the status" "20000 5" \
		"$(kc exec web -- sh -c 'seq 20000; exit 5' 2>/dev/null | wc -l) $(code exec web -- sh -c 'seq 20000; exit 5')"
	same "exec: stdin that nobody reads" 4 \
		"$(yes | head -c 3000000 | kc exec -i web -- sh -c 'head -c 10 >/dev/null; exit 4' >/dev/null 2>&1; echo $?)"
	matches "exec: a terminal of a size" '33 111' \
		"$(script -qec "stty rows 33 cols 111; '$KUBECTL' exec -it web -- sh -c 'sleep 1; stty size'" /dev/null </dev/null)"
	matches "attach: to what runs" 'read hello' "$( (echo hello; sleep 1) | timeout 5 "$KUBECTL" attach -i web 2>/dev/null)"
	head -c 3000000 /dev/urandom >"$T/file"
	check "cp: into it" kc cp "$T/file" web:/tmp/file
	check "cp: out of it" kc cp web:/tmp/file "$T/back"
	check "cp: the same bytes" cmp "$T/file" "$T/back"
	same "port-forward: three connections" "$(cat "$T/big" "$T/big" "$T/big")" "$(forwarded /big)"
	same "logs: all, and the tail" "1000 3" "$(kc logs web | grep -c '^[0-9]') $(kc logs web --tail=3 | wc -l)"
	check "logs: followed" sh -c "timeout 20 '$KUBECTL' logs -f web | grep -q -m 1 'read hello'"
	same "proxy: of the pod" "$(cat "$T/big")" \
		"$(kc get --raw /api/v1/namespaces/default/pods/web:8080/proxy/big | cksum)"
	same "proxy: of the service" "$(cat "$T/big")" \
		"$(kc get --raw /api/v1/namespaces/default/services/web:http/proxy/big | cksum)"
}

# The oldest and the newest: SPDY and WebSocket. HULL_KUBECTLS=all: each of them, a minute more.
which='1p;$p'
[ "${HULL_KUBECTLS-}" != all ] || which=p
for KUBECTL in $(kubectls | sed -n "$which"); do
	echo "# $KUBECTL"
	streams
done

# what is refused
matches "no such pod" 'pods "none" not found' "$(kc exec none -- true 2>&1)"
matches "no such container" 'container nope is not valid for pod web' "$(kc exec web -c nope -- true 2>&1)"
matches "a container must be named" 'a container name must be specified for pod both, choose one of: \[a b\]' \
	"$(kc get --raw /api/v1/namespaces/default/pods/both/log 2>&1)"
matches "exec without an upgrade" 'must ask for an upgrade' \
	"$(kc get --raw '/api/v1/namespaces/default/pods/web/exec?command=true&stdout=1' 2>&1)"
matches "a bad option" 'is invalid' "$(kc get --raw '/api/v1/namespaces/default/pods/web/log?tailLines=-1' 2>&1)"

# who leaves at any moment harms nobody
leave() {
	local pids=()
	yes | timeout -s KILL "$1" "$KUBECTL" exec -i web -- cat >/dev/null 2>&1 &
	pids+=($!)
	timeout -s KILL "$1" "$KUBECTL" exec web -- yes >/dev/null 2>&1 &
	pids+=($!)
	timeout -s KILL "$1" "$KUBECTL" logs -f web >/dev/null 2>&1 &
	pids+=($!)
	timeout -s KILL "$1" "$KUBECTL" port-forward web :8080 >/dev/null 2>&1 &
	pids+=($!)
	wait "${pids[@]}" 2>/dev/null
}
for i in 1 2 3 4 5 6 7 8; do leave "0.$i"; done
same "all goes on" still "$(kc exec web -- echo still)"
kc delete pod --all --now >/dev/null
