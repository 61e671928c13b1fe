#!/bin/bash
# A cluster's packets, by its own clients: pods that are routed, services that are balanced, names that
# are answered, and all of it while the daemon is away.
# time: 120
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
outside_up || give_up "a network with an outside"
ip -n out route add 10.98.0.0/24 via 10.99.0.1 || give_up "the outside knows the way to load balancers"
hulld_start hull --kube-listen 127.0.0.1:6443 || exit 1
export KUBECONFIG=$T/hull/root/kube/kubeconfig
k() {
	timeout -k 5 $((30 * slow)) kubectl "$@"
}
check "the API answers" within 10 k get --raw /healthz
hull --root "$T/hull/root" --run "$T/hull/run" --owner kube load -qi "$HULL_CACHE/busybox.tar" >/dev/null ||
	give_up "the busybox image loads for pods"

# Each pod answers with its name; one may be told to be slow to end.
k apply -f - >/dev/null <<'YAML' || give_up "manifests apply"
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
      - name: web
        image: busybox
        imagePullPolicy: IfNotPresent
        command: [sh, -c, 'mkdir /www; hostname >/www/index.html; exec httpd -f -p 8080 -h /www']
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: LoadBalancer
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: 8080, nodePort: 30080}]
---
apiVersion: v1
kind: Service
metadata: {name: pods}
spec: {clusterIP: None, selector: {app: web}, ports: [{name: http, port: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: none}
spec: {ports: [{port: 80}]}
---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: client, image: busybox, imagePullPolicy: IfNotPresent, command: [sleep, '1000000']}
YAML
check "pods get ready" k wait --for=condition=Ready pod --all --timeout=60s
# What a pod's process would do, in its network: in_pod COMMAND...
pod=$(k get pod client -o 'jsonpath={.status.podIP}')
net=$(for n in "$T"/hull/run/sandbox/*/net; do
	nsenter "--net=$n" ip -4 addr show eth0 | grep -q " $pod/32" && echo "$n"
done)
busybox=$HULL_CACHE/busybox.root/bin/busybox
in_pod() {
	nsenter "--net=$net" timeout 5 "$busybox" "$@"
}
cluster_ip=$(k get service web -o 'jsonpath={.spec.clusterIP}')
balanced=$(k get service web -o 'jsonpath={.status.loadBalancer.ingress[0].ip}')
web_pods() {
	k get pods -l app=web -o 'jsonpath={.items[*].metadata.name}' | tr ' ' '\n' | sort
}
names=$(web_pods)

# ask URL [COMMAND...]: who answers, in thirty questions.
ask() {
	local url=$1
	shift
	for _ in $(seq 30); do "$@" curl -s -m 3 "$url"; done | sort -u
}
same "every pod answers at the cluster's address" "$names" "$(ask "http://$cluster_ip/")"
same "... at a node port of the loopback" "$names" "$(ask http://127.0.0.1:30080/)"
same "... at a node port from outside" "$names" "$(ask http://10.99.0.1:30080/ ip netns exec out)"
matches "an address of a load balancer is given" '^10\.98\.0\.[0-9]+$' "$balanced"
same "... and answers from outside" "$names" "$(ask "http://$balanced/" ip netns exec out)"
matches "a pod has an address of the range" '^10\.244\.0\.' "$pod"

answer() {
	in_pod nslookup -type="${2:-a}" "$1" 10.96.0.10 2>&1
}
same "... and from a pod" "$names" "$(ask "http://$cluster_ip/" nsenter "--net=$net")"
check "a pod finds a service by its short name" k exec client -- wget -q -O - http://web/
expect "a pod reaches the API at its cluster address" 0 '^(200|401|403)$' nsenter "--net=$net" \
	curl -sk -m 5 -o /dev/null -w '%{http_code}' https://10.96.0.1/healthz
matches "a service has an address" "Address: $cluster_ip" "$(answer web.default.svc.cluster.local)"
same "a headless one has those of its pods" 3 "$(answer pods.default.svc.cluster.local | grep -c '^Address: 10.244')"
matches "a port has a record" 'web.default.svc.cluster.local' "$(answer _http._tcp.web.default.svc.cluster.local srv)"
matches "what there is not, there is not" NXDOMAIN "$(answer no.default.svc.cluster.local)"
matches "an address has its name back" 'web.default.svc.cluster.local' \
	"$(answer "$(echo "$cluster_ip" | awk -F. '{ print $4"."$3"."$2"."$1 }').in-addr.arpa" ptr)"
expect "a service without pods refuses at once" 1 "refused" in_pod wget -q -O - "http://$(k get service none -o 'jsonpath={.spec.clusterIP}')/"
matches "a pod gets out, as its node" '0% packet loss' "$(in_pod ping -c 1 -W 2 10.99.0.2)"

k scale deployment web --replicas=2 >/dev/null
two_left() { [ "$(web_pods | wc -w)" = 2 ] && [ "$(ask "http://$cluster_ip/")" = "$(web_pods)" ]; }
check "fewer pods answer when there are fewer" within 20 two_left
names=$(web_pods)

table=$(nft list tables inet | sed -n 's/^table inet \(hull-.*-pods\)$/\1/p')
check "the nft program can list the rules" nft list table inet "$table"
nft flush ruleset
laid_again() { nft list table inet "$table" && [ "$(ask "http://$cluster_ip/")" = "$names" ]; }
check "a flushed ruleset is laid again" within 5 laid_again

nft add table ip firewall
nft 'add chain ip firewall forward { type filter hook forward priority 0; policy drop; }'
relayed() { [ "$(ask "http://$cluster_ip/" nsenter "--net=$net")" = "$names" ]; }
check "under a foreign drop pods reach services all the same" within 5 relayed
ip netns exec out "$busybox" nc -l -p 7000 -e echo hello &
check "... and the world" within 5 in_pod nc -w 2 10.99.0.2 7000
same "... and the node does" "$names" "$(ask "http://$cluster_ip/")"
nft delete table ip firewall
direct() { ask http://10.99.0.1:30080/ ip netns exec out | grep -q web; }
check "without it the rules carry all again" within 5 direct

hulld_stop hull KILL 2>/dev/null
matches "without the daemon names are answered" "$cluster_ip" "$(answer web.default.svc.cluster.local)"
same "... and services answer" "$names" "$(ask "http://$cluster_ip/")"
pid=$(pgrep -x hull-net)
hulld_start hull --kube-listen 127.0.0.1:6443 || exit 1
check "the API answers again" within 10 k get --raw /healthz
same "... hull-net is what it was" "$pid" "$(pgrep -x hull-net)"
matches "... and a name is answered still" "$cluster_ip" "$(answer web.default.svc.cluster.local)"
k delete service web >/dev/null
gone() { ! curl -s -m 1 "http://$cluster_ip/"; }
check "a service that went does not answer" within 5 gone
nameless() { answer web.default.svc.cluster.local | grep -q NXDOMAIN; }
check "... and has no name" within 5 nameless
k delete deployment web --wait=false >/dev/null
k delete pod client --wait=false >/dev/null
no_pods() { [ -z "$(k get pods -o name)" ]; }
check "pods go" within 30 no_pods
