#!/bin/bash
# The manifests in examples/, as a user types them.
# time: 240
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
ip link set lo up
cluster_up
examples=$HULL_TOP/examples

# made NAME FILE: the file is taken whole.
made() {
	check "$1 is taken" kc apply -f "$examples/$2"
}

made "web.yaml" web.yaml
expect "... and rolls out" 0 'successfully rolled out' kc rollout status deploy/web --timeout=60s
ip=$(kc get service web -o 'jsonpath={.spec.clusterIP}')
check "... it answers" within 20 curl -sf -m 3 "http://$ip/"
logged() {
	kc logs -l app=web -c logger --tail=100 | grep -q 'response:200'
}
check "... the sidecar tells what was asked" within 20 logged
made "autoscaler.yaml" autoscaler.yaml
scaler() {
	kc get hpa web -o 'jsonpath={.status.currentMetrics[0].resource.name} {.status.desiredReplicas}'
}
check "... it knows the load" within 30 is "cpu 3" scaler
kc delete -f "$examples/autoscaler.yaml" -f "$examples/web.yaml" --wait=false >/dev/null

made "job.yaml" job.yaml
check "... it completes" kc wait --for=condition=Complete job/pieces --timeout=60s
same "... four times" 4 "$(kc get job pieces -o 'jsonpath={.status.succeeded}')"
kc delete -f "$examples/job.yaml" >/dev/null

made "cron.yaml" cron.yaml
check "... it can be run by hand" kc create job now --from=cronjob/minutely
check "... and completes" kc wait --for=condition=Complete job/now --timeout=60s
kc delete -f "$examples/cron.yaml" >/dev/null
kc delete job now --ignore-not-found >/dev/null

made "stateful.yaml" stateful.yaml
expect "... both members come" 0 'rolling update complete|partitioned roll out complete|2 pods' \
	kc rollout status statefulset/member --timeout=60s
asks_member() {
	kc exec member-1 -- wget -qO- http://member-0.members.default.svc.cluster.local:8080/
}
check "... one finds the other by name" within 20 is member-0 asks_member
kc delete -f "$examples/stateful.yaml" --wait=false >/dev/null

made "daemon.yaml" daemon.yaml
expect "... it is on every node" 0 'successfully rolled out' kc rollout status daemonset/watcher --timeout=60s
watches() {
	kc logs daemonset/watcher | grep -q "watching on $(kc get nodes -o 'jsonpath={.items[0].metadata.name}')"
}
check "... and knows its node" within 10 watches
kc delete -f "$examples/daemon.yaml" --wait=false >/dev/null

made "settings.yaml" settings.yaml
check "... the pod ends" within 30 is Succeeded kc get pod reader -o 'jsonpath={.status.phase}'
same "... it has read them" "hello colour = blue sesame" "$(kc logs reader | xargs)"
kc delete -f "$examples/settings.yaml" >/dev/null

made "limits.yaml" limits.yaml
check "... an account is there" within 10 kc -n small get serviceaccount default
kc -n small create deployment many --image=busybox --replicas=3 -- sleep 1000 >/dev/null
count() {
	kc -n small get pods --no-headers 2>/dev/null | wc -l
}
check "... two pods are made" within 20 is 2 count
matches "... and why no third one" 'exceeded quota: quota, requested: pods=1, used: pods=2, limited: pods=2' \
	"$(kc -n small describe rs)"
check "... the namespace goes" kc delete namespace small --timeout=60s
kc delete pod --all --now >/dev/null
check "nothing stays" within 40 sh -c "[ -z \"\$('$KUBECTL' get pods -A -o name)\" ]"
