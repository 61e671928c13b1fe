#!/bin/bash
# The stock Python client: lists, watches, patches, and a small controller with leader election.
# time: 120
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
ip link set lo up
cluster_up

py() {
	timeout -k 5 $((30 * slow)) /usr/bin/python3 -W ignore -c "from kubernetes import client, config, watch
config.load_kube_config()
core, apps = client.CoreV1Api(), client.AppsV1Api()
$1"
}

same "it lists" "default kube-node-lease kube-public kube-system" \
	"$(py 'print(*sorted(n.metadata.name for n in core.list_namespace().items))' 2>&1)"
same "it creates and reads" "b" "$(py '
core.create_namespaced_config_map("default", client.V1ConfigMap(metadata=client.V1ObjectMeta(name="m"), data={"a": "b"}))
print(core.read_namespaced_config_map("m", "default").data["a"])' 2>&1)"
same "it patches" "b c" "$(py '
m = core.patch_namespaced_config_map("m", "default", {"data": {"x": "c"}})
print(m.data["a"], m.data["x"])' 2>&1)"
same "it is told what is wrong" "404 NotFound 409 Conflict" "$(py '
import json
def tried(f):
	try:
		f()
	except client.rest.ApiException as e:
		return e.status, json.loads(e.body)["reason"]
m = core.read_namespaced_config_map("m", "default")
m.data["y"] = "1"
core.replace_namespaced_config_map("m", "default", m)
m.data["y"] = "2"
print(*tried(lambda: core.read_namespaced_config_map("none", "default")),
	*tried(lambda: core.replace_namespaced_config_map("m", "default", m)))' 2>&1)"
same "it watches" "ADDED MODIFIED DELETED" "$(py '
import threading
version = core.list_namespaced_config_map("default").metadata.resource_version
def change():
	core.create_namespaced_config_map("default", client.V1ConfigMap(metadata=client.V1ObjectMeta(name="w")))
	core.patch_namespaced_config_map("w", "default", {"data": {"k": "v"}})
	core.delete_namespaced_config_map("w", "default")
threading.Timer(0.3, change).start()
seen = []
w = watch.Watch()
for e in w.stream(core.list_namespaced_config_map, "default", resource_version=version, field_selector="metadata.name=w", timeout_seconds=20):
	seen.append(e["type"])
	if e["type"] == "DELETED":
		w.stop()
print(*seen)' 2>&1)"

# two controllers, one lock
timeout 60 /usr/bin/python3 -W ignore "$HULL_TOP/test/kube/controller.py" one 8 >"$T/one" 2>&1 &
one=$!
check "a controller leads" within 20 grep -q 'one leads' "$T/one"
timeout 60 /usr/bin/python3 -W ignore "$HULL_TOP/test/kube/controller.py" two 6 >"$T/two" 2>&1 &
two=$!
kc create configmap first --from-literal=a=1 >/dev/null && kc label configmap first copy= >/dev/null
check "it does its work" within 20 kc get configmap first-copy
same "... which the leader did" one "$(kc get configmap first-copy -o 'jsonpath={.metadata.labels.by}')"
wait $one
check "the other one takes over" within 30 grep -q 'two leads' "$T/two"
kc patch configmap first -p '{"data":{"a":"2"}}' >/dev/null
value() {
	[ "$(kc get configmap first-copy -o 'jsonpath={.data.a}')" = 2 ]
}
check "... and goes on" within 20 value
wait $two
